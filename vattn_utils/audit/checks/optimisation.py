"""How the model is trained: decay of the right weights and of the right strength, and the schedule."""

import functools
import math
import re
from typing import Any

import keras
import numpy as np

from vattn_utils.audit.case import Case
from vattn_utils.audit.finding import DEFECT, OK, UNKNOWN, Finding, some
from vattn_utils.audit.instruments import read

OWN_RULE = 1e-3  # decays of Keras' own size (its default is 0.004), which nobody ported from the older rule


def decay_groups(case: Case) -> Finding:
    """Matrices decay; biases, scales, positions and tokens do not (as in the ViT and DeiT codes)."""
    variables = case.model.trainable_variables
    looked = f"the optimizer's choice among {len(variables)} trainable weights, by their shapes and names"
    made = functools.partial(Finding, "decay groups", looked_at=looked, not_looked_at="regularizers of layers")
    if not _decay(case.optimizer):
        return made(OK, "the optimizer has no weight decay")
    # The only place where Keras says which variables are excluded.
    decays = {id(v) for v in variables if case.optimizer._use_weight_decay(v)}
    wrong = [v.path for v in variables if id(v) in decays and not _should_decay(v)]
    spared = [v.path for v in variables if id(v) not in decays and _should_decay(v)]
    numbers = dict(under_decay=len(decays), wrongly_under=wrong, wrongly_excluded=spared)
    if wrong or spared:
        found = f"{len(wrong)} biases, scales, positions or tokens under decay ({some(wrong)})" if wrong else ""
        found += " and " if wrong and spared else ""
        found += f"{len(spared)} matrices excluded from it ({some(spared)})" if spared else ""
        advice = "optimizer.exclude_from_weight_decay(var_list=...) before fit, as in training.undecayed"
        return made(DEFECT, found, advice, numbers)
    found = f"{len(decays)} matrices decay, {len(variables) - len(decays)} vectors, positions and tokens do not"
    return made(OK, found, "", numbers)


def decay_strength(case: Case) -> Finding:
    """Keras' rule is w -= lr * wd * w, TensorFlow Addons' was w -= wd * w: a decay that was ported as it stood."""
    wd, epochs, steps = _decay(case.optimizer), case.epochs, case.steps
    made = functools.partial(
        Finding,
        "decay strength",
        looked_at=f"the optimizer's decay and learning rate, {_length(case)}",
        not_looked_at="learning rates that a callback sets",
    )
    if case.recipe and not math.isclose(wd, case.recipe.weight_decay):
        found = f"the optimizer has weight_decay={wd}, the recipe {case.recipe.weight_decay}"
        return made(DEFECT, found, "compile with the recipe: training.compile_model")
    if not wd:
        return made(OK, "the optimizer has no weight decay")
    if not steps or not epochs:
        unknown = "epochs" if steps else "steps_per_epoch"
        return made(UNKNOWN, f"how long decay {wd:g} works on a weight is not known", f"give {unknown}=")
    rate = float(np.mean(_rates(case.optimizer, epochs * steps)))
    shrinks = [1 - math.exp(-rate * wd * count) for count in (1, steps, steps * epochs)]
    numbers = dict(weight_decay=wd, mean_rate=rate, per_step=shrinks[0], per_epoch=shrinks[1], per_run=shrinks[2])
    found = f"decay {wd:g} x mean learning rate {rate:.2g} shrinks a weight by {shrinks[1]:.2g} in an epoch of {steps} "
    found += f"steps, {shrinks[2]:.2%} in {epochs} epochs"
    meant = 1 - math.exp(-wd * steps * epochs)
    if case.recipe or shrinks[2] >= 0.01 or wd >= OWN_RULE or meant < 0.01:
        return made(OK, found, "", numbers)
    found += f"; by the rule w -= wd * w, without the learning rate, it would be {meant:.0%}"
    peak = max(_rates(case.optimizer, epochs * steps))
    return made(DEFECT, found, f"for that, weight_decay={wd / peak:g}", numbers)


def schedule(case: Case) -> Finding:
    """A schedule that was made, and that the optimizer does not have."""
    made = functools.partial(
        Finding,
        "schedule",
        looked_at=f"the learning rate at 41 steps, {_length(case)}",
        not_looked_at="what callbacks set it to",
    )
    setters = [c for c in case.callbacks if isinstance(c, keras.callbacks.LearningRateScheduler)]
    total = (case.epochs or 1) * (case.steps or 1000)
    rates = _rates(case.optimizer, total)
    varies = max(rates) - min(rates) > 1e-6 * max(rates)
    numbers = dict(rates=[rates[0], max(rates), rates[-1]])
    found = f"the learning rate goes from {rates[0]:.3g} over {max(rates):.3g} to {rates[-1]:.3g}"
    found = found if varies else f"the learning rate is {rates[0]:.3g} in every step"
    if setters and varies:
        found += ", and a LearningRateScheduler cannot set it, since the optimizer has a schedule of its own"
        return made(DEFECT, found, "keep one of the two", numbers)
    intended = _rates(case.schedule, total) if case.schedule else None
    if not case.steps and (varies or intended):
        return made(UNKNOWN, "how long an epoch is, nobody knows beforehand", "give steps_per_epoch=", numbers)
    if intended is None and case.recipe:
        flat = not case.recipe.warmup and case.recipe.min_lr_ratio == 1
        peak = math.isclose(max(rates), case.recipe.learning_rate, rel_tol=0.02)
        off = flat == varies or not peak
    else:
        off = intended is not None and not np.allclose(rates, intended, rtol=0.02, atol=0.02 * max(intended))
    if off and not setters:
        return made(DEFECT, found + ", not what was intended", "give it to the optimizer", numbers)
    if setters:
        return made(OK, found + " until the LearningRateScheduler sets it", "", numbers)
    found += ", as intended" if intended or case.recipe else ", and nothing else was asked for"
    return made(OK, found, "", numbers)


def _length(case: Case) -> str:
    epochs = f"{case.epochs} epochs" if case.epochs else "epochs whose number is not known"
    return f"{epochs} of {case.steps} steps" if case.steps else f"{epochs} of unknown length"


def _should_decay(variable: keras.Variable) -> bool:
    table = re.search(r"(^|[/_])(pos|position|positional|positions|embedding|embeddings|cls|class|token)([/_]|$)",
                      variable.path)  # fmt: skip
    if "kernel" in variable.name:
        return len(variable.shape) > 1
    return sum(size > 1 for size in variable.shape) > 1 and not table


def _decay(optimizer: Any) -> float:
    return float(getattr(optimizer, "weight_decay", None) or 0)


def _rates(source: Any, total: int) -> list[float]:
    """The learning rate at 41 steps from the first to the last, of an optimizer or a schedule."""
    steps = np.linspace(0, max(total - 1, 1), 41).astype(int)
    if callable(source) and not isinstance(source, keras.optimizers.Optimizer):
        return [float(read(source(int(step)))) for step in steps]
    now, rates = read(source.iterations), []
    for step in steps:
        source.iterations.assign(step)
        rates.append(float(read(source.learning_rate)))
    source.iterations.assign(now)
    return rates
