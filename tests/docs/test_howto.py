"""docs/how-to/ and docs/concepts/plan-and-apply.md: every block, as a reader would run it in an empty folder."""

from __future__ import annotations

import pytest

from tests.docs.pages import DOCS, blocks, run_page

PAGES = [DOCS / "concepts" / "plan-and-apply.md", *sorted((DOCS / "how-to").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_does_what_it_says(page, tmp_path):
    run_page(page, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_no_block_that_nobody_runs(page):
    for block in blocks(page):
        assert block.title is not None or block.language in {"python", "bash", "text"}, str(block)
