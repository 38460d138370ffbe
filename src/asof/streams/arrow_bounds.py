"""What an Arrow stream says of itself, looked at before any of it is unpacked: a body of some bytes can hold gigabytes
when it is compressed, and billions of rows when they are null.

The metadata of a message is a FlatBuffer: a table has fields at offsets that its vtable tells. Fields as in the
format's own `Message.fbs`: a message has (version, kind, header, body size), a dictionary batch (id, batch), a record
batch (length, nodes, buffers, compression).
"""

from __future__ import annotations

import struct

import pyarrow as pa

MAX_ROWS = 1_000_000
_DICTIONARY, _BATCH = 2, 3


def check_bounds(body: bytes) -> None:
    """Nothing, when all batches of an Arrow stream are uncompressed and have no more rows together than a batch may.

    Raises:
        ValueError: they are not. pa.ArrowException: it is no Arrow stream.
    """
    try:
        _check(body)
    except OSError as exc:  # PyArrow's word for a stream that breaks off
        raise ValueError("no Arrow stream") from exc


def _check(body: bytes) -> None:
    rows = 0
    for message in pa.ipc.MessageReader.open_stream(body):
        found = message.metadata.to_pybytes()
        try:
            length, compressed = _batch(found)
        except (struct.error, IndexError) as exc:
            raise ValueError("no Arrow stream") from exc
        rows += length
        if compressed:
            raise ValueError("compressed Arrow streams are not taken")
        if not 0 <= length <= MAX_ROWS or rows > MAX_ROWS:
            raise ValueError(f"more than {MAX_ROWS:,} rows")


def _batch(data: bytes) -> tuple[int, bool]:
    """How many rows a message has, and whether they are compressed; of a schema (0, False)."""
    root = _u32(data, 0)
    kind, header = _field(data, root, 1), _field(data, root, 2)
    if kind is None or header is None or data[kind] not in {_DICTIONARY, _BATCH}:
        return 0, False
    table = header + _u32(data, header)
    if data[kind] == _DICTIONARY:
        inner = _field(data, table, 1)
        if inner is None:
            return 0, False
        table = inner + _u32(data, inner)
    length = _field(data, table, 0)
    rows = 0 if length is None else int(struct.unpack_from("<q", data, length)[0])
    return rows, _field(data, table, 3) is not None


def _u32(data: bytes, at: int) -> int:
    return int(struct.unpack_from("<I", data, at)[0])


def _field(data: bytes, table: int, number: int) -> int | None:
    """Where a field of a table is, None where it is not there."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    if vtable < 0:
        raise IndexError(vtable)
    size = struct.unpack_from("<H", data, vtable)[0]
    if 4 + 2 * number + 2 > size:
        return None
    offset = struct.unpack_from("<H", data, vtable + 4 + 2 * number)[0]
    return table + offset if offset else None
