"""What a book that people run may never do: run what it reads, or let text become a page's code.

Archives from foreign servers are looked at in test_cifar.py.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import yaml
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import bookproof
from bookproof import display
from bookproof.checks.prose import CODE
from bookproof.refresh import LANGUAGE_INFO
from vattn_utils.show import explorer_page, moving, plots, side_by_side

ROOT = Path(__file__).parents[1]

FOLDERS = ("vattn_utils", "bookproof/src/bookproof")
MODULES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))

# Nothing that runs what it reads

RUNNERS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"}
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
KEYWORDS = {("allow_pickle", True), ("safe_mode", False), ("shell", True)}
JUSTIFIED = {
    # The batches of CIFAR are pickles: opened if the archive's SHA-256 is the known one, by an unpickler that knows
    # arrays and nothing else. test_cifar.py feeds it others.
    ("cifar.py", "import pickle"),
}


def dangers(source):
    """What in Python source could run what it reads, or unpack an archive where it pleases."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (f"import {alias.name}" for alias in names if alias.name.split(".")[0] in UNPICKLERS)
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in UNPICKLERS:
                yield f"import {module}"
            case ast.Call(func=function, keywords=keywords):
                name, given = ast.unparse(function), {keyword.arg: keyword.value for keyword in keywords}
                if name in RUNNERS or name.endswith("enable_unsafe_deserialization"):
                    yield name
                if name.endswith((".extractall", ".extract")) and ast.unparse(given.get("filter", node)) != "'data'":
                    yield f"{name} without filter='data'"
                for word, value in given.items():
                    if isinstance(value, ast.Constant) and (word, value.value) in KEYWORDS:
                        yield f"{word}={value.value}"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import pickle", "import pickle"),
        ("from pickle import loads", "import pickle"),
        ("import numpy, joblib", "import joblib"),
        ("np.load(path, allow_pickle=True)", "allow_pickle=True"),
        ("keras.saving.load_model(path, safe_mode=False)", "safe_mode=False"),
        ("keras.config.enable_unsafe_deserialization()", "keras.config.enable_unsafe_deserialization"),
        ("eval(text)", "eval"),
        ("if True:\n    exec(text)", "exec"),
        ("yaml.load(text, yaml.Loader)", "yaml.load"),
        ("subprocess.run(text, shell=True)", "shell=True"),
        ("os.system(text)", "os.system"),
        ("archive.extractall(folder)", "archive.extractall without filter='data'"),
        ("archive.extractall(folder, filter='fully_trusted')", "archive.extractall without filter='data'"),
    ],
)
def test_each_danger_is_seen(source, found):
    assert list(dangers(source)) == [found]


@pytest.mark.parametrize(
    "source",
    [
        "ast.literal_eval(text)",
        "yaml.safe_load(text)",
        "np.load(path, allow_pickle=False)",
        "archive.extractall(folder, filter='data')",
        "subprocess.run(words)",
        "re.compile(text)",
        "model.compile(loss)",
        "# eval(text)",
    ],
)
def test_what_is_harmless_is_no_danger(source):
    assert list(dangers(source)) == []


def test_nothing_here_runs_what_it_reads():
    found = {(path.name, danger) for path in MODULES for danger in dangers(path.read_text(encoding="utf-8"))}
    assert found == JUSTIFIED


def test_no_chapter_runs_what_it_reads():
    for path in NOTEBOOKS:
        cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        source = re.sub(r"(?m)^(\s*)%.*", r"\1pass", "\n".join(cells))  # IPython's magics
        assert list(dangers(source)) == [], path.name


def test_the_one_pickle_is_read_by_an_unpickler_of_our_own():
    tree = ast.parse((ROOT / "vattn_utils/data/cifar.py").read_text(encoding="utf-8"))
    used = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert {name for name in used if name.startswith("pickle.")} == {"pickle.Unpickler", "pickle.UnpicklingError"}


# Text stays text

ALERT = "alert(1)"
NAMES = [f"<script>{ALERT}</script>", f"<img src=x onerror={ALERT}>", f'"><svg onload={ALERT}>']
# What `show` displays, and what else is folded as it does: a summary of words, and Markdown.
HARMLESS = re.compile(
    r'</?(?:details|summary)>|<span class="(?:heat|alarm)-[1-4]">|</span>'
)  # folds, and heat in tables
LONG_FENCE = re.compile(r"(?s)^(````+)\w*\n.*?^\1$", re.MULTILINE)  # around what has fences of its own
HTML = re.compile(r"<[a-zA-Z/!?]")  # in Markdown, outside of code and mathematics


@pytest.fixture
def shown(monkeypatch):
    """Every output that is displayed, in order."""
    found = []

    def keep(data, metadata=None, raw=False):
        found.append(new_output("display_data", data, metadata=metadata or {}))

    monkeypatch.setattr(display, "display", keep)
    return found


def rendered(outputs, folder):
    """The page of a chapter with these outputs, as the book's own settings make it."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["sphinx"]["config"]
    settings = {key: value for key, value in config.items() if key.startswith(("nb_", "suppress_"))}
    settings["nb_execution_mode"] = "off"
    extensions = "extensions = ['myst_nb', 'bookproof.sphinx.figures']\n"
    lines = [f"{key} = {value!r}\n" for key, value in settings.items()]
    (folder / "conf.py").write_text(extensions + "".join(lines))
    cells = [new_markdown_cell("# A chapter"), new_code_cell("names", outputs=outputs, execution_count=1)]
    nbformat.write(new_notebook(cells=cells, metadata={"language_info": LANGUAGE_INFO}), folder / "index.ipynb")
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", str(folder), str(folder / "html")]
    subprocess.run(command, check=True)
    return BeautifulSoup((folder / "html" / "index.html").read_text(encoding="utf-8"), "html.parser")


def obeyed(page):
    """The elements of a page that would run the names' code."""
    by_handler = page.find_all(lambda element: any(name.startswith("on") for name in element.attrs))
    return by_handler + [script for script in page.find_all("script") if ALERT in script.get_text()]


def test_a_class_name_in_a_figure_its_alt_text_and_a_print_stays_text(shown, random, tmp_path):
    pictures = random.integers(0, 256, (len(NAMES), 8, 8, 3), dtype="uint8")
    alt = f"Images of {', '.join(NAMES)}."
    bookproof.figure(plots.images(pictures, NAMES), "Each under the name of its class.", alt)
    printed = new_output("stream", text="\n".join(NAMES))
    value = new_output("execute_result", {"text/plain": repr(tuple(NAMES))}, execution_count=1)
    page = rendered([*shown, printed, value], tmp_path)
    assert obeyed(page) == []
    streams, values = page.select_one(".output.stream"), page.select_one(".output.text_plain")
    assert all(name in streams.get_text() and name in values.get_text() for name in NAMES)
    assert [image["alt"] for image in page.find_all("img")] == [alt, alt]  # for the light page and for the dark


def test_an_escaped_class_name_in_prose_and_in_a_caption_stays_text(shown, tmp_path):
    names = [*NAMES, "**bold** _thin_", "[a](javascript:alert)", "`code`", "$x$", "a|b", "# head\n\n    code", "&lt;"]
    bookproof.say(f"It looks like {', '.join(map(bookproof.escape, names))}.")
    bookproof.say("\n".join(["| class |", "|---|", *(f"| {bookproof.escape(name)} |" for name in names)]))
    bookproof.figure(plt.figure(), f"A {bookproof.escape(names[0])}.", "Nothing.")
    page = rendered(shown, tmp_path)
    assert obeyed(page) == []
    prose, caption = page.select(".cell_output > p")
    expected = [" ".join(name.split()).replace('"', "“") for name in names]  # Sphinx sets quotation marks
    assert [cell.get_text() for cell in page.select("tbody td")] == expected
    assert prose.get_text() == f"It looks like {', '.join(expected)}."
    assert names[0] in caption.get_text()


def test_chapters_escape_every_class_name_in_prose():
    for path in NOTEBOOKS:
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type != "code" or "say(" not in cell.source:
                continue
            for call in ast.walk(ast.parse(re.sub(r"(?m)^(\s*)%.*", r"\1pass", cell.source))):
                if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("say"):
                    text = ast.unparse(call)
                    assert "class_names" not in text or "escape" in text, f"{path.name}: {text}"


def test_a_listing_of_source_that_holds_html_stays_text(shown, tmp_path):
    bookproof.show(obeyed_by_nobody)
    page = rendered(shown, tmp_path)
    assert obeyed(page) == []
    assert NAMES[0] in page.get_text()


def obeyed_by_nobody():
    return "<script>alert(1)</script>"


def test_what_is_obeyed_would_be_seen(tmp_path):
    assert len(obeyed(rendered([new_output("display_data", {"text/html": " ".join(NAMES)})], tmp_path))) == len(NAMES)


def without_data(html):
    """A page's HTML with its blocks of data empty: a block that holds a "<" is left as it is."""
    return re.sub(r'(<script type="(?:application/[a-z-]+|text/plain)" [^<>]*>)[^<]*(?=</script>)', r"\1", html)


@pytest.fixture(scope="module")
def known():
    """The HTML that a chapter may show, without its data: the explorer's, and that of each figure that answers."""
    random = np.random.default_rng(0)
    picture, four = np.zeros((4, 4, 3)), random.normal(size=(4, 2))
    weights, values = np.full((1, 5), 0.2), random.normal(size=(1, 5, 2))
    titles = "Self-attention (ViT)", "External (EANet)", "Pooling (PatchConvNet)"
    panels = [side_by_side.Panel(title, np.ones((3, 1, 4)), np.ones((3, 4)), "{share}") for title in titles]
    figures = (
        side_by_side.side_by_side(np.zeros((3, 4, 4, 3)), titles, panels, 0, "It answers.", "Three pictures."),
        moving.self_attention(picture, four, four, four, (2, 2)),
        moving.double_normalisation(four.clip(-1, 1)),
        moving.attention_pooling(picture[None], weights, values, lambda w: w[:, :2], (2, 2), ["a"], ["b", "c"]),
    )
    for figure in figures:
        plt.close(figure.still)
    return {without_data(explorer_page.TEMPLATE), *(without_data(figure.html) for figure in figures)}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_committed_output_brings_html_along_but_explorers_and_moving_figures(path, known):
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            assert not {"application/javascript", "image/svg+xml"} & set(data), cell.source
            html = data.get("text/html")
            assert html is None or without_data(html) in known, f"not the page of today; refresh: {cell.source}"
            prose = HARMLESS.sub("", data.get("text/markdown", ""))
            assert not HTML.search(re.sub(rf"(?s){CODE}", "", LONG_FENCE.sub("", prose))), data["text/markdown"]


def test_a_name_in_an_explorer_stays_data():
    template = explorer_page.TEMPLATE
    filled = template.replace("{{about}}", '["\\u003cb>"]').replace("{{payload}}", "eJwD")
    assert without_data(filled) == without_data(template)
    for name in NAMES:
        assert without_data(template.replace("{{about}}", name)) != without_data(template)
