"""A worker of a Kafka topic: 3 windows x 5 aggregations of 50,000 accounts into Redis, landed and checkpointed.

Other side: confluent-kafka consumes the same messages in a group of its own, and they are decoded to Arrow columns.
Both servers are the bench's own, on loopback of the same machine, and keep nothing; one partition, a message an event.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import online, redis_server, stream, stream_data
from bench.harness import OURS, Options, Row
from bench.process import Side, SideFailed
from bench.turns import workers
from bench.windows import our_places

if TYPE_CHECKING:
    from collections.abc import Iterator

CONSUME = "consume + decode"
BAR = ">= 0.3"
_KEPT = {"message_timestamp_type": "CreateTime", "retention_ms": "-1"}
_BACKLOG_S = 60.0


def run(options: Options) -> list[Row]:
    if not options.ours:
        return []
    rows = stream.size(options)
    with online.place() as folder, broker() as kafka, redis_server.server() as redis:
        if kafka is None or redis is None:
            print("bench: stream_kafka: Kafka (java, mvn) or Redis is not installed, left out", flush=True)
            return []
        topic = {"topic": kafka.new_topic(**_KEPT), "servers": kafka.servers}
        _produce(topic, rows)
        facts = {"folder": str(folder / "work"), "rows": rows, "stream": topic}
        redis_url = f"redis://127.0.0.1:{redis.port}"
        sides = [
            Side(OURS, "bench.stream_sides:Worker", {**facts, "url": redis_url}, env=our_places()),
            Side(CONSUME, "bench.stream_kafka_side:DecodeTopic", facts, env=our_places()),
        ]
        with workers(sides, options.threads) as found:
            ran = stream.turns(found, rows, options.runs)
            held = found[OURS].call("check")
    return [stream.row("stream_kafka", "stream-kafka", ran, rows, CONSUME, BAR, held)]


@contextmanager
def broker() -> Iterator[Any]:
    """A Kafka broker while it runs, as the tests start it; None where none can be had."""
    if shutil.which("java") is None or shutil.which("mvn") is None:
        yield None
        return
    from tests.services import kafka_in

    folder, server = Path(tempfile.mkdtemp(prefix="asof-bench-kafka-")), None
    try:
        server = kafka_in(folder)
        server.start()
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _produce(topic: dict[str, Any], rows: int) -> None:
    """One message an event; all of a body have the time of its last event."""
    import msgspec
    from confluent_kafka import Producer

    failed: list[Any] = []
    producer = Producer({"bootstrap.servers": topic["servers"], "linger.ms": 20, "acks": "all"})
    raws = msgspec.json.Decoder(list[msgspec.Raw])
    for body, _, until_us in stream_data.payments(rows).bodies():
        for event in raws.decode(body):
            producer.produce(
                topic["topic"], bytes(event), timestamp=-(-until_us // 1_000),
                on_delivery=lambda error, _: failed.append(error) if error else None,
            )  # fmt: skip
        producer.flush(_BACKLOG_S)
    if failed or len(producer):
        raise SideFailed(f"Kafka took not all messages: {failed[:1]}")
