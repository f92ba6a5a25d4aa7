"""What the verification asks of this book: with which data it can be verified.

Named in `[tool.bookproof]` of pyproject.toml; a chapter needs none of it, and it needs no Keras.
"""

import os

from vattn_utils import data

DATA_SETS = ("cifar10", "cifar100")


def data_at_hand() -> tuple[str, str]:
    """The profile in which the committed outputs can be verified with the data at hand, and sentences that say why."""
    found = [name for name in DATA_SETS if data.at_hand(name)]
    missing = [name for name in DATA_SETS if name not in found]
    root = os.environ.get("VATTN_DATA")
    where = f"VATTN_DATA={root}" if root else "VATTN_DATA is not set"
    told = f"Data: found {', '.join(found) or 'no CIFAR'}; missing {', '.join(missing) or 'nothing'} ({where}).\n"
    if not missing:
        return "published", told + "The chapters are verified in the published profile: every committed output counts."
    return "quick", told + (
        "The chapters are verified in the quick profile, on the embedded shapes: only those outputs are compared\n"
        "that do not depend on data. Put the npz files into $VATTN_DATA for the rest."
    )
