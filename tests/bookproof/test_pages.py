"""The checks of `verification.pages` pass a good page and fail one that lost something, saying what."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from verification import pages

GOOD = """<html><head><link rel="stylesheet" href="../_static/book.css"><link rel="canonical" href="https://x.org/"></head>
<body><div class="cell_output"><img src="../_images/map.png" alt="a map of attention"></div>
<a href="https://example.org/">a link that the reader may follow</a></body></html>"""


@pytest.fixture
def book(tmp_path):
    """A built book of one page, with its source: (html, root)."""
    root, html = tmp_path / "root", tmp_path / "html"
    for folder in (root / "book", html / "book", html / "_images"):
        folder.mkdir(parents=True)
    (root / "_toc.yml").write_text("format: jb-book\nroot: book/vit\n")
    figure = new_output("display_data", data={"image/png": "", "text/plain": "a map"})
    nbformat.write(new_notebook(cells=[new_code_cell("draw()", outputs=[figure])]), root / "book" / "vit.ipynb")
    (html / "index.html").write_text("<p>to the book</p>")
    (html / "_images" / "map.png").write_bytes(b"png")
    (html / "book" / "vit.html").write_text(GOOD)
    return html, root


def changed(book, old, new):
    """The problems of the book after one change of its page."""
    html, root = book
    assert old in GOOD
    (html / "book" / "vit.html").write_text(GOOD.replace(old, new))
    return "\n".join(pages.problems(html, root))


def test_good_book_has_no_problems(book):
    assert pages.problems(*book) == []


def test_entries_are_read_in_order(tmp_path):
    toc = tmp_path / "_toc.yml"
    toc.write_text("root: i\nparts:\n- chapters:\n  - file: a\n    sections:\n    - file: b\n  - url: https://x.org\n")
    assert pages.entries(toc) == ["i", "a", "b"]


def test_missing_page_is_found(book):
    html, root = book
    (html / "book" / "vit.html").unlink()
    assert pages.problems(html, root) == ["book/vit.html: not built, though _toc.yml names book/vit; run `make book`"]


def test_missing_front_door_is_found(book):
    html, root = book
    (html / "index.html").unlink()
    assert "index.html: not built" in pages.problems(html, root)[0]


@pytest.mark.parametrize("css", ["output traceback", "output stderr"])
def test_error_in_a_page_is_found(book, css):
    found = changed(book, "<a ", f'<div class="{css}">ValueError: no</div><a ')
    assert "book/vit.html: shows an error or stderr: 'ValueError: no'" in found


def test_figure_that_the_page_lost_is_found(book):
    found = changed(book, '<img src="../_images/map.png" alt="a map of attention">', "")
    assert "shows 0 figures, vit.ipynb draws 1" in found


def test_image_whose_file_is_missing_is_found(book):
    assert "the image '../_images/no.png' does not exist" in changed(book, "map.png", "no.png")


@pytest.mark.parametrize("alt", ['alt=""', 'alt="  "', "", 'alt="../_images/map.png"'])
def test_image_without_alt_text_is_found(book, alt):
    assert "has no alt text" in changed(book, 'alt="a map of attention"', alt)


@pytest.mark.parametrize(
    "element",
    [
        '<script src="https://unpkg.com/thebe"></script>',
        '<script src="//cdn.example.org/x.js"></script>',
        '<link rel="stylesheet" href="https://fonts.example.org/css">',
        '<img src="https://example.org/badge.svg" alt="a badge">',
    ],
)
def test_request_to_another_host_is_found(book, element):
    assert "asks another host for" in changed(book, "<a ", f"{element}<a ")


def test_command_fails_for_a_bad_book_only(book, capsys):
    html, root = book
    assert pages.main(html, root) == 0
    (html / "book" / "vit.html").unlink()
    assert pages.main(html, root) == 1
    assert "not built" in capsys.readouterr().out
