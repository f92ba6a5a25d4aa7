"""One mutation from beginning to end: a copy of the project, the fault in it, its checks run there, the verdict.

A lie of `telling.py` is tried in the same way: it has a name, checks, and `plant`. Nothing here knows which faults
there are, and nothing is ever written into the project itself.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 600  # for one run of pytest, on a busy core
CODE = ("", "bookproof/src")  # where the packages under test lie
PASSED, FAILED = 0, 1  # pytest's exit codes; 2 and above mean that it could not do what it was asked

# How code dies that was not mutated but broken: no check has to be good to notice that.
CRASHES = {"SyntaxError", "IndentationError", "NameError", "UnboundLocalError", "ImportError", "ModuleNotFoundError"}


@dataclass(frozen=True)
class Mutation:
    """A deliberate fault.

    name: what it is called in tables and by `--only`.
    file, old, new: in this file, below the root, `old` (which stands there exactly once) becomes `new`.
    wrong: one sentence that says what is wrong then.
    caught_by: the checks that must fail, each of them: node ids of pytest, or a notebook, for `pytest --nbval`.
    """

    name: str
    file: str
    old: str
    new: str
    wrong: str
    caught_by: tuple[str, ...]

    def plant(self, copy):
        """Write the fault into the copy of the project in the folder `copy`."""
        path = copy / self.file
        path.write_text(mutated(self, path.read_text(encoding="utf-8")), encoding="utf-8")


class MutationError(Exception):
    """A mutation that cannot be planted or judged, with the reason."""


@dataclass(frozen=True)
class Report:
    """One run of pytest: its exit code, what became of each test, the imported files, the end of what it printed."""

    code: int
    tests: list
    imported: list
    printed: str = ""


@dataclass(frozen=True)
class Verdict:
    """`caught`, and where it is not, why: the fault survived, or its check did not get so far as to judge it."""

    caught: bool
    reason: str = ""
    seconds: float = 0.0


def mutated(mutation, text):
    """The `text` of the mutation's file with the fault in it.

    Raises MutationError unless the old text stands there exactly once and the new one differs from it.
    """
    count = text.count(mutation.old)
    if count != 1:
        raise MutationError(
            f"{mutation.name}: {mutation.file} holds the old text {count} times, not once; give more or other context, "
            f"or let the mutation follow the code: {mutation.old!r}"
        )
    if mutation.old == mutation.new:
        raise MutationError(f"{mutation.name}: the new text is the old one; change something")
    return text.replace(mutation.old, mutation.new)


def project_files(root=ROOT):
    """The project's files below `root`, as they lie in the working tree: what git tracks or would not ignore."""
    git = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(git, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name and (root / name).is_file()]


def copy_project(files, target, root=ROOT):
    for name in files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, target / name)


def environment(copy):
    """That of the checks: the code under test is the copy's, and this machine's data and settings are out."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VATTN_", "PYTEST_"))}
    path = os.pathsep.join(str(copy / folder) for folder in CODE)
    own = {"PYTHONPATH": path, "VATTN_CACHE": str(copy / "cache"), "MUTATION_REPORT": str(copy / "report.json")}
    return {**kept, **own, "TF_CPP_MIN_LOG_LEVEL": "3"}


def run(copy, checks):
    """Run `checks` with pytest in the copy: notebooks through nbval, everything else as tests; return the `Report`."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--tb=line",
        "-p",
        "no:cacheprovider",
        "-p",
        "tests.mutations.report",
    ]
    nbval = ["--nbval"] if checks[0].endswith(".ipynb") else []
    report = copy / "report.json"
    report.unlink(missing_ok=True)
    try:
        done = subprocess.run(
            [*command, *nbval, *checks], cwd=copy, env=environment(copy), timeout=SECONDS,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Report(-1, [], [], f"it took more than {SECONDS} s")
    found = json.loads(report.read_text()) if report.is_file() else {"tests": [], "imported": []}
    return Report(done.returncode, found["tests"], found["imported"], done.stdout[-2000:])


def of_check(check, tests):
    """Those of a report's tests that belong to a check: a test with its parameters, or the cells of a notebook."""
    return [test for test in tests if test[0] == check or test[0].startswith((f"{check}[", f"{check}::"))]


def judge(report, checks, copy):
    """Did every one of `checks` fail, and for the right reason: its tests ran on the copy, and said no?"""
    elsewhere = [file for file in report.imported if not Path(file).is_relative_to(copy)]
    if elsewhere:
        return Verdict(False, f"the check imported {elsewhere[0]} and not the copy's")
    if report.code not in (PASSED, FAILED):
        return Verdict(False, f"pytest ended with {report.code}, which is no failed test:\n{report.printed}")
    for check in checks:
        tests = of_check(check, report.tests)
        broken = [test for test in tests if test[2] == "failed" and (test[1] != "call" or test[3] in CRASHES)]
        if broken:
            _, when, _, exception, message = broken[0]
            return Verdict(False, f"{check} broke in its {when} with {exception}: {message}")
        if not any(outcome == "failed" for _, _, outcome, _, _ in tests):
            return Verdict(False, f"survived: {check} {'passed' if tests else 'ran no test'}")
    return Verdict(True)


def holds(report, check, copy):
    """Why `check` says nothing about the project without a fault, or "" if all its tests passed on the copy."""
    tests = of_check(check, report.tests)
    failed = [test for test in tests if test[2] == "failed"]
    elsewhere = [file for file in report.imported if not Path(file).is_relative_to(copy)]
    if elsewhere:
        return f"{check} imported {elsewhere[0]} and not the copy's"
    if failed:
        return f"{check} fails without any fault, with {failed[0][3]}: {failed[0][4]}"
    if not any(when == "call" and outcome == "passed" for _, when, outcome, _, _ in tests):
        return f"{check} ran no test (pytest ended with {report.code}):\n{report.printed}"
    return ""


def unfit_checks(mutations, files, root=ROOT):
    """Run every check of the mutations once on a copy without a fault; return what is wrong with them, a line each."""
    checks = sorted({check for mutation in mutations for check in mutation.caught_by})
    notebooks = [check for check in checks if check.endswith(".ipynb")]
    found = []
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        copy = Path(folder).resolve()
        copy_project(files, copy, root)
        for group in (notebooks, [check for check in checks if check not in notebooks]):
            if group:
                report = run(copy, group)
                found += [problem for check in group if (problem := holds(report, check, copy))]
    return found


def try_mutation(mutation, files, root=ROOT):
    """Plant one mutation, or lie, in a copy of its own and run its checks there; return the `Verdict`."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        copy = Path(folder).resolve()
        copy_project(files, copy, root)
        try:
            mutation.plant(copy)
        except MutationError as error:
            return Verdict(False, f"could not be planted: {error}", time.monotonic() - started)
        verdict = judge(run(copy, mutation.caught_by), mutation.caught_by, copy)
    return Verdict(verdict.caught, verdict.reason, time.monotonic() - started)
