"""Each rule of `bookproof.checks.hygiene` passes a good notebook and fails one that breaks it, saying where."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from bookproof import notebooks
from bookproof.checks import hygiene
from bookproof.fingerprint import MIME
from bookproof.notebooks import IGNORE


def figure():
    data = {"image/png": "iVBORw0K/tmp/", "text/plain": "a map", MIME: {"axes": []}}
    return new_output("display_data", data=data, metadata={"image/png": {"alt": "a map of attention"}})


@pytest.fixture
def notebook():
    """A notebook that keeps every rule."""
    return new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        cells=[
            new_markdown_cell("# A chapter, see https://example.org/home/page"),
            new_code_cell(
                'profile: str = "published"\nepochs: int = 3',
                execution_count=1,
                metadata={"tags": ["parameters"]},
            ),
            new_code_cell("print(profile)", execution_count=2, outputs=[new_output("stream", text="published\n")]),
            new_code_cell(
                "draw()",
                execution_count=3,
                outputs=[figure()],
                metadata={"verify": {"rtol": 0.01, "reason": "drawn anew"}},
            ),
            new_code_cell("time()", execution_count=4, metadata={"tags": [IGNORE], "verify": {"reason": "time"}}),
        ],
    )


@pytest.fixture
def path(book):
    return book.root / "book" / "vit.ipynb"


@pytest.fixture
def problems(book, path):
    """A function: what is wrong with a notebook, as one text."""

    def found(notebook):
        nbformat.write(notebook, path)
        return "\n".join(hygiene.problems(book, path))

    return found


def test_good_notebook_keeps_the_rules(notebook, problems):
    assert problems(notebook) == ""


def test_parameters_are_read_with_their_types(notebook):
    expected = {"profile": ("str", "published"), "epochs": ("int", 3)}
    assert notebooks.declared_parameters(notebook) == expected


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ('profile = "published"', "not an annotated literal"),
        ('profile: str = "pub" + "lished"', "computed"),
        ('profile: str = "published"\nepochs: int = 2.5', "not of the type int"),
        ('profile: str = "published"\nfolder: Path = "x"', "Path is none of str"),
        ('profile: str = "published"\nepochs: int', "computed"),
        ('profile: str = "quick"', 'lack `profile: str = "published"`'),
        ("epochs: int = 2", 'lack `profile: str = "published"`'),
    ],
)
def test_parameters_that_are_not_annotated_literals_are_refused(notebook, problems, source, complaint):
    notebook.cells[1].source = source
    found = problems(notebook)
    assert complaint in found
    assert "vit.ipynb" in found


def test_two_parameters_cells_are_refused(notebook, problems):
    notebook.cells[2].metadata.tags = ["parameters"]
    assert "2 cells are tagged `parameters` (2, 3)" in problems(notebook)


def test_no_parameters_cell_is_refused(notebook, problems):
    notebook.cells[1].metadata.tags = []
    assert "0 cells are tagged" in problems(notebook)


def test_code_before_the_parameters_is_refused(notebook, problems):
    notebook.cells[1:3] = [notebook.cells[2], notebook.cells[1]]
    assert "cell 3 is tagged `parameters` but code runs before it" in problems(notebook)


def test_another_kernel_is_refused(notebook, problems):
    notebook.metadata.kernelspec.name = "my-env"
    assert "the kernelspec is 'my-env'" in problems(notebook)


@pytest.mark.parametrize("count", [None, 7])
def test_cells_out_of_order_are_refused(notebook, problems, count):
    notebook.cells[2].execution_count = count
    assert f"cell 3: execution count {count}, not 2" in problems(notebook)


def test_error_output_is_refused(notebook, problems):
    notebook.cells[2].outputs = [new_output("error", ename="ValueError", evalue="a bad value", traceback=[])]
    assert "cell 3: ValueError: a bad value" in problems(notebook)


def test_stderr_is_refused(notebook, problems):
    notebook.cells[2].outputs = [new_output("stream", name="stderr", text="beware\nof this")]
    assert "cell 3: stderr holds 'beware'" in problems(notebook)


@pytest.mark.parametrize(
    "text", ["/home/me/a.png", "file:///tmp/x", "in '/home/me'", "/root/.keras", r"C:\Users\me", "/Users/me"]
)
def test_path_of_a_machine_is_refused(notebook, problems, text):
    notebook.cells[2].outputs = [new_output("display_data", data={"text/html": f"<b>{text}</b>"})]
    assert "cell 3: " in problems(notebook)
    assert "is a path of one machine" in problems(notebook)


@pytest.mark.parametrize("text", ["https://example.org/tmp/x", "attention/home/", "src/root/x", "the /home page"])
def test_addresses_and_words_are_no_paths_of_a_machine(notebook, problems, text):
    notebook.cells[2].outputs = [new_output("stream", text=text)]
    assert problems(notebook) == ""


def test_stray_metadata_of_the_notebook_is_refused(notebook, problems):
    notebook.metadata["papermill"] = {"duration": 3}
    assert "the notebook carries the metadata 'papermill'" in problems(notebook)


def test_a_notebook_may_ask_its_host_for_a_gpu_and_for_nothing_else(notebook, problems):
    notebook.metadata |= {"accelerator": "GPU", "colab": {"gpuType": "T4"}}
    assert problems(notebook) == ""
    notebook.metadata["colab"]["provenance"] = []
    assert "the metadata colab is {'gpuType': 'T4', 'provenance': []}; where the accelerator is GPU it may" in problems(
        notebook
    )
    notebook.metadata |= {"accelerator": "QPU", "colab": {}}
    assert "the accelerator 'QPU' is not known; use one of GPU, TPU" in problems(notebook)


def test_stray_metadata_of_a_cell_is_refused(notebook, problems):
    notebook.cells[0].metadata["collapsed"] = True
    assert "cell 1 carries the metadata 'collapsed'" in problems(notebook)


def test_stray_metadata_of_a_figure_is_refused(notebook, problems):
    notebook.cells[3].outputs[0].metadata["image/png"]["path"] = "x"
    assert "a figure of cell 4 carries the metadata 'path'" in problems(notebook)


@pytest.mark.parametrize(
    "tag", ["nbval-skip", "nbval-raises-exception", "raises-exception", "skip-execution", "remove-cell", "hide-output"]
)
def test_another_tag_that_hides_outputs_is_refused(notebook, problems, tag):
    notebook.cells[2].metadata.tags = [tag]
    assert f"cell 3: the tag '{tag}' hides" in problems(notebook)


@pytest.mark.parametrize("comment", ["# NBVAL_SKIP", "#NBVAL_IGNORE_OUTPUT", "# PYTEST_VALIDATE_IGNORE_OUTPUT"])
def test_comment_that_hides_outputs_is_refused(notebook, problems, comment):
    notebook.cells[2].source = f"{comment}\nprint(profile)"
    assert f"cell 3: '{comment}' hides" in problems(notebook)


def test_figure_without_fingerprint_is_refused(notebook, problems):
    del notebook.cells[3].outputs[0].data[MIME]
    assert "cell 4: a figure without a fingerprint" in problems(notebook)


@pytest.mark.parametrize("metadata", [{}, {"image/png": {}}, {"image/png": {"alt": " "}}])
def test_figure_without_alt_text_is_refused(notebook, problems, metadata):
    notebook.cells[3].outputs[0].metadata = metadata
    assert "cell 4: a figure without alt text" in problems(notebook)


def test_large_notebook_is_refused(notebook, problems):
    notebook.cells[0].source = "x" * hygiene.MAX_BYTES
    assert "the limit is 2,000,000" in problems(notebook)


def test_file_that_is_no_notebook_is_refused(book, path):
    path.write_text("{broken")
    assert hygiene.problems(book, path)[0].startswith("vit.ipynb: not a valid notebook")


@pytest.mark.parametrize("verify", [{"rtol": 0.01}, {"rtol": 0.01, "reason": " "}, {"rtol": 2, "reason": "why not"}])
def test_a_tolerance_without_a_reason_is_refused(notebook, problems, verify):
    notebook.cells[3].metadata["verify"] = verify
    assert 'cell 4: metadata "verify"' in problems(notebook)


@pytest.mark.parametrize("verify", [{}, {"reason": "it wobbles"}])
def test_an_output_that_is_not_compared_says_why_in_one_of_few_words(notebook, problems, verify):
    notebook.cells[4].metadata["verify"] = verify
    assert "cell 5: `nbval-ignore-output` needs the metadata" in problems(notebook)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (new_output("stream", text="It has 99.30 % right."), "a percentage is not compared: 'It has 99.30 % right.'"),
        (
            new_output("display_data", {"text/markdown": "top-1: 0.993", "text/plain": ""}),
            "an accuracy is not compared",
        ),
        (figure(), "a figure is not compared"),
    ],
)
def test_a_result_is_compared_whatever_its_tag_says(notebook, problems, output, said):
    notebook.cells[4].outputs = [output]
    assert f"cell 5: {said}" in problems(notebook)


def test_what_a_clock_or_a_version_says_need_not_be(notebook, problems):
    notebook.cells[4].outputs = [new_output("stream", text="133.2 minutes, keras 3.15.1, 2026-11-28")]
    assert problems(notebook) == ""


def test_a_book_of_one_profile_needs_no_parameters(book, notebook, problems):
    (book.root / "pyproject.toml").write_text("")
    notebook.cells[1].metadata.tags = []
    assert problems(notebook) == ""
