"""Chapters are executed here, by papermill, into `_build/executed/<profile>/` and never over their source.

    python -m verification.execute run --profile quick [--chapter eanet] [--set name=value ...]
    python -m verification.execute refresh [--chapter eanet]
    python -m verification.execute book --profile quick
    python -m verification.execute which

`run` skips a chapter whose inputs did not change. `refresh` puts the outputs of the published profile back into
`book/`. `book` lays out a copy of the book with the outputs of another profile, for rendering. `which` says which
data is at hand, and so in which profile the committed outputs can be verified.
"""

import argparse
import base64
import contextlib
import datetime
import hashlib
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import nbformat
import psutil

from verification import contract, freshness
from verification.contract import PROFILES
from verification.hygiene import (
    CELL_METADATA,
    IMAGE_METADATA,
    KERNEL,
    TYPES,
    code_cells,
    declared_parameters,
    outputs,
    tags,
)

ROOT = Path(__file__).resolve().parents[1]
INJECTED = "injected-parameters"
PICTURE = "picture-"
DATA_SETS = ("cifar10", "cifar100")

# What a notebook says about its kernel: enough for every front end, and the same on every machine.
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": KERNEL}
LANGUAGE_INFO = {"name": "python", "pygments_lexer": "ipython3"}


class ChapterError(Exception):
    """A chapter that cannot be executed or refreshed, with the reason and the way out."""


@dataclass(frozen=True)
class Limits:
    """What a chapter may take: wall-clock seconds with the kernel's start, and the kernel's resident memory."""

    seconds: float
    bytes: int


@dataclass(frozen=True)
class Execution:
    """One execution of a chapter: its inputs' digest, when it was, how long it took, the memory it needed at most, and
    the files of the book and the records that it read."""

    inputs: str
    date: str
    seconds: float
    peak_bytes: int
    read: tuple[str, ...]

    def __str__(self):
        return f"{self.seconds:.0f} s, peak memory {self.peak_bytes / 2**30:.2f} GiB"


def chapters(root: Path = ROOT) -> dict[str, Path]:
    """The executable chapters in the order of the table of contents: {"eanet": .../book/eanet.ipynb, ...}."""
    from verification.pages import entries

    paths = [root / f"{entry}.ipynb" for entry in entries(root / "_toc.yml")]
    return {path.stem: path for path in paths if path.is_file()}


def check_parameters(notebook, parameters: dict[str, object]) -> None:
    """Raise ChapterError unless each of `parameters` is declared by the chapter and of the declared type.

    papermill only warns of an unknown parameter and ignores the type, so this happens before a kernel starts.
    """
    declared = declared_parameters(notebook)
    for name, value in parameters.items():
        if name not in declared:
            hint = contract.nearest(name, declared)
            raise ChapterError(f"unknown parameter {name!r}. {hint}The chapter has {', '.join(declared)}")
        kind, _ = declared[name]
        if type(value) is not TYPES[kind]:
            raise ChapterError(f"parameter {name}={value!r} is of the type {type(value).__name__}, not {kind}")
    if parameters.get("profile", PROFILES[0]) not in PROFILES:
        raise ChapterError(f"profile={parameters['profile']!r} does not exist; use one of {', '.join(PROFILES)}")


def parse_parameters(notebook, settings: list[str]) -> dict[str, object]:
    """Turn `name=value` from a command line into values of the types that the chapter declares.

    Raises ChapterError for what is not `name=value`, for unknown names and for values of another type.
    """
    declared, parsed = declared_parameters(notebook), {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise ChapterError(f"{setting!r} is not name=value")
        kind = declared.get(name, ("str", ""))[0]
        try:
            parsed[name] = {"true": True, "false": False}[text.lower()] if kind == "bool" else TYPES[kind](text)
        except (KeyError, ValueError):
            raise ChapterError(f"parameter {name}={text!r} is not of the type {kind}") from None
    check_parameters(notebook, parsed)
    return parsed


def inputs_digest(notebook, parameters: dict[str, object], root: Path = ROOT) -> str:
    """A SHA-256 of all that the outputs of a chapter follow from; prose is not among it."""
    digest = hashlib.sha256()

    def add(name: str, content: bytes):
        digest.update(f"{name} {len(content)}\n".encode() + content)

    add("code", json.dumps([cell.source for _, cell in code_cells(notebook)]).encode())
    add("parameters", json.dumps(parameters, sort_keys=True).encode())
    folders = ("vattn_utils", "records", "benchmarks/results")
    files = [root / "requirements.txt", *(path for folder in folders for path in root.glob(f"{folder}/**/*"))]
    for path in sorted(files):
        if path.is_file() and "__pycache__" not in path.parts:
            add(path.relative_to(root).as_posix(), path.read_bytes())
    return digest.hexdigest()


def execute(source: Path, target: Path, parameters: dict[str, object], limits: Limits | None = None, cwd=ROOT):
    """Execute the notebook `source` with `parameters` and write the result to `target`.

    Returns the seconds and bytes it took, and the files of the book and the records that it read. Raises ChapterError
    for wrong parameters, for a cell that fails, and where `limits` are passed: the kernel is then killed. What a failed
    execution reached is kept beside `target`, as `<name>.failed.ipynb`.
    """
    try:
        check_parameters(nbformat.read(source, as_version=4), parameters)
    except (ChapterError, ValueError) as error:
        raise ChapterError(f"{source.name}: {error}") from None
    if target.resolve().parent == source.resolve().parent:
        raise ChapterError(f"{target} is beside the source {source.name}; execute into another folder")

    import papermill  # a second of imports that a typing error need not wait for

    target.parent.mkdir(parents=True, exist_ok=True)
    running, failed = (target.with_name(f"{target.stem}.{state}.ipynb") for state in ("running", "failed"))
    failed.unlink(missing_ok=True)
    with kernel_environment(cwd, parameters.get("profile")) as read, Watchdog(limits) as watchdog:
        try:
            papermill.execute_notebook(
                str(source), str(running), parameters, engine(), kernel_name=KERNEL, progress_bar=False, cwd=str(cwd)
            )
        except Exception as error:  # whatever it was: a cell, a kernel that died, a kernel that we killed
            if running.exists():
                running.replace(failed)
            reason = watchdog.exceeded or str(error).strip()
            raise ChapterError(f"{source.name} failed: {reason}\nSee {failed} for how far it came.") from error
        files = tuple(read())
    if watchdog.exceeded:  # in the last moment, after the last cell
        running.replace(failed)
        raise ChapterError(f"{source.name} failed: {watchdog.exceeded}")
    running.replace(target)
    return watchdog.seconds, watchdog.peak_bytes, files


def engine():
    """The name of papermill's own engine, but that writes the notebook once, at its end or where it fails.

    papermill's writes all of it before and after every cell: seconds, where it holds many figures.
    """
    from papermill import engines

    class Once(engines.NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, notebook, kernel_name, **options):
            path, notebook.output_path = notebook.output_path, None
            try:
                super().execute_managed_notebook(notebook, kernel_name, **options)
            finally:
                notebook.output_path = path

    engines.papermill_engines.register(Once.__name__, Once)
    return Once.__name__


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

    def __enter__(self):
        self._started = time.monotonic()
        self._others = set(psutil.Process().children(recursive=True))
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._done.set()
        self._thread.join()
        self.seconds = time.monotonic() - self._started

    def _watch(self):
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


# Run by the kernel before the first cell: notes every file of the book, the records and the measurements that is opened
# to be read, every folder of theirs that is looked through, and every file of the package that is not Python.
READS = """
import os, sys
def watch(event, arguments, note=os.open({log!r}, os.O_WRONLY | os.O_CREAT), os=os):
    read = event == "open" and str(arguments[1] or "r").startswith("r")
    if (read or event in ("os.scandir", "os.listdir")) and isinstance(arguments[0], (str, os.PathLike)):
        name = os.path.abspath(arguments[0])
        data = read and name.startswith({package!r}) and not name.endswith((".py", ".pyc"))
        if data or name.startswith({folders!r}):
            os.write(note, (name + chr(10)).encode())
sys.addaudithook(watch)
del os, sys, watch
"""


@contextlib.contextmanager
def kernel_environment(cwd, profile):
    """The environment of a kernel: papermill's parameters alone choose the profile, and the user's IPython is out.

    Any other profile than the published one sees a copy of the records, so that no quick run can overwrite them.
    Yields a function that returns what the kernel has read, as `READS` notes it, relative to `cwd`.
    """
    before = dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        settings, log = Path(folder, "profile_default"), Path(folder, "reads")
        (settings / "startup").mkdir(parents=True)
        # its log says how the kernel is connected, which nobody asked
        (settings / "ipython_kernel_config.py").write_text("c.Application.log_level = 50\n")
        folders = tuple(str(cwd / name) for name in ("book", "records", "benchmarks"))
        (settings / "startup" / "reads.py").write_text(
            READS.format(log=str(log), folders=folders, package=str(cwd / "vattn_utils"))
        )
        os.environ.pop("VATTN_PROFILE", None)
        os.environ.update(IPYTHONDIR=folder, TF_CPP_MIN_LOG_LEVEL="3", TF_FORCE_GPU_ALLOW_GROWTH="true")
        if profile != "published":
            os.environ["VATTN_RECORDS"] = str(copy_of_records(Path(folder)))
        try:
            yield lambda: sorted({Path(line).relative_to(cwd).as_posix() for line in log.read_text().splitlines()})
        finally:
            os.environ.clear()
            os.environ.update(before)


def copy_of_records(folder):
    """Copy the committed records into `folder`; return where they are."""
    return shutil.copytree(ROOT / "records", folder / "records")


def execute_chapter(name, profile, settings=(), root=ROOT, limits=None, force=False) -> tuple[Path, Execution]:
    """Execute one chapter in a profile, unless it was and its inputs did not change (`force`: even then).

    Returns the executed notebook and its `Execution`. Raises ChapterError, also for an unknown chapter.
    """
    source = chapter_path(name, root)
    notebook = nbformat.read(source, as_version=4)
    try:
        contract.check_declared(root, name, declared_parameters(notebook))
        due = contract.parameters(root, name, profile)
        parameters = {**due, **parse_parameters(notebook, list(settings)), "profile": profile}
    except (ChapterError, ValueError) as error:
        raise ChapterError(f"{source.name}: {error}") from None
    target = root / "_build" / "executed" / profile / source.name
    note = target.with_suffix(".json")
    inputs = inputs_digest(notebook, parameters, root)
    if not force and target.is_file() and note.is_file():
        noted = json.loads(note.read_text())
        if noted.keys() == Execution.__dataclass_fields__.keys() and noted["inputs"] == inputs:
            last = Execution(**noted)
            say(f"{name}: nothing changed since it ran in the {profile} profile ({last})")
            return target, last
    say(f"{name}: executing in the {profile} profile")
    note.unlink(missing_ok=True)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    execution = Execution(inputs, today, *execute(source, target, parameters, limits, cwd=root))
    note.write_text(json.dumps(asdict(execution), indent=1) + "\n")
    say(f"{name}: done in {execution}: {target.relative_to(root)}")
    return target, execution


def chapter_path(name: str, root: Path = ROOT) -> Path:
    found = chapters(root)
    if name not in found:
        hint = contract.nearest(name, found)
        raise ChapterError(f"there is no chapter {name!r}. {hint}The chapters are {', '.join(found) or 'not written'}")
    return found[name]


def with_outputs(source, executed):
    """The notebook `source` with the outputs of `executed`, its own prose, and no metadata but the book's own.

    Raises ChapterError if the code of the two is not the same.
    """
    ran = [cell for _, cell in code_cells(executed) if INJECTED not in tags(cell)]
    own = [cell for _, cell in code_cells(source)]
    if [cell.source for cell in own] != [cell.source for cell in ran]:
        raise ChapterError("its code is not the code that was executed; execute it again")
    for count, (cell, executed_cell) in enumerate(zip(own, ran, strict=True), 1):
        cell.execution_count = count
        cell.outputs = [clean_output(output, count) for output in merged_streams(executed_cell.outputs)]
    for cell in source.cells:
        cell.metadata = {key: value for key, value in cell.metadata.items() if key in CELL_METADATA and value}
    source.metadata = {"kernelspec": KERNELSPEC, "language_info": LANGUAGE_INFO}
    return nbformat.from_dict(source)


def merged_streams(outputs):
    """The outputs with neighbouring pieces of one stream joined: where a kernel cuts a stream is chance."""
    merged = []
    for output in outputs:
        last = merged[-1] if merged else None
        if last and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            merged.append(nbformat.from_dict(output))
    return merged


def clean_output(output, count: int):
    if "execution_count" in output:
        output.execution_count = count
    if "metadata" in output:
        output.metadata = {
            kind: {key: value for key, value in metadata.items() if key in IMAGE_METADATA}
            for kind, metadata in output.metadata.items()
            if kind in output.data and kind.startswith("image/")
        }
    return output


def refresh(name: str, root: Path = ROOT) -> None:
    """Execute a chapter in the published profile and put its outputs back into the source, all or nothing.

    Raises ChapterError, and leaves the source as it was, if the run failed, printed to stderr, or ran another profile.
    """
    executed_path, execution = execute_chapter(name, "published", root=root)
    executed = nbformat.read(executed_path, as_version=4)
    check_publishable(name, executed)
    source = chapter_path(name, root)
    try:
        notebook = with_outputs(nbformat.read(source, as_version=4), executed)
    except ChapterError as error:
        raise ChapterError(f"{source.name}: {error}") from None
    others = set(execution.read) - {source.relative_to(root).as_posix()}  # a page about the book reads itself too
    inputs = freshness.inputs(notebook, others, root)
    notebook.metadata["executed"] = {**executed_with(execution), "inputs": inputs}
    keep_pictures(notebook, source.parent / "_static")
    text = nbformat.writes(notebook).rstrip("\n") + "\n"
    if text == source.read_text(encoding="utf-8"):
        say(f"{name}: the committed outputs are the same already")
        return
    partial = source.with_name(f".{source.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(source)
    say(f"{name}: refreshed {source.relative_to(root)}")


def executed_with(execution: Execution) -> dict[str, object]:
    """What a refreshed notebook says of its execution: when, how long, on what device, with which versions."""
    from vattn_utils.records import provenance

    made = provenance()
    return {
        "date": execution.date,
        "seconds": round(execution.seconds),
        "device": made["device"],
        "versions": made["versions"],
    }


def pictures(notebook) -> dict[str, bytes]:
    """The figures that stand outside their chapter too, {name: PNG}: of each cell tagged `picture-<name>` the first."""
    found = {}
    for _, cell in code_cells(notebook):
        for tag in tags(cell):
            if tag.startswith(PICTURE):
                data = next(
                    output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})
                )
                found[tag.removeprefix(PICTURE)] = base64.b64decode(data)
    return found


def keep_pictures(notebook, folder: Path) -> None:
    """Write the notebook's `pictures` into `folder`, for the front page and the README."""
    for name, png in pictures(notebook).items():
        (folder / f"{name}.png").write_bytes(png)


def check_publishable(name: str, executed) -> None:
    """Raise ChapterError if the outputs of an executed chapter must not be committed."""
    for number, output in outputs(executed):
        if output.output_type == "error":
            raise ChapterError(f"{name}: cell {number} failed with {output.ename}: {output.evalue}; not refreshed")
        if output.output_type == "stream" and output.name == "stderr":
            raise ChapterError(
                f"{name}: cell {number} printed to stderr, mend that first; not refreshed:\n{output.text}"
            )
    printed = "".join(output.text for _, output in outputs(executed) if output.output_type == "stream")
    # What notebook.open_chapter prints: the profile that the chapter opened with, whatever it was asked for.
    if "Profile published:" not in printed:
        raise ChapterError(
            f"{name}: it did not say that it ran the published profile; call notebook.open_chapter(..., profile) once"
        )


def lay_out_book(profile: str, root: Path = ROOT) -> Path:
    """Copy the book to `_build/book-<profile>`, its chapters with the outputs of that profile; return the copy.

    Each chapter is executed first if it has to be. The parameters that papermill passed are shown in it.
    """
    copy = root / "_build" / f"book-{profile}"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(root / "book", copy / "book", ignore=shutil.ignore_patterns(".*"))
    for config in ("_config.yml", "_toc.yml"):
        shutil.copy2(root / config, copy)
    for name, source in chapters(root).items():
        executed = nbformat.read(execute_chapter(name, profile, root=root)[0], as_version=4)
        notebook = with_outputs(nbformat.read(source, as_version=4), executed)
        place = next(i for i, cell in enumerate(notebook.cells, 1) if "parameters" in tags(cell))
        notebook.cells[place:place] = [cell for cell in executed.cells if INJECTED in tags(cell)]
        nbformat.write(notebook, copy / source.relative_to(root))
    return copy


def verified_profile() -> str:
    """The profile in which the committed outputs can be verified with the data at hand: published or quick."""
    from vattn_utils import data

    return "published" if all(data.at_hand(name) for name in DATA_SETS) else "quick"


def describe_data() -> str:
    """Two sentences: which data was found, and in which profile the chapters are therefore verified."""
    from vattn_utils import data

    found = [name for name in DATA_SETS if data.at_hand(name)]
    missing = [name for name in DATA_SETS if name not in found]
    root = os.environ.get("VATTN_DATA")
    where = f"VATTN_DATA={root}" if root else "VATTN_DATA is not set"
    lines = [f"Data: found {', '.join(found) or 'no CIFAR'}; missing {', '.join(missing) or 'nothing'} ({where})."]
    if missing:
        lines.append("The chapters are verified in the quick profile, on the embedded shapes: only those outputs")
        lines.append("are compared that do not depend on data. Put the npz files into $VATTN_DATA for the rest.")
    else:
        lines.append("The chapters are verified in the published profile: every committed output is compared.")
    return "\n".join(lines)


def say(message: str) -> None:
    print(message, flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="verification.execute", description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for command in ("run", "refresh", "book", "which"):
        sub = commands.add_parser(command)
        if command in ("run", "book"):
            sub.add_argument("--profile", default="quick", help=f"one of {', '.join(PROFILES)}")
        if command in ("run", "refresh"):
            sub.add_argument("--chapter", default="", help="a chapter's file name without suffix; all without it")
        if command == "run":
            sub.add_argument("--set", nargs="*", default=[], metavar="name=value", help="other parameters")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command == "which":
            say(describe_data())
            return 0
        if chosen.command == "book":
            say(f"The book in the {chosen.profile} profile lies in {lay_out_book(chosen.profile).relative_to(ROOT)}")
            return 0
        for name in [chosen.chapter] if chosen.chapter else chapters():
            if chosen.command == "run":
                execute_chapter(name, chosen.profile, chosen.set)
            else:
                refresh(name)
    except ChapterError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
