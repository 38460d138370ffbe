"""Records of every format that was ever written are read as what they held, and today's rows give today's bytes.

`golden/` holds records as they were written (`.bin`) beside what they say (`.json`). A new format adds files with its
number; files that are there never change. `python -m tests.online.test_golden` writes those that are missing.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from asof.compute.record import Layout, pack_history
from asof.define.window import END_US
from asof.online.codec import Meta
from asof.types import DType
from tests.compute.packing import KEYED, LAYOUT, history_of, rows_of, unpacked, with_stream

FOLDER = Path(__file__).with_name("golden")
PLAIN = {"style": "cents", "nulls": 0.2, "late": True}
CASES = {
    "1-plain": ([7], 1, LAYOUT, PLAIN),
    "1-constant": ([5], 2, LAYOUT, {"style": "one", "nulls": 0.0}),
    "1-extremes": ([9], 3, LAYOUT, {"style": "ends", "nulls": 0.1}),
    "1-nulls": ([3], 4, LAYOUT, {"style": "small", "nulls": 1.0}),
    "1-revised": ([8], 5, KEYED, PLAIN | {"keyed": True, "revised": True}),
    "1-many-texts": ([60], 6, LAYOUT, {"style": "any", "nulls": 0.0}),
}
COLUMNS = (("amount", DType("decimal", precision=12, scale=2)), ("kind", DType("string")))
META = Meta(
    Layout(COLUMNS, ("kind = 'x'",), keyed=True),
    watermark_us=2_000_000, floor_us=1_000_000, from_us=-(2**62), fingerprint="abc", entities=3,
)  # fmt: skip


def record_of(name):
    """The bytes of a case as they are packed today."""
    sizes, seed, layout, style = CASES[name]
    history = history_of(sizes, seed, style["style"], style["nulls"], **_flags(style))
    return pack_history(history, layout, watermark_us=1234, floor_us=-56).records()[0]


def _flags(style):
    return {name: style.get(name, False) for name in ("keyed", "revised", "late")}


def said(data, layout):
    """What a record says: header and rows."""
    rows = rows_of(unpacked([data], layout))[0]
    for row in rows:
        row["until"] = None if row["until"] == END_US else row["until"]
    words = [int.from_bytes(data[place : place + 8], "little", signed=True) for place in (8, 16, 24)]
    return {"format": data[0], "watermark": words[0], "floor": words[1], "newest": words[2], "rows": rows}


def layout_of(name):
    return CASES[name.removesuffix("-stream")][2]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.bin")), ids=lambda path: path.stem)
def test_a_record_is_read_as_what_was_written(path):
    expected = json.loads(path.with_suffix(".json").read_text("utf-8"))
    assert json.loads(json.dumps(said(path.read_bytes(), layout_of(path.stem)))) == expected


@pytest.mark.parametrize("name", sorted(CASES))
def test_rows_are_packed_into_the_same_bytes_as_ever(name):
    assert record_of(name) == (FOLDER / f"{name}.bin").read_bytes()


def test_the_meta_record_is_read_as_what_was_written():
    assert Meta.parse((FOLDER / "1-meta.json").read_bytes()) == META


def write() -> None:
    """Writes the files that are missing."""
    FOLDER.mkdir(exist_ok=True)
    made = {name: record_of(name) for name in CASES}
    early = (-(10**12)).to_bytes(8, "little", signed=True)  # all of the stream part came after this watermark
    batch = made["1-plain"][:8] + early + made["1-plain"][16:]
    made["1-plain-stream"] = with_stream(batch, made["1-extremes"])
    for name, data in made.items():
        path = FOLDER / f"{name}.bin"
        if not path.exists():
            path.write_bytes(data)
            text = json.dumps(said(data, layout_of(name)), ensure_ascii=False, indent=1)
            path.with_suffix(".json").write_text(text + "\n", "utf-8")
    path = FOLDER / "1-meta.json"
    if not path.exists():
        path.write_bytes(META.to_bytes())


if __name__ == "__main__":
    write()
