"""OpenLineage events of a state's objects, built with the classes of the OpenLineage library, which is loaded when
the first event is made.

A source is a dataset; a view, a union, a request feature, a service, a label and a model are a job that makes a
dataset. They are static events: nothing ran, the definitions say it. Names are `kind.name`, since receivers use the
colon for themselves; the namespace is the project's name, with the environment's behind it unless that is `prod`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from typing import Any, cast

import asof
from asof.clock import format_time
from asof.define.spec import Spec
from asof.errors import MissingExtra
from asof.flows.column_inputs import Input, Inputs, inputs_of
from asof.flows.column_types import Types, written_types
from asof.flows.discover import owner_of, tags_of
from asof.flows.lineage import Lineage, deprecation_of
from asof.registry.lineage import column_of, part_of
from asof.registry.state import PROTECTED, State

Body = Mapping[str, Any]
PRODUCER = f"pkg:pypi/asof@{asof.__version__}"
INTEGRATION = "ASOF"


def events_of(
    lineage: Lineage,
    project: str,
    *,
    at_us: int,
    keys: Iterable[str] | None = None,
    types: Types | None = None,
) -> list[Any]:
    """The events of these objects, or of all: what an object reads comes before it.

    A key that the state does not have is told as a dataset that is dropped. Entities have no event.

    Raises:
        MissingExtra: the library is not installed.
    """
    known = types or Types(lineage.state, written_types(lineage.state))
    maker = _Maker(*load_library(), lineage, namespace_of(project, lineage.state), format_time(at_us), known)
    specs = lineage.state.specs
    wanted = dict.fromkeys(specs if keys is None else keys)
    there = [
        maker.event(specs[key])
        for key in TopologicalSorter(lineage.objects.up).static_order()
        if key in wanted and key in specs and specs[key].kind != "entity"
    ]
    gone = [key for key in wanted if key not in specs and not key.startswith("entity:")]
    return there + [maker.dropped(key) for key in gone]


def load_library() -> tuple[Any, Any]:
    """The library's events and facets.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        return (
            importlib.import_module("openlineage.client.event_v2"),
            importlib.import_module("openlineage.client.facet_v2"),
        )
    except ImportError as exc:
        raise MissingExtra("OpenLineage events", "openlineage") from exc


def namespace_of(project: str, state: State) -> str:
    """Where a project's jobs and datasets stand.

    Example:
        >>> namespace_of("bank", State("prod", 7, {})), namespace_of("bank", State("dev", 8, {}))
        ('bank', 'bank.dev')
    """
    return project if state.environment == PROTECTED else f"{project}.{state.environment}"


def name_of(key: str) -> str:
    """The name of a job or dataset.

    Example:
        >>> name_of("feature_view:activity")
        'feature_view.activity'
    """
    return key.replace(":", ".", 1)


@dataclass(frozen=True)
class _Maker:
    """Makes events; `lib` and `facets` are the library's modules."""

    lib: Any
    facets: Any
    lineage: Lineage
    namespace: str
    at: str
    types: Types
    inputs: dict[str, Any] = field(default_factory=dict[str, Any])

    def event(self, spec: Spec) -> Any:
        """The event of one object."""
        inputs = inputs_of(spec, self.lineage)
        if spec.kind == "source" and "sources" not in spec.body:
            static = self.lib.StaticDataset(
                self.namespace, name_of(spec.key), facets=self._dataset_facets(spec, inputs)
            )
            return self.lib.DatasetEvent(eventTime=self.at, producer=PRODUCER, dataset=static)
        read = [ref for ref in (*spec.refs, *inputs.keys()) if not ref.startswith("entity:")]
        output = self.lib.OutputDataset(
            self.namespace, name_of(spec.key), facets=self._dataset_facets(spec, inputs)
        )
        return self.lib.JobEvent(
            eventTime=self.at,
            producer=PRODUCER,
            job=self.lib.Job(self.namespace, name_of(spec.key), facets=self._job_facets(spec)),
            inputs=[self._input(ref) for ref in dict.fromkeys(read)],
            outputs=[output],
        )

    def dropped(self, key: str) -> Any:
        """The event of an object that is no longer there."""
        module = self.facets.lifecycle_state_change_dataset
        change = module.LifecycleStateChangeDatasetFacet(module.LifecycleStateChange.DROP, producer=PRODUCER)
        facets = {"lifecycleStateChange": change}
        static = self.lib.StaticDataset(self.namespace, name_of(key), facets=facets)
        return self.lib.DatasetEvent(eventTime=self.at, producer=PRODUCER, dataset=static)

    def _input(self, key: str) -> Any:
        if key not in self.inputs:
            spec = self.lineage.state.specs.get(key)
            facets = {} if spec is None else {**self._schema(spec), **self._version(spec)}
            self.inputs[key] = self.lib.InputDataset(self.namespace, name_of(key), facets=facets)
        return self.inputs[key]

    def _dataset_facets(self, spec: Spec, inputs: Inputs) -> dict[str, Any]:
        made = {**self._schema(spec), **self._version(spec), **self._lineage(inputs)}
        ownership, documentation = self.facets.ownership_dataset, self.facets.documentation_dataset
        if owner := owner_of(spec):
            owners = [ownership.Owner(owner)]
            made["ownership"] = ownership.OwnershipDatasetFacet(owners, producer=PRODUCER)
        if text := spec.about("description"):
            made["documentation"] = documentation.DocumentationDatasetFacet(text, producer=PRODUCER)
        if places := _places(spec):
            symlinks = self.facets.symlinks_dataset
            found = [symlinks.Identifier(namespace, name, "LOCATION") for namespace, name in places]
            made["symlinks"] = symlinks.SymlinksDatasetFacet(found, producer=PRODUCER)
        tags = self.facets.tags_dataset
        found = [
            tags.TagsDatasetFacetFields(key, value, INTEGRATION, column)
            for key, value, column in self._tags(spec)
        ]
        return made | ({"tags": tags.TagsDatasetFacet(found, producer=PRODUCER)} if found else {})

    def _job_facets(self, spec: Spec) -> dict[str, Any]:
        jobs, ownership, documentation = (
            self.facets.job_type_job, self.facets.ownership_job, self.facets.documentation_job
        )  # fmt: skip
        made = {"jobType": jobs.JobTypeJobFacet("BATCH", INTEGRATION, spec.kind.upper(), producer=PRODUCER)}
        if owner := owner_of(spec):
            made["ownership"] = ownership.OwnershipJobFacet([ownership.Owner(owner)], producer=PRODUCER)
        if text := spec.about("description"):
            made["documentation"] = documentation.DocumentationJobFacet(text, producer=PRODUCER)
        return made

    def _version(self, spec: Spec) -> dict[str, Any]:
        module = self.facets.dataset_version_dataset
        return {"version": module.DatasetVersionDatasetFacet(spec.fingerprint, producer=PRODUCER)}

    def _schema(self, spec: Spec) -> dict[str, Any]:
        module = self.facets.schema_dataset
        fields = [
            module.SchemaDatasetFacetFields(name, dtype, text or None, place, None)
            for place, (name, dtype, text) in enumerate(self._columns(spec), 1)
        ]
        return {"schema": module.SchemaDatasetFacet(fields, producer=PRODUCER)} if fields else {}

    def _columns(self, spec: Spec) -> list[tuple[str, str | None, str]]:
        """Name, type and description of each column of an object's dataset."""
        if spec.kind == "feature_view":
            features = [
                (each["name"], self.types.of(f"{spec.key}.{each['name']}"), each.get("description", ""))
                for each in spec.body["features"]
            ]
            return [*self._keys(spec), *features]
        if spec.kind == "feature_service":
            names = [column_of(item) for item in spec.body["features"]]
        elif spec.kind == "source":
            names = list(self.lineage.parts.get(spec.key, {}))
        elif spec.kind in {"label", "request_feature"}:
            return [*self._keys(spec), (spec.name, self.types.of(spec.key), "")]
        else:
            names = list[str]()
        return [(name, self.types.of(f"{spec.key}.{name}"), "") for name in names]

    def _keys(self, spec: Spec) -> list[tuple[str, str | None, str]]:
        entity = self.lineage.state.specs.get(cast("Body", spec.about("entity") or {}).get("ref", ""))
        return [(key["name"], key["type"], "") for key in entity.body["keys"]] if entity else []

    def _tags(self, spec: Spec) -> list[tuple[str, str, str | None]]:
        """Key, value and column of each tag."""
        made: list[tuple[str, str, str | None]] = [(tag, "true", None) for tag in tags_of(spec)]
        if deprecated := deprecation_of(self.lineage.state, spec.key):
            made.append(("deprecated", str(deprecated), None))
        for name, node in self.lineage.parts.get(spec.key, {}).items():
            made += [("personal", "true", name)] if self.lineage.personal(node) else []
            mine = deprecation_of(self.lineage.state, node)
            made += [("deprecated", str(mine), name)] if mine and mine != deprecated else []
        return made

    def _lineage(self, inputs: Inputs) -> dict[str, Any]:
        module = self.facets.column_lineage_dataset
        columns = {
            name: module.Fields(self._fields(found), transformationDescription=inputs.words.get(name))
            for name, found in inputs.columns.items()
            if found
        }
        rows = self._fields(inputs.rows)
        if not columns and not rows:
            return {}
        return {"columnLineage": module.ColumnLineageDatasetFacet(columns, rows, producer=PRODUCER)}

    def _fields(self, inputs: Iterable[Input]) -> list[Any]:
        """Each column once, with all the ways in which it is used."""
        module = self.facets.column_lineage_dataset
        used: dict[tuple[str, str], list[Any]] = {}
        for each in inputs:
            of_source = each.key.startswith("source:")
            node = self.lineage.source_column(each.key, each.column) if of_source else f".{each.column}"
            how = module.Transformation(each.how[0], each.how[1] or None)
            used.setdefault((each.key, part_of(node)), []).append(how)
        return [
            module.InputField(self.namespace, name_of(key), column, hows)
            for (key, column), hows in used.items()
        ]


def _places(spec: Spec) -> list[tuple[str, str]]:
    """Where a source lies, as other tools name it: (`s3://bucket`, `path`); relative paths mean nothing to them."""
    found: dict[tuple[str, str], None] = {}
    for path in cast("list[str]", spec.body.get("history", {}).get("paths", [])):
        scheme, remote, rest = path.partition("://")
        whole = rest if remote else path
        folder = whole.partition("*")[0].rpartition("/")[0] if "*" in whole else whole
        if remote:
            bucket, _, name = folder.partition("/")
            found[f"{scheme}://{bucket}", name or "/"] = None
        elif path.startswith("/"):
            found["file", folder or "/"] = None
    return list(found)
