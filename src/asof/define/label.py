"""Labels: what happens after t, as known at a cut-off, and when a label is mature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from asof.clock import format_duration, parse_duration
from asof.define.aggregation import Aggregation, Feature
from asof.define.aggregation import count as count_rows
from asof.define.deprecated import Deprecated
from asof.define.entity import Entity
from asof.define.names import check_name, check_people
from asof.define.place import Placed
from asof.define.source import Events, Pairs, Union, _check_zone  # pyright: ignore[reportPrivateUsage]
from asof.define.window import Duration, Window
from asof.errors import DefinitionError, UnknownName, did_you_mean

OTHER = "*"
_VALUES = ("count", "sum", "mean", "min", "max", "distinct")


@dataclass(frozen=True)
class Horizon:
    """How long after t an outcome can still come: an exact duration, or a number of banking days."""

    size_us: int = 0
    banking_days: int = 0
    zone: str = "UTC"

    @property
    def label(self) -> str:
        """The horizon in words: `60d`, `2 banking days`."""
        return f"{self.banking_days} banking days" if self.banking_days else format_duration(self.size_us)


def banking_days(n: int, *, zone: str = "America/New_York") -> Horizon:
    """Until the end of the n-th banking day after t's date in `zone`; weekends and Federal Reserve holidays
    do not count.
    """
    if not 1 <= n <= 250:
        raise DefinitionError(f"banking_days({n}): not in 1 to 250")
    _check_zone("banking_days", zone)
    return Horizon(banking_days=n, zone=zone)


@dataclass(frozen=True)
class Outcome:
    """One outcome code of a label and how long it can take; `code` None counts every event."""

    code: str | None
    horizon: Horizon


@dataclass(frozen=True, init=False)
class Label(Placed):
    """What happens to an entity in `[t, t + horizon)`, as known at the training cut-off.

    Without `value` the label is 1 when any event comes in time, else 0. With `outcome` (a column) and a
    mapping of horizons, every code has its own horizon, `"*"` stands for all other codes, and events of codes
    without a horizon do not count. With `value=sum("amount")` the label is that number. A spine row is
    immature while a horizon is open at the cut-off and (for 0/1 labels) nothing positive is known yet.

    Raises:
        DefinitionError: no horizon, several horizons without `outcome`, or a value that is no number.

    Example:
        >>> from asof import Entity, Events, Label, Parquet, banking_days
        >>> payment = Entity("payment", keys={"payment_id": "string"})
        >>> returns = Events("returns", Parquet("returns.parquet"), event_time="returned_at")
        >>> label = Label(
        ...     "returned",
        ...     entity=payment,
        ...     source=returns,
        ...     outcome="return_code",
        ...     horizon={"R01": banking_days(2), "R10": "60d"},
        ... )
        >>> [outcome.horizon.label for outcome in label.outcomes]
        ['2 banking days', '60d']
    """

    name: str
    entity: Entity
    source: Events | Union
    outcomes: tuple[Outcome, ...]
    outcome: str | None
    value: Aggregation | None
    predicate: str | None
    keys: Pairs = ()
    owner: str = field(default="", compare=False)
    description: str = field(default="", compare=False)
    tags: tuple[str, ...] = field(default=(), compare=False)
    deprecated: Deprecated | None = field(default=None, compare=False)

    def __init__(
        self,
        name: str,
        *,
        entity: Entity,
        source: Events | Union,
        horizon: Duration | Horizon | Mapping[str, Duration | Horizon],
        outcome: str | None = None,
        value: Aggregation | None = None,
        where: str | None = None,
        keys: Mapping[str, str] | None = None,
        owner: str = "",
        description: str = "",
        tags: Sequence[str] = (),
        deprecated: Deprecated | None = None,
    ) -> None:
        place = f"label {check_name('label', name)!r}"
        check_people(place, owner, description, tags)
        for key in keys or {}:
            if key not in entity.keys:
                hint = did_you_mean(key, entity.keys.names)
                raise UnknownName(f"{place}: entity {entity.name!r} has no key {key!r}", hint=hint, key=key)
        if value is not None:
            _check_value(place, value, isinstance(horizon, Mapping))
        facts: dict[str, object] = {
            "name": name, "entity": entity, "source": source, "outcomes": _outcomes(place, horizon, outcome),
            "outcome": None if outcome is None else check_name(f"{place}: outcome", outcome), "value": value,
            "predicate": where, "keys": tuple((keys or {}).items()), "owner": owner, "description": description,
            "tags": tuple(tags), "deprecated": deprecated,
        }  # fmt: skip
        for fact, made in facts.items():
            object.__setattr__(self, fact, made)

    @property
    def is_binary(self) -> bool:
        """True for a label that is 0 or 1."""
        return self.value is None

    def features(self) -> tuple[tuple[Feature, Horizon], ...]:
        """One forward feature for each outcome, with its horizon (the window's own size is a placeholder)."""
        made = self.value or count_rows()
        window = Window(1, forward=True)
        return tuple(
            (Feature(f"{self.name}_{i}", made.function, made.column, window, self._filter(outcome, made)),
             outcome.horizon)
            for i, outcome in enumerate(self.outcomes)
        )  # fmt: skip

    def _filter(self, outcome: Outcome, made: Aggregation) -> str | None:
        tests = [text for text in (self.predicate, made.predicate) if text]
        if outcome.code == OTHER:
            named = ", ".join(_quote(o.code) for o in self.outcomes if o.code not in {OTHER, None})
            tests.append(f"{self.outcome} not in ({named})" if named else f"{self.outcome} is not null")
        elif outcome.code is not None:
            tests.append(f"{self.outcome} = {_quote(outcome.code)}")
        return " and ".join(f"({text})" for text in tests) or None


def _quote(code: str | None) -> str:
    return "'" + str(code).replace("'", "''") + "'"


def _outcomes(
    where: str, horizon: Duration | Horizon | Mapping[str, Duration | Horizon], outcome: str | None
) -> tuple[Outcome, ...]:
    if not isinstance(horizon, Mapping):
        if outcome is not None:
            raise DefinitionError(
                f"{where}: outcome without horizons", hint='horizon={"R01": "2d", "*": "60d"}'
            )
        return (Outcome(None, _horizon(where, horizon)),)
    if outcome is None or not horizon:
        raise DefinitionError(f"{where}: horizons by code need outcome=, the column that holds the code")
    return tuple(Outcome(str(code), _horizon(where, value)) for code, value in horizon.items())


def _horizon(where: str, value: Duration | Horizon) -> Horizon:
    made = value if isinstance(value, Horizon) else Horizon(size_us=parse_duration(value))
    if made.size_us <= 0 and not made.banking_days:
        raise DefinitionError(f"{where}: horizon {value!r} is not positive")
    return made


def _check_value(where: str, value: Aggregation, several: bool) -> None:
    if value.function not in _VALUES or value.windows or value.key or value.parts:
        hint = f"a plain {', '.join(_VALUES)} without window or by"
        raise DefinitionError(f"{where}: value {value.function}() cannot be a label", hint=hint)
    if several:
        raise DefinitionError(f"{where}: horizons by outcome need a 0/1 label", hint="leave value out")
