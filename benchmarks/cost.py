"""What one layer of attention costs, against the number of tokens: parameters, multiply-adds, time, memory.

    python benchmarks/cost.py            # measures what is missing of results/cost.jsonl
    python benchmarks/cost.py --quick    # a small range, here and now: table, crossover, exponents; writes nothing

Every call has the same number of tokens, 16,384: 256 images of 64 tokens, or one of 16,384. So a layer whose cost is
linear in N takes the same time and memory at every N, and what grows is what the tokens do with each other. The
contestants are called in turns. A line of the results is one layer at one N on one backend, with all that it takes to
measure it again; delete the file to do so.

Peak memory is that of a process of its own: what its resident set rises by, at the highest, in its first call, which
compiles too; a call of the same layer on a few tokens has loaded the libraries before.

A call that is expected to pass the limit is not made, so that no machine is driven into its swap: at an equal number of
tokens a call, memory about doubles at most when N does. The same call can differ by a third from process to process,
so some GiB above the limit Linux refuses more. (Peak memory is asked of Linux, too.)
"""

import argparse
import json
import logging
import os
import re
import resource
import subprocess
import sys
from math import prod
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

from vattn_utils.cost import curves, measure
from vattn_utils.data.files import write_atomically
from vattn_utils.statistics import medians
from vattn_utils.training.measurements import from_lines, to_line
from vattn_utils.training.provenance import provenance

RESULTS = Path(__file__).parent / "results"
TOKENS = tuple(64 * 2**power for power in range(9))  # 64 to 16,384
TOKENS_PER_CALL = 16_384
LIMIT = 8 * 2**30  # bytes
SPARE = 4 * 2**30  # what a process may take beyond the limit, for libraries and compilation, before Linux refuses it
# Six points are enough for an exponent and its interval; the calls are small, so that two busy cores can do it.
QUICK = dict(tokens=(64, 128, 256, 512, 1024, 2048), tokens_per_call=4096, rounds=5, seconds=4.0)


def measure_missing(
    tokens=TOKENS, tokens_per_call=TOKENS_PER_CALL, rounds=15, seconds=25.0, limit=LIMIT, results=RESULTS
):
    """Measure what is missing, from the smallest N to the largest, and add it to the results N by N.

    Args:
        tokens, tokens_per_call, rounds, seconds: of `measure.timed`.
        limit: bytes; a call whose memory is expected to pass it is not made.
        results: the folder of `cost.jsonl`.

    Returns all points of this backend. Raises MemoryError if the machine has less free memory than `limit`.
    """
    free = _field("/proc/meminfo", "MemAvailable")
    if free < limit:
        raise MemoryError(f"{free / 2**30:.1f} GiB are free, --limit-gib is {limit / 2**30:g}; free some or lower it")
    path, backend = Path(results) / "cost.jsonl", keras.backend.backend()
    there = from_lines(path.read_text(), path.name) if path.exists() else []
    for n in sorted(tokens):
        known = {(p["contestant"], p["tokens"]): p for p in there if p["provenance"]["backend"] == backend}
        missing = [name for name in measure.CONTESTANTS if (name, n) not in known]
        images = max(1, tokens_per_call // n)
        made = provenance()
        memory, modes = {}, {}
        for name in missing:
            expected = _expected(name, n, known)
            modes[name] = [mode for mode in measure.MODES if expected.get(mode, 0) <= limit]
            memory[name] = {
                mode: {
                    "bytes": peak_elsewhere(name, n, images, mode, limit) if mode in modes[name] else None,
                    "expected": expected.get(mode),
                }
                for mode in measure.MODES
            }
        for point in measure.timed(n, tokens_per_call, missing, modes, rounds, seconds) if missing else ():
            point |= {"memory": memory[point["contestant"]], "limit_bytes": limit, "provenance": made}
            there.append(point)
            print(_told(point), flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, "".join(map(to_line, there)))
    return [point for point in there if point["provenance"]["backend"] == backend]


def _expected(name, n, known):
    """`{mode: bytes}` at n tokens, from the nearest smaller N that is `known`; empty where there is none."""
    before = max((tokens for contestant, tokens in known if contestant == name and tokens < n), default=None)
    memory = known[name, before]["memory"] if before else {}
    return {mode: (of["expected"] if of["bytes"] is None else of["bytes"]) * n // before for mode, of in memory.items()}


def _told(point):
    """One line of text about a point."""
    parts = [f"N {point['tokens']:6,}  {point['contestant']:19}"]
    for mode in measure.MODES:
        taken, peak = point["seconds"].get(mode), point["memory"][mode]["bytes"]
        if taken:
            median = sorted(taken)[len(taken) // 2]
            parts.append(f"{mode} {1e3 * median:8.1f} ms a call (of {len(taken)}), {peak / 2**20:7.0f} MiB")
        else:
            parts.append(f"{mode}: not called, {point['memory'][mode]['expected'] / 2**30:.1f} GiB are expected")
    return "  ".join(parts)


def peak_bytes(name, tokens, images, mode):
    """By how many bytes this process' resident set rises, at its highest, in the first call of a contestant.

    To be called in a process of its own: what was allocated once may be kept for the next call, and would not be seen
    in it. Raises OSError where there is no /proc to ask.
    """
    measure.calls(measure.contestant(name, 16), 16, 1)[mode]()
    call = measure.calls(measure.contestant(name, tokens), tokens, images)[mode]
    Path("/proc/self/clear_refs").write_text("5")  # the highest begins anew
    before = _field("/proc/self/status", "VmRSS")
    call()
    return max(_field("/proc/self/status", "VmHWM") - before, 0)


def peak_elsewhere(name, tokens, images, mode, limit=LIMIT):
    """`peak_bytes` in a fresh process, which Linux refuses more than some GiB above `limit`.

    Raises RuntimeError with the end of what the process said, if it failed.
    """
    path = os.pathsep.join([str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, __file__, "--peak", json.dumps([name, tokens, images, mode, limit])],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(
            f"{name}, {mode}, at N={tokens} ended with {done.returncode}; a lower --limit-gib leaves it out. "
            f"It said: {done.stderr[-500:]}"
        )
    return int(done.stdout.split()[-1])


def _field(path, name):
    """A size in bytes out of one of Linux' tables."""
    return 1024 * int(re.search(rf"{name}:\s+(\d+) kB", Path(path).read_text())[1])


def compiled_multiply_adds(function, *shapes):
    """The multiply-adds of the matrix products and convolutions in the program that XLA is given for a function.

    Args:
        function: of float32 tensors of `shapes`; TensorFlow only. What it calls must be built.

    A `dot` counts the size of its result times that of the axes it sums over; a `convolution` the size of its result
    times that of its kernel, filters left out.
    """
    import tensorflow as tf

    program = tf.function(function, jit_compile=True).experimental_get_compiler_ir(*map(tf.zeros, shapes))(stage="hlo")
    size = r"\w+\[([\d,]*)\]\S*"
    total = 0
    for *sizes, rest in re.findall(rf"= {size} (?:dot|convolution)\({size} \S+ {size} \S+\),(.*)", program):
        result, left, right = ([int(axis) for axis in text.split(",") if axis] for text in sizes)
        summed = re.search(r"lhs_contracting_dims={([\d,]+)}", rest)
        if summed:
            total += prod(result) * prod(left[int(axis)] for axis in summed[1].split(","))
        else:
            filters = re.search(r"dim_labels=\w+_(\w+)->", rest)[1].index("o")
            total += prod(result) * prod(right) // right[filters]
    return total


def summary(points):
    """What the points say, as lines of text: tables, exponents with intervals, crossovers, where memory ends."""
    names = [name for name in measure.CONTESTANTS if any(point["contestant"] == name for point in points)]
    for mode in measure.MODES:
        yield f"\n{mode}: milliseconds an image, median\n"
        yield from curves.table(points, mode)
        yield "\nexponent of the time in N, with its 95 % interval, at the larger N"
        for name in names:
            tokens, samples = curves.series(points, name, mode)
            slope, half = curves.exponent(tokens, medians(samples), last=5)
            yield f"  {name:19} {slope:5.2f} ± {half:.2f}"
        yield "\nfrom how many tokens on self-attention takes longer, with its 95 % interval"
        for one in (name for name in names if name.startswith("self")):
            for other in (name for name in names if name.startswith("external")):
                yield f"  {one} than {other:19} {curves.told_crossover(points, one, other, mode)}"
    limits = {point["limit_bytes"] for point in points if "limit_bytes" in point}
    for limit in sorted(limits):
        yield f"\nN at which one call passes {limit / 2**30:g} GiB (~ extrapolated)"
        for name in names:
            ends = {mode: curves.memory_ends(points, name, mode, limit) for mode in measure.MODES}
            told = [f"{mode} {'~' * end[1]}{end[0]:,.0f}" if end else f"{mode} –" for mode, end in ends.items()]
            yield f"  {name:19} {', '.join(told)}"


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python benchmarks/cost.py", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="measure a small range without memory, write nothing")
    parser.add_argument("--rounds", type=int, default=15, help="how often each layer is called at each N, at most")
    parser.add_argument("--seconds", type=float, default=25.0, help="at each N, no round begins after these")
    parser.add_argument("--limit-gib", type=float, default=LIMIT / 2**30, help="calls that need more are not made")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of cost.jsonl")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # of functions that are traced again for each shape
    if options.peak:
        *what, limit = json.loads(options.peak)
        resource.setrlimit(resource.RLIMIT_DATA, (int(limit + SPARE),) * 2)
        print(peak_bytes(*what))
        return
    if options.rounds < 1 or options.limit_gib <= 0:
        parser.error(f"--rounds {options.rounds} --limit-gib {options.limit_gib:g}: use numbers above zero")
    if options.quick:
        tokens, rest = QUICK["tokens"], {name: value for name, value in QUICK.items() if name != "tokens"}
        points = [point for n in tokens for point in measure.timed(n, **rest)]
    else:
        limit = int(options.limit_gib * 2**30)
        points = measure_missing(rounds=options.rounds, seconds=options.seconds, limit=limit, results=options.results)
    print(f"One layer of attention, width {measure.DIM}, {keras.backend.backend()}, {provenance()['device']}")
    print(*summary(points), sep="\n")


if __name__ == "__main__":
    main()
