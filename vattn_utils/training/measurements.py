"""Measurements as lines of JSON, one a line, each sealed by the digest of what it says.

A line says what was measured, and under `provenance` when, on what and from which commit. Whoever changes a number in
it by hand changes what the digest is of, and the line is refused.
"""

import hashlib
import json
from typing import Any

SEAL = "seal"


class MeasurementError(ValueError):
    """A line that is no measurement, or no longer the one that was made."""


def to_line(measurement: dict[str, Any]) -> str:
    """The line of a measurement, its seal last, with the line break.

    Raises MeasurementError if its provenance does not name the commit that measured (None outside of a checkout).
    """
    if "commit" not in measurement.get("provenance", {}):
        raise MeasurementError("a measurement names the commit that made it, as provenance: commit")
    return json.dumps({**measurement, SEAL: _digest(measurement)}) + "\n"


def from_lines(text: str, name: str) -> list[dict[str, Any]]:
    """The measurements in lines of JSON, in their order and without seals; `name` is said in errors.

    Raises MeasurementError, which names the line, for one that is no JSON, has no seal, was changed, or stands there
    twice.
    """
    found: list[dict[str, Any]] = []
    first: dict[str, int] = {}  # the number of the line, by its seal
    for number, line in enumerate(text.splitlines(), 1):
        try:
            measurement = json.loads(line)
            seal = measurement.pop(SEAL, None)
        except (json.JSONDecodeError, AttributeError, TypeError):
            raise MeasurementError(f"{name}, line {number}: not JSON of a measurement; measure it again") from None
        if seal != _digest(measurement):
            what = "carries no seal" if seal is None else "was changed after it was measured"
            raise MeasurementError(f"{name}, line {number} {what}; restore it from the history, or measure it again")
        if (earlier := first.setdefault(seal, number)) != number:
            raise MeasurementError(f"{name}, lines {earlier} and {number} are the same measurement; delete one of them")
        found.append(measurement)
    return found


def _digest(measurement: dict[str, Any]) -> str:
    """Of the measurement as it is read back, where the names of all values are text, and sorted as such."""
    as_read = json.loads(json.dumps(measurement))
    return hashlib.sha256(json.dumps(as_read, sort_keys=True).encode()).hexdigest()[:16]
