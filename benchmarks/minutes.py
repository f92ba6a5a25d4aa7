"""How long each chapter takes in each profile: what every chapter says of itself when it opens.

    python benchmarks/minutes.py     # writes results/minutes.jsonl anew

Nothing is executed here. A committed chapter says how long its execution took in the published profile;
`make execute PROFILE=quick`, and `full`, note it in what they execute. The full profile of a chapter that trains needs
no such execution: it takes as long as the published one, and the training of the recorded runs whose weights it reads.
"""

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import nbformat

from bookproof import contract
from bookproof.book import Book
from vattn_utils.data.files import write_atomically
from vattn_utils.training import records
from vattn_utils.training.measurements import to_line
from vattn_utils.training.provenance import provenance
from vattn_utils.training.schema import WEIGHTS

RESULTS = Path(__file__).parent / "results" / "minutes.jsonl"
BOOK = Book(Path(__file__).parents[1])


def execution(book: Book, chapter: str, profile: str) -> dict[str, Any] | None:
    """What an execution of a chapter noted of itself; None if there is none with the profile's own parameters."""
    published = profile == book.settings.published
    path = book.chapter(chapter) if published else book.build / "executed" / profile / f"{chapter}.ipynb"
    noted = nbformat.read(path, as_version=4).metadata.get("executed") if path.is_file() else None
    due = contract.parameters(book, chapter, profile)
    return noted if noted and noted.get("parameters", due) == due else None  # a committed one had no others


def runs(noted: dict[str, Any]) -> list[records.Record]:
    """The records whose weights an execution read."""
    return [records.load(Path(file).parent.name) for file in noted["inputs"]["files"] if Path(file).name == WEIGHTS]


def measured(book: Book = BOOK) -> list[dict[str, Any]]:
    """A line for each chapter and profile that was executed, and for the full profile of each chapter that trains."""
    here, found = provenance(), []
    for chapter in book.chapters():
        for profile in book.settings.profiles:
            trains = profile == "full" and "epochs" in contract.parameters(book, chapter, profile)
            noted = execution(book, chapter, book.settings.published if trains else profile)
            if noted is None:
                continue
            trained = runs(noted) if trains else []
            devices = [one.provenance["device"] for one in trained] or [noted.get("device", here["device"])]
            line = {
                "chapter": chapter,
                "profile": profile,
                "seconds": round(noted["seconds"] + sum(one.seconds for one in trained), 1),
                "device": " and ".join(dict.fromkeys(devices)),
                "runs": [one.name for one in trained],
            }
            found.append({**line, "provenance": {**here, "date": noted["date"]}})
    return found


if __name__ == "__main__":
    lines = measured()
    write_atomically(RESULTS, "".join(map(to_line, lines)))
    for line in lines:
        print(f"{line['chapter']:14} {line['profile']:10} {line['seconds'] / 60:6.1f} minutes on {line['device']}")
