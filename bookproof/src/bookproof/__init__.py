"""Every output of a Jupyter Book, derived again and compared.

A chapter takes what it shows from here: `from bookproof import say, show, figure, escape, interactive, exercise`. What
executes, compares and checks is `python -m bookproof` and `pytest --nbval`, and needs the extra `bookproof[verify]`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bookproof.answers import exercise
    from bookproof.display import escape, figure, interactive, say, show

__version__ = "0.1.0"

__all__ = ["escape", "exercise", "figure", "interactive", "say", "show"]


def __getattr__(name: str) -> Any:
    """What a chapter shows with is imported when it is asked for: no test run and no page build pays for Matplotlib."""
    if name not in __all__:
        raise AttributeError(f"module 'bookproof' has no attribute {name!r}")
    from bookproof import answers, display

    return getattr(answers if name == "exercise" else display, name)
