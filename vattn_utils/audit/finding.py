"""What a check says: its verdict, what it found, and the few words that all of them need to say it."""

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import keras

OK, DEFECT, UNKNOWN = "ok", "defect", "cannot tell"


@dataclasses.dataclass(frozen=True)
class Finding:
    """What one check found.

    check: its name. verdict: "ok", "defect" or "cannot tell". found: what was measured, a sentence. advice: the way
    out, if there is something to do. numbers: the measured values behind the sentence, by name. looked_at,
    not_looked_at: what the sentence rests on, and what it does not speak of.
    """

    check: str
    verdict: str
    found: str
    advice: str = ""
    numbers: dict[str, Any] = dataclasses.field(default_factory=dict)
    looked_at: str = ""
    not_looked_at: str = ""


def count(variables: Iterable[keras.Variable]) -> int:
    """How many numbers there are in `variables`."""
    return sum(math.prod(v.shape) for v in variables)


def some(paths: Iterable[str]) -> str:
    """The first two of `paths`, and how many more there are."""
    paths = [str(path) for path in paths]
    return ", ".join(paths[:2]) + (f" and {len(paths) - 2} more" if len(paths) > 2 else "")
