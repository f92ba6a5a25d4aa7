"""What attention costs: counts against the compiler's own program, fits against known exponents, and the script."""

import json
from math import prod

import keras
import numpy as np
import pytest

from benchmarks import cost as script
from vattn_utils import models
from vattn_utils.cost import curves, measure
from vattn_utils.cost.counts import multiply_adds
from vattn_utils.models import layers
from vattn_utils.training.provenance import provenance

TENSORFLOW = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the program is TensorFlow's")

# Small, and between them every part that costs something.
MODELS = {
    "ViT, class token": lambda: models.build("vit", "paper", depth=1, dim=24, mlp_dim=40, num_classes=7),
    "ViT, flattened": lambda: models.build("vit", "keras-io", depth=1, dim=16, head_units=(20, 12), num_classes=7),
    "ViT, convolutional tokens": lambda: models.build("vit", "book", depth=1, dim=32, convolutions=2, num_classes=7),
    "EANet, folded": lambda: models.build("eanet", "keras-io", depth=1, num_classes=7),
    "EANet, written out": lambda: models.build("eanet", "book", depth=1, num_classes=7),
    "EANet's twin": lambda: models.build("eanet", "keras-io", depth=1, attention="self", num_classes=7),
    "PatchConvNet": lambda: models.build("patch_convnet", "keras-io", depth=1, dim=32, num_classes=7),
    "PatchConvNet, depthwise": lambda: models.build("patch_convnet", "paper", depth=2, dim=16, num_classes=7),
    "PatchConvNet, a query per class": lambda: models.build(
        "patch_convnet", "book", depth=1, dim=16, queries="per-class", num_classes=7
    ),
    "PatchConvNet, mean": lambda: models.build("patch_convnet", "book", depth=1, dim=16, pooling="mean", num_classes=7),
}


@TENSORFLOW
@pytest.mark.parametrize("name", MODELS)
def test_the_count_of_a_model_is_that_of_the_program_that_xla_gets(name):
    model = MODELS[name]()
    # As large as the tokenizer wants them: enlarging an image is a product of matrices to XLA, and is not counted.
    edge = model.resize_to or 32
    found = script.compiled_multiply_adds(lambda images: model.classify(model.encode(images)[0])[0], (2, edge, edge, 3))
    assert multiply_adds(model, (2, 32, 32, 3)) == found > 0


@TENSORFLOW
@pytest.mark.parametrize("name", measure.CONTESTANTS)
def test_the_count_of_a_contestant_is_that_of_the_program_that_xla_gets(name):
    model = measure.contestant(name, 24)
    assert multiply_adds(model, (3, 24, measure.DIM)) == script.compiled_multiply_adds(model, (3, 24, measure.DIM)) > 0


def test_self_attention_grows_with_the_square_of_the_tokens_and_external_attention_does_not():
    counts = {
        name: [multiply_adds(measure.contestant(name, n), (1, n, measure.DIM)) for n in (1024, 2048)]
        for name in ("self, explicit", "external, upstream")
    }
    assert counts["self, explicit"][1] > 3 * counts["self, explicit"][0]
    assert counts["external, upstream"][1] == 2 * counts["external, upstream"][0]


def test_a_layer_without_a_formula_is_named():
    with pytest.raises(TypeError, match=r"known for GRU; add it to vattn_utils\.cost\.counts"):
        multiply_adds(keras.layers.GRU(4), (1, 2, 3))


def parameters(without=(), **overrides):
    """Of keras.io's EANet, 8 blocks deep, from one with one block and one with two."""
    counts = []
    for depth in (1, 2):
        model = models.build("eanet", "keras-io", num_classes=100, depth=depth, **overrides)
        counts.append(sum(prod(w.shape) for w in model.trainable_weights if w.name not in without))
    return counts[0] + 7 * (counts[1] - counts[0])


def test_a_single_head_with_64_slots_has_the_parameters_of_self_attention():
    single = dict(heads=1, coefficient=1, memory_slots=64)
    assert parameters(attention="self", head_dim=None) == parameters(**single) == 225_444
    # The memories' biases are not in the paper: one can do nothing, what the other does the output's bias does too.
    assert parameters(without=("memory_key_bias", "memory_value_bias"), **single) == 224_420


def test_contestants_of_one_kind_have_equal_parameters():
    found = {name: measure.parameters(measure.contestant(name, 8)) for name in measure.CONTESTANTS}
    assert found["self, explicit"] == found["self, fused"] == found["external, one head"] == 16_640
    assert found["external, upstream"] == found["external, folded"] > 16_640


@pytest.mark.parametrize(
    ("one", "other"), [("self, explicit", "self, fused"), ("external, upstream", "external, folded")]
)
def test_two_contestants_of_one_kind_are_one_function(one, other, random):
    one, other = measure.contestant(one, 12), measure.contestant(other, 12)
    x = random.normal(size=(2, 12, measure.DIM)).astype("float32")
    weights = [random.normal(0, 0.2, weight.shape) for weight in one.weights]
    for model in (one, other):
        model.set_weights(weights)
    np.testing.assert_allclose(one.predict_on_batch(x), other.predict_on_batch(x), atol=1e-5)


def test_a_step_changes_the_weights_in_front_of_the_layer_too():
    model = measure.contestant("external, folded", 12)
    before = [np.array(weight) for weight in model.weights]
    measure.calls(model, 12, 2)["step"]()
    changed = {w.path for w, old in zip(model.weights, before, strict=True) if not np.array_equal(np.array(w), old)}
    assert any("scale" in path for path in changed)
    assert any("memory_value" in path for path in changed)


def test_points_are_measured_in_turns_and_say_what_they_are(monkeypatch):
    called = []
    functions = {"forward": "f", "step": "s"}

    def calls(model, tokens, images, seed):
        return {mode: lambda mode=mode: called.append((model, functions[mode])) for mode in functions}

    monkeypatch.setattr(measure, "calls", calls)
    monkeypatch.setattr(measure, "contestant", lambda name, tokens: name[0])
    monkeypatch.setattr(measure, "parameters", lambda model: 5)
    monkeypatch.setattr(measure, "multiply_adds", lambda model, shape: prod(shape))
    names = ("self, fused", "external, folded")
    modes = {"self, fused": ("forward", "step"), "external, folded": ("step",)}
    first, second = measure.timed(16, 64, names, modes, rounds=2)
    counted = called[6:]
    assert counted == [("s", "f"), ("s", "s"), ("e", "s"), ("e", "s"), ("s", "s"), ("s", "f")]
    assert (first["contestant"], first["tokens"], first["images"], first["multiply_adds"]) == (names[0], 16, 4, 4096)
    assert [len(taken) for taken in first["seconds"].values()] == [2, 2]
    assert list(second["seconds"]) == ["step"]


def test_after_its_time_no_round_begins_but_three_are_there(instant):
    (point,) = measure.timed(4, 4, ("self, fused",), rounds=9, seconds=0.0)
    assert len(point["seconds"]["forward"]) == 3


@pytest.mark.parametrize("wrong", [dict(tokens=0), dict(tokens_per_call=0), dict(rounds=0)])
def test_numbers_below_one_are_refused(wrong):
    (name, value), given = next(iter(wrong.items())), dict(tokens=4, tokens_per_call=4, rounds=1)
    with pytest.raises(ValueError, match=f"{name}={value} is not possible; use 1 or more"):
        measure.timed(**given | wrong)


def test_an_unknown_contestant_is_named():
    with pytest.raises(ValueError, match="contestant='linear' is not known; use one of 'self, explicit'"):
        measure.contestant("linear", 4)


TOKENS = 2 ** np.arange(6, 15)


def test_a_known_exponent_is_found_and_lies_in_its_interval(random):
    slope, half = curves.exponent(TOKENS, 3e-6 * TOKENS**1.7)
    assert slope == pytest.approx(1.7)
    assert half < 1e-6
    inside = 0
    for _ in range(300):
        slope, half = curves.exponent(TOKENS, TOKENS**1.7 * np.exp(random.normal(0, 0.1, len(TOKENS))))
        inside += abs(slope - 1.7) <= half
    assert 0.91 < inside / 300 < 0.99


def test_the_exponent_is_that_of_the_larger_tokens():
    values = 1e3 + TOKENS**2.0
    assert abs(curves.exponent(TOKENS, values, last=4)[0] - 2) < abs(curves.exponent(TOKENS, values, last=9)[0] - 2)


def test_an_exponent_needs_three_points_above_zero():
    with pytest.raises(ValueError, match="2 points give no exponent"):
        curves.exponent([1, 2], [1, 2])
    with pytest.raises(ValueError, match="positive tokens and values"):
        curves.exponent([1, 2, 3], [1, 0, 3])


def test_a_known_crossover_is_found():
    assert curves.crossover(TOKENS, TOKENS**2.0, 300.0 * TOKENS) == pytest.approx(300)
    assert curves.crossover(TOKENS, TOKENS**2.0, 10.0 * TOKENS) is None  # dearer everywhere
    assert curves.crossover(TOKENS, TOKENS**2.0, 1e6 * TOKENS) is None  # dearer nowhere
    # A line that dips below for good counts from where it comes up again.
    assert 256 < curves.crossover([64, 128, 256, 512], [2, 0.5, 0.5, 2], [1, 1, 1, 1]) < 512


def test_the_interval_of_a_crossover_holds_it_and_widens_with_the_noise(random):
    def noisy(values, noise):
        return [value * np.exp(random.normal(0, noise, 15)) for value in values]

    widths = []
    for noise in (0.02, 0.3):
        found, low, high = curves.crossover_interval(TOKENS, noisy(TOKENS**2.0, noise), noisy(300.0 * TOKENS, noise))
        assert low <= found <= high
        widths.append(high / low)
        assert low * 0.8 < 300 < high * 1.25
    assert widths[0] < widths[1]
    assert curves.crossover_interval(TOKENS, noisy(TOKENS, 0), noisy(2.0 * TOKENS, 0)) is None


def test_where_a_limit_is_passed_lies_between_the_points():
    assert curves.reaches(TOKENS, 7.0 * TOKENS, 7000) == pytest.approx(1000)
    assert curves.reaches(TOKENS, 7.0 * TOKENS, 1e9) is None
    assert curves.reaches(TOKENS, 7.0 * TOKENS, 7) == 64


def remembered(peaks, per_call):
    memory = {n: {"step": {"bytes": peak}} for n, peak in peaks.items()}
    return [dict(contestant="x", tokens=n, images=per_call // n, memory=of) for n, of in memory.items()]


def test_where_memory_ends_a_line_follows_from_its_last_points():
    points = remembered({64: 640, 128: 1280, 256: None}, per_call=256)
    assert curves.memory_ends(points, "x", "step", 1000) == (pytest.approx(100), False)
    assert curves.memory_ends(points, "x", "step", 1920) == (pytest.approx(192), True)
    # 2560 bytes at 256 tokens, the whole call; an image of twice as many tokens has four times as many scores.
    assert curves.memory_ends(points, "x", "step", 4 * 2560) == (pytest.approx(512), True)
    # A line that is flat while a call has its tokens in many images or in one grows with the one image beyond.
    flat = remembered({64: 500, 128: 500, 256: 500}, per_call=256)
    assert curves.memory_ends(flat, "x", "step", 1000) == (pytest.approx(512), True)
    assert curves.memory_ends(points[:1], "x", "step", 1000) is None


@pytest.fixture
def tiny(monkeypatch):
    """The script on few tokens, without the processes that measure memory."""
    two = {name: measure.CONTESTANTS[name] for name in ("self, fused", "external, folded")}
    monkeypatch.setattr(measure, "CONTESTANTS", two)
    asked = []

    def peak(name, tokens, images, mode, limit):
        asked.append((name, tokens, mode))
        return 1000 * tokens if name.startswith("self") else 1000

    monkeypatch.setattr(script, "peak_elsewhere", peak)
    return asked


@pytest.fixture
def instant(monkeypatch):
    monkeypatch.setattr(measure, "calls", lambda *_: {"forward": lambda: None, "step": lambda: None})


def test_what_is_there_is_not_measured_again_and_what_needs_too_much_is_not_called(
    tiny, instant, tmp_path, capsys, monkeypatch
):
    given = dict(tokens_per_call=64, rounds=2, seconds=1.0, limit=20_000, results=tmp_path)
    script.measure_missing(tokens=(8, 16), **given)
    first = (tmp_path / "cost.jsonl").read_text()
    assert len(tiny) == 8
    monkeypatch.setattr(measure, "timed", counting := Counting(measure.timed))
    points = script.measure_missing(tokens=(8, 16, 32), **given)
    assert counting.tokens == [32]
    assert (tmp_path / "cost.jsonl").read_text().startswith(first)
    assert tiny[8:] == [("external, folded", 32, mode) for mode in measure.MODES]
    last = {point["contestant"]: point for point in points if point["tokens"] == 32}
    assert last["self, fused"]["memory"]["step"] == {"bytes": None, "expected": 32_000}
    assert last["self, fused"]["seconds"] == {}
    assert set(last["external, folded"]["seconds"]) == {"forward", "step"}
    assert last["external, folded"]["provenance"].keys() == provenance().keys()
    assert "N     32  self, fused          forward: not called" in capsys.readouterr().out
    assert curves.memory_ends(points, "self, fused", "step", 20_000) == (pytest.approx(20), True)
    assert list(curves.series(points, "self, fused", "step")[0]) == [8, 16]
    # What cannot be called at one N is not called at a larger one either, though nothing was measured in between.
    script.measure_missing(tokens=(128,), **given)
    assert tiny[10:] == [("external, folded", 128, mode) for mode in measure.MODES]


class Counting:
    def __init__(self, function):
        self.function, self.tokens = function, []

    def __call__(self, tokens, *arguments):
        self.tokens.append(tokens)
        return self.function(tokens, *arguments)


def test_a_machine_with_less_memory_than_the_limit_is_told(tmp_path):
    with pytest.raises(MemoryError, match=r"GiB are free, --limit-gib is 1e\+06; free some or lower it"):
        script.measure_missing(limit=10**6 * 2**30, results=tmp_path)


def test_quick_prints_table_crossovers_and_exponents_and_writes_nothing(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(script, "QUICK", dict(tokens=(4, 8, 16), tokens_per_call=32, rounds=2, seconds=1.0))
    script.main(["--quick", "--results", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "| N | self, fused | external, folded |" in printed
    assert printed.count("exponent of the time in N") == 2
    assert "self, fused than external, folded" in printed
    assert not list(tmp_path.iterdir())
    assert not tiny


def test_impossible_options_are_refused(capsys):
    with pytest.raises(SystemExit):
        script.main(["--rounds", "0"])
    assert "--rounds 0 --limit-gib 8: use numbers above zero" in capsys.readouterr().err


def test_peak_memory_is_asked_of_a_process_of_its_own(monkeypatch):
    class Done:
        returncode, stdout, stderr = 0, "noise\n4096\n", ""

    commands = []
    monkeypatch.setattr(script.subprocess, "run", lambda command, **_: commands.append(command) or Done)
    assert script.peak_elsewhere("self, fused", 64, 2, "step") == 4096
    assert json.loads(commands[0][-1]) == ["self, fused", 64, 2, "step", script.LIMIT]
    Done.returncode, Done.stderr = 1, "MemoryError"
    with pytest.raises(
        RuntimeError, match=r"self, fused, step, at N=64 ended with 1; a lower --limit-gib.*MemoryError"
    ):
        script.peak_elsewhere("self, fused", 64, 2, "step")


def test_a_resident_set_that_rises_is_seen():
    scores = 8 * 4 * 512**2 * 4  # images, heads, tokens to tokens, float32
    assert script.peak_elsewhere("self, explicit", 512, 8, "step") > scores


def test_a_table_leaves_out_what_memory_ended():
    points = [
        dict(contestant="self, fused", tokens=64, images=4, seconds={"step": [0.004, 0.008, 0.012]}),
        dict(contestant="self, fused", tokens=128, images=2, seconds={}),
        dict(contestant="external, folded", tokens=128, images=2, seconds={"step": [0.003]}),
    ]
    assert curves.table(points)[2:] == ["| 64 | 2 | – |", "| 128 | – | 1.5 |"]
    assert curves.common(points, "self, fused", "external, folded", "step")[0].size == 0


def test_dense_layers_are_counted_by_hand():
    mlp = layers.MLP(10)
    mlp.build((None, 4, 6))
    assert multiply_adds(mlp, (2, 4, 6)) == 2 * 4 * (6 * 10 + 10 * 6)
