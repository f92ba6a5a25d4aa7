"""A Sphinx extension: each page tells the browser to run and to fetch what the book ships, and nothing else.

The policy stands in the page itself, as `<meta http-equiv="Content-Security-Policy">`, because a book is read from any
server and from a folder. A script of the theme or of a cell that stands in the page runs because its digest is named;
one that got there otherwise does not. Styles are let through: the theme and MathJax set them as they go.
"""

import base64
import hashlib
import html
import re
from pathlib import Path
from typing import Any

SCRIPT = re.compile(r"<script\b([^>]*)>(.*?)</script>", re.DOTALL | re.IGNORECASE)
NOT_RUN = re.compile(r"""\bsrc=|\btype=["']?(?!text/javascript)[\w-]+/""", re.IGNORECASE)  # by its text here
HANDLER = re.compile(r"""\son\w+=(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)
HEAD = re.compile(r"<head\b[^>]*>", re.IGNORECASE)


def handlers(page: str) -> list[str]:
    """The programs in a page's attributes, such as `onclick`."""
    return [html.unescape(first or second) for first, second in HANDLER.findall(SCRIPT.sub("", page))]


def policy(page: str) -> str:
    """The policy of a page: what it holds and what lies beside it, by name."""
    scripts = [body for attributes, body in SCRIPT.findall(page) if not NOT_RUN.search(attributes)]
    attributes = handlers(page)
    named = dict.fromkeys(digest(text) for text in [*scripts, *attributes])
    allowed = " ".join(["'self'", "'wasm-unsafe-eval'", *(["'unsafe-hashes'"] if attributes else []), *named])
    return (
        f"default-src 'self'; script-src {allowed}; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        "font-src 'self' data:; media-src 'self' blob:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
        "object-src 'none'; base-uri 'self'; form-action 'self'"
    )


def digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def write_policies(app: Any, exception: Exception | None) -> None:
    """Put its policy into the head of every page; runs when nothing else changes them any more."""
    if exception or app.builder.format != "html":
        return
    built = Path(app.outdir)
    for path in sorted(built.rglob("*.html")):
        page = path.read_text(encoding="utf-8")
        head = HEAD.search(page)
        if head and "_static" not in path.relative_to(built).parts:
            meta = f'\n    <meta http-equiv="Content-Security-Policy" content="{policy(page)}">'
            path.write_text(page[: head.end()] + meta + page[head.end() :], encoding="utf-8")


def setup(app: Any) -> dict[str, Any]:
    app.connect("build-finished", write_policies, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
