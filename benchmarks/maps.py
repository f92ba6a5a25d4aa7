"""What looking costs: the attention of all layers and heads against a plain forward pass, in time and in memory.

    python benchmarks/maps.py                                  # the book's ViT, 1,000 images
    python benchmarks/maps.py --record eanet-cifar100-book

Times are medians over passes that take turns. Memory is the highest resident memory of a process that goes one way
only, everything counted: Python, the backend, the model.
"""

import argparse
import re
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from vattn_utils.maps import attention
from vattn_utils.training import records

BATCH = 64
WAYS = {
    "plain forward pass": lambda model, images: [
        model.predict_on_batch(images[start : start + BATCH]) for start in range(0, len(images), BATCH)
    ],
    "maps, batch by batch": lambda model, images: [None for _ in attention.batches(model, images, BATCH)],
    "maps, all of them kept": lambda model, images: attention.maps(model, images, BATCH),
}


def peak_bytes():
    """The highest resident memory of this process so far."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage counts, on Linux, what the process was before it became this program
        return 1024 * int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python benchmarks/maps.py", description=__doc__.split("\n")[0])
    parser.add_argument("--record", default="vit-cifar100-book", help="whose model is looked into")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5, help="passes of each way that are timed")
    parser.add_argument("--way", choices=WAYS, help="go this way once and print the bytes that it took")
    options = parser.parse_args(arguments)
    try:
        model = records.load(options.record).model()
    except records.RecordError as error:
        parser.error(str(error))
    edge = model.image_size
    images = np.random.default_rng(0).integers(0, 256, (options.images, edge, edge, 3), dtype="uint8")
    if options.way:
        WAYS[options.way](model, images)
        print(peak_bytes())
        return
    seconds = {way: [] for way in WAYS}
    for go in WAYS.values():
        go(model, images[:BATCH])  # the first call sets the backend up
    for _ in range(options.repeats):
        for way, go in WAYS.items():
            begin = time.perf_counter()
            go(model, images)
            seconds[way].append(time.perf_counter() - begin)
    print(f"{options.record}, {options.images} images in batches of {BATCH}, median of {options.repeats} passes")
    first = None
    for way in WAYS:
        command = [sys.executable, __file__, "--record", options.record, "--images", str(options.images), "--way", way]
        size = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        median = statistics.median(seconds[way])
        first = first or (median, size)
        ratios = f"({median / first[0]:.2f} times the time, {size / first[1]:.2f} times the memory)"
        print(f"{way:23} {median:7.2f} s {size / 2**20:7,.0f} MiB  {ratios}")


if __name__ == "__main__":
    main()
