"""The machinery of `tests/mutations`: what is planted, what counts as caught, and that the list can be trusted.

The mutations themselves are run by `make mutations`.
"""

import re
import shutil
from pathlib import Path

import pytest

from tests.mutations import __main__ as command
from tests.mutations import runner
from tests.mutations.faults import MUTATIONS
from tests.mutations.lies import LIES, TOGETHER
from tests.mutations.runner import ROOT, Mutation, MutationError, Report
from tests.mutations.telling import Lie

WRONG_SIGN = Mutation("sign", "vattn_utils/sums.py", "a + b", "a - b", "Subtracts.", ("tests/test_sums.py::test_sum",))
COPY = Path("/copy")
CHECK = "tests/test_x.py::test_y"


# The list


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_every_mutation_can_be_planted_and_names_checks_that_exist(mutation):
    text = runner.mutated(mutation, (ROOT / mutation.file).read_text(encoding="utf-8"))
    if mutation.file.endswith(".py"):
        compile(text, mutation.file, "exec")
    assert mutation.wrong.endswith(".")
    assert_checks_exist(mutation)


def assert_checks_exist(mutation):
    assert mutation.caught_by
    for check in mutation.caught_by:
        file, _, test = check.partition("[")[0].partition("::")
        assert (ROOT / file).is_file()
        assert file.endswith(".ipynb") or re.search(rf"^def {test}\(", (ROOT / file).read_text(), re.M), check


def test_every_lie_can_be_told_and_names_checks_that_exist(tmp_path):
    told = ("book/", "benchmarks/", "README.md", "_config.yml", "Makefile", "requirements.in", ".ci/")
    files = [name for name in runner.project_files() if name.startswith(told) or name.endswith("record.json")]
    runner.copy_project(files, tmp_path)
    TOGETHER.plant(tmp_path)
    for lie in LIES:
        assert lie.wrong.endswith(".")
        assert_checks_exist(lie)
    assert len({lie.name for lie in LIES}) == len(LIES)


def test_a_lie_that_finds_nothing_to_tell_is_no_proof(project):
    def change(copy):
        raise MutationError("there is no number")

    verdict = runner.try_mutation(Lie("none", change, "Nothing.", ("tests/test_sums.py::test_sum",)), *project)
    assert (verdict.caught, verdict.reason) == (False, "could not be planted: there is no number")


def test_no_two_mutations_share_a_name_or_a_change():
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)
    assert len({(mutation.file, mutation.old, mutation.new) for mutation in MUTATIONS}) == len(MUTATIONS)


def test_the_readme_lists_exactly_the_mutations():
    assert command.README.read_text(encoding="utf-8") == command.table(MUTATIONS), "run it with --write"


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(MutationError, match="did you mean 'no-warm-up'"):
        command.chosen(["no-warmup"])
    assert [mutation.name for mutation in command.chosen(["no-warm-up"])] == ["no-warm-up"]


def test_the_list_is_shown_without_running_anything(capsys):
    assert command.main(["--list"]) == 0
    shown = capsys.readouterr().out
    assert all(f"{mutation.name}: {mutation.wrong}" in shown for mutation in MUTATIONS)
    assert command.main(["--lies", "--list"]) == 0
    shown = capsys.readouterr().out
    assert all(f"{lie.name}: {lie.wrong}" in shown for lie in LIES)


# Planting


@pytest.mark.parametrize(("text", "count"), [("a * b", 0), ("a + b\na + b", 2)])
def test_an_old_text_that_does_not_stand_there_once_is_an_error(text, count):
    with pytest.raises(MutationError, match=rf"sign: vattn_utils/sums.py holds the old text {count} times, not once"):
        runner.mutated(WRONG_SIGN, text)


def test_the_copy_holds_the_projects_files_as_they_lie_there_and_no_others():
    files = runner.project_files()
    assert {"vattn_utils/models/eanet.py", "tests/test_mutations.py", "book/environment.ipynb"} <= set(files)
    assert not any(name.startswith((".git/", ".venv/", "_build/")) for name in files)


# Judging


def judged(*tests, code=1, imported=("/copy/vattn_utils/vit.py",)):
    return runner.judge(Report(code, list(tests), list(imported), "what pytest printed"), (CHECK,), COPY)


def test_a_failed_assertion_of_the_check_catches():
    assert judged((CHECK, "call", "failed", "AssertionError", "1 != 2")).caught


def test_one_failing_case_of_a_parametrised_check_catches():
    assert judged((f"{CHECK}[1]", "call", "passed", "", ""), (f"{CHECK}[2]", "call", "failed", "Failed", "")).caught


@pytest.mark.parametrize(
    ("tests", "code", "reason"),
    [
        ([(CHECK, "call", "passed", "", "")], 0, "survived: .*test_y passed"),
        ([(f"{CHECK}_other", "call", "failed", "AssertionError", "")], 1, "survived: .*test_y ran no test"),
        ([(CHECK, "call", "skipped", "Skipped", "")], 0, "survived"),
        ([(CHECK, "setup", "failed", "DamagedData", "digest")], 1, "broke in its setup with DamagedData: digest"),
        ([(CHECK, "call", "failed", "NameError", "nmae")], 1, "broke in its call with NameError: nmae"),
        ([], 2, "pytest ended with 2, which is no failed test:\nwhat pytest printed"),
        ([], 4, "pytest ended with 4"),
        ([], -1, "pytest ended with -1"),
    ],
    ids=["passes", "another test", "skipped", "set-up", "crash", "collection", "usage", "too long"],
)
def test_anything_else_does_not(tests, code, reason):
    verdict = judged(*tests, code=code)
    assert not verdict.caught
    assert re.search(reason, verdict.reason)


def test_every_named_check_has_to_fail():
    report = Report(1, [(CHECK, "call", "failed", "AssertionError", ""), ("other", "call", "passed", "", "")], [])
    assert runner.judge(report, (CHECK,), COPY).caught
    assert not runner.judge(report, (CHECK, "other"), COPY).caught


def test_code_imported_from_elsewhere_proves_nothing():
    failed = (CHECK, "call", "failed", "AssertionError", "")
    assert "/venv/vattn_utils/vit.py and not the copy's" in judged(failed, imported=["/venv/vattn_utils/vit.py"]).reason


@pytest.mark.parametrize(("second", "status", "said"), [(True, 0, "2 of 2 caught"), (False, 1, "1 of 2 caught")])
def test_the_command_succeeds_only_if_none_survives(monkeypatch, capsys, second, status, said):
    verdicts = {MUTATIONS[0]: runner.Verdict(True), MUTATIONS[1]: runner.Verdict(second, "survived: it passed")}
    monkeypatch.setattr(command, "unfit_checks", lambda *_: [])
    monkeypatch.setattr(command, "try_mutation", lambda mutation, files: verdicts[mutation])
    assert command.main([f"--only={mutation.name}" for mutation in verdicts]) == status
    printed = capsys.readouterr().out
    assert said in printed
    assert ("NOT CAUGHT: survived: it passed" in printed) is not second


def test_checks_that_fail_without_a_fault_end_the_command(monkeypatch, capsys):
    monkeypatch.setattr(command, "unfit_checks", lambda *_: ["test_y fails without any fault"])
    monkeypatch.setattr(command, "try_mutation", lambda *_: pytest.fail("a mutation was tried"))
    assert command.main([f"--only={MUTATIONS[0].name}"]) == 1
    assert "test_y fails without any fault" in capsys.readouterr().err


# From beginning to end, on a project of two lines


@pytest.fixture
def project(tmp_path):
    """(files, root) of a project with one function and its test."""
    texts = {
        "vattn_utils/__init__.py": "",
        "vattn_utils/sums.py": "def total(a, b):\n    return a + b\n",
        "tests/test_sums.py": "from vattn_utils.sums import total\n"
        "def test_sum():\n    assert total(2, 2) == 4\n"
        "def test_nothing():\n    assert total(2, 0) == 2\n",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    # What pytest loads at every start is code under test too.
    loaded = [f"bookproof/src/bookproof/{name}.py" for name in ("__init__", "entry")]
    copied = ["tests/mutations/report.py", *loaded]
    for name in copied:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return [*texts, *copied], tmp_path


def test_a_fault_is_caught_in_the_copy_and_the_project_is_left_alone(project):
    files, root = project
    before = (root / "vattn_utils/sums.py").read_text()
    assert runner.unfit_checks([WRONG_SIGN], files, root) == []
    verdict = runner.try_mutation(WRONG_SIGN, files, root)
    assert (verdict.caught, verdict.reason) == (True, "")
    assert (root / "vattn_utils/sums.py").read_text() == before
    assert sorted(path.name for path in root.iterdir()) == ["bookproof", "tests", "vattn_utils"]


def test_a_fault_that_its_check_does_not_see_survives(project):
    blind = Mutation(
        "sign", "vattn_utils/sums.py", "a + b", "a - b", "Subtracts.", ("tests/test_sums.py::test_nothing",)
    )
    assert runner.try_mutation(blind, *project).reason == "survived: tests/test_sums.py::test_nothing passed"


def test_a_check_that_fails_without_a_fault_is_named(project):
    files, root = project
    (root / "vattn_utils/sums.py").write_text("def total(a, b):\n    return a * b + 1\n")
    (problem,) = runner.unfit_checks([WRONG_SIGN], files, root)
    assert problem.startswith("tests/test_sums.py::test_sum fails without any fault, with AssertionError")
