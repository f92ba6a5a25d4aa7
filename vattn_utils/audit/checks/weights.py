"""What the model is made of: weights that are each block's own, that are trained, and no more than a fair share."""

import functools

import keras
import numpy as np
from keras import ops

from vattn_utils.audit.case import Case
from vattn_utils.audit.finding import DEFECT, OK, UNKNOWN, Finding, count, some
from vattn_utils.audit.instruments import Watch, drop_rate, is_float, own_variables, read


def shared_weights(case: Case) -> Finding:
    """Layers that several parents hold, or that are fed with what they gave: one weight where many were meant."""
    watch = case.predicting
    made = functools.partial(
        Finding,
        "shared weights",
        looked_at=f"{_called(case)}, how often and by whom",
        not_looked_at="weights that one layer uses twice within a call",
    )
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
        return made(DEFECT, found, "make new layers for each block, inside the loop", numbers)
    return made(OK, f"{held:,} parameters, none used by two blocks", "", numbers)


def gradients(case: Case) -> Finding:
    """Trainable weights that the loss does not depend on."""
    made = functools.partial(
        Finding,
        "gradients",
        looked_at=f"{len(case.model.trainable_variables)} trainable weights in two training steps on {case.seen}",
        not_looked_at="whether gradients that are there are right: that is the next check",
    )
    if case.error or len(case.gradients) < 2:
        return made(UNKNOWN, "there was no training step to read gradients from")
    peaks = {}
    for variable in case.model.trainable_variables:
        steps = [step.get(id(variable)) for step in case.gradients]
        peaks[variable.path] = max(0.0 if g is None else float(np.abs(g).max()) for g in steps)
    if not peaks:
        return made(DEFECT, "no weight is trainable", "set trainable=True for what is to learn")
    broken = [path for path, peak in peaks.items() if not np.isfinite(peak)]
    if broken:
        found = f"{len(broken)} of {len(peaks)} trainable weights get gradients that are not finite: {some(broken)}"
        return made(DEFECT, found, "look for logarithms, roots and quotients at zero", dict(broken=broken))
    dead = [path for path, peak in peaks.items() if peak == 0]
    typical = float(np.median(list(peaks.values())))
    faint = [path for path, peak in peaks.items() if 0 < peak < 1e-6 * typical]
    numbers = dict(dead=dead, faint=faint, peaks=peaks)
    if dead:
        found = f"{len(dead)} of {len(peaks)} trainable weights get no gradient in two steps: {some(dead)}"
        advice = "use them in the forward pass and pass them to the optimizer, or delete them"
        return made(DEFECT, found, advice, numbers)
    found = f"all {len(peaks)} trainable weights get one"
    if faint:
        found += f"; {len(faint)} only by rounding, as a bias does that a softmax cancels: {some(faint)}"
    return made(OK, found, "", numbers)


def frozen_weights(case: Case) -> Finding:
    """Random tables that are used and never trained, or that Keras does not know of: a lost position embedding."""
    random: list[str] = []
    kept: list[str] = []
    known = {id(v) for v in case.model.variables}
    made = functools.partial(
        Finding,
        "frozen weights",
        looked_at=f"the weights and arrays of {_called(case)}",
        not_looked_at="where weights come from, arrays in lists or in modules",
    )
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
        return made(DEFECT, found, "make it with add_weight(...), trainable", numbers)
    if kept:
        found = f"{len(kept)} weights are not trained and not as they were drawn: {some(kept)}"
        return made(UNKNOWN, found, "right if they were trained before", numbers)
    return made(OK, "no random weight is left as it was drawn", "", numbers)


def dropout(case: Case) -> Finding:
    """Dropout layers that let everything through in a training step."""
    layers = [layer for layer in case.learning.layers if drop_rate(layer) and layer.trainable]
    frozen = sum(1 for layer in case.learning.layers if drop_rate(layer)) - len(layers)
    silent = [layer.path or layer.name for layer in layers if not case.learning.dropped.get(id(layer))]
    noisy = [layer.path or layer.name for layer in layers if case.predicting.dropped.get(id(layer))]
    numbers = dict(layers=len(layers), silent=silent, in_prediction=noisy)
    made = functools.partial(
        Finding,
        "dropout",
        numbers=numbers,
        looked_at=f"what {len(layers)} dropout layers do to {case.seen}, in training and in prediction",
        not_looked_at="dropout that is no layer" + (f", {frozen} layers of frozen parts" if frozen else ""),
    )
    if case.error:
        return made(UNKNOWN, "there was no training step to watch")
    if silent:
        found = f"{len(silent)} of {len(layers)} dropout layers drop nothing in a training step: {some(silent)}"
        return made(DEFECT, found, "pass training=True down to them in train_step")
    if noisy:
        found = f"{len(noisy)} of {len(layers)} dropout layers also drop in prediction: {some(noisy)}"
        return made(DEFECT, found, "do not fix training=True in call")
    found = f"all {len(layers)} dropout layers drop in training only" if layers else "there is none"
    return made(OK, found)


def head_width(case: Case) -> Finding:
    """Attention whose heads together are not as wide as the tokens: more parameters than what it is compared with."""
    wide, total = [], 0
    made = functools.partial(
        Finding,
        "head width",
        looked_at=f"the heads of {_called(case)} that say how many they have and how wide they are",
        not_looked_at="attention that is written out, heads narrower than their share",
    )
    for layer in case.predicting.layers:
        if isinstance(layer, keras.Model):  # it has the arguments of its layers, and its input is an image
            continue
        heads = getattr(layer, "num_heads", getattr(layer, "heads", None))
        width = getattr(layer, "key_dim", getattr(layer, "head_dim", None))
        dim = case.predicting.width.get(id(layer))
        if not (isinstance(heads, int) and isinstance(width, int) and dim) or hasattr(layer, "memory_slots"):
            continue
        if heads * width > dim:
            wide.append((layer, heads, width, dim))
            # Query, key and value with biases, and back: as many inner columns more.
            total += (heads * width - dim) * (4 * dim + 3)
    if not wide:
        return made(OK, "no attention is wider inside than its tokens")
    held = count(case.model.trainable_variables)
    layer, heads, width, dim = wide[0]
    found = f"{len(wide)} attentions have {heads} heads of {width} on tokens of {dim}: {held:,} parameters"
    found += f"; with heads of {dim / heads:g} the model has {held - total:,}"
    numbers = dict(layers=[layer.path for layer, *_ in wide], parameters=held, fair=held - total)
    return made(DEFECT, found, "compare with key_dim = dim / heads", numbers)


def _called(case: Case) -> str:
    return f"{len(case.predicting.calls)} layers that a prediction calls"


def _feeds_itself(case: Case, layer: keras.layers.Layer) -> bool:
    """Whether the layer's second input changes when its first output is disturbed."""
    plain = case.predicting.second.get(id(layer))
    with Watch(case.model, disturb=layer) as watch:
        case.model.predict_on_batch(case.x)
    other = watch.second.get(id(layer))
    return plain is not None and other is not None and not np.allclose(plain, other, rtol=1e-4, atol=1e-5)


def _is_random(table: np.ndarray | None) -> bool:
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


def _is_fresh(layer: keras.layers.Layer, variable: keras.Variable) -> bool:
    """Whether a frozen layer's weight is as its initializer draws it: Keras' initializers draw the same again."""
    initializer = getattr(layer, f"{variable.name}_initializer", None)
    if initializer is None:
        return False
    return bool(np.allclose(read(variable), read(initializer(variable.shape)), rtol=1e-2, atol=1e-6))
