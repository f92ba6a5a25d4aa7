"""`pytest --nbval` with the plugin, run on small notebooks: what passes, what fails, and what the failure says."""

import os
import re
import subprocess
import sys

import matplotlib.pyplot as plt
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from bookproof import fingerprint

FIGURE = """
import matplotlib.pyplot as plt
from IPython.display import display
from bookproof import fingerprint
plt.rcParams["font.size"] = {font}
fig, axes = plt.subplots()
axes.imshow({image})
plt.close(fig)
display({{"image/png": "", fingerprint.MIME: fingerprint.of_figure(fig)}}, raw=True)
"""


def printing(code, *texts, tags=(), executed=True, **metadata):
    """A code cell that was committed with these printed outputs."""
    outputs = [new_output("stream", name="stdout", text=text) for text in texts]
    count = 1 if executed else None
    return new_code_cell(code, outputs=outputs, execution_count=count, metadata={"tags": list(tags), **metadata})


def drawing(committed, now, font=10):
    """A cell that draws the image `now` in a kernel, committed with the output of drawing `committed`."""
    fig, axes = plt.subplots()
    axes.imshow(committed)
    data = {"image/png": "", fingerprint.MIME: fingerprint.of_figure(fig)}
    plt.close(fig)
    return new_code_cell(
        FIGURE.format(image=now, font=font), outputs=[new_output("display_data", data)], execution_count=1
    )


PROJECT = """
[tool.bookproof]
profiles = ["published", "quick", "full"]
profile-variable = "TOY_PROFILE"
profile-line = "Profile {profile}:"
"""

MAP, SWAPPED = [[0.1, 0.2], [0.3, 0.4]], [[0.1, 0.3], [0.2, 0.4]]

NOTEBOOKS = {
    "faithful": [
        printing("print(0.5004)", "0.5001\n"),
        printing("print(0.52)", "0.5\n", verify={"rtol": 0.1, "reason": "trained here"}),
        printing("import os\nprint(os.environ['TOY_PROFILE'])", "quick\n"),
        printing("print('on shapes')", "on CIFAR\n", tags=["depends-on-data"]),
        printing("import time\nprint(time.time())", "0.0\n", tags=["nbval-ignore-output"]),
        printing("import sys\nprint('noise', file=sys.stderr)"),
        printing("print('one')\nsys.stdout.flush()\nprint('two')", "one\ntwo\n"),
        printing("time.sleep(6)\nprint('patient')", "patient\n"),  # nbval waits five seconds for an output
        drawing(MAP, MAP, font=20),
    ],
    "changed_number": [
        new_markdown_cell("# A chapter\n\nProse.\n\n## The memory\n\n```\n# a comment\n```"),
        printing("print('loss', 0.25, 0.61)", "loss 0.25 0.5\n"),
        printing("print('later')", "later\n"),
    ],
    "changed_map": [drawing(MAP, SWAPPED)],
    "extra_output": [printing("print(1)\ndisplay(2)", "1\n")],
    "never_run": [printing("print(1)", executed=False)],
    "wrong_tolerance": [printing("print(1)", "1\n", verify={"rtoll": 0.1})],
    "dead_kernel": [printing("import os\nos._exit(1)"), printing("print(1)", "1\n")],
    "silent_error": [printing("%load_ext nothing_of_this_name\nprint(1)"), printing("print(1)", "1\n")],
    "usage_error": [printing("%no_magic_of_this_name\nprint(1)"), printing("print(1)", "1\n")],
    "hidden_error": [printing("1 / 0", tags=["raises-exception", "nbval-skip", "depends-on-data"])],
}

# What follows a cell that fails: the code of each cell, what it printed when it was committed, and what becomes of it.
FOLLOWING = {
    "error": [
        ("import math\nvalues, other = [1], 5", "", "PASSED"),
        ("values.append(1 / 0)\nmath.gcd(2)\nmade = 2", "", "FAILED"),
        ("print(values)", "[1]\n", "uses `values`, and cell 2"),  # it may have been changed half-way
        ("def doubled():\n    return 2 * made", "", "uses `made`, and cell 2"),
        ("print(doubled())", "4\n", "uses `doubled`, and cell 2"),
        ("print(math.floor(2.5), other)", "2 5\n", "PASSED"),
        ("made = 3\nprint(made)", "3\n", "PASSED"),
        ("print([2 * made for values in range(2)])", "[6, 6]\n", "PASSED"),
    ],
    "difference": [
        ("found = 2\nprint(found)", "1\n", "FAILED"),
        ("print('elsewhere')", "elsewhere\n", "PASSED"),
        ("print(found > 0)", "True\n", "PASSED"),
        ("twice = 2 * found\nprint(twice)", "2\n", "FAILED"),
        ("print(twice)", "2\n", "FAILED"),
        ("found = 3\nprint(found)", "3\n", "PASSED"),
    ],
}

FAILING = [name for name in NOTEBOOKS if name != "faithful"]


def verify(folder, profile, notebooks):
    """Run the plugin on notebooks, {name: cells}. Returns what it prints."""
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "_toc.yml").write_text("root: index\n")
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for name, cells in notebooks.items():
        nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernelspec}), folder / f"{name}.ipynb")
    command = [sys.executable, "-m", "pytest", "--nbval", "-rA", "-p", "no:cacheprovider", "--color=no", "."]
    environment = {**os.environ, "TOY_PROFILE": profile, "COLUMNS": "120"}
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return run.stdout + run.stderr


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return verify(tmp_path_factory.mktemp("book"), "quick", NOTEBOOKS)


@pytest.fixture(scope="module")
def following(tmp_path_factory):
    cells = {
        name: [printing(code, *filter(None, [text])) for code, text, _ in cells] for name, cells in FOLLOWING.items()
    }
    return verify(tmp_path_factory.mktemp("following"), "quick", cells)


def lines_about(name, report):
    """The lines of the summary that begin with an outcome and name this notebook."""
    return [line for line in report.splitlines() if line.split(" ")[0].isupper() and f"{name}.ipynb::" in line]


def failure_of(name, report):
    """What is said about the failed cell of a notebook: from its headline to the next one."""
    failures = report[report.index(" FAILURES ") :]
    return re.split(r"^_{3,} ", failures, flags=re.MULTILINE)[1:][sorted(FAILING).index(name)]


def test_the_header_names_the_profile_and_why(report):
    assert "quick profile" in report
    assert "$TOY_PROFILE" in report


def test_what_holds_passes(report):
    found = lines_about("faithful", report)
    assert len(found) == len(NOTEBOOKS["faithful"])
    assert all(line.startswith("PASSED") for line in found), report


@pytest.mark.parametrize("name", FAILING)
def test_what_does_not_hold_fails_once(name, report):
    assert [line.split(" ")[0] for line in lines_about(name, report)].count("FAILED") == 1, report


def test_a_changed_number_is_reported_with_chapter_heading_cell_and_number(report):
    failure = failure_of("changed_number", report)
    for part in ("The memory", "cell 2", "number 2", "0.5", "0.61", "allowed"):
        assert part in failure, failure


@pytest.mark.parametrize("name", FOLLOWING)
def test_after_a_failure_all_is_verified_that_does_not_depend_on_it(name, following):
    told = lines_about(name, following)
    outcomes = dict(re.fullmatch(r"(\w+) .*::Cell (\d+).*", line).groups()[::-1] for line in told)
    due = [outcome for *_, outcome in FOLLOWING[name]]
    assert [outcomes.get(str(number)) for number, _ in enumerate(due)] == [
        outcome if outcome.isupper() else None for outcome in due
    ], following
    for outcome in due:
        assert outcome in following


def test_a_difference_that_follows_from_another_says_so_and_no_more(following):
    assert (
        "cell 4 (In [1]): the output is not the committed one; see to that first, as this cell uses `found` of cell 1"
        in following
    )
    assert "as this cell uses `twice` of cell 4" in following
    told, _, summary = following.partition(" short test summary info ")
    assert told.count("expected  ") == 1, "said at length for one of them"
    assert summary, following  # in a CI, pytest gives each message there once more, whole


def test_a_kernel_that_died_ends_its_chapter(report):
    assert any(
        line.startswith("SKIPPED [1]") and "cell 1 of this chapter failed" in line for line in report.splitlines()
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("changed_map", "projections"),
        ("extra_output", "kinds of the outputs"),
        ("never_run", "never executed"),
        ("wrong_tolerance", "rtoll"),
        ("dead_kernel", "kernel died"),
        ("silent_error", "nothing_of_this_name"),
        ("usage_error", "no_magic_of_this_name"),
        ("hidden_error", "ZeroDivisionError"),
    ],
)
def test_each_failure_says_why(name, reason, report):
    assert reason in failure_of(name, report), report


def test_in_the_published_profile_cells_that_depend_on_data_are_compared(tmp_path):
    cell = printing("print('on shapes')", "on CIFAR\n", tags=["depends-on-data"])
    report = verify(tmp_path, "published", {"data": [cell]})
    assert "1 failed" in report
    assert "on CIFAR" in report


def test_an_unknown_profile_is_refused(tmp_path):
    report = verify(tmp_path, "fast", {"any": [printing("print(1)", "1\n")]})
    assert "'fast' does not exist" in report
    assert "passed" not in report
