"""A Sphinx extension: every page says of which version and commit it is, so that a reader can name what they read.

The version is the package's beside the book; the commit is asked of git. Where there is none, as in an archive, the
version stands alone. Nothing else is said, no date and no host: the same sources give the same pages.
"""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

from bookproof.book import TOC
from bookproof.config import FILE

VERSION = re.compile(r'^__version__ = "([^"]+)"', re.MULTILINE)


def version(root: Path) -> str:
    """The version in the pyproject.toml of `root`, or in the file that it names for Hatch; "" if it has none."""
    path = root / FILE
    table = tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    named = table.get("tool", {}).get("hatch", {}).get("version", {}).get("path")
    found = VERSION.search((root / named).read_text(encoding="utf-8")) if named else None
    return found[1] if found else str(table.get("project", {}).get("version", ""))


def commit(root: Path) -> str:
    """The commit that the book is built from, with "and changes" if files differ from it; "" where git knows none.

    A repository that holds `root` and not its table of contents is somebody else's.
    """
    try:
        if git(root, "ls-files", "--error-unmatch", TOC) is None:
            return ""
        found, changed = git(root, "rev-parse", "--short=12", "HEAD"), git(root, "status", "--porcelain", "-uno")
    except OSError:  # no git here, or no processes at all
        return ""
    return f"commit {found}{' and changes' if changed else ''}" if found else ""


def git(root: Path, *arguments: str) -> str | None:
    """What git says of the repository around `root`, None if it refuses."""
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    return None if done.returncode else done.stdout.strip()


def say_what_is_built(app: Any, config: Any) -> None:
    root = Path(app.srcdir)
    known = version(root)
    said = ", ".join(filter(None, [f"version {known}" if known else "", commit(root)]))
    if said:
        config.html_theme_options["extra_footer"] = f'<p class="colophon">{said[0].upper()}{said[1:]}</p>'


def setup(app: Any) -> dict[str, Any]:
    app.connect("config-inited", say_what_is_built)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
