"""A project: a folder with `asof.toml` and Python modules, or definitions held in memory; and what can be
done with it.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import asof
from asof.clock import Clock, SystemClock
from asof.config import Config, SecretRef, load_config
from asof.define.label import Label
from asof.define.service import FeatureService
from asof.engines.duckdb import DuckDBEngine, DuckDBPyConnection, open_database
from asof.errors import StateError
from asof.flows.check import Finding, check_project
from asof.flows.deprecations import warn_deprecated
from asof.flows.feature_columns import Progress
from asof.flows.live_reader import LiveReader
from asof.flows.load import Definitions, check_patterns, load_modules
from asof.flows.online import (
    Materialization,
    materialize_project,
    open_online_store,
    open_reader,
    plan_materialization,
)
from asof.flows.online_views import online_views_of
from asof.flows.plan import Plan
from asof.flows.plan_project import apply_project, plan_project
from asof.flows.push import Pushed, push
from asof.flows.read_online import OnlineReader
from asof.flows.result import TrainingSet
from asof.flows.spine import SpineLike
from asof.flows.stream_status import SourceStatus, read_statuses
from asof.flows.training_set import Immature, Request, Resources, build_training_set, service_of
from asof.online.store import OnlineStore
from asof.registry.store import Registry, open_registry
from asof.settings import machine_memory_bytes, usable_cores
from asof.usage import LedgerMeter, Meter, NullMeter

_ENGINE_SHARE = 0.35  # of the memory limit, for the engine's own buffers


def _quiet(stage: str, asset: str, done: int, total: int) -> None:
    del stage, asset, done, total


class Project:
    """Definitions, settings and a meter.

    Attributes:
        root: the folder where relative paths start.
        stream_folder, landing: where the embedded logs of streams are, and where streams land what becomes part of the
            history; None for a project in memory without a `folder`.

    Open a folder with `asof.open(".")`, or hold definitions in memory:

    Example:
        >>> import pyarrow as pa, asof
        >>> rows = pa.table(
        ...     {
        ...         "account_id": ["a", "a"],
        ...         "amount": [5, 7],
        ...         "at": pa.array([1_000_000, 2_000_000], pa.timestamp("us")),
        ...     }
        ... )
        >>> account = asof.Entity("account", keys={"account_id": "string"})
        >>> source = asof.Events("payments", asof.InMemory(rows), event_time="at")
        >>> view = asof.FeatureView(
        ...     "v", entity=account, source=source, features=[asof.sum("amount").over("1d")]
        ... )
        >>> spine = pa.table(
        ...     {"account_id": ["a", "b"], "event_time": pa.array([2_000_000, 2_000_000], pa.timestamp("us"))}
        ... )
        >>> Project([view]).training_set([view], spine=spine).table["amount_sum_1d"].to_pylist()
        [5, 0]
    """

    def __init__(
        self,
        objects: Iterable[object] = (),
        *,
        config: Config | None = None,
        meter: Meter | None = None,
        clock: Clock | None = None,
        folder: Path | None = None,
    ) -> None:
        self.definitions = Definitions(objects, root=None if config is None else config.root)
        self.config = config
        self.root = Path.cwd() if config is None else config.root
        self.stream_folder: Path | None = None if folder is None else folder / "streams"
        self.landing: Path | None = None if folder is None else folder / "landed"
        if config is not None:
            self.stream_folder, self.landing = config.stream_folder, config.stream_landing
        self.clock: Clock = clock or SystemClock()
        self.meter: Meter = meter or (NullMeter() if config is None else LedgerMeter(config.usage_dir))

    def training_set(
        self,
        service: str | FeatureService | Sequence[Any],
        *,
        spine: SpineLike,
        labels: Sequence[str | Label] = (),
        time: str | None = None,
        row_id: str | None = None,
        as_known: bool = True,
        cutoff: datetime | None = None,
        immature: Immature = "drop",
        progress: Progress | None = None,
    ) -> TrainingSet:
        """A training set: the spine, with the features as known at its times, and labels as known at the
        cut-off.

        Shape: `(n spine rows, k keys + 1 time + extra columns) -> (n, the same + f features + l labels)`;
        every spine row comes back once and in order, but for rows with an immature label when
        `immature="drop"`.

        Args:
            service: a service, its name, or a list of views and features.
            spine: a path (Parquet, CSV, Arrow), an SQL query, or a PyArrow, pandas or Polars table.
            labels: labels or their names.
            time: the spine's time column; default `event_time`, else its only column of times.
            row_id: a spine column that has to be unique.
            as_known: False asks for hindsight: late rows and later corrections count, whenever they came.
            cutoff: nothing known after it counts; labels are as known then (default: now).
            immature: what becomes of rows whose label is not final at the cut-off: "drop", "null" or
            "negative".
            progress: called with (stage, asset, done, total).

        Empty/null/late: an empty spine gives an empty, typed result; a null key or time matches nothing and
        is counted.

        Raises:
            DefinitionError: a name that the project does not define, or definitions that do not fit each
            other.
            DataError: a column, a file or a value that is not as it must be; nothing is written.
            BackendError: the engine failed.
        """
        found = self.get_service(service) if isinstance(service, str) else service_of(service)
        made = tuple(_label(self, label) if isinstance(label, str) else label for label in labels)
        warn_deprecated((found, *made))
        request = Request(found, spine, made, time, row_id, as_known, cutoff, immature)
        engine = self.engine()
        try:
            with self.meter.run("training_set", labels={"service": found.name}) as run:
                return build_training_set(engine, request, self.resources(), run, progress or _quiet)
        finally:
            engine.close()

    def check(self) -> list[Finding]:
        """What is wrong between the definitions and the data that they name; empty when all is well."""
        engine = self.engine()
        try:
            return check_project(engine, self.definitions)
        finally:
            engine.close()

    def registry(self) -> Registry:
        """The project's registry, opened; close it when done.

        Raises:
            StateError: a project in memory has none. RegistryTooNew: a newer asof has written it. BackendError: it
                cannot be reached.
        """
        if self.config is None:
            raise StateError("a project in memory has no registry", hint='open a folder: asof.open(".")')
        secret = self.config.registry_password
        password = None if secret is None else SecretRef.parse(secret).resolve()
        return open_registry(self.config.registry, password=password, clock=self.clock)

    def plan(
        self,
        environment: str | None = None,
        *,
        create: bool = False,
        estimates: bool = True,
        progress: Progress | None = None,
    ) -> Plan:
        """What applying the definitions would change in an environment; changes nothing.

        Args:
            environment: default: the setting `environment`.
            create: the environment may be a new one, made from `prod`.
            estimates: tell rows, bytes, seconds and record sizes from statistics of the sources.
            progress: called with (stage, asset, done, total).

        Raises:
            UnknownEnvironment: there is none, and `create` is not said. DefinitionError: a definition is wrong.
        """
        return plan_project(
            self, environment, create=create, estimates=estimates, progress=progress or _quiet
        )

    def apply(self, plan: Plan, *, force: bool = False, message: str = "") -> int | None:
        """The revision that makes exactly this plan, or None when it changes nothing.

        Raises:
            RegistryMoved: the environment or the definitions are no longer what the plan was made from.
            BreakingChange: somebody would miss something, and `force` is not said.
            NotMaterialized: `prod` would serve what no store holds. In every case nothing is changed.
        """
        return apply_project(self, plan, force=force, message=message)

    def online(
        self, environment: str | None = None, *, store: OnlineStore | None = None
    ) -> OnlineReader | LiveReader:
        """A reader of services from the online store; close it when done.

        Args:
            environment: serve what it points at, and follow it; default: the services that the code defines.
            store: another store than that of the settings; a project in memory has to name one.

        Raises:
            StateError: a project in memory, and no store. UnknownEnvironment: nothing has been applied to it.
            BackendError, MissingExtra: the store cannot be opened.
        """
        reader = open_reader(self, store)
        if environment is None:
            return reader
        return LiveReader(
            lambda: open(self.root, meter=self.meter, clock=self.clock),
            self,
            self.registry(),
            environment,
            reader,
        )

    def materialize(
        self,
        views: Iterable[str] | None = None,
        *,
        until: datetime | None = None,
        whole: bool = False,
        store: OnlineStore | None = None,
        progress: Progress | None = None,
    ) -> Materialization:
        """Brings what became known before `until` into the online store, from where the last run ended.

        A run that fails moves no watermark, and running it again gives the same records.

        Args:
            views: names of views; default: those that say `online=True` and those of services.
            until: the new watermark; default: now.
            whole: make the records anew from the whole history (a backfill).
            store: another store than that of the settings; a project in memory has to name one.
            progress: called with (stage, asset, done, total).

        Raises:
            DataError: `until` lies in the future, or the history is not as it must be. UnknownName: no such view.
            BackendError: the engine or the store failed.
        """
        found = online_views_of(self, views)
        opened = store or open_online_store(self)
        try:
            steps = plan_materialization(self, found, opened, until, whole=whole)
            return materialize_project(self, steps, opened, progress or _quiet)
        finally:
            if store is None:
                opened.close()

    def push(self, source: str, rows: Any, *, idempotency_key: str | None = None) -> Pushed:
        """Appends events to the stream of a source, all of them or none; what is told is durable.

        Args:
            source: its name.
            rows: a list of mappings, or a table (PyArrow, pandas, Polars).
            idempotency_key: of this batch; a batch that is pushed again under its key is not appended again.

        Raises:
            UnknownName: no such source. StateError: it has no stream. DataError: an event is not of its form; carries
                `event`, its number from 0, and `field`. BackendError: the stream does not take them.
        """
        return push(self, source, rows, idempotency_key=idempotency_key)

    def stream_status(
        self, sources: Iterable[str] | None = None, *, store: OnlineStore | None = None
    ) -> list[SourceStatus]:
        """How far the workers of streams have come, source by source; also where none is running.

        Args:
            sources: their names; default: all that have a stream.
            store: another store than that of the settings; a project in memory has to name one.

        Raises:
            UnknownName: no such source. StateError: it has no stream. BackendError: the store cannot be reached; a
                stream that cannot is told as `problem` of its source.
        """
        opened = store or open_online_store(self)
        try:
            return read_statuses(self, opened, sources)
        finally:
            if store is None:
                opened.close()

    def get_service(self, name: str) -> FeatureService:
        """The feature service of a name; raises UnknownName."""
        return cast("FeatureService", self.definitions.get("feature_service", name))

    def engine(self) -> DuckDBEngine:
        """A new engine with the project's settings."""
        return DuckDBEngine(self.root, self._database, self.landing)

    @cached_property
    def _database(self) -> DuckDBPyConnection:
        resources = self.resources()
        return open_database(
            threads=resources.threads,
            memory_bytes=int(resources.memory_bytes * _ENGINE_SHARE),
            spill_dir=Path(resources.spill_dir),
        )

    def resources(self) -> Resources:
        """With what a flow of this project may work."""
        now_us = self.clock.now_us()
        if self.config is None:
            memory = int(machine_memory_bytes() * 0.7)
            return Resources(usable_cores(), memory, tempfile.gettempdir(), asof.__version__, now_us)
        config = self.config
        return Resources(
            config.threads, config.memory_limit_bytes, str(config.spill_dir), asof.__version__, now_us
        )


def _label(project: Project, name: str) -> Label:
    return cast("Label", project.definitions.get("label", name))


def open(path: str | Path = ".", *, meter: Meter | None = None, clock: Clock | None = None) -> Project:
    """The project in a folder: its `asof.toml`, and what its modules define.

    Raises:
        ProjectNotFound: no `asof.toml`. ConfigError: a wrong setting. DefinitionError: a wrong definition,
        with file and line.
        UserCodeError: a module of the project raised.
    """
    root = Path(path).resolve()
    config = load_config(root, os.environ)
    logging.getLogger("asof").setLevel(config.log_level.upper())
    project = Project(config=config, meter=meter, clock=clock)
    check_patterns(root, config.definitions)
    for module in load_modules(root, config.definitions):
        for value in list(vars(module).values()):
            project.definitions.add(value)
    return project
