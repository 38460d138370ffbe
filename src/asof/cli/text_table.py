"""Tables and trees as plain text: the same on a terminal, in a pipe and in a log."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asof.flows.lineage import Branch

Row = Sequence[object]
_LINES = ("├─ ", "└─ ", "│  ", "   ")
_PLAIN_LINES = ("|- ", "`- ", "|  ", "   ")
_COLOURS = re.compile(r"(\x1b\[(?:0|1|3[1-6])m)")  # what click.style writes for the colours that we use
_SHOWN = 6  # names in brackets


def printable(text: str) -> str:
    r"""Text that may come from anybody, as a terminal should show it: our own colours stay, every other character
    that does not print (escapes, controls, those that turn the direction of writing) is written as its code.

    Example:
        >>> print(printable("a" + chr(27) + "[2Jb" + chr(0x202E)))
        a\x1b[2Jb\u202e
    """
    parts = _COLOURS.split(text)
    return "".join(part if place % 2 else _plain(part) for place, part in enumerate(parts))


def _plain(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def table_lines(head: Sequence[str], rows: Iterable[Row], indent: str = "") -> list[str]:
    """Rows in columns as wide as they need to be; numbers to the right, columns without any text left out.

    Example:
        >>> table_lines(["name", "n", "note"], [["a", 10, ""], ["bcd", 7, None]])
        ['name   n', 'a     10', 'bcd    7']
    """
    made = [["" if cell is None else cell for cell in row] for row in rows]
    used = [i for i in range(len(head)) if not made or any(row[i] != "" for row in made)]
    cells = [[head[i] for i in used], *([str(row[i]) for i in used] for row in made)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(used))]
    right = [bool(made) and all(isinstance(row[i], int) or row[i] == "" for row in made) for i in used]
    lines: list[str] = []
    for row in cells:
        parts = zip(row, widths, right, strict=True)
        line = "  ".join(text.rjust(wide) if number else text.ljust(wide) for text, wide, number in parts)
        lines.append((indent + line).rstrip())
    return lines


def named(names: Sequence[str]) -> str:
    """A few names in brackets, and how many more; empty for none.

    Example:
        >>> named(["a", "b"]), named("abcdefgh")
        (' [a, b]', ' [a, b, c, d, e, f and 2 more]')
    """
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f" [{', '.join(names[:_SHOWN])}{more}]" if names else ""


def tree_lines(
    branches: Sequence[Branch], words: Callable[[str], str], *, plain: bool | None = None
) -> Iterator[str]:
    """The lines of a tree, in the characters that stdout can show; what has been told above ends in `...`."""
    lines = _PLAIN_LINES if (plain if plain is not None else not _can_draw()) else _LINES
    yield from _tree(branches, words, lines, "")


def _tree(
    branches: Sequence[Branch], words: Callable[[str], str], lines: tuple[str, str, str, str], indent: str
) -> Iterator[str]:
    for place, branch in enumerate(branches):
        last = place == len(branches) - 1
        again = " ..." if branch.again else ""
        yield f"{indent}{lines[last]}{words(branch.node)}{named(branch.through)}{again}"
        yield from _tree(branch.branches, words, lines, indent + lines[2 + last])


def _can_draw() -> bool:
    try:
        "".join(_LINES).encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
