"""What the model is made of: weights that are each block's own, that are trained, and no more than a fair share."""

import keras
import numpy as np
from keras import ops

from vattn_utils.audit.case import Case
from vattn_utils.audit.finding import DEFECT, OK, UNKNOWN, Finding, count, some
from vattn_utils.audit.instruments import Watch, drop_rate, is_float, own_variables, read


def shared_weights(case: Case) -> Finding:
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
    held = count(case.model.trainable_variables)
    extra = sum((watch.calls[id(layer)] - 1) * count(layer.trainable_variables) for layer in shared)
    numbers = dict(layers=[layer.path for layer in shared], held=held, separate=held + extra, tied_variables=tied)
    if shared or tied:
        found = f"{some(layer.path for layer in shared)} called up to {max(watch.calls[i] for i in ids)} times: "
        found += f"{held:,} parameters; with a layer for each call there would be {held + extra:,}"
        found = found if shared else f"{tied} variables belong to more than one layer"
        return Finding("shared weights", DEFECT, found, "make new layers for each block, inside the loop", numbers)
    return Finding("shared weights", OK, f"{held:,} parameters, none used by two blocks", "", numbers)


def gradients(case: Case) -> Finding:
    """Trainable weights that the loss does not depend on."""
    if case.error or len(case.gradients) < 2:
        return Finding("gradients", UNKNOWN, "there was no training step to read gradients from")
    peaks = {}
    for variable in case.model.trainable_variables:
        steps = [step.get(id(variable)) for step in case.gradients]
        peaks[variable.path] = max(0.0 if g is None else float(np.abs(g).max()) for g in steps)
    dead = [path for path, peak in peaks.items() if peak == 0]
    typical = float(np.median(list(peaks.values()))) if peaks else 0.0
    faint = [path for path, peak in peaks.items() if 0 < peak < 1e-6 * typical]
    numbers = dict(dead=dead, faint=faint, peaks=peaks)
    if dead or not peaks:
        found = f"{len(dead)} of {len(peaks)} trainable weights get no gradient in two steps: {some(dead)}"
        advice = "use them in the forward pass and pass them to the optimizer, or delete them"
        return Finding("gradients", DEFECT, found, advice, numbers)
    found = f"all {len(peaks)} trainable weights get one"
    if faint:
        found += f"; {len(faint)} only by rounding, as a bias does that a softmax cancels: {some(faint)}"
    return Finding("gradients", OK, found, "", numbers)


def frozen_weights(case: Case) -> Finding:
    """Random tables that are used and never trained, or that Keras does not know of: a lost position embedding."""
    random: list[str] = []
    kept: list[str] = []
    known = {id(v) for v in case.model.variables}
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
        found = f"{some(random)}: as it was drawn, and no step changes it"
        return Finding("frozen weights", DEFECT, found, "make it with add_weight(...), trainable", numbers)
    if kept:
        found = f"{len(kept)} weights are not trained and not as they were drawn: {some(kept)}"
        return Finding("frozen weights", UNKNOWN, found, "right if they were trained before", numbers)
    return Finding("frozen weights", OK, "no random weight is left as it was drawn", "", numbers)


def dropout(case: Case) -> Finding:
    """Dropout layers that let everything through in a training step."""
    layers = [layer for layer in case.learning.layers if drop_rate(layer)]
    silent = [layer.path or layer.name for layer in layers if not case.learning.dropped.get(id(layer))]
    noisy = [layer.path or layer.name for layer in layers if case.predicting.dropped.get(id(layer))]
    numbers = dict(layers=len(layers), silent=silent, in_prediction=noisy)
    if case.error:
        return Finding("dropout", UNKNOWN, "there was no training step to watch", "", numbers)
    if silent:
        found = f"{len(silent)} of {len(layers)} dropout layers drop nothing in a training step: {some(silent)}"
        return Finding("dropout", DEFECT, found, "pass training=True down to them in train_step", numbers)
    if noisy:
        found = f"{len(noisy)} of {len(layers)} dropout layers also drop in prediction: {some(noisy)}"
        return Finding("dropout", DEFECT, found, "do not fix training=True in call", numbers)
    found = f"all {len(layers)} dropout layers drop in training only" if layers else "there is none"
    return Finding("dropout", OK, found, "", numbers)


def head_width(case: Case) -> Finding:
    """Attention whose heads together are not as wide as the tokens: more parameters than what it is compared with."""
    wide, total = [], 0
    for layer in case.predicting.layers:
        if isinstance(layer, keras.Model):  # it has the arguments of its layers, and its input is an image
            continue
        heads = getattr(layer, "num_heads", getattr(layer, "heads", None))
        width = getattr(layer, "key_dim", getattr(layer, "head_dim", None))
        dim = case.predicting.width.get(id(layer))
        if not (isinstance(heads, int) and isinstance(width, int) and dim) or hasattr(layer, "memory_slots"):
            continue
        if heads * width != dim:
            wide.append((layer, heads, width, dim))
            # Query, key and value with biases, and back: inner columns more or fewer.
            total += (heads * width - dim) * (4 * dim + 3)
    if not wide:
        return Finding("head width", OK, "no attention is wider inside than its tokens")
    held = count(case.model.trainable_variables)
    layer, heads, width, dim = wide[0]
    found = f"{len(wide)} attentions have {heads} heads of {width} on tokens of {dim}: {held:,} parameters"
    found += f"; with heads of {dim / heads:g} the model has {held - total:,}"
    numbers = dict(layers=[layer.path for layer, *_ in wide], parameters=held, fair=held - total)
    return Finding("head width", DEFECT, found, "compare with key_dim = dim / heads", numbers)


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
