"""An exercise says whether an answer is right; what is left to the learner follows from the solution."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from bookproof import exercise
from bookproof.__main__ import main
from bookproof.checks import exercises
from bookproof.checks.exercises import stub
from bookproof.sphinx.solutions import named


@exercise
def check_1(half):
    assert half == 21, f"{half} is not the half of 42"


@exercise
def check_2(double):
    assert double(2) == 4, f"twice 2 is not {double(2)}"


def nothing(x): ...


@pytest.mark.parametrize(
    ("check", "answer", "line"),
    [
        (check_1, 21, "Right."),
        (check_1, 20, "Not yet: 20 is not the half of 42"),
        (check_1, ..., "Not answered yet."),
        (check_2, lambda x: x + x, "Right."),
        (check_2, lambda x: x, "Not yet: twice 2 is not 2"),
        (check_2, nothing, "Not answered yet."),
        (check_2, lambda x: ..., "Not answered yet."),
    ],
)
def test_check_says_whether_an_answer_is_right(check, answer, line, capsys):
    check(answer)
    assert capsys.readouterr().out == f"{line}\n"


def test_assertion_without_a_message_says_to_try_again(capsys):
    @exercise
    def check(answer):
        if not answer:
            raise AssertionError

    check(0)
    assert capsys.readouterr().out == "Not yet: try another one.\n"


def test_error_of_the_learners_own_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        check_2(lambda x: x / 0)


SOLUTION = '''
import numpy as np

half = 42 / len("ßé")  # of everything

def double(
    x: int,
) -> int:  # (B,) -> (B,)
    """Twice x."""
    # Once, and once more.
    return x + x

def once(x):
    # nothing to do
    return x

def thrice(x):  # (B,) -> (B,)
    return 3 * x

check_3(half, double, once, thrice)
print(double(half))
'''
STUB = '''
half = ...  # of everything


def double(
    x: int,
) -> int:  # (B,) -> (B,)
    """Twice x."""
    ...


def once(x): ...


def thrice(x):  # (B,) -> (B,)
    ...


check_3(half, double, once, thrice)
'''


def test_stub_keeps_what_is_asked_and_nothing_that_answers():
    assert stub(SOLUTION) == STUB.strip()


@pytest.mark.parametrize(
    ("solution", "says"),
    [
        ("half = 21\nprint(half)", "end it with `check_1(answer)`"),
        ("half = 21\ncheck_1(42 / 2)", "end it with `check_1(answer)`"),
        ("def half(): return 21\ncheck_1(half)", "half stands on one line"),
        ("half = 21\ncheck_1(halves)", "the check takes halves, which the cell does not make"),
    ],
)
def test_solution_that_no_stub_follows_from_says_why(solution, says):
    with pytest.raises(ValueError, match=says.replace("(", r"\(").replace(")", r"\)")):
        stub(solution)


def cell(tag, source, *lines):
    printed = [new_output("stream", text="".join(f"{line}\n" for line in lines))] if lines else []
    return new_code_cell(source, metadata={"tags": [tag]}, outputs=printed)


def notebook(asked="half = ...\n\ncheck_1(half)", printed=("Not answered yet.",), found=("Right.", "21.0")):
    return new_notebook(
        cells=[cell("exercise", asked, *printed), cell("solution", "half = 42 / 2\ncheck_1(half)\nprint(half)", *found)]
    )


def test_exercise_that_follows_from_its_solution_has_no_problem():
    assert list(exercises.problems(notebook())) == []


@pytest.mark.parametrize(
    ("spoiled", "says"),
    [
        (notebook(asked="half = ...\ncheck_1(half)"), "cell 1: it does not follow from its solution"),
        (notebook(found=("Not yet: 20 is not the half of 42",)), "cell 1: it or its solution printed no line 'Right.'"),
        (notebook(printed=("Right.",)), "cell 1: it or its solution printed no line 'Not answered yet.'"),
        (new_notebook(cells=notebook().cells[:1]), "cell 1: no solution follows it"),
    ],
)
def test_exercise_that_is_not_what_it_says_is_a_problem(spoiled, says):
    assert says in "\n".join(exercises.problems(spoiled))


def test_command_derives_the_stubs_of_a_chapter(book, capsys):
    path = book.root / "book" / "mini.ipynb"
    nbformat.write(notebook(asked="half = 3"), path)
    assert main(["--root", str(book.root), "stubs", "--chapter", "mini"]) == 0
    assert nbformat.read(path, as_version=4).cells[0].source == "half = ...\n\ncheck_1(half)"
    assert main(["--root", str(book.root), "stubs"]) == 0
    assert capsys.readouterr().out == "mini: 1 of its exercises changed\nmini: 0 of its exercises changed\n"


def test_fold_of_a_solution_says_so_and_no_other_does():
    def html(tag):
        return (
            f'<div class="cell tag_{tag} docutils">\n<p>Show code cell content</p><p>Hide code cell content</p></div>'
        )

    page = named(html("hide-cell") + html("solution") + html("check"))
    assert page.count("Show the solution") == page.count("Hide the solution") == 1
    assert page.index("the solution") > page.index("Show code cell content")
    assert page.count("Show code cell content") == 2
