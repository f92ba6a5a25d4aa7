"""What stands on another page comes from the chapter's own output, or the build says what is missing."""

import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from bookproof.sphinx.excerpts import excerpt


def notebook(*outputs, tags=("excerpt-answer",)):
    return new_notebook(cells=[new_code_cell("say()", metadata={"tags": list(tags)}, outputs=list(outputs))])


def shown(text, kind="text/markdown"):
    return new_output("display_data", {kind: text})


def test_it_is_the_first_markdown_of_the_tagged_cell():
    found = excerpt(notebook(shown("no", "text/plain"), shown("**42**"), shown("later")), "answer")
    assert found == ("text/markdown", "**42**")


def test_it_may_be_an_interactive_page():
    found = excerpt(notebook(shown("<p>42</p>", "text/html"), shown("**42**")), "answer")
    assert found == ("text/html", "<p>42</p>")


def test_another_name_is_another_excerpt():
    assert excerpt(notebook(shown("**42**")), "question") is None
    assert excerpt(notebook(shown("**42**"), tags=["answer"]), "answer") is None


def test_a_cell_that_says_nothing_is_named():
    with pytest.raises(ValueError, match="cell 1 is tagged excerpt-answer and shows no Markdown"):
        excerpt(notebook(shown("42", "text/plain")), "answer")
