"""The checks of `audit`: each is a function from a `watch.Case` to one `Finding`. They measure; names decide nothing.

The exceptions, where nothing can be measured, say so: which weights should decay, and which layers are dropout.
"""

import dataclasses
import hashlib
import math
import re
import textwrap

import keras
import numpy as np
from keras import ops

from vattn_utils.audit.instruments import Watch, drop_rate, is_float, own_variables, read

OK, DEFECT, UNKNOWN = "ok", "defect", "cannot tell"


@dataclasses.dataclass(frozen=True)
class Finding:
    """What one check found.

    check: its name. verdict: "ok", "defect" or "cannot tell". found: what was measured, a sentence. advice: the way
    out, if there is something to do. numbers: the measured values behind the sentence, by name.
    """

    check: str
    verdict: str
    found: str
    advice: str = ""
    numbers: dict = dataclasses.field(default_factory=dict)


def input_range(case):
    """Augmentation that clips, or normalises otherwise than prediction does, shows the model another range."""
    learned, predicted = case.learning.image, case.predicting.image
    if learned is None or predicted is None:
        return Finding("input range", UNKNOWN, "what the first layer with weights sees could not be read")
    extremes = [float(np.mean((x == x.min()) | (x == x.max()))) for x in (learned, predicted)]
    unseen = float(np.mean((predicted < learned.min()) | (predicted > learned.max())))
    grid = np.linspace(0, 1, 201)
    scale = float(predicted.std()) or 1.0
    distance = float(np.abs(np.quantile(learned, grid) - np.quantile(predicted, grid)).mean() / scale)
    numbers = dict(at_extremes=extremes, unseen=unseen, distance=distance)
    spans = _spans(case)
    if spans and not 0.5 < spans[1] / spans[0] < 2:
        found = f"training images span {spans[0]:.3g}, test images {spans[1]:.3g}"
        return Finding("input range", DEFECT, found, "scale both alike, best inside the model", dict(spans=spans))
    found = (
        f"{case.predicting.first} sees {_range(learned)} in training and {_range(predicted)} in prediction of the same "
        f"images; {extremes[0]:.1%} against {extremes[1]:.1%} of the values lie exactly at an end of the range"
    )
    if unseen > 0.05 or extremes[0] - extremes[1] > 0.1 or distance > 0.5:
        found += f"; {unseen:.1%} of prediction's values are outside training's range"
        advice = "augment before normalising, or give each augmentation the value_range it works on"
        return Finding("input range", DEFECT, found, advice, numbers)
    return Finding("input range", OK, found, "", numbers)


def resolution(case):
    """Objects as large in training as in prediction (Touvron et al. 2019, "Fixing the train-test discrepancy")."""
    ratios = case.magnification
    if ratios is None or len(ratios) < 2:
        return Finding("resolution", UNKNOWN, "not images, or what the first layer sees could not be read")
    sizes = [watch.image.shape[1:3] for watch in (case.learning, case.predicting)]
    logarithms = np.log(ratios)  # in which a zoom by z and one by 1 / z are equal steps
    middle = math.exp(logarithms.mean())
    error = float(logarithms.std(ddof=1)) / math.sqrt(len(ratios))
    numbers = dict(sizes=sizes, magnification=middle, error=error)
    found = (
        f"{_size(sizes[0])} pixels in training, {_size(sizes[1])} in prediction; "
        f"objects {middle:.3f} times as large (standard error {error:.3f})"
    )
    if sizes[0] != sizes[1] or abs(middle - 1) > max(0.04, 5 * error):
        advice = "resize for training and prediction alike, and crop from a padded image"
        return Finding("resolution", DEFECT, found, advice, numbers)
    return Finding("resolution", OK, found, "", numbers)


def shared_weights(case):
    """Layers that several parents hold, or that are fed with what they gave: one weight where many were meant."""
    watch = case.predicting
    repeated = [layer for layer in watch.layers if watch.calls[id(layer)] > 1 and layer.trainable_variables]
    ids = {id(layer) for layer in repeated}
    shared = []
    for layer in repeated:
        parents = [parent for parent in watch.parents[id(layer)].values() if parent is not None]
        if any(id(parent) in ids or isinstance(parent, (keras.layers.RNN, keras.layers.Wrapper)) for parent in parents):
            continue  # its parent is repeated, or repeats by profession
        if len(parents) > 1 or _feeds_itself(case, layer):
            shared.append(layer)
    owners = [id(v) for layer in watch.layers for v in own_variables(layer) if v.trainable]
    tied = len(owners) - len(set(owners))
    held = _count(case.model.trainable_variables)
    extra = sum((watch.calls[id(layer)] - 1) * _count(layer.trainable_variables) for layer in shared)
    numbers = dict(layers=[layer.path for layer in shared], held=held, separate=held + extra, tied_variables=tied)
    if shared or tied:
        found = f"{_some(layer.path for layer in shared)} called up to {max(watch.calls[i] for i in ids)} times: "
        found += f"{held:,} parameters; with a layer for each call there would be {held + extra:,}"
        found = found if shared else f"{tied} variables belong to more than one layer"
        return Finding("shared weights", DEFECT, found, "make new layers for each block, inside the loop", numbers)
    return Finding("shared weights", OK, f"{held:,} parameters, none used by two blocks", "", numbers)


def gradients(case):
    """Trainable weights that the loss does not depend on."""
    if case.error or len(case.gradients) < 2:
        return Finding("gradients", UNKNOWN, "there was no training step to read gradients from")
    peaks = {}
    for variable in case.model.trainable_variables:
        found = [step.get(id(variable)) for step in case.gradients]
        peaks[variable.path] = max(0.0 if g is None else float(np.abs(g).max()) for g in found)
    dead = [path for path, peak in peaks.items() if peak == 0]
    typical = float(np.median(list(peaks.values()))) if peaks else 0.0
    faint = [path for path, peak in peaks.items() if 0 < peak < 1e-6 * typical]
    numbers = dict(dead=dead, faint=faint, peaks=peaks)
    if dead or not peaks:
        found = f"{len(dead)} of {len(peaks)} trainable weights get no gradient in two steps: {_some(dead)}"
        advice = "use them in the forward pass and pass them to the optimizer, or delete them"
        return Finding("gradients", DEFECT, found, advice, numbers)
    found = f"all {len(peaks)} trainable weights get one"
    if faint:
        found += f"; {len(faint)} only by rounding, as a bias does that a softmax cancels: {_some(faint)}"
    return Finding("gradients", OK, found, "", numbers)


def frozen_weights(case):
    """Random tables that are used and never trained, or that Keras does not know of: a lost position embedding."""
    random, kept, known = [], [], {id(v) for v in case.model.variables}
    for layer in case.predicting.layers:
        for variable in own_variables(layer):
            if variable.trainable or not _is_random(read(variable)) or id(variable) in case.moved:
                continue
            (random if layer.trainable or _is_fresh(layer, variable) else kept).append(variable.path)
        for name, value in vars(layer).items():
            is_array = ops.is_tensor(value) or isinstance(value, keras.Variable)
            if name.startswith("_") or not is_array or id(value) in known or not is_float(value):
                continue
            if hasattr(value, "assign") or _is_random(read(value)):
                random.append(f"{layer.path}.{name} (not tracked by Keras)")
    numbers = dict(random=random, kept=kept)
    if random:
        found = f"{_some(random)}: as it was drawn, and no step changes it"
        return Finding("frozen weights", DEFECT, found, "make it with add_weight(...), trainable", numbers)
    if kept:
        found = f"{len(kept)} weights are not trained and not as they were drawn: {_some(kept)}"
        return Finding("frozen weights", UNKNOWN, found, "right if they were trained before", numbers)
    return Finding("frozen weights", OK, "no random weight is left as it was drawn", "", numbers)


def dropout(case):
    """Dropout layers that let everything through in a training step."""
    layers = [layer for layer in case.learning.layers if drop_rate(layer)]
    silent = [layer.path or layer.name for layer in layers if not case.learning.dropped.get(id(layer))]
    noisy = [layer.path or layer.name for layer in layers if case.predicting.dropped.get(id(layer))]
    numbers = dict(layers=len(layers), silent=silent, in_prediction=noisy)
    if case.error:
        return Finding("dropout", UNKNOWN, "there was no training step to watch", "", numbers)
    if silent:
        found = f"{len(silent)} of {len(layers)} dropout layers drop nothing in a training step: {_some(silent)}"
        return Finding("dropout", DEFECT, found, "pass training=True down to them in train_step", numbers)
    if noisy:
        found = f"{len(noisy)} of {len(layers)} dropout layers also drop in prediction: {_some(noisy)}"
        return Finding("dropout", DEFECT, found, "do not fix training=True in call", numbers)
    found = f"all {len(layers)} dropout layers drop in training only" if layers else "there is none"
    return Finding("dropout", OK, found, "", numbers)


def decay_groups(case):
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
        found = f"{len(wrong)} biases, scales, positions or tokens under decay ({_some(wrong)})" if wrong else ""
        found += " and " if wrong and spared else ""
        found += f"{len(spared)} matrices excluded from it ({_some(spared)})" if spared else ""
        advice = "optimizer.exclude_from_weight_decay(var_list=...) before fit, as in training.undecayed"
        return Finding("decay groups", DEFECT, found, advice, numbers)
    found = f"{len(decays)} matrices decay, {len(variables) - len(decays)} vectors, positions and tokens do not"
    return Finding("decay groups", OK, found, "", numbers)


def decay_strength(case):
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


def schedule(case):
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
        flat = not case.recipe.warmup and case.recipe.floor == 1
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


def labels_and_loss(case):
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


def test_images(case):
    """Test images where training can see them: as validation data, or in what a callback holds or refers to."""
    if case.test is None:
        return Finding("test images", UNKNOWN, "no test images were given", "give test=")
    held = _digests(_images(case.test))
    places = {"validation_data": _arrays(_batches(case.validation_data))}
    for callback in case.callbacks:
        places[type(callback).__name__] = _arrays(_referred(callback))
    counts = {place: sum(len(held & _digests(array)) for array in arrays) for place, arrays in places.items()}
    seen = {place: count for place, count in counts.items() if count}
    if seen:
        found = ", ".join(f"{place} holds {count} of {len(held)} test images" for place, count in seen.items())
        return Finding("test images", DEFECT, found, "hold training images out for that", counts)
    return Finding("test images", OK, f"none of {len(held)} in {', '.join(places)}", "", counts)


def head_width(case):
    """Attention whose heads together are not as wide as the tokens: more parameters than what it is compared with."""
    wide, total = [], 0
    for layer in case.predicting.layers:
        heads = getattr(layer, "num_heads", getattr(layer, "heads", None))
        width = getattr(layer, "key_dim", getattr(layer, "width", None))
        dim = case.predicting.width.get(id(layer))
        if not (isinstance(heads, int) and isinstance(width, int) and dim) or hasattr(layer, "memory_slots"):
            continue
        if heads * width != dim:
            wide.append((layer, heads, width, dim))
            # Query, key and value with biases, and back: inner columns more or fewer.
            total += (heads * width - dim) * (4 * dim + 3)
    if not wide:
        return Finding("head width", OK, "no attention is wider inside than its tokens")
    held = _count(case.model.trainable_variables)
    layer, heads, width, dim = wide[0]
    found = f"{len(wide)} attentions have {heads} heads of {width} on tokens of {dim}: {held:,} parameters"
    found += f"; with heads of {dim / heads:g} the model has {held - total:,}"
    numbers = dict(layers=[layer.path for layer, *_ in wide], parameters=held, fair=held - total)
    return Finding("head width", DEFECT, found, "compare with key_dim = dim / heads", numbers)


CHECKS = (
    input_range, resolution, shared_weights, gradients, frozen_weights, dropout, decay_groups, decay_strength,
    schedule, labels_and_loss, test_images, head_width,
)  # fmt: skip


def _feeds_itself(case, layer):
    """Whether the layer's second input changes when its first output is disturbed."""
    plain = case.predicting.second.get(id(layer))
    with Watch(case.model, disturb=layer) as watch:
        case.model.predict_on_batch(case.x)
    other = watch.second.get(id(layer))
    return plain is not None and other is not None and not np.allclose(plain, other, rtol=1e-4, atol=1e-5)


def _is_random(table):
    """Whether a table's rows are as unlike their neighbours as drawn ones; sines and cosines are not."""
    if table is None or not np.issubdtype(table.dtype, np.floating) or table.size < 16 or table.std() == 0:
        return False
    rows = table.reshape(-1, table.shape[-1]).astype("float64")
    if len(rows) < 2 or rows.shape[1] < 2:
        return sum(size > 1 for size in table.shape) > 1
    rows = rows - rows.mean(axis=0)
    scale = np.linalg.norm(rows, axis=1)
    likeness = (rows[1:] * rows[:-1]).sum(1) / np.maximum(scale[1:] * scale[:-1], 1e-12)
    return bool(abs(likeness.mean()) < 0.3)


def _is_fresh(layer, variable):
    """Whether a frozen layer's weight is spread as its initializer would draw it again."""
    initializer = getattr(layer, f"{variable.name}_initializer", None)
    if initializer is None:
        return False
    values, drawn = read(variable), read(initializer(variable.shape))
    grid = np.linspace(0.02, 0.98, 49)
    return bool(np.abs(np.quantile(values, grid) - np.quantile(drawn, grid)).mean() < 0.1 * (drawn.std() or 1))


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


def _referred(callback):
    """What a callback holds, and what its methods refer to: closures and globals of the script."""
    found = list(vars(callback).values())
    for owner in type(callback).__mro__:
        for method in vars(owner).values() if not owner.__module__.startswith("keras.") else ():
            if hasattr(method, "__code__"):
                found += [method.__globals__.get(name) for name in method.__code__.co_names]
                found += [cell.cell_contents for cell in method.__closure__ or ()]
    return found


def _images(test):
    return test[0] if isinstance(test, (tuple, list)) else test


def _spans(case):
    """From the lowest to the highest value, of the images to train on and of the test images."""
    if case.test is None:
        return None
    test = read(_images(case.test)[: len(case.x)])
    return [float(x.max()) - float(x.min()) for x in (case.x, test)]


def _batches(value):
    """Validation data as arrays: as given, or all batches of what yields them."""
    if value is None or isinstance(value, (tuple, list)):
        return value
    if isinstance(value, keras.utils.PyDataset):
        return [value[index] for index in range(len(value))]
    return list(value)


def _arrays(value, depth=3):
    """The arrays in nested tuples, lists and dicts, those with several rows."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return [array for item in value for array in _arrays(item, depth - 1)] if depth else []
    if isinstance(value, np.ndarray) or ops.is_tensor(value):
        array = read(value)
        return [array] if array is not None and array.ndim > 1 else []
    return []


def _digests(images):
    """One digest a row, the same for 0 to 255 in any type and for 0 to 1."""
    images = read(images).astype("float32")
    if images.size and images.max() <= 1:
        images = images * 255
    return {hashlib.sha256(np.round(row, 2).tobytes()).digest() for row in images}


def _count(variables):
    return sum(math.prod(v.shape) for v in variables)


def _some(paths):
    paths = [str(path) for path in paths]
    return ", ".join(paths[:2]) + (f" and {len(paths) - 2} more" if len(paths) > 2 else "")


def _range(x):
    return f"{x.min():.3g} to {x.max():.3g} (mean {x.mean():.2g})"


def _size(size):
    return " x ".join(map(str, size))


def _short(error):
    return textwrap.shorten(str(error), 160)
