"""The documentation as data: pages, their fenced blocks, tables, headings and links, and how a block is run."""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"

_FENCE = re.compile(r"^(`{3,})(\w*)(.*)$")
_TITLE = re.compile(r'title="([^"]+)"')
_HEADING = re.compile(r"^(#{1,6}) (.+)$")


def pages() -> list[Path]:
    """Every page that a reader can open: at the root, in docs/, and the README of each example and of the bench."""
    found = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("bench/*.md"), *ROOT.glob("examples/*/*.md")]
    return sorted(found)


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its title (the file that it is), its text and where it stands."""

    page: Path
    line: int
    language: str
    title: str | None
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page in order."""
    found: list[Block] = []
    fence, start, language, title = "", 0, "", None
    lines: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        mark = _FENCE.match(line)
        if not fence and mark:
            named = _TITLE.search(mark[3])
            fence, start, language, title, lines = mark[1], number, mark[2], named and named[1], []
        elif fence and line == fence:
            found.append(Block(page, start, language, title, "\n".join(lines) + "\n"))
            fence = ""
        elif fence:
            lines.append(line)
    assert not fence, f"{page}:{start}: a block does not end"
    return found


def prose(page: Path) -> str:
    """The page's text without its fenced blocks (their lines are empty, so that line numbers stay)."""
    lines = page.read_text(encoding="utf-8").splitlines()
    for block in blocks(page):
        count = block.text.count("\n") + 2
        lines[block.line - 1 : block.line - 1 + count] = [""] * count
    return "\n".join(lines)


def tables(page: Path) -> list[list[dict[str, str]]]:
    """The page's tables: a list of rows each, with the header's words as keys."""
    return tables_in(prose(page))


def tables_in(text: str) -> list[list[dict[str, str]]]:
    """The tables of a text without blocks."""
    found: list[list[dict[str, str]]] = []
    header: list[str] = []
    for line in text.splitlines():
        if not line.startswith("|"):
            header = []
            continue
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip("|"))]
        if not header:
            header = cells
            found.append([])
        elif set(line) - set("|-: "):
            assert len(cells) == len(header), f"{len(cells)} of {len(header)} cells: {line}"
            found[-1].append(dict(zip(header, cells, strict=True)))
    return found


def table(page: Path, first_column: str) -> list[dict[str, str]]:
    """The one table of a page whose first column has this name."""
    (found,) = [rows for rows in tables(page) if rows and next(iter(rows[0])) == first_column]
    return found


def sections(page: Path) -> dict[str, str]:
    """The text under each heading of a page, blocks and deeper sections included."""
    text = page.read_text(encoding="utf-8").splitlines()
    plain = prose(page).splitlines()
    heads = [(i, len(m[1]), m[2]) for i, line in enumerate(plain) if (m := _HEADING.match(line))]
    made: dict[str, str] = {}
    for place, (start, level, name) in enumerate(heads):
        ends = [i for i, deep, _ in heads[place + 1 :] if deep <= level]
        made[name] = "\n".join(text[start : ends[0] if ends else None])
    return made


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    names = [m[2] for line in prose(page).splitlines() if (m := _HEADING.match(line))]
    return {re.sub(r"[^\w\- ]", "", name.lower()).replace(" ", "-") for name in names}


def code(cell: str) -> list[str]:
    """The words in backticks of a table's cell."""
    return re.findall(r"`([^`]+)`", cell)


def links(page: Path) -> list[tuple[int, str]]:
    """The targets of a page's links, with their lines."""
    made: list[tuple[int, str]] = []
    for number, line in enumerate(prose(page).splitlines(), 1):
        made += [(number, target) for target in re.findall(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)", line)]
    return made


def run_page(page: Path, folder: Path) -> None:
    """Do what a reader would do in an empty folder: write the titled files, run the others, compare what is shown.

    A block with a title is a file. `bash` is run by a shell, `python` in one namespace for the whole page (with
    `>>>` as a doctest). A `text` block behind a block that ran is what it prints: for Python exactly, for a shell
    these lines in this order, others (progress) may stand between them.
    """
    namespace: dict[str, Any] = {"__name__": "__main__"}
    printed, ran = "", None
    with contextlib.chdir(folder):
        for block in blocks(page):
            if block.title is not None:
                target = folder / block.title
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(block.text, encoding="utf-8")
            elif block.language == "python":
                printed, ran = run_python(block, namespace), "python"
            elif block.language == "bash":
                printed, ran = run_shell(block, folder), "bash"
            elif block.language == "text" and ran is not None:
                check_shown(block, printed, exact=ran == "python")
                ran = None


def run_python(block: Block, namespace: dict[str, Any]) -> str:
    """Run a block and give what it prints; one with prompts is a doctest."""
    if ">>> " in block.text:
        test = doctest.DocTestParser().get_doctest(block.text, namespace, str(block), None, block.line)
        said = io.StringIO()
        runner = doctest.DocTestRunner(
            verbose=False, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        )
        failed = runner.run(test, out=said.write, clear_globs=False).failed
        assert not failed, said.getvalue()
        namespace |= test.globs
        return ""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile("\n" * block.line + block.text, str(block.page), "exec"), namespace)  # noqa: S102
    return out.getvalue()


def run_shell(block: Block, folder: Path) -> str:
    """Run a block's commands and give what they print on both streams; a command that fails fails the block."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ASOF_")}
    environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"
    done = subprocess.run(
        ["bash", "-e", "-c", block.text], cwd=folder, env=environ, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, f"{block}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stderr + done.stdout


def check_shown(block: Block, printed: str, *, exact: bool) -> None:
    """What a page shows is what was printed: all of it, or these lines in this order."""
    shown = [line.rstrip() for line in block.text.splitlines() if line.strip()]
    seen = [line.rstrip() for line in printed.splitlines() if line.strip()]
    if exact:
        assert seen == shown, f"{block} shows something else"
        return
    rest = iter(seen)
    missing = [line for line in shown if not any(line == other for other in rest)]
    assert not missing, f"{block}: not printed (in this order): {missing}\n{printed}"


def modules_named(text: str) -> Iterator[str]:
    """The files and folders in backticks: `compute/kernels.py`, `docs/adr/`, `asof.testing.bank` is none."""
    for name in re.findall(r"`([\w.\-*]+(?:/[\w.\-*]+)*/?)`", text):
        if name.endswith((".py", ".md", ".toml", "/")) and name not in {".py", ".md"}:
            yield name
