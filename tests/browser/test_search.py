"""The search of the built book: sections while one types, under any of their names, and the words marked there."""

from pathlib import Path

import pytest

from .visits import DESK, PHONE, served

BUILT = Path(__file__).parents[2] / "_build" / "html"
INDEX = "search-index.js"
SYNONYMS = {"saliency": "attention map", "Heatmap": "attention map", "FLOPs": "multiply-add", "CLS": "class token"}


@pytest.fixture(scope="module")
def address():
    with served(BUILT) as address:
        yield address


@pytest.fixture
def page(browser, address):
    """The front page on a desk, with the addresses that it asked for and what it logged."""
    page = browser.new_page(viewport={"width": DESK, "height": 844})
    page.asked, page.wrong = [], []
    page.on("request", lambda sent: page.asked.append(sent.url))
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("console", lambda said: page.wrong.append(said.text) if said.type in ("error", "warning") else None)
    page.goto(f"{address}/book/index.html", wait_until="load")
    yield page
    page.close()
    assert page.wrong == []


def look_for(page, words):
    """Open the search as a reader does, by its keys, and type; the links to what was found."""
    if not page.locator("#pst-search-dialog").evaluate("window => window.open"):
        page.keyboard.press("Control+k")
    page.locator("#pst-search-dialog input").fill(words)
    page.locator("#pst-search-dialog [role=status]", has_text="section").or_(
        page.locator("#pst-search-dialog [role=status]", has_text="No section")
    ).wait_for()
    return page.locator("#pst-search-dialog .search-found li a")


def test_the_index_is_asked_for_when_somebody_searches_and_not_before(page):
    assert not any(INDEX in asked for asked in page.asked)
    look_for(page, "rollout")
    assert sum(INDEX in asked for asked in page.asked) == 1


def test_what_others_call_otherwise_is_found_under_its_name_here(page):
    for asked, named in SYNONYMS.items():
        marked = look_for(page, asked).locator("mark").all_inner_texts()
        assert named in {text.lower() for text in marked}, asked
    first = look_for(page, "saliency").first.locator("strong")
    assert first.inner_text() == "Attention map"  # what the glossary says of it


def test_a_result_is_a_section_and_leads_to_it_with_the_word_marked(page):
    link = look_for(page, "squeeze and excite").first
    assert link.locator("strong").inner_text() == "Squeeze and excite"
    link.click()
    page.wait_for_url("**/patch_convnet.html?*#squeeze-and-excite")
    section = page.locator("section#squeeze-and-excite")
    assert section.locator("mark").count() >= 3
    assert page.locator("article mark").count() == section.locator("mark").count()
    top = section.locator("h3").evaluate("heading => heading.getBoundingClientRect().top")
    assert 0 <= top < 300


def test_code_is_not_searched(page):
    assert look_for(page, "assert np.allclose").count() == 0
    assert look_for(page, "constructor __proto__").count() == 0


def test_arrows_and_enter_lead_to_a_result(page):
    links = look_for(page, "memory slot")
    page.keyboard.press("ArrowDown")
    assert links.first.evaluate("link => link === document.activeElement")
    page.keyboard.press("ArrowUp")
    assert page.locator("#pst-search-dialog input").evaluate("input => input === document.activeElement")
    page.keyboard.press("ArrowDown")
    target = links.first.get_attribute("href").rpartition("#")[2]
    page.keyboard.press("Enter")
    page.wait_for_url(f"**#{target}")


def test_enter_on_the_words_shows_all_that_was_found_on_a_page(page):
    shown = look_for(page, "attention").count()
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=attention")
    page.locator("article li a").nth(shown).wait_for()
    assert page.title() == "Search — Attention in Vision"


def test_results_fit_a_phone(page):
    page.set_viewport_size({"width": PHONE, "height": 844})
    look_for(page, "attention map").first.wait_for()
    wide = page.locator("#pst-search-dialog *").evaluate_all(
        "all => all.filter(it => it.getBoundingClientRect().right > window.innerWidth).length"
    )
    assert wide == 0


def test_the_search_works_from_a_folder_too(browser):
    page = browser.new_page()
    page.goto((BUILT / "book" / "vit.html").as_uri(), wait_until="load")
    assert look_for(page, "double normalisation").count() > 0
    page.close()
