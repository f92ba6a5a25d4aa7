"""Which tokens everyone reads: what each receives, and how large what it gives is."""

import numpy as np
import pytest

from tests.test_attribution import kept
from tests.test_models import tiny_model
from vattn_utils.maps import attention, tokens, value_norm
from vattn_utils.models import vit


def layer_of(weights, prefix_tokens=0, registers=0):
    return attention.AttentionMap("self", weights, (2, 2), prefix_tokens, registers=registers)


def test_tokens_that_are_read_alike_receive_one_each():
    np.testing.assert_allclose(tokens.received(layer_of(np.full((2, 3, 4, 4), 0.25))), np.ones((2, 4)))


def test_the_token_that_all_read_receives_as_much_as_there_are_tokens():
    weights = np.zeros((1, 2, 4, 4))
    weights[..., 2] = 1
    np.testing.assert_allclose(tokens.received(layer_of(weights)), [[0, 0, 4, 0]])


def test_shares_of_class_tokens_registers_and_patches_sum_to_one_and_know_their_places():
    received = np.array([[1.4, 2.8, 0.7, 0.7, 0.7, 0.35, 0.35]])  # a class token, two registers, four patches
    found = tokens.Readership(received, received, prefix_tokens=3, registers=2)
    shares = {name: share.item() for name, share in found.shares().items()}
    assert shares == pytest.approx({"class tokens": 0.2, "registers": 0.5, "patches": 0.3})
    assert found.most_read() == pytest.approx([0.7])


def test_readership_of_a_model_agrees_with_its_maps_and_norms_with_registers_and_without(pictures):
    for model in (tiny_model(vit, "paper"), tiny_model(vit, "book", registers=3)):
        found = tokens.readership(model, pictures, batch_size=3)
        layers = [layer for layer in attention.maps(model, pictures) if layer.kind == "self"]
        assert len(found) == len(layers)
        for one, layer, norm in zip(found, layers, value_norm.value_norms(model, pictures), strict=False):
            np.testing.assert_allclose(one.received, tokens.received(layer), rtol=1e-5)
            np.testing.assert_allclose(one.received.mean(axis=1), 1, rtol=1e-5)
            np.testing.assert_allclose(one.values.mean(axis=1), 1, rtol=1e-5)
            size = norm.values.mean(axis=(1, 2))
            np.testing.assert_allclose(one.values * size.mean(axis=1, keepdims=True), size, rtol=1e-4)
            assert (one.prefix_tokens, one.registers) == (layer.prefix_tokens, layer.registers)
            np.testing.assert_allclose(sum(one.shares().values()), 1, rtol=1e-5)


def test_a_model_whose_tokens_do_not_read_one_another_is_refused(pictures):
    with pytest.raises(ValueError, match="eanet has no self-attention"):
        tokens.readership(kept("eanet"), pictures)
