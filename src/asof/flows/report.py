"""The report of a training set: what is missing, what was late, what hindsight would have leaked."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class FeatureReport:
    """One feature: the share of nulls, and how much hindsight would have leaked into it.

    `hidden_rows` counts, over all spine rows, the events that would have counted and were not known yet;
    `affected_rows` the spine rows that have at least one.
    """

    name: str
    view: str
    null_share: float
    hidden_rows: int = 0
    affected_rows: int = 0


@dataclass(frozen=True)
class SourceReport:
    """One source for one entity: rows read, rows that nothing can match, rows that were late, spine rows
    without an entity.
    """

    source: str
    entity: str
    rows: int
    size_bytes: int
    without_key: int
    without_event_time: int
    without_known_at: int
    late_rows: int
    missing_entities: int


@dataclass(frozen=True)
class LabelReport:
    """One label: how many spine rows were mature, how many not, and the share of positives among the mature.

    `early` of the mature are so before their horizon is over: they are positive, and their negative peers are not
    mature yet, so the newest rows look worse than they are. A split in time should leave them out.
    """

    name: str
    mature: int
    immature: int
    positive_share: float | None
    early: int = 0


@dataclass(frozen=True)
class StageReport:
    """One stage's receipt."""

    stage: str
    asset: str
    rows: int
    size_bytes: int
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class Report:
    """What a training set is made of, in numbers."""

    service: str
    spine_rows: int
    rows: int
    rows_without_key: int
    rows_without_time: int
    features: tuple[FeatureReport, ...] = ()
    sources: tuple[SourceReport, ...] = ()
    labels: tuple[LabelReport, ...] = ()
    stages: tuple[StageReport, ...] = field(default=(), compare=False)

    def as_dict(self) -> dict[str, object]:
        """The report as plain data."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"training set {self.service!r}: {self.rows:,} of {self.spine_rows:,} spine rows"]
        if self.rows_without_key or self.rows_without_time:
            without = f"one of the entity keys: {self.rows_without_key:,}, without a time: {self.rows_without_time:,}"
            lines.append(f"  spine rows without {without}")
        lines.extend(
            f"  source {source.source} by {source.entity}: {source.rows:,} rows read,"
            f" {source.late_rows:,} late, {source.missing_entities:,} spine rows without history"
            for source in self.sources
        )
        lines.extend(
            f"    {source.source}: {source.without_key:,} rows without a key, {source.without_event_time:,} without an"
            f" event time, {source.without_known_at:,} without a known-at time"
            for source in self.sources
            if source.without_key or source.without_event_time or source.without_known_at
        )
        for label in self.labels:
            share = "-" if label.positive_share is None else f"{label.positive_share:.2%}"
            lines.append(
                f"  label {label.name}: {label.mature:,} mature ({label.early:,} of them early),"
                f" {label.immature:,} immature, {share} positive"
            )
        leaks = [f for f in self.features if f.hidden_rows]
        if leaks:
            worst = max(leaks, key=lambda f: f.affected_rows)
            lines.append(
                f"  hindsight would have leaked into {len(leaks)} features, most into {worst.name}:"
                f" {worst.hidden_rows:,} rows into {worst.affected_rows:,} spine rows"
            )
        return "\n".join(lines)
