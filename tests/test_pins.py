"""Nothing unknown is installed: every package has one version and its hashes, and is what was asked for."""

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
ASKED = [ROOT / "requirements.in", *sorted((ROOT / ".github" / "requirements").glob("*.in"))]


def pinned(asked):
    """The requirements that are pinned for those that are asked for in a file, one line each, comments left out."""
    text = asked.with_suffix(".txt").read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]


def versions(asked):
    """{name: the versions that are pinned for it, one for each Python}"""
    found = {}
    for line in pinned(asked):
        requirement = Requirement(line.partition("--hash")[0])
        (version,) = requirement.specifier
        found.setdefault(requirement.name.lower(), set()).add(version.version)
    return found


@pytest.mark.parametrize("asked", ASKED, ids=lambda path: path.stem)
def test_every_requirement_has_one_version_and_its_hashes(asked):
    lines = pinned(asked)
    assert len(lines) > 20
    for line in lines:
        requirement, *hashes = re.split(r"\s+--hash=", line.strip())
        assert re.fullmatch(r"[\w.-]+(\[[\w,-]+\])?==[\w.!+]+(\s*;.+)?", requirement), line[:100]
        assert hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", found) for found in hashes), requirement


@pytest.mark.parametrize("asked", ASKED, ids=lambda path: path.stem)
def test_everything_that_is_asked_for_is_pinned_as_it_is_asked_for(asked):
    found = versions(asked)
    lines = [line for line in asked.read_text(encoding="utf-8").splitlines() if line.strip() and line[0] not in "#-"]
    assert lines
    for requirement in map(Requirement, lines):
        assert all(version in requirement.specifier for version in found[requirement.name.lower()]), requirement


def test_on_a_gpu_the_same_versions_are_installed():
    book, gpu = (versions(path) for path in (ASKED[0], ROOT / ".github/requirements/gpu.in"))
    assert {"tensorflow", "keras", "numpy"} <= book.keys() & gpu.keys()
    assert [name for name in book.keys() & gpu.keys() if book[name] != gpu[name]] == []


def test_the_environment_is_made_with_hashes_required():
    installs = [line for line in (ROOT / "Makefile").read_text().splitlines() if "pip install" in line]
    assert installs
    # The book's own package comes from the checkout, and brings nothing along.
    assert all("--require-hashes" in line or "--no-index --no-deps" in line for line in installs)
