"""What a training set is when it is done: a table, its report, and its manifest."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from pyarrow import ipc

from asof.errors import DataError, MissingExtra, UnknownName, did_you_mean
from asof.flows.manifest import Manifest
from asof.flows.report import Report

_MANIFEST_KEY = b"asof.manifest"
FORMATS = (".parquet", ".csv", ".arrow", ".feather")


@dataclass(frozen=True)
class TrainingSet:
    """Spine rows with their features and labels as of their times.

    Shape of `table`: one row for each spine row in the spine's order (less the immature ones that were
    dropped); the spine's columns, the features in the service's order, the labels.
    """

    table: pa.Table
    report: Report
    manifest: Manifest

    def to_pandas(self) -> Any:
        """The table as a pandas DataFrame.

        Raises:
            MissingExtra: pandas is not installed.
        """
        try:
            return self.table.to_pandas()
        except ImportError as exc:
            raise MissingExtra("to_pandas()", "pandas") from exc

    def to_polars(self) -> Any:
        """The table as a Polars DataFrame.

        Raises:
            MissingExtra: Polars is not installed.
        """
        try:
            polars = importlib.import_module("polars")
        except ImportError as exc:
            raise MissingExtra("to_polars()", "polars") from exc
        return polars.from_arrow(self.table)

    def select(self, names: Sequence[str]) -> TrainingSet:
        """The same training set with these columns only, in this order.

        Raises:
            UnknownName: a column that it does not have.
        """
        for name in names:
            if name not in self.table.column_names:
                hint = did_you_mean(name, self.table.column_names)
                raise UnknownName(f"the training set has no column {name!r}", hint=hint, column=name)
        table = self.table.select(list(names))
        columns = {name: str(table.schema.field(name).type) for name in names}
        return TrainingSet(table, self.report, replace(self.manifest, columns=columns))

    def write(self, path: str | Path) -> Path:
        """Write the table to a Parquet, CSV or Arrow file, by the name's ending; the whole file or nothing.

        Equal training sets give equal files. Parquet and Arrow files carry the manifest in their metadata.

        Raises:
            DataError: an ending that is none of these, a folder that is not there, or CSV with nested
            columns.
        """
        target = check_target(Path(path))
        half = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            self._write(half, target.suffix.lower())
            half.replace(target)
        finally:
            half.unlink(missing_ok=True)
        return target

    def _write(self, file: Path, suffix: str) -> None:
        if suffix == ".csv":
            nested = [field.name for field in self.table.schema if pa.types.is_nested(field.type)]
            if nested:
                raise DataError(f"CSV cannot hold the list or map column {nested[0]!r}", hint="write Parquet")
            pacsv.write_csv(self.table, str(file))
            return
        table = self.table.replace_schema_metadata({_MANIFEST_KEY: self.manifest.to_json().encode()})
        if suffix == ".parquet":
            pq.write_table(table, str(file), compression="zstd")
            return
        with pa.OSFile(str(file), "wb") as sink, ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)


def check_target(target: Path) -> Path:
    """The path itself, when a training set can be written there.

    Raises:
        DataError: an ending that is no known format, or a folder that is not there.
    """
    if target.suffix.lower() not in FORMATS:
        raise DataError(
            f"{target.name!r}: cannot write {target.suffix!r} files", hint=f"use {', '.join(FORMATS)}"
        )
    if not target.parent.is_dir():
        raise DataError(f"folder {str(target.parent)!r} does not exist", hint="make it first")
    return target


def read_manifest(path: str | Path) -> str | None:
    """The manifest in the metadata of a written Parquet or Arrow file, as JSON; None where there is none.

    Raises:
        DataError: neither Parquet nor Arrow.
    """
    try:
        schema = (
            pq.read_schema(str(path)) if Path(path).suffix == ".parquet" else ipc.open_file(str(path)).schema
        )
    except (OSError, pa.ArrowInvalid) as exc:
        raise DataError(
            f"{str(path)!r}: is no Parquet or Arrow file", hint="CSV files carry no manifest"
        ) from exc
    found = (schema.metadata or {}).get(_MANIFEST_KEY)
    return None if found is None else found.decode()
