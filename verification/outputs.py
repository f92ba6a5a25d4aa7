"""Are two lists of cell outputs the same? Numbers within a tolerance, everything else exactly.

Pure functions on nbformat's output dictionaries; nothing here runs a notebook or knows this book.
"""

import math
import re
from dataclasses import dataclass

IGNORED_MIMES = {"image/png", "image/jpeg"}  # pixels change with fonts and versions; fingerprints stand for them
FINGERPRINT_SUFFIX = ".figure+json"
# Arrays inside HTML, in base64: their last digits change with the machine; a fingerprint beside them stands for them.
PAYLOAD = re.compile(r"(<script [^<>]*data-fingerprinted>)[A-Za-z0-9+/=\s]*(?=</script>)")

# 0.5, .5, 5e-3, 1.5E+3, 361,380 and 12, with a sign unless it follows a word. What stands inside words and versions
# (conv2d_1, 3.15.1) is no number: it must be equal as text, which integers must be anyway.
NUMBER = re.compile(
    r"""(?<![\w.])                  # not within a word or a version
        [-+−]?                      # a sign; a hyphen after a word is none
        (?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+\.?\d*|\.\d+)
        (?:[eE][-+]?\d+(?!\w))?
        (?!\.?\d)                   # not the front of a version""",
    re.VERBOSE,
)
PADDING = re.compile(r" *\0 *")


@dataclass(frozen=True)
class Tolerance:
    """Two numbers are the same if they differ by at most `atol + rtol * |expected|`."""

    rtol: float = 1e-3
    atol: float = 1e-6  # what float32 rounding leaves of a quantity of order one

    def allows(self, expected, found, scale=None):
        """Return whether `found` may stand for `expected`; `scale` takes the place of |expected|."""
        if math.isfinite(expected) and math.isfinite(found):
            return abs(expected - found) <= self._allowed(expected, scale)
        return expected == found or (math.isnan(expected) and math.isnan(found))

    def told(self, expected, found, scale=None):
        """Return in words how far two numbers are apart, and how far they may be."""
        return f"they differ by {abs(expected - found):.3g}, allowed {self._allowed(expected, scale):.3g}"

    def _allowed(self, expected, scale):
        return self.atol + self.rtol * (abs(expected) if scale is None else scale)


def tolerance_of(metadata):
    """Return the `Tolerance` in a cell's metadata, `{"verify": {"rtol": 1e-2, "atol": 0.05}}`, or the default.

    Raises ValueError for unknown keys and for values that are not numbers from 0 (rtol below 1).
    """
    verify = metadata.get("verify", {})
    if not isinstance(verify, dict) or set(verify) - {"rtol", "atol"}:
        raise ValueError(f'metadata "verify" is {verify!r}; it may hold "rtol" and "atol" only')
    for key, value in verify.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value < (1 if key == "rtol" else math.inf):
            limit = "from 0 to below 1" if key == "rtol" else "from 0"
            raise ValueError(f'metadata "verify" has {key}={value!r}; use a number {limit}')
    return Tolerance(**verify)


@dataclass(frozen=True)
class Difference:
    """One way in which two outputs differ: where, what was expected, what was found."""

    where: str
    expected: str
    found: str

    def __str__(self):
        return f"{self.where}\n    expected  {_short(self.expected)}\n    found     {_short(self.found)}"


def compare(expected, found, tolerance=None):
    """Return the `Difference`s between two lists of outputs; an empty list if they are the same.

    stderr is left out, and so are pixels; what was printed piece by piece is one output. Outputs compare in order: a
    missing, extra or moved output is a difference.
    """
    tolerance = tolerance or Tolerance()
    expected, found = normalised(expected), normalised(found)
    if [list(output) for output in expected] != [list(output) for output in found]:
        return [Difference("the kinds of the outputs, in order", _kinds(expected), _kinds(found))]
    differences = []
    for number, (left, right) in enumerate(zip(expected, found, strict=True), 1):
        for name in sorted(left.keys() - IGNORED_MIMES):
            where = f"output {number} of {len(expected)}, {name}"
            differences += compare_values(left[name], right[name], tolerance, where)
    return differences


def normalised(outputs):
    """Return one `{name: content}` an output: `{"stdout": ...}`, `{"error": ...}` or `{mime type: content}`.

    A fingerprint takes the place of the arrays in the HTML beside it; without one they stay, and compare as text.
    """
    found = []
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


def compare_values(expected, found, tolerance, where):
    """Return the `Difference`s between two contents of one mime type: text, or whatever JSON can hold."""
    if isinstance(expected, str) and isinstance(found, str):
        return compare_text(expected, found, tolerance, where)
    if isinstance(expected, dict) and isinstance(found, dict):
        if expected.keys() != found.keys():
            return [Difference(f"{where}, names", ", ".join(expected), ", ".join(found))]
        pairs = [(f"{where}, {key}", expected[key], found[key]) for key in expected]
        return [item for key, left, right in pairs for item in compare_values(left, right, tolerance, key)]
    if isinstance(expected, list) and isinstance(found, list):
        return _compare_lists(expected, found, tolerance, where)
    if isinstance(expected, float) and isinstance(found, float):
        return _compare_floats(expected, found, tolerance, where)
    # 1 == 1.0 == True in Python, but not in JSON
    same = type(expected) is type(found) and expected == found
    return [] if same else [Difference(where, repr(expected), repr(found))]


def compare_text(expected, found, tolerance, where):
    """Return the `Difference`s between two texts.

    Integers must be equal; numbers with a point or an exponent may differ by the tolerance, and so may the spaces
    beside a number, with which NumPy and tables fill their columns.
    """
    if expected == found:
        return []
    if _skeleton(expected) != _skeleton(found):
        return [Difference(f"{where}, text", *_first_different_lines(expected, found))]
    differences = []
    pairs = zip(NUMBER.finditer(expected), NUMBER.finditer(found), strict=True)
    for number, (left, right) in enumerate(pairs, 1):
        if _is_integer(left[0]) and _is_integer(right[0]):
            same, rule = left[0] == right[0], "integers are equal or not"
        else:
            a, b = _value(left[0]), _value(right[0])
            same = tolerance.allows(a, b)
            rule = tolerance.told(a, b)
        if not same:
            line = f"number {number}, in line {expected[: left.start()].count(chr(10)) + 1} ({rule})"
            context = [f"{match[0]}   in: {_line_at(match)}" for match in (left, right)]
            differences.append(Difference(f"{where}, {line}", *context))
    return differences


def _compare_floats(expected, found, tolerance, where, scale=None):
    if tolerance.allows(expected, found, scale):
        return []
    return [Difference(f"{where} ({tolerance.told(expected, found, scale)})", repr(expected), repr(found))]


def _compare_lists(expected, found, tolerance, where):
    if len(expected) != len(found):
        return [Difference(f"{where}, length", f"{len(expected)}: {expected}", f"{len(found)}: {found}")]
    if expected and all(isinstance(item, float) for item in expected + found):
        # numbers of one scale: near zero they are judged by the largest of them
        scale = max((abs(item) for item in expected if math.isfinite(item)), default=0.0)
        pairs = enumerate(zip(expected, found, strict=True), 1)
        places = [(a, b, f"{where}, number {i} of {len(expected)}") for i, (a, b) in pairs]
        # the first says enough: where an array changed, most of its numbers do
        return [item for a, b, place in places for item in _compare_floats(a, b, tolerance, place, scale)][:1]
    pairs = enumerate(zip(expected, found, strict=True), 1)
    return [item for i, (a, b) in pairs for item in compare_values(a, b, tolerance, f"{where} {i}")]


def _joined(content):
    """nbformat keeps text as a string in memory and as a list of lines on disk."""
    lines = isinstance(content, list) and all(isinstance(line, str) for line in content)
    return "".join(content) if lines else content


def _kinds(outputs):
    told = []
    for output in outputs:
        text = next((content for content in output.values() if isinstance(content, str)), "")
        mimes = " + ".join(name for name in output if not name.endswith(FINGERPRINT_SUFFIX))
        told.append(f"{mimes} {_short(text, 40)!r}")
    return "; ".join(told) or "no output"


def _skeleton(text):
    return PADDING.sub("\0", NUMBER.sub("\0", text)).strip(" ")


def _is_integer(token):
    return token.lstrip("-+−").rstrip(".").replace(",", "").isdigit()  # "5." may end a sentence


def _value(token):
    return float(token.replace("−", "-").replace(",", ""))


def _line_at(match):
    text, start = match.string, match.start()
    return text[text.rfind("\n", 0, start) + 1 :].split("\n", 1)[0].strip()


def _first_different_lines(expected, found):
    left, right = expected.split("\n"), found.split("\n")
    for a, b in zip(left, right, strict=False):
        if _skeleton(a) != _skeleton(b):
            return a, b
    longer, shorter = (left, right) if len(left) > len(right) else (right, left)
    extra = "\n".join(longer[len(shorter) :])
    return (extra, "(nothing more)") if longer is left else ("(nothing more)", extra)


def _short(text, limit=400):
    return text if len(text) <= limit else f"{text[:limit]} … ({len(text):,} characters)"
