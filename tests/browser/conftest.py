"""One browser for all tests; it skips them, with the way to install one, where there is none."""

from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from .visits import BROWSERS, FLAGS, executable

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """Of two processes one has all tests of a file, which share what they open; of a page of the book, if one is named.

    So `pytest -n 2 --dist loadgroup` gives the pages of the book, which are most of the work, to both.
    """
    for item in items:
        if item.path.parent == HERE:
            named = item.callspec.params if hasattr(item, "callspec") else {}
            page = named.get("visit", named.get("entry", ""))
            item.add_marker(pytest.mark.xdist_group(f"{item.path.stem} {page}"))


@pytest.fixture(scope="session")
def browser():
    program = executable()
    if program is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed; `apt-get install chromium`, or name one in $CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()
