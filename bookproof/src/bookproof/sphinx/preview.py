"""A Sphinx extension: what a page says of itself where it is linked, in a window's title, a list of results, a message.

Its title; what it asks, or its first paragraph; its first picture, or that of the front page. A picture is asked for by
another host, so that it needs the book's address, `html_baseurl`; without one it is left out.

    bookproof_question: The question of this    # how the paragraph begins that says what a page asks
"""

import html
import textwrap
from collections.abc import Iterator
from typing import Any

from docutils import nodes

LENGTH = 300  # of a description, in letters: what is longer is cut off by who shows it


def description(doctree: nodes.document, question: str = "") -> str:
    """What a page asks: the paragraph that begins with `question`, up to its colon left out; or its first paragraph."""
    texts = [" ".join(found.astext().split()) for found in doctree.findall(nodes.paragraph)]
    asked = next((text.partition(": ")[2] for text in texts if question and text.startswith(question)), "")
    text = asked or next(filter(None, texts), "")
    return textwrap.shorten(text[:1].upper() + text[1:], LENGTH, placeholder=" …")


def picture(env: Any, page: str) -> tuple[str, str] | None:
    """The first picture of a page, or else of the front page: its path in the built book, and what it shows."""
    for name in (page, env.config.root_doc):
        for image in env.get_doctree(name).findall(nodes.image):
            if image["uri"] in env.images and image.get("alt"):
                return f"_images/{env.images[image['uri']][1]}", image["alt"]
    return None


def tags(app: Any, page: str, title: str, doctree: nodes.document) -> Iterator[tuple[str, str, str]]:
    """What a page says of itself, as (attribute, name, content) of `<meta>`."""
    told, base = description(doctree, app.config.bookproof_question), app.config.html_baseurl
    yield "name", "description", told
    yield "property", "og:title", title
    yield "property", "og:description", told
    yield "property", "og:type", "article"
    yield "property", "og:site_name", app.config.html_title or app.config.project
    found = picture(app.env, page)
    if base:
        yield "property", "og:url", base.rstrip("/") + "/" + app.builder.get_target_uri(page)
    if base and found:
        yield "property", "og:image", f"{base.rstrip('/')}/{found[0]}"
        yield "property", "og:image:alt", found[1]
        yield "name", "twitter:card", "summary_large_image"


def introduce(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Write them into the head of a page that has a source; the front page has the book's title once."""
    if doctree is None:
        return
    title = app.env.titles[page].astext()
    if title == context.get("docstitle"):
        context["docstitle"] = ""
    context["metatags"] += "".join(
        f'\n    <meta {attribute}="{name}" content="{html.escape(content)}" />'
        for attribute, name, content in tags(app, page, title, doctree)
    )


def setup(app: Any) -> dict[str, Any]:
    app.add_config_value("bookproof_question", "", "html", str)
    app.connect("html-page-context", introduce)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
