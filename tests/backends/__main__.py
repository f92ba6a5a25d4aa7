"""What runs where: tests, chapters and recorded models on three backends, with the oldest and the newest Keras.

    python -m tests.backends                          # all that has not passed yet at this commit; it takes hours
    python -m tests.backends newest jax eanet         # of that what these words name
    python -m tests.backends table                    # what is known, and nothing else

An environment for each version of Keras in `_build/backends` holds what is needed beyond the book's own, whose packages
it sees. What passed is noted there, and not done again until the commit is another one.
"""

import ast
import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import numpy as np

from bookproof.book import Book
from tests.test_house import imported

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "_build" / "backends"
NOTES = FOLDER / "notes.json"
BACKENDS = ("tensorflow", "jax", "torch")
OLDEST = next(
    asked.replace(">=", "==")
    for asked in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    if asked.startswith("keras>=")
)
# Of each environment, what is installed, and in which order; the oldest sees what the newest has.
ENVIRONMENTS = {"newest": ("keras", "jax", "torch", "captum", "grad-cam", "ray"), "oldest": (OLDEST,)}
CHAPTERS = tuple(Book(ROOT).chapters())
RECORDS = "records"
FORWARD, BACKWARD = 1e-4, 1e-3  # how far records may be apart, of the largest number of an array
TABLE = "table"


def concerned():
    """The files of tests that ask models, maps or training, and none of what stands on them, by name."""
    found = {}
    for path in sorted((ROOT / "tests").glob("test_*.py")):
        uses = imported(ast.parse(path.read_text(encoding="utf-8")))
        if uses & {"models", "maps", "training"} and not uses & {"publish", "show", "audit", "cost"}:
            found[path.stem] = str(path.relative_to(ROOT))
    return found | {"test_references": "tests/backends/test_references.py"}


TESTS = concerned()
STEPS = (*TESTS, RECORDS, *CHAPTERS)


def chosen(words):
    """All (version of Keras, backend, step) that `words` name: of each of the three those named, or all if none is."""
    known = (tuple(ENVIRONMENTS), BACKENDS, STEPS)
    if odd := [word for word in words if not any(word in choices for choices in known)]:
        raise SystemExit(f"{odd[0]} is no version, backend, test or chapter; there are {', '.join(sum(known, ()))}")
    keras, backends, steps = ([one for one in choices if one in words] or choices for choices in known)
    return [(version, backend, step) for version in keras for backend in backends for step in steps]


def python(version):
    """The Python of the environment with this version of Keras, which is made if it is not there."""
    place = FOLDER / version
    program = place / "bin" / "python"
    if (place / "ready").exists():
        return program
    seen = [sysconfig.get_path("purelib")]
    if version != "newest":
        seen.insert(0, packages(python("newest").parents[1]))
    print(f"Making {place.relative_to(ROOT)}, with {', '.join(ENVIRONMENTS[version])}: some minutes, once.", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
    Path(packages(place), "book.pth").write_text("".join(f"{path}\n" for path in seen))
    install = [str(program), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "--upgrade", *ENVIRONMENTS[version]], check=True)
    subprocess.run([str(program), "-m", "ipykernel", "install", "--sys-prefix"], check=True, stdout=subprocess.DEVNULL)
    (place / "ready").touch()
    return program


def packages(place):
    return sysconfig.get_path("purelib", vars={"base": str(place)})


def run(version, backend, step):
    """Do one step, and return what came of it, as the table says it: "failed ..." if it did."""
    own = FOLDER / f"{version}-{backend}"
    own.mkdir(parents=True, exist_ok=True)
    program = str(python(version))
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_NUM_INTRAOP_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join((str(ROOT), str(ROOT / "bookproof" / "src")))
    if step in TESTS:
        command = [program, "-m", "pytest", "-q", "-p", "no:cacheprovider", TESTS[step]]
        if step == "test_distribution" and backend == "jax":
            environment["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
    elif step == RECORDS:
        command = [program, "-m", "tests.backends.agreement", str(own / "records.npz")]
    else:
        command = [program, "-m", "tests.backends.chapter", step, str(own / f"{step}.ipynb")]
    log = own / f"{step}.log"
    with log.open("w") as file:
        status = subprocess.run(command, cwd=ROOT, env=environment, stdout=file, stderr=file, check=False).returncode
    if step == RECORDS:
        return f"failed, status {status}" if status else compared(version, backend)
    return told(log.read_text(errors="replace"), status)


def told(log, status):
    """What the last line of a log counts: "12 passed, 3 skipped"."""
    counts = [found for line in log.splitlines() if re.search(r" in [\d.]+s", line) for found in COUNTED.findall(line)]
    said = ", ".join(f"{number} {what}" for number, what in counts[-4:])
    failed = status not in (0, 5)  # 5: of a file whose tests are all skipped as it is read
    return (f"failed: {said}" if said else f"failed, status {status}") if failed else said or "nothing ran"


COUNTED = re.compile(r"(\d+) (passed|failed|skipped|errors?|chapter)\b")


def compared(version, backend):
    """How far the recorded models are from what TensorFlow computes with the newest Keras."""
    files = [FOLDER / f"{place}" / "records.npz" for place in ("newest-tensorflow", f"{version}-{backend}")]
    if not files[0].exists():
        return "failed: nothing to compare with; run newest tensorflow records first"
    with np.load(files[0]) as one, np.load(files[1]) as other:
        found = apart(one, other)
    forward, backward = (max(far[kind] for far in found.values()) for kind in (0, 1))
    said = f"{forward:.0e}, gradients {backward:.0e}"
    return said if forward <= FORWARD and backward <= BACKWARD else f"failed: {said}"


def apart(one, other):
    """By record, how far two files' logits and gradients are apart at most, of the largest number of each array."""
    assert set(one) == set(other)
    found = {}
    for key in one:
        name, kind = key.split(" ", 1)
        forward, backward = found.get(name, (0.0, 0.0))
        largest = float(np.abs(one[key] - other[key]).max() / max(np.abs(one[key]).max(), 1e-12))
        found[name] = (max(forward, largest), backward) if kind == "logits" else (forward, max(backward, largest))
    return found


def table(notes):
    """What is known, a line a step and a column an environment."""
    columns = [(version, backend) for version in ENVIRONMENTS for backend in BACKENDS]
    rows = [("", *(f"{backend}, {version}" for version, backend in columns))]
    for step in STEPS:
        cells = [notes.get(f"{version} {backend} {step}", {}).get("said", "") for version, backend in columns]
        if any(cells):
            rows.append((step, *cells))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def main(words):
    notes = json.loads(NOTES.read_text()) if NOTES.exists() else {}
    done = []
    if list(words) != [TABLE]:
        commit = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=ROOT, text=True).strip()
        for version, backend, step in chosen(words):
            key = f"{version} {backend} {step}"
            if notes.get(key, {}).get("commit") != commit or notes[key]["said"].startswith("failed"):
                said = run(version, backend, step)
                print(f"{key}: {said}", flush=True)
                notes[key] = {"said": said, "commit": commit}
                NOTES.write_text(json.dumps(notes, indent=1))
            done.append(notes[key]["said"])
    print(table(notes))
    return int(any(said.startswith("failed") for said in done))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
