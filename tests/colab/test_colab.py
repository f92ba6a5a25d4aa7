"""Every chapter runs in Colab, whatever versions Colab has, and changes none of them: see `bare.py`.

`pytest tests/colab` makes three environments that know nothing of the book: one with the oldest versions that
pyproject.toml admits, one with what Colab has today (`packages.txt`), one with the newest that there are. In today's
the chapters' numbers must hold too, where CIFAR is at hand. It takes an hour and gigabytes; `-k "today and vit"`
chooses. What is tested is what is committed, as a reader can get nothing else. Colab's Python is 3.13; where another
one runs the tests, the same packages are tried on that one.
"""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bookproof.book import Book
from tests.colab import published

BOOK = Book(Path(__file__).parents[2])
ROOT = BOOK.root

DEPENDENCIES = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
# What the chapters need, or meet, in Colab, and pyproject.toml does not name, as it is Colab's.
COLABS = ["scikit-image", "tensorboard", "pooch", "tqdm", "ipykernel", "nbclient"]
BOOKPROOF = tomllib.loads((ROOT / "bookproof" / "pyproject.toml").read_text())["project"]
VERSIONS = {
    # TensorFlow 2.18 is the first that came with Keras 3.8 out of the same months.
    "oldest": [dependency.replace(">=", "==") for dependency in DEPENDENCIES] + ["tensorflow==2.18.*", *COLABS],
    "today": ["--requirement", str(published.OURS), "pillow", "safetensors", *COLABS],
    "newest": [dependency.partition(">=")[0] for dependency in DEPENDENCIES] + ["tensorflow", *COLABS],
}
LAST_PYTHON_OF_OLDEST = (3, 12)  # TensorFlow 2.18 and NumPy 1.26 were built for no later one


def run(*command, **environment):
    """What a command prints; the test fails with all of it if the command does."""
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def remote(tmp_path_factory):
    """A clone of what is committed."""
    folder = tmp_path_factory.mktemp("remote")
    run("git", "clone", "--quiet", str(ROOT), str(folder))
    return folder


@pytest.fixture(scope="module", params=VERSIONS)
def python(request, tmp_path_factory):
    """The Python of an environment with these versions."""
    if request.param == "oldest" and sys.version_info[:2] > LAST_PYTHON_OF_OLDEST:
        pytest.skip("the oldest versions were not built for this Python; run it with 3.11 or 3.12")
    folder = tmp_path_factory.mktemp(request.param)
    run(sys.executable, "-m", "venv", str(folder))
    python = str(folder / "bin" / "python")
    run(python, "-m", "pip", "install", "--quiet", *VERSIONS[request.param])
    return python


def forget_the_book(python):
    """Take away what the chapter before installed."""
    run(python, "-m", "pip", "uninstall", "--quiet", "--yes", "vattn-utils", "bookproof")


@pytest.mark.parametrize("chapter", BOOK.chapters())
def test_a_bare_chapter_runs_and_changes_nothing_that_was_there(chapter, python, remote):
    forget_the_book(python)
    print(run(python, str(Path(__file__).parent / "bare.py"), str(remote / "book" / f"{chapter}.ipynb"), str(remote)))


@pytest.mark.parametrize("python", ["today"], indirect=True)
@pytest.mark.parametrize("chapter", BOOK.chapters())
def test_the_numbers_of_a_chapter_hold_in_what_colab_has_today(chapter, python):
    if BOOK.at_hand()[0] != BOOK.settings.published:
        pytest.skip("CIFAR is not at hand, and most numbers come from it")
    forget_the_book(python)
    extra = BOOKPROOF["optional-dependencies"]["verify"]
    run(python, "-m", "pip", "install", "--quiet", "--constraint", str(published.OURS), *extra)
    path = os.pathsep.join(map(str, (ROOT, ROOT / "bookproof" / "src")))
    verify = [python, "-m", "pytest", "-p", "bookproof.entry", "-p", "no:cacheprovider", "-q", "--nbval"]
    print(run(*verify, f"book/{chapter}.ipynb", PYTHONPATH=path, VATTN_PROFILE="published"))
