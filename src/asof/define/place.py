"""Where a definition was written: `features/payments.py:12`, for errors that are found later."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any, Self

_OURS = {__name__.partition(".")[0], "dataclasses"}


class Placed:
    """A record that remembers the file and line which made it; no part of its value."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """A new record, with the place of the first caller outside of asof."""
        del args, kwargs
        made = super().__new__(cls)
        frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _OURS:
            frame = frame.f_back
        place = None if frame is None else (frame.f_code.co_filename, frame.f_lineno)
        object.__setattr__(made, "_place", place)
        return made


def place_of(thing: object, root: Path | None = None) -> str | None:
    """`file:line` where a definition was made, below `root` as a relative path; None where that is unknown.

    Example:
        >>> place_of("no definition") is None
        True
    """
    place: tuple[str, int] | None = getattr(thing, "_place", None)
    if place is None or place[0].startswith("<"):
        return None
    path = Path(place[0])
    if root is not None and path.is_relative_to(root):
        path = path.relative_to(root)
    return f"{path}:{place[1]}"
