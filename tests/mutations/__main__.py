"""Plant every mutation and see that its check catches it: `python -m tests.mutations`, or `make mutations`.

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
from tests.mutations.runner import ROOT, MutationError, mutated, project_files, try_mutation, unfit_checks

README = Path(__file__).with_name("README.md")
HEADING = """# Mutations

A test that cannot fail proves nothing. Each row is a small deliberate fault: `python -m tests.mutations` (or
`make mutations`) plants it in a copy of the project and runs the check named beside it there, which passes without the
fault and must fail with it. `--list` shows what is planted, `--only NAME` tries one.

This table is written by `python -m tests.mutations --write`, when none has survived.

| mutation | file | what is wrong with it | caught by |
|---|---|---|---|
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
    return HEADING + "".join(rows)


def chosen(names):
    """The mutations of these names, or all for no names. Raises MutationError for an unknown one."""
    known = {mutation.name: mutation for mutation in MUTATIONS}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise MutationError(f"there is no mutation {name!r}; {hint}--list names all {len(known)}")
    return [known[name] for name in names] or list(MUTATIONS)


def cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this mutation (repeatable)")
    parser.add_argument("--list", action="store_true", help="show the mutations and run nothing")
    parser.add_argument("--jobs", type=int, default=cores(), help="how many at once; default: the usable cores")
    parser.add_argument("--write", action="store_true", help=f"write {README.relative_to(ROOT)} if none survives")
    options = parser.parse_args(arguments)
    if options.jobs < 1:
        parser.error(f"--jobs {options.jobs} is not possible; use 1 or more")
    if options.write and options.only:
        parser.error("--write tells of all mutations; leave out --only")
    try:
        mutations = chosen(options.only)
        for mutation in mutations:
            mutated(mutation, (ROOT / mutation.file).read_text(encoding="utf-8"))
    except (MutationError, OSError) as error:
        parser.error(str(error))
    if options.list:
        for mutation in mutations:
            print(f"{mutation.name}: {mutation.wrong}\n  {mutation.file}: {mutation.old!r} becomes {mutation.new!r}")
            print(*(f"  caught by {short(check)}" for check in mutation.caught_by), sep="\n")
        return 0
    return attempt(mutations, options.jobs, options.write)


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
