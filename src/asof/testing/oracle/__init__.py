"""The naive oracle: what a value is, as loops that anybody can check by reading.

Nothing here is fast and nothing here is shared with `asof.compute`: the two are written apart and compared by
`tests/equality`. The rules are docs/concepts/time-and-value.md. Read, in this order, `rows.py` (which version of an
event is visible), `feature.py` (which events a window counts), `functions.py` (what is made of them), `label.py` and
`training.py`. Rows are plain Python: None for null, `int`, `float`, `Decimal`, `str` and times for values.
"""

from asof.testing.oracle.calendar import banking_deadline_us
from asof.testing.oracle.feature import feature_value, in_window
from asof.testing.oracle.label import horizon_end_us, label_value
from asof.testing.oracle.rows import Row, visible
from asof.testing.oracle.training import training_set

__all__ = [
    "Row",
    "banking_deadline_us",
    "feature_value",
    "horizon_end_us",
    "in_window",
    "label_value",
    "training_set",
    "visible",
]
