"""One browser for all tests; it skips them, with the way to install one, where there is none."""

import pytest
from playwright.sync_api import sync_playwright

from .visits import BROWSERS, FLAGS, executable


@pytest.fixture(scope="session")
def browser():
    program = executable()
    if program is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed; `apt-get install chromium`, or name one in $CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()
