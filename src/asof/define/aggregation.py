"""Aggregations: `sum("amount").where("direction = 'debit'").over("1d", "7d")`, and the features that they
become.

An `Aggregation` is what a user writes; it is immutable, and every method gives a new one. A view expands it
into one `Feature` per window. Names are predictable: `{column}_{function}_{window}`, with `_by_{key}` and the
window's own words (`_offset_7d`, `_hop_5m`, `_closed_right`) where they differ from the default;
docs/reference/definitions.md has the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from asof.clock import format_duration, parse_duration
from asof.define.deprecated import Deprecated
from asof.define.names import check_name
from asof.define.window import LIFETIME, Closed, Duration, Window, parse_window
from asof.errors import DefinitionError

Params = tuple[tuple[str, float | int], ...]

# function -> may stand without a column
FUNCTIONS: dict[str, bool] = {
    "count": True,
    "sum": False,
    "mean": False,
    "min": False,
    "max": False,
    "var": False,
    "std": False,
    "first": False,
    "last": False,
    "distinct": False,
    "approx_distinct": False,
    "quantile": False,
    "topk": False,
    "decayed_sum": False,
    "ratio": True,
    "latest": False,
}
MAX_N = 1000


@dataclass(frozen=True)
class Feature:
    """One column of a view, ready to compute: a function over a column, a window, a filter and a secondary
    key.
    """

    name: str
    function: str
    column: str | None
    window: Window
    predicate: str | None = None
    by: str | None = None
    params: Params = ()
    parts: tuple[Feature, ...] = ()
    ttl_us: int | None = None
    description: str = field(default="", compare=False)
    deprecated: Deprecated | None = field(default=None, compare=False)

    def param(self, name: str, default: float = 0) -> float:
        """The value of one parameter (`n`, `q`, `k`, `half_life_us`, `empty`)."""
        return dict(self.params).get(name, default)


@dataclass(frozen=True)
class Aggregation:
    """A function over events, its windows, its filter, its secondary key and its name. See `sum`, `count` and
    the others.
    """

    function: str
    column: str | None = None
    params: Params = ()
    predicate: str | None = None
    key: str | None = None
    windows: tuple[Window, ...] = ()
    name: str | None = None
    parts: tuple[Aggregation, ...] = ()
    description: str = field(default="", compare=False)
    deprecation: Deprecated | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.column is None and not FUNCTIONS[self.function]:
            raise DefinitionError(f"{self.function}(): needs a column", hint=f'{self.function}("amount")')
        if self.column is not None:
            check_name(f"{self.function}: column", self.column)

    def over(
        self,
        *sizes: Duration,
        offset: Duration | None = None,
        closed: Closed = "left",
        hop: Duration | None = None,
    ) -> Aggregation:
        """The same aggregation over these windows, added to those it has; `"lifetime"` is everything before
        t.

        Raises:
            DefinitionError: no size, a duration that is none, or parts that do not go together.

        Example:
            >>> [f.name for f in count().over("1h", "1d", closed="right").features("view 'v'")]
            ['count_1h_closed_right', 'count_1d_closed_right']
        """
        if not sizes:
            raise DefinitionError(
                f"{self.words}.over(): no window", hint='.over("1d", "30d") or .over("lifetime")'
            )
        new = tuple(parse_window(size, offset=offset, closed=closed, hop=hop) for size in sizes)
        return replace(self, windows=self.windows + new)

    def where(self, predicate: str) -> Aggregation:
        """Only the events for which this SQL predicate holds (null counts as false). Such a feature needs
        `.named`.
        """
        if not predicate.strip():
            raise DefinitionError(f"{self.words}.where(): empty predicate")
        if self.parts:
            raise DefinitionError(f"{self.words}.where(): filter the two parts of a ratio, not the ratio")
        joined = predicate if self.predicate is None else f"({self.predicate}) and ({predicate})"
        return replace(self, predicate=joined)

    def by(self, column: str) -> Aggregation:
        """A map: the aggregation for each value of a secondary key (spend per merchant category)."""
        if self.function in {"ratio", "latest"} or (
            self.function in {"first", "last", "topk"} and self.params
        ):
            raise DefinitionError(f"{self.words}.by(): a map holds single values, not lists or ratios")
        return replace(self, key=check_name("by: column", column))

    def named(self, name: str) -> Aggregation:
        """The same under a name of your own; `{window}` in it stands for the window's label (needed for
        several windows).

        Example:
            >>> debits = count().where("direction = 'debit'").over("1d", "7d").named("debits_{window}")
            >>> [f.name for f in debits.features("view 'v'")]
            ['debits_1d', 'debits_7d']
        """
        check_name("feature", name.replace("{window}", "w"))
        return replace(self, name=name)

    def described(self, text: str) -> Aggregation:
        """The same with a description, which is no part of the fingerprint."""
        return replace(self, description=text)

    def deprecated(self, on: str, *, use: str = "", note: str = "") -> Aggregation:
        """The same, to be left from a date (`2027-01-31`) on; see `Deprecated`."""
        return replace(self, deprecation=Deprecated(on, use, note))

    def features(self, where: str) -> tuple[Feature, ...]:
        """One feature for each window, named.

        Raises:
            DefinitionError: no window where one is needed, or a name that cannot be made.
        """
        windows = self.windows or self._default_windows(where)
        if self.name is not None and len(windows) > 1 and "{window}" not in self.name:
            hint = f'.named("{self.name}_{{window}}")'
            raise DefinitionError(f"{where}: {self.name!r} names {len(windows)} windows", hint=hint)
        if self.name is None and (self.predicate is not None or any(p.predicate for p in self.parts)):
            raise DefinitionError(f"{where}: {self.words} has a filter and no name", hint='add .named("...")')
        return tuple(self._feature(window) for window in windows)

    def _feature(self, window: Window) -> Feature:
        parts = tuple(
            replace(part, windows=(window,), name="part").features(self.words)[0] for part in self.parts
        )
        name = self._auto_name(window) if self.name is None else self.name.replace("{window}", window.label)
        return Feature(
            name, self.function, self.column, window, self.predicate, self.key, self.params, parts,
            description=self.description, deprecated=self.deprecation,
        )  # fmt: skip

    def _default_windows(self, where: str) -> tuple[Window, ...]:
        if self.function in {"first", "last"}:
            return (parse_window(LIFETIME),)
        raise DefinitionError(
            f"{where}: {self.words} has no window", hint='add .over("1d", "30d") or .over("lifetime")'
        )

    def _auto_name(self, window: Window) -> str:
        words = [self.column] if self.column else []
        words += [self.function, *_param_words(self.function, dict(self.params))]
        for part in self.parts:
            words += [word for word in (part.column, part.function) if word]
        if self.key:
            words += ["by", self.key]
        if window.label != LIFETIME or self.function not in {"first", "last"}:
            words.append(window.label)
        return "_".join(words)

    @property
    def words(self) -> str:
        """The aggregation as it was written, for messages."""
        return f"{self.function}({self.column or ''})"


def _param_words(function: str, params: dict[str, float | int]) -> list[str]:
    if function in {"first", "last", "topk"}:
        return [str(params[key]) for key in ("n", "k") if key in params]
    if function == "quantile":
        return [f"p{params['q'] * 100:g}".replace(".", "_")]
    if function == "decayed_sum":
        return [format_duration(int(params["half_life_us"]))]
    return []


def _limited(function: str, name: str, value: int) -> int:
    if not 1 <= value <= MAX_N:
        raise DefinitionError(f"{function}: {name}={value} is not in 1 to {MAX_N}")
    return value


def count(column: str | None = None) -> Aggregation:
    """How many events; with a column, how many with a non-null value. Empty: 0."""
    return Aggregation("count", column)


def sum(column: str) -> Aggregation:
    """Sum of a column; exact for integers and decimals, an overflow is an error. Empty: 0."""
    return Aggregation("sum", column)


def mean(column: str) -> Aggregation:
    """Mean of the non-null values, as float64, from the exact sum for integers and decimals. Empty: null."""
    return Aggregation("mean", column)


def min(column: str) -> Aggregation:
    """Smallest non-null value. Empty: null."""
    return Aggregation("min", column)


def max(column: str) -> Aggregation:
    """Largest non-null value. Empty: null."""
    return Aggregation("max", column)


def var(column: str) -> Aggregation:
    """Sample variance (n - 1). Fewer than two values: null."""
    return Aggregation("var", column)


def std(column: str) -> Aggregation:
    """Sample standard deviation (n - 1). Fewer than two values: null."""
    return Aggregation("std", column)


def first(column: str, n: int | None = None) -> Aggregation:
    """The oldest non-null value, or with `n` the list of the n oldest, oldest first. Empty: null, or an empty
    list.
    """
    return Aggregation("first", column, () if n is None else (("n", _limited("first", "n", n)),))


def last(column: str, n: int | None = None) -> Aggregation:
    """The newest non-null value, or with `n` the list of the n newest, newest first. Empty: null, or an empty
    list.
    """
    return Aggregation("last", column, () if n is None else (("n", _limited("last", "n", n)),))


def distinct(column: str) -> Aggregation:
    """How many different non-null values, exactly. Empty: 0."""
    return Aggregation("distinct", column)


def approx_distinct(column: str) -> Aggregation:
    """About how many different non-null values (HyperLogLog, 4096 registers, standard error 1.6 %). Empty: 0."""
    return Aggregation("approx_distinct", column)


def quantile(column: str, q: float) -> Aggregation:
    """The q-quantile within 1 % relative error, 0 <= q <= 1 (DDSketch buckets). Empty: null."""
    if not 0 <= q <= 1:
        raise DefinitionError(f"quantile({column}): q={q} is not in 0 to 1")
    return Aggregation("quantile", column, (("q", float(q)),))


def topk(column: str, k: int) -> Aggregation:
    """The k most frequent non-null values, most frequent first; ties by value. Empty: an empty list."""
    return Aggregation("topk", column, (("k", _limited("topk", "k", k)),))


def decayed_sum(column: str, half_life: Duration) -> Aggregation:
    """Sum of value * 2^(-(t - event time) / half_life), as float64. Empty: 0."""
    half_life_us = parse_duration(half_life)
    if half_life_us <= 0:
        raise DefinitionError(f"decayed_sum({column}): half_life={half_life!r} is not positive")
    return Aggregation("decayed_sum", column, (("half_life_us", half_life_us),))


def ratio(numerator: Aggregation, denominator: Aggregation, *, empty: float | None = None) -> Aggregation:
    """One aggregation divided by another over the same window, as float64; `empty` stands where the divisor
    is 0 or null.

    Raises:
        DefinitionError: a part that has windows, a secondary key or parts of its own, or that is no number.
    """
    numbers = {"count", "sum", "mean", "min", "max", "var", "std", "distinct", "approx_distinct", "quantile",
               "decayed_sum"}  # fmt: skip
    for part in (numerator, denominator):
        if part.windows or part.key or part.parts or part.function not in numbers:
            raise DefinitionError(
                f"ratio: {part.words} cannot be a part",
                hint="parts are plain numbers without window: ratio(sum('a'), count()).over('7d')",
            )
    params: Params = () if empty is None else (("empty", float(empty)),)
    return Aggregation("ratio", None, params, parts=(numerator, denominator))


@dataclass(frozen=True, init=False)
class Latest:
    """Newest visible values of columns, as an as-of join, within ttl. See `latest`."""

    columns: tuple[str, ...]
    ttl_us: int | None = None
    names: tuple[str, ...] = ()

    def __init__(self, columns: Sequence[str], ttl_us: int | None = None, names: Sequence[str] = ()) -> None:
        if not columns:
            raise DefinitionError("latest(): no column", hint='latest("tier", ttl="90d")')
        for name in (*columns, *names):
            check_name("latest: column", name)
        object.__setattr__(self, "columns", tuple(columns))
        object.__setattr__(self, "ttl_us", ttl_us)
        object.__setattr__(self, "names", tuple(names) or tuple(columns))

    def named(self, *names: str) -> Latest:
        """The same under other names, one for each column."""
        if len(names) != len(self.columns):
            raise DefinitionError(f"latest: {len(names)} names for {len(self.columns)} columns")
        return Latest(self.columns, self.ttl_us, names)

    def features(self, where: str) -> tuple[Feature, ...]:
        """One feature for each column."""
        del where
        window = Window(None, closed="right")
        return tuple(
            Feature(name, "latest", column, window, ttl_us=self.ttl_us)
            for name, column in zip(self.names, self.columns, strict=True)
        )


def latest(*columns: str, ttl: Duration | None = None) -> Latest:
    """The newest visible row's values with event time <= t; null when the row is older than `ttl` (age == ttl
    is kept).

    Unlike `last`, a null in the newest row stays null, as in an as-of join.
    """
    return Latest(columns, None if ttl is None else parse_duration(ttl))
