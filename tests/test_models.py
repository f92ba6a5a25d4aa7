import re
from math import prod
from pathlib import Path

import keras
import numpy as np
import pytest

import vattn_utils
from vattn_utils import models
from vattn_utils.maps import gradients
from vattn_utils.models import eanet, fast, patch_convnet, vit


def name_of(module):
    return module.__name__.rpartition(".")[2]


TINY = {
    vit: dict(image_size=8, resize_to=None, patch_size=2, dim=16, depth=2, heads=2, mlp_dim=16),
    eanet: dict(image_size=8, patch_size=2, dim=16, depth=2, heads=2, mlp_dim=16, memory_slots=4),
    patch_convnet: dict(image_size=8, resize_to=None, strides=(1, 2), dim=16, depth=2, mlp_dim=16),
}
EVERY = [
    pytest.param(module, variant, id=f"{module.__name__.rpartition('.')[2]}-{variant}")
    for module in TINY
    for variant in models.MODELS[name_of(module)]
]


def tiny_model(module, variant="book", **overrides):
    sizes = {**TINY[module], "num_classes": 5, **overrides}
    if variant == "paper" and module is vit:
        sizes["pooling"] = "class"
    if variant == "keras-io" and module is vit:
        sizes["head_units"] = ()
    return models.build(name_of(module), variant, **sizes)


def trainable(model):
    return sum(prod(weight.shape) for weight in model.trainable_weights)


@pytest.mark.parametrize(
    ("module", "overrides", "parameters"),
    [
        (vit, dict(num_classes=100), 21_759_012),
        (eanet, dict(num_classes=100), 361_380),
        (eanet, dict(num_classes=100, attention="self"), 623_268),
        (eanet, dict(num_classes=100, attention="self", head_dim=16), 225_444),
        (patch_convnet, dict(num_classes=10), 2_174_986),
        (patch_convnet, dict(num_classes=10, share_trunk=True), 1_436_426),
    ],
)
def test_keras_io_variants_have_upstreams_parameters(module, overrides, parameters):
    assert trainable(models.build(name_of(module), "keras-io", **overrides)) == parameters


@pytest.mark.parametrize(
    ("module", "classes", "limit"), [(vit, 100, 1_000_000), (eanet, 100, 500_000), (patch_convnet, 10, 2_200_000)]
)
def test_book_variants_stay_within_their_size(module, classes, limit):
    assert trainable(models.build(name_of(module), "book", num_classes=classes)) <= limit


@pytest.mark.parametrize(("module", "variant"), EVERY)
def test_a_saved_model_gives_equal_logits_in_safe_mode(module, variant, pictures, tmp_path):
    model = tiny_model(module, variant)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(np.array(again(pictures)), np.array(model(pictures)))


@pytest.mark.parametrize(("module", "variant"), EVERY)
def test_asking_for_attention_changes_no_logit(module, variant, pictures):
    model = tiny_model(module, variant)
    logits, attention = model(pictures, return_attention=True)
    np.testing.assert_allclose(np.array(logits), np.array(model(pictures)), atol=1e-5)
    assert len(attention) == len(model.attention_layers)


def test_training_asks_no_layer_for_attention(pictures, monkeypatch):
    asked = []
    call = keras.src.layers.layer.Layer.__call__

    def watch(layer, *args, **kwargs):
        asked.append(bool(kwargs.get("return_attention")))
        return call(layer, *args, **kwargs)

    monkeypatch.setattr(keras.src.layers.layer.Layer, "__call__", watch)
    model = tiny_model(vit)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.train_on_batch(pictures, np.zeros(4, int))
    assert asked
    assert not any(asked)


@pytest.mark.parametrize("module", TINY)
def test_every_dtype_of_the_same_pixels_gives_the_same_logits(module, pictures):
    model = tiny_model(module)
    expected = np.array(model(pictures))
    for dtype in ("int64", "float32", "float64"):
        np.testing.assert_allclose(np.array(model(pictures.astype(dtype))), expected, atol=1e-6)


@pytest.mark.parametrize("module", TINY)
@pytest.mark.parametrize("shape", [(4, 8, 8, 1), (4, 8, 8, 4), (4, 9, 9, 3), (8, 8, 3)])
def test_images_that_do_not_fit_are_refused(module, shape):
    with pytest.raises(ValueError, match=r"do(es)? not fit"):
        tiny_model(module)(np.zeros(shape, "uint8"))


@pytest.mark.parametrize("method", ["__call__", "predict"])
def test_nan_is_refused_before_any_computation(method, pictures):
    images = pictures.astype("float32")
    images[0, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        getattr(tiny_model(vit), method)(images)


def test_a_wrong_size_is_refused_when_a_graph_is_built():
    with pytest.raises(ValueError, match="do not fit this model"):
        tiny_model(vit)(keras.Input((9, 9, 3)))


@pytest.mark.parametrize("module", [vit, eanet])
def test_positions_are_trained_and_matter(module, pictures):
    model = tiny_model(module, tokenizer="patch")
    assert any("positions/embedding" in weight.path for weight in model.trainable_weights)
    model.positions.embedding.assign(np.random.default_rng(0).normal(size=model.positions.embedding.shape))
    swapped = pictures.copy()
    swapped[:, :2, :2], swapped[:, -2:, -2:] = pictures[:, -2:, -2:], pictures[:, :2, :2]
    assert np.abs(np.array(model(swapped)) - np.array(model(pictures))).max() > 1e-3


def test_without_positions_a_mean_pooled_model_does_not_see_where_a_patch_is(pictures):
    model = tiny_model(vit, tokenizer="patch", pooling="mean")
    model.positions.embedding.assign(np.zeros(model.positions.embedding.shape))
    swapped = pictures.copy()
    swapped[:, :2, :2], swapped[:, -2:, -2:] = pictures[:, -2:, -2:], pictures[:, :2, :2]
    np.testing.assert_allclose(np.array(model(swapped)), np.array(model(pictures)), atol=1e-5)


@pytest.mark.parametrize("module", TINY)
def test_no_weight_is_shared_between_blocks(module):
    model = tiny_model(module)
    blocks = model.trunk if module is patch_convnet else model.blocks
    weights = [id(weight) for block in blocks for weight in block.weights]
    assert len(weights) == len(set(weights))


def test_share_trunk_applies_one_block_as_often_as_the_depth_says(pictures):
    shared = tiny_model(patch_convnet, share_trunk=True)
    assert len(shared.trunk) == 2
    assert shared.trunk[0] is shared.trunk[1]
    assert trainable(shared) < trainable(tiny_model(patch_convnet))


def test_mean_pooling_averages_the_patches_and_has_no_maps(pictures):
    model = tiny_model(patch_convnet, pooling="mean")
    logits, maps = model(pictures, return_attention=True)
    assert maps == model.attention_layers == []
    patches = np.array(model.norm(model.encode(pictures)[0]))
    np.testing.assert_allclose(np.array(model.logits(patches.mean(axis=1))), np.array(logits), atol=1e-5)
    with pytest.raises(ValueError, match="pooling='mean' has no queries"):
        tiny_model(patch_convnet, pooling="mean", queries="per-class")


def test_dropout_drops_in_training_and_not_at_inference(pictures):
    model = tiny_model(patch_convnet, "keras-io", dropout=0.5)
    np.testing.assert_array_equal(np.array(model(pictures)), np.array(model(pictures)))
    assert np.abs(np.array(model(pictures, training=True)) - np.array(model(pictures, training=True))).max() > 0


@pytest.mark.parametrize("module", TINY)
def test_every_dropout_is_told_that_it_is_training(module, pictures, monkeypatch):
    told = []

    def watched(call):
        def watch(layer, inputs, training=False):
            told.append((layer.path, bool(training)))
            return call(layer, inputs, training=training)

        return watch

    for kind in (keras.layers.Dropout, fast.Dropout):
        monkeypatch.setattr(kind, "call", watched(kind.call))
    model = tiny_model(module, "keras-io")
    active = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.Dropout) and layer.rate]
    for training in (True, False):
        told.clear()
        model(pictures, training=training)
        assert {told_so for _, told_so in told} == {training}
        assert {path for path, _ in told} >= {layer.path for layer in active}


def test_per_class_queries_give_one_map_and_one_score_for_each_class(pictures):
    model = tiny_model(patch_convnet, queries="per-class")
    logits, (weights,) = model(pictures, return_attention=True)
    assert logits.shape == (4, 5)
    assert weights.shape == (4, 1, 5, 1 + 16)


def test_per_class_scores_do_not_look_at_the_other_classes(pictures):
    model = tiny_model(patch_convnet, queries="per-class")
    before = np.array(model(pictures))
    query = np.array(model.attention_pooling.class_query.value)
    query[0, 0, 0] += 3  # one channel: a layer norm would take back what is added to all
    model.attention_pooling.class_query.assign(query)
    changed = np.abs(np.array(model(pictures)) - before).max(axis=0)
    assert changed[0] > 1e-4
    assert changed[1:].max() < 1e-6


def test_external_and_self_attention_models_differ_in_nothing_else():
    external, twin = tiny_model(eanet), tiny_model(eanet, attention="self")

    def rest(model):
        return {w.path: tuple(w.shape) for w in model.weights if "/attention/" not in w.path}

    assert rest(external) == rest(twin)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(variant="bok"), "variant='bok' is not known; use one of 'paper', 'book', 'keras-io'"),
        (dict(memory_slot=4), "unknown argument 'memory_slot' for EANet; did you mean 'memory_slots'?"),
        (dict(patch_size=3), "image_size=8 is not divisible by patch_size=3; use a multiple of 3"),
        (dict(tokenizer="conv"), "tokenizer='conv' is not known"),
        (dict(attention="cross"), "attention='cross' is not known"),
        (dict(heads=3), "dim=16 is not divisible by heads=3"),
    ],
)
def test_arguments_that_do_not_fit_say_the_way_out(arguments, message):
    variant = arguments.pop("variant", "book")
    with pytest.raises(ValueError, match=re.escape(message)):
        models.build("eanet", variant, **{**TINY[eanet], "num_classes": 5, **arguments})


def test_an_indivisible_stem_is_refused():
    with pytest.raises(
        ValueError, match="image_size=9 is not divisible by the stem's strides, multiplied=2; use a multiple of 2"
    ):
        tiny_model(patch_convnet, image_size=9)


def test_the_package_speaks_keras_only_but_where_keras_has_no_word():
    package = Path(vattn_utils.__file__).parent
    # Gradients of an input; LiteRT's converter.
    wordless = {Path(gradients.__file__), package / "publish" / "litert.py"}
    for path in set(package.rglob("*.py")) - wordless:
        found = re.findall(r"^\s*(?:import|from) (?:tensorflow|jax|torch)\b|\btf\.|\bjnp\.", path.read_text(), re.M)
        assert not found, f"{path.name}: {found}"


@pytest.mark.parametrize("pooling", ["class", "sequence", "mean"])
def test_registers_take_part_in_attention_and_in_no_answer(pooling, pictures):
    model = tiny_model(vit, pooling=pooling, registers=3)
    assert np.prod(model.register_tokens.token.shape) == 3 * 16
    assert model.prefix_tokens == (4 if pooling == "class" else 3)
    logits, attention = model(pictures, return_attention=True)
    tokens = 16 + model.prefix_tokens
    assert attention[0].shape == (4, 2, tokens, tokens)
    if pooling == "sequence":
        assert attention[-1].shape == (4, 1, 1, 16)
    model.register_tokens.token.assign(10 * np.random.default_rng(0).normal(size=(1, 3, 16)))
    assert np.abs(np.array(model(pictures)) - np.array(logits)).max() > 1e-4  # read by the patches
    after = np.array(model.encode(pictures)[0])
    changed = after.copy()
    changed[:, model.prefix_tokens - 3 : model.prefix_tokens] += 1
    np.testing.assert_array_equal(*(np.array(model.classify(tokens)[0]) for tokens in (changed, after)))


def test_no_register_is_what_a_model_had_before_there_were_any(pictures):
    plain, none = tiny_model(vit), tiny_model(vit, registers=0)
    assert [w.path for w in plain.weights] == [w.path for w in none.weights]
    assert plain.get_config()["registers"] == 0


def test_one_query_for_each_class_is_trained_from_the_beginning_as_the_trunk_is(pictures):
    model = tiny_model(patch_convnet, queries="per-class", num_classes=3)
    queries = np.array(model.attention_pooling.class_query)
    trunk = np.array(model.trunk[0].weights[0])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(pictures, np.array([0, 1, 2, 0]), epochs=2, verbose=0)
    assert (np.abs(np.array(model.attention_pooling.class_query) - queries).max(axis=(0, 2)) > 1e-6).all()
    assert not np.array_equal(np.array(model.trunk[0].weights[0]), trunk)
    _, (weights,) = model(pictures, return_attention=True)
    assert weights.shape == (4, 1, 3, 1 + 16)
    assert np.abs(np.array(weights)[:, :, 0] - np.array(weights)[:, :, 1]).max() > 1e-6
