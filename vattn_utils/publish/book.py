"""The Sphinx extension of this book: its live page finds the models beside it. Needs no Keras where they are fresh."""

import shutil
import subprocess
import sys
from typing import Any

from vattn_utils.publish import made

COMMAND = [sys.executable, "-m", "vattn_utils", "export", "--live", str(made.FOLDER)]


def setup(app: Any) -> dict[str, Any]:
    """What Sphinx calls when it reads the configuration."""
    app.connect("build-finished", lay_out)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def lay_out(app: Any, exception: Exception | None) -> None:
    """Put the models into `_static/look/models/` of the built book, made first if they are not fresh.

    Raises RuntimeError, with what the command said, if they cannot be made.
    """
    if exception is not None or app.builder.format != "html":
        return
    if not made.fresh(made.FOLDER):
        print("Making the models of the live page; this takes half a minute, once.", flush=True)
        done = subprocess.run(COMMAND, cwd=made.ROOT, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(COMMAND)} failed:\n{done.stdout}{done.stderr}")
    target = app.outdir / "_static" / "look" / "models"
    target.mkdir(parents=True, exist_ok=True)
    for name in made.files(made.FOLDER):
        shutil.copyfile(made.FOLDER / name, target / name)
