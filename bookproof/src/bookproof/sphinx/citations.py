"""A Sphinx extension: an entry of a bibliography is an item of its list, to a screen reader too.

Docutils puts entries of the role `doc-biblioentry` into an element of the role `list`, whose children must be of the
role `listitem`. DPUB-ARIA 1.1 deprecated `doc-biblioentry` because the two do not go together.
"""

from typing import Any


def name_list_items(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Give the entries of a page's bibliography the role that their list asks for; runs before the page is written."""
    if doctree is not None:
        context["body"] = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')


def setup(app: Any) -> dict[str, Any]:
    app.connect("html-page-context", name_list_items)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
