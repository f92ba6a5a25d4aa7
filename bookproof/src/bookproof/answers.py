"""Exercises that check themselves, in the chapter where they are set.

An exercise is four cells: its text; a check, tagged `check`; what the learner completes, tagged `exercise`; and the
solution, tagged `solution`, which is executed and verified with the rest of the chapter. The third is derived from the
fourth (`bookproof stubs`, see `bookproof.checks.exercises`), so that what the learner is asked for is what solves it.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

RIGHT = "Right."
OPEN = "Not answered yet."
WRONG = "Not yet:"


class _Unanswered(Exception):
    """The answer, or what it returns, is still missing."""


def exercise(test: Callable[..., None]) -> Callable[..., None]:
    """Make a check of a learner's answers out of a function that asserts what must be true of them.

    The check takes the same arguments, values or functions, and prints one line: "Right." if every assertion holds,
    "Not yet:" with the message of the first that does not, "Not answered yet." as long as an answer is `...` or a
    function among them returns nothing. Any other error is the learner's to see.
    """

    @wraps(test)
    def check(*answers: Any) -> None:
        try:
            test(*map(_answered, answers))
        except _Unanswered:
            print(OPEN)
        except AssertionError as error:
            print(WRONG, str(error).partition("\n")[0] or "try another one.")
        else:
            print(RIGHT)

    return check


def _answered(answer: Any) -> Any:
    """The answer, if there is one; a function tells when it is called whether it returns one."""
    if answer is None or answer is ...:
        raise _Unanswered
    if not callable(answer):
        return answer

    @wraps(answer)
    def call(*given: Any, **named: Any) -> Any:
        return _answered(answer(*given, **named))

    return call
