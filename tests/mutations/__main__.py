"""Plant every mutation and see that its check catches it: `python -m tests.mutations`, or `make mutations`.

With `--lies` it is the lies in the book that are planted, which needs a few minutes: `make lies`.

First every check runs once on a copy without a fault, where it must pass. Exit status 0 only if none survives.
"""

import argparse
import difflib
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutations.faults import MUTATIONS
from tests.mutations.lies import LIES, OUT_OF_REACH, TOGETHER
from tests.mutations.runner import ROOT, MutationError, mutated, project_files, try_mutation, unfit_checks

README = Path(__file__).with_name("README.md")
HEADING = """# Mutations

A test that cannot fail proves nothing. Each row is a small deliberate fault: `python -m tests.mutations` (or
`make mutations`) plants it in a copy of the project and runs the check named beside it there, which passes without the
fault and must fail with it. `--list` shows what is planted, `--only NAME` tries one.

These tables are written by `python -m tests.mutations --write`, when none has survived.

| mutation | file | what is wrong with it | caught by |
|---|---|---|---|
"""
LIES_HEADING = """
## Lies

What could be told in the book by an edit or a careless merge, one by one and all at once: `make lies`.

| lie | what is wrong with it | caught by |
|---|---|---|
"""
BEYOND = """
What no check of the book's own can find, and what is done about it:

| | |
|---|---|
"""


def short(check):
    """A check as tables name it: `test_eanet.py::test_x` or, for a notebook, the command."""
    return f"pytest --nbval {check}" if check.endswith(".ipynb") else check.removeprefix("tests/")


def table(mutations):
    """The README's text: a heading and a row for each mutation."""
    rows = [
        f"| {m.name} | `{m.file}` | {m.wrong} | {', '.join(f'`{short(check)}`' for check in m.caught_by)} |\n"
        for m in mutations
    ]
    lies = [
        f"| {lie.name} | {lie.wrong} | {', '.join(f'`{short(check)}`' for check in lie.caught_by)} |\n" for lie in LIES
    ]
    beyond = [f"| {what} | {why} |\n" for what, why in OUT_OF_REACH.items()]
    return HEADING + "".join(rows) + LIES_HEADING + "".join(lies) + BEYOND + "".join(beyond)


def chosen(names, among=MUTATIONS):
    """The mutations, or lies, of these names, or all for no names. Raises MutationError for an unknown one."""
    known = {mutation.name: mutation for mutation in among}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise MutationError(f"there is no mutation {name!r}; {hint}--list names all {len(known)}")
    return [known[name] for name in names] or list(among)


def cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this mutation (repeatable)")
    parser.add_argument("--lies", action="store_true", help="plant lies in the book instead")
    parser.add_argument("--list", action="store_true", help="show the mutations and run nothing")
    parser.add_argument("--jobs", type=int, default=cores(), help="how many at once; default: the usable cores")
    parser.add_argument("--write", action="store_true", help=f"write {README.relative_to(ROOT)} if none survives")
    options = parser.parse_args(arguments)
    if options.jobs < 1:
        parser.error(f"--jobs {options.jobs} is not possible; use 1 or more")
    if options.write and (options.only or options.lies):
        parser.error("--write tells of all mutations; leave out --only and --lies")
    try:
        mutations = chosen(options.only, [*LIES, TOGETHER] if options.lies else MUTATIONS)
        for mutation in () if options.lies else mutations:
            mutated(mutation, (ROOT / mutation.file).read_text(encoding="utf-8"))
    except (MutationError, OSError) as error:
        parser.error(str(error))
    if options.list:
        for mutation in mutations:
            print(f"{mutation.name}: {mutation.wrong}")
            if not options.lies:
                print(f"  {mutation.file}: {mutation.old!r} becomes {mutation.new!r}")
            print(*(f"  caught by {short(check)}" for check in mutation.caught_by), sep="\n")
        return 0
    status = attempt(mutations, options.jobs, options.write)
    if options.lies:
        print("Out of reach:", *(f"  {what}: {why}" for what, why in OUT_OF_REACH.items()), sep="\n")
    return status


def attempt(mutations, jobs, write=False):
    """Try `mutations`, print a row for each and the sum; return the exit status."""
    started, files = time.monotonic(), project_files()
    unfit = unfit_checks(mutations, files)
    if unfit:
        print("These checks do not pass on the project as it is; mend that first:", *unfit, sep="\n", file=sys.stderr)
        return 1
    width = max(len(mutation.name) for mutation in mutations)
    print(f"without a fault every check passes ({time.monotonic() - started:.0f} s)", flush=True)
    print(f"{'mutation':{width}}  seconds  caught by, and what it broke", flush=True)
    caught = 0
    with ThreadPoolExecutor(jobs) as pool:
        verdicts = pool.map(lambda mutation: try_mutation(mutation, files), mutations)
        for mutation, verdict in zip(mutations, verdicts, strict=True):
            caught += verdict.caught
            told = ", ".join(map(short, mutation.caught_by)) if verdict.caught else f"NOT CAUGHT: {verdict.reason}"
            print(f"{mutation.name:{width}}  {verdict.seconds:7.1f}  {told}", flush=True)
            print(f"{'':{width}}           {mutation.wrong}", flush=True)
    print(f"{caught} of {len(mutations)} caught, in {time.monotonic() - started:.0f} s")
    if caught < len(mutations):
        return 1
    if write:
        README.write_text(table(mutations), encoding="utf-8")
        print(f"wrote {README.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
