"""Redis' half of a swap: the script that compares and puts in one, and its arguments.

After the arguments for all keys come two for each: the record that is expected (its SHA-1 where it is long) and the one
that takes its place. A digit for each key says what they are: 0 no record is expected, 2 that one, 4 one of that SHA-1,
and 1 more where a record takes its place. The script goes with each call (`EVAL`), so that no server can have lost it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from asof.online.store import Swap

SENT_BYTES = 1_024
"""An expected record of so many bytes is sent as it is: that costs the server less than the digest of what it has."""

SCRIPT = """\
local again, ttl, kinds, made, puts = ARGV[1] == '1', ARGV[2], ARGV[3], {}, {}
local there = redis.call('MGET', unpack(KEYS))
for i, key in ipairs(KEYS) do
local old, new, found, kind = ARGV[2*i+2], ARGV[2*i+3], there[i], string.byte(kinds, i)
if kind % 2 == 0 then new = false end
if kind < 50 then old = false elseif kind >= 52 then found = found and redis.sha1hex(found) end
if found == old then
made[i] = 1
if not new then redis.call('UNLINK', key)
elseif ttl ~= '' then redis.call('SET', key, new, 'EX', ttl)
else puts[#puts+1] = key puts[#puts+1] = new end
else made[i] = again and there[i] == new and 1 or 0 end
end
if #puts > 0 then redis.call('MSET', unpack(puts)) end
return made"""


def evaluation(
    keys: Sequence[bytes], swaps: Iterable[Swap], ttl_s: int | None, *, again: bool
) -> list[bytes | str | int]:
    """The arguments of one EVAL, which answers 1 or 0 for each key.

    Args:
        keys: all in one slot, where there is a cluster.
        swaps: one for each key.
        ttl_s: the new records' time to live.
        again: an answer may have been lost: where the new record is there already, it was put before.
    """
    kinds, records = bytearray(), list[bytes | str]()
    for _, expected, record in swaps:
        kind = 0 if expected is None else 2 if len(expected) <= SENT_BYTES else 4
        kinds.append(48 + kind + (record is not None))
        digest = hashlib.sha1(expected or b"", usedforsecurity=False).hexdigest() if kind == 4 else None
        records += (digest or expected or b"", record or b"")
    return [SCRIPT, len(keys), *keys, int(again), "" if ttl_s is None else ttl_s, bytes(kinds), *records]
