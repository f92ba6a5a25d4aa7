"""The contestants, one layer of attention each, and how long they take.

Measured on any backend, by the functions that Keras compiles for it. What is counted instead stands in `counts`; what
the numbers say, in `curves`.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from vattn_utils.audit import upstream
from vattn_utils.cost.counts import multiply_adds
from vattn_utils.data.checks import check_choice, check_whole
from vattn_utils.models import counting, patch_convnet, vit
from vattn_utils.models.eanet import ExternalAttention

DIM, HEADS = 64, 4  # of keras.io's EANet


def _explicit(x: Any) -> Any:
    return vit.SelfAttention(HEADS, name="attention")(x, return_attention=True)[0]


def _fused(x: Any) -> Any:
    return vit.SelfAttention(HEADS, name="attention")(x)


def _upstream(x: Any) -> Any:
    return upstream.eanet.external_attention(x, DIM, 4 * HEADS, 4, 0.0)


def _folded(x: Any) -> Any:
    return ExternalAttention(HEADS, memory_slots=16, coefficient=4, name="attention")(x)


def _single_head(x: Any) -> Any:
    return ExternalAttention(1, memory_slots=64, name="attention")(x)


# Of one width. The second external layer is the first one's function in fewer steps; the third has the parameters of
# self-attention: with both memory biases exactly as many.
CONTESTANTS = {
    "self, explicit": _explicit,
    "self, fused": _fused,
    "external, upstream": _upstream,
    "external, folded": _folded,
    "external, one head": _single_head,
}
MODES = ("forward", "step")


def contestant(name: str, tokens: int) -> keras.Model:
    """One attention layer as a compiled Keras model, `(B, tokens, 64)` to the same shape.

    In front of it stands one learned factor a channel, so that a training step carries the gradient through the layer
    to its input, as it must in a network. Raises ValueError for a name that is not in `CONTESTANTS`, or tokens below 1.
    """
    check_choice("contestant", name, tuple(CONTESTANTS))
    check_whole("tokens", tokens)
    inputs = keras.Input((tokens, DIM))
    outputs = CONTESTANTS[name](patch_convnet.LayerScale(1.0, name="scale")(inputs))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(1e-3), keras.losses.MeanSquaredError())
    return model


def parameters(model: keras.Model) -> int:
    """The trainable parameters of a `contestant`'s attention, the factors in front of it left out."""
    return counting.parameters(model) - DIM


def calls(model: keras.Model, tokens: int, images: int, seed: int = 0) -> dict[str, Callable[[], Any]]:
    """`{"forward": f, "step": f}`: functions without arguments that run the model once on fixed random tokens.

    Args:
        model: a `contestant`.
        tokens, images: of each call.
        seed: of the tokens, and of those that a step is to give back.

    "forward" gives the output, "step" trains: forward, backward and the update of the weights. Both return when the
    result is there.
    """
    x, y = np.random.default_rng(seed).normal(size=(2, images, tokens, DIM)).astype("float32")
    x, y = keras.ops.convert_to_tensor(x), keras.ops.convert_to_tensor(y)
    return {"forward": lambda: model.predict_on_batch(x), "step": lambda: model.train_on_batch(x, y)}


def timed(
    tokens: int,
    tokens_per_call: int,
    names: Sequence[str] | None = None,
    modes: Mapping[str, Iterable[str]] | None = None,
    rounds: int = 5,
    seconds: float = 20.0,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Time the contestants at one number of tokens, in turns, so that whatever else the machine does hits all alike.

    Args:
        tokens: N, of each image.
        tokens_per_call: how many tokens a call has; so there are `tokens_per_call / tokens` images in it, and at least
            one.
        names: of `CONTESTANTS`; None means all.
        modes: which of "forward" and "step" to measure of each, `{name: modes}`; None means both.
        rounds: how often each is called, after two calls that are not counted (the first of them compiles).
        seconds: after these, no further round begins; three are run in any case, if `rounds` asks for them.
        seed: of the tokens and the weights.

    Returns one dict a contestant: contestant, tokens, images, dim, parameters, multiply_adds (of one forward call), and
    "seconds", `{mode: [of each round]}`. Raises ValueError for numbers below 1.
    """
    for name, value in {"tokens": tokens, "tokens_per_call": tokens_per_call, "rounds": rounds}.items():
        check_whole(name, value)
    images, names = max(1, tokens_per_call // tokens), names or tuple(CONTESTANTS)
    keras.utils.set_random_seed(seed)
    models = {name: contestant(name, tokens) for name in names}
    wanted = {name: MODES if modes is None else modes[name] for name in names}
    functions = {
        (name, mode): function
        for name, model in models.items()
        for mode, function in calls(model, tokens, images, seed).items()
        if mode in wanted[name]
    }
    taken: dict[tuple[str, str], list[float]] = {key: [] for key in functions}
    for function in functions.values():
        function(), function()
    begin = time.perf_counter()
    for number in range(rounds):
        if number >= 3 and time.perf_counter() - begin > seconds:
            break
        for key in list(functions)[:: 1 - 2 * (number % 2)]:  # to and fro: nobody is always the first
            started = time.perf_counter()
            functions[key]()
            taken[key].append(time.perf_counter() - started)
    return [
        {
            "contestant": name,
            "tokens": tokens,
            "images": images,
            "dim": DIM,
            "parameters": parameters(model),
            "multiply_adds": multiply_adds(model, (images, tokens, DIM)),
            "seconds": {mode: taken[name, mode] for mode in wanted[name]},
        }
        for name, model in models.items()
    ]
