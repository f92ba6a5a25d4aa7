"""When, where and with what something was run or measured."""

import datetime
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np

PACKAGE = Path(__file__).resolve().parents[1]


def provenance(precision: str = "float32") -> dict[str, Any]:
    """Date, device, backend, versions and commit of this process, beside the `precision` that it computes with."""
    backend = keras.backend.backend()
    library = sys.modules.get(backend)
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "device": _device(),
        "backend": backend,
        "precision": precision,
        "versions": {
            "python": platform.python_version(),
            "keras": keras.__version__,
            backend: getattr(library, "__version__", "unknown"),
            "numpy": np.__version__,
        },
        "commit": _commit(),
    }


def accelerators() -> list[str]:
    """The names of the accelerators that Keras sees."""
    if keras.backend.backend() == "torch":  # for which Keras 3 lists no devices
        cuda = sys.modules["torch"].cuda
        return [cuda.get_device_name(index) for index in range(cuda.device_count())]
    return [device for device in keras.distribution.list_devices() if "cpu" not in device.lower()]


def _device() -> str:
    """The accelerators that Keras sees, or else the CPU cores that this process may use."""
    if found := accelerators():
        return f"{len(found)} x {found[0]}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{cores} CPU core{'s' * (cores > 1)} ({platform.machine()})"


def _commit(package: Path = PACKAGE) -> str | None:
    """The commit of the code that runs, with "+" if files of the package differ from it.

    None outside a checkout, without git, and where the repository around the package is not that of the package.
    """
    try:
        if _git(package, "ls-files", "--error-unmatch", "__init__.py").returncode:
            return None
        found, changed = _git(package, "rev-parse", "--short=12", "HEAD"), _git(package, "status", "--porcelain", ".")
    except OSError:  # no git here, or no processes at all
        return None
    return None if found.returncode else found.stdout.strip() + ("+" if changed.stdout.strip() else "")


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
