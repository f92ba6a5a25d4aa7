"""Training on several devices: it gives what one device gives, and goes on with what another number of them began.

    XLA_FLAGS=--xla_force_host_platform_device_count=8 KERAS_BACKEND=jax pytest tests -k distribution

is where all of it runs; `make backends` does that in an environment with JAX.
"""

import dataclasses
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.test_training import SHORT, KillAt, Killed
from tests.test_training import model_of as deeper
from vattn_utils import models, training
from vattn_utils.training.distribution import Devices, even
from vattn_utils.training.recorder import AttentionRecorder
from vattn_utils.training.run_folder import TrainingError

JAX = keras.backend.backend() == "jax"
SEVERAL = JAX and len(keras.distribution.list_devices()) > 1
several = pytest.mark.skipif(
    not SEVERAL,
    reason="takes JAX and several devices: XLA_FLAGS=--xla_force_host_platform_device_count=8 KERAS_BACKEND=jax",
)
# 75 images in 5 epochs of 4 batches, and 21 that no number of devices but 3 and 7 divides.
TWENTY = dataclasses.replace(SHORT, epochs=5, validation=21)
AS_ONE = dict(rtol=0, atol=1e-4)


def model_of(dataset):
    return deeper(dataset, depth=1)  # a step of eight devices takes long to compile


@pytest.fixture
def fewer(monkeypatch):
    """Take devices away, as on another machine."""
    found = keras.distribution.list_devices()
    return lambda count: monkeypatch.setattr(keras.distribution, "list_devices", lambda: found[:count])


def same(one, other):
    assert one.keys() == other.keys()
    for name in one.keys() - {"seconds"}:
        np.testing.assert_allclose(one[name], other[name], err_msg=name, **AS_ONE)


def patch_convnet_of(dataset):
    keras.utils.set_random_seed(3)
    return models.build(
        "patch_convnet", "book", num_classes=dataset.num_classes, image_size=8, strides=[2], dim=8, depth=1, mlp_dim=8
    )


@several
@pytest.mark.parametrize(
    ("build", "changes"),
    [(model_of, {}), (patch_convnet_of, dict(ema=0.9, select="best", cutmix=1.0))],
    ids=["plain", "ema, best, mixing"],
)
def test_twenty_steps_on_all_devices_give_the_losses_of_one_device(tiny, build, changes):
    recipe = dataclasses.replace(TWENTY, **changes)
    alone, together = build(tiny), build(tiny)
    expected = training.fit(alone, tiny, recipe, verbose=False)
    found = training.fit(together, tiny, recipe, verbose=False, distribution="auto")
    assert len(keras.distribution.list_devices()) > 1
    assert len(expected.history["loss"]) == 5
    same(found.history, expected.history)
    assert found.epoch == expected.epoch
    for one, other in zip(together.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)


@several
def test_every_device_has_a_part_of_each_batch_and_behind_it_one_device_has_all(tiny):
    placed = []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            placed.append({len(weight.value.sharding.device_set) for weight in self.model.variables})

    model, recorder = model_of(tiny), AttentionRecorder(tiny.x_test[:3])
    recipe = dataclasses.replace(SHORT, epochs=1)
    training.fit(model, tiny, recipe, callbacks=[Look(), recorder], verbose=False, distribution="auto")
    assert placed == [{len(keras.distribution.list_devices())}]
    assert len(recorder.recorded()["mixing"][1]) == 3  # three images, whatever the number of devices
    assert {len(weight.value.sharding.device_set) for weight in model.variables} == {1}
    assert keras.distribution.distribution() is None
    assert np.isfinite(training.evaluate(model, tiny.x_test[:7], tiny.y_test[:7])["loss"])  # seven on one device


@several
@pytest.mark.parametrize("later", [1, 4])
def test_a_run_goes_on_with_another_number_of_devices(tiny, tmp_path, fewer, later):
    expected = training.fit(model_of(tiny), tiny, TWENTY, verbose=False)
    with pytest.raises(Killed):
        training.fit(model_of(tiny), tiny, TWENTY, tmp_path / "run", [KillAt(2, 1)], verbose=False, distribution="auto")
    fewer(later)
    resumed = model_of(tiny)
    resumed.set_weights([np.zeros_like(w) for w in resumed.get_weights()])
    found = training.fit(resumed, tiny, TWENTY, tmp_path / "run", verbose=False, distribution="auto")
    same(found.history, expected.history)


HOST = """
import json, pathlib, sys
import keras
keras.distribution.initialize(sys.argv[1], num_processes=2, process_id=int(sys.argv[2]))
from tests.conftest import four_shades
from tests.test_distribution import TWENTY, model_of
from vattn_utils import training
model = model_of(four_shades())
run = training.fit(model, four_shades(), TWENTY, sys.argv[3], distribution="auto")
told = json.dumps([len(keras.distribution.list_devices()), run.history])
pathlib.Path(f"{sys.argv[3]}-{sys.argv[2]}.json").write_text(told)
"""


@several
def test_two_hosts_with_one_command_each_train_as_one_device_and_one_of_them_keeps_the_run(tiny, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    hosts = [
        subprocess.Popen(
            [sys.executable, "-c", HOST, address, str(number), str(tmp_path / "run")],
            cwd=Path(__file__).parents[1], env=environment, stdout=subprocess.PIPE, text=True,
        )
        for number in range(2)
    ]  # fmt: skip
    said = [host.communicate()[0].splitlines() for host in hosts]
    expected = training.fit(model_of(tiny), tiny, TWENTY, verbose=False)
    for number in range(2):
        count, history = json.loads((tmp_path / f"run-{number}.json").read_text())
        assert count == 4
        same(history, expected.history)
    assert [sum(line.startswith("epoch ") for line in lines) for lines in said] == [TWENTY.epochs, 0]
    assert (tmp_path / "run" / f"epoch-{TWENTY.epochs:04}").exists()


@several
def test_a_batch_that_the_devices_cannot_share_is_refused_with_one_that_they_can(tiny, fewer):
    fewer(2)
    recipe = dataclasses.replace(SHORT, batch_size=15)
    with pytest.raises(TrainingError, match=r"batch_size=15 is not divisible by the number of devices=2; use a multip"):
        training.fit(model_of(tiny), tiny, recipe, verbose=False, distribution="auto")


def test_a_distribution_that_is_not_known_is_refused(tiny):
    with pytest.raises(TrainingError, match="distribution='model' is not known; use one of 'auto'"):
        training.fit(model_of(tiny), tiny, SHORT, distribution="model")


@pytest.mark.skipif(JAX, reason="JAX divides batches")
def test_another_backend_says_that_it_divides_no_batches_and_what_would_do(tiny):
    with pytest.raises(TrainingError, match="start with KERAS_BACKEND=jax, or leave distribution out"):
        training.fit(model_of(tiny), tiny, SHORT, distribution="auto")


def test_what_fills_up_a_batch_does_not_count(tiny):
    model = model_of(tiny)
    training.compile_model(model, SHORT, 20)
    images, labels = tiny.x_test[:13], keras.utils.to_categorical(tiny.y_test[:13], 4)
    assert len(even(images, labels, 1)) == 2
    filled = even(images, labels, 8)
    assert [len(part) for part in filled] == [16, 16, 16]
    expected = model.evaluate(images, labels, batch_size=4, verbose=0, return_dict=True)
    found = model.evaluate(*filled[:2], sample_weight=filled[2], batch_size=8, verbose=0, return_dict=True)
    assert found == pytest.approx(expected, rel=1e-5)


def test_without_devices_nothing_is_spread(tiny):
    with Devices().spread(model_of(tiny)):
        assert keras.distribution.distribution() is None
