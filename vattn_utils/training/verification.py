"""Whether recorded runs hold what they say: everything that can be derived again is."""

from pathlib import Path

from vattn_utils import data
from vattn_utils.training import records
from vattn_utils.training.loop import evaluate
from vattn_utils.training.train import command


def verify(root: str | Path | None = None, tolerance: float = 0.001) -> list[str]:
    """Check every record; where its weights and its data are at hand, evaluate it again. Returns the faults.

    Looked at are the fields of `record.json` and how they fit together, the digests of all files, every tensor's name,
    shape, type and finiteness, the parameters, the recorded maps, the digest of the data, and loss, top-1 and top-5 on
    its test images. When, where and how fast a run was trained, and what its history was, only training it again can
    tell: `train.command` says how, and is printed for a record without weights.

    Args:
        root: the folder of records; None means `records.folder()`.
        tolerance: by how much loss (nats), top-1 and top-5 (shares) may differ from the record.
    """
    faults = []
    for name in records.names(root):
        try:
            faults += _faults(records.load(name, root), tolerance)
        except (ValueError, data.DataError, OSError) as error:
            faults.append(str(error) if name in str(error) else f"{name}: {error}")
    return faults


def _faults(record: records.Record, tolerance: float) -> list[str]:
    record.check_files()
    if records.ATTENTION in record.sha256:
        record.attention()
    if not record.has_weights:
        print(
            f"{record.name}: its weights are too large to be shipped; nothing to evaluate. Whoever has them can check "
            f"it: put {records.WEIGHTS} into {record.path}, where its digest stands, and verify again. "
            f"Whoever has not can train it: {command(record)}"
        )
        return []
    model = record.model()
    if not data.at_hand(record.dataset):
        print(f"{record.name}: weights whole; {record.dataset} is not at hand to evaluate them")
        return []
    dataset = data.load(record.dataset)
    if dataset.digest != record.digest:
        return [
            f"{record.name}: it was trained on data of digest {record.digest[:12]}, "
            f"{record.dataset} here has {dataset.digest[:12]}; not evaluated"
        ]
    found = evaluate(model, dataset.x_test, dataset.y_test)
    print(
        f"{record.name}: top-1 {found['top1']:.2%}, recorded {record.metrics['top1']:.2%}; "
        f"loss {found['loss']:.4f}, recorded {record.metrics['loss']:.4f}"
    )
    return [
        f"{record.name}: {metric} is {found[metric]:.4f}, the record says {record.metrics[metric]:.4f}"
        for metric in ("top1", "top5", "loss")
        if not abs(found[metric] - record.metrics[metric]) <= tolerance
    ]
