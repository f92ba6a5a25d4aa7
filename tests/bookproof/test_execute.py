"""Chapters are executed beside their source, only when they have to be, and put back only when they may be."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from verification import execute, freshness, hygiene
from verification.execute import ChapterError, Limits

GIB = 2**30
PARAMETERS = """
every.profile = {published = "published", quick = "quick", full = "full"}
mini.n = {published = 2, quick = 1, full = 2}
"""


@pytest.fixture
def root(tmp_path):
    """A book of one small chapter, `mini`, which needs a kernel but no packages."""
    notebook = new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "mine", "language": "python"}, "x": 1},
        cells=[
            new_markdown_cell("# Mini", metadata={"collapsed": True}),
            new_code_cell('profile: str = "published"\nn: int = 2', metadata={"tags": ["parameters"]}),
            new_code_cell('print(f"Profile {profile}:", end=" ")\nprint("n is", n)'),
            new_code_cell("n * 21", metadata={"verify": {"rtol": 0.1}, "tags": []}),
        ],
    )
    for folder in ("book", "vattn_utils", "records"):
        (tmp_path / folder).mkdir()
    nbformat.write(notebook, tmp_path / "book" / "mini.ipynb")
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/index\nchapters:\n- file: book/mini\n")
    (tmp_path / "_config.yml").write_text("title: Mini\n")
    (tmp_path / "book" / "parameters.toml").write_text(PARAMETERS)
    (tmp_path / "book" / "index.md").write_text("# Index\n")
    (tmp_path / "requirements.txt").write_text("x==1\n")
    (tmp_path / "vattn_utils" / "vit.py").write_text("x = 1\n")
    return tmp_path


@pytest.fixture
def no_kernel(monkeypatch):
    """Count the executions instead of making them: the list of (parameters) asked for."""
    asked = []

    def execute_nothing(source, target, parameters, limits=None, cwd=None):
        asked.append(parameters)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(source.read_text())
        return 1.0, GIB, ()

    monkeypatch.setattr(execute, "execute", execute_nothing)
    return asked


def edit(root, number, source):
    path = root / "book" / "mini.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[number].source = source
    nbformat.write(notebook, path)


def test_execution_lands_in_build_and_leaves_the_source_alone(root):
    before = (root / "book" / "mini.ipynb").read_bytes()
    path, execution = execute.execute_chapter("mini", "quick", ["n=3"], root=root)
    assert path == root / "_build" / "executed" / "quick" / "mini.ipynb"
    executed = nbformat.read(path, as_version=4)
    assert executed.cells[3].outputs[0].text == "Profile quick: n is 3\n"
    assert (root / "book" / "mini.ipynb").read_bytes() == before
    assert execution.seconds > 0.2
    assert 2**24 < execution.peak_bytes < GIB


def test_refresh_puts_published_outputs_back_without_stray_metadata(root, monkeypatch):
    monkeypatch.setenv("VATTN_PROFILE", "quick")  # what a shell may hold must not change what is committed
    execute.refresh("mini", root)
    path = root / "book" / "mini.ipynb"
    refreshed = nbformat.read(path, as_version=4)
    assert hygiene.problems(path) == []
    assert [cell.get("execution_count") for cell in refreshed.cells] == [None, 1, 2, 3]
    assert refreshed.cells[2].outputs[0].text == "Profile published: n is 2\n"
    assert refreshed.cells[3].outputs[0].execution_count == 3
    assert refreshed.metadata["executed"]["versions"].keys() >= {"python", "keras", "numpy"}

    assert refreshed.cells[3].metadata == {"verify": {"rtol": 0.1}}
    assert os.environ["VATTN_PROFILE"] == "quick"
    first = path.read_bytes()
    execute.refresh("mini", root)
    assert path.read_bytes() == first
    assert [file.name for file in (root / "book").iterdir() if file.name.startswith(".")] == []


def test_refreshed_notebook_carries_what_its_outputs_follow_from(root):
    (root / "records" / "a.json").write_text("{}")
    (root / "vattn_utils" / "page.html").write_text("")
    read = ("records/a.json", "vattn_utils/page.html", "vattn_utils/vit.py", "book/mini.ipynb")
    reading = f"for path in {read}:\n    open(path).close()\nos.listdir('records')"
    edit(root, 3, f"import os\nimport vattn_utils.vit\n{reading}")
    execute.refresh("mini", root)
    path = root / "book" / "mini.ipynb"
    committed = nbformat.read(path, as_version=4)
    assert committed.metadata["executed"]["inputs"]["files"].keys() == {"records", *read[:2]}
    assert committed.metadata["executed"]["inputs"]["modules"].keys() == {"vattn_utils.vit"}
    assert freshness.reasons(committed, root) == []
    (root / "records" / "a.json").write_text("[]")
    assert freshness.reasons(committed, root) == ["records/a.json changed"]


@pytest.mark.parametrize("profile", ["quick", "full"])
def test_no_other_profile_than_the_published_one_can_reach_the_records(root, profile):
    edit(root, 3, "import os\nprint(os.path.realpath(os.environ['VATTN_RECORDS']))")
    path, _ = execute.execute_chapter("mini", profile, root=root)
    printed = nbformat.read(path, as_version=4).cells[4].outputs[0].text.strip()
    assert printed.endswith("records")
    assert not Path(printed).is_relative_to(execute.ROOT)


def test_nothing_is_executed_over_its_source(root):
    source = root / "book" / "mini.ipynb"
    with pytest.raises(ChapterError, match="beside the source"):
        execute.execute(source, source, {"profile": "quick"}, cwd=root)


def test_failing_cell_fails_the_chapter_and_keeps_what_was_reached(root):
    edit(root, 3, 'raise RuntimeError("no such map")')
    before = (root / "book" / "mini.ipynb").read_bytes()
    with pytest.raises(ChapterError, match=r"mini\.ipynb failed: (.|\n)*no such map(.|\n)*mini\.failed\.ipynb"):
        execute.refresh("mini", root)
    folder = root / "_build" / "executed" / "published"
    assert [path.name for path in folder.iterdir()] == ["mini.failed.ipynb"]
    assert (root / "book" / "mini.ipynb").read_bytes() == before


def test_kernel_that_takes_too_long_is_killed_and_what_was_reached_is_kept(root):
    edit(root, 3, "import time\ntime.sleep(60)")
    with pytest.raises(ChapterError, match=r"took more than 3 s"):
        execute.execute_chapter("mini", "quick", root=root, limits=Limits(3, 4 * GIB))
    (kept,) = (root / "_build" / "executed" / "quick").iterdir()
    assert kept.name == "mini.failed.ipynb"
    assert nbformat.read(kept, as_version=4).cells[3].outputs[0].text == "Profile quick: n is 1\n"


def test_kernel_that_needs_too_much_memory_is_killed(root):
    edit(root, 3, "import time\nx = bytearray(500_000_000)\nx[::1000] = bytes(500_000)\ntime.sleep(60)")
    with pytest.raises(ChapterError, match=r"needed more than 0\.29 GiB of memory"):
        execute.execute_chapter("mini", "quick", root=root, limits=Limits(30, 300 * 2**20))


def test_unchanged_chapter_is_not_executed_again(root, no_kernel, capsys):
    for _ in range(2):
        execute.execute_chapter("mini", "quick", root=root)
    assert len(no_kernel) == 1
    assert "nothing changed since it ran in the quick profile (1 s, peak memory 1.00 GiB)" in capsys.readouterr().out
    execute.execute_chapter("mini", "quick", root=root, force=True)
    assert len(no_kernel) == 2


def test_new_measurements_are_a_changed_input(root, no_kernel):
    execute.execute_chapter("mini", "quick", root=root)
    measured = root / "benchmarks" / "results" / "cost.jsonl"
    measured.parent.mkdir(parents=True)
    measured.write_text("{}\n")
    execute.execute_chapter("mini", "quick", root=root)
    assert len(no_kernel) == 2


def test_changed_prose_is_no_changed_input(root, no_kernel):
    execute.execute_chapter("mini", "quick", root=root)
    edit(root, 0, "# Another heading")
    execute.execute_chapter("mini", "quick", root=root)
    assert len(no_kernel) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda root: edit(root, 3, "n * 22"),
        lambda root: (root / "vattn_utils" / "vit.py").write_text("x = 2\n"),
        lambda root: (root / "vattn_utils" / "new.py").write_text("x = 2\n"),
        lambda root: (root / "records" / "record.json").write_text("{}"),
        lambda root: (root / "requirements.txt").write_text("x==2\n"),
        lambda root: (root / "_build" / "executed" / "quick" / "mini.ipynb").unlink(),
    ],
    ids=["code", "package", "new-module", "record", "requirements", "lost-result"],
)
def test_changed_input_is_executed_again(root, no_kernel, change):
    execute.execute_chapter("mini", "quick", root=root)
    change(root)
    execute.execute_chapter("mini", "quick", root=root)
    assert len(no_kernel) == 2


def test_changed_parameters_and_profile_are_executed_again(root, no_kernel):
    execute.execute_chapter("mini", "quick", root=root)
    execute.execute_chapter("mini", "quick", ["n=4"], root=root)
    execute.execute_chapter("mini", "full", ["n=4"], root=root)
    assert no_kernel == [
        {"n": 1, "profile": "quick"},
        {"n": 4, "profile": "quick"},
        {"n": 4, "profile": "full"},
    ]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (["m=3"], r"unknown parameter 'm'\. The chapter has profile, n"),
        (["profil=quick"], "Did you mean 'profile'"),
        (["n=many"], "n='many' is not of the type int"),
        (["n=2.5"], "n='2.5' is not of the type int"),
        (["n"], "'n' is not name=value"),
    ],
)
def test_wrong_settings_fail_before_a_kernel_starts(root, no_kernel, settings, complaint):
    with pytest.raises(ChapterError, match=f"mini.ipynb: .*{complaint}"):
        execute.execute_chapter("mini", "quick", settings, root=root)
    assert no_kernel == []


@pytest.mark.parametrize("parameters", [{"m": 1}, {"n": "1"}, {"n": True}, {"profile": "quik"}])
def test_wrong_parameters_fail_before_a_kernel_starts(root, tmp_path, parameters):
    with pytest.raises(ChapterError, match=r"mini\.ipynb: "):
        execute.execute(root / "book" / "mini.ipynb", tmp_path / "out" / "mini.ipynb", parameters)
    assert not (tmp_path / "out").exists()


def test_unknown_profile_and_chapter_are_named(root, no_kernel):
    with pytest.raises(ChapterError, match="profile='quik' does not exist; use one of published, quick, full"):
        execute.execute_chapter("mini", "quik", root=root)
    with pytest.raises(ChapterError, match=r"no chapter 'mimi'\. Did you mean 'mini'"):
        execute.execute_chapter("mimi", "quick", root=root)
    assert no_kernel == []


def code_cell(*outputs, source="x"):
    return new_notebook(cells=[new_code_cell(source, outputs=list(outputs))])


def test_another_profile_than_published_is_not_refreshed():
    with pytest.raises(ChapterError, match="did not say that it ran the published profile"):
        execute.check_publishable("mini", code_cell(new_output("stream", text="Profile quick: shapes")))


def test_stderr_is_not_refreshed():
    stderr = new_output("stream", name="stderr", text="beware")
    with pytest.raises(ChapterError, match=r"cell 1 printed to stderr(.|\n)*beware"):
        execute.check_publishable("mini", code_cell(new_output("stream", text="Profile published: real"), stderr))


def test_error_is_not_refreshed():
    error = new_output("error", ename="ValueError", evalue="no", traceback=[])
    with pytest.raises(ChapterError, match="cell 1 failed with ValueError: no"):
        execute.check_publishable("mini", code_cell(new_output("stream", text="Profile published: real"), error))


def test_outputs_of_other_code_are_not_taken():
    with pytest.raises(ChapterError, match="not the code that was executed"):
        execute.with_outputs(code_cell(source="a"), code_cell(source="b"))


def test_pieces_of_one_stream_are_joined_and_alt_text_stays():
    metadata = {"image/png": {"alt": "a map", "path": "x"}, "text/plain": {"y": 1}, "elsewhere": {}}
    figure = new_output("display_data", data={"image/png": "", "text/plain": ""}, metadata=metadata)
    executed = code_cell(new_output("stream", text="a"), new_output("stream", text="b"), figure)
    outputs = execute.with_outputs(code_cell(), executed).cells[0].outputs
    assert outputs[0].text == "ab"
    assert outputs[1].metadata == {"image/png": {"alt": "a map"}}
    assert len(outputs) == 2


def test_book_of_another_profile_is_laid_out_beside_the_source(root):
    copy = execute.lay_out_book("quick", root)
    assert copy == root / "_build" / "book-quick"
    assert (copy / "_toc.yml").is_file()
    laid_out = nbformat.read(copy / "book" / "mini.ipynb", as_version=4)
    assert 'profile = "quick"' in laid_out.cells[2].source
    assert laid_out.cells[3].outputs[0].text == "Profile quick: n is 1\n"
    assert nbformat.read(root / "book" / "mini.ipynb", as_version=4).cells[2].outputs == []


def test_result_of_an_execution_is_noted_beside_it(root, no_kernel):
    path, execution = execute.execute_chapter("mini", "quick", root=root)
    note = json.loads(path.with_suffix(".json").read_text())
    assert note == {**asdict(execution), "read": []}
    assert (note["seconds"], note["peak_bytes"]) == (1.0, GIB)


def test_command_reports_a_wrong_chapter_and_fails(capsys):
    assert execute.main(["run", "--chapter", "no-such-chapter"]) == 1
    assert "there is no chapter 'no-such-chapter'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("at_hand", "profile"), [((), "quick"), (("cifar10",), "quick"), (("cifar10", "cifar100"), "published")]
)
def test_profile_follows_the_data_at_hand(monkeypatch, at_hand, profile):
    from vattn_utils import data

    monkeypatch.setattr(data, "at_hand", lambda name: name in at_hand, raising=False)
    assert execute.verified_profile() == profile
    assert f"in the {profile} profile" in execute.describe_data()


def test_a_tagged_figure_is_kept_as_a_picture_of_its_own(tmp_path):
    png = new_output("display_data", {"image/png": "aGVybw=="})
    plain, tagged = new_code_cell("a", outputs=[png]), new_code_cell("b", outputs=[png])
    tagged.metadata["tags"] = ["picture-hero"]
    execute.keep_pictures(new_notebook(cells=[plain, tagged]), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"hero.png": b"hero"}
