"""What Colab has is compared with what it is said to have, and a bare chapter finds the repository's files here."""

import importlib.util
import urllib.request
from pathlib import Path

import pytest

from tests.colab import published

spec = importlib.util.spec_from_file_location("bare", Path(published.__file__).with_name("bare.py"))
bare = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bare)

# As it is published, but for its length.
LIST = """\
# Do not modify this file directly; it is generated
#  $ python3 -m pip freeze
absl-py==1.4.0
en-core-web-sm @ https://github.com/explosion/spacy-models/releases/download/en_core_web_sm-3.6.0.whl#sha256=83276fc
google-colab @ file:///colabtools/dist/google-colab-1.0.0.tar.gz
huggingface_hub==1.27.0
Keras==3.13.2
numpy==2.1.3
torch==2.11.0+cu128
"""


def test_the_lines_of_a_freeze_are_versions_by_name():
    assert published.versions(LIST) == {
        "absl-py": "1.4.0",
        "huggingface-hub": "1.27.0",
        "keras": "3.13.2",
        "numpy": "2.1.3",
        "torch": "2.11.0",
    }


def test_what_colab_still_has_is_no_difference():
    assert published.differences("# on Python 3.13\nhuggingface-hub==1.27.0\nkeras==3.13.2\n", LIST) == []


def test_another_version_and_a_package_that_is_gone_are_named():
    assert published.differences("keras==3.12.0\nscipy==1.16.3\nnumpy==2.1.3\n", LIST) == [
        "keras: Colab has 3.13.2, tests/colab/packages.txt has 3.12.0",
        "scipy: Colab has none, tests/colab/packages.txt has 1.16.3",
    ]


def test_a_list_of_another_form_is_no_list_of_nothing():
    assert "its form or its place changed" in published.differences("keras==3.13.2", "<html>moved</html>")[0]


@pytest.mark.parametrize(("version", "code"), [("3.13.2", 0), ("3.14.0", 1)])
def test_a_difference_fails_the_comparison(version, code, tmp_path, monkeypatch, capsys):
    (tmp_path / "ours").write_text("keras==3.13.2\n")
    (tmp_path / "theirs").write_text(f"keras=={version}\n")
    monkeypatch.setattr(published, "OURS", tmp_path / "ours")
    assert published.main(str(tmp_path / "theirs")) == code
    assert ("Colab has 3.14.0" in capsys.readouterr().out) == bool(code)


def test_every_package_of_ours_is_pinned_to_one_version():
    lines = [line for line in published.OURS.read_text().splitlines() if not line.startswith("#")]
    assert len(published.versions("\n".join(lines))) == len(lines) > 5


def test_a_bare_chapter_fetches_the_repositorys_files_from_this_machine(tmp_path):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "record.json").write_text("{}")
    with bare.served(tmp_path) as mirror:
        kernel = bare.environment("https://example.org/owner/book", tmp_path, mirror, tmp_path)
        assert kernel["VATTN_MIRROR"].startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{kernel['VATTN_MIRROR']}/records/record.json", timeout=10) as answer:
            assert answer.read() == b"{}"
    assert Path(kernel["VATTN_CACHE"]).parent == tmp_path
