"""keras.io's examples as they are published, defects included, so that `audit` has something to find.

Written anew from what the pages do; sizes and settings are theirs. They are trained only to show what a defect costs:
the mended forms are the variants "keras-io" of `models`. A page is a module with a `build`; what libraries of its time
computed otherwise is in `older`.
"""

import keras

from vattn_utils.audit.upstream import eanet, older, patch_convnet, vit
from vattn_utils.audit.upstream.example import Example, warm_up_cosine

__all__ = ["EXAMPLES", "Example", "build", "eanet", "older", "patch_convnet", "vit"]

EXAMPLES = {
    "keras-io-eanet": lambda: [eanet.build(), eanet.build("self")],
    "keras-io-vit": lambda: [vit.build()],
    "keras-io-vit-small-ds": lambda: [vit.build(schedule=warm_up_cosine(1e-3, 176 * 50, 0.1), epochs=50)],
    "keras-io-patch-convnet": lambda: [patch_convnet.build()],
}


def build(name: str) -> list[Example]:
    """The published formulations of the example `name`, a list of `Example`; EANet's has its self-attention twin too.

    They are built at full size; their data are the embedded shapes, a few hundred images instead of CIFAR. Raises
    ValueError for a name that is not in `EXAMPLES`.
    """
    if name not in EXAMPLES:
        raise ValueError(f"example {name!r} is not known; there are {', '.join(EXAMPLES)}")
    keras.utils.set_random_seed(0)
    return EXAMPLES[name]()
