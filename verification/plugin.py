"""`pytest --nbval book`: every chapter executed, every output compared with the committed one.

nbval collects the cells and starts the kernels; how a cell is run and reported is decided here, how it is compared
in `verification.verify`. Load it in the root's conftest.py: `pytest_plugins = ["verification.plugin"]`. The first cell
that fails ends its chapter.
"""

import os
import re
import tempfile
import time
from pathlib import Path
from queue import Empty

import pytest
from nbformat.v4 import output_from_msg
from nbval.plugin import IPyNbCell

from verification.execute import PROFILES, ROOT, copy_of_records, verified_profile
from verification.verify import complaint, place

PROFILE_VARIABLE = "VATTN_PROFILE"  # a chapter asks it first, then the literal in its parameters cell
CELL_SECONDS = 900
STARTUP_SECONDS = 180  # a kernel on a busy machine
ANSI = re.compile(r"\x1b\[[0-9;]*m")


class CellFailure(Exception):
    """A cell that failed, told so that a person can act on it."""


class ChapterCell(IPyNbCell):
    """A cell of a chapter: executed, then compared within its tolerance."""

    def setup(self):
        failed = getattr(self.parent, "failed_cell", None)
        if failed:
            pytest.skip(f"not run, because {failed} of this chapter failed")

    def runtest(self):
        try:
            found = complaint(self.cell, self._execute(), os.environ[PROFILE_VARIABLE], self.path.stem)
            if found:
                raise CellFailure(found)
        except CellFailure:
            self.parent.failed_cell = f"cell {self.position}"
            raise

    def repr_failure(self, excinfo, style=None):
        if isinstance(excinfo.value, CellFailure):
            return f"{self.place}: {excinfo.value}"
        return super(IPyNbCell, self).repr_failure(excinfo, style)

    def reportinfo(self):
        return self.path, 0, self.place

    @property
    def position(self):
        """The cell's number among all cells of the notebook, Markdown included, from 1."""
        return 1 + next(i for i, cell in enumerate(self.parent.nb.cells) if cell is self.cell)

    @property
    def place(self):
        return place(self.parent.nb, self.position, self.path.name)

    def _execute(self):
        """Run the cell and return its outputs. Raises CellFailure for an error, a dead kernel or too long a time."""
        kernel = self.parent.kernel
        request = kernel.kc.execute(self.cell.source, allow_stdin=False, stop_on_error=False)
        end = time.monotonic() + CELL_SECONDS
        outputs, displays, clear_next = [], {}, False
        while True:
            if time.monotonic() > end:
                kernel.interrupt()
                raise CellFailure(f"the cell did not end within {CELL_SECONDS} s")
            try:
                message = kernel.kc.get_iopub_msg(timeout=1)
            except Empty:
                if not kernel.is_alive():
                    raise CellFailure("the kernel died; is the memory used up?") from None
                continue
            kind, content = message["msg_type"], message["content"]
            if message["parent_header"].get("msg_id") != request:
                continue
            if kind == "status" and content["execution_state"] == "idle":
                return outputs
            if kind == "error":
                raise CellFailure(f"the cell raised an error\n{ANSI.sub('', chr(10).join(content['traceback']))}")
            if kind == "clear_output":
                clear_next = content["wait"]
                if not clear_next:
                    outputs.clear()
            elif kind == "update_display_data":
                for output in displays.get(content["transient"]["display_id"], ()):
                    output.update(data=content["data"], metadata=content["metadata"])
            elif kind in ("stream", "display_data", "execute_result"):
                if clear_next:
                    outputs.clear()
                    clear_next = False
                outputs.append(output_from_msg(message))
                display = content.get("transient", {}).get("display_id")
                if display:
                    displays.setdefault(display, []).append(outputs[-1])


def pytest_configure(config):
    if not config.option.nbval:
        return
    asked = os.environ.get(PROFILE_VARIABLE)
    profile = asked or verified_profile()
    if profile not in PROFILES:
        raise pytest.UsageError(f"${PROFILE_VARIABLE}={profile!r} does not exist; use one of {', '.join(PROFILES)}")
    reason = (
        f"${PROFILE_VARIABLE} asks for it" if asked else f"CIFAR was {'' if profile == 'published' else 'not '}found"
    )
    config.verified_profile = f"{profile} profile, because {reason}"
    config.option.nbval_current_env = True  # the kernel of this environment, whichever others are installed
    config.option.nbval_kernel_startup_timeout = STARTUP_SECONDS
    patch = pytest.MonkeyPatch()  # kernels inherit the environment
    config.add_cleanup(patch.undo)
    patch.setenv(PROFILE_VARIABLE, profile)
    patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    if profile != "published":  # no other may reach the committed records
        folder = tempfile.TemporaryDirectory()
        config.add_cleanup(folder.cleanup)
        patch.setenv("VATTN_RECORDS", str(copy_of_records(Path(folder.name))))
    patch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    patch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", "true")


def pytest_report_header(config):
    if config.option.nbval:
        return f"chapters are verified in the {config.verified_profile}"


def pytest_collection_modifyitems(items):
    for item in items:
        if type(item) is IPyNbCell:
            # nbval makes the items itself, and its own super() calls break if the class is replaced in its module
            item.__class__ = ChapterCell
