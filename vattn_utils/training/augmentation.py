"""Augmentation: batches of images 0 to 255 in, batches of images 0 to 255 out, NumPy throughout.

It belongs to the recipe and not to the model, ends before normalisation, and is a pure function of the images and
a random generator: every backend sees the same images, and a resumed run sees those it would have seen.
"""

from collections.abc import Callable, Iterable

import numpy as np
from PIL import Image, ImageEnhance


def flip(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Mirror half of the images left to right."""
    mirrored = np.flatnonzero(random.random(len(images)) < 0.5)
    flipped = images.copy()
    flipped[mirrored] = images[mirrored, :, ::-1]
    return flipped


def crop(images: np.ndarray, random: np.random.Generator, padding: int = 4) -> np.ndarray:
    """Shift each image by up to `padding` pixels in both directions; the border is filled by reflection."""
    count, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)), mode="reflect")
    moved = np.empty_like(images)
    # Image by image: a slice is copied row by row, where an index array is followed pixel by pixel.
    for image, top, left in zip(range(count), *random.integers(0, 2 * padding + 1, (2, count)).tolist(), strict=True):
        moved[image] = padded[image, top : top + height, left : left + width]
    return moved


def trivial_augment(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """TrivialAugment: one random operation at one random strength for each image (Müller and Hutter 2021, table 1)."""
    names = random.integers(0, len(OPERATIONS), len(images))
    strengths = random.random(len(images))
    signs = random.choice([-1, 1], len(images))
    changed = np.empty_like(images)
    for index, (name, strength, sign) in enumerate(zip(names, strengths, signs, strict=True)):
        changed[index] = OPERATIONS[name](images[index], strength, sign)
    return changed


def rotate(images: np.ndarray, random: np.random.Generator, degrees: float = 36) -> np.ndarray:
    """Turn each image by up to `degrees` either way: a factor of 0.1 of the full circle, as in keras.io's EANet."""
    angles = random.uniform(-degrees, degrees, len(images))
    turned = zip(images, angles, strict=True)
    return np.stack([np.asarray(_reflected(Image.fromarray(x), angle=angle)) for x, angle in turned])


def zoom(images: np.ndarray, random: np.random.Generator, factor: float = 0.2) -> np.ndarray:
    """Enlarge or shrink height and width, each by up to `factor`; the border is filled by reflection."""
    scales = 1 + random.uniform(-factor, factor, (len(images), 2))
    return np.stack([np.asarray(_reflected(Image.fromarray(x), scale=s)) for x, s in zip(images, scales, strict=True)])


def contrast(images: np.ndarray, random: np.random.Generator, factor: float = 0.1) -> np.ndarray:
    """Stretch each channel about its mean by up to `factor`, on 0 to 255 images, where clipping is harmless."""
    stretch = 1 + random.uniform(-factor, factor, (len(images), 1, 1, 1))
    mean = images.mean(axis=(1, 2), keepdims=True)
    return np.clip(np.rint((images - mean) * stretch + mean), 0, 255).astype("uint8")


AUGMENTATIONS = {f.__name__: f for f in (flip, crop, trivial_augment, rotate, zoom, contrast)}


def augment(images: np.ndarray, names: Iterable[str], random: np.random.Generator) -> np.ndarray:
    """Apply the named augmentations in order.

    Args:
        images: uint8 `(B, H, W, 3)`.
        names: keys of `AUGMENTATIONS`.
        random: a `numpy.random.Generator`.

    Returns uint8 of the same shape.
    """
    for name in names:
        images = AUGMENTATIONS[name](images, random)
    return images


def mix(
    images: np.ndarray, targets: np.ndarray, random: np.random.Generator, mixup: float = 0.0, cutmix: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Mix each image with another of its batch: Mixup (Zhang et al. 2018) or CutMix (Yun et al. 2019).

    Args:
        images: `(B, H, W, 3)`, 0 to 255.
        targets: float `(B, num_classes)`, rows that sum to 1.
        random: a `numpy.random.Generator`.
        mixup, cutmix: the parameter of the Beta distribution of each; 0 turns it off. With both, each batch draws one.

    Returns float32 images and the targets mixed in the same proportion.
    """
    images = images.astype("float32")
    methods = [name for name, alpha in (("mixup", mixup), ("cutmix", cutmix)) if alpha]
    if not methods:
        return images, targets
    partner = random.permutation(len(images))
    if methods[random.integers(len(methods))] == "mixup":
        share = random.beta(mixup, mixup, len(images)).astype("float32")
        mixed = share[:, None, None, None] * images + (1 - share)[:, None, None, None] * images[partner]
    else:
        boxes = _rectangles(images.shape[1:3], random.beta(cutmix, cutmix, len(images)), random)
        mixed, area = images.copy(), images[0, ..., 0].size
        for image, (rows, columns) in enumerate(boxes):
            mixed[image, rows, columns] = images[partner[image], rows, columns]
        inside = [(rows.stop - rows.start) * (columns.stop - columns.start) / area for rows, columns in boxes]
        share = 1 - np.array(inside, "float32")
    return mixed, share[:, None] * targets + (1 - share)[:, None] * targets[partner]


def _rectangles(size: tuple[int, ...], share: np.ndarray, random: np.random.Generator) -> list[tuple[slice, ...]]:
    """For each image two slices, rows and columns: area 1 - share at a uniform centre, cut at the image's edge."""
    slices = []
    for length in size:
        centre = random.integers(0, length, len(share))[:, None]
        half = (np.sqrt(1 - share) * length / 2)[:, None]
        along = np.abs(np.arange(length) + 0.5 - centre) < half  # (B, length)
        begin, count = along.argmax(axis=1), along.sum(axis=1)
        slices.append([slice(one, one + many) for one, many in zip(begin.tolist(), count.tolist(), strict=True)])
    return list(zip(*slices, strict=True))


def _reflected(image: Image.Image, angle: float = 0.0, scale: Iterable[float] = (1.0, 1.0)) -> Image.Image:
    """Rotate and scale about the centre, bilinear, over a border of reflected pixels."""
    border = image.width // 2
    wide = Image.fromarray(np.pad(np.asarray(image), ((border, border), (border, border), (0, 0)), mode="reflect"))
    centre_x, centre_y = (np.array(wide.size)) / 2
    radians = np.deg2rad(angle)
    cosine, sine = np.cos(radians), np.sin(radians)
    height, width = scale
    # Output pixel to input pixel, as PIL's affine transform has it.
    a, b, d, e = cosine / width, sine / height, -sine / width, cosine / height
    matrix = (a, b, centre_x - a * centre_x - b * centre_y, d, e, centre_y - d * centre_x - e * centre_y)
    turned = wide.transform(wide.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    return turned.crop((border, border, border + image.width, border + image.height))


# Of TrivialAugment: an image `(H, W, 3)`, a strength from 0 to 1 and a sign, 1 or -1, to an image.
Operation = Callable[[np.ndarray, float, int], np.ndarray]


def _pillow(operation: Callable[[Image.Image, float, int], Image.Image]) -> Operation:
    """An operation on an image of Pillow's."""
    return lambda x, strength, sign: np.asarray(operation(Image.fromarray(x), strength, sign))


def _affine(a: float, b: float, c: float, d: float, e: float, f: float) -> Operation:
    def apply(image: Image.Image, strength: float, sign: int) -> Image.Image:
        s = strength * sign
        matrix = (1 + a * s, b * s, c * s, d * s, 1 + e * s, f * s)
        return image.transform(image.size, Image.Transform.AFFINE, matrix, fillcolor=(128, 128, 128))

    return _pillow(apply)


def _enhance(kind: type) -> Operation:
    return _pillow(lambda image, strength, sign: kind(image).enhance(1 + 0.99 * strength * sign))


def _autocontrast(x: np.ndarray, strength: float, sign: int) -> np.ndarray:
    """Each channel stretched to 0..255: `ImageOps.autocontrast`, whose table is filled by a loop in Python."""
    lowest, highest = x.min(axis=(0, 1)), x.max(axis=(0, 1)).astype(float)
    scale = np.divide(255.0, highest - lowest, out=np.ones(3), where=highest > lowest)
    return (x * scale - np.where(highest > lowest, lowest, 0) * scale).astype("uint8")


def _equalize(x: np.ndarray, strength: float, sign: int) -> np.ndarray:
    """Each channel by its ranks: `ImageOps.equalize`, whose table is filled by a loop in Python."""
    x = x + np.array([0, 256, 512])  # the three channels in one table
    counts = np.bincount(x.ravel(), minlength=768).reshape(3, 256)
    last = np.array([channel[channel > 0][-1] for channel in counts])[:, None]
    step = (x[..., 0].size - last) // 255
    ranks = (step // 2 + counts.cumsum(axis=1) - counts) // np.maximum(step, 1)
    return np.where(step > 0, ranks, np.arange(256)).clip(max=255).astype("uint8").ravel()[x]


def _solarize(x: np.ndarray, strength: float, sign: int) -> np.ndarray:
    return np.where(x < round(255 * (1 - strength)), x, 255 - x)


def _posterize(x: np.ndarray, strength: float, sign: int) -> np.ndarray:
    return x & np.uint8(256 - (1 << round(6 * strength)))  # 8 bits at strength 0, 2 at 1


# TrivialAugment's "wide" space, with translation by up to 32 pixels narrowed to 8 for images of 32.
OPERATIONS: tuple[Operation, ...] = (
    lambda x, strength, sign: x,
    _autocontrast,
    _equalize,
    _pillow(lambda image, strength, sign: image.rotate(135 * strength * sign, fillcolor=(128, 128, 128))),
    _solarize,
    _posterize,
    _enhance(ImageEnhance.Color),
    _enhance(ImageEnhance.Contrast),
    _enhance(ImageEnhance.Brightness),
    _enhance(ImageEnhance.Sharpness),
    _affine(0, 0.99, 0, 0, 0, 0),  # shear x
    _affine(0, 0, 0, 0.99, 0, 0),  # shear y
    _affine(0, 0, 8, 0, 0, 0),  # translate x
    _affine(0, 0, 0, 0, 0, 8),  # translate y
)
