"""The search of a built book finds nothing where there is nothing, whatever the word."""

import types
from pathlib import Path

import pytest
import sphinx

from bookproof.sphinx import search

PROGRAM = Path(sphinx.__file__).parent / "themes" / "basic" / "static" / "searchtools.js"


def test_the_index_of_words_inherits_nothing_in_the_program_that_sphinx_ships(tmp_path):
    copy = tmp_path / "_static" / "searchtools.js"
    copy.parent.mkdir()
    copy.write_text(PROGRAM.read_text(encoding="utf-8"), encoding="utf-8")
    app = types.SimpleNamespace(outdir=str(tmp_path), builder=types.SimpleNamespace(format="html"))
    search.mend_search(app, None)
    before, _, after = copy.read_text(encoding="utf-8").partition(search.MENDED)
    assert before.endswith("setIndex: (index) => {\n")
    assert before + after == PROGRAM.read_text(encoding="utf-8")
    assert "__proto__: null" in search.MENDED


def test_another_program_is_told_and_left_alone():
    with pytest.raises(ValueError, match="still needed"):
        search.mended("setIndex(index) {}")
