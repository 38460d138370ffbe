"""The house rules that are measured or that are about texts: module budgets, lock files, addresses, the error tree."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import asof.errors

ROOT = Path(__file__).parents[1]
ENGINES = {"numpy", "pyarrow", "duckdb", "numba", "llvmlite", "pandas", "polars", "rich"}
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# Written in parts, so that this file keeps the rule that it tests.
HOSTS = [
    "pypi" + ".org",
    "pythonhosted" + ".org",
    "npmjs" + ".",
    "crates" + ".io",
    "golang" + ".org",
    "debian" + ".org",
]
MACHINE_PATH = re.compile(r"(?<![\w.~/:}-])/(?:root|work|home|Users)" + r"/\w")


def modules_after(code: str) -> set[str]:
    """The names of all modules that a fresh Python has loaded after running the code."""
    code += "\nimport sys\nsys.stderr.write('\\nMODULES ' + ' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stderr.rpartition("MODULES ")[2].split())


def tracked_texts() -> list[tuple[str, str]]:
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode:
        pytest.skip("not a git clone")
    texts: list[tuple[str, str]] = []
    for name in done.stdout.splitlines():
        try:
            texts.append((name, (ROOT / name).read_text(encoding="utf-8")))
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue
    return texts


def error_codes() -> dict[str, str]:
    """The code of every class of the error tree."""
    found: dict[str, str] = {}
    classes: list[type[asof.errors.AsofError]] = [asof.errors.AsofError]
    while classes:
        each = classes.pop()
        if each.__module__.startswith("asof."):
            found[each.__name__] = each.code
        classes += each.__subclasses__()
    return found


def asked_for() -> set[str]:
    """The names of all that pyproject.toml asks for: core, extras, build and development."""
    project = PYPROJECT["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    lists += PYPROJECT["dependency-groups"].values()
    texts = [each for one in lists for each in one if isinstance(each, str)]
    return {re.split(r"[^A-Za-z0-9_.-]", text)[0].lower() for text in texts}


def test_import_asof_is_light_and_loads_no_engine() -> None:
    modules = modules_after("import asof")
    assert len(modules) <= 150
    assert not modules & ENGINES


def test_help_is_light_and_loads_no_engine() -> None:
    code = "import sys; sys.argv = ['asof', '--help']\nfrom asof.cli import main\ntry: main()\nexcept SystemExit: pass"
    modules = modules_after(code)
    assert len(modules) <= 250
    assert not modules & (ENGINES - {"rich"})


def test_every_error_class_has_a_code_of_its_own() -> None:
    codes = error_codes()
    assert len(set(codes.values())) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes.values())


def test_every_error_code_is_explained() -> None:
    page = (ROOT / "docs" / "reference" / "errors.md").read_text()
    assert not {code for code in error_codes().values() if f"`{code}`" not in page}


def test_no_tracked_file_names_a_package_registry_or_a_place_on_a_machine() -> None:
    problems = [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in tracked_texts()
        for number, line in enumerate(text.splitlines(), 1)
        if any(host in line for host in HOSTS) or MACHINE_PATH.search(line)
    ]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_file_has_hashes_and_no_addresses(lock: Path) -> None:
    text = lock.read_text()
    assert not re.search(
        r"://|--(?:extra-)?index|--find-links| @ |/", text.replace("requirements/README.md", "")
    )
    requirements = re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", text))
    assert requirements
    assert all("==" in each and "--hash=sha256:" in each for each in requirements)


def test_lock_files_agree() -> None:
    base, dev, examples = (set(re.findall(r"^\S+==\S+", lock.read_text(), re.MULTILINE)) for lock in LOCKS)
    assert base < examples < dev


def test_lock_files_hold_what_the_project_asks_for() -> None:
    locked = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements" / "dev.txt").read_text(), re.MULTILINE))
    assert not asked_for() - locked, "run make requirements"


def test_every_dependency_is_accounted_for() -> None:
    record = (ROOT / "docs" / "adr" / "0001-dependencies.md").read_text()
    assert not {name for name in asked_for() if f"| {name} |" not in record}


def test_changelog_fragments_are_named_for_their_issue_and_kind() -> None:
    names = {path.name for path in (ROOT / "changelog.d").glob("*.md")} - {"README.md"}
    kinds = "added|changed|fixed|removed|security"
    assert not {name for name in names if not re.fullmatch(rf"\d+(\.\d+)?\.({kinds})\.md", name)}
