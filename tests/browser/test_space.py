"""The Space as any web server serves it: the page computes, in the light and in the dark, and asks no other host."""

import pytest

from vattn_utils.publish import hub, live, made, space

from . import checks
from .visits import DESK, PHONE, served, visited


@pytest.fixture(scope="module")
def opened(browser, tmp_path_factory):
    """The page in a folder below the server's root, as it is once all three models have answered."""
    if not made.fresh(made.FOLDER):
        live.export()
    folder = tmp_path_factory.mktemp("served")
    hub.write(folder / "space", space.files())
    with served(folder) as address, visited(browser, f"{address}/space/index.html") as visit:
        visit.page.wait_for_selector(".look[data-ready] [data-part=page][aria-busy=false]")
        yield visit


def test_all_three_models_answer(opened):
    for model in ("vit", "eanet", "patch_convnet"):
        bars = opened.page.locator(f".look-card[data-model={model}] .look-bars")
        assert " %" in bars.get_attribute("aria-label")


def test_it_asks_its_own_server_alone_and_nothing_fails(opened):
    assert checks.requests_to_others(opened) == []
    assert checks.complaints(opened) == []
    assert checks.blind_images(opened) == []


@pytest.mark.parametrize(("theme", "width"), [("light", DESK), ("dark", PHONE)])
def test_it_is_readable_by_day_and_night_on_a_desk_and_on_a_phone(opened, theme, width):
    opened.look(theme, width)
    assert checks.overhang(opened) == []
    assert checks.barriers(opened) == []
    assert opened.page.evaluate("document.documentElement.dataset.theme") == theme


def test_the_browser_refuses_every_other_host(opened):
    asked = "() => fetch('http://example.org/x').then(() => 'answered', error => error.message)"
    assert opened.page.evaluate(asked) == "Failed to fetch"
    assert "Content Security Policy" in " ".join(opened.logged)
