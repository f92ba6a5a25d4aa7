"""Each check passes a sound page, and finds in a small broken one the one thing that is wrong, and names it."""

import os
from pathlib import Path

import pytest

from . import checks
from .test_pages import VIEWS, staleness
from .visits import DESK, PHONE, executable, served, visited

ROOT = Path(__file__).parents[2]
DOT = "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"
SOUND = """<!DOCTYPE html><html lang="en"><head><title>A page</title><link rel="icon" href="data:,">
<meta name="viewport" content="width=device-width"></head><body><main>
<h1 id="top">A page</h1><p>A <a href="#top">link</a>, and <a href="https://example.org/">another</a> that nobody follows
here.</p><img src="dot.svg" alt="a dot"><div style="overflow-x: auto" tabindex="0">
<table style="width: 900px"><tr><td>wide, in its own box</td></tr></table></div>
<pre><span class="k">def</span> <span class="k">return</span></pre></main></body></html>"""

MATHJAX = '<script src="mathjax/tex-mml-chtml.js"></script>'


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with the book's MathJax and a picture, and the address where it is served."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "dot.svg").write_text(DOT)
    (folder / "mathjax").symlink_to(ROOT / "book" / "_static" / "mathjax")
    with served(folder) as address:
        yield folder, address


@pytest.fixture
def found(browser, site):
    """A function: what a check finds in the sound page once `extra` is put into it."""
    folder, address = site

    def found(check, extra, theme="light", width=DESK, page="page.html"):
        (folder / page).write_text(SOUND.replace("</main>", f"{extra}</main>"), encoding="utf-8")
        checks.anchors.cache_clear()
        with visited(browser, f"{address}/{page}") as visit:
            visit.look(theme, width)
            return check(visit, folder) if check is checks.dead_links else check(visit)

    return found


@pytest.mark.parametrize(("theme", "width"), VIEWS)
def test_sound_page_passes(found, theme, width):
    def everything(*opened):
        some = [checks.requests_to_others, checks.complaints, checks.blind_images, checks.unset_maths]
        some += [checks.overhang, checks.barriers]
        return [problem for check in some for problem in check(*opened)]

    assert found(everything, MATHJAX + '<span class="math">\\(x^2\\)</span>', theme, width) == []


@pytest.mark.parametrize(
    "extra",
    [
        '<img src="https://cdn.example.org/a.png" alt="a badge">',
        '<script src="//cdn.example.org/a.js"></script>',
        '<style>@import "https://cdn.example.org/font.css";</style>',
        "<script>fetch('https://cdn.example.org/count').catch(() => {})</script>",
        "<script>new WebSocket('wss://cdn.example.org/')</script>",
        "<script>setTimeout(() => navigator.sendBeacon('https://cdn.example.org/'))</script>",
    ],
)
def test_request_to_another_host_is_found_and_named(found, extra):
    (problem,) = found(checks.requests_to_others, extra)
    assert "asks cdn.example.org for " in problem


def test_the_network_is_cut(found):
    problems = found(checks.complaints, '<img src="https://example.org/a.png" alt="a badge">')
    assert any("https://example.org/a.png (net::ERR_NAME_NOT_RESOLVED)" in problem for problem in problems)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("<script>console.error('lost')</script>", "the console says error: lost"),
        ("<script>console.warn('odd')</script>", "the console says warning: odd"),
        ("<script>undefined.name</script>", "the console says uncaught Cannot read properties of undefined"),
        ('<link rel="stylesheet" href="no.css">', "a request failed: http://127.0.0.1"),
    ],
)
def test_complaint_is_found(found, extra, words):
    assert words in "\n".join(found(checks.complaints, extra))


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ('<img src="dot.svg">', "has no alt text"),
        ('<img src="dot.svg" alt=" ">', "has no alt text"),
        ('<img src="no.png" alt="a map">', "the image 'no.png' did not load"),
        ('<img src="mathjax/LICENSE" alt="a map">', "the image 'mathjax/LICENSE' did not load"),
        ('<details><img src="no.png" alt="a map"></details>', "the image 'no.png' did not load"),
    ],
)
def test_blind_image_is_found(found, extra, words):
    (problem,) = found(checks.blind_images, extra)
    assert words in problem


def test_image_far_down_that_loads_late_is_no_blind_one(found):
    extra = '<p style="height: 20000px"></p><img loading="lazy" src="dot.svg" alt="a dot">'
    assert found(checks.blind_images, extra) == []


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ('<span class="math">x^2</span>', "MathJax did not set 'x^2'"),
        ('<span class="math">\\(\\frac{1}\\)</span>', "MathJax cannot read"),
        ('<span class="math">\\(\\nosuchmacro\\)</span>', "MathJax cannot read"),
        ("<p>of $N^2$ weights</p>", "'$N^2$' stands on the page as it was typed"),
    ],
)
def test_unset_equation_is_found(found, extra, words):
    assert words in "\n".join(found(checks.unset_maths, MATHJAX + extra))


def test_dollars_in_code_are_no_equation(found):
    assert found(checks.unset_maths, MATHJAX + "<pre>echo $A and $B</pre><p><code>$A$</code></p>") == []


@pytest.mark.parametrize(
    ("extra", "rule"),
    [
        ('<p style="color: #bbb; background: #fff">faint</p>', "color-contrast"),
        ("<button></button>", "button-name"),
        ('<a href="#top"><img src="dot.svg"></a>', "link-name"),
        ('<div style="width: 90px; overflow-x: auto"><pre>' + 60 * "w" + "</pre></div>", "scrollable-region-focusable"),
        ('<details><p style="color: #bbb; background: #fff">faint</p></details>', "color-contrast"),
    ],
)
def test_barrier_is_found(found, extra, rule):
    assert rule in "\n".join(found(checks.barriers, extra))


def test_what_is_faint_in_one_theme_only_is_found_there(found):
    extra = "<style>@media (prefers-color-scheme: dark) { p { color: #bbb } }</style>"
    assert found(checks.barriers, extra) == []
    assert "color-contrast" in found(checks.barriers, extra, theme="dark")[0]


def test_faint_code_is_found_behind_other_code_of_its_class(found):
    faint = '<pre style="background: #999"><span class="k">def</span> <span class="k">return</span></pre>'
    (problem,) = found(checks.barriers, f'<style>.k {{ color: #555 }}</style><p></p><div class="d">{faint}</div>')
    assert "color-contrast" in problem


def test_one_faint_text_among_many_like_it_is_found(found):
    many = "".join(f"<tr><td>number {row}</td></tr>" for row in range(9))
    faint = "tr:nth-child(7) td { color: #bbb; background: #fff }"
    assert found(checks.barriers, f"<table>{many}</table>") == []
    (problem,) = found(checks.barriers, f"<style>{faint}</style><table>{many}</table>")
    assert "color-contrast" in problem
    assert "1 elements" in problem


def test_wide_table_is_found_on_a_phone_and_named(found):
    table = '<table class="wide" style="width: 700px"><tr><td>nine columns</td></tr></table>'
    assert found(checks.overhang, table) == []
    (problem,) = found(checks.overhang, table, width=PHONE)
    assert '<table class="wide"' in problem
    assert "in a window of 360 px, 'nine columns'" in problem


def test_what_a_page_cuts_off_is_found_too(found):
    table = '<style>html, body { overflow-x: hidden }</style><table style="width: 700px"><tr><td>cut</td></tr></table>'
    assert "'cut'" in found(checks.overhang, table, width=PHONE)[0]


def test_long_word_is_found_on_a_phone_and_named(found):
    assert "'wwww" in found(checks.overhang, f"<p>{80 * 'w'}</p>", width=PHONE)[0]


def test_page_that_scrolls_for_no_element_is_found_too(found):
    extra = f"<style>h1::after {{ content: '{80 * 'w'}' }}</style>"
    (problem,) = found(checks.overhang, extra, width=PHONE)
    assert problem.startswith("the page is ")


def test_drawer_beside_the_window_is_no_overhang(found):
    assert found(checks.overhang, '<div style="position: fixed; left: 100%">a drawer</div>', width=PHONE) == []


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ('<a href="no.html">on</a>', "the link 'no.html' leads to no file"),
        ('<a href="#no">down</a>', "the link '#no' leads to no element of page.html"),
        ('<a href="page.html#no">down</a>', "the link 'page.html#no' leads to no element of page.html"),
    ],
)
def test_dead_link_is_found(found, extra, words):
    assert found(checks.dead_links, extra) == [words]


def test_living_links_are_not_found(found):
    assert found(checks.dead_links, '<a href="page.html?q=1#top">up</a> <a href="#">up</a>') == []


@pytest.fixture
def book(tmp_path):
    """A built book of one page, a second younger than its sources: (html, root)."""
    for folder in ("html/book", "book/_ext"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/index\n")
    (tmp_path / "_config.yml").write_text("title: a book\n")
    (tmp_path / "book" / "index.md").write_text("# A book\n")
    for source in (path for path in tmp_path.rglob("*") if path.is_file()):
        os.utime(source, (1000, 1000))
    (tmp_path / "html" / "book" / "index.html").write_text("<h1>A book</h1>")
    os.utime(tmp_path / "html" / "book" / "index.html", (1001, 1001))
    return tmp_path / "html", tmp_path


def test_book_of_today_is_not_stale(book):
    assert staleness(*book) is None


def test_missing_page_is_noticed(book):
    (book[0] / "book" / "index.html").unlink()
    assert staleness(*book) == "book/index.html is not built; run `make book`"


@pytest.mark.parametrize("source", ["book/index.md", "_config.yml", "_toc.yml"])
def test_book_older_than_a_source_is_noticed(book, source):
    os.utime(book[1] / source, (1002, 1002))
    assert staleness(*book) == f"the built book is older than {source}; run `make book`"


def test_named_browser_that_is_none_is_an_error(monkeypatch):
    monkeypatch.setenv("CHROMIUM", "/no/such/chromium")
    with pytest.raises(FileNotFoundError, match="CHROMIUM=/no/such/chromium is not a program; name an installed"):
        executable()


def test_no_browser_is_none(monkeypatch):
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", "")
    assert executable() is None
