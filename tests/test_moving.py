"""The moving figures: which numbers their HTML holds, how it is verified, how large it is, and what is refused."""

import base64
import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hatchling.builders.wheel import WheelBuilder
from nbformat.v4 import new_output

from bookproof import fingerprint
from bookproof.outputs import compare
from vattn_utils.models import eanet
from vattn_utils.show import moving, moving_stills

ROOT = Path(__file__).parents[1]
GRID = (8, 8)
NAMES = ("night", "dusk", "day", "noon", "</script><script>alert(1)</script>")
KINDS = ("query", "normalise", "pooling")


def given(kind):
    """What a figure of this kind is made of: as large as in the book."""
    random = np.random.default_rng(0)
    if kind == "query":
        vectors = random.normal(0, 1, (3, 64, 32))
        return dict(
            picture=random.integers(0, 256, (32, 32, 3), dtype="uint8"),
            query=vectors[0], key=vectors[1], value=vectors[2], grid=GRID,
        )  # fmt: skip
    if kind == "normalise":
        return dict(scores=random.normal(0, 1, (4, 3)))
    matrix = random.normal(0, 1, (128, 5))
    values = random.normal(0, 1, (3, 65, 128))
    return dict(
        pictures=random.integers(0, 256, (3, 32, 32, 3), dtype="uint8"),
        weights=moving_stills.softmax(random.normal(0, 2, (3, 65))),
        values=values,
        read_out=lambda weights: np.tanh(np.einsum("bn,bnd->bd", weights, values)) @ matrix,
        grid=GRID, titles=NAMES[:3], class_names=NAMES,
    )  # fmt: skip


MAKE = {"query": moving.self_attention, "normalise": moving.double_normalisation, "pooling": moving.attention_pooling}


def made(kind, **changes):
    return MAKE[kind](**{**given(kind), **changes})


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def told(html):
    """What the page reads: the block of JSON, and its arrays as NumPy arrays by name."""
    block = json.loads(re.search(r'class="vm-told">(.*?)</script>', html)[1])
    arrays = {
        name: np.array(array["numbers"].split(), dtype=float).reshape(array["shape"])
        for name, array in block["arrays"].items()
    }
    return block, arrays


def output(figure):
    """The output of a cell that shows it, as `bookproof.interactive` does."""
    return [
        new_output("display_data", {**figure._repr_mimebundle_(), fingerprint.MIME: fingerprint.of_tree(figure.arrays)})
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_the_html_holds_the_arrays_rounded(kind):
    figure = made(kind)
    _, arrays = told(figure.html)
    for name, array in arrays.items():
        np.testing.assert_allclose(array, figure.arrays[name], atol=0.51 * 10.0 ** -moving.DECIMALS.get(name, 2))


def test_two_decimals_of_query_and_key_keep_the_shares():
    arrays = given("query")
    exact = moving_stills.softmax(arrays["query"] @ arrays["key"].T / np.sqrt(32))
    _, rounded = told(made("query").html)
    np.testing.assert_allclose(
        moving_stills.softmax(rounded["query"] @ rounded["key"].T / np.sqrt(32)), exact, atol=0.01 * exact.max()
    )


@pytest.mark.parametrize(("kind", "name"), [("query", "picture"), ("pooling", "pictures")])
def test_pictures_are_there_as_they_are(kind, name):
    block, _ = told(made(kind).html)
    shown = [np.frombuffer(base64.b64decode(packed), "uint8") for packed in block["pictures"]]
    np.testing.assert_array_equal(np.concatenate(shown), np.ravel(given(kind)[name]))


def test_the_mean_shares_alike_what_the_query_leaves_and_the_logits_are_read_out_on_the_way():
    arrays, drawn = given("pooling"), made("pooling").arrays
    assert np.ptp(drawn["equal"][:, 1:], axis=1).max() < 1e-12
    np.testing.assert_allclose(drawn["equal"].sum(axis=1), 1)
    np.testing.assert_allclose(drawn["equal"][:, 0], arrays["weights"][:, 0])
    logits = drawn["logits"].reshape(3, moving.STEPS, 5)
    np.testing.assert_allclose(logits[:, 0], arrays["read_out"](drawn["equal"]))
    np.testing.assert_allclose(logits[:, -1], arrays["read_out"](arrays["weights"]))
    half = (drawn["equal"] + arrays["weights"]) / 2
    np.testing.assert_allclose(logits[:, moving.STEPS // 2], arrays["read_out"](half))
    np.testing.assert_allclose(drawn["attended"], np.einsum("bn,bnd->bd", arrays["weights"], arrays["values"]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_number_in_the_html_is_found_and_rounding_is_not(kind):
    figure = made(kind)
    (expected,) = output(figure)
    assert not compare([expected], output(made(kind)))
    numbers = re.findall(r'"numbers": "([^"]+)"', figure.html)
    for row in numbers:
        first, rest = row.split(" ", 1)
        unit = 10.0 ** -len(first.partition(".")[2])
        for change, differs in ((unit, False), (3 * unit + 0.01 * abs(float(first)), True)):
            other = f"{float(first) + change:.{len(first.partition('.')[2])}f}"
            html = figure.html.replace(f'"{row}"', f'"{other} {rest}"')
            found = new_output("display_data", expected["data"] | {"text/html": html})
            assert bool(compare([expected], [found])) is differs, (first, other)


@pytest.mark.parametrize("kind", ["query", "pooling"])
def test_a_changed_pixel_or_script_is_found(kind):
    figure = made(kind)
    (expected,) = output(figure)
    packed = told(figure.html)[0]["pictures"][0]
    for old, new in ((packed, f"AAAA{packed[4:]}"), ("Math.exp(score - top)", "Math.exp(score)")):
        assert figure.html.count(old) == 1
        found = new_output("display_data", expected["data"] | {"text/html": figure.html.replace(old, new)})
        assert compare([expected], [found])


@pytest.mark.parametrize("kind", KINDS)
def test_each_array_stands_in_the_fingerprint(kind):
    figure, kept = made(kind), given(kind)
    for name, array in kept.items():
        if isinstance(array, np.ndarray):
            other = made(kind, **{name: np.flip(array, axis=-1 if kind == "normalise" else -2)})
            assert fingerprint.of_tree(figure.arrays) != fingerprint.of_tree(other.arrays), name


@pytest.mark.parametrize("kind", KINDS)
def test_each_is_at_most_60_kb_names_no_address_and_is_the_same_each_time(kind):
    html = made(kind).html
    assert len(json.dumps(html, ensure_ascii=False).encode()) <= 60_000
    assert not re.search(r"https?:|//\w+\.|@import|url\(|\sid=|\bfetch\(|\bimport\(|{{", html)
    assert html == made(kind).html


def test_names_cannot_end_their_block():
    html = made("pooling", titles=("</script> {{told}}", *NAMES[1:3])).html
    assert html.count("</script>") == 2
    block, _ = told(html)
    assert block["titles"][0] == "</script> {{told}}"
    assert block["classes"] == list(NAMES)


@pytest.mark.parametrize("kind", KINDS)
def test_a_notebook_gets_html_and_a_sentence_and_a_still_with_caption_and_alt_text(kind):
    figure = made(kind)
    assert figure._repr_mimebundle_() == {"text/html": figure.html, "text/plain": figure.text}
    assert figure.text in figure.html  # for those who run no script
    json.dumps(fingerprint.of_figure(figure.still), allow_nan=False)
    assert figure.caption.count("  ") == figure.alt.count("  ") == 0
    assert len(figure.caption) > 100 < len(figure.alt)


def test_the_still_of_self_attention_shows_scores_shares_and_answer():
    arrays = {name: np.round(array, 2) for name, array in given("query").items() if name in ("query", "key", "value")}
    figure = made("query").still
    scores = arrays["key"] @ arrays["query"][32] / np.sqrt(32)  # row 5, column 1
    weights = moving_stills.softmax(scores)
    np.testing.assert_allclose(figure.axes[2].images[0].get_array().ravel(), weights)
    np.testing.assert_allclose([bar.get_height() for bar in figure.axes[7].patches], weights @ arrays["value"])
    assert figure.axes[5].get_title() == f"best key: {scores.max():.2f}"


def test_the_stills_double_normalisation_is_that_of_the_layer():
    scores = np.random.default_rng(1).normal(0, 1, (4, 3))
    slot_maps, shares, alone = moving_stills._normalised(scores)
    layers = np.array(eanet.softmax_over_tokens(scores[None, :, None].astype("float32")))
    np.testing.assert_allclose(slot_maps, layers[0, :, 0], atol=1e-6)
    np.testing.assert_allclose(shares, np.array(eanet.double_normalise(layers))[0, :, 0], atol=1e-6)
    np.testing.assert_allclose(alone.sum(axis=1), 1)


def test_the_still_of_double_normalisation_frames_the_rows_that_a_raised_score_changes():
    scores = given("normalise")["scores"].round(1)
    raised = scores + 2.0 * (np.indices(scores.shape) == np.array([1, 0])[:, None, None]).all(axis=0)
    for axis, old, new in zip(
        made("normalise").still.axes[2:], moving_stills._normalised(scores)[1:], moving_stills._normalised(raised)[1:],
        strict=True,
    ):  # fmt: skip
        np.testing.assert_allclose(axis.images[0].get_array(), new)
        changed = (np.abs(new - old) > 0.005).any(axis=1).sum()
        assert len(axis.patches) == 2 * changed  # a white frame and a black one in it
        assert axis.get_title().endswith(f"\n{changed} of 4 rows changed")


def test_the_still_of_pooling_shows_both_weights_and_both_logits():
    figure, drawn = made("pooling"), made("pooling").arrays
    for axis, name in zip(figure.still.axes[1:3], ("equal", "learned"), strict=True):
        np.testing.assert_allclose(axis.images[0].get_array().ravel(), drawn[name][0, 1:])
    lengths = [bar.get_width() for bar in figure.still.axes[3].patches]
    logits = drawn["logits"].reshape(3, moving.STEPS, 5)[0]
    np.testing.assert_allclose(lengths, [*logits[0], *logits[-1]])


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("query", dict(picture=np.zeros((1, 8, 8, 3))), r"a picture of shape \(1, 8, 8, 3\) is not \(H, W, 3\)"),
        ("query", dict(key=np.zeros((63, 32))), r"key of shape \(63, 32\) does not fit; give \(64, d\)"),
        ("query", dict(value=np.full((64, 32), np.nan)), "value holds NaN or infinity"),
        ("query", dict(grid=(4, 4)), r"query of shape \(64, 32\) does not fit; give \(16, d\)"),
        ("normalise", dict(scores=np.zeros(3)), r"scores of shape \(3,\) are no matrix of tokens and slots"),
        ("normalise", dict(scores=np.full((4, 3), 9.0)), "scores reach 9; they may go from -4 to 4"),
        ("normalise", dict(scores=np.full((4, 3), np.nan)), "scores reach nan"),
        ("pooling", dict(weights=np.zeros((3, 64))), r"weights \(3, 64\) and values \(3, 65, 128\) do not fit"),
        ("pooling", dict(titles=("one",)), "1 titles do not fit 3 pictures"),
        ("pooling", dict(class_names=("one",)), "read_out gives 5 logits; there are 1 class_names"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_way_out(kind, changes, words):
    with pytest.raises(ValueError, match=words):
        made(kind, **changes)


def test_the_pages_travel_with_the_package():
    shipped = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    files = {f"vattn_utils/show/{path.name}" for path in (ROOT / "vattn_utils/show").glob("moving*")}
    assert len(files) == 7
    assert files <= shipped
