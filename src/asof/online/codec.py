"""Records and what holds for all records of a namespace, as bytes.

The format of a record is told in `compute/pack.py`; tests/online/golden holds records of every format that was ever
written, so that a change is seen and a newer asof reads what an older one wrote. `Meta` is kept as JSON under
`META_KEY` of a namespace and is written last: what it promises is in the store.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from asof.compute.pack import RECORD_HEADER
from asof.compute.record import Layout
from asof.compute.tiles import TileLayout
from asof.errors import DataError
from asof.types import DType

FORMAT = 1
_PARTS, _OFFSETS = (
    2,
    2,
)  # the byte of a record's header that tells its parts, and the bit for the table of offsets


@dataclass(frozen=True)
class Meta:
    """What holds for the records of one version of a view.

    Every row known before `watermark_us` is in; whoever asks at `floor_us` or later gets exact answers. `from_us` is
    where the unbroken line of materialized intervals begins. `entities` and `size_bytes` are how many records there are
    and their size: what the runs have counted.
    """

    layout: Layout
    watermark_us: int
    floor_us: int
    from_us: int
    fingerprint: str = ""
    entities: int = 0
    size_bytes: int = 0

    @property
    def record_bytes(self) -> int:
        """The size of a record on average."""
        return self.size_bytes // max(1, self.entities)

    def to_bytes(self) -> bytes:
        """The meta record."""
        body = {
            "format": FORMAT,
            "columns": [[name, str(dtype)] for name, dtype in self.layout.columns],
            "predicates": self.layout.predicates,
            "keyed": self.layout.keyed,
            "tiles": _tiles_as_data(self.layout.tiles),
            "watermark_us": self.watermark_us,
            "floor_us": self.floor_us,
            "from_us": self.from_us,
            "fingerprint": self.fingerprint,
            "entities": self.entities,
            "size_bytes": self.size_bytes,
        }
        return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def parse(cls, data: bytes) -> Meta:
        """The meta record that `to_bytes` wrote.

        Raises:
            DataError: it is none, or of a newer format.

        Example:
            >>> meta = Meta(Layout((("amount", DType("int64")),)), 20, 10, 0)
            >>> Meta.parse(meta.to_bytes()) == meta
            True
        """
        try:
            body = cast("dict[str, Any]", json.loads(data))
            newer = body["format"] > FORMAT
        except (ValueError, KeyError, TypeError) as exc:
            raise DataError("the online store holds something that is no record of asof") from exc
        if newer:
            raise DataError(
                f"the online store was written in format {body['format']}, and this asof reads up to {FORMAT}",
                hint="use the asof that wrote it, or a newer one",
                format=body["format"],
            )
        columns = tuple((name, DType.parse(dtype)) for name, dtype in body["columns"])
        layout = Layout(columns, tuple(body["predicates"]), body["keyed"], _tiles_of_data(body["tiles"]))
        names = ("watermark_us", "floor_us", "from_us", "fingerprint", "entities", "size_bytes")
        return cls(layout, **{name: body[name] for name in names})


def _tiles_as_data(tiles: TileLayout | None) -> dict[str, object] | None:
    if tiles is None:
        return None
    return {
        "hop_us": tiles.hop_us,
        "offset_us": tiles.offset_us,
        "states": [list(name) for name in tiles.states],
    }


def _tiles_of_data(body: Any) -> TileLayout | None:
    if body is None:
        return None
    states = tuple((name[0], name[1], name[2]) for name in body["states"])
    return TileLayout(body["hop_us"], body["offset_us"], states)


def with_offsets(record: bytes, applied: Mapping[int, int]) -> bytes:
    """The record with a table of how far each stream partition has been applied to it: the next offset, by the
    partition's number. The table stands at the end: pairs of i64 by partition, then their number as u32.

    Example:
        >>> record = with_offsets(bytes(40), {3: 7})
        >>> offsets_of(with_offsets(record, {3: 9, 1: 2})), offsets_of(bytes(40))
        ({1: 2, 3: 9}, {})
    """
    bare = record[: _end_of_blocks(record)]
    if not applied:
        return _flagged(bare, on=False)
    pairs = b"".join(struct.pack("<qq", *pair) for pair in sorted(applied.items()))
    return _flagged(bare, on=True) + pairs + struct.pack("<I", len(applied))


def offsets_of(record: bytes) -> dict[int, int]:
    """How far each stream partition has been applied to a record; see `with_offsets`.

    Raises:
        DataError: the table leads out of the record.
    """
    end = _end_of_blocks(record)
    table = record[end:-4] if end < len(record) else b""
    return dict(struct.iter_unpack("<qq", table))


def _end_of_blocks(record: bytes) -> int:
    if not record[_PARTS] & _OFFSETS:
        return len(record)
    end = len(record) - 4 - 16 * struct.unpack_from("<I", record, len(record) - 4)[0]
    if end < RECORD_HEADER:
        raise DataError(
            "a record of the online store is corrupt",
            hint="`asof backfill` writes the records of a view anew",
        )
    return end


def _flagged(record: bytes, *, on: bool) -> bytes:
    parts = record[_PARTS] | _OFFSETS if on else record[_PARTS] & ~_OFFSETS
    return record[:_PARTS] + bytes([parts]) + record[_PARTS + 1 :]
