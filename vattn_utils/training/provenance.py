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


def _device() -> str:
    """The accelerators that Keras sees, or else the CPU cores that this process may use."""
    if keras.backend.backend() == "torch":  # for which Keras 3 lists no devices
        cuda = sys.modules["torch"].cuda
        accelerators = [cuda.get_device_name(index) for index in range(cuda.device_count())]
    else:
        accelerators = [device for device in keras.distribution.list_devices() if "cpu" not in device.lower()]
    if accelerators:
        return f"{len(accelerators)} x {accelerators[0]}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{cores} CPU core{'s' * (cores > 1)} ({platform.machine()})"


def _commit() -> str | None:
    """The commit of the code that runs, with "+" if files of the package differ from it; None outside a checkout."""
    package = Path(__file__).resolve().parents[1]
    git = ["git", "-C", str(package)]
    found = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False)
    if found.returncode:
        return None
    changed = subprocess.run([*git, "status", "--porcelain", "."], capture_output=True, text=True, check=False)
    return found.stdout.strip() + ("+" if changed.stdout.strip() else "")
