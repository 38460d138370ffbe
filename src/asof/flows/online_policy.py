"""What a service wants done with values that are missing or stale: served, null, a default, or refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pyarrow as pa

from asof.compute.arrays import Bools
from asof.compute.arrow import arrow_type, to_column
from asof.compute.fold_features import MISSING, STALE
from asof.define.service import FeatureService, Value
from asof.errors import Refused, WrongType
from asof.flows.answer import STATUSES, Answer


def apply_policy(service: FeatureService, answer: Answer) -> Answer:
    """The answer as the service's policy wants it; its statuses stay.

    Raises:
        Refused: by the policy; the message tells how many entities and which view, never which entity.
    """
    if service.on_missing == service.on_stale == "serve":
        return answer
    for policy, status in ((service.on_missing, MISSING), (service.on_stale, STALE)):
        hit = answer.statuses == status
        if policy != "serve" and hit.any():
            if policy == "refuse":
                _refuse(answer, hit, status)
            answer = _replaced(answer, hit, dict(service.defaults) if policy == "default" else {})
    return answer


def _refuse(answer: Answer, hit: Bools, status: int) -> None:
    place = int(np.flatnonzero(hit.any(axis=0))[0])
    view = answer.freshness[answer.view_of[place]].view
    rows = int(hit.any(axis=1).sum())
    raise Refused(
        f"service {answer.service!r} refuses: {rows} of {answer.size} entities are {STATUSES[status]} in view {view!r}",
        hint="the service's on_missing and on_stale say what to do with such values",
        service=answer.service,
        view=view,
        status=STATUSES[status],
        entities=rows,
    )


def _replaced(answer: Answer, hit: Bools, defaults: dict[str, Value]) -> Answer:
    values, valid, others = answer.values.copy(order="F"), answer.valid.copy(order="F"), dict(answer.others)
    for place in np.flatnonzero(hit.any(axis=0)).tolist():
        rows, default = hit[:, place], defaults.get(answer.names[place])
        if place in others:
            mine = pa.array([default] * answer.size, others[place].type)
            kept = others[place].to_pylist()
            others[place] = pa.array(
                [mine[i].as_py() if rows[i] else kept[i] for i in range(answer.size)], others[place].type
            )
        else:
            values[rows, place] = 0 if default is None else _bits(answer, place, default)
        valid[rows, place] = default is not None
    return replace(answer, values=values, valid=valid, others=others)


def _bits(answer: Answer, place: int, default: Value) -> np.int64:
    dtype = answer.dtypes[place]
    try:
        column = to_column("default", pa.array(cast("Any", [default])).cast(arrow_type(dtype)))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as exc:
        raise WrongType(
            f"service {answer.service!r}: the default of {answer.names[place]!r} is no {dtype}",
            column=answer.names[place],
        ) from exc
    return column.values.view(np.int64)[0]
