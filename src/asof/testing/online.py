"""What every online store must do, as tests: subclass `OnlineStoreContract`, give it a fixture `store`, run pytest.

Each test works in namespaces of its own, so that one server may serve all of them, one after another or at one time.

Example:
    A package with a store of its own has this in its tests:

    ```python
    class TestMyStore(OnlineStoreContract):
        @pytest.fixture
        def store(self):
            store = open_store("mystore://localhost")
            yield store
            store.close()
    ```
"""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from asof.errors import BackendError
from asof.online.store import MAX_KEY_BYTES, META_KEY, OnlineStore

PATIENCE_S = 15.0


def new_namespace() -> str:
    """A namespace that nobody has used, named as asof names those of versions."""
    return f"v{secrets.token_hex(12)}"


def failure_of(call: Callable[[], object]) -> BackendError:
    """The `BackendError` that a call raises."""
    try:
        call()
    except BackendError as error:
        return error
    raise AssertionError("no BackendError was raised")


class RecordContract:
    """What holds for records; `store` is a fixture that gives an open store, in any state."""

    large_record_bytes = 1_000_000
    """A record of this size is kept, or of the store's limit where that is smaller."""

    def test_records_come_in_the_order_of_what_is_wanted(self, store: OnlineStore) -> None:
        one, other = new_namespace(), new_namespace()
        assert store.write(one, [(b"ann", b"1"), (b"bob", b"2")]) == 2
        assert store.write(other, [(b"ann", b"3")]) == 1
        wanted = [(other, [b"ann"]), (one, [b"bob", b"ann"])]
        assert store.get(wanted) == [b"3", b"2", b"1"]

    def test_what_is_not_there_is_none(self, store: OnlineStore) -> None:
        name = new_namespace()
        store.write(name, [(b"ann", b"1")])
        assert store.get([(name, [b"x", b"ann", b"annn", b"an"])]) == [None, b"1", None, None]
        assert store.get([(new_namespace(), [b"ann"])]) == [None]

    def test_nothing_wanted_is_an_empty_answer(self, store: OnlineStore) -> None:
        assert store.get([]) == []
        assert store.get([(new_namespace(), [])]) == []
        assert store.write(new_namespace(), []) == 0
        assert store.delete(new_namespace(), []) == 0

    def test_a_key_that_is_wanted_twice_comes_twice(self, store: OnlineStore) -> None:
        name = new_namespace()
        store.write(name, [(b"ann", b"1")])
        assert store.get([(name, [b"ann", b"x", b"ann"]), (name, [b"ann"])]) == [b"1", None, b"1", b"1"]

    def test_keys_are_any_bytes(self, store: OnlineStore) -> None:
        name = new_namespace()
        keys = [
            META_KEY,
            b"\x00",
            b"a\x00",
            b"a\x00b",
            b"a",
            b"\xff\xfe",
            b"}",
            b"{",
            b"{a}",
            b"a}:b",
            b"*?[a]\\",
        ]
        keys += [
            "ü|ß".encode(),
            bytes(range(256)),
            b"\n\r\n",
            b"k" * MAX_KEY_BYTES,
            b"k" * (MAX_KEY_BYTES - 1),
        ]
        store.write(name, [(key, b"<" + key + b">") for key in keys])
        assert store.get([(name, keys)]) == [b"<" + key + b">" for key in keys]
        assert dict(store.scan(name)) == {key: b"<" + key + b">" for key in keys}
        store.delete(name, keys[:-1])
        assert list(store.scan(name)) == [(keys[-1], b"<" + keys[-1] + b">")]

    def test_records_are_any_bytes(self, store: OnlineStore) -> None:
        name = new_namespace()
        records = [b"", b"\x00", b"\x00\x01\x00", b"\xff" * 1_000, random.Random(1).randbytes(10_000)]
        store.write(name, [(b"%d" % number, record) for number, record in enumerate(records)])
        assert store.get([(name, [b"%d" % number for number in range(len(records))])]) == records

    def test_a_large_record_is_kept_whole(self, store: OnlineStore) -> None:
        name, most = new_namespace(), store.capabilities.max_record_bytes
        record = random.Random(2).randbytes(min(self.large_record_bytes, most or self.large_record_bytes))
        store.write(name, [(b"large", record), (b"small", b"1")])
        assert store.get([(name, [b"small", b"large"])]) == [b"1", record]

    def test_a_record_or_key_above_the_limit_is_refused_with_its_size(self, store: OnlineStore) -> None:
        name, most = new_namespace(), store.capabilities.max_record_bytes
        error = failure_of(lambda: store.write(name, [(b"k" * (MAX_KEY_BYTES + 1), b"")]))
        assert (error.retryable, error.facts["size_bytes"]) == (False, MAX_KEY_BYTES + 1)
        if most is not None and most < 2**24:
            error = failure_of(lambda: store.write(name, [(b"large", bytes(most + 1))]))
            assert (error.retryable, error.facts["size_bytes"]) == (False, most + 1)
        assert list(store.scan(name)) == []

    def test_a_write_replaces_and_may_be_repeated(self, store: OnlineStore) -> None:
        name = new_namespace()
        for record in (b"a longer record", b"1", b"1"):
            assert store.write(name, [(b"ann", record)]) == 1
            assert store.get([(name, [b"ann"])]) == [record]
        assert list(store.scan(name)) == [(b"ann", b"1")]

    def test_the_last_of_two_records_with_one_key_counts(self, store: OnlineStore) -> None:
        name = new_namespace()
        store.write(name, [(b"ann", b"1"), (b"bob", b"2"), (b"ann", b"3")])
        assert store.get([(name, [b"ann", b"bob"])]) == [b"3", b"2"]

    def test_many_records_are_written_from_an_iterator(self, store: OnlineStore) -> None:
        name, count = new_namespace(), 2_500
        assert store.write(name, ((b"%d" % n, b"r%d" % n) for n in range(count))) == count
        assert store.get([(name, [b"%d" % n for n in range(count)])]) == [b"r%d" % n for n in range(count)]
        assert dict(store.scan(name)) == {b"%d" % n: b"r%d" % n for n in range(count)}


class SwapContract:
    """What holds for records that take the place of those that are expected."""

    def test_a_record_takes_the_place_of_the_expected_one_only(self, store: OnlineStore) -> None:
        name = new_namespace()
        store.write(name, [(b"ann", b"1"), (b"bob", b"2"), (b"cat", b"")])
        swaps = [
            (b"new", None, b"5"),
            (b"bob", b"3", b"6"),
            (b"ann", b"1", b"7"),
            (b"cat", None, b"8"),
            (b"dan", b"", b"9"),
        ]
        assert store.swap(name, swaps) == [True, False, True, False, False]
        assert sorted(store.scan(name)) == [(b"ann", b"7"), (b"bob", b"2"), (b"cat", b""), (b"new", b"5")]
        assert store.swap(name, [(b"cat", b"", b"\x00"), (b"ann", b"1", b"8")]) == [True, False]
        assert store.get([(name, [b"cat", b"ann"])]) == [b"\x00", b"7"]

    def test_what_takes_no_place_is_removed_where_it_is_expected(self, store: OnlineStore) -> None:
        name = new_namespace()
        store.write(name, [(b"ann", b"1"), (b"bob", b"2")])
        swaps = [(b"bob", b"1", None), (b"cat", b"1", None), (b"ann", b"1", None), (b"dan", None, None)]
        assert store.swap(name, swaps) == [False, False, True, True]
        assert store.swap(name, [(b"bob", None, None)]) == [False]
        assert list(store.scan(name)) == [(b"bob", b"2")]

    def test_a_swap_that_was_made_is_not_made_again(self, store: OnlineStore) -> None:
        name = new_namespace()
        assert store.swap(name, [(b"ann", None, b"1")]) == [True]
        assert store.swap(name, [(b"ann", None, b"1")]) == [False]
        assert store.swap(name, [(b"ann", b"0", b"1")]) == [False]
        assert store.swap(name, [(b"ann", b"1", b"1")]) == [True]

    def test_no_swaps_are_an_empty_answer(self, store: OnlineStore) -> None:
        assert store.swap(new_namespace(), []) == []

    def test_many_swaps_are_answered_in_their_order(self, store: OnlineStore) -> None:
        name, count = new_namespace(), 2_500
        keys = [b"%d" % (n * 1_237 % count) for n in range(count)]
        store.write(name, [(key, b"old" + key) for key in keys[::3]])
        swaps = [(key, b"old" + key, b"new" + key) for key in keys]
        assert store.swap(name, swaps) == [n % 3 == 0 for n in range(count)]
        found = store.get([(name, keys)])
        assert found == [b"new" + key if n % 3 == 0 else None for n, key in enumerate(keys)]

    def test_a_key_that_is_swapped_twice_or_a_record_above_the_limit_is_refused(
        self, store: OnlineStore
    ) -> None:
        name, most = new_namespace(), store.capabilities.max_record_bytes
        error = failure_of(lambda: store.swap(name, [(b"ann", None, b"1"), (b"ann", b"1", b"2")]))
        assert ("twice" in error.message, error.retryable) == (True, False)
        error = failure_of(lambda: store.swap(name, [(b"k" * (MAX_KEY_BYTES + 1), None, b"")]))
        assert (error.retryable, error.facts["size_bytes"]) == (False, MAX_KEY_BYTES + 1)
        if most is not None and most < 2**24:
            error = failure_of(lambda: store.swap(name, [(b"large", None, bytes(most + 1))]))
            assert (error.retryable, error.facts["size_bytes"]) == (False, most + 1)
        assert list(store.scan(name)) == []

    def test_a_large_record_is_swapped_whole(self, store: OnlineStore) -> None:
        name, most = new_namespace(), store.capabilities.max_record_bytes
        size_bytes = min(300_000, most or 300_000)
        old, new = random.Random(3).randbytes(size_bytes), random.Random(4).randbytes(size_bytes)
        store.write(name, [(b"large", old)])
        assert store.swap(name, [(b"large", old[:-1] + b"?", new)]) == [False]
        assert store.swap(name, [(b"large", old, new)]) == [True]
        assert store.get([(name, [b"large"])]) == [new]

    def test_two_who_count_in_one_record_lose_nothing(self, store: OnlineStore) -> None:
        name, rounds = new_namespace(), 200
        store.write(name, [(b"count", b"0")])

        def work() -> None:
            for _ in range(rounds):
                while True:
                    (seen,) = store.get([(name, [b"count"])])
                    assert seen is not None
                    if store.swap(name, [(b"count", seen, b"%d" % (int(seen) + 1))]) == [True]:
                        break

        with ThreadPoolExecutor(2) as pool:
            for running in [pool.submit(work) for _ in range(2)]:
                running.result()
        assert store.get([(name, [b"count"])]) == [b"400"]

    def test_of_many_who_swap_the_same_records_one_gets_each(self, store: OnlineStore) -> None:
        name, keys = new_namespace(), [b"%d" % n for n in range(40)]
        store.write(name, [(key, b"old") for key in keys[:20]])

        def work(worker: int) -> list[bool]:
            order = random.Random(worker).sample(keys, len(keys))
            swaps = [(key, b"old" if int(key) < 20 else None, b"%d" % worker) for key in order]
            made = dict(zip(order, store.swap(name, swaps), strict=True))
            return [made[key] for key in keys]

        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(work, range(4)))
        assert [sum(each) for each in zip(*answers, strict=True)] == [1] * len(keys)
        winners = [b"%d" % each.index(True) for each in zip(*answers, strict=True)]
        assert store.get([(name, keys)]) == winners

    def test_a_swapped_record_has_a_time_to_live_where_the_store_can_do_that(
        self, store: OnlineStore
    ) -> None:
        name = new_namespace()
        if not store.capabilities.expires:
            failure_of(lambda: store.swap(name, [(b"ann", None, b"1")], ttl_s=1))
            return
        store.write(name, [(b"cat", b"1"), (b"dan", b"1")], ttl_s=1_000)
        swaps = [(b"ann", None, b"2"), (b"bob", None, b"2"), (b"cat", b"1", b"2"), (b"dan", b"1", b"2")]
        assert store.swap(name, swaps[::2], ttl_s=1) == [True, True]
        assert store.swap(name, swaps[1:2], ttl_s=1_000) == [True]
        assert store.swap(name, swaps[3:]) == [True]
        for _ in range(int(PATIENCE_S / 0.05)):
            if store.get([(name, [b"ann", b"cat"])]) == [None, None]:
                break
            time.sleep(0.05)
        assert sorted(store.scan(name)) == [(b"bob", b"2"), (b"dan", b"2")]
        assert store.swap(name, [(b"ann", b"2", b"3"), (b"cat", None, b"3")]) == [False, True]


class NamespaceContract:
    """What holds for namespaces, for who shares a store, and for its end."""

    def test_deleted_records_are_gone_and_deleting_may_be_repeated(self, store: OnlineStore) -> None:
        name = new_namespace()
        store.write(name, [(b"ann", b"1"), (b"bob", b"2")])
        for _ in range(2):
            assert store.delete(name, iter([b"ann", b"nobody"])) == 2
            assert store.get([(name, [b"ann", b"bob"])]) == [None, b"2"]

    def test_dropping_a_namespace_leaves_the_others(self, store: OnlineStore) -> None:
        one, other = new_namespace(), new_namespace()
        for name in (one, other):
            store.write(name, [(b"%d" % n, b"1") for n in range(1_200)])
        for _ in range(2):
            store.drop(one)
            assert list(store.scan(one)) == []
        assert store.get([(one, [b"1"]), (other, [b"1"])]) == [None, b"1"]
        assert len(list(store.scan(other))) == 1_200

    def test_namespaces_with_similar_names_do_not_mix(self, store: OnlineStore) -> None:
        base = new_namespace()
        names = [
            base,
            base[:-1],
            f"{base}0",
            f"{base}:x",
            f"x:{base}",
            f"{base[:-1]}*",
            f"a}}:{base}",
            "ü" + base,
        ]
        for name in names:
            store.write(name, [(b"ann", name.encode()), (b"}:" + name.encode(), b"2")])
        for name in names:
            assert store.get([(name, [b"ann"])]) == [name.encode()]
            assert sorted(store.scan(name)) == sorted(
                [(b"ann", name.encode()), (b"}:" + name.encode(), b"2")]
            )
        store.drop(base)
        assert store.get([(name, [b"ann"]) for name in names]) == [
            None,
            *(name.encode() for name in names[1:]),
        ]
        for name in names[1:]:
            store.drop(name)

    def test_a_scan_sees_what_was_there_all_the_time_once(self, store: OnlineStore) -> None:
        name = new_namespace()
        stay = {b"stay%d" % n: b"1" for n in range(1_500)}
        store.write(name, stay.items())
        done = threading.Event()

        def disturb() -> None:
            for turn in range(500):
                store.write(name, [(b"come%d" % (turn * 20 + n), b"2") for n in range(20)])
                store.delete(name, [b"come%d" % (turn * 20 + n) for n in range(10)])
                if done.is_set():
                    return

        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(disturb)
            found = list(store.scan(name))
            done.set()
            running.result()
        assert len(found) == len({key for key, _ in found})
        assert {key: record for key, record in found if key in stay} == stay

    def test_threads_share_a_store(self, store: OnlineStore) -> None:
        name, rounds = new_namespace(), 15

        def work(worker: int) -> None:
            for turn in range(rounds):
                store.write(name, [(b"%d-%d" % (worker, n), b"%d" % turn) for n in range(10)])
                seen = store.get([(name, [b"%d-%d" % (worker, n) for n in range(10)])])
                assert seen == [b"%d" % turn] * 10

        with ThreadPoolExecutor(6) as pool:
            for running in [pool.submit(work, worker) for worker in range(6)]:
                running.result()
        assert len(list(store.scan(name))) == 60

    def test_a_record_with_a_time_to_live_goes_where_the_store_can_do_that(self, store: OnlineStore) -> None:
        name = new_namespace()
        if not store.capabilities.expires:
            failure_of(lambda: store.write(name, [(b"ann", b"1")], ttl_s=1))
            return
        store.write(name, [(b"ann", b"1"), (b"bob", b"2")], ttl_s=1)
        store.write(name, [(b"bob", b"3")])
        store.write(name, [(b"cat", b"4")], ttl_s=1_000)
        for _ in range(int(PATIENCE_S / 0.05)):
            if store.get([(name, [b"ann"])]) == [None]:
                break
            time.sleep(0.05)
        assert store.get([(name, [b"ann", b"bob", b"cat"])]) == [None, b"3", b"4"]
        assert sorted(store.scan(name)) == [(b"bob", b"3"), (b"cat", b"4")]

    def test_a_closed_store_says_so(self, store: OnlineStore) -> None:
        name = new_namespace()
        store.write(name, [(b"ann", b"1")])
        store.close()
        store.close()
        calls: list[Callable[[], object]] = [
            lambda: store.get([(name, [b"ann"])]),
            lambda: store.write(name, [(b"ann", b"1")]),
            lambda: store.swap(name, [(b"ann", None, b"1")]),
            lambda: store.delete(name, [b"ann"]),
            lambda: list(store.scan(name)),
            lambda: store.drop(name),
        ]
        for call in calls:
            error = failure_of(call)
            assert "closed" in error.message
            assert not error.retryable


class OnlineStoreContract(RecordContract, SwapContract, NamespaceContract):
    """The whole contract."""
