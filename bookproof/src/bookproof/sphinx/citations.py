"""A Sphinx extension: a link to a source shows the source, and the bibliography is a list to a screen reader too.

A chapter that is to read the same on GitHub and in a notebook cites by a plain link, as in
`[ViT](https://arxiv.org/abs/2010.11929)`. On the page a link whose address an entry of the bibliography has is a
citation: pointed at, it says who wrote what, when and where.

Docutils puts entries of the role `doc-biblioentry` into an element of the role `list`, whose children must be of the
role `listitem`. DPUB-ARIA 1.1 deprecated `doc-biblioentry` because the two do not go together.
"""

from typing import Any

from docutils import nodes
from pybtex.richtext import Text

VENUES = ("booktitle", "journal", "institution", "publisher", "howpublished")
CITED = "cited"  # the class of a link that is a citation


def plain(text: str) -> str:
    """A field of a bibliography without its LaTeX."""
    return str(Text.from_latex(text))


def source(entry: Any) -> str:
    """An entry of a bibliography in one line: authors, of more than three the first; title, venue, year."""
    names = [" ".join(map(plain, person.last_names)) for person in entry.persons.get("author", ())]
    first = ", ".join(names[:-1])
    authors = f"{names[0]} et al." if len(names) > 3 else " and ".join(filter(None, [first, *names[-1:]]))
    venue = next((plain(entry.fields[key]) for key in VENUES if key in entry.fields), "")
    where = ", ".join(filter(None, [venue, entry.fields.get("year", "")]))
    return f"{authors}: {plain(entry.fields['title'])}. {where}"


def address(url: str) -> str:
    """An address as it is compared: a source has one, whichever version, host or place in it a link names."""
    return url.partition("#")[0].rstrip("/").removeprefix("https://").removeprefix("http://").removeprefix("www.")


def show_sources(app: Any, doctree: nodes.document, page: str) -> None:
    """Name the source of each link that is a citation; the bibliography's own links are none."""
    entries = app.env.get_domain("cite").bibdata.data.entries.values()
    sources = {address(entry.fields["url"]): source(entry) for entry in entries if "url" in entry.fields}
    for link in doctree.findall(nodes.reference):
        found = sources.get(address(link.get("refuri", "")))
        if found and not isinstance(link.parent.parent, nodes.citation):
            link["reftitle"] = found
            link["classes"].append(CITED)


def name_list_items(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Give the entries of a page's bibliography the role that their list asks for; runs before the page is written."""
    if doctree is not None:
        context["body"] = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')


def setup(app: Any) -> dict[str, Any]:
    app.connect("doctree-resolved", show_sources)
    app.connect("html-page-context", name_list_items)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
