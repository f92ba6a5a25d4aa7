"""Numbers that claim a result must be computed: none may be typed into prose.

Prose is what stands in Markdown cells and pages (their mathematics, inline code, listings, captions and HTML included),
in the README, the bibliography and the titles of the configuration, and what code cells show as it stands there: by
`say`, `figure`, `print`, a plot's labels, or as the last line of a cell. A number typed into a cell and put into braces
is typed all the same. A claim is a percentage, a share ("993 of 1000", "nine times out of ten"), an accuracy, how many
times faster something is, a number of parameters, or of time. "Three kinds" and "two commands" claim nothing.

What others published is quoted with its source: in one table a chapter, under a heading cell with the word "quoted", a
link in every row; or in a line of prose that cites it, with the role `{cite}`.
"""

import html
import re
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import nbformat

from bookproof.book import CONFIG, TOC, Book, ChapterError, read_yaml
from bookproof.checks.spoken import spoken, typed
from bookproof.notebooks import PARAMETERS, code_cells, tags

NUMBER = r"(?<![\w.,-])\d+(?:,\d{3})*(?:\.\d+)?"
_WORD = (
    "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|"
    "nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand"
)
WORDS = rf"\b(?:{_WORD})(?:[- ](?:and )?(?:{_WORD}))*"
ANY = rf"(?:{NUMBER}|{WORDS})"
SCORE = r"\b(?:top-[15]|accura\w+|AUC|correlat\w+)\b"
DECIMAL = r"(?<![\w.,-])0?\.\d"
LEVEL = r"(?! (?:confidence )?(?:intervals?|level)\b)"  # of confidence, which is chosen and no result
BETTER = r"(?:faster|slower|quicker|cheaper|better|worse)\b"
SHARES = rf"{NUMBER} (?:out )?of (?:the )?{NUMBER}|{WORDS} (?:times )?(?:out of|in) (?:{WORDS}|{NUMBER})\b"
# What says how good something is: no such number may escape comparison either.
RESULTS = {
    "a percentage": re.compile(rf"{ANY}\s*(?:%|per ?cent\b){LEVEL}|{NUMBER} (?:percentage )?points?\b", re.IGNORECASE),
    "an accuracy": re.compile(rf"{SCORE}[^.;|…]{{0,20}}{DECIMAL}|{DECIMAL}\d*[^.;|…\d]{{0,20}}{SCORE}"),
    "a share": re.compile(rf"(?<!\bepoch )(?:{SHARES})", re.IGNORECASE),
    "a factor": re.compile(rf"{ANY}\s*(?:times|[x×]) (?:as good|{BETTER})|\d\.\d+ times\b", re.IGNORECASE),
}
CLAIMS = {
    **RESULTS,
    "a number of parameters": re.compile(rf"{NUMBER}\s*(?:k|M|million|thousand)?\s*(?:trainable )?parameters\b"),
    "a time": re.compile(rf"{NUMBER}\s*(?:ms|s|seconds?|min|minutes?|h|hours?)\b"),
}
CODE = r"```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$"  # and formulas
ADDRESS = re.compile(r"(?<=\])\([^)\s]*(?=[)\s])|https?://[^\s)>]+|<[a-zA-Z/!][^<>]*>")
# What stands between a number and its unit on the page, and is not seen there.
MARKUP = re.compile(r"\\(?:[a-zA-Z]+|(?=%)|[,;:! ])|[*`$~{}]|(?<!\w)_|_(?!\w)")
SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[^a-z\d])")
LINK = re.compile(r"\]\(https?://")
CITED = re.compile(r"\{cite(?::\w+)?\}`")
QUOTED = re.compile(r"\bquoted\b", re.IGNORECASE)


def claims(text: str) -> list[tuple[str, str]]:
    """The claims in a piece of Markdown that are not quoted, each as (kind, the sentence or the row it stands in)."""
    found: list[tuple[str, str]] = []
    quoting = row = False
    for line in sentences(text):
        heading, row = not row, line.startswith("|")
        quoting = row and bool(QUOTED.search(line) if heading else quoting)
        if (quoting and LINK.search(line)) or CITED.search(line):
            continue
        prose = read(line)
        found += [(kind, line) for kind, pattern in CLAIMS.items() if pattern.search(prose)][:1]
    return found


def sentences(text: str) -> Iterator[str]:
    """The sentences of a piece of Markdown, whichever lines they run over, and the rows of its tables; a blank line is
    one too, which ends a table."""
    for is_row, lines in groupby(text.split("\n"), lambda line: line.lstrip().startswith("|") or not line.strip()):
        stripped = [line.strip() for line in lines]
        yield from stripped if is_row else SENTENCE.split(" ".join(stripped))


def results(text: str) -> list[tuple[str, str]]:
    """What in an output says how good something is, each as (kind, the line it stands in)."""
    return [
        (kind, line.strip()) for line in text.split("\n") for kind, pattern in RESULTS.items() if pattern.search(line)
    ]


def read(text: str) -> str:
    """A piece of Markdown as it is read on the page: without addresses, markup, and signs not seen."""
    plain = unicodedata.normalize("NFKC", html.unescape(ADDRESS.sub("", text)))
    plain = "".join(sign for sign in plain if unicodedata.category(sign) != "Cf")
    return MARKUP.sub("", plain)


def quotation_tables(text: str) -> int:
    """How many tables in a piece of Markdown quote what others published."""
    lines = text.split("\n")
    rows = [line.lstrip().startswith("|") for line in lines]
    headers = [line for i, line in enumerate(lines) if rows[i] and not (i and rows[i - 1])]
    return sum(bool(QUOTED.search(line)) for line in headers)


def pieces(path: Path) -> list[tuple[str, str]]:
    """The prose of a file, a piece each with its place in words. Raises ChapterError for a cell that is not Python."""
    if path.name in (CONFIG, TOC):
        return [(path.name, text) for text in texts(read_yaml(path))]
    if path.suffix != ".ipynb":
        name = path.name if path.stem != "README" else f"{path.parent.name}/{path.name}"
        return [(name, path.read_text(encoding="utf-8"))]
    notebook = nbformat.read(path, as_version=4)
    markdown = [(n, cell.source) for n, cell in enumerate(notebook.cells, 1) if cell.cell_type == "markdown"]
    code = code_cells(notebook)
    constants = typed([(n, cell.source) for n, cell in code if PARAMETERS not in tags(cell)])
    said = [(n, text) for n, cell in code for text in spoken(cell.source, n, constants)]
    return [(f"{path.name}, cell {n}", text) for n, text in sorted(markdown + said)]


def texts(value: Any) -> Iterator[str]:
    """Every text in what YAML holds, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from texts(inner)


def problems(path: Path) -> list[str]:
    """Every unquoted claim in a notebook, a page or another file of prose, a sentence each, with the way out."""
    try:
        said = pieces(path)
    except ChapterError as error:
        return [f"{path.name}, {error}"]
    found = [
        f"{where}: {kind} is typed into prose: {line!r}; compute it in a code cell and show it with bookproof.say, "
        "or quote its source in the chapter's table of quotations"
        for where, text in said
        for kind, line in claims(text)
    ]
    tables = sum(quotation_tables(text) for _, text in said)
    if tables > 1:
        found.append(f"{path.name}: {tables} tables of quotations; join them, so that all of them stand in one place")
    return found


def sources(book: Book) -> list[Path]:
    """All files of the book that hold prose: its pages, READMEs, bibliographies, configuration and contents."""
    named: Iterable[str] = ("README.md", CONFIG, TOC, *(book.config().get("bibtex_bibfiles") or ()))
    notes = [f"{folder}/README.md" for folder in book.settings.data]
    return [*book.pages(), *(path for name in (*named, *notes) if (path := book.root / name).is_file())]
