"""The book's three models, by name: `MODELS` and `build`. Each has a module that reads as its paper."""

import difflib
import inspect

from vattn_utils.models.classifier import Classifier
from vattn_utils.models.eanet import EANet
from vattn_utils.models.layers import check_choice
from vattn_utils.models.patch_convnet import PatchConvNet
from vattn_utils.models.vit import ViT

MODELS = {"vit": ViT, "eanet": EANet, "patch_convnet": PatchConvNet}


def build(name, variant="book", **overrides):
    """A built model.

    Args:
        name: "vit", "eanet" or "patch_convnet".
        variant: "book", "keras-io" or "paper"; what each of them is, stands in the model's module.
        overrides: arguments of the model that replace the variant's, among them `num_classes`.

    Raises:
        ValueError: the model, the variant or an argument is unknown (with the nearest one that exists), or the
            arguments do not fit together.
    """
    check_choice("model", name, tuple(MODELS))
    constructor = MODELS[name]
    check_choice("variant", variant, tuple(constructor.VARIANTS))
    signatures = [inspect.signature(c.__init__) for c in constructor.__mro__ if issubclass(c, Classifier)]
    allowed = {name for signature in signatures for name in signature.parameters}
    allowed -= {"self", "args", "kwargs", "kind", "make_attention"}
    for name in set(overrides) - allowed:
        nearest = difflib.get_close_matches(name, allowed, n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"there are {', '.join(sorted(allowed))}"
        raise ValueError(f"unknown argument {name!r} for {constructor.__name__}; {hint}")
    model = constructor(**{**constructor.VARIANTS[variant], **overrides})
    model.build()
    return model
