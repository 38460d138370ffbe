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
from matplotlib.ticker import FuncFormatter, PercentFormatter
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve

from examples.ach_return_risk.story import Story
from examples.ach_return_risk.tables import find
from examples.ach_return_risk.train import HINDSIGHT, KNOWN, SCENARIOS, Result

BLUE, ORANGE, GREY, INK = "#0072B2", "#D55E00", "#8a8a8a", "#222222"
LOOKS: dict[tuple[str, str], dict[str, Any]] = {
    (KNOWN, KNOWN): {"color": BLUE, "linestyle": "-", "label": "as known: promised and kept"},
    (HINDSIGHT, HINDSIGHT): {"color": ORANGE, "linestyle": (0, (4, 2)), "label": "hindsight: promised"},
    (HINDSIGHT, KNOWN): {"color": ORANGE, "linestyle": "-", "label": "hindsight: kept"},
}
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
        figure = Figure(figsize=(13, 9.2), facecolor="white")
        grid = GridSpec(
            3, 3, figure=figure, height_ratios=(1.15, 1.0, 0.42), hspace=0.12, wspace=0.26,
            left=0.06, right=0.975, top=0.875, bottom=0.065,
        )  # fmt: skip
        top = grid[0, :].subgridspec(2, 3, height_ratios=(1, 0.14), wspace=0.28)
        _precision(figure.add_subplot(top[0, 0]), results, returned)
        _scores(figure.add_subplot(top[0, 1]), results, returned)
        _calibration(figure.add_subplot(top[0, 2]), results, returned)
        spending = figure.add_subplot(grid[1, :])
        _spending(spending, story)
        _changes(figure.add_subplot(grid[2, :], sharex=spending), story)
        _title(figure, results)
        figure.savefig(path, dpi=150)


def _title(figure: Figure, results: Sequence[Result]) -> None:
    promised, kept, honest = (find(results, *SCENARIOS[i]).average_precision for i in (1, 2, 0))
    figure.text(
        0.06, 0.955, "What hindsight promises, and what it keeps", fontsize=17, fontweight="bold", color=INK
    )
    text = (
        "Will this ACH debit be returned? Gradient boosting; average precision on later debits:"
        f" trained with hindsight {promised:.2f} promised, {kept:.2f} kept; trained as known {honest:.2f}."
    )
    figure.text(0.06, 0.928, text, fontsize=11, color=INK)


def _precision(axes: Axes, results: Sequence[Result], returned: NDArray[np.int64]) -> None:
    for scenario in SCENARIOS:
        precision, recall, _ = precision_recall_curve(returned, find(results, *scenario).scores)
        axes.plot(recall, np.maximum.accumulate(precision), linewidth=2, **LOOKS[scenario])
    axes.axhline(returned.mean(), color=GREY, linewidth=1, linestyle=":")
    axes.annotate(
        "chance", (1.0, float(returned.mean())), (0, 4), textcoords="offset points", ha="right", color=GREY
    )
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="share of the returns that are found")
    axes.set_title("Precision: returned among the debits flagged")
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(loc="upper right", handlelength=2.6)


def _scores(axes: Axes, results: Sequence[Result], returned: NDArray[np.int64]) -> None:
    came_back = returned == 1
    for scenario in SCENARIOS[1:]:
        scores = np.sort(find(results, *scenario).scores[came_back])
        axes.plot(scores, np.linspace(1, 0, scores.size), linewidth=2, **LOOKS[scenario])
    axes.set_xscale("log")
    axes.set(ylim=(0, 1.02), xlabel="score of the model trained with hindsight")
    axes.set_title("Returned debits that score at least so high")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axes.yaxis.set_major_formatter(PercentFormatter(1))


def _calibration(axes: Axes, results: Sequence[Result], returned: NDArray[np.int64]) -> None:
    for scenario in SCENARIOS:
        scores = find(results, *scenario).scores
        parts = np.array_split(np.argsort(scores), 8)
        expected = [float(scores[part].mean()) for part in parts]
        actual = [float(returned[part].mean()) for part in parts]
        axes.plot(expected, actual, linewidth=1.6, marker="o", markersize=4, **LOOKS[scenario])
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
    axes.set_title("Calibration")


def _spending(axes: Axes, story: Story) -> None:
    axes.fill_between(story.at, story.known, story.hindsight, step="post", color=ORANGE, alpha=0.13, linewidth=0)
    axes.step(story.at, story.hindsight, where="post", color=ORANGE, linewidth=2, linestyle=(0, (4, 2)))
    axes.step(story.at, story.known, where="post", color=BLUE, linewidth=2.2)


def _changes(axes: Axes, story: Story) -> None:
    for place, change in enumerate(reversed(story.changes)):
        begin, end = date2num(change.begin), date2num(change.end)
        axes.plot([begin, end], [place, place], color=ORANGE if change.late else BLUE, linewidth=4, solid_capstyle="butt")
        axes.text(end, place, f"  ${change.amount:,.0f} {change.what}", va="center", fontsize=8.5)
    locator = AutoDateLocator(minticks=6, maxticks=12)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
