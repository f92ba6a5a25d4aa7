"""How far a sweep goes, as `benchmarks/README.md` says it: on paper, from what the records measured."""

from pathlib import Path

from vattn_utils.training import records

README = Path(__file__).parents[1] / "benchmarks" / "README.md"
RUNS, AT_A_TIME = 1000, 200
KEPT = 3 * 4  # bytes a parameter, an epoch: the weights and two moments, in float32


def row(name):
    record = records.load(name)
    hours = record.seconds / 3600
    written = AT_A_TIME * KEPT * record.parameters * record.epochs / record.seconds / 1e6
    return f"| `{name}` | {hours:.1f} | {RUNS / AT_A_TIME * hours:.0f} | {written:.1f} |"


def test_the_hours_of_a_thousand_runs_follow_from_the_records():
    told = README.read_text(encoding="utf-8")
    for name in ("vit-cifar100-book", "eanet-cifar100-book", "patch_convnet-cifar10-book"):
        assert row(name) in told
