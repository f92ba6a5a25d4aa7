"""A kernel's environment, what it reads, and how much time and memory it takes."""

import contextlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from bookproof.book import Book

Reads = Callable[[], list[str]]

# Run by the kernel before the first cell: notes every file in the folders of pages and data that is opened to be read,
# every folder of theirs that is looked through, and every file of a package that is not Python.
READS = """
import os, sys
def watch(event, arguments, note=os.open({log!r}, os.O_WRONLY | os.O_CREAT), os=os):
    read = event == "open" and str(arguments[1] or "r").startswith("r") and not arguments[2] & os.O_WRONLY
    if (read or event in ("os.scandir", "os.listdir")) and isinstance(arguments[0], (str, os.PathLike)):
        name = os.path.abspath(arguments[0])
        place = name + os.sep  # so that a folder is none whose name only begins like its own
        data = read and place.startswith({packages!r}) and not name.endswith(".py") and "__pycache__" not in name
        if data or place.startswith({folders!r}) or (read and os.path.dirname(name) == {root!r}):
            os.write(note, (name + chr(10)).encode())
sys.addaudithook(watch)
del os, sys, watch
"""


@contextlib.contextmanager
def environment(book: Book, profile: str, told: bool = False) -> Iterator[Reads]:
    """The environment in which a kernel is started for a chapter in `profile`; the user's IPython is out.

    Any other profile than the published one sees copies of the folders that it could change. The profile's variable is
    unset, as papermill's parameters choose the profile, unless it is `told` in this way.

    Yields a function that returns what the kernels have read, as `READS` notes it, relative to the root.
    """
    settings, before = book.settings, dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        log, copies = Path(folder, "reads"), Path(folder, "copies")
        log.touch()
        configure(Path(folder, "profile_default"), book, log, copies)
        os.environ.update(settings.environment)
        os.environ["IPYTHONDIR"] = folder
        os.environ["PYTHONPATH"] = os.pathsep.join([*python_path(book), *filter(None, [before.get("PYTHONPATH")])])
        if settings.profile_variable:
            os.environ.pop(settings.profile_variable, None)
            if told:
                os.environ[settings.profile_variable] = profile
        if profile != settings.published:
            for variable, source in settings.copied.items():
                os.environ[variable] = str(shutil.copytree(book.root / source, copies / source))

        def reads() -> list[str]:
            paths = {Path(line) for line in log.read_text(encoding="utf-8").splitlines()}
            return sorted({str(p.relative_to(copies if copies in p.parents else book.root)) for p in paths})

        try:
            yield reads
        finally:
            os.environ.clear()
            os.environ.update(before)


def configure(folder: Path, book: Book, log: Path, copies: Path) -> None:
    """Write the IPython profile `folder` of a kernel that notes in `log` what it reads, also in the folder `copies`."""
    (folder / "startup").mkdir(parents=True)
    # its log says how the kernel is connected, which nobody asked
    (folder / "ipython_kernel_config.py").write_text("c.Application.log_level = 50\n", encoding="utf-8")
    inner = [name for name in book.folders() if name != "."]
    watched = tuple(f"{place}{os.sep}" for place in [*(book.root / name for name in inner), copies])
    packages = tuple(f"{book.root / name}{os.sep}" for name in book.settings.packages.values())
    # A page or data in the root itself: the files beside it, but not all that is below.
    root = str(book.root) if len(inner) < len(book.folders()) else ""
    notes = READS.format(log=str(log), folders=watched, packages=packages, root=root)
    (folder / "startup" / "reads.py").write_text(notes, encoding="utf-8")


def python_path(book: Book) -> list[str]:
    """Where a kernel finds the book's own packages, installed or not."""
    parents = [str((book.root / folder).parent) for folder in book.settings.packages.values()]
    return list(dict.fromkeys([str(book.root), *parents]))


@dataclass(frozen=True)
class Limits:
    """What a chapter may take: wall-clock seconds with the kernel's start, and the kernel's resident memory."""

    seconds: float
    bytes: int


class Watchdog:
    """Measures the kernels started within it, and kills them when they pass the limits.

    After it: `seconds`, `peak_bytes` (of resident memory, all processes together), and `exceeded`, a sentence or "".
    """

    INTERVAL = 0.2

    def __init__(self, limits: Limits | None):
        self.limits = limits
        self.seconds, self.peak_bytes, self.exceeded = 0.0, 0, ""
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Watchdog":
        self._started = time.monotonic()
        self._others = set(psutil.Process().children(recursive=True))
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()
        self.seconds = time.monotonic() - self._started

    def _watch(self) -> None:
        while not self._done.wait(self.INTERVAL):
            kernels = set(psutil.Process().children(recursive=True)) - self._others
            self.peak_bytes = max(self.peak_bytes, sum(resident_bytes(kernel) for kernel in kernels))
            seconds = time.monotonic() - self._started
            if self.limits and seconds > self.limits.seconds:
                self.exceeded = f"it took more than {self.limits.seconds:g} s; let it train or evaluate less"
            elif self.limits and self.peak_bytes > self.limits.bytes:
                limit = f"{self.limits.bytes / 2**30:.2f} GiB"
                self.exceeded = f"it needed more than {limit} of memory; use smaller batches or fewer images"
            if self.exceeded:
                for kernel in kernels:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        kernel.kill()
                return


def resident_bytes(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:  # it has just ended
        return 0
