"""Windows: which events an aggregation counts, as seen from the instant t that asks.

The table in docs/concepts/time-and-value.md is the contract; `bounds` is that table in code, and the only
place where a window's edges become numbers. All edges are half-open integer microseconds, so `closed` is a
shift by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, cast

from asof.clock import format_duration, parse_duration
from asof.define.names import check_choice
from asof.errors import DefinitionError

Closed = Literal["left", "right", "both", "neither"]
Duration = str | timedelta
CLOSED = ("left", "right", "both", "neither")
LIFETIME = "lifetime"
BEGIN_US = -(2**62)
END_US = 2**62


@dataclass(frozen=True)
class Window:
    """One window: a size (None for a lifetime), an offset before t, which edges count, and a hop for the left
    edge.

    Ties: an event exactly on an edge counts as `closed` says; the default `left` is `[t-offset-size,
    t-offset)`.
    """

    size_us: int | None
    offset_us: int = 0
    closed: Closed = "left"
    hop_us: int = 0
    forward: bool = False

    def __post_init__(self) -> None:
        check_choice("window", "closed", self.closed, CLOSED)
        if self.size_us is not None and self.size_us <= 0:
            raise DefinitionError(f"window: size {self.size_us} us is not positive")
        if self.offset_us < 0:
            raise DefinitionError(
                f"window: offset {self.offset_us} us is negative", hint="offsets reach back"
            )
        if self.hop_us < 0 or (self.hop_us and self.size_us is None):
            raise DefinitionError("window: a hop needs a positive length and a window that is not a lifetime")
        if self.hop_us and self.size_us is not None and self.hop_us > self.size_us:
            raise DefinitionError(
                f"window: hop {format_duration(self.hop_us)} is longer than the window"
                f" {format_duration(self.size_us)}"
            )
        if self.forward and (self.offset_us or self.hop_us or self.size_us is None):
            raise DefinitionError("window: a forward window has a size, and neither offset nor hop")

    @property
    def label(self) -> str:
        """The part of a feature's name that tells the window: `30d`, `7d_offset_7d`, `1h_hop_5m`, `lifetime`."""
        parts = [LIFETIME if self.size_us is None else format_duration(self.size_us)]
        if self.forward:
            parts.insert(0, "next")
        if self.offset_us:
            parts += ["offset", format_duration(self.offset_us)]
        if self.hop_us:
            parts += ["hop", format_duration(self.hop_us)]
        if self.closed != "left":
            parts += ["closed", self.closed]
        return "_".join(parts)

    @property
    def reach_us(self) -> int | None:
        """How far before t the window can reach, or None for a lifetime; 0 for a forward window."""
        if self.forward:
            return 0
        return None if self.size_us is None else self.size_us + self.offset_us + self.hop_us + 1


def parse_window(
    size: Duration, *, offset: Duration | None = None, closed: Closed = "left", hop: Duration | None = None
) -> Window:
    """The window that a definition's words name; `size` may be `"lifetime"`.

    Raises:
        DefinitionError: a duration that is none, or parts that do not go together.

    Example:
        >>> parse_window("7d", offset="7d").label
        '7d_offset_7d'
    """
    size_us = None if size == LIFETIME else parse_duration(size)
    offset_us = 0 if offset is None else parse_duration(offset)
    hop_us = 0 if hop is None else parse_duration(hop)
    return Window(
        size_us, offset_us, cast("Closed", check_choice("window", "closed", closed, CLOSED)), hop_us
    )
