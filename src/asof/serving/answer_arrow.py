"""An answer as an Arrow stream: the columns in their own types, and beside them what each value is worth.

After the features come `asof:statuses` (a text of letters as in JSON) and `asof:age_s:VIEW` (seconds since the
entity's newest event). The schema's metadata has `asof:service`, `asof:at` and `asof:watermark:VIEW`. Names of features
hold no colon, so nothing clashes.
"""

from __future__ import annotations

import pyarrow as pa

from asof.clock import format_time
from asof.flows.answer import Answer
from asof.serving.answer_json import letters, time_text

MEDIA_TYPE = "application/vnd.apache.arrow.stream"
STATUSES, AGE, WATERMARK = "asof:statuses", "asof:age_s:", "asof:watermark:"


def answer_table(answer: Answer) -> pa.Table:
    """The answer as a table, with statuses, ages and metadata."""
    table = answer.to_arrow().append_column(STATUSES, pa.array(letters(answer), pa.string()))
    metadata = {"asof:service": answer.service, "asof:at": format_time(answer.at_us)}
    for view in answer.freshness:
        table = table.append_column(AGE + view.view, pa.array(view.ages_s(answer.at_us), pa.float64()))
        metadata[WATERMARK + view.view] = time_text(view.watermark_us) or ""
    return table.replace_schema_metadata(metadata)


def answer_arrow(answer: Answer) -> bytes:
    """The body of the answer as an Arrow stream."""
    table = answer_table(answer)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()
