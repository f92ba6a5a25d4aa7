"""Names beside the marks of a scatter plot, placed so that they can be read."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

PLACES = [(1, 0.4), (1, -0.4), (-1, 0.4), (-1, -0.4), (0, 1), (0, -1)]  # around a mark, from its middle


def name_marks(axis: Axes, marks: Sequence[tuple[str, float, float, str]]) -> None:
    """Write each name beside its mark, there where it covers the least of other names, other marks and the axes' rim.

    marks: of tuples (name, x, y, colour of the name). Call it last, when the limits of `axis` are set.
    A name that had to go further away is tied to its mark by a line.
    """
    axis.autoscale_view()  # which Matplotlib puts off until it draws
    middles = [axis.transData.transform((x, y)) for _, x, y, _ in marks]
    point = axis.figure.dpi / 72  # in pixels
    taken = [Bbox([middle - 4 * point, middle + 4 * point]) for middle in middles]
    for (name, x, y, color), middle in zip(marks, middles, strict=True):
        label = axis.text(x, y, name, fontsize=9, color=color, parse_math=False)
        size = np.array(label.get_window_extent().size)
        places = []
        for distance in (1, 2, 3.5, 5):
            for place in PLACES:
                corner = middle + place * (7 * distance * point + size / 2) - size / 2
                box = Bbox([corner, corner + size])
                inside = Bbox.intersection(box, axis.bbox)
                covered = size.prod() - (_area(inside) if inside else 0)
                covered += sum(_area(both) for other in taken if (both := Bbox.intersection(box, other)))
                places.append((round(covered), distance, box))
        _, distance, box = min(places, key=lambda place: place[0])
        taken.append(box)
        label.remove()
        tie = dict(arrowstyle="-", color="0.4", linewidth=0.8, shrinkB=3)
        left, bottom = axis.transData.inverted().transform(box.min)
        axis.annotate(
            name, (x, y), (left, bottom), fontsize=9, color=color, parse_math=False,
            va="bottom", arrowprops=tie if distance > 1 else None,
        )  # fmt: skip


def _area(box: Bbox) -> float:
    return box.width * box.height
