"""Some columns of an answer, in the order in which they are asked."""

from __future__ import annotations

from dataclasses import dataclass

from asof.errors import UnknownName, did_you_mean
from asof.flows.answer import Answer
from asof.types import DType

_MOST_KEPT = 512


@dataclass(frozen=True)
class _Selection:
    """What a choice of columns is, as long as the service's names are the same object."""

    of_names: tuple[str, ...]
    places: list[int]
    names: tuple[str, ...]
    dtypes: tuple[DType, ...]
    view_of: tuple[int, ...]


class Selections:
    """Chooses columns, and keeps what it found out about a choice for the next answer of the service."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, tuple[str, ...]], _Selection] = {}

    def select(self, answer: Answer, columns: tuple[str, ...]) -> Answer:
        """The answer with these columns only.

        Raises:
            UnknownName: the service has no such column; the hint has the nearest.
        """
        found = self._kept.get((answer.service, columns))
        if found is None or found.of_names is not answer.names:
            found = _find(answer, columns)
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            self._kept[answer.service, columns] = found
        places = found.places
        return Answer(
            answer.service,
            answer.at_us,
            found.names,
            found.dtypes,
            answer.values[:, places],
            answer.valid[:, places],
            answer.statuses[:, places],
            {new: answer.others[old] for new, old in enumerate(places) if old in answer.others},
            answer.freshness,
            found.view_of,
        )


def views_of(answer: Answer) -> list[str]:
    """For each column the name of its view, "" for a request feature."""
    views = [each.view for each in answer.freshness]
    return [views[place] if place >= 0 else "" for place in answer.view_of or [-1] * len(answer.names)]


def _find(answer: Answer, columns: tuple[str, ...]) -> _Selection:
    all_places = {name: place for place, name in enumerate(answer.names)}
    for name in columns:
        if name not in all_places:
            raise UnknownName(
                f"service {answer.service!r} has no column {name!r}",
                hint=did_you_mean(name, all_places),
                column=name,
            )
    places = [all_places[name] for name in columns]
    view_of = tuple(answer.view_of[place] for place in places) if answer.view_of else ()
    return _Selection(answer.names, places, columns, tuple(answer.dtypes[place] for place in places), view_of)
