"""What a page says of itself, of its sources and of the package beside it."""

import ast
import subprocess
import textwrap
import types

import pytest
from docutils import nodes
from docutils.utils import new_document
from pybtex.database import parse_string

from bookproof.sphinx import api, citations, footer, preview, tables

BIBLIOGRAPHY = parse_string(
    r"""@inproceedings{a, title = {The {ViT}}, author = {M{\"u}ller, S. and Hutter, F.}, booktitle = {ICCV},
    year = {2021}, url = {https://arxiv.org/abs/2103.10158}}
    @misc{b, title = {Many}, author = {A, A and B, B and C, C and D, D}, year = {2020}, url = {https://b.org/}}""",
    "bibtex",
)


def document(*texts):
    page = new_document("page")
    page += [nodes.paragraph("", text) for text in texts]
    return page


def test_a_page_is_described_by_what_it_asks_or_else_by_its_first_paragraph():
    page = document("A convolution looks.", "The question of this chapter: how do we know?")
    assert preview.description(page, "The question of this") == "How do we know?"
    assert preview.description(page) == "A convolution looks."
    assert preview.description(document("The question of this chapter is old."), "The question of this").endswith(
        "old."
    )
    assert len(preview.description(document("word " * 100))) <= preview.LENGTH


@pytest.mark.parametrize("base", ["", "https://book.org/here/"])
def test_a_picture_is_named_only_where_the_book_has_an_address(base):
    page = document("A page.")
    page += nodes.image(uri="book/a.png", alt="A cat.")
    env = types.SimpleNamespace(images={"book/a.png": ({"page"}, "a.png")}, get_doctree=lambda name: page)
    env.config = types.SimpleNamespace(root_doc="index")
    config = types.SimpleNamespace(bookproof_question="", html_baseurl=base, html_title="Book", project="book")
    builder = types.SimpleNamespace(get_target_uri=lambda name: f"{name}.html")
    app = types.SimpleNamespace(env=env, config=config, builder=builder)
    found = {name: content for _, name, content in preview.tags(app, "page", "Page", page)}
    assert found["og:title"] == "Page"
    assert found.get("og:image") == ("https://book.org/here/_images/a.png" if base else None)
    assert found.get("og:url") == ("https://book.org/here/page.html" if base else None)


def test_a_source_is_said_in_one_line():
    assert citations.source(BIBLIOGRAPHY.entries["a"]) == "Müller and Hutter: The ViT. ICCV, 2021"
    assert citations.source(BIBLIOGRAPHY.entries["b"]) == "A et al.: Many. 2020"


def test_a_link_to_a_source_shows_it_and_another_link_does_not():
    page = new_document("page")
    page += nodes.paragraph("", "", nodes.reference("", "ViT", refuri="https://arxiv.org/abs/2103.10158#page=3"))
    page += nodes.paragraph("", "", nodes.reference("", "other", refuri="https://arxiv.org/abs/2103.1015"))
    domain = types.SimpleNamespace(bibdata=types.SimpleNamespace(data=BIBLIOGRAPHY))
    app = types.SimpleNamespace(env=types.SimpleNamespace(get_domain=lambda name: domain))
    citations.show_sources(app, page, "page")
    cited, other = page.findall(nodes.reference)
    assert cited["reftitle"].startswith("Müller and Hutter: ")
    assert citations.CITED in cited["classes"]
    assert "reftitle" not in other


def test_the_version_is_that_of_the_file_that_the_project_names(tmp_path):
    assert footer.version(tmp_path) == ""
    (tmp_path / "pyproject.toml").write_text('[tool.hatch.version]\npath = "its.py"\n')
    (tmp_path / "its.py").write_text('"""Its."""\n\n__version__ = "1.2"\n')
    assert footer.version(tmp_path) == "1.2"
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "3"\n')
    assert footer.version(tmp_path) == "3"


def test_a_commit_is_named_only_if_the_repository_holds_the_book(tmp_path, monkeypatch):
    for name in ("GIT_DIR", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)
    run = ("git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c")
    book = tmp_path / "book"
    book.mkdir()
    (book / "_toc.yml").write_text("root: index\n")
    subprocess.run([*run, "init", "-q"], check=True)
    subprocess.run([*run, "commit", "-q", "--allow-empty", "-m", "Begin"], check=True)
    assert footer.commit(book) == ""
    subprocess.run([*run, "add", "."], check=True)
    subprocess.run([*run, "commit", "-q", "-m", "Add"], check=True)
    clean = footer.commit(book)
    assert clean.startswith("commit ")
    assert len(clean) == len("commit ") + 12
    (book / "_toc.yml").write_text("root: other\n")
    assert footer.commit(book) == f"{clean} and changes"


SOURCE = '''
"""Shapes."""
import dataclasses

def draw(count: int, *, seed: int = 0) -> str:
    """Draw `count` shapes.

    Args:
        count: how many,
            at least 1.
        seed: of the noise.

    Raises:
        ValueError: if it is none.
    """

def _hidden(): "Not for others."
def undocumented(): ...

@dataclasses.dataclass
class Shape:
    """A shape."""
    edge: int
    def area(self, scale: float = 1.0) -> float:
        """Its area."""
'''


def test_what_a_module_offers_says_its_arguments_or_is_used_by_a_chapter():
    tree = ast.parse(SOURCE)
    assert [node.name for node in api.offered("shapes", tree, set())] == ["draw"]
    assert [node.name for node in api.offered("shapes", tree, {"shapes.Shape", "shapes.undocumented"})] == [
        "draw",
        "Shape",
    ]
    draw, shape = api.documented(tree)
    assert api.signature(draw) == "draw(count: int, *, seed: int=0) -> str"
    assert api.signature(shape) == "Shape(edge: int)"
    assert [api.signature(method) for method in api.documented(shape)] == ["area(scale: float=1.0) -> float"]


def test_a_docstring_becomes_markdown():
    (draw, _) = api.documented(ast.parse(SOURCE))
    assert api.markdown(ast.get_docstring(draw)) == textwrap.dedent("""\
        Draw `count` shapes.

        **Arguments**

        - `count`: how many,
          at least 1.
        - `seed`: of the noise.

        **Raises**

        - `ValueError`: if it is none.""")


def test_a_deviation_is_small_in_a_table_and_nowhere_else():
    body = '<p>3.1 ± 0.2</p><td class="a"><p>3.1 ± 0.2, 4 ± 1</p></td><td>±</td>'
    cell = '<td class="a"><p>3.1<small> ± 0.2</small>, 4<small> ± 1</small></p></td>'
    assert tables.small(body) == f"<p>3.1 ± 0.2</p>{cell}<td>±</td>"


def table(columns, rows=2):
    group = nodes.tgroup("", *(nodes.colspec("") for _ in range(columns)), cols=columns)
    row = [nodes.entry("", nodes.paragraph("", f"{column}")) for column in range(columns)]
    group += nodes.tbody("", *(nodes.row("", *(entry.deepcopy() for entry in row)) for _ in range(rows)))
    return nodes.table("", group)


def columns_of(found):
    return [len(row) for row in found.findall(nodes.row)], len(list(found.findall(nodes.colspec)))


def test_of_a_wide_table_six_columns_stand_open_and_the_whole_is_folded_under_them():
    page = new_document("page")
    page += [table(6), table(8)]
    tables.fold_wide_tables(None, page)
    narrow, short, opening, whole, closing = page
    assert columns_of(narrow) == columns_of(short) == ([6, 6], 6)
    assert columns_of(whole) == ([8, 8], 8)
    assert opening.astext().startswith("<details>\n<summary>All 8 columns</summary>")
    assert closing.astext() == "</details>\n"


def test_a_wide_table_within_a_fold_stays_as_it_is():
    page = new_document("page")
    page += [nodes.raw("", "<details>", format="html"), table(8), nodes.raw("", "</details>", format="html")]
    tables.fold_wide_tables(None, page)
    assert len(page) == 3
    assert columns_of(page[1]) == ([8, 8], 8)
