"""The repository's address stands in `_config.yml`, as `repository: url:`, and nowhere else by hand.

A chapter opened in Colab is a bare notebook, so its first cell must hold the address too: `%pip install git+ADDRESS`.
`python -m verification.address` writes the address of `_config.yml` into every chapter. A fork changes `_config.yml`,
runs it, and is done; `verification.hygiene` fails a notebook that still names another address.
"""

import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
ADDRESS = re.compile(r"https://[\w.-]+(/[\w.-]+){2,}")
# As it stands in a cell and, to the letter, in the notebook's file.
INSTALL = re.compile(r"""([%!]pip install\b[^\n]*?\bgit\+)([^\s"'\\]+)""")


class AddressError(ValueError):
    """`_config.yml` holds no address that pip could install from."""


def repository(root: Path = ROOT) -> str:
    """The address in `_config.yml` under `root`, for example "https://github.com/someone/attention-in-vision".

    Raises AddressError if there is none, or if it is not an https address of an owner's repository.
    """
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    found = ((config or {}).get("repository") or {}).get("url")
    if not (isinstance(found, str) and ADDRESS.fullmatch(found)):
        raise AddressError(f"_config.yml: repository url is {found!r}; write https://HOST/OWNER/NAME")
    return found


def installed(notebook) -> list[tuple[int, str]]:
    """The addresses that a notebook installs from, each with the position of its cell among all cells, from 1."""
    return [
        (number, found[2])
        for number, cell in enumerate(notebook.cells, 1)
        if cell.cell_type == "code"
        for found in INSTALL.finditer(cell.source)
    ]


def write(path: Path, address: str) -> bool:
    """Let the notebook at `path` install from `address`, and change no other byte. True if there was need."""
    text = path.read_text(encoding="utf-8")
    changed = INSTALL.sub(lambda found: found[1] + address, text)
    if changed == text:
        return False
    path.write_text(changed, encoding="utf-8")
    return True


def main(root: Path = ROOT) -> int:
    try:
        address = repository(root)
    except AddressError as error:
        print(error, file=sys.stderr)
        return 1
    changed = [path.name for path in sorted((root / "book").glob("*.ipynb")) if write(path, address)]
    print(f"{address}: {', '.join(changed) or 'every chapter has it already'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
