"""A chapter is stale when what its outputs follow from has changed, and only then; the reasons are told."""

import time

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from verification import execute, freshness

MODULE = '''"""A layer."""

from vattn_utils import base


class Layer(base.Layer):
    """What it does."""

    def call(self, x):
        return 2 * x  # twice


def other():
    return 1
'''


@pytest.fixture
def root(tmp_path):
    (tmp_path / "vattn_utils").mkdir()
    (tmp_path / "records" / "run").mkdir(parents=True)
    (tmp_path / "book").mkdir()
    for name, source in {"__init__": "", "layer": MODULE, "base": "class Layer: pass\n", "unused": "x = 1\n"}.items():
        (tmp_path / "vattn_utils" / f"{name}.py").write_text(source)
    (tmp_path / "records" / "run" / "record.json").write_text("{}")
    (tmp_path / "book" / "other.ipynb").write_text('{"metadata": {"executed": {"date": "1", "inputs": {}}}}')
    return tmp_path


READ = ("records/run/record.json", "book/other.ipynb")


def chapter(root, *sources):
    """A notebook as a refresh leaves it."""
    sources = sources or ("%matplotlib inline\nfrom vattn_utils import layer", "show(layer.Layer.call)", "!ls")
    notebook = new_notebook(cells=[new_code_cell(source) for source in sources])
    notebook.metadata["executed"] = {"inputs": freshness.inputs(notebook, READ, root)}
    return nbformat.reads(nbformat.writes(notebook), as_version=4)


def edit(root, path, old, new):
    before = (root / path).read_text()
    assert old in before
    (root / path).write_text(before.replace(old, new))


def test_nothing_touched_nothing_stale(root):
    assert freshness.reasons(chapter(root), root) == []


def test_only_modules_that_the_chapter_reaches_count(root):
    notebook = chapter(root)
    assert list(notebook.metadata["executed"]["inputs"]["modules"]) == [
        "vattn_utils",
        "vattn_utils.base",
        "vattn_utils.layer",
    ]
    edit(root, "vattn_utils/unused.py", "x = 1", "x = 2")
    assert freshness.reasons(notebook, root) == []


@pytest.mark.parametrize(
    ("path", "old", "new", "reason"),
    [
        ("vattn_utils/layer.py", "return 1", "return 3", "module vattn_utils.layer changed"),
        ("vattn_utils/base.py", "pass", "x = 1", "module vattn_utils.base changed"),
        ("vattn_utils/base.py", "class", "import vattn_utils.unused\nclass", "module vattn_utils.unused is new to it"),
        ("vattn_utils/layer.py", "# twice", "# two times", "the listed source of layer.Layer.call changed"),
        ("records/run/record.json", "{}", '{"seed": 1}', "records/run/record.json changed"),
        ("book/other.ipynb", '"1"', '"2"', "book/other.ipynb changed"),
    ],
)
def test_a_change_that_outputs_follow_from_makes_it_stale(root, path, old, new, reason):
    notebook = chapter(root)
    edit(root, path, old, new)
    assert reason in freshness.reasons(notebook, root)


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("vattn_utils/layer.py", "A layer.", "Another sentence."),
        ("vattn_utils/layer.py", "What it does.", "What it does,\n\n    and why."),
        ("vattn_utils/layer.py", "def other", "# a comment\n\n\n\ndef other"),
        ("vattn_utils/base.py", "pass", "pass  # nothing"),
        ("book/other.ipynb", '"inputs": {}', '"inputs": {"code": "x"}'),
    ],
)
def test_comments_docstrings_and_empty_lines_elsewhere_do_not(root, path, old, new):
    notebook = chapter(root)
    edit(root, path, old, new)
    assert freshness.reasons(notebook, root) == []


def test_a_docstring_is_told_from_a_string_that_is_used():
    assert freshness.without_prose('x = """a"""\n') == 'x = """a"""'
    assert freshness.without_prose('def f():\n    """a"""\n    return "#b"\n') == 'def f():\n    return "#b"'


def test_changed_code_and_lost_files_are_told(root):
    notebook = chapter(root)
    notebook.cells[1].source = "show(layer.other)"
    (root / "records" / "run" / "record.json").unlink()
    assert freshness.reasons(notebook, root) == [
        "its code changed",
        "the listed source of layer.Layer.call is gone",
        "the listed source of layer.other is new to it",
        "records/run/record.json is gone",
    ]


def test_a_fork_that_installs_from_its_own_address_is_not_stale(root):
    notebook = chapter(root, "%pip install -q git+https://github.com/a/b")
    notebook.cells[0].source = "%pip install -q git+https://github.com/c/d"
    assert freshness.reasons(notebook, root) == []


def test_a_new_record_is_told_to_who_looks_through_all(root):
    notebook = chapter(root)
    notebook.metadata["executed"]["inputs"] = freshness.inputs(notebook, ["records"], root)
    assert freshness.reasons(notebook, root) == []
    (root / "records" / "another").mkdir()
    assert freshness.reasons(notebook, root) == ["records changed"]


def test_prose_is_free(root):
    notebook = chapter(root)
    notebook.cells.insert(0, nbformat.v4.new_markdown_cell("# Another heading"))
    assert freshness.reasons(notebook, root) == []


def test_a_chapter_that_was_never_refreshed_is_stale(root):
    assert freshness.reasons(new_notebook(), root) == ["it was never refreshed"]


def test_a_listing_of_nothing_is_an_error(root):
    with pytest.raises(ValueError, match=r"layer\.py defines no Missing"):
        chapter(root, "from vattn_utils import layer", "show(layer.Missing)")


def test_the_command_names_the_stale_chapter_and_the_way_out(root, monkeypatch, capsys):
    path = root / "book" / "mini.ipynb"
    nbformat.write(chapter(root), path)
    monkeypatch.setattr(execute, "chapters", lambda: {"mini": path})
    monkeypatch.setattr(freshness, "reasons", lambda notebook: ["its code changed"])
    assert freshness.main([]) == 1
    assert capsys.readouterr().out == "mini is stale: its code changed. Run `make refresh CHAPTER=mini`\n"
    monkeypatch.setattr(freshness, "reasons", lambda notebook: [])
    assert freshness.main([]) == 0
    assert capsys.readouterr().out == ""


def test_the_whole_book_is_looked_through_in_seconds(capsys):
    started = time.thread_time()  # of this thread alone: TensorFlow's, of other tests, may be busy meanwhile
    freshness.main([])
    assert time.thread_time() - started < 5
