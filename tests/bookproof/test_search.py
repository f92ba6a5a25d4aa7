"""The index of a book's search holds its sections with their prose, and nothing of Sphinx' own search is left."""

import json
import types

import pytest
from docutils import nodes
from docutils.utils import new_document
from sphinx import addnodes

from bookproof.sphinx import search


def section(anchor, title, *children):
    return nodes.section("", nodes.title("", title), *children, ids=[anchor])


@pytest.fixture
def page():
    code = nodes.literal_block("", "assert np.allclose(a, b)")
    folded = nodes.container("", nodes.paragraph("", "typed"), classes=["cell_input"])
    formula = nodes.math("", "x^2")
    text = nodes.Text
    said = nodes.paragraph(
        "", "", text("Each row "), nodes.strong("", "sums"), text(" to one, "), formula, text("and no more.")
    )
    inner = section("softmax", "Softmax", said)
    name = addnodes.desc_name("", "load")
    described = addnodes.desc("", addnodes.desc_signature("", "", name, ids=["data.load"]))
    described += addnodes.desc_content("", nodes.paragraph("", "The data set."))
    whole = new_document("maps")
    whole += section("top", "Maps", nodes.paragraph("", "First."), code, folded, inner, described)
    return whole


def test_sections_and_described_functions_are_found_with_their_own_prose_and_no_code(page):
    assert list(search.sections(page)) == [
        ("top", "Maps", "First."),
        ("softmax", "Softmax", "Each row sums to one, and no more."),
        ("data.load", "load", "The data set."),
    ]


def test_the_index_is_written_and_pages_lose_the_scripts_of_the_other_search(tmp_path, page):
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "searchtools.js").write_text("Search")
    keep = '<script src="_static/search.js?v=1"></script>'
    theirs = '<script src="_static/searchtools.js?v=2"></script><script defer src="../searchindex.js"></script>'
    (tmp_path / "maps.html").write_text(f"<head>{keep}{theirs}</head>")
    env = types.SimpleNamespace(found_docs={"maps"}, titles={"maps": nodes.title("", "Maps")})
    env.get_and_resolve_doctree = lambda name, builder: search.collect(app, page, name)
    app = types.SimpleNamespace(outdir=str(tmp_path), env=env, sections={})
    app.builder = types.SimpleNamespace(format="html", get_target_uri=lambda name: f"{name}.html")
    app.config = types.SimpleNamespace(bookproof_search_synonyms={"cls": "class token"})
    search.finish(app, None)
    written = (tmp_path / "_static" / search.INDEX).read_text(encoding="utf-8")
    found = json.loads(written.removeprefix("window.searchIndex=").removesuffix(";\n"))
    assert found["pages"] == [["maps.html", "Maps"]]
    assert [section[:3] for section in found["sections"]] == [
        [0, "top", "Maps"],
        [0, "softmax", "Softmax"],
        [0, "data.load", "load"],
    ]
    assert found["synonyms"] == {"cls": "class token"}
    assert (tmp_path / "maps.html").read_text() == f"<head>{keep}</head>"
    assert not (tmp_path / "_static" / "searchtools.js").exists()
