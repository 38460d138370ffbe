"""A follower of a stream of Redis. Of a group one reads at a time: it holds a lease, and each poll makes that longer.

Groups of Redis itself (XREADGROUP) are not used: they deal out single entries, so that two workers would have events of
one entity at one time, and where to begin is said by the worker's checkpoints.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from asof.errors import BackendError
from asof.streams.redis_client import RedisClient
from asof.streams.redis_entries import identifier_of
from asof.streams.stream import Chunk, Polled

LEASE_S = 15.0
_TRY_S = 0.25  # how long one waits who does not have the lease
_UNTOLD_S = 0.05  # and who has not been told where to begin

# Of the lease: makes it longer, or gives it back, or notes how far one is; 1 where it is ours.
_RENEW = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('PEXPIRE', KEYS[1], ARGV[2]) or 0"
_GIVE_BACK = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0"
_NOTE = """\
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2])
return 1"""


class RedisFollower:
    """One worker that follows for a group, or waits for the one that does."""

    def __init__(
        self,
        client: RedisClient,
        key: bytes,
        group: str,
        lease_s: float,
        chunk: Callable[[Sequence[Any]], Chunk],
    ) -> None:
        self._client = client
        self._key = key
        self._lease = b"asof:{%b}:lease:%b" % (key, group.encode())
        self._position = b"asof:{%b}:position:%b" % (key, group.encode())
        self._lease_ms = max(1, int(lease_s * 1_000))
        self._chunk = chunk
        self._token = secrets.token_hex(16)
        self._ours = False
        self._next: int | None = None
        self._closed = False

    def poll(self, timeout_s: float, most: int) -> Polled:
        """Waits for events, or for the lease."""
        if self._closed:
            raise self._client.refused("the follower is closed")
        if not self._ours:
            return self._take(timeout_s)
        commands: list[tuple[object, ...]] = [
            ("EVAL", _RENEW, 1, self._lease, self._token, self._lease_ms),
        ]
        if self._next is not None:
            commands.append(self._reading(self._next, timeout_s, most))
        ours, *found = self._client.run(lambda client: self._client.together(client, *commands))
        if not ours:
            self._ours = False
            return Polled(lost=(0,))
        if not found:
            time.sleep(min(timeout_s, _UNTOLD_S))
        return self._given(found[0] if found else None)

    def _take(self, timeout_s: float) -> Polled:
        take = ("SET", self._lease, self._token, "NX", "PX", self._lease_ms)
        if self._client.run(lambda client: client.execute_command(*take)):
            self._ours, self._next = True, None
            return Polled(gained=(0,))
        time.sleep(min(timeout_s, _TRY_S))
        return Polled()

    def _reading(self, offset: int, timeout_s: float, most: int) -> tuple[object, ...]:
        """XREAD from an offset on; it waits no longer than the connection and the lease allow."""
        wait_s = min(timeout_s, self._client.timeout_s / 2, self._lease_ms / 4_000)
        wait = ("BLOCK", int(wait_s * 1_000)) if wait_s >= 0.001 else ()  # 0 would be for ever
        before = identifier_of(offset - 1) if offset > 0 else b"0-0"
        return ("XREAD", "COUNT", max(1, most), *wait, "STREAMS", self._key, before)

    def _given(self, found: Any) -> Polled:
        if not found:
            return Polled()
        ((_, entries),) = found
        chunk = self._chunk(entries)
        self._next = chunk.next_offset
        return Polled(chunks=(chunk,))

    def seek(self, partition: int, offset: int) -> None:
        """The next chunk begins at this offset."""
        if partition != 0 or not self._ours:
            raise self._client.refused(f"partition {partition} is not this follower's")
        self._next = offset

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Notes how far one is, under the group's key; nothing where the lease is another's by now."""
        if 0 in offsets:
            note = ("EVAL", _NOTE, 2, self._lease, self._position, self._token, offsets[0])
            self._client.run(lambda client: client.execute_command(*note))

    def close(self) -> None:
        """Gives the lease back; where the server cannot be told, it ends by itself."""
        if not self._closed:
            self._closed = True
            give_back = ("EVAL", _GIVE_BACK, 1, self._lease, self._token)
            with contextlib.suppress(BackendError):
                self._client.run(lambda client: client.execute_command(*give_back))
