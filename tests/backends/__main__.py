"""The package's tests on JAX and on torch, and its maps against others' on torch: `python -m tests.backends`.

An environment in `_build/backends` holds what is needed beyond the book's own, whose packages it sees.
"""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "_build" / "backends"
EXTRA = ("jax", "torch", "captum", "grad-cam")
TESTS = ("layers", "models", "attention", "relevance", "faithfulness")


def main():
    python = FOLDER / "bin" / "python"
    if not (FOLDER / "ready").exists():
        print(f"Making {FOLDER.relative_to(ROOT)}, with {', '.join(EXTRA)}; this takes some minutes, once.", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(FOLDER)], check=True)
        packages = Path(sysconfig.get_path("purelib", vars={"base": str(FOLDER)}))
        (packages / "book.pth").write_text(sysconfig.get_path("purelib") + "\n")
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *EXTRA], check=True)
        (FOLDER / "ready").touch()
    failed = False
    for backend in ("jax", "torch"):
        print(f"On {backend}:", flush=True)
        tests = [f"tests/test_{name}.py" for name in TESTS] + ["tests/backends"] * (backend == "torch")
        environment = {**os.environ, "KERAS_BACKEND": backend}
        command = [str(python), "-m", "pytest", "-q", *tests]
        failed |= bool(subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
