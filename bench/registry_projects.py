"""The projects that `registry` applies, for both sides: views over one Parquet file, spelled out as a user writes them.

Everything is generated, one definition after the other and none in a loop, so that reading 10,000 lines of Python is
part of what is measured. Of every ten views a service takes one feature each. asof's features are windows with a
filter; Feast computes none of that, so its features are ready-made columns of the same file.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.data import DAY_US, DAYS, START_US, cache

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = 200_000
COLUMNS = 10
PER_SERVICE = 10
VERSION = "v1"

_ASOF_HEAD = """from asof import Entity, Events, FeatureService, FeatureView, Parquet, count, max, mean, sum

account = Entity("account", keys={{"account_id": "int64"}})
payments = Events("payments", Parquet("{path}"), event_time="occurred_at")
"""

_ASOF_WIDE = """
{name} = FeatureView(
    "{name}",
    entity=account,
    source=payments,
    features=[
        count().where("{where}").named("n_{{window}}").over("1h", "1d", "7d", "30d", "90d"),
        sum("amount").where("{where}").named("total_{{window}}").over("1d", "7d", "30d"),
        mean("amount").where("{where}").named("mean_30d").over("30d"),
        max("amount").where("{where}").named("max_30d").over("30d"),
    ],
)
"""
_WIDE = (
    "n_1h", "n_1d", "n_7d", "n_30d", "n_90d", "total_1d", "total_7d", "total_30d", "mean_30d", "max_30d",
)  # fmt: skip

_ASOF_NARROW = """
{name} = FeatureView(
    "{name}",
    entity=account,
    source=payments,
    features=[sum("amount").where("{where}").named("{feature}").over("30d")],
)
"""

_FEAST_HEAD = """from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, Int64

account = Entity(name="account", join_keys=["account_id"], value_type=ValueType.INT64)
payments = FileSource(name="payments", path="{path}", timestamp_field="occurred_at")
"""

_FEAST_VIEW = """
{name} = FeatureView(
    name="{name}",
    entities=[account],
    ttl=timedelta(days=1),
    schema=[
        Field(name="account_id", dtype=Int64),
{fields}
    ],
    online=False,
    source=payments,
)
"""

_FEAST_SETTINGS = """project: bench
provider: local
registry: registry.db
online_store: {store}
entity_key_serialization_version: 3
"""
_FEAST_STORE = "{type: sqlite, path: online.db}"


@dataclass(frozen=True)
class Shape:
    """How large a project is; `features` is 1 or 10 of each view."""

    views: int
    features: int

    @property
    def services(self) -> int:
        return -(-self.views // PER_SERVICE)

    @property
    def name(self) -> str:
        return f"{self.views}x{self.features}"

    @property
    def words(self) -> str:
        views = f"{self.views:,} view{'s' if self.views > 1 else ''}"
        return f"{views} with {self.features} feature{'s' if self.features > 1 else ''}"

    def feature(self, view: int) -> str:
        """The feature of a view that its service takes: of ten views in a row ten different names."""
        place = view % COLUMNS
        return _WIDE[place] if self.features > 1 else f"total_{place}"

    def column(self, view: int) -> str:
        """The same for Feast."""
        return f"x{view % COLUMNS}"


def view_name(view: int) -> str:
    return f"view_{view:04d}"


def service_name(service: int) -> str:
    return f"service_{service:03d}"


def members(shape: Shape, service: int) -> list[int]:
    """The views that a service takes."""
    return list(range(service * PER_SERVICE, min((service + 1) * PER_SERVICE, shape.views)))


def content(shape: Shape, taken: Callable[[int], str]) -> dict[str, object]:
    """What a registry holds when a project of this size is applied; `taken` names the feature in a service."""
    return {
        "views": shape.views,
        "features": shape.views * shape.features,
        "services": {
            service_name(service): [[view_name(view), taken(view)] for view in members(shape, service)]
            for service in range(shape.services)
        },
    }


def ours(shape: Shape, place: str = "") -> Path:
    """The folder of asof's project of this size, for registries of a place."""
    folder = _fresh(f"asof{place}", shape)
    (folder / "asof.toml").write_text('name = "bench"\ndefinitions = ["definitions.py"]\n')
    parts = [_ASOF_HEAD.format(path=_events())]
    for view in range(shape.views):
        where = f"category = 'c{view % 100:03d}' AND amount > {view // 100 * 10}"
        template = _ASOF_WIDE if shape.features > 1 else _ASOF_NARROW
        parts.append(template.format(name=view_name(view), where=where, feature=shape.feature(view)))
    for service in range(shape.services):
        taken = [f'{view_name(view)}["{shape.feature(view)}"]' for view in members(shape, service)]
        name = service_name(service)
        parts.append(f'\n{name} = FeatureService("{name}", features=[{", ".join(taken)}])\n')
    (folder / "definitions.py").write_text("".join(parts))
    return folder


def feast(shape: Shape, *, stored: bool) -> Path:
    """The folder of Feast's project of this size, with the online store of its local template or with none."""
    folder = _fresh("feast-stored" if stored else "feast", shape)
    settings = _FEAST_SETTINGS.format(store=_FEAST_STORE if stored else "null")
    (folder / "feature_store.yaml").write_text(settings)
    parts = [_FEAST_HEAD.format(path=_events())]
    for view in range(shape.views):
        columns = [f"x{k}" for k in range(COLUMNS)] if shape.features > 1 else [shape.column(view)]
        fields = "\n".join(f'        Field(name="{column}", dtype=Float64),' for column in columns)
        parts.append(_FEAST_VIEW.format(name=view_name(view), fields=fields))
    for service in range(shape.services):
        taken = [f'{view_name(view)}[["{shape.column(view)}"]]' for view in members(shape, service)]
        name = service_name(service)
        parts.append(f'\n{name} = FeatureService(name="{name}", features=[{", ".join(taken)}])\n')
    (folder / "definitions.py").write_text("".join(parts))
    return folder


def forget(folder: Path) -> None:
    """Removes what applying has left in a project: its registry, and what Python has compiled."""
    for name in (".asof", "__pycache__"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("registry.db", "online.db"):
        (folder / name).unlink(missing_ok=True)


def _fresh(side: str, shape: Shape) -> Path:
    folder = cache() / "registry" / side / shape.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _events() -> Path:
    """Payments of 5,000 accounts in 100 categories over 180 days, and ten columns of numbers."""
    file = cache() / "registry" / f"payments-{VERSION}.parquet"
    if not file.exists():
        rng = np.random.default_rng(20_240_103)
        at = np.sort(rng.integers(0, DAYS * DAY_US, ROWS)) + START_US
        columns = {
            "account_id": rng.integers(0, 5_000, ROWS),
            "category": np.char.mod("c%03d", rng.integers(0, 100, ROWS)),
            "occurred_at": pa.array(at, pa.timestamp("us")),
            "amount": np.round(rng.lognormal(3.5, 1.2, ROWS), 2),
        }
        columns |= {f"x{k}": rng.normal(0, 100, ROWS) for k in range(COLUMNS)}
        part = file.with_suffix(".part")
        pq.write_table(pa.table(columns), part)
        part.rename(file)
    return file
