"""`make` hands over what it is given as text, and `make test` is every step, whichever file calls it."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
STEPS = {
    "style": ["ruff check .", "ruff format --check .", "-m mypy\n", "mypy --config-file bookproof/pyproject.toml"],
    "stale": ["-m bookproof stale"],
    "units": ["pytest -n 2 --dist loadfile tests --ignore=tests/book --ignore=tests/browser"],
    "chapters": ["-m bookproof room", "pytest -n 2 --dist loadfile --nbval book"],
    "quick": ["pytest -n 2 --dist worksteal tests/book/test_quick_profile.py"],
    "pages": [
        "pytest -n 2 --dist loadgroup tests/book tests/browser --ignore=tests/book/test_quick_profile.py",
        "jupyter-book build",
    ],
}
HOSTILE = ['x" ; touch p ; echo "', "$(touch p)", "$(shell touch p)", "x; touch p", "`touch p`", "*", "$$(touch p)"]


@pytest.fixture
def project(tmp_path):
    """A folder with the Makefile, whose Python writes down, one a line, the arguments that it was given."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("requirements.txt", "pyproject.toml", "bookproof/pyproject.toml", "_toc.yml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    program = tmp_path / ".venv" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\" > given\n")
    program.chmod(0o755)
    shutil.copy(program, program.with_name("jupyter-book"))
    (tmp_path / ".venv" / "ready").touch()
    return tmp_path


def made(project, *arguments, **environment):
    """The arguments that the last program was given by `make ...`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        ["make", *arguments], cwd=project, env={**kept, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not (project / "p").exists()
    return (project / "given").read_text().splitlines()


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("execute", "CHAPTER"),
        ("refresh", "CHAPTER"),
        ("stale", "CHAPTER"),
        ("quick", "CHAPTER"),
        ("chapter", "NAME"),
        ("execute", "PROFILE"),
        ("book", "PROFILE"),
        ("verify", "EXECUTED"),
    ],
)
def test_what_is_given_is_text_from_the_command_line_and_the_environment(project, target, name, value):
    given = [*made(project, target, f"{name}={value}"), *made(project, target, **{name: value})]
    whole = value if target != "book" else f"_build/book-{value}"
    assert given.count(whole) == 2, given


@pytest.mark.parametrize("value", HOSTILE)
def test_parameters_are_words_and_nothing_more(project, value):
    assert made(project, "execute", f"PARAMETERS=seed=1 {value}")[-len(value.split()) :] == value.split()


def test_what_is_meant_arrives(project):
    given = made(project, "execute", "CHAPTER=vit", "PARAMETERS=seed=1 epochs=2")
    assert given == [
        "-m",
        "bookproof",
        "execute",
        "--profile",
        "quick",
        "--chapter",
        "vit",
        "--set",
        "seed=1",
        "epochs=2",
    ]


def test_a_python_that_is_named_is_one_program(project):
    (project / ".venv" / "ready").unlink()
    done = subprocess.run(
        ["make", "data", "PYTHON=x; touch p"], cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode
    assert not (project / "p").exists()
    assert "but x; touch p is" in done.stderr


def test_the_test_is_all_its_steps():
    (steps,) = re.findall(r"^test: data ([a-z ]+) ##", MAKEFILE, re.MULTILINE)
    assert steps.split() == list(STEPS)


@pytest.mark.parametrize("step", STEPS)
def test_each_step_does_what_it_is_called_for(step):
    done = subprocess.run(["make", "--dry-run", step], cwd=ROOT, capture_output=True, text=True, check=True)
    assert [command for command in STEPS[step] if command not in done.stdout] == []


def test_the_test_of_one_chapter_is_every_step_but_the_units_and_of_that_chapter_alone():
    done = subprocess.run(
        ["make", "--dry-run", "test", "CHAPTER=vit"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    asked = [
        '-m bookproof stale --chapter "$CHAPTER"',
        '--nbval "book/$CHAPTER.ipynb"',
        'test_quick_profile.py -k "$CHAPTER"',
        '--ignore=tests/book/test_quick_profile.py -k "$CHAPTER"',
        '-m bookproof check "book/$CHAPTER.ipynb"',
        "ruff check",
    ]
    assert [command for command in asked if command not in done.stdout] == []
    assert "--ignore=tests/browser" not in done.stdout


def test_a_chapter_is_begun_by_a_name():
    done = subprocess.run(["make", "chapter", "NAME="], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "make chapter NAME=demo" in done.stderr


def test_no_failure_is_passed_over():
    recipes = [line for line in MAKEFILE.splitlines() if line.startswith("\t")]
    assert [line for line in recipes if re.match(r"\t@?-", line) or re.search(r"\|\|\s*(true|:)|;\s*true", line)] == []
    assert ".IGNORE" not in MAKEFILE


def test_what_ci_runs_ends_with_the_test_and_ends_nowhere_before():
    lines = [line.strip() for line in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()]
    commands = [line for line in lines if line and not line.startswith("#")]
    assert commands[0] == "set -euo pipefail"
    assert commands[-1] == "make test"
    assert [
        line for line in commands if re.search(r"\b(exit|exec|return)\b|set \+e|MAKEFLAGS|\bmake\b.*\|\|", line)
    ] == []
