"""What the demo prints: the training sets in a few lines, the models' numbers, what they mean, where things are."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from asof.flows.result import TrainingSet
from asof.testing.bank import Bank
from examples.ach_return_risk.bank import SPINE
from examples.ach_return_risk.live import Streamed
from examples.ach_return_risk.online import Compared
from examples.ach_return_risk.train import BOOSTING, HINDSIGHT, KNOWN, Result

ENOUGH_RETURNS = 100


def bank(bank: Bank, days: int) -> str:
    """How large the bank is, and how its transactions become known."""
    rows = bank.transactions.group_by("transaction_id").aggregate([
        ("occurred_at", "min"), ("ingested_at", "min"), ("ingested_at", "count"),
    ])  # fmt: skip
    late = pc.subtract(rows["ingested_at_min"], rows["occurred_at_min"]).cast(pa.int64())
    half, most = (us / 1e6 for us in pc.quantile(late, [0.5, 0.99]).to_pylist())
    revised = pc.mean(pc.greater(rows["ingested_at_count"], 1)).as_py()
    counts = ", ".join(f"{t.num_rows:,} {name}" for name, t in bank.tables.items() if name != "transactions")
    lines = (
        f"{bank.transactions.num_rows:,} rows of {rows.num_rows:,} transactions in {days} days, and {counts}",
        f"  half of the transactions are known within {half:.0f} s, one in a hundred after {most / 86_400:.1f} days",
        f"  {revised:.0%} are revised later: posted, changed, reversed, withdrawn",
    )
    return "\n".join(lines)


def training_sets(known: TrainingSet) -> str:
    """The report's key lines, in words."""
    report = known.report
    label = report.labels[0]
    leaks = [feature for feature in report.features if feature.hidden_rows]
    most = max(report.features, key=lambda feature: feature.affected_rows)
    lines = (
        f"{report.spine_rows:,} debits ask for {len(report.features)} features and the label {label.name!r}",
        f"  {label.mature:,} have a final label at the cut-off ({label.positive_share:.2%} returned)",
        f"  {label.immature:,} do not yet, and are dropped",
        f"  hindsight would leak into {len(leaks)} features, most into {most.name}: {most.hidden_rows:,} rows that",
        f"  were not known yet, into {most.affected_rows / report.spine_rows:.0%} of the debits",
    )
    return "\n".join(lines)


def models(results: Sequence[Result]) -> str:
    """The models' numbers as a text table."""
    head = (
        f"{'model':<21}{'trained on':<11}{'used on':<10}{'AUC ROC':>8}{'avg precision':>15}{'prec@1%':>9}{'prec@5%':>9}"
        f"{'Brier':>8}{'exp/act':>9}"
    )
    lines = [head, "-" * len(head)]
    lines.extend(
        f"{r.model:<21}{r.trained:<11}{r.used:<10}{r.auc_roc:>8.3f}"
        f"{f'{r.average_precision:.3f} ±{r.average_precision_error:.3f}':>15}"
        f"{r.precision_top_1:>9.3f}{r.precision_top_5:>9.3f}{r.brier:>8.4f}{r.expected_per_actual:>9.2f}"
        for r in results
    )
    note = "prec@1%: returned among the riskiest 1 % of debits; exp/act: returns that the scores add up to, per return;"
    return "\n".join([*lines, f"{note}\n±: standard error"])


def find(results: Sequence[Result], trained: str, used: str, model: str = BOOSTING) -> Result:
    """One model's result in one scenario."""
    return next(r for r in results if (r.model, r.trained, r.used) == (model, trained, used))


def meaning(results: Sequence[Result], returns: int) -> str:
    """What the table says, in two sentences, when the test has enough returns to say anything."""
    if returns < ENOUGH_RETURNS:
        return f"The test has {returns} returns: too few to tell models apart. Simulate more --events."
    promised, kept, honest = (
        find(results, *scenario).average_precision
        for scenario in ((HINDSIGHT, HINDSIGHT), (HINDSIGHT, KNOWN), (KNOWN, KNOWN))
    )
    return (
        f"Trained with hindsight, {BOOSTING} promises an average precision of {promised:.3f} and keeps {kept:.3f}"
        f" ({kept / promised - 1:+.0%})\nwhen it has to live on what is known. Trained as known it promises what it"
        f" keeps: {honest:.3f}."
    )


def serving(compared: Sequence[Compared]) -> str:
    """Whether what is served is what a training set holds, by the way it was read."""
    head = "New debits at the end of the simulated year, served and as a training set of that instant:"
    return "\n".join([head, *(f"  {each}" for each in compared)])


def streaming(day: Streamed | None) -> str:
    """What streamed in, how soon it could be served, and whether it is what a training set holds."""
    if day is None:
        return "no source of the project has a stream: give one stream=Log()"
    events = ", ".join(f"{count:,} {name}" for name, count in day.events.items())
    lines = (
        f"One more day, streamed in {day.seconds:.0f} s: {events}",
        f"  from the log to servable: p50 {day.half_ms:.1f} ms, p99 {day.slowest_ms:.1f} ms",
        f"New debits at its end, {day.until:%Y-%m-%d %H:%M} UTC; the training set reads what the workers have landed:",
        f"  {day.compared}",
        f"  {day.moved:,} of these values would be another without the stream",
    )
    return "\n".join(lines)


def places(folder: Path, cutoff: datetime) -> str:
    """Where everything is, and the commands to go on with."""
    asof = f"{_relative(Path(sys.executable))} -m asof"
    where = _relative(folder)
    until = f"{cutoff:%Y-%m-%dT%H:%M:%SZ}"
    lines = (
        f"{where} is a project folder:",
        "  asof.toml, definitions.py    settings and definitions, yours to change",
        "  data/, payments.parquet      the simulated bank, and the debits that ask for features",
        "  known.parquet, hindsight.parquet, metrics.json",
        f"  picture.png                  look at {where / 'picture.png'}",
        "Go on with",
        f"  {asof} check --project {where}",
        f"  {asof} training-set ach_risk --project {where} --spine {where / SPINE} \\",
        f"    --label returned --cutoff {until} --out {where / 'mine.parquet'}",
        f"  {asof} usage --project {where}",
        f"  {asof} online stats --project {where}",
        f"  {asof} stream status --project {where}",
        f"or in Python with asof.open({str(where)!r})",
    )
    return "\n".join(lines)


def _relative(path: Path) -> Path:
    """The path as seen from here, where it is below."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
