"""Links within the book lead somewhere; links to other hosts are asked, and only a dead one is told."""

import http.server
import threading

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from bookproof.__main__ import main
from bookproof.checks import links


@pytest.fixture
def folder(tmp_path):
    cells = [
        new_markdown_cell("# The memory, again\n\n```\n# no heading\n```\n"),
        new_markdown_cell("(here)=\ntext"),
        new_code_cell("draw()", metadata={"tags": ["figure-heads"]}),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "eanet.ipynb")
    return tmp_path


def page(folder, text):
    path = folder / "page.md"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "target",
    [
        "eanet.ipynb",
        "eanet.ipynb#the-memory-again",
        "eanet.ipynb#here",
        "eanet.ipynb#figure-heads",
        "#own",
        "https://example.org/x",
    ],
)
def test_a_link_that_leads_somewhere_is_let_through(folder, target):
    assert links.broken([page(folder, f"# Own\n\n[text]({target})\n")]) == []


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("eanett.ipynb", "page.md: 'eanett.ipynb' leads to no file"),
        ("eanet.ipynb#memory", "leads to no heading; eanet.ipynb has figure-heads, here, the-memory-again"),
        ("eanet.ipynb#no-heading", "leads to no heading"),
        ("#own", "leads to no heading"),
    ],
)
def test_a_link_that_leads_nowhere_is_told(folder, target, complaint):
    (found,) = links.broken([page(folder, f"[text]({target})\n")])
    assert complaint in found


def test_code_and_formulas_hold_no_links(folder):
    text = "`[a](b)` and $[\\mathrm{LN}](x)$ and\n```\n[a](b)\n```\n[![pic](a.png)](https://example.org/y)"
    assert [link.target for link in links.links(page(folder, text)) if link.external] == ["https://example.org/y"]


def test_links_are_read_from_notebooks_and_bibliographies(folder):
    (folder / "references.bib").write_text("@article{x,\n  url = {https://arxiv.org/abs/1},\n}\n")
    nbformat.write(new_notebook(cells=[new_markdown_cell("see <https://example.org>")]), folder / "x.ipynb")
    (found,) = links.links(folder / "references.bib")
    assert (found.target, found.external) == ("https://arxiv.org/abs/1", True)
    (found,) = links.links(folder / "x.ipynb")
    assert (found.where, found.target) == ("x.ipynb, cell 1", "https://example.org")


@pytest.fixture
def host():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(int(self.path.strip("/")))
            self.end_headers()

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_only_dead_addresses_are_told(host, monkeypatch):
    monkeypatch.setattr(links, "TIMEOUT", 2)
    asked = [f"{host}/{status}" for status in (200, 204, 403, 404, 500)] + ["http://127.0.0.1:1/"]
    found = links.dead(asked)
    assert {address.removeprefix(host): reason for address, reason in found.items()}.keys() == {
        "/404",
        "/500",
        "http://127.0.0.1:1/",
    }
    assert found[f"{host}/404"] == "status 404"


def test_the_command_names_the_place_of_a_dead_address(host, book, capsys):
    (book.root / "book" / "index.md").write_text(f"[a]({host}/200) and [b]({host}/404#x)\n")
    assert main(["--root", str(book.root), "check", "--external"]) == 1
    assert capsys.readouterr().out == f"index.md: {host}/404: status 404\n"


def test_pages_readme_and_bibliographies_are_looked_through(book):
    for name in ("README.md", "a.bib"):
        (book.root / name).write_text("")
    (book.root / "_config.yml").write_text("bibtex_bibfiles: [a.bib]\n")
    assert [path.name for path in links.sources(book)] == ["index.md", "README.md", "a.bib"]
