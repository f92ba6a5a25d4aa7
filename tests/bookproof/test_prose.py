"""Results are computed, not typed: claims in prose are found, quotations of others are let through."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from bookproof.__main__ import main
from bookproof.checks import prose

QUOTATION = """
| quoted, not measured by us | test top-1 |
|---|---:|
| [its log](https://example.org/log) | 43.91 % |
"""


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("It reaches 44.85 % of them.", "a percentage"),
        ("It reaches 44.85% of them.", "a percentage"),
        ("About 44 per cent.", "a percentage"),
        ("The top-1 accuracy is 0.44 here.", "an accuracy"),
        ("With 0.44 in top-5.", "an accuracy"),
        ("It has 487,013 parameters.", "a number of parameters"),
        ("It has 0.5 million trainable parameters.", "a number of parameters"),
        ("It trains in 20 minutes.", "a time"),
        ("A step takes 3.5 ms.", "a time"),
        ("| ours | 44.85 % |", "a percentage"),
    ],
)
def test_a_typed_claim_is_found(text, kind):
    assert prose.claims(f"First.\n\n{text}\n") == [(kind, text)]


@pytest.mark.parametrize(
    "text",
    [
        "Patches of 4 pixels, 64 tokens, 8 heads, CIFAR-100, 50 epochs.",
        "We count top-1 and top-5 of 10,000 images.",
        "Every one of its parameters is trained; 10 classes.",
        "`dropout=10 %` and $p = 10\\%$ and [a link](https://example.org/44%)",
        "```\naccuracy 44 %\n```",
        QUOTATION,
    ],
)
def test_what_claims_no_result_is_let_through(text):
    assert prose.claims(text) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [("quoted, not", "found, not"), ("[its log](https://example.org/log)", "its log"), ("\n| [", "\n\n| [")],
)
def test_a_quotation_needs_the_word_the_link_and_the_table(old, new):
    assert prose.claims(QUOTATION.replace(old, new)) != []


def test_a_row_cannot_declare_itself_a_quotation():
    table = "| ours | top-1 |\n|---|---:|\n| quoted from [us](https://example.org) | 44 % |"
    assert [kind for kind, _ in prose.claims(table)] == ["a percentage"]


def notebook_of(folder, *cells):
    path = folder / "mini.ipynb"
    nbformat.write(new_notebook(cells=list(cells)), path)
    return path


@pytest.mark.parametrize(
    "code",
    [
        'say("It reaches 44.85 %.")',
        'bookproof.say(f"It reaches 44.85 % of {n}.")',
        'figure(fig, "It reaches 44.85 %.", alt)',
        'figure(fig, caption, alt="It " + "reaches 44.85 %.")',
        '%matplotlib inline\nsay("It reaches 44.85 %.")',
    ],
)
def test_what_a_cell_says_is_prose_unless_it_is_computed(tmp_path, code):
    (problem,) = prose.problems(notebook_of(tmp_path, new_code_cell(code)))
    assert problem.startswith("mini.ipynb, cell 1: a percentage is typed into prose")
    assert "bookproof.say" in problem
    computed = new_code_cell('say(f"It reaches {100 * top1:.2f} %, in {seconds} s.")\nx = "44 %"')
    assert prose.problems(notebook_of(tmp_path, computed)) == []


def test_quotations_stand_in_one_table(tmp_path):
    once, twice = [new_markdown_cell(QUOTATION)], [new_markdown_cell(QUOTATION), new_markdown_cell(QUOTATION)]
    assert prose.problems(notebook_of(tmp_path, *once)) == []
    (problem,) = prose.problems(notebook_of(tmp_path, *twice))
    assert "2 tables of quotations; join them" in problem


def test_the_command_fails_where_there_is_a_claim(book, capsys):
    page = book.root / "page.md"
    page.write_text("It has 7 parameters.\n")
    command = ["--root", str(book.root), "check", "--only", "prose", str(page)]
    assert main(command) == 1
    assert "page.md: a number of parameters" in capsys.readouterr().out
    page.write_text("It has parameters.\n")
    assert main(command) == 0
