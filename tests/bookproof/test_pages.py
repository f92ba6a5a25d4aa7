"""The checks of `bookproof.checks.pages` pass a good page and fail one that lost something, saying what."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from bookproof.__main__ import main
from bookproof.checks import pages

GOOD = """<html><head><link rel="stylesheet" href="../_static/book.css"><link rel="canonical" href="https://x.org/"></head>
<body><div class="cell_output"><img src="../_images/map.png" alt="a map of attention"></div>
<a href="https://example.org/">a link that the reader may follow</a></body></html>"""


@pytest.fixture
def built(book):
    """A built book of one page."""
    html = book.html
    for folder in (html / "book", html / "_images"):
        folder.mkdir(parents=True)
    (book.root / "_toc.yml").write_text("format: jb-book\nroot: book/vit\n")
    figure = new_output("display_data", data={"image/png": "", "text/plain": "a map"})
    notebook = new_notebook(cells=[new_code_cell("draw()", outputs=[figure])])
    nbformat.write(notebook, book.root / "book" / "vit.ipynb")
    (html / "index.html").write_text("<p>to the book</p>")
    (html / "_images" / "map.png").write_bytes(b"png")
    (html / "book" / "vit.html").write_text(GOOD)
    return book


def changed(built, old, new):
    """The problems of the book after one change of its page."""
    assert old in GOOD
    (built.html / "book" / "vit.html").write_text(GOOD.replace(old, new))
    return "\n".join(pages.problems(built))


def test_good_book_has_no_problems(built):
    assert pages.problems(built) == []


def test_a_number_that_the_page_shows_otherwise_is_found(built):
    said = "It reaches **65.18 %** of 10⁴ ([log](a-99.html)), {cite:t}`who2021`.\n\n1. One\n2. Two of 3,000"
    cell = new_code_cell("say()", outputs=[new_output("display_data", {"text/markdown": said, "text/plain": said})])
    figure = new_output("display_data", data={"image/png": "", "text/plain": "a map"})
    nbformat.write(
        new_notebook(cells=[new_code_cell("draw()", outputs=[figure]), cell]), built.root / "book" / "vit.ipynb"
    )
    text = "<p>It reaches <b>65.18 %</b> of 10⁴ (log), Who.</p><ol><li>One</li><li>Two of 3,000</li></ol>"
    page = GOOD.replace("<a ", f"{text}<a ")
    (built.html / "book" / "vit.html").write_text(page)
    assert pages.problems(built) == []
    (built.html / "book" / "vit.html").write_text(page.replace("65.18", "99.30"))
    assert pages.problems(built) == [
        "book/vit.html: does not show 65.18, which cell 2 of vit.ipynb does; build the book again"
    ]


def test_a_page_that_is_named_with_its_suffix_is_the_same_page(built):
    (built.root / "_toc.yml").write_text("format: jb-book\nroot: book/vit.ipynb\n")
    assert pages.problems(built) == []


def test_missing_page_is_found(built):
    (built.html / "book" / "vit.html").unlink()
    assert pages.problems(built) == ["book/vit.html: not built, though _toc.yml names book/vit; build the book"]


def test_missing_front_door_is_found(built):
    (built.html / "index.html").unlink()
    assert "index.html: not built" in pages.problems(built)[0]


@pytest.mark.parametrize("css", ["output traceback", "output stderr"])
def test_error_in_a_page_is_found(built, css):
    found = changed(built, "<a ", f'<div class="{css}">ValueError: no</div><a ')
    assert "book/vit.html: shows an error or stderr: 'ValueError: no'" in found


def test_figure_that_the_page_lost_is_found(built):
    found = changed(built, '<img src="../_images/map.png" alt="a map of attention">', "")
    assert "shows 0 figures, vit.ipynb draws 1" in found


def test_image_whose_file_is_missing_is_found(built):
    assert "the image '../_images/no.png' does not exist" in changed(built, "map.png", "no.png")


@pytest.mark.parametrize("alt", ['alt=""', 'alt="  "', "", 'alt="../_images/map.png"'])
def test_image_without_alt_text_is_found(built, alt):
    assert "has no alt text" in changed(built, 'alt="a map of attention"', alt)


@pytest.mark.parametrize(
    "element",
    [
        '<script src="https://unpkg.com/thebe"></script>',
        '<script src="//cdn.example.org/x.js"></script>',
        '<link rel="stylesheet" href="https://fonts.example.org/css">',
        '<img src="https://example.org/badge.svg" alt="a badge">',
    ],
)
def test_request_to_another_host_is_found(built, element):
    assert "asks another host for" in changed(built, "<a ", f"{element}<a ")


def test_command_fails_for_a_bad_book_only(built, capsys):
    command = ["--root", str(built.root), "check", "--only", "pages"]
    assert main(command) == 0
    (built.html / "book" / "vit.html").unlink()
    assert main(command) == 1
    assert "not built" in capsys.readouterr().out
