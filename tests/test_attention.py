import gc
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from tests.test_models import tiny_model
from vattn_utils.maps import attention
from vattn_utils.maps.attention import AttentionMap, to_image_size
from vattn_utils.models import eanet, patch_convnet, vit

MODELS = [
    (vit, "book"),
    (vit, "keras-io"),
    (vit, "paper"),
    (eanet, "book"),
    (eanet, "keras-io"),
    (patch_convnet, "book"),
]


@pytest.mark.parametrize(("module", "variant"), MODELS)
def test_rows_of_every_map_sum_to_one(module, variant, pictures):
    for layer in attention.maps(tiny_model(module, variant), pictures):
        np.testing.assert_allclose(layer.weights.sum(axis=-1), 1, atol=1e-5)
        assert layer.weights.min() >= 0
        assert layer.weights.dtype == np.float32


def test_maps_stand_in_order_of_depth_with_kind_and_grid(pictures):
    found = attention.maps(tiny_model(vit), pictures)
    assert [layer.kind for layer in found] == ["self", "self", "pooling"]
    assert {layer.grid for layer in found} == {(4, 4)}
    assert found[0].weights.shape == (4, 2, 16, 16)
    assert found[-1].weights.shape == (4, 1, 1, 16)


def test_a_class_token_stands_before_the_patches_and_is_left_out_of_the_picture(pictures):
    layer = attention.maps(tiny_model(vit, "paper"), pictures)[0]
    assert layer.prefix_tokens == 1
    assert layer.weights.shape == (4, 2, 17, 17)
    shown = layer.patches()
    assert shown.shape == (4, 2, 17, 4, 4)
    np.testing.assert_allclose(shown.sum(axis=(-2, -1)), 1, atol=1e-5)
    np.testing.assert_allclose(layer.own_share(), layer.weights[..., 0], atol=1e-7)
    left = (1 - layer.own_share())[..., None, None]
    np.testing.assert_allclose(shown * left, layer.weights[..., 1:].reshape(shown.shape), atol=1e-6)


def test_registers_stand_behind_the_class_token_and_are_no_class_token(pictures):
    for pooling, prefix in (("class", 3), ("mean", 2)):
        layers = attention.maps(tiny_model(vit, pooling=pooling, registers=2), pictures)
        assert (layers[0].prefix_tokens, layers[0].registers) == (prefix, 2)
        rollout = attention.rollout(layers)
        rows = rollout[:, 0] if pooling == "class" else rollout[:, prefix:].mean(axis=1)
        read = attention.read_out(rollout, layers)
        np.testing.assert_allclose(read.reshape(4, 16), rows[:, prefix:], atol=1e-6)
    with pytest.raises(ValueError, match="row='class' is not known"):
        attention.read_out(rollout, layers, row="class")


@pytest.mark.parametrize("given", [dict(pooling="class"), dict(registers=2)])
def test_pictures_of_slots_leave_out_what_has_no_place(given, pictures):
    layer = attention.maps(tiny_model(eanet, **given), pictures)[0]
    shown = attention.slot_pictures(layer, head=1)
    assert shown.shape == (4, 4, 4, 4)
    np.testing.assert_array_equal(shown.reshape(4, 4, 16), layer.slot_maps[:, 1, :, -16:])
    winners = attention.winning_slot(layer).reshape(4, 16)
    np.testing.assert_array_equal(winners, layer.weights.mean(axis=1)[:, -16:].argmax(axis=-1))


def test_slot_maps_sum_to_one_over_the_tokens(pictures):
    layer = attention.maps(tiny_model(eanet), pictures)[0]
    assert layer.slot_maps.shape == (4, 2, 4, 16)
    np.testing.assert_allclose(layer.slot_maps.sum(axis=-1), 1, atol=1e-5)
    expected = np.swapaxes(layer.slot_maps, 2, 3)
    expected = expected / expected.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(layer.weights, expected, atol=1e-6)


def test_external_attention_has_no_picture_of_places(pictures):
    with pytest.raises(ValueError, match="memory slots, which have no place"):
        attention.maps(tiny_model(eanet), pictures)[0].patches()


def test_the_winning_slot_is_the_one_with_most_attention():
    weights = np.full((1, 2, 4, 3), 0.1)
    for token, slot in enumerate((2, 0, 1, 2)):
        weights[0, :, token, slot] = 0.8
    layer = AttentionMap("external", weights, (2, 2))
    assert attention.winning_slot(layer).tolist() == [[[2, 0], [1, 2]]]


@pytest.mark.parametrize("module", [vit, eanet, patch_convnet])
def test_a_batch_gives_what_a_loop_gives(module, pictures):
    model = tiny_model(module)
    together = attention.maps(model, pictures, batch_size=3)
    for index in range(len(pictures)):
        alone = attention.maps(model, pictures[index : index + 1])
        for one, many in zip(alone, together, strict=True):
            np.testing.assert_allclose(one.weights[0], many.weights[index], atol=1e-6)


@pytest.mark.parametrize("module", [vit, eanet, patch_convnet])
def test_maps_batch_by_batch_are_the_maps(module, pictures):
    model = tiny_model(module)
    together = attention.maps(model, pictures)
    parts = list(attention.batches(model, pictures, batch_size=3))
    assert [len(layers[0].weights) for layers in parts] == [3, 1]
    for place, layer in enumerate(together):
        for name in ("weights", "slot_maps") if layer.kind == "external" else ("weights",):
            joined = np.concatenate([getattr(layers[place], name) for layers in parts])
            np.testing.assert_allclose(joined, getattr(layer, name), atol=1e-6)


def test_memory_of_maps_batch_by_batch_is_bounded_by_the_batch(random):
    model = tiny_model(vit)
    peaks = []
    gc.collect()
    gc.freeze()  # or each collection below goes through all that TensorFlow has, for most of a second
    for count in (32, 32, 256):  # the first time Python keeps a few things for good
        images = random.integers(0, 256, (count, 8, 8, 3), dtype="uint8")
        tracemalloc.start()
        for _ in attention.batches(model, images, batch_size=16):
            gc.collect()  # or the backend's own small objects pile up for a while
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    gc.unfreeze()
    assert peaks[2] < 2 * peaks[1]  # of eight times as many images


def test_one_map_for_each_class_with_per_class_queries(pictures):
    (layer,) = attention.maps(tiny_model(patch_convnet, queries="per-class"), pictures)
    assert layer.patches().shape == (4, 1, 5, 4, 4)


def test_images_that_do_not_fit_are_refused(pictures):
    with pytest.raises(ValueError, match="batch axis"):
        attention.maps(tiny_model(vit), pictures[0])


@pytest.mark.parametrize("grid", [(2, 2), (3, 5), (7, 1)])
def test_nearest_gives_each_pixel_the_value_of_the_token_that_covers_it(grid):
    values = np.arange(np.prod(grid)).reshape(grid)
    enlarged = to_image_size(values, (grid[0] * 4, grid[1] * 3), "nearest")
    np.testing.assert_array_equal(enlarged, np.kron(values, np.ones((4, 3), int)))


def test_nearest_is_right_where_the_size_is_no_multiple_of_the_grid():
    enlarged = to_image_size(np.array([[1, 2, 3]]), (1, 8), "nearest")
    # Pixel p covers the place (p + 0.5) / 8; the tokens end at 1/3 and 2/3.
    assert enlarged.tolist() == [[1, 1, 1, 2, 2, 3, 3, 3]]


def test_bilinear_meets_the_tokens_values_at_their_centres_and_is_linear_between():
    values = np.array([[0.0, 3.0, 6.0]])
    enlarged = to_image_size(values, (1, 9), "bilinear")
    np.testing.assert_allclose(enlarged, [[0, 0, 1, 2, 3, 4, 5, 6, 6]])


def test_bilinear_equals_an_independent_implementation(random):
    values = random.random((5, 7))
    theirs = Image.fromarray(values.astype("float32")).resize((28, 20), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(to_image_size(values, (20, 28)), np.asarray(theirs), atol=1e-5)


def test_enlarging_keeps_leading_axes(random):
    values = random.random((2, 3, 4, 4))
    np.testing.assert_allclose(to_image_size(values, (8, 8))[1, 2], to_image_size(values[1, 2], (8, 8)))


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="method='cubic'"):
        to_image_size(np.zeros((2, 2)), (4, 4), "cubic")


def self_layer(weights, grid, prefix_tokens=0):
    return AttentionMap("self", np.asarray(weights), grid, prefix_tokens)


@pytest.fixture
def stack(random):
    """Three layers of self-attention with two heads over a class token and six patches, for four images."""
    weights = random.dirichlet(np.ones(7), (3, 4, 2, 7))
    return [self_layer(layer, (2, 3), 1) for layer in weights]


def test_fusing_heads_takes_the_mean_the_highest_or_the_lowest(stack):
    weights = stack[0].weights
    np.testing.assert_array_equal(attention.fuse(weights), (weights[:, 0] + weights[:, 1]) / 2)
    np.testing.assert_array_equal(attention.fuse(weights, "max"), np.maximum(weights[:, 0], weights[:, 1]))
    np.testing.assert_array_equal(attention.fuse(weights, "min"), np.minimum(weights[:, 0], weights[:, 1]))
    with pytest.raises(ValueError, match="fusion='median' is not known; use one of 'mean', 'max', 'min'"):
        attention.fuse(weights, "median")


def test_discarding_takes_the_lowest_share_of_every_image_or_row_and_spares_class_tokens(stack):
    weights = attention.fuse(stack[0].weights)
    np.testing.assert_array_equal(attention.discard(weights, 0), weights)
    of_image = attention.discard(weights, 0.5, prefix_tokens=1)
    assert [(part[:, 1:] == 0).sum() for part in of_image] == [21] * 4
    of_row = attention.discard(weights, 0.5, "row", prefix_tokens=1)
    assert ((of_row[..., 1:] == 0).sum(axis=-1) == 3).all()
    for found in (of_image, of_row):
        np.testing.assert_array_equal(found[..., 0], weights[..., 0])
    for before, after in zip(weights[..., 1:], of_image[..., 1:], strict=True):
        assert before[after == 0].max() <= before[after > 0].min()
    for ratio in (-0.1, 1):
        with pytest.raises(ValueError, match=f"ratio={ratio} is not a share"):
            attention.discard(weights, ratio)


def test_rollout_of_identity_is_identity_and_of_uniform_is_uniform():
    identity = [self_layer(np.eye(4)[None, None].repeat(2, axis=1), (2, 2))] * 3
    np.testing.assert_allclose(attention.rollout(identity), np.eye(4)[None], atol=1e-12)
    uniform = [self_layer(np.full((1, 2, 4, 4), 0.25), (2, 2))] * 3
    np.testing.assert_allclose(attention.rollout(uniform, residual=0), 0.25)


def test_rollout_equals_its_definition_written_as_a_loop(stack):
    for image, found in enumerate(attention.rollout(stack)):
        expected = np.eye(7)
        for layer in stack:
            matrix = 0.5 * layer.weights[image].mean(axis=0) + 0.5 * np.eye(7)
            expected = matrix @ expected
        np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(attention.rollout(stack[1:]), attention.rollout(stack, start=1))


def test_what_is_left_of_a_row_is_mixed_with_the_identity_before_it_is_divided(stack):
    """As Abnar and Zuidema, Chefer et al. and vit-explain do it: a row that lost much keeps more of its own token."""
    expected = np.eye(7)
    for layer in stack:
        kept = attention.discard(layer.weights.max(axis=1), 0.5, prefix_tokens=1)
        mixed = kept + np.eye(7)
        expected = mixed / mixed.sum(axis=-1, keepdims=True) @ expected
    np.testing.assert_allclose(attention.rollout(stack, fusion="max", ratio=0.5), expected)


@pytest.mark.parametrize("how", [{}, dict(fusion="max"), dict(fusion="min", ratio=0.9), dict(ratio=0.6, per="row")])
def test_rows_of_rollout_sum_to_one(stack, how):
    np.testing.assert_allclose(attention.rollout(stack, **how).sum(axis=-1), 1)


def test_rollout_and_relevance_of_a_batch_are_those_of_a_loop(stack, random):
    gradients = [random.normal(size=layer.weights.shape) for layer in stack]
    for function in (lambda *both: attention.rollout(both[0], ratio=0.5, gradients=both[1]), attention.relevance):
        together = function(stack, gradients)
        for image in range(4):
            alone = [self_layer(layer.weights[[image]], (2, 3), 1) for layer in stack]
            np.testing.assert_allclose(function(alone, [g[[image]] for g in gradients])[0], together[image])


def test_permuting_the_tokens_permutes_rollout_and_relevance(stack, random):
    gradients = [random.normal(size=layer.weights.shape) for layer in stack]
    moved = np.array([0, 4, 2, 6, 1, 3, 5])

    def permuted(array):
        return array[..., moved, :][..., moved]

    others = [self_layer(permuted(layer.weights), (2, 3), 1) for layer in stack]
    np.testing.assert_allclose(attention.rollout(others), permuted(attention.rollout(stack)))
    theirs = attention.relevance(others, [permuted(gradient) for gradient in gradients])
    np.testing.assert_allclose(theirs, permuted(attention.relevance(stack, gradients)))


def test_relevance_is_chefers_rule(stack, random):
    gradients = [random.normal(size=layer.weights.shape) for layer in stack]
    for image, found in enumerate(attention.relevance(stack, gradients)):
        expected = np.eye(7)
        for layer, gradient in zip(stack, gradients, strict=True):
            expected = expected + np.maximum(gradient[image] * layer.weights[image], 0).mean(axis=0) @ expected
        np.testing.assert_allclose(found, expected)


# The most copied rollout code (jacobgil/vit-explain), as formulas: what it does, and what that breaks.


def test_dividing_by_row_sums_without_keeping_the_axis_divides_columns(stack):
    matrix = attention.fuse(stack[0].weights, "max")[:1]
    theirs = matrix / matrix.sum(axis=-1)
    assert not np.allclose(theirs.sum(axis=-1), 1, atol=0.01)
    ours = attention.rollout([self_layer(matrix[:, None], (2, 3), 1)], residual=0)
    np.testing.assert_allclose(ours.sum(axis=-1), 1)


def test_gradients_in_the_order_of_the_backward_pass_meet_the_wrong_layers(stack):
    # Only the first layer's attention matters to the answer: its gradient is one, the others' are zero.
    gradients = [np.full(layer.weights.shape, float(depth == 0)) for depth, layer in enumerate(stack)]
    first, last = (attention.rollout([stack[depth]], residual=0.5) for depth in (0, -1))
    np.testing.assert_allclose(attention.rollout(stack, gradients=gradients), first)
    np.testing.assert_allclose(attention.rollout(stack, gradients=gradients[::-1]), last)
    assert not np.allclose(first, last, atol=0.01)


def test_discarding_in_a_flattened_batch_s_first_row_leaves_the_other_images_alone(stack):
    weights = attention.fuse(stack[0].weights)
    theirs = weights.reshape(4, -1).copy()
    theirs[0, np.argsort(theirs, axis=-1)[:, :20]] = 0  # the indices of all images, used on the first one
    assert (theirs[1:] > 0).all()
    assert ((attention.discard(weights, 0.5) == 0).sum(axis=(1, 2)) == round(0.5 * 49)).all()


def test_rollout_refuses_what_leads_from_no_token_to_another(pictures):
    with pytest.raises(ValueError, match="kind external, pooling lead from no token to another; this needs self-att"):
        attention.rollout(attention.maps(tiny_model(eanet), pictures))
    layers = attention.maps(tiny_model(vit), pictures)
    with pytest.raises(ValueError, match="start=2 leaves no layer; there are 2"):
        attention.rollout(layers, start=2)
    with pytest.raises(ValueError, match=r"residual=1.5 is not a share"):
        attention.rollout(layers, residual=1.5)


def test_the_answer_is_read_by_class_row_by_pooling_or_by_the_mean(stack, random):
    matrix = attention.rollout(stack)
    np.testing.assert_array_equal(attention.read_out(matrix, stack).reshape(4, 6), matrix[:, 0, 1:])
    mean = attention.read_out(matrix, stack, "mean")
    np.testing.assert_allclose(mean.reshape(4, 6), matrix[:, 1:, 1:].mean(axis=1))
    weights = random.dirichlet(np.ones(6), 4)
    pooled = [*stack, AttentionMap("pooling", weights[:, None, None], (2, 3))]
    found = attention.read_out(matrix, pooled, "pooling").reshape(4, 6)
    np.testing.assert_allclose(found, np.einsum("bq,bqk->bk", weights, matrix[:, 1:, 1:]))
    with pytest.raises(ValueError, match="row='pooling' is not known; use one of 'class', 'mean'"):
        attention.read_out(matrix, stack, "pooling")


def test_a_head_that_looks_at_itself_looks_nowhere_and_a_flat_one_looks_the_mean_distance():
    weights = np.stack([np.eye(6), np.full((6, 6), 1 / 6)])[None]
    layer = self_layer(weights, (2, 3))
    places = np.array([(r, c) for r in range(2) for c in range(3)])
    mean = np.mean([np.hypot(*(a - b)) for a in places for b in places])
    np.testing.assert_allclose(attention.mean_distance(layer, patch_size=4), [[0, 4 * mean]])
    with pytest.raises(ValueError, match="kind 'pooling' does not go from patch to patch"):
        attention.mean_distance(AttentionMap("pooling", weights[:, :, :1], (2, 3)))


def test_the_distance_leaves_class_tokens_out(stack):
    patches = stack[0].weights[:, :, 1:, 1:]
    alone = self_layer(patches / patches.sum(axis=-1, keepdims=True), (2, 3))
    np.testing.assert_allclose(attention.mean_distance(stack[0]), attention.mean_distance(alone))


def test_entropy_runs_from_nothing_to_log_n():
    assert attention.entropy(np.array([[0, 1, 0, 0], [0.25] * 4])).tolist() == [0, pytest.approx(np.log(4))]


def test_a_distribution_is_spread_over_one_place_or_over_all():
    assert attention.spread(np.array([[0, 1, 0, 0], [0.25] * 4])).tolist() == pytest.approx([1, 4])


def test_distances_are_those_of_the_patches_centres():
    found = attention.distances((2, 3), patch_size=4)
    assert found.shape == (6, 6)
    assert found[0].tolist() == pytest.approx([0, 4, 8, 4, 4 * 2**0.5, 4 * 5**0.5])
    np.testing.assert_array_equal(found, found.T)


def test_usage_of_slots_is_each_head_s_share_over_images_and_tokens(random):
    weights = random.dirichlet(np.ones(3), (5, 2, 4))
    usage = attention.slot_usage(AttentionMap("external", weights, (2, 2)))
    np.testing.assert_allclose(usage[1], weights[:, 1].reshape(20, 3).mean(axis=0))
    np.testing.assert_allclose(usage.sum(axis=-1), 1)


def test_slots_are_drawn_for_external_attention_only(pictures):
    layer = attention.maps(tiny_model(eanet), pictures)[0]
    found = attention.slot_pictures(layer, head=1)
    assert found.shape == (4, 4, 4, 4)
    np.testing.assert_array_equal(found[2, 3].ravel(), layer.slot_maps[2, 1, 3])
    with pytest.raises(ValueError, match="kind 'self' has no memory slots"):
        attention.slot_pictures(attention.maps(tiny_model(vit), pictures)[0])


def test_positions_are_like_themselves_and_models_without_learned_ones_are_refused():
    found = attention.position_similarity(tiny_model(vit, "paper"))
    assert found.shape == (16, 4, 4)
    np.testing.assert_allclose(found.reshape(16, 16).diagonal(), 1, atol=1e-6)
    np.testing.assert_allclose(found.reshape(16, 16), found.reshape(16, 16).T, atol=1e-6)
    for model in (tiny_model(vit, position="sincos"), tiny_model(patch_convnet)):
        with pytest.raises(ValueError, match="has no learned position embedding"):
            attention.position_similarity(model)


def test_with_denominators_of_the_same_image_nothing_changes(pictures):
    model = tiny_model(eanet)
    alone = pictures[:1]
    np.testing.assert_allclose(eanet.freeze_denominators(model, alone)(alone), model(alone), atol=1e-5)


def test_with_frozen_denominators_a_token_no_longer_meets_another(pictures, random):
    # The answer is read from the class token, which sees no patch but through the denominators.
    model = tiny_model(eanet, tokenizer="patch", pooling="class")
    for weight in model.trainable_weights:
        weight.assign(random.normal(0, 0.5, weight.shape))
    altered = pictures.copy()
    altered[:, -2:, -2:] = 255 - altered[:, -2:, -2:]
    frozen = eanet.freeze_denominators(model, pictures, batch_size=3)
    np.testing.assert_allclose(frozen(altered), frozen(pictures), atol=1e-5)
    assert not np.allclose(model(altered), model(pictures), atol=1e-3)


def test_freezing_needs_external_attention(pictures):
    with pytest.raises(ValueError, match="attention='self' has no slots"):
        eanet.freeze_denominators(tiny_model(eanet, attention="self"), pictures)
    with pytest.raises(ValueError, match="mixing=False has no softmax over the tokens"):
        eanet.freeze_denominators(tiny_model(eanet, mixing=False), pictures)


@pytest.mark.parametrize("mixing", [True, False])
def test_slot_maps_sum_to_one_over_the_tokens_and_weights_over_the_slots(mixing, pictures):
    layer = attention.maps(tiny_model(eanet, mixing=mixing), pictures)[0]
    np.testing.assert_allclose(layer.slot_maps.sum(axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose(layer.weights.sum(axis=-1), 1, atol=1e-5)


def test_no_image_has_no_maps(pictures):
    with pytest.raises(ValueError, match=r"images of shape \(0, 8, 8, 3\) hold no image"):
        attention.maps(tiny_model(vit), pictures[:0])
