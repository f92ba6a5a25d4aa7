"""Does a classifier train as its script says? What tutorials break in silence, measured: `audit(model, (x, y))`.

    from vattn_utils.audit import audit
    audit(model, (x_train, y_train), test=(x_test, y_test), callbacks=callbacks, epochs=50, batch_size=128)

or, for keras.io's examples as published: `python -m vattn_utils audit keras-io-eanet`.

A few images go through one training step and one prediction, with instruments at every layer (`instruments.Watch`). No
weight is changed. Each of `checks` is a function from what was handed over and measured (`Case`) to one `Finding`: what
it found, what it looked at, and what not.
"""

import math
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import keras

from vattn_utils import data, training
from vattn_utils.audit import upstream
from vattn_utils.audit.case import Case, taking
from vattn_utils.audit.checks import CHECKS
from vattn_utils.audit.finding import DEFECT, UNKNOWN, Finding
from vattn_utils.audit.given import first, rows
from vattn_utils.audit.instruments import untouched


class AuditError(Exception):
    """There are defects; `findings` holds them."""

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = findings
        super().__init__("; ".join(f"{f.check}: {f.found} {f.advice}".strip() for f in findings))


def audit(
    model: keras.Model,
    dataset: Any,
    recipe: training.Recipe | None = None,
    *,
    test: Any = None,
    validation_data: Any = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    schedule: Callable[[int], Any] | None = None,
    class_weight: dict[int, float] | None = None,
    epochs: int | None = None,
    batch_size: int = 32,
    steps_per_epoch: int | None = None,
    show: bool = True,
    raise_on_defect: bool = False,
) -> list[Finding]:
    """Measure what is wrong with how `model` is about to be trained, and print a table.

    Args:
        model: a Keras 3 model, best a classifier of one output `(B, classes)`, as it is before `fit`: compiled, or not,
            if there is a recipe. If it has no weights yet, it is built; nothing else of it changes.
        dataset: what it is trained on: `(x, y)` arrays, or `(x, y, sample_weight)`; a `data.Dataset` (its test images
            are then `test`); or anything that yields batches of these, with an end or without, whose first is looked
            at (a generator loses it). x: `(N, ...)` as the model takes it, or a structure of arrays; y: labels `(N,)`
            or `(N, 1)`, or rows `(N, classes)`.
        recipe: the `training.Recipe` that was intended. It says how long, augments the images (uint8, with integer
            labels), and is compared with the optimizer; a model that is not compiled is compiled by it.
        test: `(x, y)` or x, or what yields them in batches: the images that training must not see.
        validation_data, callbacks, class_weight, epochs, batch_size, steps_per_epoch: what `fit` is going to be given.
        schedule: the learning rate schedule that was intended, a function of the step.
        show: whether the table is printed.
        raise_on_defect: raise AuditError if any verdict is "defect".

    Returns a list of `Finding`, one a check. Raises ValueError if the model is neither compiled nor has a recipe, or
    does not take the images; TypeError, ValueError if the data are no pairs of images and labels in batches.
    """
    if not (model.compiled or recipe):
        raise ValueError("the model is not compiled, so there is no loss and no optimizer; compile it or give a recipe")
    if isinstance(dataset, data.Dataset):
        test = (dataset.x_test, dataset.y_test) if test is None else test
        dataset = (dataset.x_train, dataset.y_train)
    sample = first(dataset)
    if recipe:
        epochs, batch_size = recipe.epochs, recipe.batch_size
    steps = steps_per_epoch or sample.batches or (math.ceil(sample.count / batch_size) if sample.whole else None)
    case = Case(
        model, dataset, sample, recipe, test, validation_data, list(callbacks), schedule, class_weight, epochs, steps
    )
    if not model.built:
        with taking(case.x):
            model(rows(case.x, lambda array: array[:1]))
    with untouched(model):
        if recipe and not model.compiled:
            training.compile_model(model, recipe, steps or 1)
        case.optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        case.measure()
        findings = [_run(check, case) for check in CHECKS]
    if show:
        print(table(findings))
    defects = [finding for finding in findings if finding.verdict == DEFECT]
    if raise_on_defect and defects:
        raise AuditError(defects)
    return findings


def table(findings: Sequence[Finding]) -> str:
    """The findings as text: check, verdict, what was found and, behind an arrow, the way out; what was looked at."""
    width = max(len(finding.check) for finding in findings)
    lines = []
    for finding in findings:
        margin = " " * (width + 15)
        text = textwrap.wrap(finding.found, 118 - len(margin))
        for start, sentence in (
            ("-> ", finding.advice),
            ("looked at: ", finding.looked_at),
            ("not: ", finding.not_looked_at),
        ):
            indent = " " * len(start)
            text += textwrap.wrap(start + sentence, 118 - len(margin), subsequent_indent=indent) if sentence else []
        lines.append(f"{finding.check:{width}}  {finding.verdict:11}  {text[0]}")
        lines += [margin + line for line in text[1:]]
    return "\n".join(lines)


def _run(check: Callable[[Case], Finding], case: Case) -> Finding:
    try:
        return check(case)
    except Exception as error:  # a model nobody thought of: the other checks still have something to say
        return Finding(check.__name__.replace("_", " "), UNKNOWN, f"the check itself failed: {error!r}")


def report(name: str) -> None:
    """Print what is wrong with keras.io's page `name`, one of `upstream.EXAMPLES`, each of its models in a table."""
    for example in upstream.build(name):
        findings = audit(example.model, example.data, **example.given, show=False)
        defects = sum(finding.verdict == DEFECT for finding in findings)
        print(f"\n{name}: {example.name}, {defects} defects in {len(findings)} checks\n\n{table(findings)}")
