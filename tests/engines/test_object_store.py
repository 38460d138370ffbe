"""Histories in an object store: a real S3 API on loopback, through Arrow's filesystem."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer
from pyarrow import fs

import asof
from asof.errors import BackendError, SourceNotFound
from tests.flows.conftest import ROWS, spine_of

ACCOUNT = asof.Entity("account", keys={"account_id": "string"})


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[fs.S3FileSystem]:
    """An empty bucket named `bank`; the environment names the server, as it names a region in production."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    values = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    store = fs.S3FileSystem(endpoint_override=f"127.0.0.1:{port}", scheme="http", allow_bucket_creation=True)
    store.create_dir("bank")
    yield store
    server.stop()


def _view(path: str, *, hive: bool = False) -> asof.FeatureView:
    source = asof.Events("tx", asof.Parquet(path, hive=hive), event_time="at")
    return asof.FeatureView("v", entity=ACCOUNT, source=source, features=[asof.sum("amount").over("1d")])


@pytest.mark.parametrize("path", ["s3://bank/tx/*.parquet", "s3://bank/**/*.parquet"])
def test_files_of_a_bucket_are_read_and_identified(bucket: fs.S3FileSystem, path: str) -> None:
    pq.write_table(ROWS.slice(0, 2), "bank/tx/1.parquet", filesystem=bucket)
    pq.write_table(ROWS.slice(2), "bank/tx/2.parquet", filesystem=bucket)
    made = asof.Project([]).training_set([_view(path)], spine=spine_of([("a", 3), ("b", 3), ("c", 3)]))
    assert made.table["amount_sum_1d"].to_pylist() == [12.0, 9.0, 0.0]
    assert [shot["name"] for shot in made.manifest.sources["tx"]] == [
        "bank/tx/1.parquet",
        "bank/tx/2.parquet",
    ]


def test_a_pattern_without_an_object_is_told(bucket: fs.S3FileSystem) -> None:
    pq.write_table(ROWS, "bank/tx/1.parquet", filesystem=bucket)
    with pytest.raises(SourceNotFound, match="nothing"):
        asof.Project([]).training_set([_view("s3://bank/tx/nothing-*.parquet")], spine=spine_of([("a", 3)]))


def test_a_store_that_does_not_answer_is_a_failure_that_may_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(BackendError) as caught:
        asof.Project([]).training_set([_view("s3://bank/tx/*.parquet")], spine=spine_of([("a", 3)]))
    assert caught.value.retryable
