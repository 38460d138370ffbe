"""The picture: what hindsight promises and keeps, and why, on one account.

Colours are Okabe and Ito's, told apart by people of every colour vision; each line also has a style and a name of its
own, so that nothing hangs on colour alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.ticker import FuncFormatter, NullFormatter, PercentFormatter
from numpy.typing import NDArray

from examples.ach_return_risk.story import Story
from examples.ach_return_risk.tables import find
from examples.ach_return_risk.train import HINDSIGHT, KNOWN, SCENARIOS, Result

PERCENT = FuncFormatter(lambda value, _: f"{100 * value:.3g}%")
DASHED = (0, (4, 2))
FEW = 20
BLUE, ORANGE, GREY, INK = "#0072B2", "#D55E00", "#8a8a8a", "#222222"
LOOKS: dict[tuple[str, str], dict[str, Any]] = {
    (KNOWN, KNOWN): {"color": BLUE, "linestyle": "-", "label": "as known: promised and kept"},
    (HINDSIGHT, HINDSIGHT): {"color": ORANGE, "linestyle": DASHED, "label": "hindsight: promised"},
    (HINDSIGHT, KNOWN): {"color": ORANGE, "linestyle": "-", "label": "hindsight: kept"},
}
MARKERS = dict(zip(LOOKS, ("o", "D", "s"), strict=True))
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": "#bbbbbb",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "legend.frameon": False,
}


def draw(results: Sequence[Result], returned: NDArray[np.int64], story: Story, path: Path) -> None:
    """Draw the picture and write it as PNG."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(13, 9.6), facecolor="white")
        upper = GridSpec(1, 3, figure, left=0.06, right=0.975, top=0.86, bottom=0.55, wspace=0.24)
        lower = GridSpec(
            2, 1, figure, left=0.06, right=0.975, top=0.43, bottom=0.045, hspace=0.2, height_ratios=(1, 0.62)
        )
        _heading(figure, results)
        _precision(figure.add_subplot(upper[0]), results, returned)
        _scores(figure.add_subplot(upper[1]), results, returned)
        _calibration(figure.add_subplot(upper[2]), results, returned)
        spending = figure.add_subplot(lower[0])
        _spending(spending, story)
        _changes(figure.add_subplot(lower[1], sharex=spending), story)
        figure.savefig(path, dpi=150)


def _heading(figure: Figure, results: Sequence[Result]) -> None:
    known, promised, kept = (find(results, *scenario).average_precision for scenario in SCENARIOS)
    title = "Will this ACH debit be returned? What hindsight promises, and what it keeps"
    figure.text(0.06, 0.955, title, fontsize=17, fontweight="bold")
    text = (
        f"Average precision on later debits: trained with hindsight {promised:.2f} promised, {kept:.2f} kept;"
        f" trained on what was known {known:.2f} promised and kept."
    )
    figure.text(0.06, 0.924, text, fontsize=11.5)


def _precision(axes: Axes, results: Sequence[Result], returned: NDArray[np.int64]) -> None:
    """Precision over recall, from the point on where enough debits are flagged to speak of a share."""
    for scenario in SCENARIOS:
        hits = np.cumsum(returned[np.argsort(-find(results, *scenario).scores, kind="stable")])
        flagged = np.arange(1, hits.size + 1)
        axes.plot((hits / hits[-1])[FEW:], (hits / flagged)[FEW:], linewidth=2, **LOOKS[scenario])
    base = float(returned.mean())
    axes.axhline(base, color=GREY, linewidth=1, linestyle=":")
    axes.annotate("all debits", (0, base), (4, 4), textcoords="offset points", color=GREY)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set(xlabel="share of all returns that is found", ylabel="share of flagged debits that come back")
    axes.set_title("Precision and recall")
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(loc="upper right", bbox_to_anchor=(1.03, 1.03), handlelength=2.2, fontsize=9)


def _scores(axes: Axes, results: Sequence[Result], returned: NDArray[np.int64]) -> None:
    """The same model and the same debits, with features that know the future and with those it gets in use."""
    for scenario in SCENARIOS[1:]:
        scores = np.sort(find(results, *scenario).scores[returned == 1])
        axes.plot(scores, np.linspace(1, 0, scores.size), linewidth=2, **LOOKS[scenario])
    axes.set_xscale("log")
    axes.set(ylim=(0, 1), xlabel="score", ylabel="share that scores higher")
    axes.set_title("One model scores the returned debits twice")
    axes.xaxis.set_major_formatter(PERCENT)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(["on features with hindsight", "on features as known"], loc="lower left", handlelength=2.6)


def _calibration(axes: Axes, results: Sequence[Result], returned: NDArray[np.int64]) -> None:
    """What the scores of each sixth of the debits say, and what came; a sixth without returns has no place here."""
    low, high = 1.0, 0.0
    for scenario in SCENARIOS:
        scores = find(results, *scenario).scores
        parts = np.array_split(np.argsort(scores, kind="stable"), 6)
        expected = np.array([scores[part].mean() for part in parts])
        actual = np.array([returned[part].mean() for part in parts])
        some = actual > 0
        axes.plot(
            expected[some],
            actual[some],
            linewidth=1.6,
            marker=MARKERS[scenario],
            markersize=5,
            **LOOKS[scenario],
        )
        low, high = min(low, *expected[some], *actual[some]), max(high, *expected[some], *actual[some])
    line = [low / 1.3, high * 1.3]
    axes.plot(line, line, color=GREY, linewidth=1, linestyle=":")
    axes.set(xscale="log", yscale="log", xlim=line, ylim=line)
    axes.set(xlabel="average score of a sixth of the debits", ylabel="share of them that comes back")
    axes.set_title("Calibration")
    axes.annotate(
        "more come back\nthan scores say", (0.05, 0.93), xycoords="axes fraction", va="top", color=GREY
    )
    axes.annotate("fewer", (0.95, 0.07), xycoords="axes fraction", ha="right", color=GREY)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PERCENT)
        axis.set_minor_formatter(NullFormatter())


def _spending(axes: Axes, story: Story) -> None:
    known, later = story.known, story.hindsight
    axes.fill_between(story.at, known, later, step="post", color=ORANGE, alpha=0.14, linewidth=0)
    lines = (
        (known, {"label": "as it was known", "color": BLUE, "linewidth": 2.2}),
        (later, {"label": "with hindsight", "color": ORANGE, "linewidth": 2, "linestyle": DASHED}),
    )
    for values, look in lines:
        axes.step(story.at, values, where="post", **look)
    axes.legend(
        loc="lower right", bbox_to_anchor=(1.005, 0.985), ncol=2, labelcolor="linecolor", handlelength=2.6
    )
    axes.set_title(f"One account ({story.account_id}): spent in the last 30 days, as of every third hour")
    axes.set_xlim(story.at[0], story.at[-1])
    axes.margins(y=0.14)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"${value:,.0f}"))
    axes.tick_params(axis="x", labelbottom=False, length=0)


def _word(category: str) -> str:
    return "ACH debit" if category == "ach" else category


def _changes(axes: Axes, story: Story) -> None:
    """From when to when known and later history disagree about a transaction."""
    low, high = axes.get_xlim()
    for place, change in enumerate(reversed(story.changes)):
        color, words = (ORANGE, "known late,") if change.late else (BLUE, "reversed")
        begin, end = max(date2num(change.begin), low), min(date2num(change.end), high)
        axes.plot([begin, end], [place, place], color=color, linewidth=5, solid_capstyle="butt")
        text = f"${change.amount:,.0f} {_word(change.what)}, {words} {change.end.day} {change.end:%b}"
        at_end = end < low + 0.8 * (high - low)
        axes.annotate(
            text, (end if at_end else begin, place), (6 if at_end else -6, 0), textcoords="offset points",
            va="center", ha="left" if at_end else "right", fontsize=9,
        )  # fmt: skip
    axes.set_title(
        "What was counted then and is not in hindsight, or the other way round",
        fontsize=9.5,
        pad=4,
        fontweight="normal",
    )
    axes.set(xlim=(low, high), ylim=(-0.8, len(story.changes) - 0.2), yticks=[])
    axes.spines["left"].set_visible(False)
    locator = AutoDateLocator(minticks=6, maxticks=12)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
