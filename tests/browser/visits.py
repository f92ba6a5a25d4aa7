"""Opening a page in headless Chromium with the network cut, and writing down all that it asks for and logs.

What a page must be is in `checks.py`; here is only how it is served, opened and looked at.
"""

import os
import shutil
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from playwright.sync_api import Browser, Page

HOST = "127.0.0.1"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {HOST}",  # the cut: no other host has an address
)

DESK, PHONE = 1280, 360  # widths in CSS pixels

# A page is looked at whole: pictures loaded, folded solutions open, letters and maths in place.
SETTLE = """async () => {
  for (const image of document.images) image.loading = "eager";
  for (const fold of document.querySelectorAll("details")) fold.open = true;
  await window.MathJax?.startup?.promise;
  await document.fonts.ready;
  await Promise.all([...document.images].map(image => image.decode().catch(() => {})));
}"""
# A change has been drawn; and of the window, the theme has had its 300 ms to let the keyboard reach what now scrolls.
DRAWN = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done())))"
ADAPTED = "() => new Promise(done => setTimeout(done, 350))"


class Visit:
    """An open page, with the addresses it `asked` for, the requests that `failed`, and what it `logged` as wrong."""

    def __init__(self, page: Page):
        self.page = page
        self.asked, self.failed, self.logged = [], [], []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("websocket", lambda socket: self.asked.append(socket.url))
        page.on("requestfailed", lambda request: self.failed.append(f"{request.url} ({request.failure})"))
        page.on("response", self._note_refusal)
        page.on("pageerror", lambda error: self.logged.append(f"uncaught {error}"))
        page.on("console", self._note_complaint)

    def _note_refusal(self, response):
        if response.status >= 400:
            self.failed.append(f"{response.url} (status {response.status})")

    def _note_complaint(self, message):
        if message.type in ("error", "warning"):
            self.logged.append(f"{message.type}: {message.text} ({message.location['url']})")

    def look(self, theme: str, width: int) -> None:
        """Show the page in another theme of the reader's system, and in a window of another width."""
        self.page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        resized = self.page.viewport_size["width"] != width
        self.page.set_viewport_size({"width": width, "height": 800})
        self.page.evaluate(DRAWN)
        if resized:
            self.page.evaluate(ADAPTED)


@contextmanager
def visited(browser: Browser, address: str):
    """A `Visit` of the page at `address`, loaded and settled, light and on a desk; closed after the `with`."""
    context = browser.new_context(color_scheme="light", viewport={"width": DESK, "height": 800})
    context.set_default_timeout(120_000)  # milliseconds: a busy machine is no broken page
    try:
        visit = Visit(context.new_page())
        visit.page.goto(address, wait_until="load")
        visit.page.evaluate(SETTLE)
        yield visit
    finally:
        context.close()


@contextmanager
def served(folder: Path):
    """The address at which `folder` is served to this machine, for the length of a `with`."""
    with ThreadingHTTPServer((HOST, 0), partial(Quiet, directory=folder)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{HOST}:{server.server_port}"
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    """The standard library's server, without a line of log for each request."""

    def log_message(self, *_):
        pass


def executable() -> str | None:
    """The browser: what $CHROMIUM names, or the first of `BROWSERS` that is installed, or None.

    Raises FileNotFoundError if $CHROMIUM names no program: who names a browser wants the tests run, not skipped.
    """
    named = os.environ.get("CHROMIUM")
    if not named:
        return next(filter(None, map(shutil.which, BROWSERS)), None)
    if not shutil.which(named):
        raise FileNotFoundError(f"CHROMIUM={named} is not a program; name an installed Chromium, or unset it")
    return shutil.which(named)
