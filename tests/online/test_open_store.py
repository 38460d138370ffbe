"""Addresses, entry points, batches and retries: what all online stores share."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib.metadata import EntryPoint, entry_points

import pytest

from asof.errors import BackendError, ConfigError, MissingExtra
from asof.online import open_store as module
from asof.online.batches import batches_of
from asof.online.open_store import open_store
from asof.online.retry import Deadline, Retries
from asof.online.store import OnlineStore
from asof.online.store_url import parse_store_url


def test_every_entry_point_is_a_store():
    methods = {name for name, _ in inspect.getmembers(OnlineStore, inspect.isfunction) if name[0] != "_"}
    for each in entry_points(group="asof.online"):
        found = each.load()
        assert methods | {"capabilities"} <= set(dir(found)), each.name


def test_a_store_of_another_package_is_found_by_its_scheme(monkeypatch, tmp_path):
    ours = EntryPoint("sharded", "asof.online.lmdb:LmdbStore", "asof.online")
    monkeypatch.setattr(module, "entry_points", lambda **_: [ours])
    store = open_store("sharded:///online", root=tmp_path)
    assert store.write("v1", [(b"ann", b"1")]) == 1
    store.close()


def test_a_scheme_without_a_store_is_told_with_those_that_there_are():
    with pytest.raises(ConfigError, match=r"'rediz'\nhint: did you mean 'redis'\?"):
        open_store("rediz://localhost")
    with pytest.raises(
        ConfigError, match=r"'mysql'\nhint: allowed: dynamodb, lmdb, postgresql, redis, redis\+cluster"
    ):
        open_store("mysql://localhost")


@pytest.mark.parametrize(
    "url",
    [
        "redis://app:hunter2@cache",
        "redis://:hunter2@cache",
        "postgresql://db/x?password=hunter2",
        "dynamodb://eu/t?aws_secret_access_key=hunter2",
        "hunter2",
        "redis://cache:hunter2",
        "redis://[hunter2",
        "redis://cache/?=&hunter2",
    ],
)
def test_an_address_that_is_none_or_holds_a_password_is_refused_and_not_repeated(url):
    with pytest.raises(ConfigError) as caught:
        open_store(url)
    assert "hunter2" not in str(caught.value) + str(caught.value.facts)


def test_a_relative_folder_starts_at_the_root_and_an_absolute_one_does_not(tmp_path):
    assert parse_store_url("lmdb:///a/b", tmp_path).folder == tmp_path / "a" / "b"
    assert parse_store_url(f"lmdb:///{tmp_path}/x").folder == tmp_path / "x"


@pytest.mark.parametrize(
    ("module_name", "library", "extra"),
    [("redis", "redis", "redis"), ("postgres", "psycopg", "postgres"), ("dynamodb", "boto3", "dynamodb")],
)
def test_a_driver_that_is_not_installed_is_told_with_its_extra(module_name, library, extra):
    code = f"""
import sys
sys.modules[{library!r}] = None
sys.modules[{library!r} + '.session'] = None
from asof.errors import MissingExtra
try:
    import asof.online.{module_name}
except MissingExtra as error:
    print(error.facts["extra"], error.hint)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{extra} pip install 'asof[{extra}]'\n"
    assert issubclass(MissingExtra, ImportError)


def test_batches_are_cut_by_number_and_by_size_and_keep_the_order():
    items = [(b"%d" % n, bytes(n)) for n in range(10)]
    options = {"max_record_bytes": None, "store": "test"}
    by_number = list(batches_of(items, max_items=4, max_bytes=1_000, **options))
    assert [len(batch) for batch in by_number] == [4, 4, 2]
    by_size = list(batches_of(items, max_items=100, max_bytes=12, **options))
    assert [item for batch in by_size for item in batch] == items
    assert all(sum(len(k) + len(r) for k, r in batch) <= 12 for batch in by_size)
    assert list(batches_of([(b"a", bytes(50))], max_items=4, max_bytes=12, **options)) == [
        [(b"a", bytes(50))]
    ]


class Failing:
    """A call that fails so many times, and a clock that its pauses move."""

    def __init__(self, times: int, *, retryable: bool = True) -> None:
        self.left, self.retryable = times, retryable
        self.calls, self.now_s = 0, 0.0
        self.pauses: list[float] = []

    def __call__(self) -> str:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise BackendError(f"failure {self.calls}", retryable=self.retryable)
        return "done"

    def sleep(self, wait_s: float) -> None:
        self.pauses.append(wait_s)
        self.now_s += wait_s

    def run(self, attempts: int = 4, wait_s: float = 1.0, draw: float = 1.0) -> str:
        retries = Retries(attempts=attempts, draw=lambda: draw, sleep=self.sleep)
        return retries.run(self, Deadline(wait_s, now=lambda: self.now_s))


def test_a_call_is_made_again_after_pauses_that_double():
    call = Failing(3)
    assert call.run() == "done"
    assert call.pauses == [0.01, 0.02, 0.04]
    halves = Failing(3)
    assert halves.run(draw=0.5) == "done"
    assert halves.pauses == [0.005, 0.01, 0.02]


def test_attempts_are_bounded_and_the_last_error_is_raised():
    call = Failing(99)
    with pytest.raises(BackendError, match="failure 4"):
        call.run()
    assert call.calls == 4


def test_what_does_not_pass_is_not_tried_again():
    call = Failing(99, retryable=False)
    with pytest.raises(BackendError, match="failure 1"):
        call.run()
    assert call.pauses == []


def test_no_pause_ends_after_the_deadline():
    call = Failing(99)
    with pytest.raises(BackendError, match="failure 3"):
        call.run(attempts=50, wait_s=0.05)
    assert call.pauses == [0.01, 0.02]
