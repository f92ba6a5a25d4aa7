"""A chapter is stale when what its outputs follow from has changed, and only then; the reasons are told."""

import ast
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from bookproof import freshness, seal, sources
from bookproof.__main__ import main

MODULE = '''"""A layer."""

from toy import base


class Layer(base.Layer):
    """What it does."""

    def call(self, x):
        return 2 * x  # twice


def other():
    return 1
'''


@pytest.fixture
def book(book):
    root = book.root
    (root / "records" / "run").mkdir(parents=True)
    for name, source in {"__init__": "", "layer": MODULE, "base": "class Layer: pass\n", "unused": "x = 1\n"}.items():
        (root / "toy" / f"{name}.py").write_text(source)
    (root / "records" / "run" / "record.json").write_text("{}")
    (root / "book" / "other.ipynb").write_text('{"metadata": {"executed": {"date": "1", "inputs": {}}}}')
    return book


READ = ("records/run/record.json", "book/other.ipynb")


def chapter(book, *sources):
    """A notebook as a refresh leaves it."""
    sources = sources or ("%matplotlib inline\nfrom toy import layer", "show(layer.Layer.call)", "!ls")
    notebook = new_notebook(cells=[new_code_cell(source) for source in sources])
    notebook.metadata["executed"] = {"inputs": freshness.inputs(notebook, READ, book)}
    notebook.metadata[seal.KEY] = seal.of(notebook)
    return nbformat.reads(nbformat.writes(notebook), as_version=4)


def edit(book, path, old, new):
    before = (book.root / path).read_text()
    assert old in before
    (book.root / path).write_text(before.replace(old, new))


def test_nothing_touched_nothing_stale(book):
    assert freshness.reasons(chapter(book), book) == []


def test_only_modules_that_the_chapter_reaches_count(book):
    notebook = chapter(book)
    assert list(notebook.metadata["executed"]["inputs"]["modules"]) == [
        "toy",
        "toy.base",
        "toy.layer",
    ]
    edit(book, "toy/unused.py", "x = 1", "x = 2")
    assert freshness.reasons(notebook, book) == []


@pytest.mark.parametrize(
    ("path", "old", "new", "reason"),
    [
        ("toy/layer.py", "return 1", "return 3", "module toy.layer changed"),
        ("toy/base.py", "pass", "x = 1", "module toy.base changed"),
        ("toy/base.py", "class", "import toy.unused\nclass", "module toy.unused is new to it"),
        ("toy/layer.py", "# twice", "# two times", "the listed source of layer.Layer.call changed"),
        ("records/run/record.json", "{}", '{"seed": 1}', "records/run/record.json changed"),
        ("book/other.ipynb", '"1"', '"2"', "book/other.ipynb changed"),
    ],
)
def test_a_change_that_outputs_follow_from_makes_it_stale(book, path, old, new, reason):
    notebook = chapter(book)
    edit(book, path, old, new)
    assert reason in freshness.reasons(notebook, book)


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("toy/layer.py", "A layer.", "Another sentence."),
        ("toy/layer.py", "What it does.", "What it does,\n\n    and why."),
        ("toy/layer.py", "def other", "# a comment\n\n\n\ndef other"),
        ("toy/base.py", "pass", "pass  # nothing"),
        ("book/other.ipynb", '"inputs": {}', '"inputs": {"code": "x"}'),
    ],
)
def test_comments_docstrings_and_empty_lines_elsewhere_do_not(book, path, old, new):
    notebook = chapter(book)
    edit(book, path, old, new)
    assert freshness.reasons(notebook, book) == []


def test_a_docstring_is_told_from_a_string_that_is_used():
    assert sources.without_prose('x = """a"""\n') == 'x = """a"""'
    assert sources.without_prose('def f():\n    """a"""\n    return "#b"\n') == 'def f():\n    return "#b"'


def test_changed_code_and_lost_files_are_told(book):
    notebook = chapter(book)
    notebook.cells[1].source = "show(layer.other)"
    (book.root / "records" / "run" / "record.json").unlink()
    assert freshness.reasons(notebook, book) == [
        "its code changed",
        "the listed source of layer.Layer.call is gone",
        "the listed source of layer.other is new to it",
        "records/run/record.json is gone",
    ]


def test_a_fork_that_installs_from_its_own_address_is_not_stale(book):
    notebook = chapter(book, "%pip install -q git+https://github.com/a/b")
    notebook.cells[0].source = "%pip install -q git+https://github.com/c/d"
    assert freshness.reasons(notebook, book) == []


def test_a_new_record_is_told_to_who_looks_through_all(book):
    notebook = chapter(book)
    notebook.metadata["executed"]["inputs"] = freshness.inputs(notebook, ["records"], book)
    assert freshness.reasons(notebook, book) == []
    (book.root / "records" / "another").mkdir()
    (book.root / "records" / "another" / "record.json").write_text("{}")
    assert freshness.reasons(notebook, book) == ["records changed"]


def test_a_folder_without_a_file_is_not_in_a_clone_and_counts_for_nothing(book):
    before = freshness.digest_of_file(book.root / "records")
    (book.root / "records" / "left behind" / "inner").mkdir(parents=True)
    assert freshness.digest_of_file(book.root / "records") == before
    (book.root / "records" / "left behind" / "inner" / "record.json").write_text("{}")
    assert freshness.digest_of_file(book.root / "records") != before


def test_prose_is_free(book):
    notebook = chapter(book)
    notebook.cells.insert(0, nbformat.v4.new_markdown_cell("# Another heading"))
    assert freshness.reasons(notebook, book) == []


def test_a_chapter_that_was_never_refreshed_is_stale(book):
    assert freshness.reasons(new_notebook(), book) == ["it was never refreshed"]


def test_a_listing_of_nothing_is_an_error(book):
    with pytest.raises(ValueError, match=r"layer\.py defines no Missing"):
        chapter(book, "from toy import layer", "show(layer.Missing)")


def test_a_listing_is_found_where_a_package_only_passes_it_on(book):
    (book.root / "toy" / "__init__.py").write_text("from toy.layer import Layer\n")
    listed = chapter(book, "from toy import Layer", "show(Layer.call)").metadata["executed"]["inputs"]["listings"]
    assert listed == {"Layer.call": freshness.digest("    def call(self, x):\n        return 2 * x  # twice")}


@pytest.mark.parametrize(
    ("imports", "listed"),
    [
        ("from toy import layer", "layer.Layer.call"),
        ("import toy.layer", "toy.layer.Layer.call"),
        ("import toy.layer as it", "it.Layer.call"),
        ("from toy import layer as it", "it.Layer.call"),
        ("from toy.layer import Layer as It", "It.call"),
    ],
)
def test_a_listing_is_resolved_by_what_the_notebook_imports(book, imports, listed):
    (book.root / "toy" / "near").mkdir()
    for name in ("__init__", "layer", "it"):  # a module of the same name, within reach
        (book.root / "toy" / "near" / f"{name}.py").write_text("class Layer:\n    def call(self):\n        return 0\n")
    notebook = chapter(book, "import toy.near.layer, toy.near.it", imports, f"show({listed})")
    digest = freshness.digest("    def call(self, x):\n        return 2 * x  # twice")
    assert notebook.metadata["executed"]["inputs"]["listings"] == {listed: digest}


def test_a_listing_of_another_package_is_not_the_books(book):
    notebook = chapter(book, "from keras import layer", "import toy.layer", "show(layer.Layer.call)")
    assert notebook.metadata["executed"]["inputs"]["listings"] == {}


def test_what_papermill_injects_is_not_the_chapters(book):
    notebook = chapter(book)
    notebook.cells.insert(0, new_code_cell("n = 3", metadata={"tags": ["injected-parameters"]}))
    assert freshness.reasons(notebook, book) == []


def test_the_command_names_the_stale_chapter_and_the_way_out(book, capsys):
    path, command = book.root / "book" / "mini.ipynb", ["--root", str(book.root), "stale"]
    notebook = chapter(book)
    nbformat.write(notebook, path)
    assert main(command) == 0
    assert capsys.readouterr().out == ""
    notebook.cells[2].source = "!pwd"
    nbformat.write(notebook, path)
    assert main(command) == 1
    told, *changed = capsys.readouterr().out.splitlines()
    assert told == "mini is stale: its code changed. Run `bookproof refresh --chapter mini`"
    assert "mini.ipynb, cell 3 (In [ ]): its code" in changed[1]


def test_no_file_is_read_or_written_as_the_machine_happens_to_encode_text():
    unsaid = [
        f"{path.name}:{node.lineno}"
        for path in Path(freshness.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if node.func.attr in ("read_text", "write_text")
        if "encoding" not in {keyword.arg for keyword in node.keywords}
    ]
    assert unsaid == []
