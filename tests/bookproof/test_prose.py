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
        ("It reaches forty per cent of them.", "a percentage"),
        ("Forty-four percent are right.", "a percentage"),
        ("It reaches `99.3 %` of them.", "a percentage"),
        ("It reaches $99.3\\,\\%$ of them.", "a percentage"),
        ("It reaches $\\mathbf{99.3}\\%$.", "a percentage"),
        ("It reaches 99.3 **%** of them.", "a percentage"),
        ("It reaches 99.3&#37; of them.", "a percentage"),
        ("It reaches <b>99.3</b>\u200b % of them.", "a percentage"),
        ("It reaches ９９％ of them.", "a percentage"),
        ("It gains 12 percentage points.", "a percentage"),
        ('See [the log](log.md "99.3 % right").', "a percentage"),
        ("![99.3 % right](a.png)", "a percentage"),
        ("```{figure} a.png\n99.3 % right\n```", "a percentage"),
        ("```\naccuracy 44 %\n```", "a percentage"),
        ("It has 993 of 1000 right.", "a share"),
        ("It has 9,930 out of 10,000 right.", "a share"),
        ("It beats the other nine times out of ten.", "a share"),
        ("It is right in nine in ten images.", "a share"),
        ("Its 0.993 accuracy is high.", "an accuracy"),
        ("It is five times faster than the other.", "a factor"),
        ("It is 1.6 times as fast.", "a factor"),
    ],
)
def test_a_typed_claim_is_found(text, kind):
    ((found, _),) = prose.claims(f"First.\n\n{text}\n")
    assert found == kind


def test_a_claim_that_runs_over_two_lines_is_found_as_its_sentence():
    assert prose.claims("It is good. It\nreaches 44\nper cent. Why?") == [("a percentage", "It reaches 44 per cent.")]


@pytest.mark.parametrize(
    "text",
    [
        "Patches of 4 pixels, 64 tokens, 8 heads, CIFAR-100, 50 epochs.",
        "We count top-1 and top-5 of 10,000 images.",
        "Every one of its parameters is trained; 10 classes.",
        "See [a link](https://example.org/44%), https://example.org/?share=44% and <https://example.org/44%>.",
        "Three kinds of attention, two commands, one of the two, twice as many, four times as wide, epoch 46 of 50.",
        "`dropout=0.1`, $p = 0.1$, $2 \\cdot 16 = 32$, h, $1/64$, 3.15.1, 2026-11-28, 19 x 19 pixels.",
        "It lies within its 95 % interval, at the 95 % level and the 95 per cent confidence interval.",
        "It reached 77.9 % of ImageNet in {cite:t}`dosovitskiy2021image`.",
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
        'print("44.85 %")',
        'display(Markdown("44.85 %"))',
        'axes.set_title("44.85 % right")',
        '"44.85 %"',
        'say("44.85 %" if profile else "unknown")',
        'say(f"{44.85} %")',
        'say(f"{0.4485:.2%}")',
        'top1 = 44.85\nsay(f"It reaches {top1} %.")',
        'text = "99.3 % right"\nsay(text)',
        'text = f"99.3 % of {n}"\nsay(text)',
        'say("{:.1%}".format(0.993))',
        'say("{top1} %".format(top1=99.3))',
        'say("%.1f %% right" % 99.3)',
        'say("%s: %.1f %%" % (name, 99.3))',
        'say(", ".join(["99.3 %", name]))',
        'say("X %".replace("X", "99.3"))',
        'say("99.3 % right".strip())',
        '"{:.1%}".format(0.993)',
        'top1: float = 0.993\nsay(f"{top1:.1%}")',
        'top1, n = 0.993, 3\nsay(f"{top1:.1%}")',
        'say(f"{0.993*1:.1%}")',
        'top1 = 0.993 * 1\nsay(f"{top1:.1%}")',
        'top1 = 0.993\nsay(f"{100 * top1} %")',
    ],
)
def test_what_a_cell_says_is_prose_unless_it_is_computed(tmp_path, code):
    (problem,) = prose.problems(notebook_of(tmp_path, new_code_cell(code)))
    assert problem.startswith("mini.ipynb, cell 1: a percentage is typed into prose")
    assert "bookproof.say" in problem
    computed = new_code_cell('say(f"It reaches {100 * top1:.2f} %, in {seconds} s.")\nx = "44 %"')
    assert prose.problems(notebook_of(tmp_path, computed)) == []


@pytest.mark.parametrize(
    "code",
    [
        'say(f"By chance it would be {1 / 64:.1%}.")',
        'top1 = 44.85\ntop1 = model.top1\nsay(f"{top1} %")',
        'for top1 in runs:\n    say(f"{top1} %")',
        'axes.set_title(f"{top1:.1%} right")',
        'say(f"Guessing gives {100 * 0.1:.0f} %, in {seconds / 60:.0f} minutes.")',
        'say("{:.1%} and %.1f %%".format(top1) % loss)',
        'share: float = measure()\nname, top1 = "a", measure()\nsay(f"{name}: {share:.1%} {top1} %")',
        'text = "44.85 %"\nopen(text)',
        'open("44.85 %")',
    ],
)
def test_what_is_computed_is_let_through(tmp_path, code):
    assert prose.problems(notebook_of(tmp_path, new_code_cell(code))) == []


def test_a_parameter_is_a_setting_and_no_result(tmp_path):
    parameters = new_code_cell("share: int = 10\nkept = 10", metadata={"tags": ["parameters"]})
    assert prose.problems(notebook_of(tmp_path, parameters, new_code_cell('say(f"We keep {kept} %.")'))) == []


def test_readme_bibliography_and_configuration_are_prose_too(book):
    for name, text in {
        "README.md": "It reaches 44 %.\n",
        "book/references.bib": "@misc{x, note = {It reaches 44 %.}}\n",
        "records/README.md": "It reached 44 %.\n",
        "_config.yml": "title: A book that is 44 % right\nbibtex_bibfiles: [book/references.bib]\n",
        "_toc.yml": "format: jb-book\nroot: book/index\nparts:\n- caption: The best 44 %\n  chapters: []\n",
    }.items():
        (book.root / name).write_text(text)
    found = [problem for path in prose.sources(book) for problem in prose.problems(path)]
    readmes = {f"{book.root.name}/README.md", "records/README.md"}
    assert {problem.partition(":")[0] for problem in found} == {"_config.yml", "_toc.yml", "references.bib"} | readmes


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
