"""The workflow for a GPU, rehearsed where there is none: its own steps, in their order, with small parameters.

    VATTN_DATA=... python -m tests.gpu CHAPTER

runs every `run:` of `.github/workflows/gpu.yml` in a copy of what is committed, as the workflow would for CHAPTER, but
with one epoch, and on a slice of CIFAR: in the copy, and nowhere else, the digests that CIFAR must have are the
slice's. Left out are the steps that make the environment, which is this one, and the one that adds CUDA and asks for a
GPU. It takes some minutes for each chapter on two cores, and fails as the workflow would.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import yaml

from vattn_utils.data import cifar, load
from vattn_utils.data.dataset import split_digest

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "gpu.yml"
ELSEWHERE = ("make .venv/ready", "gpu.txt")  # what these steps do needs a machine of its own, or a GPU
EPOCHS = 1
IMAGES = {"train": 6000, "test": 1000}  # of CIFAR; a recipe holds 5,000 of the training images out


def job():
    """The one job of the workflow, as YAML has it."""
    return yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]["full"]


def steps(chapter):
    """Every step that can be run here: (what it runs, its environment), an expression of GitHub's filled in."""
    given = {"matrix.chapter": chapter, "inputs.parameters": f"epochs={EPOCHS}"}
    runs = [step for step in job()["steps"] if not any(part in step.get("run", ELSEWHERE[0]) for part in ELSEWHERE)]

    def filled(value):
        return re.sub(r"\$\{\{ (.*?) \}\}", lambda found: given[found[1]], value)

    return [(step["run"], {name: filled(value) for name, value in step.get("env", {}).items()}) for step in runs]


def kept():
    """The paths that the workflow keeps, whatever happens."""
    (upload,) = (step for step in job()["steps"] if "upload-artifact" in step.get("uses", ""))
    return upload["with"]["path"].split()


def copied(folder):
    """A copy of the repository in `folder`, with this environment as its own."""
    copy = Path(folder, "book")
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(copy)], check=True)
    (copy / ".venv").mkdir()
    for path in Path(sys.prefix).iterdir():
        (copy / ".venv" / path.name).symlink_to(path)
    (copy / ".venv" / "ready").unlink(missing_ok=True)
    (copy / ".venv" / "ready").touch()  # newer than what it is made of
    return copy


def slice_of_cifar(folder, copy):
    """Write the first images of CIFAR into `folder`, and let the package in `copy` take them for all of it."""
    source = copy / "vattn_utils" / "data" / "cifar.py"
    text = source.read_text(encoding="utf-8")
    for name, digests in cifar.DIGESTS.items():
        whole, few = load(name), {}
        for split, count in IMAGES.items():
            x, y = (getattr(whole, f"{part}_{split}")[:count] for part in "xy")
            few |= {f"x_{split}": x, f"y_{split}": y}
            text = text.replace(digests[split], split_digest(x, y)[1])
        np.savez(Path(folder, f"{name}.npz"), **few)
    source.write_text(text, encoding="utf-8")


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description=__doc__.partition("\n")[0])
    parser.add_argument("chapter", choices=job()["strategy"]["matrix"]["chapter"])
    chapter = parser.parse_args(arguments).chapter
    with tempfile.TemporaryDirectory() as folder:
        copy = copied(folder)
        slice_of_cifar(folder, copy)
        for run, given in steps(chapter):
            print(f"$ {' '.join(f'{name}={value}' for name, value in given.items())} {run}", flush=True)
            path = os.pathsep.join([str(copy), str(copy / "bookproof" / "src")])
            made = {**os.environ, **given, "VATTN_DATA": folder, "PYTHONPATH": path}
            done = subprocess.run(["bash", "-e", "-c", run], cwd=copy, env=made, check=False)
            if done.returncode:
                return done.returncode
        for path in kept():
            found = sorted(file for file in (copy / path).rglob("*") if file.is_file())
            print(f"kept: {path}: {len(found)} files")
            if not found:
                print(f"{path} is kept and holds nothing")
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
