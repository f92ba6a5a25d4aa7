import keras
import numpy as np
import pytest

from vattn_utils import models
from vattn_utils.training.muon import Muon

SMALL = dict(num_classes=5, dim=16, mlp_dim=24, depth=1)


def updated(shape, gradient, steps=1, **settings):
    """How far `steps` steps of Muon at a rate of 1, with the same `gradient` each, move a weight of `shape` from 0."""
    weight = keras.Variable(np.zeros(shape, "float32"))
    optimizer = Muon(1.0, **settings)
    for _ in range(steps):
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [weight])
    return keras.ops.convert_to_numpy(weight)


@pytest.mark.parametrize("shape", [(24, 8), (8, 24), (3, 3, 4, 8)], ids=str)
def test_an_update_has_singular_values_near_its_size_whatever_the_gradients(shape, random):
    matrix = -updated(shape, random.normal(size=shape).astype("float32") * 1e-3).reshape(-1, shape[-1])
    values = np.linalg.svd(matrix, compute_uv=False) / (0.2 * np.sqrt(max(matrix.shape)))
    assert values.min() > 0.6  # the iteration's polynomial leaves them between 0.7 and 1.2
    assert values.max() < 1.3


def test_an_update_goes_where_the_gradient_points(random):
    gradient = random.normal(size=(8, 8)).astype("float32")
    left, _, right = np.linalg.svd(gradient)
    aligned = -left.T @ updated((8, 8), gradient) @ right.T
    assert np.abs(aligned - np.diag(np.diag(aligned))).max() < 0.05 * np.diag(aligned).min()


def test_a_kernel_of_a_convolution_moves_as_its_matrix_does(random):
    gradient = random.normal(size=(3, 3, 4, 8)).astype("float32")
    kernel, matrix = updated((3, 3, 4, 8), gradient, 3), updated((36, 8), gradient.reshape(36, 8), 3)
    np.testing.assert_array_equal(kernel.reshape(36, 8), matrix)


def orthogonal(matrix):
    """Jordan's iteration, five steps of it, in float64."""
    x = (matrix if len(matrix) <= len(matrix[0]) else matrix.T).astype(float)
    x = x / np.linalg.norm(x)
    for _ in range(5):
        product = x @ x.T
        x = 3.4445 * x + (-4.7750 * product + 2.0315 * product @ product) @ x
    return x if x.shape == matrix.shape else x.T


def test_a_matrix_moves_by_its_nesterov_momentum_made_orthogonal_and_decays(random):
    start = random.normal(size=(12, 8)).astype("float32")
    weight, expected, momentum = keras.Variable(start), start.astype(float), np.zeros_like(start)
    optimizer = Muon(0.1, weight_decay=0.5, momentum=0.9)
    for gradient in random.normal(size=(3, 12, 8)).astype("float32"):
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [weight])
        momentum = 0.9 * momentum + gradient
        expected = expected * (1 - 0.1 * 0.5) - 0.1 * 0.2 * 12**0.5 * orthogonal(gradient + 0.9 * momentum)
    moved = np.abs(expected - start).max()
    np.testing.assert_allclose(keras.ops.convert_to_numpy(weight), expected, atol=0.03 * moved)  # bfloat16


def test_vectors_move_as_by_adamw(random):
    start = [random.normal(size=size).astype("float32") for size in (3, 5, 7)]
    ours, theirs = ([keras.Variable(value) for value in start] for _ in range(2))
    settings = dict(weight_decay=0.1, global_clipnorm=1.0)
    optimizers = Muon(0.1, **settings), keras.optimizers.AdamW(0.1, **settings)
    for _ in range(3):
        gradients = [keras.ops.convert_to_tensor(random.normal(size=v.shape).astype("float32")) for v in start]
        for optimizer, weights in zip(optimizers, (ours, theirs), strict=True):
            optimizer.apply(gradients, weights)
    for one, other, before in zip(ours, theirs, start, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
        assert np.abs(np.array(one) - before).min() > 1e-3


def test_weights_move_together_as_each_would_alone(random):
    shapes = [(8, 12), (5,), (8, 12), (2, 2, 2, 12), (12, 8), (3,), (8, 12)]
    start = [random.normal(size=shape).astype("float32") for shape in shapes]
    gradients = [random.normal(size=shape).astype("float32") for shape in shapes]
    together, alone = ([keras.Variable(value) for value in start] for _ in range(2))
    optimizer = Muon(0.1, weight_decay=0.1)
    for _ in range(2):
        optimizer.apply([keras.ops.convert_to_tensor(gradient) for gradient in gradients], together)
    for weight, gradient in zip(alone, gradients, strict=True):
        optimizer = Muon(0.1, weight_decay=0.1)
        for _ in range(2):
            optimizer.apply([keras.ops.convert_to_tensor(gradient)], [weight])
    for one, other, before in zip(together, alone, start, strict=True):
        np.testing.assert_allclose(one, other, atol=0.01 * np.abs(np.array(other) - before).max())  # bfloat16


@pytest.mark.parametrize(
    ("make", "adamw"),
    [
        (lambda: models.build("vit", **SMALL), {"vit/positions/embedding", "vit/sequence_pooling/score/kernel"}),
        (
            lambda: models.build("vit", registers=2, pooling="mean", **SMALL),
            {"vit/positions/embedding", "vit/register_tokens/token"},
        ),
        (lambda: models.build("vit", pooling="class", **SMALL), {"vit/positions/embedding", "vit/class_token/token"}),
        (lambda: models.build("eanet", **SMALL), {"eanet/positions/embedding", "eanet/sequence_pooling/score/kernel"}),
        (lambda: models.build("patch_convnet", **SMALL), {"patch_convnet/attention_pooling/class_query"}),
        (
            lambda: models.build("patch_convnet", queries="per-class", **SMALL),
            {"patch_convnet/attention_pooling/class_query"},
        ),
    ],
    ids=["vit", "vit with registers", "vit with a class token", "eanet", "patch_convnet", "a query for each class"],
)
def test_adamw_has_vectors_positions_tokens_and_the_classifier(make, adamw):
    model = make()
    variables = model.trainable_variables
    optimizer = Muon()
    optimizer.build(variables)
    second_moments = zip(variables, optimizer.adam_velocities, strict=True)  # which only AdamW keeps
    found = {v.path for v, moment in second_moments if moment is not None}
    vectors = {v.path for v in variables if len(v.shape) < 2}
    assert vectors < found
    assert found - vectors == adamw | {f"{model.name}/logits/kernel"}


def test_a_saved_optimizer_is_the_same():
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 30)
    optimizer = Muon(schedule, weight_decay=0.05, momentum=0.9)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert type(again) is Muon
    assert again.get_config() == optimizer.get_config()
    assert (again.weight_decay, again.adam_weight_decay) == (0.05, 0.05)
