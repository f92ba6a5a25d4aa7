"""Two lists of outputs are the same, or a readable difference says where they are not."""

import pytest
from nbformat.v4 import new_output

from bookproof.fingerprint import MIME as FIGURE
from bookproof.outputs import NUMBER, Tolerance, compare, is_whole, tolerance_of


def printed(text, name="stdout"):
    return new_output("stream", name=name, text=text)


def displayed(**data):
    mimes = {
        "plain": "text/plain",
        "html": "text/html",
        "markdown": "text/markdown",
        "png": "image/png",
        "drawn": FIGURE,
    }
    return new_output("display_data", {mimes[key]: value for key, value in data.items()})


def same(expected, found, **tolerance):
    return not compare([printed(expected)], [printed(found)], Tolerance(**tolerance))


@pytest.mark.parametrize(
    ("text", "numbers", "whole"),
    [
        ("0.5 .5 5e-3 1.5E+3 361,380 12 -3 −0.25", "0.5 .5 5e-3 1.5E+3 361,380 12 -3 −0.25", "361,380 12 -3"),
        ("It has 5.", "5.", "5."),
        ("top-5 of 10 %, 2.5x in 5s", "5 10 2.5 5", "5 10 5"),
        ("| 0.5 | [1, 2.0] (3)", "0.5 1 2.0 3", "1 3"),
        ("conv2d_1, Keras 3.15.1, T_3f2a1, x1.5", "", ""),
        ("1,234,567.8 and 12,34", "1,234,567.8 12 34", "12 34"),
        ("nan and inf", "", ""),
    ],
)
def test_what_is_a_number_and_what_is_text(text, numbers, whole):
    found = [match[0] for match in NUMBER.finditer(text)]
    assert found == numbers.split()
    assert [token for token in found if is_whole(token)] == whole.split()


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ("loss 2.3456", "loss 2.3460"),  # a thousandth
        ("top-1 43.91 %", "top-1 43.95 %"),
        ("lr 1e-3", "lr 1.0005e-03"),
        ("1,234.5 images/s", "1,235.0 images/s"),
        ("0.5", "0.6"),  # one unit of the last printed digit
        ("12.3 ms", "12.4 ms"),
        ("1e-07", "2e-07"),
        ("1.23e-05", "1.24e-05"),
        ("0.0", "-0.1"),
        ("[0.5    0.25]", "[0.5001 0.25  ]"),
        ("5 of 8", "5.0 of 8"),
        ("12", "12.1"),
        ("0.12345678901", "0.12345678902"),
        ("-0.5", "−0.5"),
        ("nan inf", "nan inf"),
        ("no number", "no number"),
    ],
)
def test_numbers_within_a_digit_or_a_thousandth_are_the_same(expected, found):
    assert same(expected, found)
    assert same(found, expected)


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ("loss 2.3456", "loss 2.3490"),
        ("top-1 43.91 %", "top-1 44.01 %"),
        ("lr 1.0e-3", "lr 2.0e-3"),
        ("1e-07", "9e-07"),
        ("3e-09", "6e-09"),
        ("0.0", "0.2"),
        ("0.5", "0.5099"),  # the unit is that of the one with more digits
        ("361,380 parameters", "361,381 parameters"),
        ("21759012", "21759013"),
        ("12", "1.3e1"),
        ("epoch 10", "epoch 11"),
        ("0.50", "-0.50"),
        ("0.5", "nan"),
        ("0.5 and 0.6", "0.5"),
        ("12e4567890", "13e4567890"),
        ("conv2d_1", "conv2d_2"),
        ("Keras 3.15.1", "Keras 3.15.2"),
        ("a cat", "a dog"),
        ("accuracy 0.5", "loss 0.5"),
        ("(8, 64, 128)", "(8, 128, 64)"),
    ],
)
def test_whole_numbers_words_and_larger_differences_are_not(expected, found):
    assert not same(expected, found)
    assert not same(found, expected)


def test_the_tolerance_is_the_cells():
    assert not same("0.50", "0.52")
    assert same("0.50", "0.52", rtol=0.05)
    assert same("0.50", "0.52", rtol=0, atol=0.021)
    assert same("0.5000", "0.5001", rtol=0)
    assert not same("0.5000", "0.5002", rtol=0)


@pytest.mark.parametrize(
    "verify", [{"rtol": "1"}, {"tolerance": 1}, {"rtol": True}, {"atol": -1}, {"rtol": 1}, {"atol": None}]
)
def test_a_mistyped_tolerance_is_an_error(verify):
    with pytest.raises(ValueError, match="verify"):
        tolerance_of({"verify": {**verify, "reason": "the model is trained here"}})


@pytest.mark.parametrize("verify", [0.1, {"rtol": 0.1}, {"rtol": 0.1, "reason": " "}, {"rtol": 0.1, "reason": 1}])
def test_a_tolerance_without_a_reason_is_an_error(verify):
    with pytest.raises(ValueError, match="verify"):
        tolerance_of({"verify": verify})


def test_a_tolerance_comes_from_the_metadata():
    verify = {"rtol": 0.05, "reason": "sixteen images"}
    assert tolerance_of({"verify": verify, "tags": []}) == Tolerance(rtol=0.05, reason="sixteen images")
    assert tolerance_of({}) == Tolerance()


@pytest.mark.parametrize("key", ["plain", "html", "markdown"])
def test_numbers_within_every_kind_of_text_compare(key):
    table = "<td>0.5012</td>" if key == "html" else "| 0.5012 |"
    assert not compare([displayed(**{key: table})], [displayed(**{key: table.replace("12", "13")})])
    assert compare([displayed(**{key: table})], [displayed(**{key: table.replace("0.5", "0.6")})])


def test_missing_extra_and_reordered_outputs_differ():
    one, two = displayed(plain="a"), printed("b")
    for found in (
        [],
        [one],
        [two, one],
        [one, two, one],
        [one, two, two.copy() | {"name": "stderr"}, displayed(html="")],
    ):
        assert compare([one, two], found)


def test_what_is_printed_in_pieces_is_one_output_but_not_across_a_display():
    picture = displayed(plain="picture")
    assert not compare([printed("a\nb\n")], [printed("a\n"), printed("b\n")])
    assert not compare([printed("a\nb\n")], [printed("a\n"), printed("!", "stderr"), printed("b\n")])
    assert compare([printed("a\n"), picture, printed("b\n")], [printed("a\n"), printed("b\n"), picture])


def test_stderr_and_pixels_are_not_compared():
    assert not compare([printed("warning", "stderr")], [])
    assert not compare([displayed(png="AAAA", plain="alt")], [displayed(png="BBBB", plain="alt")])
    assert compare([displayed(png="AAAA")], [displayed(plain="alt")])  # but a picture must be there


def embedded(payload, mean=0.5, tag="data-fingerprinted"):
    """HTML with arrays in it, and the fingerprint of the arrays."""
    html = f'<p>Maps</p><script type="application/octet-stream" {tag}>{payload}</script><script>draw()</script>'
    return [displayed(html=html, drawn={"maps": {"statistics": [mean, 1.0]}})]


def test_a_fingerprint_stands_for_the_arrays_in_the_html_beside_it():
    assert not compare(embedded("eJwD+/=="), embedded("QUJD\n"))
    (difference,) = compare(embedded("eJwD"), embedded("eJwD", mean=0.6))
    assert "maps" in str(difference)


def test_arrays_in_html_without_a_fingerprint_compare_as_text():
    expected, found = (embedded(payload)[0]["data"]["text/html"] for payload in ("eJwD", "QUJD"))
    assert compare([displayed(html=expected)], [displayed(html=found)])


def test_of_html_with_a_fingerprint_everything_but_the_arrays_compares():
    (expected,) = embedded("eJwD")
    html = expected["data"]["text/html"]
    for old, new in (("Maps", "Caps"), ("draw", "drew"), ("eJwD", "alert(1)"), ("data-fingerprinted", "data-other")):
        data = expected["data"] | {"text/html": html.replace(old, new)}
        assert compare([expected], [new_output("display_data", data)]), new
    assert compare(embedded("eJwD", tag="class='a'"), embedded("QUJD", tag="class='a'"))


def test_the_numbers_of_a_list_in_a_figure_share_the_largest_ones_tolerance():
    def drawn(numbers, shape):
        return [displayed(png="", drawn={"axes": [{"images": [{"statistics": numbers, "shape": shape}]}]})]

    expected = drawn([1e-5, 2.0], [8, 8])
    assert not compare(expected, drawn([3e-5, 2.0], [8, 8]))
    assert compare(drawn([1e-7, 2e-7], [8, 8]), drawn([1e-7, 9e-7], [8, 8]))  # whatever the scale
    assert compare(expected, drawn([1e-5, 2.01], [8, 8]))
    assert compare(expected, drawn([1e-5, 2.0], [8, 9]))


@pytest.mark.parametrize(
    ("expected", "found", "the_same"),
    [
        (1, 1.0, True),  # JavaScript saves 1.0 as 1
        ([1, 0.5, 2], [1.0, 0.5, 2.0], True),
        ([0, 1000], [0.5, 1000.0], True),  # of one scale
        (1, 1.5, False),
        ([1, 2], [1.5, 2.0], False),
        ([1000, 0.5], [1001, 0.5], False),  # both are whole
        (1.0, True, False),
        ([True, 0.5], [1, 0.5], False),
    ],
)
def test_a_whole_number_may_stand_for_a_float_of_its_value(expected, found, the_same):
    for one, two in ((expected, found), (found, expected)):
        assert (compare([displayed(drawn={"axes": one})], [displayed(drawn={"axes": two})]) == []) is the_same


def test_a_difference_says_which_number_what_was_expected_found_and_allowed():
    (difference,) = compare([printed("fine\nloss 0.5, top-1 43.91 %")], [printed("fine\nloss 0.5, top-1 45.00 %")])
    text = str(difference)
    for part in ("output 1", "number 3", "line 2", "43.91", "45.00", "1.09", "0.045"):
        assert part in text, part


def test_a_difference_in_a_figure_says_where_it_is_drawn():
    expected, found = ([displayed(drawn={"axes": [{"lines": [{"y": {"statistics": [1.0, x]}}]}]})] for x in (2.0, 3.0))
    (difference,) = compare(expected, found)
    for part in ("axes 1", "lines 1", "y", "statistics", "2.0", "3.0", "allowed"):
        assert part in str(difference), part


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ("<div id='7b2e4c1a-93f0-4d55-8e1b-0a1b2c3d4e5f'>", "<div id='1c9d0e2f-1a2b-4c3d-9e8f-7a6b5c4d3e2f'>"),
        ("<table id='T_3f2a1'><td id='T_3f2a1_row0'>0.5</td>", "<table id='T_9bc0e'><td id='T_9bc0e_row0'>0.5</td>"),
        ('<clipPath id="p1f0a2b3c4d">', '<clipPath id="p9e8d7c6b5a">'),
        ("<object at 0x7f3a9c0d1e20>", "<object at 0x7f11aa0b3c40>"),
    ],
)
def test_of_an_id_that_is_drawn_anew_the_way_out_is_told(expected, found):
    (difference,) = compare([displayed(html=expected)], [displayed(html=found)])
    assert "nbval-ignore-output" in str(difference)
    (difference, *_) = compare([displayed(html=expected)], [displayed(html=found.replace("<", "< "))])
    assert "nbval-ignore-output" not in str(difference)


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ("21759012345", "21759012346"),
        ("21759012345 parameters", "21759012346 parameters"),
        ("took 21759012345s", "took 21759012346s"),
        ("21759012345d", "21759012346d"),
        ("21759012345e3", "31759012346e3"),
        ("0.12345678901e-05", "0.22345678902e-05"),
    ],
)
def test_a_number_of_many_digits_is_no_id(expected, found):
    (difference,) = compare([printed(expected)], [printed(found)])
    assert "nbval-ignore-output" not in str(difference)


@pytest.mark.parametrize(
    "ids",
    [("7b2e4c1a93f04d558e1b0a1b2c3d4e5f", "1c9d0e2f1a2b4c3d9e8f7a6b5c4d3e2f"), ("727e384e", "a5bd37e7")],
)
def test_of_a_widgets_id_the_way_out_is_told(ids):
    view = "application/vnd.jupyter.widget-view+json"
    outputs = [[new_output("display_data", {view: {"model_id": id, "version_major": 2}})] for id in ids]
    (difference,) = compare(*outputs)
    assert "nbval-ignore-output" in str(difference)
