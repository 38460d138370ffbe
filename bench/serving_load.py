"""Sends requests over kept connections and times the answers; a process of its own, standard library only.

`python -m bench.serving_load` reads one JSON object from standard input and prints another. Two ways:

- as fast as the server answers (`rate: 0`): every connection sends its next request when it has its answer;
- at a fixed rate: request k is due at k / rate, whatever the answers before it took, and its time counts from then on,
  also while it waits for a connection. So a server that stalls is charged for every request that came meanwhile.

It checks the status and the length of each answer and no more: what is in them is compared before. No framework, one
thread, `epoll`: it can drive a server that answers from memory much faster than any that computes (see `cpu_share`).
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from collections import deque
from typing import Any

from bench.latency import spread

_HEAD, _LENGTH = b"\r\n\r\n", b"content-length: "
_GOOD = b"HTTP/1.1 200"
_SPIN_S = 0.0003  # a wait ends so long before the next request is due: sleeping is not exact


class WrongReply(Exception):
    """A status that is not 200, or a connection that was closed."""


class Connection:
    """One kept connection with at most one request under way."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.parts = b""
        self.wanted = 0
        self.since_ns = 0

    def send(self, request: bytes, since_ns: int) -> None:
        """Sends a request; its time counts from `since_ns`."""
        self.since_ns = since_ns
        self.socket.sendall(request)

    def receive(self) -> int:
        """The bytes of the whole answer, 0 while more of it is to come."""
        part = self.socket.recv(262_144)
        if not part:
            raise WrongReply("the server has closed a connection")
        self.parts = self.parts + part if self.parts else part
        if not self.wanted:
            end = self.parts.find(_HEAD)
            if end < 0:
                return 0
            if not self.parts.startswith(_GOOD):
                raise WrongReply(self.parts[:500].decode(errors="replace"))
            at = self.parts.index(_LENGTH, 0, end) + len(_LENGTH)
            self.wanted = end + len(_HEAD) + int(self.parts[at : self.parts.index(b"\r", at)])
        if len(self.parts) < self.wanted:
            return 0
        size, self.parts, self.wanted = self.wanted, b"", 0
        return size


def requests_of(bodies: list[str], path: str = "/v1/features") -> list[bytes]:
    """The requests as they go over the wire."""
    head = f"POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: "
    return [f"{head}{len(body.encode())}\r\n\r\n{body}".encode() for body in bodies]


def flat_out(port: int, requests: list[bytes], connections: int, seconds: float) -> dict[str, Any]:
    """As fast as the server answers."""
    made = {each.socket.fileno(): each for each in (Connection(port) for _ in range(connections))}
    poll = select.epoll()
    taken: list[int] = []
    clock, count, size_bytes = time.perf_counter_ns, len(requests), 0
    sent = 0
    cpu, begun = time.process_time(), clock()
    end_ns = begun + int(seconds * 1e9)
    for number, connection in made.items():
        poll.register(number, select.EPOLLIN)
        connection.send(requests[sent % count], clock())
        sent += 1
    now = begun
    while now < end_ns:
        for number, _ in poll.poll(1.0):
            connection = made[number]
            size = connection.receive()
            if size:
                now = clock()
                taken.append(now - connection.since_ns)
                size_bytes += size
                connection.send(requests[sent % count], now)
                sent += 1
    wall_s, cpu_s = (now - begun) / 1e9, time.process_time() - cpu
    for connection in made.values():
        connection.socket.close()
    return _told(taken, wall_s, cpu_s, size_bytes)


def at_rate(
    port: int, requests: list[bytes], connections: int, seconds: float, rate: float
) -> dict[str, Any]:
    """So many requests a second, each due at its own time."""
    free = deque(Connection(port) for _ in range(connections))
    busy: dict[int, Connection] = {}
    taken: list[int] = []
    clock, count, size_bytes = time.perf_counter_ns, len(requests), 0
    total, sent, waited = int(seconds * rate), 0, 0
    cpu, begun = time.process_time(), clock()
    step_ns = 1e9 / rate
    while len(taken) < total:
        now = clock()
        while sent < total and free and begun + int(sent * step_ns) <= now:
            connection = free.popleft()
            connection.send(requests[sent % count], begun + int(sent * step_ns))
            busy[connection.socket.fileno()] = connection
            sent += 1
        waited += not free
        due_s = (begun + sent * step_ns - clock()) / 1e9 if sent < total and free else 1.0
        for number in select.select(list(busy), [], [], max(0.0, due_s - _SPIN_S))[0]:
            connection = busy[number]
            size = connection.receive()
            if size:
                taken.append(clock() - connection.since_ns)
                size_bytes += size
                free.append(busy.pop(number))
    wall_s, cpu_s = (clock() - begun) / 1e9, time.process_time() - cpu
    for connection in free:
        connection.socket.close()
    return {**_told(taken, wall_s, cpu_s, size_bytes), "without_free_connection": waited}


def _told(taken: list[int], wall_s: float, cpu_s: float, size_bytes: int) -> dict[str, Any]:
    return {
        **spread(taken),
        "seconds": wall_s,
        "per_s": len(taken) / wall_s,
        "cpu_share": cpu_s / wall_s,
        "bytes": size_bytes / max(1, len(taken)),
    }


def main() -> None:
    order = json.loads(sys.stdin.read())
    requests = requests_of(order["bodies"], order.get("path", "/v1/features"))
    if order["rate"]:
        made = at_rate(order["port"], requests, order["connections"], order["seconds"], order["rate"])
    else:
        made = flat_out(order["port"], requests, order["connections"], order["seconds"])
    print(json.dumps(made))


if __name__ == "__main__":
    main()
