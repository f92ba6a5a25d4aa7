"""Another book takes bookproof: two chapters in an empty folder, a fresh environment, the wheel and nothing of ours.

What is made once passes every check; then each check has something to bite on.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

PACKAGE = Path(__file__).parents[2] / "bookproof"
IMPORTS = "import matplotlib.pyplot as plt\nfrom bookproof import figure, say\nfrom toy.measured import VALUES"
CHAPTERS = {
    "one": [
        new_markdown_cell("# One\n\nWhat is the mean? See [the other chapter](two.ipynb#two)."),
        new_code_cell(IMPORTS),
        new_code_cell('say(f"The mean is **{sum(VALUES) / len(VALUES):.4f}**.")'),
    ],
    "two": [
        new_markdown_cell("# Two"),
        new_code_cell(IMPORTS),
        new_code_cell(
            'fig, axes = plt.subplots(figsize=(2, 1))\naxes.plot(VALUES)\nfigure(fig, "It rises.", "A line.")'
        ),
    ],
}
FILES = {
    "_toc.yml": "format: jb-book\nroot: index\nchapters:\n- file: one\n- file: two\n",
    "_config.yml": "title: A toy\n",
    "index.md": "# A toy\n\nIt has [one](one.ipynb) and [two](two.ipynb).\n",
    "pyproject.toml": '[tool.bookproof]\npackages = {toy = "toy"}\n',
    "toy/measured.py": "VALUES = [1.0, 2.0, 4.0]\n",
}


def run(*command, cwd=None, code=0):
    """What a command prints; the test fails unless it ends with `code`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST_", "VATTN_"))}
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env={**kept, "COLUMNS": "160"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The Python of a fresh environment that holds the wheel, above the packages of this one."""
    folder = tmp_path_factory.mktemp("environment")
    source = shutil.copytree(PACKAGE, folder / "source")
    offline = ("--quiet", "--disable-pip-version-check", "--no-index", "--no-deps")
    run(sys.executable, "-m", "pip", "wheel", *offline, "--no-build-isolation", "-w", folder, source)
    run(sys.executable, "-m", "venv", folder / "env")
    python = folder / "env" / "bin" / "python"
    (wheel,) = folder.glob("bookproof-*.whl")
    run(python, "-m", "pip", "install", *offline, wheel)
    packages = sysconfig.get_path("purelib", vars={"base": str(folder / "env")})
    Path(packages, "these.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


@pytest.fixture(scope="module")
def made(python, tmp_path_factory):
    """The toy book, its outputs put in by the command of the environment."""
    folder = tmp_path_factory.mktemp("toy")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    for name, cells in CHAPTERS.items():
        nbformat.write(new_notebook(cells=cells), folder / f"{name}.ipynb")
    run(python.with_name("bookproof"), "refresh", cwd=folder)
    return folder


@pytest.fixture
def toy(made, tmp_path):
    return shutil.copytree(made, tmp_path / "toy")


@pytest.fixture
def proof(python, toy):
    """A function: what `bookproof ...` prints in the toy book, if it ends with `code`."""
    return lambda *arguments, code=0: run(python, "-m", "bookproof", *arguments, cwd=toy, code=code)


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_it_is_the_wheel_that_is_tested_and_a_chapter_needs_none_of_the_extra(python):
    wanted = ("nbformat", "nbclient", "papermill", "psutil", "yaml", "pytest", "bs4")
    program = (
        "import sys, bookproof; from bookproof import say\n"
        f"print(bookproof.__file__, [name for name in {wanted} if name in sys.modules])"
    )
    printed = run(python, "-c", program)
    assert printed.startswith(str(python.parents[1]))
    assert printed.endswith("[]\n")


def test_the_wheel_holds_the_licence_of_the_whole(python):
    (licence,) = python.parents[1].glob("lib/*/site-packages/bookproof-*.dist-info/licenses/LICENSE")
    assert licence.read_text(encoding="utf-8") == (PACKAGE.parent / "LICENSE").read_text(encoding="utf-8")


def test_a_book_that_is_right_passes(toy, python, proof):
    assert proof("stale") == ""
    kinds = ("hygiene", "prose", "markup", "links", "manifest")
    assert proof("check") == "".join(f"{kind}: nothing is wrong\n" for kind in kinds)
    assert proof("room") == "No cell asks for more room.\n"
    assert "one: the same" in proof("verify", "_build/executed/published")
    assert "nothing changed since it ran" in proof("execute")
    assert "4 passed" in run(python, "-m", "pytest", "--nbval", "-q", ".", cwd=toy)
    assert not (toy / "_build" / "failed").exists()


def test_a_changed_number_and_a_changed_figure_fail(toy, python):
    change(toy / "one.ipynb", "2.3333", "2.4333")
    notebook = nbformat.read(toy / "two.ipynb", as_version=4)
    notebook.cells[2].source = notebook.cells[2].source.replace("VALUES", "VALUES[::-1]")
    nbformat.write(notebook, toy / "two.ipynb")
    earlier = toy / "_build" / "failed" / "of-an-earlier-run.png"
    earlier.parent.mkdir(parents=True)
    earlier.touch()
    printed = run(python, "-m", "pytest", "--nbval", "-q", ".", cwd=toy, code=1)
    assert "2 failed, 2 passed" in printed
    assert 'one.ipynb, "One", cell 3' in printed
    assert "they differ by 0.1, allowed 0.00243" in printed
    assert "projections" in printed
    assert not earlier.exists()
    kept = sorted(path.name for path in earlier.parent.iterdir())
    assert kept == [f"two-cell-3-1-{kind}.png" for kind in ("committed", "difference", "found")]


def test_a_number_moved_within_the_tolerance_breaks_the_seal_and_a_refresh_restores_it(toy, python, proof):
    change(toy / "one.ipynb", "2.3333", "2.3334")
    assert "4 passed" in run(python, "-m", "pytest", "--nbval", "-q", ".", cwd=toy)
    printed = proof("stale", code=1)
    assert 'one.ipynb, "One", cell 3 (In [2]): its code, outputs, tags or tolerance changed' in printed
    assert "two" not in printed
    proof("refresh", "--chapter", "one")
    assert proof("stale") == ""
    assert "2.3333" in (toy / "one.ipynb").read_text()


def test_room_is_listed_with_its_reason(toy, proof):
    change(toy / "one.ipynb", '"metadata": {}', '"metadata": {"verify": {"atol": 0.1, "reason": "nearly tied"}}')
    assert 'one.ipynb, "One", cell 3 (In [2]): 0.1: nearly tied' in proof("room")


def test_a_changed_module_makes_its_chapters_stale_and_is_executed_again(toy, proof):
    change(toy / "toy" / "measured.py", "2.0", "3.0")
    printed = proof("stale", code=1)
    assert "one is stale: module toy.measured changed. Run `bookproof refresh --chapter one`" in printed
    assert "two is stale" in printed
    assert "one: executing" in proof("execute", "--chapter", "one")
    assert "one: differs" in proof("verify", "_build/executed/published", code=1)


def test_what_was_executed_elsewhere_is_accepted_as_long_as_it_is_of_this_code(toy, proof):
    elsewhere = toy / "elsewhere" / "one.ipynb"
    elsewhere.parent.mkdir()
    shutil.copy(toy / "_build" / "executed" / "published" / "one.ipynb", elsewhere)
    change(toy / "one.ipynb", "2.3333", "2.4333")
    proof("accept", elsewhere)
    assert "2.4333" not in (toy / "one.ipynb").read_text()
    change(toy / "one.ipynb", ":.4f", ":.3f")
    assert "is not the code that was executed" in proof("accept", elsewhere, code=1)


FAULTS = [  # in which file, of what, what is made, and what is said of it
    ("one.ipynb", "2.3333", "/home/me/2.3333", "one.ipynb, cell 3: '/home/me' is a path of one machine"),
    ("one.ipynb", "What is the mean?", "It is 44 %.", "one.ipynb, cell 1: a percentage is typed into prose"),
    ("one.ipynb", "two.ipynb#two", "three.ipynb", "'three.ipynb' leads to no file"),
    ("one.ipynb", '"metadata": {}', '"metadata": {"verify": {"rtol": 0.1}}', 'one.ipynb, cell 3: metadata "verify"'),
    ("index.md", "(one.ipynb)", "(one.ipynb#no)", "'one.ipynb#no' leads to no heading"),
    ("two.ipynb", '"alt"', '"title"', "cell 3: a figure without alt text"),
    ("two.ipynb", "vnd.bookproof.figure", "vnd.nothing", "cell 3: a figure without a fingerprint"),
    ("two.ipynb", '"execution_count": 2', '"execution_count": 9', "cell 3: execution count 9, not 2"),
]


def test_all_that_must_not_be_committed_is_found_at_once(toy, proof):
    for file, old, new, _ in FAULTS:
        change(toy / file, old, new)
    said = proof("check", code=1)
    assert [complaint for *_, complaint in FAULTS if complaint not in said] == [], said


def test_a_built_page_that_lost_its_figure_is_found(toy, proof):
    html = toy / "_build" / "html"
    html.mkdir()
    for page in ("index", "one", "two"):
        (html / f"{page}.html").write_text("<p>built</p>")
    assert "two.html: shows 0 figures, two.ipynb draws 1" in proof("check", "--only", "pages", code=1)


def test_a_hook_of_the_book_is_found_by_the_script_and_from_elsewhere(toy, python):
    (toy / "toy" / "hooks.py").write_text("def data():\n    return 'published', 'All is here.'\n")
    change(toy / "pyproject.toml", "[tool.bookproof]", "[tool.bookproof]\ndata-hook = 'toy.hooks:data'")
    script = python.with_name("bookproof")
    assert run(script, "which", cwd=toy) == "All is here.\n"
    assert run(script, "--root", toy, "which", cwd=toy.parent) == "All is here.\n"


def test_a_mistyped_setting_is_named(toy, proof):
    change(toy / "pyproject.toml", "packages", "package")
    assert "has no key 'package'. Did you mean 'packages'?" in proof("stale", code=1)
