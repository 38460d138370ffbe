"""One event of a chunk as it was written, for the place where those go that cannot be used."""

from __future__ import annotations

import json

import msgspec
import pyarrow as pa

from asof.streams.decode import is_array
from asof.streams.stream import Chunk

_RAWS = msgspec.json.Decoder(list[msgspec.Raw]).decode
_LINES = msgspec.json.Decoder(msgspec.Raw).decode_lines


def raw_event(chunk: Chunk, place: int) -> bytes:
    """The bytes of the event at a place of a chunk; of an Arrow row what JSON can say of it.

    A batch that cannot be taken apart is given whole: nothing of it is lost.

    Example:
        >>> import numpy as np
        >>> raw_event(
        ...     Chunk(0, np.array([4, 5]), np.array([1, 1]), "json", b'[{"a":1},{"a": 2},{}]', skip=1), 0
        ... )
        b'{"a": 2}'
    """
    if chunk.body is None:
        return bytes(chunk.events[place])
    if chunk.form == "arrow":
        table = pa.ipc.open_stream(chunk.body).read_all()
        row = table.slice(chunk.skip + place, 1).to_pylist()
        return json.dumps(row[0] if row else None, default=str).encode()
    try:
        raws = _RAWS(chunk.body) if is_array(chunk.body) else _LINES(chunk.body)
        return bytes(raws[chunk.skip + place])
    except (msgspec.MsgspecError, IndexError):
        return bytes(chunk.body)
