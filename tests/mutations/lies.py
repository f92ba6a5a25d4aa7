"""Lies planted in the book, as an honest edit or a careless merge could: numbers, pictures, words, settings, steps.

Each is tried like a mutation of the code, on a copy of its own; the last is all of them at once. None needs a chapter
to be executed: what was changed after the last execution is seen without.
"""

from functools import partial

from tests.mutations import telling
from tests.mutations.telling import Lie, appended, in_chapter, in_text, move_number, said, with_code, with_markdown

H = "tests/test_honesty.py::"
SEALED = H + "test_every_chapter_is_as_its_execution_left_it[{}]"
PROSE = H + "test_no_prose_of_the_book_types_a_claim[{}]"
MARKUP = H + "test_no_page_brings_along_a_program_or_a_picture_of_unknown_making[{}]"
COMPARED = H + "test_what_is_not_compared_in_a_chapter_says_why_and_is_no_result[{}]"
MANIFEST = H + "test_what_was_taken_over_is_as_it_came_and_says_its_version_and_licence"
MEASURED = "tests/test_measurements.py::test_every_result_that_ships_is_as_it_was_measured[{}]"


def prose(name, text, wrong, chapter="vit"):
    return Lie(name, in_chapter(chapter, with_markdown(text)), wrong, (PROSE.format(f"book/{chapter}.ipynb"),))


def edited(name, chapter, edit, wrong, *others):
    return Lie(name, in_chapter(chapter, edit), wrong, (SEALED.format(chapter), *others))


PERCENT = r"(?<![\d.])(\d\d\.\d\d) %"
SHARE = r"(?<![\d.])(0\.\d\d)(?!\d)"

LIES = (
    # What an output says
    edited(
        "accuracy-in-the-summary",
        "vit",
        partial(move_number, number=r"(?<![\d.])(\d\d\.\d) %", by=1.4),
        "An accuracy is moved by 1.4 points, within its cell's tolerance.",
    ),
    edited(
        "accuracy-in-the-answer",
        "patch_convnet",
        partial(move_number, number=PERCENT, by=1.8),
        "An accuracy is moved by two points, within its cell's tolerance.",
    ),
    edited(
        "rank-correlation",
        "porting",
        partial(move_number, number=SHARE, by=0.02, room=False),
        "A share or correlation is moved by 0.02.",
    ),
    edited(
        "gain-over-chance",
        "faithfulness",
        partial(move_number, number=r"(?<![\d.])(0\.\d{3})(?!\d)", by=0.045, room=False),
        "A difference to chance is moved by 0.045.",
    ),
    edited("alt-text", "vit", telling.other_alt, "A figure's description, which the page shows, is another."),
    edited(
        "pixels", "eanet", telling.other_picture, "A figure is another picture, beside the fingerprint of the true one."
    ),
    Lie(
        "front-page",
        telling.other_hero,
        "The picture on the front page is another, and so is the chapter's.",
        (SEALED.format("own_pictures"),),
    ),
    edited(
        "fingerprint-with-room", "porting", telling.wide_figure, "A figure may differ by all of its size, and does."
    ),
    edited(
        "not-compared",
        "eanet",
        telling.not_compared,
        "The result is tagged as one that cannot repeat, and changed.",
        COMPARED.format("eanet"),
    ),
    edited(
        "carriage-return",
        "vit",
        telling.overwritten,
        "A claim stands before a carriage return, where the comparison does not look.",
    ),
    edited("device", "cost", telling.device, "A chapter says that it ran on another device."),
    # What a cell types
    edited(
        "braces-around-a-number",
        "vit",
        with_code('say(f"It is {99.3} % right.")', said("It is 99.3 % right.")),
        "A number is typed into an f-string, and shown as if it were computed.",
        PROSE.format("book/vit.ipynb"),
    ),
    edited(
        "printed-number",
        "eanet",
        with_code('print("99.3 % right")', {"output_type": "stream", "name": "stdout", "text": "99.3 % right\n"}),
        "A number is typed into a print.",
        PROSE.format("book/eanet.ipynb"),
    ),
    # What prose says
    prose("words", "It reaches forty percent of them.", "A percentage is typed in words."),
    prose("inline-code", "It reaches `99.3 %` of them.", "A percentage is typed in inline code."),
    prose("mathematics", r"It reaches $99.3\,\%$ of them.", "A percentage is typed in mathematics."),
    prose("bold-sign", "It reaches 99.3 **%** of them.", "Markup stands between a number and its sign."),
    prose("entity", "It reaches 99.3&#37; of them.", "A sign is written as an entity."),
    prose("of-a-thousand", "It has 993 of 1000 images right.", "A share is typed without a sign."),
    prose("decimal-accuracy", "Its 0.993 accuracy is the best.", "An accuracy is typed as a decimal."),
    prose("link-title", 'See [the log](cost.ipynb "99.3 % right").', "A percentage is typed into the title of a link."),
    prose(
        "exercise",
        "<details>\n<summary>Solution</summary>\n\nIt is 99.3 % then.\n\n</details>",
        "A percentage is typed into a solution.",
        "eanet",
    ),
    Lie(
        "front-page-words",
        appended("book/index.md", "\nIt beats ResNet-50 nine times out of ten.\n"),
        "The front page claims a share in words.",
        (PROSE.format("book/index.md"),),
    ),
    Lie(
        "readme",
        appended("README.md", "\nIt reaches 99.3 % of them.\n"),
        "The README claims a percentage.",
        (PROSE.format("README.md"),),
    ),
    Lie(
        "benchmarks-readme",
        appended("benchmarks/README.md", "\nIt reaches 99.3 % of them.\n"),
        "The benchmarks' README claims a percentage.",
        (PROSE.format("benchmarks/README.md"),),
    ),
    Lie(
        "bibliography",
        in_text("book/references.bib", r"^(@\w+\{[^,]+,)$", r"\1\n  note = {We reach 99.3 \\%},"),
        "An entry of the bibliography claims a percentage.",
        (PROSE.format("book/references.bib"),),
    ),
    Lie(
        "title",
        in_text("_config.yml", r"^title: .*$", "title: Attention, 99.3 % right"),
        "The book's title claims a percentage.",
        (PROSE.format("_config.yml"), H + "test_the_book_has_one_title"),
    ),
    # What Markdown brings along
    Lie(
        "overlay",
        in_chapter("vit", with_markdown('<span style="position: absolute">99</span><script>x()</script>')),
        "HTML lays a number over the page.",
        (MARKUP.format("vit.ipynb"),),
    ),
    Lie(
        "picture-file", telling.picture_file, "A picture that no chapter drew is shown.", (MARKUP.format("vit.ipynb"),)
    ),
    Lie(
        "style-sheet",
        appended("book/_static/book.css", '.cell_output::after { content: "99 %"; }\n'),
        "The style sheet writes behind every output.",
        (H + "test_nothing_writes_on_the_pages_but_the_pages",),
    ),
    Lie(
        "mathjax",
        appended("book/_static/mathjax/tex-mml-chtml.js", "\n// 99\n"),
        "The copy of MathJax is another.",
        (MANIFEST,),
    ),
    # What was measured
    Lie(
        "times",
        telling.measurement,
        "Every time of the benchmark is five per cent shorter.",
        (MEASURED.format("cost"),),
    ),
    Lie(
        "record",
        telling.record,
        "A record without weights says a higher accuracy and a twentieth of the time.",
        (MANIFEST,),
    ),
    # What verifies
    Lie(
        "pin",
        in_text("requirements.in", r"^keras==.*$", "keras==3.13.0"),
        "Another version is asked for than is pinned.",
        ("tests/test_pins.py::test_everything_that_is_asked_for_is_pinned_as_it_is_asked_for[requirements]",),
    ),
    Lie(
        "hashes",
        in_text("Makefile", " --require-hashes", ""),
        "The environment is made without asking for hashes.",
        ("tests/test_pins.py::test_the_environment_is_made_with_hashes_required",),
    ),
    Lie(
        "ci-ends-early",
        in_text(".ci/run", r"^make test$", "exit 0\nmake test"),
        "What CI runs ends before the test.",
        ("tests/test_makefile.py::test_what_ci_runs_ends_with_the_test_and_ends_nowhere_before",),
    ),
    Lie(
        "step-left-out",
        in_text("Makefile", r"^test: (.*) chapters", r"test: \1"),
        "The test no longer executes the chapters.",
        ("tests/test_makefile.py::test_the_test_is_all_its_steps",),
    ),
)


def all_at_once(copy):
    for lie in LIES:
        lie.plant(copy)


TOGETHER = Lie(
    "all-at-once", all_at_once, "All of these together.", tuple(dict.fromkeys(c for lie in LIES for c in lie.caught_by))
)

# What no check of the book's own can find, and who can.
OUT_OF_REACH = {
    "a check that is edited too": "`bookproof/`, `tests/`, the Makefile, `.ci/` and the workflows are what finds lies. "
    "Who edits them is seen by their owners (`.github/CODEOWNERS`), and `make mutations` says which faults they miss.",
    "a number of others, where it is quoted": "A quotation is typed by nature. It carries the link at which it can be "
    "read again.",
    "a chapter refreshed on purpose with other code": "Its outputs follow from that code, which is read in review.",
    "a measurement or record sealed anew": "A seal has no secret: it finds edits, not forgers. `make bench` measures "
    "again, `vattn records --verify` evaluates again what ships weights.",
    "a hash in requirements.txt": "pip refuses it where that file is the one it takes, and the audit workflow derives "
    "all of them again.",
    "a Sphinx extension that rewrites pages": "`make pages` compares the numbers of each built page with what its "
    "notebook shows, unless the extension spares that check.",
}
