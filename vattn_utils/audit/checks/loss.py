"""Whether labels, outputs and loss fit each other, told by what the loss answers to outputs that are made for it.

A model's own outputs are no probe: while they are all but equal, as behind a head that starts at zero, a loss on
logits and one on probabilities answer alike.
"""

import functools
import math
import textwrap

import numpy as np
from keras import ops

from vattn_utils.audit.case import Case
from vattn_utils.audit.finding import DEFECT, OK, UNKNOWN, Finding
from vattn_utils.audit.instruments import read

PROBABILITIES, LOGITS, POSITIVE, NUMBERS = "probabilities", "logits", "positive numbers", "numbers"


def labels_and_loss(case: Case) -> Finding:
    """What the loss takes for outputs and labels, and what it gets.

    TensorFlow looks behind a softmax and makes up for one that is applied twice; the other backends do not.
    """
    made = functools.partial(
        Finding,
        "labels and loss",
        looked_at=f"the outputs for {case.seen}, the loss of outputs made for it, {len(case.sample.y):,} labels",
        not_looked_at="weights of samples and classes" + ("" if case.sample.whole else ", labels of later batches"),
    )
    out = case.outputs
    advice = "softmax and from_logits=False, or neither; integer labels with a sparse loss, rows with the other"
    if case.error:
        return made(DEFECT, f"the training step fails: {textwrap.shorten(str(case.error), 160)}", advice)
    if out.ndim != 2 or case.several > 1:
        shapes = f"{case.several} outputs" if case.several > 1 else f"outputs of shape {out.shape}"
        return made(UNKNOWN, f"the model has {shapes}, where one of (images, classes) can be judged")
    if not np.isfinite(out).all():
        return made(DEFECT, f"{(~np.isfinite(out)).mean():.0%} of the outputs are not finite", "look for the layer")
    if case.model.loss is None:
        return made(UNKNOWN, "the loss is made inside the model and cannot be asked by itself")
    try:
        takes, across, tells = _taken(case)
    except Exception as error:  # a loss that is no function of such labels and outputs
        found = f"the loss cannot be asked by itself: {textwrap.shorten(str(error), 100)}"
        return made(UNKNOWN, found)
    every = [out, *case.stirred]
    probabilities = all(found.min() >= 0 and found.max() <= 1 for found in every)
    if not case.stirred:  # other weights overflow
        probabilities = probabilities and np.allclose(out.sum(-1), 1, atol=1e-2)
    problems = _label_problems(case, takes, across)
    if probabilities and takes == LOGITS:
        problems.append("the outputs are probabilities, the loss takes them for logits")
    if takes in (PROBABILITIES, POSITIVE) and min(found.min() for found in every) < 0:
        problems.append(f"the outputs are logits, the loss takes them for {takes}")
    if out.shape[-1] == 1 and case.stirred and all(np.ptp(found) == 0 for found in every):
        problems.append(f"the output is {out[0, 0]:g} whatever the weights, as of a softmax over one")
    elif tells is False:
        problems.append("the loss is no lower for the right class than for its neighbour")
    loss = _loss_of(case, out)
    numbers = dict(probabilities=probabilities, from_logits=takes == LOGITS, loss=loss)
    if problems:
        return made(DEFECT, "; ".join(problems), advice, numbers)
    if tells is None:
        return made(UNKNOWN, "the loss is neither a cross-entropy nor lower for the right numbers", "", numbers)
    kind = PROBABILITIES if probabilities else takes
    return made(OK, f"{kind} {out.shape[-1]} wide, and a loss on them of {loss:.2f}", "", numbers)


def _taken(case: Case) -> tuple[str, bool, bool | None]:
    """What the loss takes outputs for; whether its classes compete; whether it is lower for the right ones, or None."""
    count, classes = case.outputs.shape
    labels = np.arange(count) % max(classes, 2)
    y = case.targets
    if (y.ndim == 2 and y.shape[-1] == classes > 1) or y.dtype.kind not in "iufb":
        y = np.eye(classes)[labels].astype(y.dtype if y.dtype.kind in "iufb" else "float32")
    else:
        y = labels.reshape(y.shape if y.size == count else (count, 1)).astype(y.dtype)
    right = np.eye(classes, dtype=bool)[labels] if classes > 1 else labels[:, None] == 1

    def ask(outputs: np.ndarray) -> float:
        return _loss_of(case, outputs, y)

    def share(p: float) -> float:
        """The loss if the right answer gets the share p."""
        return ask(np.where(right, p, (1 - p) / max(classes - 1, 1)))

    def odds(t: float) -> float:
        """The loss of both signs of t: 2 log(2 cosh(t / 2)) for a sigmoid behind the outputs, smoothed or not."""
        return ask(np.where(right, t, -t)) + ask(np.where(right, -t, t))

    z = np.random.default_rng(0).normal(0, 2, case.outputs.shape)
    answers = [ask(z), ask(-z), ask(z + 1)]
    unit = max(abs(answers[0] - answers[1]), 1e-6)
    rests = [odds(t) - odds(0) for t in (1, 4)]
    cosh = [math.log(math.cosh(t / 2)) for t in (1, 4)]
    if classes > 1 and abs(answers[2] - answers[0]) < 1e-3 * unit:
        takes, across = LOGITS, True
    elif rests[0] > 0 and math.isclose(rests[1] / rests[0], cosh[1] / cosh[0], rel_tol=0.01):
        takes, across = LOGITS, False
    elif share(1e-3) - share(1e-2) > 0.5 * (share(1e-2) - share(1e-1)) > 0:  # a logarithm: a tenth costs as much again
        p = np.where(right, 0.6, 0.4 / max(classes - 1, 1))
        across = classes > 1 and math.isclose(ask(p / 2), ask(p), rel_tol=1e-4)
        bounded = across or math.isclose(ask(0 * p + 2), ask(0 * p + 3), rel_tol=1e-4)
        takes = PROBABILITIES if bounded else POSITIVE
    else:
        same = max(answers) == min(answers)
        return NUMBERS, False, False if same else share(0.9) < share(0.1) or None
    sure = np.where(right, 0.9, 0.1 / max(classes - 1, 1))
    wrong = np.roll(sure, 1, axis=-1) if classes > 1 else 1 - sure
    if takes == LOGITS:
        sure, wrong = (np.log(p) if across else np.log(p / (1 - p)) for p in (sure, wrong))
    return takes, across, ask(sure) < ask(wrong)


def _loss_of(case: Case, outputs: np.ndarray, y: np.ndarray | None = None) -> float:
    y = ops.convert_to_tensor(case.targets if y is None else y)
    outputs = ops.convert_to_tensor(np.asarray(outputs, "float32"))
    return float(read(case.model.compute_loss(x=case.x, y=y, y_pred=outputs)))


def _label_problems(case: Case, takes: str, across: bool) -> list[str]:
    """What labels cannot be right, given what the loss takes them for."""
    labels, classes = case.sample.y, case.outputs.shape[-1]
    if labels.dtype.kind not in "iufb":
        return [f"labels of dtype {labels.dtype} are no numbers"]
    if not np.isfinite(labels).all():
        return [f"{(~np.isfinite(labels)).sum():,} labels are not finite"]
    rows = labels.ndim == 2 and labels.shape[-1] > 1
    if rows and labels.shape[-1] != classes:
        return [f"rows of {labels.shape[-1]} labels for {classes} outputs"]
    if takes in (POSITIVE, NUMBERS):
        return []
    if rows:
        if labels.min() < 0 or labels.max() > 1:
            return [f"rows of labels hold values from {labels.min():g} to {labels.max():g}, not 0 to 1"]
        return [] if not across or np.allclose(labels.sum(-1), 1, atol=1e-3) else ["rows of labels do not sum to 1"]
    last = max(classes - 1, 1)
    if labels.min() < 0 or labels.max() > last:
        return [f"labels from {labels.min():g} to {labels.max():g} for {classes} outputs, 0 to {last}"]
    missing = classes - len(np.unique(labels))
    if missing > 0 and case.sample.whole and len(labels) >= 20 * classes:
        return [f"{missing} of {classes} outputs are nobody's label among {len(labels)}"]
    return []
