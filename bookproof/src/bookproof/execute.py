"""Chapters are executed here, by papermill, into `_build/executed/<profile>/` and never over their source.

What an executed notebook follows from, and what its execution took, stands in its metadata. A chapter is not executed
again while it follows from what is here now, given the same parameters (`bookproof.freshness`).
"""

import datetime
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nbformat

from bookproof import config, contract, freshness, kernel, seal
from bookproof.book import Book, ChapterError
from bookproof.kernel import Limits, Watchdog
from bookproof.notebooks import KERNEL, Node


@dataclass(frozen=True)
class Execution:
    """One execution of a chapter: with which parameters, when it was, how long it took, the memory it needed at most,
    and the digests of what its outputs follow from."""

    parameters: dict[str, object]
    date: str
    seconds: float
    peak_bytes: int
    inputs: dict[str, object]

    def __str__(self) -> str:
        return f"{self.seconds:.0f} s, peak memory {self.peak_bytes / 2**30:.2f} GiB"


def execute(
    book: Book, source: Path, target: Path, parameters: dict[str, object], limits: Limits | None = None
) -> tuple[float, int, tuple[str, ...]]:
    """Execute the notebook `source` with `parameters` and write the result to `target`.

    Returns the seconds and bytes it took, and the files of the book that it read. Raises ChapterError for wrong
    parameters, for a cell that fails, and where `limits` are passed: the kernel is then killed. What a failed execution
    reached is kept beside `target`, as `<name>.failed.ipynb`.
    """
    try:
        contract.check_given(book, nbformat.read(source, as_version=4), parameters)
    except ValueError as error:
        raise ChapterError(f"{source.name}: {error}") from None
    if target.resolve().parent == source.resolve().parent:
        raise ChapterError(f"{target} is beside the source {source.name}; execute into another folder")

    import papermill  # a second of imports that a typing error need not wait for

    target.parent.mkdir(parents=True, exist_ok=True)
    running, failed = (target.with_name(f"{target.stem}.{state}.ipynb") for state in ("running", "failed"))
    failed.unlink(missing_ok=True)
    profile = str(parameters.get(contract.PROFILE, book.settings.published))
    with kernel.environment(book, profile) as read, Watchdog(limits) as watchdog:
        try:
            papermill.execute_notebook(
                str(source), str(running), parameters, engine(), kernel_name=KERNEL, progress_bar=False,
                cwd=str(book.root),
            )  # fmt: skip
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


def engine() -> str:
    """The name of papermill's own engine, but that writes the notebook once, at its end or where it fails.

    papermill's writes all of it before and after every cell: seconds, where it holds many figures.
    """
    from papermill import engines

    class Once(engines.NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, notebook: Any, kernel_name: str, **options: Any) -> None:
            path, notebook.output_path = notebook.output_path, None
            try:
                super().execute_managed_notebook(notebook, kernel_name, **options)
            finally:
                notebook.output_path = path

    engines.papermill_engines.register(Once.__name__, Once)
    return Once.__name__


def execute_chapter(
    book: Book,
    name: str,
    profile: str,
    settings: tuple[str, ...] = (),
    limits: Limits | None = None,
    force: bool = False,
) -> tuple[Path, Execution]:
    """Execute one chapter in a profile, unless it was and follows from what is here now (`force`: even then).

    Returns the executed notebook and its `Execution`. Raises ChapterError, also for an unknown chapter.
    """
    source = book.chapter(name)
    notebook = nbformat.read(source, as_version=4)
    try:
        contract.check_declared(book, name, contract.declared(book, notebook))
        due = contract.parameters(book, name, profile)
        given = contract.parse(book, notebook, list(settings))
        if contract.PROFILE in given:
            raise ChapterError(f"{contract.PROFILE} is no parameter to set; say `--profile {given[contract.PROFILE]}`")
        parameters = {**due, **given}
        parameters |= {contract.PROFILE: profile} if contract.PROFILE in parameters else {}
    except ValueError as error:
        raise ChapterError(f"{source.name}: {error}") from None
    target = book.build / "executed" / profile / source.name
    last = None if force else noted(book, notebook, target)
    if last and last.parameters == parameters:
        say(f"{name}: nothing changed since it ran in the {profile} profile ({last})")
        return target, last
    say(f"{name}: executing in the {profile} profile")
    before = freshness.inputs(notebook, (), book)
    made = provenance(book) if profile == book.settings.published else {}  # now: a hook that fails costs no run
    seconds, peak_bytes, read = execute(book, source, target, parameters, limits)
    others = set(read) - {book.relative(source)}  # a page about the book reads itself too
    # Of the code that was there when it began, and of the files that it then read.
    inputs = {**before, "files": freshness.inputs(notebook, others, book)["files"]}
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    execution = Execution(parameters, today, seconds, peak_bytes, inputs)
    note(target, {**made, **asdict(execution)})
    say(f"{name}: done in {execution}: {book.relative(target)}")
    return target, execution


def noted(book: Book, source: Node, target: Path) -> Execution | None:
    """The execution that `target` came from, if it holds the code of `source` and nothing changed since; else None."""
    if not target.is_file():
        return None
    executed = nbformat.read(target, as_version=4)
    found = executed.metadata.get("executed", {})
    if not Execution.__dataclass_fields__.keys() <= found.keys() or freshness.reasons(executed, book):
        return None
    if seal.broken(executed, target.name):
        return None
    if freshness.inputs(source, (), book)["code"] != found["inputs"]["code"]:
        return None
    return Execution(**{key: plain(found[key]) for key in Execution.__dataclass_fields__})


def note(target: Path, execution: dict[str, Any]) -> None:
    """Write into the metadata of the executed notebook `target` what it follows from and with what it ran; seal it."""
    executed = nbformat.read(target, as_version=4)
    executed.metadata["executed"] = nbformat.from_dict(execution)
    executed.metadata[seal.KEY] = seal.of(executed)
    partial = target.with_name(f"{target.stem}.running.ipynb")
    nbformat.write(executed, partial)
    partial.replace(target)


def provenance(book: Book) -> dict[str, object]:
    """With what a chapter ran, for example device and versions: what the book's hook returns, or Python's version."""
    target = book.settings.provenance_hook
    if not target:
        return {"versions": {"python": platform.python_version()}}
    made = config.hook("provenance-hook", target)
    if not isinstance(made, dict) or made.keys() & Execution.__dataclass_fields__.keys():
        raise config.ConfigError(f"provenance-hook = {target!r} returned {made!r}; return a dict of other names than "
                                 f"{', '.join(Execution.__dataclass_fields__)}")  # fmt: skip
    return made


def plain(value: Any) -> Any:
    """nbformat's dicts as Python's own."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def say(message: str) -> None:
    print(message, flush=True)
