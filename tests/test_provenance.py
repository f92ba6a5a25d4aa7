"""A measurement says on what it was made."""

import sys
import types

import keras

from vattn_utils.training.provenance import provenance


def test_on_torch_the_device_is_asked_of_torch(monkeypatch):
    cuda = types.SimpleNamespace(device_count=lambda: 1, get_device_name=lambda index: f"card {index}")
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda, __version__="2"))
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    assert provenance()["device"] == "1 x card 0"
    cuda.device_count = lambda: 0
    assert "CPU core" in provenance()["device"]


def test_a_process_pinned_to_one_core_says_so(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {1}, raising=False)
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["cpu:0"])
    assert provenance()["device"].startswith("1 CPU core (")
