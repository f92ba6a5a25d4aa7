"""Procedural images whose object masks are exact: the embedded data set, and the ground truth for attention maps.

Each 32 x 32 image is a pure function of (seed, index): a textured scene with up to three distractors, and one
target painted over it. The class is the target's shape (10 classes), or its shape and the mark on it (100), and
nothing else: scene, colours, position and area are drawn without a look at the class, and every class covers
exactly as many pixels. All arithmetic is on integers, so that every platform draws the same images.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

from vattn_utils.data.checks import check_choice, check_whole
from vattn_utils.data.dataset import DamagedData, Dataset, join_digests, split_digest

SIZE, SEED = 32, 0
CHUNK = 500  # images drawn at once: a matter of memory, the images are the same

TARGET_RADIUS, TARGET_AREAS = 8, (80, 104)  # pixels: a target stays within its window of 17 x 17
DISTRACTOR_RADIUS, DISTRACTOR_AREAS = 5, (24, 36)
CLEARANCE = 13  # from centre to centre, so that no distractor touches the target
TARGET_TURNS, DISTRACTOR_TURNS = range(-12, 13), range(0, 360, 15)  # degrees
# Sixteenths of a pixel, down and to the right: coarser, and the fraction of its centre would tell a shape.
TARGET_SHIFTS, DISTRACTOR_SHIFTS = range(-7, 8, 2), (-4, 4)

# Scene, target and mark share three tones out among them at random: each is as often light as dark, so the mean of a
# pixel says nothing of what covers it. Tint, clouds and grain keep a pixel within 47 of its tone: nothing is clipped.
TONES = np.array([48, 128, 208], np.int16)
TINT, CLOUDS, GRAIN = 24, 15, 8
SHARES = np.array([(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])

# A shape is a function from coordinates (u to the right, v down) to a level; the image takes as many of the window's
# lowest levels as the area says. So only the order of the levels counts, and no shape is larger than another.


def _disc(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return u * u + v * v


def _square(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.maximum(abs(u), abs(v))


def _triangle(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    edges = np.maximum(2 * v, 7 * abs(u) // 4 - v)
    return np.maximum(edges * edges, _disc(u, v) * 4 // 3)  # the disc takes off the tips


def _cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.maximum(_square(u, v), 3 * np.minimum(abs(u), abs(v)))


SHAPES = {
    "disc": _disc,
    "square": _square,
    "diamond": lambda u, v: abs(u) + abs(v),
    "triangle": _triangle,
    "nabla": lambda u, v: _triangle(u, -v),
    "cross": _cross,
    "saltire": lambda u, v: _cross(u + v, u - v),
    "hourglass": lambda u, v: np.maximum(abs(v), 5 * abs(u) - 4 * abs(v)),
    "bar": lambda u, v: np.maximum(4 * abs(u), 9 * abs(v)),
    "pillar": lambda u, v: np.maximum(9 * abs(u), 4 * abs(v)),
}

# Distractors belong to no class: they are hollow, curved, bent or open.
DISTRACTORS = {
    "ring": lambda u, v: abs(_disc(u, v) - 800**2),
    "crescent": lambda u, v: np.maximum(_disc(u, v), 1900**2 - _disc(u - 1100, v)),
    "elbow": lambda u, v: np.maximum(_square(u, v), 3 * abs(np.minimum(u, v) + 700)),
    "staple": lambda u, v: np.maximum(abs(_square(u, v) - 850), -v - 300),
}

# Nine pixels of a 5 x 5 plate in the middle of the target. No mark is another one's mirror image: flips are safe.
MARKS = {
    "plus": "..#.. ..#.. ##### ..#.. ..#..",
    "times": "#...# .#.#. ..#.. .#.#. #...#",
    "tee": "##### ..#.. ..#.. ..#.. ..#..",
    "perp": "..#.. ..#.. ..#.. ..#.. #####",
    "block": "..... .###. .###. .###. .....",
    "dots": "#.#.# ..... #.#.# ..... #.#.#",
    "corner": "#.... #.... #.... #.... #####",
    "vee": "#...# #...# .#.#. .#.#. ..#..",
    "caret": "..#.. .#.#. .#.#. #...# #...#",
    "lozenge": "..#.. .#.#. #.#.# .#.#. ..#..",
}

CLASS_NAMES = {10: tuple(SHAPES), 100: tuple(f"{shape}_{mark}" for shape in SHAPES for mark in MARKS)}
NUM_CLASSES = {"shapes10": 10, "shapes100": 100}
TRAIN, TEST = np.arange(18_000), np.arange(18_000, 20_000)  # the indices that the data sets have
DIGESTS = {
    "shapes10": {
        "train": "824e7b5b5cff975c1ba491129d0f0f792ffb5bad2e652de7885373f13c195fb4",
        "test": "d04894490521114640045ed0e9321885ff2bfdee357b6089d02d8161c416755e",
    },
    "shapes100": {
        "train": "9eacc2558b33fe1ad4b7444be21282fc52f0b000ad280e5ea363a7020fa92ec7",
        "test": "33aaa5d3e7b1a6237bad2a2e4125bd487a8ce836e579390ba4ddc29f61b8d4cd",
    },
}


def draw(
    indices: ArrayLike, num_classes: int = 10, seed: int = SEED, show: str = "all"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The images at `indices` of the endless sequence that `seed` stands for.

    Args:
        indices: integers, 0 or more, (N,).
        num_classes: 10 (the shape) or 100 (the shape and its mark). The class of image i is i modulo num_classes.
        seed: an integer from 0 to 2**64 - 1.
        show: "all", the image; "scene", the same image with the target erased, which uncovers what is behind it;
            "target", the target alone, on the scene's plain colour.

    Returns images `(N, 32, 32, 3)` uint8, labels `(N,)` int64 and masks `(N, 32, 32)` bool, True on the pixels that
    the target covers, whatever is shown. Raises ValueError for another num_classes or show, or numbers out of range.
    """
    if num_classes not in CLASS_NAMES:
        raise ValueError(f"num_classes={num_classes} is not one of 10 (shapes) and 100 (shapes with marks)")
    check_choice("show", show, ("all", "scene", "target"))
    seed = check_whole("seed", seed, 0, 2**64 - 1)
    indices = np.asarray(indices)
    if indices.ndim != 1 or (indices.size and indices.dtype.kind not in "iu") or (indices < 0).any():
        raise ValueError(f"indices of shape {indices.shape} are not a list of integers from 0; use np.arange")
    indices = indices.astype(np.int64)
    images = np.empty((len(indices), SIZE, SIZE, 3), np.uint8)
    masks = np.empty((len(indices), SIZE, SIZE), bool)
    for start in range(0, len(indices), CHUNK):
        part = slice(start, start + CHUNK)
        images[part], masks[part] = _draw(indices[part], num_classes, seed, show)
    return images, indices % num_classes, masks


def _draw(indices: np.ndarray, num_classes: int, seed: int, show: str) -> tuple[np.ndarray, np.ndarray]:
    label, random = indices % num_classes, _Random(seed, indices)
    row, column = (random.integers(TARGET_RADIUS, SIZE - TARGET_RADIUS) for _ in range(2))
    mask = _place(_target_ranks(), label * 10 // num_classes, random, random.between(TARGET_AREAS), row, column)
    colours, texture = _colours(random), _texture(random)
    # What each pixel belongs to: 0 the scene, 1 to 3 a distractor, 4 the target, 5 its mark.
    region = np.zeros(mask.shape, np.uint8)
    for number, distractor in enumerate(_distractors(random, row, column), 1):
        region[distractor] = number
    if show == "target":
        region[:] = 0
    if show != "scene":
        region[mask] = 4
        if num_classes == 100:
            region[_place(_mark_ranks(), label % 10, random, 1, row, column)] = 5
    images = colours[np.arange(len(label))[:, None, None], region]  # (N, 32, 32, 3)
    if show == "target":
        texture *= mask[..., None]
    return images + texture, mask


class _Random:
    """Random numbers as a pure function of (seed, index, how many were drawn before): a SplitMix64 hash of them.

    NumPy's generators draw from one stream, in which the image at an index would depend on those before it.
    Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, figure 13.
    """

    def __init__(self, seed: int, indices: np.ndarray) -> None:
        self.key = self.mix(self.mix(np.array([seed], np.uint64)) + indices.astype(np.uint64))[:, None]
        self.drawn = 0

    @staticmethod
    def mix(z: np.ndarray) -> np.ndarray:
        z = z + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))

    def words(self, count: int) -> np.ndarray:
        """(N, count) uint64."""
        counter = np.arange(self.drawn, self.drawn + count, dtype=np.uint64)
        self.drawn += count
        return self.mix(self.key + counter * np.uint64(0x9E3779B97F4A7C15))

    def integers(self, low: int, high: int, count: int | None = None) -> np.ndarray:
        """(N,), or (N, count), int64 from low to high - 1."""
        high_bits = self.words(count or 1) >> np.uint64(32)
        values = low + ((high_bits * np.uint64(high - low)) >> np.uint64(32)).astype(np.int64)
        return values if count else values[:, 0]

    def between(self, limits: tuple[int, int]) -> np.ndarray:
        return self.integers(limits[0], limits[1] + 1)

    def noise(self, amplitude: int, *shape: int) -> np.ndarray:
        """(N, *shape) int16 from -amplitude to amplitude, eight to a word."""
        count = math.prod(shape)
        noise = self.words(-(-count // 8)).astype("<u8").view(np.uint8)[:, :count]  # "<": on every machine alike
        return ((noise.astype(np.int16) * (2 * amplitude + 1) >> 8) - amplitude).reshape(-1, *shape)


def _colours(random: _Random) -> np.ndarray:
    """(N, 6, 3) int16, the colour of each region: a tone, tinted. A distractor never has the scene's tone."""
    shares = SHARES[random.integers(0, len(SHARES))]  # (N, 3): which tone scene, target and mark have
    others = 1 + random.integers(0, 2, 3)  # each distractor has the target's or the mark's
    distractors = np.take_along_axis(shares, others, axis=1)
    tones = TONES[np.concatenate([shares[:, :1], distractors, shares[:, 1:]], axis=1)]
    return tones[..., None] + random.noise(TINT, 6, 3)


def _texture(random: _Random) -> np.ndarray:
    """(N, 32, 32, 3) int16, over everything alike: clouds, interpolated between nodes eight pixels apart, and grain."""
    clouds = random.noise(CLOUDS, 5, 5, 3)
    node, way = np.divmod(np.arange(SIZE), 8)
    way = way.astype(np.int16)[:, None]
    clouds = clouds[:, :, node] * (8 - way) + clouds[:, :, node + 1] * way  # (N, 5, 32, 3)
    way = way[..., None]
    clouds = clouds[:, node] * (8 - way) + clouds[:, node + 1] * way  # (N, 32, 32, 3)
    return np.right_shift(clouds, 6) + random.noise(GRAIN, SIZE, SIZE, 3)


def _distractors(random: _Random, row: np.ndarray, column: np.ndarray) -> Iterator[np.ndarray]:
    """Yield three masks (N, 32, 32), each clear of the target and of one another; empty where no place was found."""
    rows, columns, found = [row], [column], [np.ones(len(row), bool)]
    for _ in range(3):
        # The first of 24 random places that is free.
        y, x = random.integers(4, SIZE - 4, 24), random.integers(4, SIZE - 4, 24)
        free = (y - row[:, None]) ** 2 + (x - column[:, None]) ** 2 >= CLEARANCE**2
        for other_row, other_column, there in zip(rows[1:], columns[1:], found[1:], strict=True):
            distance = (y - other_row[:, None]) ** 2 + (x - other_column[:, None]) ** 2
            free &= (distance >= (2 * DISTRACTOR_RADIUS) ** 2) | ~there[:, None]
        first = free.argmax(1)[:, None]
        found.append(free.any(1))
        rows.append(np.take_along_axis(y, first, 1)[:, 0])
        columns.append(np.take_along_axis(x, first, 1)[:, 0])
        kind, area = random.integers(0, len(DISTRACTORS)), random.between(DISTRACTOR_AREAS) * found[-1]
        yield _place(_distractor_ranks(), kind, random, area, rows[-1], columns[-1])


def _place(ranks: np.ndarray, kind: np.ndarray, random: _Random, area: ArrayLike, *centre: np.ndarray) -> np.ndarray:
    """(N, 32, 32) bool: the `area` first pixels of a window ranks[kind, a random pose], centred on a row and column."""
    pose, size = random.integers(0, ranks.shape[1]), ranks.shape[-1]
    y, x = (np.clip(np.arange(SIZE) - middle[:, None] + size // 2, 0, size - 1) for middle in centre)
    return ranks[kind[:, None, None], pose[:, None, None], y[:, :, None], x[:, None]] < np.reshape(area, (-1, 1, 1))


def _ranks(shapes: Sequence[Callable], radius: int, turns: range, shifts: Sequence[int], plate: int = 0) -> np.ndarray:
    """(shapes, poses, window, window) int16: in which order each shape takes its window's pixels, by turn and shift.

    The window is 2 radius + 1 pixels wide and has a rim of one pixel that is never taken; the square of `plate`
    pixels in its middle is taken before all others.
    """
    poses = list(itertools.product(turns, shifts, shifts))
    ranks = np.full((len(shapes), len(poses), 2 * radius + 3, 2 * radius + 3), np.iinfo(np.int16).max, np.int16)
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    last = _square(x, y) > (plate - 1) // 2
    for pose, (degrees, down, right) in enumerate(poses):
        cosine, sine = (round(1024 * f(math.radians(degrees))) for f in (math.cos, math.sin))
        v, u = 16 * y - down, 16 * x - right
        u, v = (u * cosine + v * sine) >> 6, (v * cosine - u * sine) >> 6  # 256 to a pixel
        for kind, shape in enumerate(shapes):
            # Of equals, those in the middle come first, so that no side is preferred.
            order = np.lexsort([levels.ravel() for levels in (_disc(u, v), shape(u, v), last)])
            ranks[kind, pose, 1:-1, 1:-1].flat[order] = np.arange(order.size)
    return ranks


@functools.cache
def _target_ranks() -> np.ndarray:
    return _ranks(tuple(SHAPES.values()), TARGET_RADIUS, TARGET_TURNS, TARGET_SHIFTS, plate=5)


@functools.cache
def _distractor_ranks() -> np.ndarray:
    return _ranks(tuple(DISTRACTORS.values()), DISTRACTOR_RADIUS, DISTRACTOR_TURNS, DISTRACTOR_SHIFTS)


@functools.cache
def _mark_ranks() -> np.ndarray:
    absent = np.array([[c != "#" for c in rows.replace(" ", "")] for rows in MARKS.values()]).reshape(-1, 1, 5, 5)
    return np.pad(absent, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=True).astype(np.int16)


@functools.cache
def load(name: str) -> Dataset:
    """The data set "shapes10" or "shapes100": 18,000 training and 2,000 test images, drawn here, with their masks.

    Raises DamagedData if what is drawn is not what was published.
    """
    num_classes = NUM_CLASSES[name]
    arrays: dict[str, np.ndarray] = {}
    for split, indices in (("train", TRAIN), ("test", TEST)):
        drawn = draw(indices, num_classes)
        found, expected = split_digest(*drawn)[1], DIGESTS[name][split]
        if found != expected:
            raise DamagedData(
                f"{name} as drawn here is not {name} as published: expected digest {expected} of the {split} split, "
                f"found {found}; shapes.py was changed, or NumPy {np.__version__} reckons wrongly"
            )
        arrays |= {f"{key}_{split}": array for key, array in zip(("x", "y", "masks"), drawn, strict=True)}
    digest = join_digests(*DIGESTS[name].values())
    return Dataset(name, class_names=CLASS_NAMES[num_classes], digest=digest, **arrays)
