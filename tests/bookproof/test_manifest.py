"""Files that came from elsewhere are as they came: what changed, came or went is named."""

import subprocess

import pytest

from bookproof import manifest
from bookproof.__main__ import main
from bookproof.book import Book
from bookproof.config import ConfigError


@pytest.fixture
def sealed(book):
    """The book with a library of two files that nobody edits."""
    library = book.root / "library" / "fonts"
    library.mkdir(parents=True)
    (library.parent / "code.js").write_text("run()")
    (library / "a.woff").write_bytes(b"\x00\x01")
    settings = (book.root / "pyproject.toml").read_text().replace("data =", 'sealed = ["library"]\ndata =')
    (book.root / "pyproject.toml").write_text(settings)
    assert main(["--root", str(book.root), "manifest"]) == 0
    return Book(book.root)


def test_what_nobody_touched_is_whole(sealed):
    assert manifest.problems(sealed) == []
    checked = subprocess.run(["sha256sum", "--check", "--quiet", manifest.FILE], cwd=sealed.root, check=False)
    assert checked.returncode == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "code.js").write_text("run(99.3)"), "library/code.js: not as it stands in"),
        (lambda folder: (folder / "new.js").write_text(""), "library/new.js: not in"),
        (lambda folder: (folder / "fonts" / "a.woff").unlink(), "library/fonts/a.woff: gone, but in"),
    ],
    ids=["changed", "new", "gone"],
)
def test_a_file_that_changed_came_or_went_is_named_with_the_way_out(sealed, capsys, change, said):
    change(sealed.root / "library")
    assert main(["--root", str(sealed.root), "check", "--only", "manifest"]) == 1
    printed = capsys.readouterr().out
    assert said in printed
    assert "run `bookproof manifest` and commit" in printed


def test_a_sealed_file_that_does_not_exist_is_a_wrong_setting(sealed):
    settings = (sealed.root / "pyproject.toml").read_text().replace('["library"]', '["libary"]')
    (sealed.root / "pyproject.toml").write_text(settings)
    with pytest.raises(ConfigError, match="sealed names 'libary', which does not exist"):
        Book(sealed.root).settings  # noqa: B018
