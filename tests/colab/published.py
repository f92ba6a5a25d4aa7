"""Whether `packages.txt` is still what Colab has, as far as Google publishes it.

    python published.py [LIST]

compares it with LIST, the file or the address of what `pip freeze` prints in Colab, and prints a line for each package
that differs. It exits with 1 if there is one. Nothing but Python is needed.
"""

import re
import sys
import urllib.request
from pathlib import Path

OURS = Path(__file__).with_name("packages.txt")
LIST = "https://raw.githubusercontent.com/googlecolab/backend-info/main/pip-freeze.txt"
SECONDS = 60


def versions(text):
    """{name: version} of the lines `name==version` of `pip freeze`, names as pip compares them.

    A package that was installed from an address has no version there, and stands for nothing here.
    """
    found = (re.fullmatch(r"([\w.-]+)==([^\s;+]+)\S*", line.strip()) for line in text.splitlines())
    return {re.sub(r"[-_.]+", "-", match[1]).lower(): match[2] for match in found if match}


def differences(ours, theirs):
    """A line for each package of `ours` that `theirs`, the other text, has in another version or not at all."""
    wanted, there = versions(ours), versions(theirs)
    if not there:
        return ["the list that is published holds no line `name==version`; see whether its form or its place changed"]
    return [
        f"{name}: Colab has {there.get(name, 'none')}, tests/colab/packages.txt has {version}"
        for name, version in wanted.items()
        if there.get(name) != version
    ]


def main(source=LIST):
    if source.startswith("https://"):
        with urllib.request.urlopen(source, timeout=SECONDS) as answer:
            theirs = answer.read().decode()
    else:
        theirs = Path(source).read_text(encoding="utf-8")
    found = differences(OURS.read_text(encoding="utf-8"), theirs)
    print(*found or ["Colab has what tests/colab/packages.txt says."], sep="\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
