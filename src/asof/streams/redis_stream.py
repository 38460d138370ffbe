"""A stream of Redis or Valkey: one key, one partition, one order; entries as `redis_entries.py` says.

```
<key>                                    the stream
asof:{<key>}:appended:<digest>           the places of a batch with an idempotency key, for a day
asof:{<key>}:lease:<group>               who follows for a group (redis_follow.py)
asof:{<key>}:position:<group>            the offset up to which a group has dealt with events, for others to see
```
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from asof.define.stream import RedisStream
from asof.streams.redis_client import RedisClient
from asof.streams.redis_entries import FIELD, chunk_of, identifier_of, offset_of, stamp_us
from asof.streams.redis_follow import LEASE_S, RedisFollower
from asof.streams.stream import Appended, Capabilities, Chunk, Ends, Outgoing

MAX_EVENTS = 200_000
"""So many events may come in one batch: the server does nothing else while it appends them."""

_CAPABILITIES = Capabilities(embedded=False, dense=False, whole_batches=False, max_event_bytes=2**24)
_REPEAT_S = 86_400
# One script is one: all events are there, and the places under the idempotency key, or nothing is.
_APPEND = """\
local known = #KEYS == 2 and redis.call('GET', KEYS[2])
if known then return {1, known} end
local first
for i = 4, #ARGV do
local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', ARGV[3], ARGV[i])
first = first or id
end
local place = first .. ' ' .. (#ARGV - 3)
if #KEYS == 2 then redis.call('SET', KEYS[2], place, 'EX', ARGV[2]) end
return {0, place}"""


class RedisEvents:
    """The events of a `RedisStream`.

    Args:
        stream: the definition.
        timeout_s: how long a call waits for the server.
        lease_s: a follower that has not polled for so long loses the stream to another of its group.
    """

    def __init__(self, stream: RedisStream, *, timeout_s: float = 5.0, lease_s: float = LEASE_S) -> None:
        self._client = RedisClient(stream, timeout_s)
        self._key = stream.key.encode()
        self._most = stream.max_events
        self._lease_s = lease_s

    @property
    def capabilities(self) -> Capabilities:
        """A server; events one by one, at most 16 MiB each."""
        return _CAPABILITIES

    def append(self, batch: Outgoing) -> Appended:
        """Appends events, all or none; as durable as the server's persistence makes them."""
        events = self._checked(batch)
        if not events:
            return Appended(0)
        keys = [self._key]
        if batch.idempotency_key is not None:
            digest = hashlib.blake2b(batch.idempotency_key.encode(), digest_size=16).hexdigest()
            keys.append(b"asof:{%b}:appended:%b" % (self._key, digest.encode()))
        command = ("EVAL", _APPEND, len(keys), *keys, self._most, _REPEAT_S, FIELD, *events)
        repeated, place = self._client.run(lambda client: client.execute_command(*command))
        identifier, _, count = place.partition(b" ")
        return Appended(int(count), {0: (self._offset(identifier), int(count))}, repeated=bool(repeated))

    def _checked(self, batch: Outgoing) -> Sequence[bytes]:
        most_bytes = _CAPABILITIES.max_event_bytes
        if batch.form != "json" or batch.events is None:
            raise self._client.refused("it takes events as JSON objects, one by one")
        if len(batch.events) > MAX_EVENTS:
            raise self._client.refused(
                f"a batch of {len(batch.events):,} events; at most {MAX_EVENTS:,} are allowed",
                hint="append them in several batches",
                limit=MAX_EVENTS,
            )
        size_bytes = max(map(len, batch.events), default=0)
        if size_bytes > most_bytes:
            raise self._client.refused(
                f"an event of {size_bytes:,} bytes; at most {most_bytes:,} are allowed",
                size_bytes=size_bytes,
                limit_bytes=most_bytes,
            )
        return batch.events

    def ends(self) -> dict[int, Ends]:
        """What the one partition holds."""
        found = self._client.find(lambda client: client.execute_command("XINFO", "STREAM", self._key))
        if found is None:
            return {0: Ends(0, 0)}
        told: dict[bytes, Any] = dict(zip(found[::2], found[1::2], strict=True))
        newest, first = self._offset(told[b"last-generated-id"]), told[b"first-entry"]
        return {
            0: Ends(
                self._offset(first[0]) if first else newest + 1,
                newest + 1,
                stamp_us(newest) if newest else None,
            )
        }

    def read(self, partition: int, offset: int, most: int) -> list[Chunk]:
        """Events from an offset on, as one chunk."""
        self._check(partition)
        first = identifier_of(max(0, offset))
        entries = self._client.run(lambda client: client.xrange(self._key, min=first, count=max(1, most)))
        return [self._chunk(entries)] if entries else []

    def find(self, partition: int, at_us: int) -> int:
        """The offset of the first event of a millisecond that does not begin before the instant."""
        self._check(partition)
        first = b"%d-0" % max(0, -(-at_us // 1_000))
        entries = self._client.run(lambda client: client.xrange(self._key, min=first, count=1))
        return self._offset(entries[0][0]) if entries else self.ends()[0].next

    def follow(self, group: str) -> RedisFollower:
        """Takes part in a group: one follower reads at a time, the others wait until it closes or dies."""
        self._client.run(lambda _: None)
        return RedisFollower(self._client, self._key, group, self._lease_s, self._chunk)

    def close(self) -> None:
        """Lets go of the connections."""
        self._client.close()

    def _chunk(self, entries: Sequence[Any]) -> Chunk:
        chunk = chunk_of(entries)
        if chunk is None:
            raise self._no_offset()
        return chunk

    def _offset(self, identifier: bytes) -> int:
        offset = offset_of(identifier)
        if offset is None:
            raise self._no_offset()
        return offset

    def _no_offset(self) -> Exception:
        return self._client.refused(
            "an entry's identifier has no offset: its number is not below 1,048,576, or its time is too large",
            hint="entries have to be added with the identifier *",
        )

    def _check(self, partition: int) -> None:
        if partition != 0:
            raise self._client.refused(f"there is no partition {partition}, only 0")
