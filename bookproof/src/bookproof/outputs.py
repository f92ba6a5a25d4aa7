"""Are two lists of cell outputs the same? Numbers within a tolerance, everything else exactly.

What is a number in a text: digits that follow neither a letter nor a point, with an optional sign, point, exponent
and commas between thousands: `0.5`, `.5`, `5e-3`, `361,380`, `12`, `-3`, the 5 of `5 %`, `5s` and `top-5`. A whole
number has neither decimals nor an exponent. What is text: everything else, also digits within a word (`conv2d_1`,
`T_3f2a1`) or a version (`3.15.1`). Two numbers in the same place of two texts agree

- if both are whole: when they read the same;
- otherwise: when they differ by at most one unit of the last digit, of the one that is printed with more of them (a
  tenth at most, if one is whole), or by a thousandth of their size, whichever is more;
- with more room only where a cell's metadata gives it, with a reason: {"verify": {"rtol": 0.01, "reason": "..."}}.

The text between the numbers must be the same, but for the spaces beside a number, with which tables fill their columns.
In JSON, and so in the fingerprint of a figure, floats are numbers and all else is exact; a whole number may stand for a
float, as JavaScript, and so JupyterLab, saves 1.0 as 1. The floats of one list are of one scale: the largest of them
takes the place of their own size.

Pure functions on nbformat's output dictionaries; nothing here runs a notebook.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from typing import Any

from bookproof.notebooks import IGNORE, Node

IGNORED_MIMES = {"image/png", "image/jpeg"}  # pixels change with fonts and versions; fingerprints stand for them
FINGERPRINT_SUFFIX = ".figure+json"
# Arrays inside HTML, in base64: their last digits change with the machine; a fingerprint beside them stands for them.
PAYLOAD = re.compile(r"(<script [^<>]*data-fingerprinted>)[A-Za-z0-9+/=\s]*(?=</script>)")

NUMBER = re.compile(
    r"""(?<![\w.])                  # not within a word or a version
        [-+−]?                      # a sign; a hyphen after a word is none
        (?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+\.?\d*|\.\d+)
        (?:[eE][-+]?\d+(?!\w))?
        (?!\.?\d)                   # not the front of a version""",
    re.VERBOSE,
)
PADDING = re.compile(r" *\0 *")
# What a library draws anew at each run: addresses in memory, UUIDs, the ids of widgets, of SVG and of styled tables.
RANDOM = re.compile(
    r"""0x[0-9a-f]{6,}
    |[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}
    |(?<=T_)[0-9a-f]{5}
    |(?<![0-9A-Za-z.])              # decimals are no id
        (?!\d+e\d{1,3}(?![0-9a-f])) # and neither is a number with an exponent, or with a unit behind it
        (?:[a-z]|(?=\d*[a-f][0-9a-f]))[0-9a-f]{10,}
    """,
    re.VERBOSE,
)
WIDGET = ", model_id"  # where a widget's view keeps its id, however short
WAY_OUT = f"only an id differs that is drawn anew at each run; show it without, or tag the cell `{IGNORE}`: `ids`"
EXACT = Context(prec=50, Emax=MAX_EMAX, Emin=MIN_EMIN)


@dataclass(frozen=True)
class Tolerance:
    """How far two numbers may be apart: `atol + rtol * size`, or one unit of the last digit. `reason`: why, if more."""

    rtol: float = 1e-3
    atol: float = 0.0
    reason: str = ""

    def of_printed(self, expected: Decimal, found: Decimal, coarsest: int = MAX_EMAX) -> Decimal:
        """How far two printed numbers may be apart; their unit is at most 10 to the power of `coarsest`."""
        unit = Decimal(1).scaleb(min(_exponent(expected), _exponent(found), coarsest), EXACT)
        size = EXACT.max_mag(expected, found).copy_abs()
        return max(unit, EXACT.add(Decimal(self.atol), EXACT.multiply(Decimal(self.rtol), size)))

    def allows(self, expected: float, found: float, scale: float | None = None) -> bool:
        """Whether the float `found` may stand for `expected`; `scale` takes the place of |expected|."""
        if math.isfinite(expected) and math.isfinite(found):
            return abs(expected - found) <= self.of_float(expected, scale)
        return expected == found or (math.isnan(expected) and math.isnan(found))

    def of_float(self, expected: float, scale: float | None) -> float:
        return self.atol + self.rtol * (abs(expected) if scale is None else scale)


def tolerance_of(metadata: Node) -> Tolerance:
    """The `Tolerance` that a cell's metadata gives, `{"verify": {"rtol": 0.01, "reason": "..."}}`, or the default.

    Raises ValueError for unknown keys, for values that are not numbers from 0 (rtol below 1), and for no reason.
    """
    verify = metadata.get("verify", {})
    if not isinstance(verify, dict) or set(verify) - {"rtol", "atol", "reason"}:
        raise ValueError(f'metadata "verify" is {verify!r}; it may hold "rtol", "atol" and "reason" only')
    for key in verify.keys() & {"rtol", "atol"}:
        value = verify[key]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value < (1 if key == "rtol" else math.inf):
            limit = "from 0 to below 1" if key == "rtol" else "from 0"
            raise ValueError(f'metadata "verify" has {key}={value!r}; use a number {limit}')
    reason = verify.get("reason", "")
    if verify and not (isinstance(reason, str) and reason.strip()):
        raise ValueError(f'metadata "verify" is {verify!r}; say why, as "reason"')
    return Tolerance(**verify)


@dataclass(frozen=True)
class Difference:
    """One way in which two outputs differ: where, what was expected, what was found."""

    where: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.where}\n    expected  {_short(self.expected)}\n    found     {_short(self.found)}"


def compare(expected: list[Node], found: list[Node], tolerance: Tolerance | None = None) -> list[Difference]:
    """The `Difference`s between two lists of outputs; an empty list if they are the same.

    stderr is left out, and so are pixels; what was printed piece by piece is one output. Outputs compare in order: a
    missing, extra or moved output is a difference.
    """
    tolerance = tolerance or Tolerance()
    before, now = normalised(expected), normalised(found)
    if [list(output) for output in before] != [list(output) for output in now]:
        return [Difference("the kinds of the outputs, in order", _kinds(before), _kinds(now))]
    differences = []
    for number, (left, right) in enumerate(zip(before, now, strict=True), 1):
        for name in sorted(left.keys() - IGNORED_MIMES):
            where = f"output {number} of {len(before)}, {name}"
            differences += compare_values(left[name], right[name], tolerance, where)
    return differences


def normalised(outputs: Iterable[Node]) -> list[dict[str, Any]]:
    """One `{name: content}` an output: `{"stdout": ...}`, `{"error": ...}` or `{mime type: content}`.

    A fingerprint takes the place of the arrays in the HTML beside it; without one they stay, and compare as text.
    """
    found: list[dict[str, Any]] = []
    for output in outputs:
        if output["output_type"] == "error":
            found.append({"error": f"{output['ename']}: {output['evalue']}"})
        elif output["output_type"] != "stream":
            data = {mime: _joined(content) for mime, content in sorted(output["data"].items())}
            if "text/html" in data and any(mime.endswith(FINGERPRINT_SUFFIX) for mime in data):
                data["text/html"] = PAYLOAD.sub(r"\1", data["text/html"])
            found.append(data)
        elif output["name"] == "stdout":
            if not found or "stdout" not in found[-1]:
                found.append({"stdout": ""})
            found[-1]["stdout"] += _joined(output["text"])
    for item in found:
        if "stdout" in item:  # what a terminal shows: a carriage return begins the line again
            item["stdout"] = re.sub(r"^.*\r(?!\n)", "", item["stdout"], flags=re.MULTILINE)
    return found


def compare_values(
    expected: Any, found: Any, tolerance: Tolerance, where: str, scale: float | None = None
) -> list[Difference]:
    """The `Difference`s between two contents of one mime type: text, or whatever JSON can hold.

    `scale` takes the place of the size of two floats.
    """
    if isinstance(expected, str) and isinstance(found, str):
        return compare_text(expected, found, tolerance, where)
    if isinstance(expected, dict) and isinstance(found, dict):
        if expected.keys() != found.keys():
            return [Difference(f"{where}, names", ", ".join(expected), ", ".join(found))]
        pairs = [(f"{where}, {key}", expected[key], found[key]) for key in expected]
        return [item for key, left, right in pairs for item in compare_values(left, right, tolerance, key)]
    if isinstance(expected, list) and isinstance(found, list):
        return _compare_lists(expected, found, tolerance, where)
    if _are_floats(expected, found):
        return _compare_floats(expected, found, tolerance, where, scale)
    # 1 == True in Python, but not in JSON
    same = type(expected) is type(found) and expected == found
    return [] if same else [Difference(where, repr(expected), repr(found))]


def compare_text(expected: str, found: str, tolerance: Tolerance, where: str) -> list[Difference]:
    """The `Difference`s between two texts, by the rules at the head of this module."""
    if expected == found:
        return []
    if RANDOM.sub("\1", expected) == RANDOM.sub("\1", found) or where.endswith(WIDGET):
        return [Difference(f"{where}, text ({WAY_OUT})", *_first_different_lines(expected, found))]
    if _skeleton(expected) != _skeleton(found):
        return [Difference(f"{where}, text", *_first_different_lines(expected, found))]
    differences = []
    pairs = zip(NUMBER.finditer(expected), NUMBER.finditer(found), strict=True)
    for number, (left, right) in enumerate(pairs, 1):
        rule = rule_against(left[0], right[0], tolerance)
        if rule:
            line = f"number {number}, in line {expected[: left.start()].count(chr(10)) + 1} ({rule})"
            context = [f"{match[0]}   in: {_line_at(match)}" for match in (left, right)]
            differences.append(Difference(f"{where}, {line}", *context))
    return differences


def rule_against(expected: str, found: str, tolerance: Tolerance) -> str:
    """Why the printed number `found` may not stand for `expected`, in words; "" if it may."""
    if is_whole(expected) and is_whole(found):
        return "" if expected == found else "whole numbers are equal or not"
    a, b = value(expected), value(found)
    coarsest = -1 if is_whole(expected) or is_whole(found) else MAX_EMAX  # 12 is not 1.3e1
    apart, allowed = EXACT.subtract(a, b).copy_abs(), tolerance.of_printed(a, b, coarsest)
    return "" if apart <= allowed else f"they differ by {float(apart):.3g}, allowed {float(allowed):.3g}"


def is_whole(token: str) -> bool:
    return token.lstrip("-+−").rstrip(".").replace(",", "").isdigit()  # "5." may end a sentence


def value(token: str) -> Decimal:
    """What a number says, to the last digit."""
    return Decimal(token.replace("−", "-").replace(",", ""))


def _exponent(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)  # no token is infinite or not a number
    return exponent


def _are_floats(*values: Any) -> bool:
    """Whether values are numbers and not all of them whole ones; type, as True is an int in Python."""
    kinds = {type(value) for value in values}
    return float in kinds and kinds <= {float, int}


def _compare_floats(
    expected: float, found: float, tolerance: Tolerance, where: str, scale: float | None
) -> list[Difference]:
    if tolerance.allows(expected, found, scale):
        return []
    told = f"they differ by {abs(expected - found):.3g}, allowed {tolerance.of_float(expected, scale):.3g}"
    return [Difference(f"{where} ({told})", repr(expected), repr(found))]


def _compare_lists(expected: list[Any], found: list[Any], tolerance: Tolerance, where: str) -> list[Difference]:
    if len(expected) != len(found):
        return [Difference(f"{where}, length", f"{len(expected)}: {expected}", f"{len(found)}: {found}")]
    if _are_floats(*expected, *found):
        # numbers of one scale: near zero they are judged by the largest of them
        scale = max((abs(item) for item in expected if math.isfinite(item)), default=0.0)
        pairs = enumerate(zip(expected, found, strict=True), 1)
        places = [(a, b, f"{where}, number {i} of {len(expected)}") for i, (a, b) in pairs]
        # the first says enough: where an array changed, most of its numbers do
        return [item for a, b, place in places for item in compare_values(a, b, tolerance, place, scale)][:1]
    pairs = enumerate(zip(expected, found, strict=True), 1)
    return [item for i, (a, b) in pairs for item in compare_values(a, b, tolerance, f"{where} {i}")]


def _joined(content: Any) -> Any:
    """nbformat keeps text as a string in memory and as a list of lines on disk."""
    lines = isinstance(content, list) and all(isinstance(line, str) for line in content)
    return "".join(content) if lines else content


def _kinds(outputs: list[dict[str, Any]]) -> str:
    told = []
    for output in outputs:
        text = next((content for content in output.values() if isinstance(content, str)), "")
        told.append(f"{' + '.join(output)} {_short(text, 40)!r}")
    return "; ".join(told) or "no output"


def _skeleton(text: str) -> str:
    return PADDING.sub("\0", NUMBER.sub("\0", text)).strip(" ")


def _line_at(match: re.Match[str]) -> str:
    text, start = match.string, match.start()
    return text[text.rfind("\n", 0, start) + 1 :].split("\n", 1)[0].strip()


def _first_different_lines(expected: str, found: str) -> tuple[str, str]:
    left, right = expected.split("\n"), found.split("\n")
    for same in (_skeleton, str):  # an id may look like a number
        for a, b in zip(left, right, strict=False):
            if same(a) != same(b):
                return a, b
    longer, shorter = (left, right) if len(left) > len(right) else (right, left)
    extra = "\n".join(longer[len(shorter) :])
    return (extra, "(nothing more)") if longer is left else ("(nothing more)", extra)


def _short(text: str, limit: int = 400) -> str:
    return text if len(text) <= limit else f"{text[:limit]} … ({len(text):,} characters)"
