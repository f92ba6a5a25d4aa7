"""The workflows on GitHub call what is here, may do little, and publish nothing that did not pass.

That they are well formed is actionlint's to say; it is a program of its own, and not among the requirements.
"""

import importlib.util
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import tests.gpu.__main__ as steps_on_a_gpu
from bookproof.book import Book

BOOK = Book(Path(__file__).parents[1])
ROOT = BOOK.root

WORKFLOWS = {
    path.stem: yaml.safe_load(path.read_text()) for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))
}
JOBS = {f"{name}-{job}": body for name, workflow in WORKFLOWS.items() for job, body in workflow["jobs"].items()}
EXPRESSION = re.compile(r"\$\{\{.*?\}\}")
# What a job may do beyond reading the repository.
MAY_WRITE = {"test-pages": {"pages", "id-token"}, "colab-issue": {"issues"}, "release-publish": {"id-token"}}
# The only action that is not GitHub's own: it uploads what was built, and does so by its authors' index.
UPLOAD = "pypa/gh-action-pypi-publish"


def triggers(workflow):
    return workflow[True]  # in YAML 1.1 `on` is a truth value


def steps():
    """Every step, as its job's name and the step itself."""
    return [(job, step) for job, body in JOBS.items() for step in body["steps"]]


def commands(program):
    """The arguments of every call of `program` in the workflows, an expression of GitHub's standing as "x"."""
    scripts = [EXPRESSION.sub("x", step["run"]).replace("\\\n", " ") for _, step in steps() if "run" in step]
    lines = [line for script in scripts for line in script.splitlines()]
    found = [shlex.split(line, comments=True) for line in lines]
    return [words[1:] for words in found if words and words[0] == program]


def test_there_is_a_workflow_for_each_promise():
    assert set(WORKFLOWS) == {"test", "gpu", "colab", "links", "audit", "release"}


@pytest.mark.parametrize("arguments", commands("make"), ids=" ".join)
def test_make_knows_what_it_is_asked_for(arguments):
    done = subprocess.run(["make", "--dry-run", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_python_modules_and_tests_exist():
    called = [words for words in commands(".venv/bin/python") if words[0] == "-m"]
    assert called
    for _, module, *rest in called:
        assert importlib.util.find_spec(module), module
        if module == "pytest":
            assert (ROOT / rest[0]).is_dir(), rest[0]


def test_the_programs_and_folders_that_are_named_exist():
    text = "\n".join(step.get("run", "") for _, step in steps())
    named = set(re.findall(r"\b(?:tests|book|vattn_utils|bookproof)/[\w/]+(?:\.\w+)?", text))
    assert {"tests/colab", "tests/colab/bare.py"} <= named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
    hashed = re.findall(r"hashFiles\((.*?)\)", (ROOT / ".github/workflows/test.yml").read_text())
    assert [path for path in re.findall(r"'(.*?)'", *hashed) if not (ROOT / path).is_file()] == []


@pytest.mark.parametrize("job", JOBS)
def test_a_job_may_write_only_what_it_is_for(job):
    workflow = WORKFLOWS[job.partition("-")[0]]
    assert workflow["permissions"] == {"contents": "read"}
    granted = JOBS[job].get("permissions", {})
    assert {name for name, level in granted.items() if level == "write"} == MAY_WRITE.get(job, set())


@pytest.mark.parametrize("job", JOBS)
def test_a_job_ends(job):
    assert 0 < JOBS[job]["timeout-minutes"] <= 360


def test_only_githubs_own_actions_and_the_upload_are_used_each_by_the_commit_of_a_version():
    text = "".join(path.read_text() for path in sorted((ROOT / ".github" / "workflows").glob("*.yml")))
    used = [line.strip() for line in text.splitlines() if "uses:" in line]
    pinned = re.compile(rf"(?:- )?uses: (?:actions/[\w-]+|{UPLOAD})@[0-9a-f]{{40}} # v\d+\.\d+\.\d+")
    assert [line for line in used if not pinned.fullmatch(line)] == []
    versions = {line.partition("uses: ")[2] for line in used}
    assert len({name.partition("@")[0] for name in versions}) == len(versions)  # one of each


def test_no_token_stays_in_a_checkout():
    checkouts = [step for _, step in steps() if step.get("uses", "").startswith("actions/checkout")]
    assert len(checkouts) > 5
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


@pytest.mark.parametrize("job", MAY_WRITE)
def test_a_token_that_may_write_is_beside_no_code_of_others(job):
    body = JOBS[job]
    assert not any("checkout" in step.get("uses", "") for step in body["steps"])
    run = " ".join(step.get("run", "") for step in body["steps"])
    assert not re.search(r"docker|pip|python|make|curl", run)


def test_nothing_is_installed_without_its_hash():
    installs = [
        line for _, step in steps() for line in step.get("run", "").splitlines() if re.search(r"\bpipx?\b", line)
    ]
    installs = [line for line in installs if "install" in line or "pipx" in line]
    assert len(installs) >= 3
    assert [line for line in installs if "--require-hashes -r" not in line] == []


def test_a_run_without_cifar_publishes_nothing_and_says_so():
    job = JOBS["test-test"]
    fetch = next(step for step in job["steps"] if step.get("id") == "cifar")
    assert fetch["continue-on-error"] is True
    assert job["outputs"] == {"cifar": "${{ steps.cifar.outcome }}"}
    told = next(step for step in job["steps"] if "::warning" in step.get("run", ""))
    assert told["if"] == "steps.cifar.outcome != 'success'"
    uploaded = next(step for step in job["steps"] if step.get("uses", "").startswith("actions/upload-pages-artifact"))
    assert "steps.cifar.outcome == 'success'" in uploaded["if"]
    assert "needs.test.outputs.cifar == 'success'" in JOBS["test-pages"]["if"]


def test_the_pins_are_derived_again_and_compared():
    runs = [step.get("run", "") for step in JOBS["audit-pins"]["steps"]]
    assert runs[-2:] == ["make pins UV=.tools/bin/uv", "git diff --exit-code -- requirements.txt .github/requirements"]


def test_what_verifies_the_book_has_an_owner_and_what_is_pinned_is_kept_up():
    owned = [line.split()[0] for line in (ROOT / ".github" / "CODEOWNERS").read_text().splitlines() if line[:1] == "/"]
    assert set(owned) >= {"/.ci/", "/.github/", "/Makefile", "/bookproof/", "/tests/", "/MANIFEST.sha256"}
    assert [path for path in owned if not list(ROOT.glob(path.strip("/")))] == []
    updates = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())["updates"]
    assert {update["package-ecosystem"] for update in updates} == {"github-actions", "pip"}
    assert (ROOT / "SECURITY.md").is_file()


def test_no_script_holds_what_a_stranger_may_write():
    assert [found for _, step in steps() for found in EXPRESSION.findall(step.get("run", ""))] == []


def test_what_runs_on_a_schedule_runs_by_hand_too():
    scheduled = {name for name, workflow in WORKFLOWS.items() if "schedule" in triggers(workflow)}
    assert scheduled == {"gpu", "colab", "links", "audit"}
    assert all("workflow_dispatch" in triggers(WORKFLOWS[name]) for name in scheduled)


def test_every_push_is_tested_on_the_oldest_python_and_with_the_oldest_and_newest_versions():
    assert {"push", "pull_request"} <= set(triggers(WORKFLOWS["test"]))
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    assert JOBS["test-test"]["strategy"]["matrix"]["python"][0] == oldest
    assert ["test"] in commands("make")
    tried = {entry["versions"]: entry["python"] for entry in JOBS["test-versions"]["strategy"]["matrix"]["include"]}
    assert set(tried) == {"oldest", "newest"}
    assert tried["oldest"] == oldest


def test_pages_are_published_from_a_green_run_on_main_only():
    deploying = [job for job, step in steps() if step.get("uses", "").startswith("actions/deploy-pages")]
    assert deploying == ["test-pages"]
    pages = JOBS["test-pages"]
    assert set(pages["needs"]) == set(WORKFLOWS["test"]["jobs"]) - {"pages"}
    assert "refs/heads/main" in pages["if"]
    assert "'push'" in pages["if"]
    assert "always()" not in pages["if"]
    may_fail = [(job, step["name"]) for job, step in steps() if "continue-on-error" in step]
    fetching = [("colab-packages", "Fetch CIFAR, or find out that no mirror answers")]
    assert may_fail == [*fetching, ("test-test", "Fetch CIFAR, or find it in the cache")]


def test_a_tag_and_nothing_else_releases_what_was_tested_whole_and_built_once():
    assert triggers(WORKFLOWS["release"]) == {"push": {"tags": ["v*", "bookproof-v*"]}}
    test, build, publish = (JOBS[f"release-{job}"] for job in ("test", "build", "publish"))
    assert (build["needs"], publish["needs"]) == ("test", "build")
    *_, fetch, tested = test["steps"]
    assert "data.load" in fetch["run"]
    assert tested == {"run": "make test"}
    for job in (test, build, publish):
        assert not [part for part in (job, *job["steps"]) if {"if", "continue-on-error"} & part.keys()]
    assert "twine check --strict dist/*" in build["steps"][-2]["run"]
    assert [step["uses"].partition("@")[0] for step in publish["steps"]] == ["actions/download-artifact", UPLOAD]
    assert [job for job, step in steps() if UPLOAD in step.get("uses", "")] == ["release-publish"]
    assert publish["environment"]


@pytest.mark.parametrize(
    ("tag", "project", "code"),
    [("v1.2.3", ".", 0), ("bookproof-v1.2.3", "bookproof", 0), ("v1.2.4", ".", 2), ("v1.2", ".", 2)],
)
def test_a_tag_releases_the_package_and_the_version_that_it_names(tag, project, code, tmp_path):
    script = JOBS["release-build"]["steps"][-2]["run"].replace(".tools/bin/", "")
    tools = {"python": 'echo "$6" > project; mkdir dist; touch dist/made-1.2.3.tar.gz', "twine": "ls dist"}
    for name, does in tools.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "GITHUB_REF_NAME": tag}
    command = ["bash", "-e", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.returncode == code, done.stderr
    assert (tmp_path / "project").read_text() == f"{project}\n"


def test_the_figures_that_differ_are_kept_where_a_test_fails():
    steps = JOBS["test-test"]["steps"]
    tested = next(place for place, step in enumerate(steps) if step.get("run") == "make test")
    kept = steps[tested + 1]
    assert kept["if"] == "failure()"
    assert kept["uses"].startswith("actions/upload-artifact")
    assert kept["with"]["path"] == "_build/failed"


def test_on_a_gpu_every_chapter_that_trains_is_executed_alone_verified_and_kept():
    job = JOBS["gpu-full"]
    trained = {name for name, path in BOOK.chapters().items() if "chapter.run(" in path.read_text(encoding="utf-8")}
    assert set(job["strategy"]["matrix"]["chapter"]) == trained
    assert job["strategy"]["max-parallel"] == 1
    runs = [step.get("run", "") for step in job["steps"]]
    execute = runs.index("make execute PROFILE=full")
    assert job["steps"][execute]["env"] == {
        "CHAPTER": "${{ matrix.chapter }}",
        "PARAMETERS": "${{ inputs.parameters }}",
    }
    assert execute < runs.index("make verify EXECUTED=_build/executed/full")
    kept = job["steps"][-1]
    assert kept["uses"].startswith("actions/upload-artifact")
    assert kept["if"] == "always()"
    assert kept["with"]["path"].split() == ["_build/executed/full", "_build/records"]


def test_the_rehearsal_without_a_gpu_runs_every_step_but_those_that_make_the_machine():
    rehearsed = steps_on_a_gpu.steps("vit")
    runs = [step["run"] for step in JOBS["gpu-full"]["steps"] if "run" in step]
    assert [run for run in runs if run not in [run for run, _ in rehearsed]] == runs[:2]
    assert rehearsed[0] == ("make execute PROFILE=full", {"CHAPTER": "vit", "PARAMETERS": "epochs=1"})
    assert steps_on_a_gpu.kept() == ["_build/executed/full", "_build/records"]


def test_the_packages_of_colab_are_compared_and_tried_on_its_python():
    job = JOBS["colab-packages"]
    listed = (ROOT / "tests" / "colab" / "packages.txt").read_text()
    (python,) = [step["with"]["python-version"] for step in job["steps"] if "setup-python" in step.get("uses", "")]
    assert f"on Python {python}." in listed
    runs = [step.get("run", "") for step in job["steps"]]
    assert runs.index("python tests/colab/published.py") < runs.index(".venv/bin/python -m pytest tests/colab -k today")


def test_a_chapter_that_fails_in_colab_opens_an_issue():
    job = JOBS["colab-issue"]
    assert (job["needs"], job["if"]) == (["image", "packages"], "failure()")
    assert "gh issue create" in job["steps"][-1]["run"]
