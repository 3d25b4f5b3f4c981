"""Untrained networks: one set of weights in every form, as good as a trained one to compare computations with."""

import numpy as np
import pytest
import torch

from benchmarks.untrained import untrained
from benchmarks.updates import Variant
from bundle.manifest import DEFAULT_BUNDLE, FLOAT32, read_manifest
from networks.mrpn import MrpnConfig
from perception.onnxrt import OnnxRuntimeEngine
from perception.parity import differences, random_inputs


def test_weights_depend_on_the_configuration_alone() -> None:
    config = MrpnConfig(visual_width=2, audio_width=2, aggregate_size=8, hidden_size=5)
    first, again = (untrained("mrpn", config).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize("name", ["visual", "audio", "head"])
def test_file_holds_the_weights_of_the_module(slim: Variant, name: str) -> None:
    part = slim.parts[name]
    inputs = random_inputs(part.part.inputs, 3)
    with torch.inference_mode():
        found = part.module(*(torch.from_numpy(value) for value in inputs.values()))
    expected = dict(zip(part.part.outputs, found if isinstance(found, tuple) else (found,), strict=True))
    outputs = OnnxRuntimeEngine(part.files[FLOAT32]).run(inputs)
    assert all(d.is_rounding for d in differences({k: v.numpy() for k, v in expected.items()}, outputs))


def test_slim_network_is_that_of_the_default_bundle(slim: Variant) -> None:
    manifest = read_manifest(DEFAULT_BUNDLE)
    for name, part in manifest.parts.items():
        assert dict(slim.parts[name].part.inputs) == dict(part.inputs)
        assert dict(slim.parts[name].part.outputs) == dict(part.outputs)
    assert (slim.audio, slim.video, slim.window) == (manifest.audio, manifest.video, manifest.window)


def test_head_tells_windows_apart_and_is_sure_of_none(slim: Variant) -> None:
    outputs = OnnxRuntimeEngine(slim.parts["head"].files[FLOAT32]).run(random_inputs(slim.parts["head"].part.inputs, 8))
    for probs in outputs.values():
        assert probs.max() < 0.9
        assert np.ptp(probs, axis=0).max() > 0.05
