"""What chapters show: prose, listings, figures and interactive pages, and alt text that reaches the page."""

import base64
import textwrap
from collections import defaultdict
from hashlib import sha256
from types import SimpleNamespace

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from docutils import nodes
from docutils.utils import new_document
from nbformat.v4 import new_code_cell, new_notebook, new_output
from sphinx import addnodes

import bookproof
from bookproof import answers, display, fingerprint, picture
from bookproof.sphinx import figures


@pytest.fixture
def shown(monkeypatch):
    """Every (data, metadata) that is displayed, in order."""
    found = []
    monkeypatch.setattr(display, "display", lambda data, metadata=None, raw=False: found.append((data, metadata)))
    return found


def test_a_chapter_takes_everything_from_one_place():
    for name in bookproof.__all__:
        assert getattr(bookproof, name) is getattr(answers if name == "exercise" else display, name)
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
    assert data["text/markdown"].startswith("<details>\n<summary>Source of dedent</summary>\n\n```python\ndef dedent(")
    assert data["text/markdown"].endswith("\n```\n\n</details>")


def test_a_figure_shows_picture_fingerprint_alt_text_and_caption_and_is_closed(shown):
    fig, axes = plt.subplots()
    axes.plot([1, 2, 3])
    drawn = fingerprint.of_figure(fig)
    display.figure(fig, "See it\n rise.", "A line.")
    (data, metadata), (caption, _) = shown
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert data[fingerprint.MIME] == drawn
    assert metadata["image/png"].keys() == {"alt", "width", "height"}
    assert metadata["image/png"]["alt"] == "A line."
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


def page_of(tmp_path, document, png, metadata):
    """Finish the figures of a page that was a notebook with one picture; the file `figure.png` is that picture."""
    output = new_output("display_data", {"image/png": base64.b64encode(png).decode()}, metadata=metadata)
    nbformat.write(new_notebook(cells=[new_code_cell("", outputs=[output])]), tmp_path / "chapter.ipynb")
    (tmp_path / f"{sha256(png).hexdigest()}.png").write_bytes(png)
    added = []
    env = SimpleNamespace(
        docname="chapter",
        metadata=defaultdict(dict),
        doc2path=lambda name: tmp_path / f"{name}.ipynb",
        images=SimpleNamespace(add_file=lambda name, uri: added.append(uri)),
    )
    figures.finish_figures(SimpleNamespace(env=env, srcdir=tmp_path), document)
    return added


def png_of(color, text_color="#21272f"):
    with plt.rc_context({"text.color": text_color}):
        fig = plt.figure(figsize=(1, 1), facecolor=color)
        fig.text(0, 0.5, "I")
        png, _, _ = picture.png(fig)
        plt.close(fig)
    return png


def test_alt_text_and_twin_reach_the_page(tmp_path):
    png = png_of("white")
    document = new_document("chapter")
    mine, other = nodes.image(uri=f"{sha256(png).hexdigest()}.png"), nodes.image(uri="b/logo.png", alt="logo")
    document += [mine, other]
    added = page_of(tmp_path, document, png, {"image/png": {"alt": 'A "line" & more'}})
    one, twin, logo = document.findall(nodes.image)
    assert (one["alt"], twin["alt"], logo["alt"]) == ('A "line" & more', 'A "line" & more', "logo")
    assert (one["classes"], twin["classes"]) == (["only-light"], ["only-dark"])
    assert one["loading"] == twin["loading"] == "lazy"
    assert added == [twin["uri"]]
    assert (tmp_path / twin["uri"]).read_bytes() == picture.dark(png)


def test_captions_are_numbered_in_the_order_of_the_page(tmp_path):
    document = new_document("chapter")
    for caption in ("Figure.", "Figure.", "Remember."):
        document += nodes.paragraph("", "", nodes.strong("", caption), nodes.Text(" See it rise."))
    page_of(tmp_path, document, png_of("white"), {})
    assert [paragraph.astext() for paragraph in document] == [
        "Figure 1. See it rise.", "Figure 2. See it rise.", "Remember. See it rise."
    ]  # fmt: skip
    assert [strong["ids"] for strong in document.findall(nodes.strong)] == [["figure-1"], ["figure-2"], []]


def test_a_link_to_a_figures_name_becomes_its_number():
    document = new_document("chapter")
    for kinds in (["cell"], ["cell", "tag_figure-heads"]):
        caption = nodes.paragraph("", "", nodes.strong("", "Figure."), nodes.Text(" See it rise."))
        document += nodes.container("", caption, classes=kinds)
    for name in ("figure-heads", "figure-tails"):
        document += addnodes.pending_xref("", nodes.inline("", "the map of all heads"), reftarget=name)
    assert figures.number_captions(document) == {"figure-heads": "Figure 2"}
    plain, named, link, other = document
    assert (plain["ids"], named["ids"]) == ([], ["figure-heads"])
    assert (link.astext(), link["refid"]) == ("Figure 2", "figure-heads")
    assert other.astext() == "the map of all heads", "what nothing is called MyST warns of"


def test_a_pictures_size_stands_in_attributes_so_that_its_room_is_kept():
    context = {"body": '<p style="width: 1px; height: 2px;"></p><img alt="a" style="width: 91px; height: 33px;" />'}
    figures.size_by_attributes(None, "page", "page.html", context, None)
    sized = '<img alt="a" width="91" height="33" style="--width: 91px" />'
    assert context["body"] == f'<p style="width: 1px; height: 2px;"></p>{sized}'
