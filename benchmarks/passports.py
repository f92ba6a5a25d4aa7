"""What the maps that the book shows are worth: a passport for each recorded model and method.

    python benchmarks/passports.py           # measures what is missing of results/passports.jsonl
    python benchmarks/passports.py --list    # what is there, in words

A line is one record and one method, with the value of every image: 512 test images, about a minute a line on two cores.
Delete lines, or the file, to measure them again.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from vattn_utils.data.files import write_atomically
from vattn_utils.maps.passport import Passport, measure
from vattn_utils.training.measurements import from_lines, to_line
from vattn_utils.training.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "passports.jsonl"
IMAGES = 512
# The methods that the book reads as "where it looked", model by model.
SHOWN = {
    "vit": ("raw attention", "pooling", "rollout", "evidence"),
    "eanet": ("pooling", "evidence"),
    "patch_convnet": ("pooling",),
}
RECORDS = {
    "vit": ("vit-cifar100-book", "vit-shapes10-book"),
    "eanet": ("eanet-cifar100-book", "eanet-shapes10-book"),
    "patch_convnet": ("patch_convnet-cifar10-book", "patch_convnet-shapes10-book"),
}
WANTED = [(record, method) for model in RECORDS for record in RECORDS[model] for method in SHOWN[model]]


def lines(path: Path = RESULTS) -> list[dict]:
    """What is measured so far."""
    return from_lines(path.read_text(), path.name) if path.exists() else []


def measure_missing(path: Path = RESULTS, images: int = IMAGES) -> None:
    """Measure what is missing, line by line: each is written before the next begins."""
    there = lines(path)
    for record in dict.fromkeys(record for record, _ in WANTED):
        measured = {line["method"] for line in there if line["record"] == record}
        missing = [method for one, method in WANTED if one == record and method not in measured]
        for found in measure(record, missing, images) if missing else ():
            there.append({**found.line(), "provenance": provenance()})
            write_atomically(path, "".join(map(to_line, there)))
            print(found.sentence(), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="say what is measured, measure nothing")
    if parser.parse_args().list:
        print(*(Passport.of_line(line).sentence() for line in lines()), sep="\n")
    else:
        measure_missing()
