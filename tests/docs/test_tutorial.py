"""Every block of every tutorial, as a reader would run it in an empty folder."""

from __future__ import annotations

import pytest

from tests.docs.pages import DOCS, blocks, run_page

TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_does_what_it_says(page, tmp_path):
    run_page(page, tmp_path)


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_has_no_block_that_nobody_runs(page):
    for block in blocks(page):
        assert block.title is not None or block.language in {"python", "bash", "text"}, str(block)
