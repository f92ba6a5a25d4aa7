"""Chapters are executed beside their source, only when they have to be, and put back only when they may be."""

import datetime
import os
import shutil
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from bookproof import execute, freshness, refresh, seal
from bookproof.__main__ import main
from bookproof.book import Book, ChapterError
from bookproof.checks import hygiene
from bookproof.config import BookError
from bookproof.kernel import Limits

GIB = 2**30


@pytest.fixture
def book(book):
    """A book of one small chapter, `mini`, which needs a kernel but no packages."""
    notebook = new_notebook(
        metadata={
            "kernelspec": {"name": "python3", "display_name": "mine", "language": "python"},
            "x": 1,
            "accelerator": "GPU",
        },
        cells=[
            new_markdown_cell("# Mini", metadata={"collapsed": True}),
            new_code_cell('profile: str = "published"\nn: int = 2', metadata={"tags": ["parameters"]}),
            new_code_cell('print(f"Profile {profile}:", end=" ")\nprint("n is", n)'),
            new_code_cell("n * 21", metadata={"verify": VERIFY, "tags": []}),
        ],
    )
    nbformat.write(notebook, book.root / "book" / "mini.ipynb")
    (book.root / "toy" / "vit.py").write_text("x = 1\n")
    return book


VERIFY = {"rtol": 0.1, "reason": "trained here"}


@pytest.fixture
def source(book):
    return book.root / "book" / "mini.ipynb"


@pytest.fixture
def no_kernel(monkeypatch):
    """Count the executions instead of making them: the list of (parameters) asked for."""
    asked, read = [], ["records"]

    def execute_nothing(book, source, target, parameters, limits=None):
        asked.append(parameters)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(source.read_text())
        return 1.0, GIB, tuple(read)

    monkeypatch.setattr(execute, "execute", execute_nothing)
    return asked


def edit(book, number, source):
    path = book.root / "book" / "mini.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[number].source = source
    nbformat.write(notebook, path)


def test_execution_lands_in_build_and_leaves_the_source_alone(book):
    before = (book.root / "book" / "mini.ipynb").read_bytes()
    path, execution = execute.execute_chapter(book, "mini", "quick", ["n=3"])
    assert path == book.root / "_build" / "executed" / "quick" / "mini.ipynb"
    executed = nbformat.read(path, as_version=4)
    assert executed.cells[3].outputs[0].text == "Profile quick: n is 3\n"
    assert (book.root / "book" / "mini.ipynb").read_bytes() == before
    assert execution.seconds > 0.2
    assert 2**24 < execution.peak_bytes < GIB


def test_refresh_puts_published_outputs_back_without_stray_metadata(book, monkeypatch):
    monkeypatch.setenv("TOY_PROFILE", "quick")  # what a shell may hold must not change what is committed
    refresh.refresh(book, "mini")
    path = book.root / "book" / "mini.ipynb"
    refreshed = nbformat.read(path, as_version=4)
    assert hygiene.problems(book, path) == []
    assert seal.broken(refreshed, path.name) == []
    assert [cell.get("execution_count") for cell in refreshed.cells] == [None, 1, 2, 3]
    assert refreshed.cells[2].outputs[0].text == "Profile published: n is 2\n"
    assert refreshed.cells[3].outputs[0].execution_count == 3
    assert refreshed.metadata["executed"].keys() == {"date", "seconds", "versions", "inputs"}
    assert refreshed.cells[3].metadata == {"verify": VERIFY}
    assert refreshed.metadata["accelerator"] == "GPU"
    assert os.environ["TOY_PROFILE"] == "quick"
    first = path.read_bytes()
    refresh.refresh(book, "mini")
    assert path.read_bytes() == first
    assert [file.name for file in (book.root / "book").iterdir() if file.name.startswith(".")] == []


def test_refreshed_notebook_carries_what_its_outputs_follow_from(book, monkeypatch):
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # what Python keeps of a module is no file of the book
    (book.root / "records" / "a.json").write_text("{}")
    (book.root / "toy" / "page.html").write_text("")
    read = ("records/a.json", "toy/page.html", "toy/vit.py", "book/mini.ipynb")
    reading = f"for path in {read}:\n    open(path).close()\nos.listdir('records')"
    edit(book, 3, f"import os\nimport toy.vit\n{reading}")
    refresh.refresh(book, "mini")
    path = book.root / "book" / "mini.ipynb"
    committed = nbformat.read(path, as_version=4)
    assert committed.metadata["executed"]["inputs"]["files"].keys() == {"records", *read[:2]}
    assert committed.metadata["executed"]["inputs"]["modules"].keys() == {"toy.vit"}
    assert freshness.reasons(committed, book) == []
    (book.root / "records" / "a.json").write_text("[]")
    assert freshness.reasons(committed, book) == ["records/a.json changed"]


def test_a_folder_whose_name_only_begins_like_a_pages_is_not_watched(book):
    """A package beside the pages is followed by its modules: what Python keeps of it differs with the machine."""
    (book.root / "bookkeeping").mkdir()
    (book.root / "bookkeeping" / "ledger.json").write_text("{}")
    edit(book, 3, "import os\nopen('bookkeeping/ledger.json').close()\nos.listdir('bookkeeping')\nos.listdir('book')")
    refresh.refresh(book, "mini")
    committed = nbformat.read(book.root / "book" / "mini.ipynb", as_version=4)
    assert committed.metadata["executed"]["inputs"]["files"].keys() == {"book"}


def test_files_beside_a_page_in_the_root_are_followed_and_what_is_below_is_not(book):
    shutil.copy(book.root / "book" / "mini.ipynb", book.root / "mini.ipynb")
    (book.root / "_toc.yml").write_text("format: jb-book\nroot: book/index\nchapters:\n- file: mini\n")
    (book.root / "values.csv").write_text("1")
    (book.root / "toy" / "notes.py").write_text("")
    notebook = nbformat.read(book.root / "mini.ipynb", as_version=4)
    notebook.cells[3].source = "open('values.csv').close()\nopen('toy/notes.py').close()"
    nbformat.write(notebook, book.root / "mini.ipynb")
    refresh.refresh(book, "mini")
    committed = nbformat.read(book.root / "mini.ipynb", as_version=4)
    assert committed.metadata["executed"]["inputs"]["files"].keys() == {"values.csv"}
    (book.root / "values.csv").write_text("2")
    assert freshness.reasons(committed, book) == ["values.csv changed"]


def test_a_copy_that_a_profile_reads_counts_as_what_it_is_a_copy_of(book):
    (book.root / "records" / "a.json").write_text("{}")
    edit(book, 3, "import os\nopen(os.path.join(os.environ.get('TOY_RECORDS', 'records'), 'a.json')).close()")
    execute.execute_chapter(book, "mini", "quick")
    path = book.root / "_build" / "executed" / "quick" / "mini.ipynb"
    first = path.read_bytes()
    execute.execute_chapter(book, "mini", "quick")
    assert path.read_bytes() == first
    (book.root / "records" / "a.json").write_text("[]")
    assert freshness.reasons(nbformat.read(path, as_version=4), book) == ["records/a.json changed"]


@pytest.mark.parametrize("profile", ["quick", "full"])
def test_no_other_profile_than_the_published_one_can_reach_the_records(book, profile):
    edit(book, 3, "import os\nprint(os.path.realpath(os.environ['TOY_RECORDS']))")
    path, _ = execute.execute_chapter(book, "mini", profile)
    printed = nbformat.read(path, as_version=4).cells[4].outputs[0].text.strip()
    assert printed.endswith("records")
    assert not Path(printed).is_relative_to(book.root)


def test_nothing_is_executed_over_its_source(book):
    source = book.root / "book" / "mini.ipynb"
    with pytest.raises(ChapterError, match="beside the source"):
        execute.execute(book, source, source, {"profile": "quick"})


def test_failing_cell_fails_the_chapter_and_keeps_what_was_reached(book):
    edit(book, 3, 'raise RuntimeError("no such map")')
    before = (book.root / "book" / "mini.ipynb").read_bytes()
    with pytest.raises(ChapterError, match=r"mini\.ipynb failed: (.|\n)*no such map(.|\n)*mini\.failed\.ipynb"):
        refresh.refresh(book, "mini")
    folder = book.root / "_build" / "executed" / "published"
    assert [path.name for path in folder.iterdir()] == ["mini.failed.ipynb"]
    assert (book.root / "book" / "mini.ipynb").read_bytes() == before


def test_kernel_that_takes_too_long_is_killed_and_what_was_reached_is_kept(book):
    edit(book, 3, "import time\ntime.sleep(60)")
    with pytest.raises(ChapterError, match=r"took more than 3 s"):
        execute.execute_chapter(book, "mini", "quick", limits=Limits(3, 4 * GIB))
    (kept,) = (book.root / "_build" / "executed" / "quick").iterdir()
    assert kept.name == "mini.failed.ipynb"
    assert nbformat.read(kept, as_version=4).cells[3].outputs[0].text == "Profile quick: n is 1\n"


def test_kernel_that_needs_too_much_memory_is_killed(book):
    edit(book, 3, "import time\nx = bytearray(500_000_000)\nx[::1000] = bytes(500_000)\ntime.sleep(60)")
    with pytest.raises(ChapterError, match=r"needed more than 0\.29 GiB of memory"):
        execute.execute_chapter(book, "mini", "quick", limits=Limits(30, 300 * 2**20))


def test_unchanged_chapter_is_not_executed_again(book, no_kernel, capsys):
    for _ in range(2):
        execute.execute_chapter(book, "mini", "quick")
    assert len(no_kernel) == 1
    assert "nothing changed since it ran in the quick profile (1 s, peak memory 1.00 GiB)" in capsys.readouterr().out
    execute.execute_chapter(book, "mini", "quick", force=True)
    assert len(no_kernel) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda book: edit(book, 0, "# Another heading"),
        lambda book: (book.root / "toy" / "vit.py").write_text("x = 1  # one\n"),
        lambda book: (book.root / "toy" / "new.py").write_text("x = 2\n"),
        lambda book: (book.root / "requirements.txt").write_text("x==2\n"),
    ],
    ids=["prose", "comment", "module-of-nobody", "requirements"],
)
def test_what_no_output_follows_from_is_no_reason_to_execute_again(book, no_kernel, change):
    edit(book, 3, "import toy.vit")
    execute.execute_chapter(book, "mini", "quick")
    change(book)
    execute.execute_chapter(book, "mini", "quick")
    assert len(no_kernel) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda book: edit(book, 3, "import toy.vit\nn * 22"),
        lambda book: (book.root / "toy" / "vit.py").write_text("x = 2\n"),
        lambda book: (book.root / "records" / "record.json").write_text("{}"),
        lambda book: (book.root / "_build" / "executed" / "quick" / "mini.ipynb").unlink(),
    ],
    ids=["code", "module", "record", "lost-result"],
)
def test_a_chapter_is_executed_again_exactly_when_it_is_stale(book, no_kernel, change):
    edit(book, 3, "import toy.vit")
    path, _ = execute.execute_chapter(book, "mini", "quick")
    executed = nbformat.read(path, as_version=4)
    assert freshness.reasons(executed, book) == []
    change(book)
    execute.execute_chapter(book, "mini", "quick")
    assert len(no_kernel) == 2


def test_changed_parameters_and_profile_are_executed_again(book, no_kernel):
    execute.execute_chapter(book, "mini", "quick")
    execute.execute_chapter(book, "mini", "quick", ["n=4"])
    execute.execute_chapter(book, "mini", "full", ["n=4"])
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
        (["profile=full"], "say `--profile full`"),
    ],
)
def test_wrong_settings_fail_before_a_kernel_starts(book, no_kernel, settings, complaint):
    with pytest.raises(ChapterError, match=f"mini.ipynb: .*{complaint}"):
        execute.execute_chapter(book, "mini", "quick", settings)
    assert no_kernel == []


@pytest.mark.parametrize("parameters", [{"m": 1}, {"n": "1"}, {"n": True}, {"profile": "quik"}])
def test_wrong_parameters_fail_before_a_kernel_starts(book, source, parameters):
    with pytest.raises(ChapterError, match=r"mini\.ipynb: "):
        execute.execute(book, source, book.root / "out" / "mini.ipynb", parameters)
    assert not (book.root / "out").exists()


def test_unknown_profile_and_chapter_are_named(book, no_kernel):
    with pytest.raises(BookError, match="profile='quik' does not exist; use one of published, quick, full"):
        execute.execute_chapter(book, "mini", "quik")
    with pytest.raises(ChapterError, match=r"no chapter 'mimi'\. Did you mean 'mini'"):
        execute.execute_chapter(book, "mimi", "quick")
    assert no_kernel == []


def code_cell(*outputs, source="x"):
    return new_notebook(cells=[new_code_cell(source, outputs=list(outputs), execution_count=1)])


def test_another_profile_than_published_is_not_refreshed(book):
    with pytest.raises(ChapterError, match="did not say that it ran the published profile"):
        refresh.check_publishable(book, "mini", code_cell(new_output("stream", text="Profile quick: shapes")))


def test_stderr_is_not_refreshed(book):
    stderr = new_output("stream", name="stderr", text="beware")
    with pytest.raises(ChapterError, match=r"cell 1 printed to stderr(.|\n)*beware"):
        refresh.check_publishable(book, "mini", code_cell(new_output("stream", text="Profile published: real"), stderr))


def test_error_is_not_refreshed(book):
    error = new_output("error", ename="ValueError", evalue="no", traceback=[])
    with pytest.raises(ChapterError, match="cell 1 failed with ValueError: no"):
        refresh.check_publishable(book, "mini", code_cell(new_output("stream", text="Profile published: real"), error))


def test_a_chapter_that_was_not_executed_to_its_end_is_not_refreshed(book):
    executed = code_cell(new_output("stream", text="Profile published: real"))
    executed.cells.append(new_code_cell("y"))
    with pytest.raises(ChapterError, match="cell 2 was not executed"):
        refresh.check_publishable(book, "mini", executed)


def test_outputs_of_other_code_are_not_taken():
    with pytest.raises(ChapterError, match="not the code that was executed"):
        refresh.with_outputs(code_cell(source="a"), code_cell(source="b"))


def test_pieces_of_one_stream_are_joined_and_alt_text_stays():
    metadata = {"image/png": {"alt": "a map", "path": "x"}, "text/plain": {"y": 1}, "elsewhere": {}}
    figure = new_output("display_data", data={"image/png": "", "text/plain": ""}, metadata=metadata)
    executed = code_cell(new_output("stream", text="a"), new_output("stream", text="b"), figure)
    outputs = refresh.with_outputs(code_cell(), executed).cells[0].outputs
    assert outputs[0].text == "ab"
    assert outputs[1].metadata == {"image/png": {"alt": "a map"}}
    assert len(outputs) == 2


def test_book_of_another_profile_is_laid_out_beside_the_source(book):
    copy = refresh.lay_out_book(book, "quick")
    assert copy == book.root / "_build" / "book-quick"
    assert (copy / "_toc.yml").is_file()
    laid_out = nbformat.read(copy / "book" / "mini.ipynb", as_version=4)
    assert 'profile = "quick"' in laid_out.cells[2].source
    assert laid_out.cells[3].outputs[0].text == "Profile quick: n is 1\n"
    assert nbformat.read(book.root / "book" / "mini.ipynb", as_version=4).cells[2].outputs == []


def test_an_executed_chapter_says_what_it_follows_from_and_what_it_took(book, no_kernel):
    path, execution = execute.execute_chapter(book, "mini", "quick")
    noted = nbformat.read(path, as_version=4).metadata["executed"]
    assert noted == {
        "parameters": {"n": 1, "profile": "quick"},
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "seconds": 1.0,
        "peak_bytes": GIB,
        "inputs": execution.inputs,
    }
    assert list(noted["inputs"]["files"]) == ["records"]


def test_the_provenance_is_the_hooks(book, monkeypatch):
    assert list(execute.provenance(book)) == ["versions"]
    settings = (book.root / "pyproject.toml").read_text()
    (book.root / "pyproject.toml").write_text(f'{settings}provenance-hook = "toy_hooks:made"\n')
    (book.root / "toy_hooks.py").write_text("def made():\n    return {'device': 'abacus'}\n")
    monkeypatch.syspath_prepend(str(book.root))
    assert execute.provenance(Book(book.root)) == {"device": "abacus"}


def test_command_reports_a_wrong_chapter_and_fails(book, capsys):
    assert main(["--root", str(book.root), "execute", "--chapter", "no-such-chapter"]) == 1
    assert "there is no chapter 'no-such-chapter'" in capsys.readouterr().err


def elsewhere(book, change=None):
    """The chapter as another machine executed it in the published profile, or what became of it there."""
    path, _ = execute.execute_chapter(book, "mini", "published")
    target = book.root / "from_elsewhere" / "mini.ipynb"
    target.parent.mkdir()
    shutil.move(path, target)
    if change:
        notebook = nbformat.read(target, as_version=4)
        change(notebook)
        nbformat.write(notebook, target)
    return target


def accept(book, path):
    return main(["--root", str(book.root), "accept", str(path)])


def test_a_chapter_that_was_executed_elsewhere_is_accepted_as_a_refreshed_one(book, source):
    before = source.read_bytes()
    path = elsewhere(book)
    assert source.read_bytes() == before
    assert accept(book, path) == 0
    accepted = nbformat.read(source, as_version=4)
    assert hygiene.problems(book, source) == []
    assert accepted.cells[2].outputs[0].text == "Profile published: n is 2\n"
    assert freshness.reasons(accepted, book) == []
    assert seal.broken(accepted, source.name) == []
    assert "peak_bytes" not in accepted.metadata["executed"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda notebook: notebook.cells[-1].update(source="n * 22"), "does not follow from what is here: its code"),
        (lambda notebook: notebook.cells[-1].update(execution_count=None), "was not executed"),
        (lambda notebook: notebook.cells[3].outputs.clear(), "did not say that it ran the published profile"),
        (lambda notebook: notebook.metadata.pop("executed"), "does not say what it follows from"),
        (lambda notebook: notebook.metadata.executed.inputs.update(modules={"toy.vit": "0"}), "module toy.vit is gone"),
        (
            lambda notebook: notebook.metadata.executed.parameters.update(n=3),
            "it ran with {'n': 3",
        ),
        (lambda notebook: notebook.cells[3].outputs[0].update(text="Profile published: n is 3\n"), "cell 4"),
    ],
    ids=["code", "unfinished", "silent", "unknown", "stale", "parameters", "edited"],
)
def test_what_a_refresh_would_refuse_is_not_accepted(book, source, capsys, change, complaint):
    path = elsewhere(book, change)
    before = source.read_bytes()
    assert accept(book, path) == 1
    assert complaint in capsys.readouterr().err
    assert source.read_bytes() == before


def test_an_execution_of_other_code_than_the_committed_is_not_accepted(book, source, capsys):
    path = elsewhere(book)
    edit(book, 3, "n * 22")
    assert accept(book, path) == 1
    assert "its code is not the code that was executed" in capsys.readouterr().err


def test_the_committed_chapter_itself_is_not_accepted(book, source, capsys):
    assert accept(book, source) == 1
    assert "is the committed chapter itself" in capsys.readouterr().err


def test_a_tagged_figure_is_kept_as_a_picture_of_its_own(tmp_path):
    png = new_output("display_data", {"image/png": "aGVybw=="})
    plain, tagged = new_code_cell("a", outputs=[png]), new_code_cell("b", outputs=[png])
    tagged.metadata["tags"] = ["picture-hero"]
    refresh.keep_pictures(new_notebook(cells=[plain, tagged]), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"hero.png": b"hero"}
