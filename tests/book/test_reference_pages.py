"""The pages around the chapters are whole: all that the package offers, all sources that are linked, one notation."""

import ast
import re
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from pybtex.database import parse_file

from bookproof.sphinx.citations import address

ROOT = Path(__file__).parents[2]
BUILT = ROOT / "_build" / "html" / "book"
STATIONS = ("data", "models", "training", "maps", "show", "audit", "cost", "publish", "statistics")
PAGES = sorted((ROOT / "book").glob("*.ipynb")) + sorted((ROOT / "book").glob("*.md"))
PAPER = re.compile(r"https://arxiv\.org/abs/[\d.]+|https://keras\.io/examples/vision/\w+/")


def prose(path):
    """The Markdown of a page: its text, or that of its Markdown cells."""
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def promised():
    """The public functions and classes that say what their arguments are, as the page calls them."""
    for path in sorted((ROOT / "vattn_utils").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        module = ".".join(part for part in parts if part != "__init__")
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if public and parts[1] in STATIONS and "Args:" in (ast.get_docstring(node) or ""):
                yield f"{module}.{node.name}"


# What a chapter lists or calls, and what says nothing of arguments because it has hardly any.
USED = {
    *(
        "models.vit.ViT",
        "models.patch_convnet.SqueezeExcite",
        "models.eanet.double_normalise",
    ),
    *("training.records.load", "training.records.measured", "maps.attention.distances", "cost.counts.multiply_adds"),
}


def test_what_says_its_arguments_and_what_a_chapter_uses_is_on_the_page_of_the_package():
    page = BeautifulSoup((BUILT / "api.html").read_text(encoding="utf-8"), "html.parser")
    there = {element["id"] for element in page.select("dt[id]")}
    expected = {*promised(), *(f"vattn_utils.{name}" for name in USED)}
    assert len(expected) > 50
    assert expected - there == set()


def test_every_station_has_its_section():
    assert re.findall(r"^## (\w+)$", prose(ROOT / "book" / "api.md"), re.MULTILINE) == list(STATIONS)


@pytest.fixture(scope="module")
def entries():
    """The addresses of the bibliography's entries."""
    known = parse_file(ROOT / "book" / "references.bib", "bibtex").entries.values()
    return {address(entry.fields["url"]) for entry in known}


def test_every_paper_that_a_page_links_to_is_in_the_bibliography(entries):
    linked = {address(url) for path in PAGES for url in PAPER.findall(prose(path))}
    assert linked - entries == set()


def test_every_entry_of_the_bibliography_is_linked_from_a_page(entries):
    linked = {address(url) for path in PAGES for url in re.findall(r"\]\((https?://[^)\s]+)\)", prose(path))}
    assert entries - linked == set()


def test_a_reader_sees_the_source_that_a_link_leads_to():
    page = BeautifulSoup((BUILT / "faithfulness.html").read_text(encoding="utf-8"), "html.parser")
    titles = [link["title"] for link in page.select("article a.cited")]
    assert any("Attention is not Explanation" in title for title in titles)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_letters_of_sizes_mean_one_thing(path):
    """The root of attention's scores is of a head's width; a slot, and nothing else, is counted by S."""
    formulas = re.findall(r"\$\$.*?\$\$|\$[^$\n]+\$", prose(path), re.DOTALL)
    assert [it for it in formulas if re.search(r"\\sqrt\s*\{?d\}?(?!_)|M_k.*\(d \\times S|U S V", it)] == []


@pytest.mark.parametrize("path", [path for path in PAGES if path.stem != "notation"], ids=lambda path: path.stem)
def test_a_page_that_writes_formulas_leads_to_their_letters(path):
    assert not re.search(r"\$\$|\\(?:sqrt|frac|cdot)", prose(path)) or "](notation.md" in prose(path)


@pytest.mark.parametrize("page", ["api", "notation", "errata", "vit", "index"])
def test_every_page_says_its_version_and_has_one_title(page):
    soup = BeautifulSoup((BUILT / f"{page}.html").read_text(encoding="utf-8"), "html.parser")
    version = re.search(r'__version__ = "(.+)"', (ROOT / "vattn_utils" / "__init__.py").read_text(encoding="utf-8"))[1]
    assert version in soup.select_one(".colophon").get_text()
    (title,) = soup.find_all("title")
    assert title.get_text().count("Attention in Vision") == 1
    assert soup.find("meta", {"name": "description"})["content"]
    assert soup.find("meta", {"property": "og:image"})["content"].startswith("https://")
