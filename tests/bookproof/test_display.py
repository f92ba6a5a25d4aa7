"""What chapters show: prose, listings, figures and interactive pages, and alt text that reaches the page."""

import base64
import textwrap
from hashlib import sha256
from types import SimpleNamespace

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from docutils import nodes
from docutils.utils import new_document
from nbformat.v4 import new_code_cell, new_notebook, new_output

import bookproof
from bookproof import display, fingerprint
from bookproof.sphinx import figures


@pytest.fixture
def shown(monkeypatch):
    """Every (data, metadata) that is displayed, in order."""
    found = []
    monkeypatch.setattr(display, "display", lambda data, metadata=None, raw=False: found.append((data, metadata)))
    return found


def test_a_chapter_takes_everything_from_one_place():
    assert [getattr(bookproof, name) for name in bookproof.__all__] == [
        getattr(display, name) for name in bookproof.__all__
    ]
    with pytest.raises(AttributeError, match="no attribute 'sya'"):
        bookproof.sya  # noqa: B018


def test_prose_is_markdown_with_a_plain_fallback(shown):
    display.say("""
        The model reaches **43.91 %**.
    """)
    text = "The model reaches **43.91 %**."
    assert shown == [({"text/markdown": text, "text/plain": text}, None)]


def test_a_listing_is_the_source_that_runs(shown):
    display.show(textwrap.dedent)
    data = shown[0][0]
    assert data["text/plain"].startswith("def dedent(text):")
    assert data["text/markdown"] == f"```python\n{data['text/plain']}\n```"


def test_a_figure_shows_picture_fingerprint_alt_text_and_caption_and_is_closed(shown):
    fig, axes = plt.subplots()
    axes.plot([1, 2, 3])
    drawn = fingerprint.of_figure(fig)
    display.figure(fig, "See it\n rise.", "A line.")
    (data, metadata), (caption, _) = shown
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert data[fingerprint.MIME] == drawn
    assert metadata == {"image/png": {"alt": "A line."}}
    assert data["text/plain"] == "A line."
    assert caption["text/markdown"] == "**Figure.** See it rise."
    assert not plt.fignum_exists(fig.number)


@pytest.mark.parametrize(("caption", "alt", "name"), [("", "a", "caption"), ("c", " ", "alt"), ("c", None, "alt")])
def test_a_figure_without_caption_or_alt_text_is_refused(shown, caption, alt, name):
    with pytest.raises(ValueError, match=rf"{name}=.* is empty"):
        display.figure(plt.figure(), caption, alt)
    assert not shown
    plt.close("all")


class Page:
    """Something interactive, as a package makes it that does not know who shows it."""

    def __init__(self, arrays):
        self.arrays = arrays

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/html": "<p>", "text/plain": "Interactive."}


def test_something_interactive_is_shown_beside_the_fingerprint_of_its_arrays(shown):
    array = np.eye(3)
    display.interactive(Page({"layers": [array], "rollout": None}))
    ((data, _),) = shown
    drawn = {"layers": [fingerprint.of_array(array)], "rollout": None}
    assert data == {"text/html": "<p>", "text/plain": "Interactive.", fingerprint.MIME: drawn}


def test_what_does_not_say_which_arrays_it_holds_is_refused(shown):
    with pytest.raises(TypeError, match="str lacks `_repr_mimebundle_` or `arrays`"):
        display.interactive("<p>")
    assert not shown


def test_markup_in_a_name_is_shown_to_the_letter():
    assert display.escape("a_b <i>\n*c*") == r"a\_b \<i\> \*c\*"


def test_alt_text_reaches_the_image_of_the_page(tmp_path):
    png = b"\x89PNG not quite"
    output = new_output(
        "display_data",
        {"image/png": base64.b64encode(png).decode()},
        metadata={"image/png": {"alt": 'A "line" & more'}},
    )
    page = tmp_path / "chapter.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("", outputs=[output])]), page)
    document = new_document("chapter")
    mine, other = nodes.image(uri=f"a/{sha256(png).hexdigest()}.png"), nodes.image(uri="b/logo.png", alt="logo")
    document += [mine, other]
    env = SimpleNamespace(docname="chapter", doc2path=lambda name: tmp_path / f"{name}.ipynb")
    figures.set_alt_texts(SimpleNamespace(env=env), document)
    assert mine["alt"] == 'A "line" & more'
    assert other["alt"] == "logo"
