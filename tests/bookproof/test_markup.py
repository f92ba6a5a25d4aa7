"""Markdown folds and marks text; it runs nothing, lies over nothing, and shows no picture of unknown making."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from bookproof import manifest
from bookproof.__main__ import main
from bookproof.book import Book
from bookproof.checks import markup


def of(book, text):
    path = book.root / "book" / "page.md"
    path.write_text(text)
    return markup.problems(book, path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<script>document.title = '99 %'</script>", "<script> without src"),
        ('<span style="position: absolute">1</span>', "<span> may not have style"),
        ('<b onclick="x()">1</b>', "<b> may not have onclick"),
        ("<iframe src='x.html'></iframe>", "<iframe> may not stand in Markdown"),
        ('<p STYLE = "margin: -9em">99</p>', "<p> may not have style"),
        ("<style>p::after {content: '9'}</style>", "<style> may not stand in Markdown"),
        ('<a href="javascript:x()">1</a>', "<a> runs a program from an address"),
        ("```{note}\n<script>x()</script>\n```", "<script> without src"),
        ("```{raw} html\n<script>x()</script>\n<p style='top: 0'>1</p>\n```", "<p> may not have style"),
        ("<svg/onload=x()>", "<svg> may not have onload"),
        ('<img alt=">" onerror=x()>', "<img> may not have onerror"),
        ('a <b title="c\n\n<svg onload="x()">', "<svg> may not have onload"),
        ("<div onclick=x()\n\nA word.", "<div> may not have onclick"),
        ("<!-- > <svg onload=x()> -->", "<svg> may not have onload"),
        ("costs $5 <script>x()</script> and $6", "<script> without src"),
        ("`` ` `` <script>x()</script> `", "<script> without src"),
        ("[x](javascript:x())", "an address runs a program"),
        ("[x](&#106;avascript:x())", "an address runs a program"),
        ("[x]: JavaScript:x()", "an address runs a program"),
        ("<a href='&#106;avascript:x()'>1</a>", "<a> runs a program from an address"),
        ('<script src="https://example.org/x.js"></script>', "<script> may not have src on another host"),
        ('<script src="//example.org/x.js"></script>', "<script> may not have src on another host"),
        ("```{raw} html\n<script src='https://example.org/x.js'></script>\n```", "src on another host"),
        ('<link rel="stylesheet" href="x.css">', "<link> may not stand in Markdown"),
        ("```{raw} latex\n99\n```", "the directive {raw}"),
        ("::: {include} elsewhere.md\n:::", "the directive {include}"),
    ],
)
def test_html_that_runs_or_overlays_is_refused(book, text, said):
    assert any(said in problem for problem in of(book, text)), of(book, text)


@pytest.mark.parametrize(
    "text",
    [
        "<details>\n<summary>Solution</summary>\n\n1<br>H<sub>2</sub>O\n\n</details>",
        '<script src="_static/page.js" defer></script>',
        "`<script>` and $a<b$ and <https://example.org>, `results/<name>.jsonl`",
        "```html\n<script>x()</script>\n```",
        "<!-- a note -->",
        "<https://example.org/one?on=1> and $5 or $6, in JavaScript: a word",
        "```{raw} html\n<script>fold()</script>\n<section><canvas></canvas></section>\n```",
        '<div class="grid" id="top" aria-label="x">1</div>',
    ],
)
def test_html_that_folds_and_marks_is_let_through(book, text):
    assert of(book, text) == []


def test_a_notebook_holds_no_raw_block(book):
    path = book.root / "book" / "mini.ipynb"
    nbformat.write(new_notebook(cells=[new_markdown_cell("```{raw} html\n<script>x()</script>\n```")]), path)
    told = "\n".join(markup.problems(book, path))
    assert "the directive {raw}" in told
    assert "<script> without src" in told


@pytest.fixture
def drawn(book):
    """The book with a chapter that draws `hero`, and with a logo that is sealed."""
    static = book.root / "book" / "_static"
    static.mkdir()
    for name in ("hero.png", "logo.svg", "other.png"):
        (static / name).write_text(name)
    chapter = new_notebook(cells=[new_code_cell("draw()", metadata={"tags": ["picture-hero"]})])
    nbformat.write(chapter, book.root / "book" / "mini.ipynb")
    settings = (
        (book.root / "pyproject.toml").read_text().replace("data =", 'sealed = ["book/_static/logo.svg"]\ndata =')
    )
    (book.root / "pyproject.toml").write_text(settings)
    assert manifest.write(Book(book.root)) == 1
    return Book(book.root)


SYNTAX = ("![A](_static/{})", '<img src="_static/{}" alt="A">', "```{{image}} _static/{}\n:alt: A\n```")


@pytest.mark.parametrize("syntax", [*SYNTAX, "```{{figure}} _static/{}\nA\n```"])
def test_a_picture_is_drawn_by_a_chapter_or_sealed(drawn, syntax):
    assert of(drawn, syntax.format("hero.png")) == of(drawn, syntax.format("logo.svg")) == []
    (problem,) = of(drawn, syntax.format("other.png"))
    assert "'_static/other.png' was drawn by no chapter and stands in no MANIFEST.sha256" in problem


@pytest.mark.parametrize("target", ["https://example.org/a.png", "attachment:a.png", "data:image/png;base64,AA=="])
def test_a_picture_from_elsewhere_is_refused(drawn, target):
    assert "is no file of the book" in of(drawn, f"![A]({target})")[0]


def test_the_command_looks_at_the_markup_of_chapters(drawn, capsys):
    path = drawn.root / "book" / "mini.ipynb"
    nbformat.write(new_notebook(cells=[new_markdown_cell("![99](_static/other.png)")]), path)
    assert main(["--root", str(drawn.root), "check", "--only", "markup"]) == 1
    assert "mini.ipynb, cell 1: the picture '_static/other.png'" in capsys.readouterr().out
