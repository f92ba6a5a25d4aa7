"""A Sphinx extension: a search that finds sections, live while one types, and marks the words where it leads.

It takes the place of Sphinx' own, which finds pages, and code as well as prose. Here a result is a section, or a
function that is described; code, mathematics and pictures are left out. The index is a script beside the pages, which
`search.js` asks for when somebody searches, so that it works from a folder too and weighs on no page.

    bookproof_search_synonyms: {saliency: attention map}    # in sphinx: config: of _config.yml

Who looks for "saliency" finds attention maps too, and not the other way round.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes

PROGRAM = Path(__file__).with_name("static")
INDEX = "search-index.js"
PAGE = """\
<section id="search"><h1>Search</h1>
<form class="bd-search d-flex align-items-center" action="search.html" method="get" role="search">
<i class="fa-solid fa-magnifying-glass"></i>
<input type="search" class="form-control" name="q" placeholder="Search" aria-label="Search the book" autocomplete="off">
</form>
<noscript><p>The search is a program of this page, and programs are switched off.</p></noscript>
</section>"""
NO_PROSE = (
    *(nodes.literal_block, nodes.doctest_block, nodes.math, nodes.math_block, nodes.raw, nodes.image),
    *(nodes.comment, nodes.system_message, nodes.substitution_definition, addnodes.toctree),
)
REPLACED = (
    "searchtools.js",
    "language_data.js",
    "searchindex.js",
    "sphinx_highlight.js",
)  # on every page, by the theme
SCRIPTS = re.compile(rf"""\s*<script (?:defer )?src="[^"]*(?:{"|".join(map(re.escape, REPLACED))})[^"]*"></script>""")

Found = tuple[str, str, str]  # anchor, title, words


def sections(node: nodes.Node) -> Iterator[Found]:
    """The sections of a page and the functions that it describes, in order: (anchor, title, words), without code."""
    for child in node.children:
        if isinstance(child, nodes.section):
            yield child["ids"][0], _title(child, nodes.title), prose(child)
        elif isinstance(child, addnodes.desc) and child.children[0]["ids"]:
            yield child.children[0]["ids"][0], _title(child, addnodes.desc_name), prose(child)
        yield from sections(child)


def prose(node: nodes.Node) -> str:
    """What a section says itself: not its title, not what sections within it say, no code."""
    own = (child for child in node.children if not isinstance(child, nodes.title | addnodes.desc_signature))
    return " ".join(" ".join(map(_text, own)).split())


def _text(node: nodes.Node) -> str:
    if isinstance(node, nodes.Text):
        return node.astext()
    if isinstance(node, (*NO_PROSE, nodes.section, addnodes.desc)) or "cell_input" in node["classes"]:
        return " "
    space = "" if isinstance(node, nodes.Inline) else " "
    return space + "".join(map(_text, node.children)) + space


def _title(node: nodes.Element, kind: type[nodes.Element]) -> str:
    return next((found.astext() for found in node.findall(kind)), "")


def replace_search(app: Any) -> None:
    """Sphinx makes neither its index nor its page; ours takes their place."""
    app.builder.search = False
    app.config.html_static_path.append(str(PROGRAM))
    app.add_js_file("search.js", loading_method="defer")
    app.add_css_file("search.css")
    app.sections = {}


def collect(app: Any, doctree: nodes.document, page: str) -> None:
    app.sections[page] = list(sections(doctree))


def search_page(app: Any) -> Iterator[tuple[str, dict[str, Any], str]]:
    yield "search", {"title": "Search", "body": PAGE}, "page.html"


def finish(app: Any, exception: Exception | None) -> None:
    """Write the index, and take Sphinx' search off the pages."""
    if exception or app.builder.format != "html":
        return
    built = Path(app.outdir)
    (built / "_static" / INDEX).write_text(f"window.searchIndex={index(app)};\n", encoding="utf-8")
    for path in built.rglob("*.html"):
        if "_static" not in path.relative_to(built).parts:
            path.write_text(SCRIPTS.sub("", path.read_text(encoding="utf-8")), encoding="utf-8")
    for name in REPLACED:
        (built / "_static" / name).unlink(missing_ok=True)


def index(app: Any) -> str:
    """The sections of all pages, as JSON; pages that were not written this time are resolved for it."""
    pages = sorted(app.env.found_docs)
    for page in pages:
        if page not in app.sections:
            app.env.get_and_resolve_doctree(page, app.builder)
    found = {
        "synonyms": app.config.bookproof_search_synonyms,
        "pages": [[app.builder.get_target_uri(page), app.env.titles[page].astext()] for page in pages],
        "sections": [[number, *section] for number, page in enumerate(pages) for section in app.sections[page]],
    }
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"))


def setup(app: Any) -> dict[str, Any]:
    app.add_config_value("bookproof_search_synonyms", {}, "html", dict)
    app.connect("builder-inited", replace_search)
    app.connect("doctree-resolved", collect, priority=900)
    app.connect("html-collect-pages", search_page)
    app.connect("build-finished", finish)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
