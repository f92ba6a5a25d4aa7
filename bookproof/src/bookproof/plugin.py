"""`pytest --nbval`: every chapter executed, every output compared with the committed one.

nbval collects the cells, nbclient starts the kernel and runs them; how a cell is compared and reported is decided here
and in `bookproof.verify`. pytest loads it by itself (`bookproof.entry`).

A cell that raises an error takes with it the cells that use what it should have made, and no others. One whose output
differs takes none: they run, are compared, and say whose names they use if they differ too. Only a kernel that died, or
hangs, ends its chapter.
"""

import copy
import os
import re
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbval.kernel import CURRENT_ENV_KERNEL_NAME, NbvalKernelspecManager
from nbval.plugin import IPyNbCell, IPyNbFile

from bookproof import contract, failed, kernel, names
from bookproof.book import Book
from bookproof.config import BookError
from bookproof.notebooks import Node
from bookproof.verify import complaint, place

CELL_SECONDS = 900
STARTUP_SECONDS = 180  # a kernel on a busy machine
MESSAGE_SECONDS = 60  # for what a cell showed to arrive after it ended
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Verified:
    """What is verified: the book, in which profile, and why in this one."""

    book: Book
    profile: str
    reason: str


VERIFIED = pytest.StashKey[Verified]()


class CellFailure(Exception):
    """A cell that failed, told so that a person can act on it."""


class ChapterEnd(CellFailure):
    """A cell after which no other of its chapter can run."""


class ChapterFile(IPyNbFile):
    """A chapter: it has a kernel of this environment, whichever others are installed.

    lost: {name: cell}: what cells should have made that failed, or did not run because of one that failed.
    doubtful: {name: cell}: what cells made whose outputs differ.
    """

    nb: Node

    def setup(self) -> None:
        self.ended_by = ""
        self.lost: dict[str, str] = {}
        self.doubtful: dict[str, str] = {}
        self.imported: set[str] = set()
        verified = self.config.stash[VERIFIED]
        notebook = copy.deepcopy(self.nb)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = []
        manager = AsyncKernelManager(kernel_name=CURRENT_ENV_KERNEL_NAME, kernel_spec_manager=NbvalKernelspecManager())
        self.client = NotebookClient(
            notebook,
            km=manager,
            timeout=CELL_SECONDS,
            startup_timeout=STARTUP_SECONDS,
            iopub_timeout=MESSAGE_SECONDS,
            raise_on_iopub_timeout=True,
            force_raise_errors=True,  # whichever tags ask for something else
            skip_cells_with_tag="no tag skips a cell",
            resources={"metadata": {"path": str(self.path.parent)}},
        )
        with ExitStack() as stack:
            stack.enter_context(kernel.environment(verified.book, verified.profile, told=True))
            stack.enter_context(self.client.setup_kernel(cleanup_kc=True, stderr=subprocess.DEVNULL))
            self.running = stack.pop_all()

    def teardown(self) -> None:
        if hasattr(self, "running"):
            self.running.close()


class ChapterCell(IPyNbCell):
    """A cell of a chapter: executed, then compared within its tolerance."""

    parent: ChapterFile
    cell: Node

    def setup(self) -> None:
        chapter, own = self.parent, self.names
        chapter.imported |= own.imports
        if chapter.ended_by:
            pytest.skip(f"not run, because {chapter.ended_by} of this chapter failed")
        missing = sorted(own.uses & chapter.lost.keys())
        if missing:
            failed_cell = chapter.lost[missing[0]]
            chapter.lost |= dict.fromkeys(own.makes, failed_cell)
            pytest.skip(f"not run, because it uses `{missing[0]}`, and {failed_cell} of this chapter failed")

    def runtest(self) -> None:
        verified, chapter, own = self.config.stash[VERIFIED], self.parent, self.names
        me = f"cell {self.position}"
        try:
            outputs = self.executed().outputs
        except ChapterEnd:
            chapter.ended_by = me
            raise
        except CellFailure:
            chapter.lost |= dict.fromkeys(own.makes | (own.changes - chapter.imported), me)
            raise
        for made in own.makes:
            chapter.lost.pop(made, None)
            chapter.doubtful.pop(made, None)
        found = complaint(verified.book, self.cell, outputs, verified.profile, self.path.stem, self.position)
        if found:
            doubted = [f"`{name}` of {chapter.doubtful[name]}" for name in sorted(own.uses & chapter.doubtful.keys())]
            chapter.doubtful |= dict.fromkeys(own.makes, me)
            more = "; see to that first, as this cell uses "
            raise CellFailure(f"{found.splitlines()[0]}{more}{' and '.join(doubted)}" if doubted else found)

    def executed(self) -> Node:
        """The cell with what it shows now. Raises CellFailure for an error, ChapterEnd for a dead kernel or too long a
        time."""
        client, index = self.parent.client, self.position - 1
        try:
            return client.execute_cell(client.nb.cells[index], index)
        except CellTimeoutError:
            raise ChapterEnd(f"the cell did not end within {CELL_SECONDS} s") from None
        except DeadKernelError:
            raise ChapterEnd("the kernel died; is the memory used up?") from None
        except CellExecutionError as error:
            traceback = error.traceback.strip() or f"{error.ename}: {error.evalue}"
            raise CellFailure(f"the cell raised an error\n{ANSI.sub('', traceback)}") from None

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        if isinstance(excinfo.value, CellFailure):
            return f"{self.place}: {excinfo.value}"
        return super(IPyNbCell, self).repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, self.place

    @cached_property
    def names(self) -> names.Names:
        return names.of_cell(self.cell.source)

    @property
    def position(self) -> int:
        """The cell's number among all cells of the notebook, Markdown included, from 1."""
        return 1 + next(i for i, cell in enumerate(self.parent.nb.cells) if cell is self.cell)

    @property
    def place(self) -> str:
        return place(self.parent.nb, self.position, self.path.name)


def pytest_configure(config: pytest.Config) -> None:
    try:
        config.stash[VERIFIED] = verified(config)
    except BookError as error:
        raise pytest.UsageError(str(error)) from None
    if not hasattr(config, "workerinput"):  # of xdist's processes the first alone
        failed.forget(config.stash[VERIFIED].book.build / failed.FOLDER)


def verified(config: pytest.Config) -> Verified:
    """What is verified: the book of the first file that is named, in the profile that is asked for or possible.

    Raises BookError for a profile that does not exist, and where there is no book.
    """
    named = [Path(config.invocation_params.dir, argument.partition("::")[0]) for argument in config.args]
    book = Book.find(next((path for path in named if path.exists()), None))
    variable = book.settings.profile_variable
    asked = os.environ.get(variable) if variable else None
    if asked:
        contract.check_profile(book, asked)
        return Verified(book, asked, f"${variable} asks for it")
    return Verified(book, *book.at_hand())


def pytest_report_header(config: pytest.Config) -> str:
    found = config.stash[VERIFIED]
    return f"chapters are verified in the {found.profile} profile: {' '.join(found.reason.split())}"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Executed chapters in `_build` are no chapters."""
    return True if collection_path == config.stash[VERIFIED].book.build else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        # nbval makes the items itself, and its own super() calls break if a class is replaced in its module
        if type(item) is IPyNbCell:
            item.__class__ = ChapterCell
            item.parent.__class__ = ChapterFile
