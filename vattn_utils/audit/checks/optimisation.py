"""How the model is trained: decay of the right weights and of the right strength, the schedule, the loss."""

import math
import re
import textwrap

import keras
import numpy as np
from keras import ops

from vattn_utils.audit.case import Case
from vattn_utils.audit.finding import DEFECT, OK, UNKNOWN, Finding, some
from vattn_utils.audit.instruments import read


def decay_groups(case: Case) -> Finding:
    """Matrices decay; biases, scales, positions and tokens do not (as in the ViT and DeiT codes)."""
    if not _decay(case.optimizer):
        return Finding("decay groups", OK, "the optimizer has no weight decay")
    variables = case.model.trainable_variables
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
        return Finding("decay groups", DEFECT, found, advice, numbers)
    found = f"{len(decays)} matrices decay, {len(variables) - len(decays)} vectors, positions and tokens do not"
    return Finding("decay groups", OK, found, "", numbers)


def decay_strength(case: Case) -> Finding:
    """Keras' rule is w -= lr * wd * w, TensorFlow Addons' was w -= wd * w: a decay that was ported as it stood."""
    wd, epochs, steps = _decay(case.optimizer), case.epochs, case.steps
    if case.recipe and not math.isclose(wd, case.recipe.weight_decay):
        found = f"the optimizer has weight_decay={wd}, the recipe {case.recipe.weight_decay}"
        return Finding("decay strength", DEFECT, found, "compile with the recipe: training.compile_model")
    if not wd:
        return Finding("decay strength", OK, "the optimizer has no weight decay")
    rate = float(np.mean(_rates(case.optimizer, (epochs or 1) * steps)))
    shrinks = [1 - math.exp(-rate * wd * count) for count in (1, steps, steps * (epochs or 1))]
    numbers = dict(weight_decay=wd, mean_rate=rate, per_step=shrinks[0], per_epoch=shrinks[1], per_run=shrinks[2])
    found = f"decay {wd:g} x mean learning rate {rate:.2g} shrinks a weight by {shrinks[1]:.2g} in an epoch of {steps} "
    if not epochs:
        return Finding("decay strength", UNKNOWN, found + "steps; how many epochs?", "give epochs=", numbers)
    found += f"steps, {shrinks[2]:.2%} in {epochs} epochs"
    if case.recipe or shrinks[2] >= 0.01:
        return Finding("decay strength", OK, found, "", numbers)
    meant = 1 - math.exp(-wd * steps * epochs)
    found += f"; by the rule w -= wd * w, without the learning rate, it would be {meant:.0%}"
    peak = max(_rates(case.optimizer, epochs * steps))
    return Finding("decay strength", DEFECT, found, f"for that, weight_decay={wd / peak:g}", numbers)


def schedule(case: Case) -> Finding:
    """A schedule that was made, and that the optimizer does not have."""
    total = (case.epochs or 1) * case.steps
    rates = _rates(case.optimizer, total)
    varies = max(rates) - min(rates) > 1e-6 * max(rates)
    setters = [c for c in case.callbacks if isinstance(c, keras.callbacks.LearningRateScheduler)]
    numbers = dict(rates=[rates[0], max(rates), rates[-1]])
    found = f"the learning rate goes from {rates[0]:.3g} over {max(rates):.3g} to {rates[-1]:.3g}"
    found = found if varies else f"the learning rate is {rates[0]:.3g} in every step"
    if setters and varies:
        found += ", and a LearningRateScheduler cannot set it, since the optimizer has a schedule of its own"
        return Finding("schedule", DEFECT, found, "keep one of the two", numbers)
    intended = _rates(case.schedule, total) if case.schedule else None
    if intended is None and case.recipe:
        flat = not case.recipe.warmup and case.recipe.min_lr_ratio == 1
        peak = math.isclose(max(rates), case.recipe.learning_rate, rel_tol=0.02)
        off = flat == varies or not peak
    else:
        off = intended is not None and not np.allclose(rates, intended, rtol=0.02, atol=0.02 * max(intended))
    if off and not setters:
        return Finding("schedule", DEFECT, found + ", not what was intended", "give it to the optimizer", numbers)
    if setters:
        return Finding("schedule", OK, found + " until the LearningRateScheduler sets it", "", numbers)
    found += ", as intended" if intended or case.recipe else ", and nothing else was asked for"
    return Finding("schedule", OK, found, "", numbers)


def labels_and_loss(case: Case) -> Finding:
    """What the loss takes for outputs and labels, and what it gets.

    TensorFlow looks behind a softmax and makes up for one that is applied twice; the other backends do not.
    """
    name, out, y = "labels and loss", case.outputs, np.asarray(case.targets)
    advice = "softmax and from_logits=False, or neither; integer labels with a sparse loss, rows with the other"
    if case.error:
        return Finding(name, DEFECT, f"the training step fails: {_short(case.error)}", advice)
    if out.ndim != 2 or out.shape[-1] < 2:
        return Finding(name, UNKNOWN, f"the outputs are {out.shape}, not (images, classes)")
    probabilities = bool(out.min() >= -1e-6 and np.allclose(out.sum(-1), 1, atol=1e-3))
    loss = _loss_of(case, out)
    logits = math.isclose(_loss_of(case, out + 1), loss, rel_tol=1e-4, abs_tol=1e-4)
    problems = _label_problems(case.labels, out.shape[-1])
    if probabilities and logits:
        problems.append("the outputs are probabilities, the loss takes them for logits")
    if not probabilities and not logits:
        problems.append("the outputs are logits, the loss takes them for probabilities")
    rows = y if y.ndim == 2 and y.shape[-1] > 1 else np.eye(out.shape[-1])[y.reshape(-1).astype(int) % out.shape[-1]]
    right = np.where(rows == rows.max(-1, keepdims=True), 0.9, 0.1 / (out.shape[-1] - 1))
    right = np.log(right) if logits else right
    if not _loss_of(case, right) < _loss_of(case, np.roll(right, 1, axis=-1)):
        problems.append("the loss is no lower for the right class than for its neighbour")
    numbers = dict(probabilities=probabilities, from_logits=logits, loss=loss)
    if problems:
        return Finding(name, DEFECT, "; ".join(problems), advice, numbers)
    found = f"{'probabilities' if probabilities else 'logits'} {out.shape[-1]} wide, and a loss on them of {loss:.2f}"
    return Finding(name, OK, found, "", numbers)


def _should_decay(variable):
    table = re.search(r"(^|[/_])(pos|position|positional|positions|embedding|embeddings|cls|class|token)([/_]|$)",
                      variable.path)  # fmt: skip
    if "kernel" in variable.name:
        return len(variable.shape) > 1
    return sum(size > 1 for size in variable.shape) > 1 and not table


def _decay(optimizer):
    return float(getattr(optimizer, "weight_decay", None) or 0)


def _rates(source, total):
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


def _loss_of(case, outputs):
    y, outputs = ops.convert_to_tensor(case.targets), ops.convert_to_tensor(outputs.astype("float32"))
    return float(read(case.model.compute_loss(x=case.x, y=y, y_pred=outputs)))


def _label_problems(labels, classes):
    if labels.ndim == 2 and labels.shape[-1] > 1:
        return [] if np.allclose(labels.sum(-1), 1, atol=1e-3) else ["rows of labels do not sum to 1"]
    if labels.min() < 0 or labels.max() >= classes:
        return [f"labels from {labels.min():g} to {labels.max():g} for {classes} outputs, 0 to {classes - 1}"]
    missing = classes - len(np.unique(labels))
    if missing and len(labels) >= 20 * classes:
        return [f"{missing} of {classes} outputs are nobody's label among {len(labels)}"]
    return []


def _short(error):
    return textwrap.shorten(str(error), 160)
