"""A measurement says on what it was made."""

import re
import subprocess
import sys
import types

import keras
import pytest

from vattn_utils.training.provenance import _commit, provenance


def test_on_torch_the_device_is_asked_of_torch(monkeypatch):
    cuda = types.SimpleNamespace(device_count=lambda: 1, get_device_name=lambda index: f"card {index}")
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda, __version__="2"))
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    assert provenance()["device"] == "1 x card 0"
    cuda.device_count = lambda: 0
    assert "CPU core" in provenance()["device"]


def test_a_process_pinned_to_one_core_says_so(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {1}, raising=False)
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["cpu:0"])
    assert provenance()["device"].startswith("1 CPU core (")


@pytest.fixture
def repository(tmp_path):
    """Somebody's repository, with one commit, which ignores `site-packages`; a package lies there and in `source`."""
    (tmp_path / ".gitignore").write_text("site-packages\n")
    for folder in ("source", "site-packages"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").touch()
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false"]
    for command in (["init", "--quiet"], ["add", "."], [*who, "commit", "--quiet", "--message", "one"]):
        subprocess.run(["git", "-C", tmp_path, *command], check=True)
    return tmp_path


def test_a_checkout_says_its_commit_and_whether_it_differs(repository):
    commit = _commit(repository / "source")
    assert re.fullmatch("[0-9a-f]{12}", commit)
    (repository / "source" / "__init__.py").write_text("changed = True")
    assert _commit(repository / "source") == commit + "+"


def test_an_installed_package_does_not_take_the_commit_of_the_repository_it_lies_in(repository):
    assert _commit(repository / "site-packages") is None


def test_without_git_there_is_no_commit(repository, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert _commit(repository / "source") is None
    assert provenance()["commit"] is None
