"""What a chapter shows: prose that quotes numbers, source listings, figures, and interactive pages.

Everything shown here is an output, so that it reads the same on GitHub, in Colab and in the book, and is verified with
the rest. IPython, NumPy and Matplotlib are all it needs.
"""

import base64
import inspect
import re
import textwrap
from typing import Any, Protocol

import matplotlib.pyplot as plt
from IPython.display import display
from matplotlib.figure import Figure

from bookproof import fingerprint, picture


class Interactive(Protocol):
    """Something that a notebook can show, and that says which arrays are in it.

    arrays: NumPy arrays in dicts and lists, however deep; None stands for one that is not there.
    """

    arrays: Any

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]: ...


def say(text: str) -> None:
    """Display Markdown: prose that quotes numbers, so that the numbers are computed and not typed."""
    text = textwrap.dedent(text).strip()
    display({"text/markdown": text, "text/plain": text}, raw=True)


def escape(text: object) -> str:
    """`text`, for example a class name, as Markdown that shows it to the letter: nothing in it is markup or HTML."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(str(text).split()))


def show(obj: Any) -> None:
    """Display the source of a class, function, method or module, folded: the code that runs in this kernel."""
    source = textwrap.dedent(inspect.getsource(obj)).rstrip()
    fence = "````" if "```" in source else "```"
    name = getattr(obj, "__qualname__", obj.__name__)
    folded = f"<details>\n<summary>Source of {name}</summary>\n\n{fence}python\n{source}\n{fence}\n\n</details>"
    display({"text/markdown": folded, "text/plain": source}, raw=True)


def figure(fig: Figure, caption: str, alt: str) -> None:
    """Display a Matplotlib figure with its caption below it, and close it.

    Args:
        fig: a `matplotlib.figure.Figure`.
        caption: Markdown that says what to see in it.
        alt: plain text that says what is in it, for those who cannot see it.

    The PNG (see `bookproof.picture`) carries `alt` and its size in its output metadata, and the fingerprint of what it
    draws beside it. Raises ValueError for an empty caption or alt text.
    """
    for name, text in {"caption": caption, "alt": alt}.items():
        if not text or not text.strip():
            raise ValueError(f"{name}={text!r} is empty; say what {'to see' if name == 'caption' else 'is drawn'}")
    caption, alt = (" ".join(text.split()) for text in (caption, alt))
    drawn = fingerprint.of_figure(fig)
    png, width, height = picture.png(fig)
    plt.close(fig)
    data = {
        "image/png": base64.b64encode(png).decode(),
        "text/plain": alt,
        fingerprint.MIME: drawn,
    }
    display(data, metadata={"image/png": {"alt": alt, "width": width, "height": height}}, raw=True)
    say(f"**Figure.** {caption}")


def interactive(obj: Interactive) -> None:
    """Display something interactive, for example a page of HTML, beside the fingerprint of the arrays in it.

    The arrays themselves may stand in the HTML in base64, in `<script data-fingerprinted>`: their last digits change
    with the machine, and verification compares the fingerprint in their place. Raises TypeError for an object that
    does not say which arrays it holds.
    """
    if not (hasattr(obj, "_repr_mimebundle_") and hasattr(obj, "arrays")):
        raise TypeError(f"{type(obj).__name__} lacks `_repr_mimebundle_` or `arrays`; let it say which arrays it shows")
    bundle = {**obj._repr_mimebundle_(), fingerprint.MIME: fingerprint.of_tree(obj.arrays)}
    display(bundle, raw=True)
