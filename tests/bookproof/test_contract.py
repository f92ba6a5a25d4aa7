"""What parameters the chapters have stands in one table, and the chapters keep to it."""

import nbformat
import pytest

from verification import contract
from verification.contract import ContractError
from verification.execute import ROOT, ChapterError, chapters, execute_chapter
from verification.hygiene import declared_parameters

TABLE = """
every.profile = {published = "published", quick = "quick", full = "full"}
maps.images = {published = 512, quick = 16, full = 512}
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "book").mkdir()
    write(tmp_path, TABLE)
    return tmp_path


def write(root, table):
    (root / contract.FILE).write_text(table)


@pytest.mark.parametrize("chapter", chapters())
def test_every_chapter_declares_what_the_table_says(chapter):
    notebook = nbformat.read(chapters()[chapter], as_version=4)
    contract.check_declared(ROOT, chapter, declared_parameters(notebook))


def test_the_table_names_chapters_only():
    assert set(contract.read(ROOT)) <= {contract.EVERY, *chapters()}


def test_a_profile_has_its_own_values(root):
    assert contract.parameters(root, "maps", "quick") == {"profile": "quick", "images": 16}
    assert contract.parameters(root, "vit", "published") == {"profile": "published"}


def test_an_unknown_profile_is_named(root):
    with pytest.raises(ContractError, match="profile='quik' does not exist; use one of published, quick, full"):
        contract.parameters(root, "maps", "quik")


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ("every.seed = {published = 0, quick = 0}", r"\[every\.seed\] must have a value for each of"),
        ("every.seed = 0", r"\[every\.seed\] must have a value for each of"),
        ("every.seed = {published = 0, quick = 0, full = 0, fast = 0}", "and nothing else"),
        ("every.seed = {published = 0, quick = 0.5, full = 0}", "give them one type"),
        ("every.seed = {published = [0], quick = [0], full = [0]}", "give them one type"),
        (TABLE + "maps.profile = {published = '', quick = '', full = ''}", r"\[every\] already"),
        ("every.seed = {", "is not TOML"),
    ],
)
def test_a_wrong_table_is_refused(root, table, complaint):
    write(root, table)
    with pytest.raises(ContractError, match=complaint):
        contract.read(root)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(ContractError, match=r"parameters\.toml is missing"):
        contract.read(tmp_path)


PROFILE = {"profile": ("str", "published")}


@pytest.mark.parametrize(
    ("declared", "complaint"),
    [
        (PROFILE, r"lacks 'images'; write `images: int = 512`"),
        ({**PROFILE, "images": ("int", 512), "image": ("int", 1)}, "no parameter 'image' .*Did you mean 'images'"),
        ({**PROFILE, "images": ("int", 16)}, "has images=16, .* has 512"),
        ({**PROFILE, "images": ("float", 512.0)}, "has images=512.0, .* has 512"),
    ],
)
def test_a_chapter_that_declares_something_else_is_refused(root, declared, complaint):
    with pytest.raises(ContractError, match=complaint):
        contract.check_declared(root, "maps", declared)
    contract.check_declared(root, "maps", {**PROFILE, "images": ("int", 512)})


def test_a_chapter_that_breaks_the_table_gets_no_kernel(root, monkeypatch):
    (root / "_toc.yml").write_text("root: book/index\nchapters:\n- file: book/maps\n")
    cells = [nbformat.v4.new_code_cell('profile: str = "published"', metadata={"tags": ["parameters"]})]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), root / "book" / "maps.ipynb")
    monkeypatch.setattr("verification.execute.execute", lambda *_, **__: pytest.fail("a kernel was started"))
    with pytest.raises(ChapterError, match=r"maps\.ipynb: the parameters cell lacks 'images'"):
        execute_chapter("maps", "quick", root=root)
