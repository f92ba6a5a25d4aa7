"""The file of a sweep: what its tables become, and with which words it is refused."""

from pathlib import Path

import pytest

from vattn_utils.__main__ import main
from vattn_utils.training.sweep_file import SweepError, read

ROOT = Path(__file__).parents[1]
RUN = '[[run]]\nvalue = 1\nrecord = "a"\nmodel = "vit"\ndataset = "shapes10"\n'
GRID = '[[grid]]\nvalue = 1\nexperiment = "e"\nmodels = ["vit"]\ndataset = "shapes10"\n'


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "runs.toml"
        path.write_text(text)
        return path

    return write


def test_runs_stand_in_the_order_of_their_value(file):
    text = RUN + RUN.replace("= 1", "= 3").replace('"a"', '"b"') + RUN.replace("= 1", "= 2.5").replace('"a"', '"c"')
    assert [task.name for task in read(file(text)).tasks] == ["b", "c", "a"]


def test_a_grid_is_models_times_variants_times_changes_times_seeds_a_seed_after_the_other(file):
    text = GRID.replace('["vit"]', '["vit", "eanet"]') + 'variants = ["book", "paper"]\nseeds = [0, 1]\n'
    tasks = read(file(text + 'change = [{arm = "x"}, {arm = "y", recipe = {epochs = 3}}]')).tasks
    assert len({task.name for task in tasks}) == 16
    assert [task.seed for task in tasks] == [0] * 8 + [1] * 8
    assert {(task.model, task.variant) for task in tasks} == {
        (model, variant) for model in ("vit", "eanet") for variant in ("book", "paper")
    }
    assert tasks[1].arm == "vit, book, y"
    assert [task.recipe.epochs for task in tasks[:2]] == [26, 3]
    assert tasks[-1].recipe.seed == 1


def test_the_changes_of_a_cumulative_grid_stand_on_those_before(file):
    text = (
        GRID + 'cumulative = true\nset = {dim = 32}\nchange = [{arm = "x", set = {heads = 2}, recipe = {epochs = 2}},'
    )
    tasks = read(file(text + '{arm = "y", set = {depth = 1}, recipe = {ema = 0.9}}]')).tasks
    assert [task.overrides for task in tasks] == [dict(dim=32, heads=2), dict(dim=32, heads=2, depth=1)]
    assert (tasks[1].recipe.epochs, tasks[1].recipe.ema) == (2, 0.9)
    assert (tasks[0].arm, tasks[1].arm) == ("x", "y")


def test_records_of_a_grid_are_called_by_what_differs(file):
    text = GRID.replace('experiment = "e"', 'record = "{model}-{dataset}-{seed}"') + "seeds = [4, 5]\n"
    assert [task.record for task in read(file(text)).tasks] == ["vit-shapes10-4", "vit-shapes10-5"]


def test_a_seed_that_the_recipe_gives_is_that_of_the_run_and_of_its_name(file):
    (line,) = read(file(GRID + 'change = [{arm = "x", recipe = {seed = 3}}]')).tasks
    assert (line.name, line.seed, line.recipe.seed) == ("e/x-3", 3, 3)
    (record,) = read(file(RUN.replace('"a"', '"a-{seed}"') + "recipe = {seed = 3}")).tasks
    assert (record.record, record.seed, record.recipe.seed) == ("a-3", 3, 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[run]", "is no TOML"),
        ("", "has no [[run]] and no [[grid]]"),
        ("runs = 1", "the file has the key runs, which is not known; did you mean 'run'?"),
        ("run = 1", "run is no list of tables; begin each with [[run]]"),
        (RUN + "modle = 3", "number 1: a run has the key modle, which is not known; did you mean 'model'?"),
        (RUN + RUN, "has two runs called a; give one of them another arm or record"),
        (RUN.replace("shapes10", "shapes"), "dataset='shapes' is not known"),
        (RUN.replace('"vit"', '"vti"'), "model='vti' is not known; use one of 'vit'"),
        (RUN + 'variant = "books"', "variant='books' is not known"),
        (RUN + "seed = -1", "seed=-1 is not possible; use 0 to"),
        (RUN + "seed = 1\nrecipe = {seed = 2}", "seed=1 of the run, and 2 of its recipe; give one"),
        (RUN + "images = 3", "images does not go with a record; leave it out"),
        (RUN + 'arm = "x"', "arm does not go with a record"),
        (RUN + "recipe = {epoch = 3}", "a recipe has no epoch; did you mean 'epochs'?"),
        (RUN + "recipe = {epochs = 0}", "epochs=0 is not possible"),
        (RUN + "recipe = 3", "recipe=3 cannot be; write {key = value}"),
        (RUN + "set = {head = 3}", "unknown argument 'head' for ViT; did you mean 'heads'?"),
        (RUN + "set = {patch_size = 5}", "image_size=32 is not divisible by patch_size=5"),
        (RUN + "set = {num_classes = 5}", "set has num_classes, which a model has from its data set"),
        (RUN.replace('"a"', '"a/b"'), "record='a/b' is no name"),
        (RUN.replace('"a"', '"{sead}"'), "record='{sead}': no 'sead'; there are {model}, {dataset}, {variant}, {seed}"),
        (RUN.replace('"a"', '"{}"'), "there are {model}, {dataset}, {variant}, {seed}"),
        (RUN.replace("value = 1\n", ""), "a run has no value; every run needs one"),
        (RUN.replace('record = "a"\n', ""), "give one of record and experiment"),
        (RUN.replace('model = "vit"\n', ""), "a run has no model; there are vit, eanet, patch_convnet"),
        (GRID, "a run of the experiment e has no arm"),
        (GRID + "seeds = 3", "seeds=3 cannot be; write a list"),
        (GRID + "seed = 3", "a grid has the key seed, which is not known; did you mean 'seeds'?"),
        (GRID + 'change = [{arms = "x"}]', "a change has the key arms, which is not known; did you mean 'arm'?"),
        (GRID + 'change = [{arm = "x", replace = true}]', "replace does not go with a line of an experiment"),
        (GRID + 'change = [{arm = "x", with = {a = 1}}]', "with does not go with a run without a call"),
        (GRID + 'change = [{arm = "x", judge = "me"}]', "judge='me' is not known; use one of 'held-out', 'test'"),
        (GRID.replace('models = ["vit"]', 'call = "nowhere:f"\nchange = [{arm = "x"}]'), "No module named 'nowhere'"),
        (
            GRID.replace('models = ["vit"]', 'call = "math:dist"\nchange = [{arm = "x", with = {y = 2}}]'),
            "math:dist cannot be called with {'y': 2}",
        ),
        (
            GRID + 'change = [{arm = "x", measure = "math:dist"}]',
            "math:dist cannot be called with model, images, labels",
        ),
        (RUN + 'measure = "math:dist"', "measure does not go with a record"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place_and_a_way_out(text, words, file, capsys):
    with pytest.raises(SweepError) as refused:
        read(file(text))
    assert words in str(refused.value)
    assert "runs.toml" in str(refused.value)


def test_the_command_says_what_is_wrong_with_a_file(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["sweep", str(tmp_path / "none.toml")])
    assert "none.toml cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["benchmarks/runs.toml", "benchmarks/short_runs.toml", "examples/tiny.toml"])
def test_the_sweeps_of_the_book_can_be_read_and_do_not_contradict_their_results(name, capsys):
    assert main(["sweep", str(ROOT / name), "--list"]) == 0
    assert "runs are done" in capsys.readouterr().out
