"""Our maps and fills against implementations that others wrote, on the same torch model and the same arrays.

`make backends` runs these in an environment of their own, where Captum and pytorch-grad-cam are; elsewhere they are
skipped.
"""

import keras
import numpy as np
import pytest

from tests.test_models import tiny_model
from vattn_utils.maps import attribution, faithfulness
from vattn_utils.models import eanet, patch_convnet, vit

captum = pytest.importorskip("captum.attr", reason="Captum is not installed; `make backends` installs it")
pytorch_grad_cam = pytest.importorskip("pytorch_grad_cam", reason="pytorch-grad-cam is not installed")
torch = pytest.importorskip("torch")

pytestmark = pytest.mark.skipif(keras.backend.backend() != "torch", reason="they take torch models")
MODELS = {
    "vit, class token": lambda: tiny_model(vit, "paper"),
    "vit, pooling": lambda: tiny_model(vit),
    "eanet": lambda: tiny_model(eanet),
    "patch_convnet": lambda: tiny_model(patch_convnet),
}
LABELS = np.array([0, 3, 1, 4])


@pytest.fixture(params=MODELS)
def model(request):
    keras.utils.set_random_seed(0)
    return MODELS[request.param]()


@pytest.fixture
def channels_first(model):
    """The model as torch's tools want it, `(B, 3, H, W)` to logits."""

    def forward(images):
        return model(images.permute(0, 2, 3, 1), training=False)

    return forward


def tensor(images):
    return torch.tensor(np.asarray(images, "float32")).permute(0, 3, 1, 2)


def array(found):
    return found.detach().permute(0, 2, 3, 1).numpy()


def equal(ours, theirs):
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max(), rtol=1e-4)
    assert np.abs(theirs).max() > 0


def test_input_gradients_are_captum_s_saliency(model, channels_first, pictures):
    theirs = captum.Saliency(channels_first).attribute(tensor(pictures), torch.tensor(LABELS), abs=False)
    equal(attribution.input_gradients(model, pictures, LABELS), array(theirs))


def test_integrated_gradients_are_captum_s_by_the_same_rule(model, channels_first, pictures):
    baseline = np.array([10.0, 20.0, 30.0], "float32")
    wide = tensor(np.broadcast_to(baseline, pictures.shape))
    method = captum.IntegratedGradients(channels_first)
    theirs = method.attribute(tensor(pictures), wide, torch.tensor(LABELS), n_steps=8, method="riemann_middle")
    equal(attribution.integrated_gradients(model, pictures, LABELS, baseline, steps=8), array(theirs))


def test_occlusion_is_captum_s_with_windows_that_do_not_overlap(model, channels_first, pictures):
    size = 8 // model.grid[0]
    colour = pictures.astype("float32").mean(axis=(0, 1, 2))
    wide = tensor(np.broadcast_to(colour, pictures.shape))
    theirs = captum.Occlusion(channels_first).attribute(
        tensor(pictures),
        sliding_window_shapes=(3, size, size),
        strides=(3, size, size),
        baselines=wide,
        target=torch.tensor(LABELS),
    )
    equal(attribution.occlusion(model, pictures, LABELS), array(theirs)[:, ::size, ::size, 0])


def test_grad_cam_is_pytorch_grad_cam_s(model, pictures):
    tokens = torch.nn.Identity()  # it watches a torch module, so the tokens pass through one
    by_class_token = model.pooling == "class"  # then it is the last block's input that is read

    class Split(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, images):
            images = images.permute(0, 2, 3, 1)
            if not by_class_token:
                return model.classify(tokens(model.encode(images)[0]))[0]
            return model.classify(model.blocks[-1](tokens(model.encode(images, until=-1)[0])))[0]

    def places(x):
        rows, columns = model.grid
        return x[:, -rows * columns :].reshape(len(x), rows, columns, -1).permute(0, 3, 1, 2)

    images = tensor(pictures)
    targets = [lambda logits, label=label: logits[label] for label in LABELS]
    with pytorch_grad_cam.GradCAM(Split(), [tokens], reshape_transform=places) as cam:
        cam(images, targets)
        seen = cam.activations_and_grads
        activations, gradients = seen.activations[0].numpy(), seen.gradients[0].numpy()
        theirs = np.maximum(cam.get_cam_image(images, tokens, targets, activations, gradients), 0)
    equal(attribution.grad_cam(model, pictures, LABELS), theirs)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_linear_fill_is_road_s_without_its_noise(share):
    from pytorch_grad_cam.metrics.road import NoisyLinearImputer

    random = np.random.default_rng(int(100 * share))
    image = random.uniform(0, 255, (32, 32, 3)).astype("float32")
    hole = np.kron(random.random((8, 8)) < share, np.ones((4, 4))).astype(bool)
    kept = torch.tensor(1.0 - hole)
    theirs = NoisyLinearImputer(noise=0)(tensor(image[None])[0], kept).permute(1, 2, 0).numpy()
    ours = faithfulness.fill_linear(image[None], hole[None], noise=0)[0]
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * 255)
