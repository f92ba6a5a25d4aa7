"""Attention side by side: what the page holds is what was given, and its picture on paper draws the same."""

import base64
import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest

from vattn_utils.show.side_by_side import DIM, Panel, lit, side_by_side

DRAW = np.random.default_rng(0)
PHOTOGRAPHS = DRAW.integers(0, 256, (2, 24, 24, 3))


def panel(rows=4, title="Self", **changed):
    given = dict(maps=DRAW.random((2, rows, 4)), shares=DRAW.random((2, 4)), said="looks: {share}") | changed
    return Panel(title, **given)


def made(*panels, names=("one", "two"), opens=2):
    page = side_by_side(PHOTOGRAPHS, names, panels, opens, "See\n  it.", "Squares.")
    plt.close(page.still)
    return page


def test_the_page_holds_each_map_to_half_a_level_of_its_maximum():
    panels = panel(), panel(rows=1, title="Pooling")
    html = made(*panels).html
    told = json.loads(re.search(r'class="vs-told">([^<]*)<', html)[1])
    assert (told["edge"], told["opens"], told["names"]) == (2, 2, ["one", "two"])
    blocks = {
        kind: re.findall(f'class="vs-{kind}" data-fingerprinted>([^<]*)<', html) for kind in ("photograph", "map")
    }
    assert len(blocks["photograph"]) == 2
    for given, written, block in zip(panels, told["panels"], blocks["map"], strict=True):
        levels = np.frombuffer(base64.b64decode(block), "uint8").reshape(given.maps.shape)
        assert np.abs(levels / 255 - given.maps / given.maps.max(axis=-1, keepdims=True)).max() <= 0.5001 / 255
        assert np.allclose(written["shares"], given.shares, atol=5.1e-5)
    assert "{{" not in html


def test_a_title_is_text_on_the_page_and_on_paper_whatever_stands_in_it():
    title = "<b>Self</b> & $x$"
    page = side_by_side(PHOTOGRAPHS, ("one", "two"), [panel(title=title)], 2, "See.", "Squares.")
    assert "<b>" not in page.html
    assert "&lt;b&gt;Self&lt;/b&gt; &amp; $x$: the same photograph" in page.html
    assert page.text.startswith(title)
    assert not page.still.axes[0].title.get_parse_math()
    plt.close(page.still)


def test_what_is_verified_is_all_that_the_page_draws():
    first = panel()
    page = made(first)
    assert np.array_equal(page.arrays["photographs"], PHOTOGRAPHS)
    assert page.arrays["maps"][0] is first.maps
    assert page.arrays["shares"][0] is first.shares
    assert page.caption == "See it."


def test_the_still_marks_the_patch_that_asks_and_lights_its_map():
    first = panel()
    page = side_by_side(PHOTOGRAPHS, ("one", "two"), [first, panel(rows=1)], 2, "See.", "Squares.")
    left, _ = page.still.axes
    assert np.array_equal(left.images[0].get_array(), lit(PHOTOGRAPHS[0], first.maps[0, 2].reshape(2, 2)))
    assert left.lines[0].get_xydata().tolist() == [[0, 1]]
    plt.close(page.still)


def test_a_photograph_is_as_bright_as_it_was_where_the_map_is_highest_and_dim_where_it_is_nothing():
    shown = lit(np.full((8, 8, 3), 200.0), np.array([[1.0, 0], [0, 0]]))
    assert shown.max() == 200
    assert shown.min() == round(200 * DIM)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (dict(panels=[panel(rows=3)]), r"Self: maps of shape \(2, 3, 4\) do not fit 2 photographs of 2 x 2 patches"),
        (dict(panels=[panel(shares=np.zeros((2, 3)))]), r"Self: shares of shape \(2, 3\); give \(2, 4\)"),
        (dict(panels=[panel(maps=np.zeros((2, 1, 4)))]), "a map is nowhere above 0"),
        (dict(panels=[panel()], names=("one",)), "1 names for 2 photographs"),
        (dict(panels=[panel()], opens=4), "opens=4 of 4 patches"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(given, complaint):
    with pytest.raises(ValueError, match=complaint):
        made(*given.pop("panels"), **given)
