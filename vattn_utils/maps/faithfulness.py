"""Is a map right? Measures of attention and attribution maps, NumPy in and NumPy out.

Two questions are asked here. Does the model depend on what the map points at (`remove_by_rank`)? And does the map
point at what is there (`pointing`, `mass`, `rank_accuracy`, `roc_auc`, `iou`, against masks)? Each measure has a
chance level, and `bootstrap` gives an interval over images. Where maps come from is `attention`'s matter.
"""

import contextlib
import dataclasses

import keras
import numpy as np

# Weights of a removed pixel's neighbours in ROAD (Rong et al. 2022, section 4.2).
DIRECT, DIAGONAL = 1 / 6, 1 / 12


def order(maps, seed=0):
    """Places of each map from the highest value to the lowest, `(B, N)`; equal values in a random order.

    Args:
        maps: `(B, rows, columns)`, finite.
        seed: of the order among equals.
    """
    flat = _checked(maps).reshape(len(maps), -1)
    return np.lexsort((np.random.default_rng(seed).random(flat.shape), -flat))


def fill_mean(images, removed):
    """Replace the `removed` pixels by the mean colour of all `images`: the plainest of the three fills.

    Args:
        images: `(B, H, W, 3)`, 0 to 255.
        removed: bool `(B, H, W)`.

    Returns float32 images. A model may take the flat patch for an object of its own.
    """
    images = np.asarray(images, "float32")
    return np.where(removed[..., None], images.mean(axis=(0, 1, 2)), images)


def fill_blur(images, removed, sigma=4.0):
    """Replace the `removed` pixels by those of the blurred image; `sigma` in pixels. See `fill_mean`."""
    images = np.asarray(images, "float32")
    return np.where(removed[..., None], blurred(images, sigma), images)


def fill_linear(images, removed, noise=2.5, seed=0):
    """Replace the `removed` pixels by the weighted mean of their neighbours, removed ones included, plus some noise.

    ROAD's noisy linear imputation (Rong et al. 2022, section 4.2): one linear system an image, so that a hole is
    closed smoothly from its rim and does not betray its shape. See `fill_mean`; noise is a standard deviation in 0 to
    255 units. An image of which nothing is left is filled with the mean colour of all images.
    """
    images, holes = np.asarray(images, "float32"), np.array(removed, bool)
    empty = holes.all(axis=(1, 2))
    holes[empty] = False
    smooth = _imputed(images, holes) if holes.any() else images
    noisy = smooth + np.random.default_rng(seed).normal(0, noise, images.shape)
    filled = np.where(holes[..., None], noisy, images).astype("float32")
    filled[empty] = images.mean(axis=(0, 1, 2))
    return filled


def _imputed(images, holes):
    """Images in which each pixel of a hole is the weighted mean of its eight neighbours in the image.

    A row of pixels depends on itself and on the rows above and below it, so the system is block tridiagonal: one
    elimination from the first row to the last, and one substitution back, for all images at once.
    """
    _, height, width, _ = images.shape
    near = np.eye(width, k=1) + np.eye(width, k=-1)
    beside, beyond = DIRECT * near, DIRECT * np.eye(width) + DIAGONAL * near  # in the row itself, in the next one
    rows = np.arange(height)
    # At the border a pixel has fewer neighbours, and its weights sum to less.
    total = beside.sum(axis=1) + np.outer((rows > 0) + 0.0 + (rows < height - 1), beyond.sum(axis=1))
    share = (holes / total)[..., None]  # (B, H, W, 1); a known pixel is its own equation
    known = np.where(holes[..., None], 0.0, images)
    carried, values = [], []  # what a row passes to the one above, and its values without that
    for row in rows:
        matrix = np.eye(width) - share[:, row] * beside
        right = np.concatenate([share[:, row] * beyond, known[:, row]], axis=-1)
        if row:
            above = share[:, row] * beyond
            matrix = matrix - above @ carried[-1]
            right[..., width:] += above @ values[-1]
        solved = np.linalg.solve(matrix, right)
        carried.append(solved[..., :width])
        values.append(solved[..., width:])
    for row in reversed(rows[:-1]):
        values[row] = values[row] + carried[row] @ values[row + 1]
    return np.stack(values, axis=1)


def blurred(images, sigma):
    """Images `(B, H, W, C)` after a Gaussian of `sigma` pixels, edges repeated."""
    down, across = (_gaussian(length, sigma) for length in images.shape[1:3])
    return np.einsum("yh,bhwc,xw->byxc", down, images, across, optimize=True)


def _gaussian(length, sigma):
    """The blur of a line of pixels as a matrix, `(length, length)`; what lies beyond an end counts as that end."""
    radius = int(np.ceil(3 * sigma))
    offsets, pixels = np.arange(-radius, radius + 1), np.arange(length)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    matrix = np.zeros((length, length))
    for offset, weight in zip(offsets, kernel / kernel.sum(), strict=True):
        matrix[pixels, np.clip(pixels + offset, 0, length - 1)] += weight
    return matrix.astype("float32")


FILLS = {"mean": fill_mean, "blur": fill_blur, "linear": fill_linear}


@dataclasses.dataclass(frozen=True)
class Removal:
    """Probability of the label while patches are removed by rank.

    shares: `(steps + 1,)`, 0 to 1: how much of the image is removed.
    most_first, least_first: `(B, steps + 1)`: the most, or the least, relevant patches removed first. Inserting the
        most relevant patches into an empty image first is `least_first` read backwards.
    """

    shares: np.ndarray
    most_first: np.ndarray
    least_first: np.ndarray

    def areas(self):
        """Mean probability along both curves and their difference, `(B,)` each: deletion, insertion, difference.

        A right map has low deletion, high insertion, and a difference above 0, where chance is (Petsiuk et al. 2018,
        section 3.2; the difference makes up for what the fill alone does to the model).
        """
        steps = np.diff(self.shares)
        deletion, insertion = (
            ((curve[:, 1:] + curve[:, :-1]) / 2) @ steps for curve in (self.most_first, self.least_first)
        )
        return deletion, insertion, insertion - deletion


def remove_by_rank(predict, images, labels, maps, fill="mean", steps=8, seed=0):
    """Remove patches of `images` in the order of their `maps`, from both ends, and ask the model at every step.

    Args:
        predict: a function from images `(B, H, W, 3)`, 0 to 255, to probabilities `(B, num_classes)`.
        images, labels: `(B, H, W, 3)` and integers `(B,)`: the class whose probability is watched.
        maps: `(B, rows, columns)`, one value a patch; only their order counts.
        fill: "mean", "blur" or "linear"; see `FILLS`.
        steps: in how many equal portions the patches are removed.
        seed: of the order among patches of equal value, and of the fill's noise.

    Returns a `Removal`. Raises ValueError for an unknown fill, for maps that are not finite, and for a grid that does
    not divide the images.
    """
    if fill not in FILLS:
        raise ValueError(f"fill={fill!r} is not known; use one of {', '.join(FILLS)}")
    maps = _checked(maps)
    height, width = np.shape(images)[1:3]
    if len(maps) != len(images) or height % maps.shape[1] or width % maps.shape[2]:
        raise ValueError(f"maps of shape {maps.shape} do not fit images of shape {np.shape(images)}")
    ranks = order(maps, seed).argsort(axis=1)  # (B, N): 0 is the most relevant patch
    patches = ranks.shape[1]
    shares = np.linspace(0, 1, steps + 1)

    def probability(rank, share):
        removed = (rank < round(share * patches)).reshape(maps.shape)
        removed = removed.repeat(height // maps.shape[1], axis=1).repeat(width // maps.shape[2], axis=2)
        return predict(FILLS[fill](images, removed))[np.arange(len(labels)), labels]

    first, last = probability(ranks, 0), probability(ranks, 1)  # the same from both ends
    curves = [
        np.stack([first, *(probability(rank, share) for share in shares[1:-1]), last], axis=1)
        for rank in (ranks, patches - 1 - ranks)
    ]
    return Removal(shares, *curves)


def pointing(maps, masks, seed=0):
    """Whether the highest pixel of each map lies in its mask, 0 or 1, `(B,)` (Zhang et al. 2016, section 4.2).

    Args:
        maps: `(B, H, W)`, at the size of the image (`attention.to_image_size`).
        masks: bool `(B, H, W)`, True on the object.
        seed: chooses among equally high pixels.
    """
    maps, masks = _checked(maps, masks)
    highest = order(maps, seed)[:, :1]
    return np.take_along_axis(_flat(masks), highest, axis=1)[:, 0].astype(float)


def mass(maps, masks):
    """Share of each map's sum that lies in its mask, 0 to 1, `(B,)`; negative values count as 0. See `pointing`."""
    maps, masks = _checked(maps, masks)
    maps = np.maximum(_flat(maps), 0)
    total = maps.sum(axis=1)
    return np.where(
        total > 0, (maps * _flat(masks)).sum(axis=1) / np.where(total > 0, total, 1), _flat(masks).mean(axis=1)
    )


def rank_accuracy(maps, masks, seed=0):
    """Share of the mask's pixels among as many highest pixels of the map, 0 to 1, `(B,)`. See `pointing`.

    "Relevance rank accuracy" of Arras et al. 2022, equation 5.
    """
    maps, masks = _checked(maps, masks)
    size = _flat(masks).sum(axis=1)
    in_order = np.take_along_axis(_flat(masks), order(maps, seed), axis=1)
    return (in_order * (np.arange(in_order.shape[1]) < size[:, None])).sum(axis=1) / size


def roc_auc(maps, masks):
    """Probability that a pixel in the mask is higher than one outside it, ties half, 0 to 1, `(B,)`. See `pointing`."""
    maps, masks = _checked(maps, masks)
    ranks, inside = midranks(_flat(maps)), _flat(masks)
    size = inside.sum(axis=1)
    above = (ranks * inside).sum(axis=1) - size * (size + 1) / 2
    return above / (size * (inside.shape[1] - size))


def iou(maps, masks, threshold=0.5):
    """Overlap of the mask with the pixels above `threshold` times the map's highest, over their union, `(B,)`.

    See `pointing`. A flat map lies above its own threshold everywhere: its overlap is the mask's area.
    """
    maps, masks = _checked(maps, masks)
    above, inside = _above(maps, threshold), _flat(masks)
    return (above & inside).sum(axis=1) / (above | inside).sum(axis=1)


def chance(measure, maps, masks, threshold=0.5):
    """What `measure`, one of this module's five, gives on average for a map that knows nothing of its mask, `(B,)`.

    For all but ROC AUC (one half) and IoU that is the mask's area; for IoU what as many pixels drawn at random
    overlap, to first order.
    """
    maps, masks = _checked(maps, masks)
    inside = _flat(masks)
    area = inside.mean(axis=1)
    if measure is roc_auc:
        return np.full(len(area), 0.5)
    if measure is not iou:
        return area
    number = _above(maps, threshold).sum(axis=1)
    return number * area / (number + inside.sum(axis=1) - number * area)


MEASURES = {f.__name__: f for f in (pointing, mass, rank_accuracy, roc_auc, iou)}


def mosaics(images, labels, probabilities, number, seed=0):
    """Images of four confident images of four classes each: ground truth without masks (Böhle et al. 2021, GridPG).

    Args:
        images, labels: `(N, H, W, 3)` and integers `(N,)`.
        probabilities: of each image's own class, `(N,)`; the more confident half of the images is drawn from.
        number: how many mosaics.
        seed: of the draw.

    Returns float32 images `(number, H, W, 3)`, each cell an image at half its size, and the four labels of each,
    `(number, 4)`, in reading order. Raises ValueError for images of fewer than four classes or of odd size.
    """
    images, labels = np.asarray(images, "float32"), np.asarray(labels)
    height, width = images.shape[1:3]
    confident = np.argsort(-np.asarray(probabilities), kind="stable")[: max(4, len(labels) // 2)]
    classes = np.unique(labels[confident])
    if len(classes) < 4 or height % 2 or width % 2:
        raise ValueError(f"{len(classes)} classes and {height} x {width} pixels give no mosaic; use 4 and even sizes")
    halves = images.reshape(len(images), height // 2, 2, width // 2, 2, -1).mean(axis=(2, 4))
    random = np.random.default_rng(seed)
    chosen = np.array(
        [
            [random.choice(confident[labels[confident] == label]) for label in random.permutation(classes)[:4]]
            for _ in range(number)
        ]
    )
    cells = halves[chosen]  # (number, 4, H/2, W/2, 3)
    rows = [np.concatenate([cells[:, 2 * row], cells[:, 2 * row + 1]], axis=2) for row in (0, 1)]
    return np.concatenate(rows, axis=1), labels[chosen]


def grid_pointing(maps, cells):
    """Share of each map's positive sum that lies in one quarter of the image, 0 to 1, `(B,)`; chance is one quarter.

    Args:
        maps: `(B, rows, columns)`, even sizes, for the class of one cell of a mosaic.
        cells: which cell, 0 to 3 in reading order, `(B,)`.
    """
    maps = _checked(maps)
    _, rows, columns = maps.shape
    of_row = np.repeat([0, 2], rows // 2)[:, None] + np.repeat([0, 1], columns // 2)
    return mass(maps, of_row == np.asarray(cells)[:, None, None])


def spearman(a, b):
    """Rank correlation of two lists of maps, image by image, -1 to 1, `(B,)`; 0 where one of them is flat.

    Args:
        a, b: `(B, ...)`, the same shape.
    """
    a, b = (midranks(_flat(np.asarray(x, float))) for x in (a, b))
    a, b = (x - x.mean(axis=1, keepdims=True) for x in (a, b))
    norm = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.where(norm > 0, (a * b).sum(axis=1) / np.where(norm > 0, norm, 1), 0.0)


def cascade(model, make_maps, seed=0):
    """Replace the weights of `model` layer by layer, from the logits down, and compare the maps with the first ones.

    Cascading randomisation (Adebayo et al. 2018, section 3.1): a map that stays as it was does not show what the
    model has learned.

    Args:
        model: a Keras model; it has its own weights again afterwards.
        make_maps: a function without arguments that returns maps `(B, ...)` of `model` as it is.
        seed: of the drawn weights; see `randomise`.

    Returns a list of (layer name, rank correlation of each image's map with the one before, `(B,)`), first "none".
    """
    random, before = np.random.default_rng(seed), make_maps()
    found = [("none", np.ones(len(before)))]
    with kept_weights(model):
        for layer in reversed([layer for layer in model.layers if layer.weights]):
            randomise(layer, random)
            found.append((layer.name, spearman(before, make_maps())))
    return found


@contextlib.contextmanager
def kept_weights(model):
    """On leaving, `model` has the weights again that it had on entering."""
    kept = model.get_weights()
    try:
        yield
    finally:
        model.set_weights(kept)


def randomise(layer, random):
    """Draw each weight array of a layer or model anew, from the normal distribution of its own mean and deviation."""
    for weight in layer.trainable_weights:
        value = keras.ops.convert_to_numpy(weight).astype("float32")
        weight.assign(random.normal(value.mean(), value.std(), value.shape).astype("float32"))


def bootstrap(values, seed=0, draws=2000, level=0.95):
    """Mean of `values`, `(B,)`, and the interval that it lies in when the images are drawn again: (mean, low, high).

    For two methods on the same images give the differences of their values: the interval is then of the paired
    difference.
    """
    values = np.asarray(values, float)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"values of shape {values.shape} have no interval; give one number an image")
    drawn = np.random.default_rng(seed).integers(0, len(values), (draws, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(values.mean()), float(low), float(high)


def midranks(values):
    """Ranks along the last axis of `(B, N)`, from 1; equal values share the mean of their ranks."""
    places = values.argsort(axis=1)
    ordered = np.take_along_axis(values, places, axis=1)
    new = np.concatenate([np.ones((len(values), 1), bool), ordered[:, 1:] != ordered[:, :-1]], axis=1)
    group = new.cumsum(axis=1) - 1  # which run of equals each place belongs to
    group += np.arange(len(values))[:, None] * values.shape[1]
    sizes = np.bincount(group.ravel(), minlength=values.size)
    last = sizes.reshape(values.shape).cumsum(axis=1)  # the highest rank of each run
    middle = (last - (sizes.reshape(values.shape) - 1) / 2).ravel()[group]
    ranks = np.empty_like(middle)
    np.put_along_axis(ranks, places, middle, axis=1)
    return ranks


def _above(maps, threshold):
    flat = _flat(maps)
    return flat >= threshold * flat.max(axis=1, keepdims=True)


def _flat(values):
    return values.reshape(len(values), -1)


def _checked(maps, masks=None):
    """`maps` as floats, finite and `(B, H, W)`; with `masks` both, of one shape, each mask neither empty nor full."""
    maps = np.asarray(maps, float)
    if maps.ndim != 3 or not np.isfinite(maps).all():
        raise ValueError(f"maps of shape {maps.shape} with finite={np.isfinite(maps).all()}; use finite (B, H, W)")
    if masks is None:
        return maps
    masks = np.asarray(masks, bool)
    if masks.shape != maps.shape:
        raise ValueError(f"maps of shape {maps.shape} and masks of shape {masks.shape} differ; enlarge the maps first")
    sizes = _flat(masks).sum(axis=1)
    if (sizes == 0).any() or (sizes == masks[0].size).any():
        raise ValueError(f"mask {int(np.argmax((sizes == 0) | (sizes == masks[0].size)))} is empty or covers the image")
    return maps, masks
