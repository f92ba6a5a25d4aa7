"""Attention recorded while a model trains."""

import numpy as np
import pytest

from tests.test_models import tiny_model
from vattn_utils.maps import attention
from vattn_utils.models import eanet, patch_convnet
from vattn_utils.training.recorder import AttentionRecorder


def test_the_recorder_records_before_training_and_after_every_kth_epoch(pictures):
    model = tiny_model(eanet)
    recorder = AttentionRecorder(pictures, every=2)
    recorder.set_model(model)
    recorder.on_train_begin()
    for epoch in range(5):
        recorder.on_epoch_end(epoch)
    recorded = recorder.recorded()
    assert recorded["epoch"].tolist() == [0, 2, 4]
    external, pooling = attention.maps(model, pictures)[-2:]
    np.testing.assert_allclose(recorded["mixing"][0], external.weights.mean(axis=1), atol=1e-3)
    np.testing.assert_allclose(recorded["pooling"][0, :, 0], pooling.weights[:, 0, 0], atol=1e-3)


def test_a_restored_recorder_goes_on_with_what_it_recorded(pictures):
    model = tiny_model(patch_convnet)
    begun, resumed = AttentionRecorder(pictures), AttentionRecorder(pictures)
    for recorder, epoch in ((begun, 0), (resumed, 1)):
        recorder.set_model(model)
        if recorder is resumed:
            recorder.restore(begun.state())
        recorder.on_train_begin()
        recorder.on_epoch_end(epoch)
    assert resumed.recorded()["epoch"].tolist() == [0, 1, 2]
    assert resumed.recorded().keys() == {"epoch", "pooling"}
    for name, recorded in begun.recorded().items():
        np.testing.assert_array_equal(resumed.recorded()[name][:2], recorded)


def test_recording_every_zero_epochs_is_refused(pictures):
    with pytest.raises(ValueError, match="every=0 is not possible"):
        AttentionRecorder(pictures, every=0)
