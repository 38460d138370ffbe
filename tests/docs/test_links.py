"""Links of all pages: relative ones lead somewhere, anchors too; footnotes are defined and used; no page is lost."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import DOCS, ROOT, anchors, links, modules_named, pages, prose

PAGES = pages()
SRC = ROOT / "src" / "asof"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page):
    broken: list[str] = []
    for line, target in links(page):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(f"{page.relative_to(ROOT)}:{line}: {target}")
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_footnotes_are_defined_and_used(page):
    text = prose(page)
    defined = set(re.findall(r"^\[\^([\w-]+)\]:", text, re.MULTILINE))
    used = set(re.findall(r"\[\^([\w-]+)\](?!:)", text))
    assert defined == used


def test_the_index_leads_to_every_page_of_the_documentation():
    linked = {(DOCS / target.partition("#")[0]).resolve() for _, target in links(DOCS / "README.md")}
    assert not {page for page in DOCS.rglob("*.md") if page.name != "README.md"} - linked


@pytest.mark.parametrize(
    "page",
    [ROOT / "ARCHITECTURE.md", ROOT / "README.md", *sorted(DOCS.rglob("*.md"))],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_files_and_folders_that_a_page_names_exist(page):
    written = {target.partition("#")[0] for _, target in links(page)}
    made_by_the_reader = {"asof.toml", "definitions.py", "features/*.py"}
    for name in set(modules_named(prose(page))) - written - made_by_the_reader:
        assert any((place / name).exists() for place in (SRC, ROOT)), f"{page.name}: {name}"
