"""Generated edge cases for a user's own definitions: the naive oracle against the real engine.

For each view, label and service with an own row, small histories are made that hold what goes wrong in practice
(ties, nulls, late, revised, deleted and doubled rows, empty histories, far gaps, events on the edges of windows),
and the spine asks on these edges, one microsecond before and after. Equal seeds give equal examples. Read `check.py`
first, then `history.py` (what is made), `spine.py` (what is asked) and `naive.py` (what the oracle says).
"""

from asof.testing.generated.check import Fast, Generated, Mismatch, check_subject
from asof.testing.generated.same import same
from asof.testing.generated.subject import Subject, subjects_of

__all__ = ["Fast", "Generated", "Mismatch", "Subject", "check_subject", "same", "subjects_of"]
