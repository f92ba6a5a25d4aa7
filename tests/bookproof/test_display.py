"""What chapters show: profile, prose, listings, and figures with alt text that reaches the page."""

import base64
import importlib.util
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from docutils import nodes
from docutils.utils import new_document
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook, new_output

from vattn_utils import fingerprint
from vattn_utils.show import chapter

ROOT = Path(__file__).parents[1]


@pytest.fixture
def shown(monkeypatch):
    """Every (data, metadata) that is displayed, in order."""
    found = []
    monkeypatch.setattr(chapter, "display", lambda data, metadata=None, raw=False: found.append((data, metadata)))
    return found


@pytest.fixture
def figures():
    """The Sphinx extension of the book, which is not a package."""
    spec = importlib.util.spec_from_file_location("figures", ROOT / "book/_ext/figures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("profile", chapter.PROFILES)
def test_a_chapter_knows_its_profile(profile, monkeypatch, capsys):
    monkeypatch.delenv("VATTN_PROFILE", raising=False)
    opened = chapter.open_chapter("vit", profile)
    assert (opened.name, opened.profile) == ("vit", profile)
    assert [opened.published, opened.quick, opened.full] == [profile == p for p in ("published", "quick", "full")]
    assert f"Profile {profile}:" in capsys.readouterr().out


def test_the_environment_overrides_the_literal(monkeypatch):
    monkeypatch.setenv("VATTN_PROFILE", "quick")
    assert chapter.open_chapter("vit", "published").quick


def test_an_unknown_profile_names_the_choices(monkeypatch):
    monkeypatch.delenv("VATTN_PROFILE", raising=False)
    with pytest.raises(ValueError, match=r"'fast'.*parameters cell.*published, quick, full"):
        chapter.open_chapter("vit", "fast")
    monkeypatch.setenv("VATTN_PROFILE", "slow")
    with pytest.raises(ValueError, match=r"'slow'.*\$VATTN_PROFILE"):
        chapter.open_chapter("vit", "quick")


def test_opening_a_chapter_seeds_all_random_numbers(monkeypatch):
    monkeypatch.setenv("VATTN_PROFILE", "quick")
    drawn = [(chapter.open_chapter("vit", "quick", seed=3), np.random.rand())[1] for _ in range(2)]  # noqa: NPY002
    assert drawn[0] == drawn[1]


def test_prose_is_markdown_with_a_plain_fallback(shown):
    chapter.say("""
        The model reaches **43.91 %**.
    """)
    text = "The model reaches **43.91 %**."
    assert shown == [({"text/markdown": text, "text/plain": text}, None)]


def test_a_listing_is_the_source_that_runs(shown):
    chapter.show(chapter.Chapter.quick.fget)
    data = shown[0][0]
    assert data["text/plain"].startswith("@property\ndef quick(self):")
    assert data["text/markdown"] == f"```python\n{data['text/plain']}\n```"


def test_a_figure_shows_picture_fingerprint_alt_text_and_caption_and_is_closed(shown):
    fig, axes = plt.subplots()
    axes.plot([1, 2, 3])
    drawn = fingerprint.of_figure(fig)
    chapter.figure(fig, "See it\n rise.", "A line.")
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
        chapter.figure(plt.figure(), caption, alt)
    assert not shown
    plt.close("all")


def test_a_kernel_that_trains_writes_nothing_to_stderr(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)  # a reader's machine does not set it
    monkeypatch.delenv("PYTEST_CURRENT_TEST", raising=False)  # where it is set, ipykernel catches Python's stderr only
    source = """
from vattn_utils.show import chapter
chapter = chapter.open_chapter("sample", "quick")
import keras, numpy
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(numpy.ones((8, 2)), numpy.ones((8, 1)), verbose=2)
model.count_params()"""
    notebook = new_notebook(cells=[new_code_cell(source)])
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    outputs = notebook.cells[0].outputs
    assert [output for output in outputs if output.get("name") == "stderr"] == []
    assert outputs[-1].data["text/plain"] == "3"


def test_alt_text_reaches_the_image_of_the_page(tmp_path, figures):
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
