"""The one door to Numba: kernels that compile at their first call, cached on disk, and run without the GIL.

`@kernel` marks a function over NumPy arrays. Numba itself is imported when the first kernel is called, so a
path that computes nothing never pays for it. A kernel may call other kernels by their names; a change in the file of
one renews the cache of all that call it. `on_compile` lets a flow tell its user why the first run takes longer.
"""

from __future__ import annotations

import importlib
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import RLock
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
_LOCK = RLock()
_CHUNKS_PER_THREAD = 4
_MIN_CHUNK = 2048
_state: dict[str, Callable[[str], None] | None] = {"listener": None}


def on_compile(listener: Callable[[str], None] | None) -> None:
    """Call `listener(kernel name)` before a kernel is compiled for the first time on this machine (not when
    it is cached).
    """
    _state["listener"] = listener


class Kernel(Generic[P, R]):
    """A function that Numba compiles at its first call."""

    def __init__(self, function: Callable[P, R], *, inline: bool = False) -> None:
        self.function, self.inline = function, inline
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__
        self._compiled: Callable[P, R] | None = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        compiled = self._compiled
        if compiled is None:
            compiled = self.compiled()
        return compiled(*args, **kwargs)

    def compiled(self) -> Callable[P, R]:
        """Numba's dispatcher for this function and the kernels that it calls."""
        with _LOCK:
            if self._compiled is None:
                self._compiled = self._compile()
        return self._compiled

    def _compile(self) -> Callable[P, R]:
        numba: Any = importlib.import_module("numba")
        code = self.function.__code__
        scope = dict(self.function.__globals__)
        for name, callee in self._callees().items():
            scope[name] = callee.compiled()
        plain = types.FunctionType(code, scope, self.function.__name__, self.function.__defaults__)
        plain.__module__ = self.function.__module__
        plain.__qualname__ = self.function.__qualname__
        inline = "always" if self.inline else "never"
        made = numba.njit(nogil=True, cache=not self.inline, error_model="numpy", inline=inline)(plain)
        if self.inline:
            return made
        self._depend_on_callees(made)
        return self._announcing(made)

    def _callees(self) -> dict[str, Kernel[Any, Any]]:
        scope = self.function.__globals__
        named = {name: scope.get(name) for name in self.function.__code__.co_names}
        return {name: each for name, each in named.items() if isinstance(each, Kernel)}

    def files(self) -> set[str]:
        """The files of this function and of every kernel that it calls."""
        return {self.function.__code__.co_filename}.union(
            *(callee.files() for callee in self._callees().values())
        )

    def _depend_on_callees(self, made: Any) -> None:
        """Numba renews its cache when the kernel's own file changes; those of the kernels that it calls count too."""
        cache = made._cache  # noqa: SLF001 - Numba has no other way to say what a cache depends on
        if len(files := self.files()) > 1:
            stamps = tuple((Path(file).stat().st_mtime, Path(file).stat().st_size) for file in sorted(files))
            cache._cache_file._source_stamp = stamps  # noqa: SLF001

    def _announcing(self, made: Any) -> Any:
        cache = made._cache  # noqa: SLF001 - the one place where Numba says whether a kernel is on disk
        load_one = cache.load_overload

        def load_or_tell(signature: Any, target: Any) -> Any:
            found = load_one(signature, target)
            listener = _state["listener"]
            if found is None and listener is not None:
                listener(self.__name__)
            return found

        cache.load_overload = load_or_tell
        return made


def kernel(function: Callable[P, R]) -> Kernel[P, R]:
    """Mark a function as a kernel."""
    return Kernel(function)


def inlined(function: Callable[P, R]) -> Kernel[P, R]:
    """Mark a function as a part of the kernels that call it: no call is made, however many arrays it takes."""
    return Kernel(function, inline=True)


class _Borrowed(Kernel[..., Any]):
    """`borrowed(array)` within a kernel: the same array, not counted. Numba counts references with atomic operations,
    which cost more than the work on a window of a few rows. The array that was borrowed has to outlive the other.
    """

    def _compile(self) -> Any:
        extending: Any = importlib.import_module("numba.extending")

        def borrow(context: Any, array: Any) -> Any:
            del context

            def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                made = context.make_array(signature.return_type)(context, builder, args[0])
                made.meminfo = made.meminfo.type(None)
                made.parent = made.parent.type(None)
                return made._getvalue()  # noqa: SLF001 - how Numba's own code does it

            return array(array), generate

        return extending.intrinsic(borrow)


def _borrow(array: Any) -> Any:
    return array


_borrow.__name__ = "borrowed"
borrowed = _Borrowed(_borrow)


def in_chunks(n: int, threads: int, run: Callable[[int, int], None]) -> None:
    """Call `run(start, stop)` over ranges that cover 0..n, on `threads` threads (kernels release the GIL)."""
    chunks = min(max(1, threads) * _CHUNKS_PER_THREAD, max(1, n // _MIN_CHUNK)) if threads > 1 else 1
    if chunks == 1:
        run(0, n)
        return
    edges = [n * i // chunks for i in range(chunks + 1)]
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(run, edges[i], edges[i + 1]) for i in range(chunks)]:
            done.result()
