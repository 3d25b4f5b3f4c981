"""ONNX parts: they compute what PyTorch computes, at any batch, in the form that every engine reads."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

import export.onnx_from_checkpoint
from bundle.errors import ArtefactError
from bundle.features import (
    AUDIO_EMBEDDINGS,
    AUDIO_MASK,
    EMBEDDING,
    FACE,
    PROBS,
    SPECTROGRAM,
    VISUAL_EMBEDDINGS,
    VISUAL_MASK,
    AudioSpec,
    VideoSpec,
    WindowSpec,
)
from bundle.labels import RAVDESS_LABELS
from export.onnx_from_checkpoint import OPSET, check_deployable, export_parts, read_checkpoint
from networks.aggregators import AGGREGATORS
from networks.fercnn import FercnnConfig
from networks.mrpn import Mrpn, MrpnConfig
from networks.systems import SYSTEMS
from perception.onnxrt import OnnxRuntimeEngine

TINY = MrpnConfig(visual_width=2, audio_width=2, aggregate_size=8, hidden_size=5)
NAMES = {
    "visual": ((FACE,), (EMBEDDING,)),
    "audio": ((SPECTROGRAM,), (EMBEDDING,)),
    "head": ((VISUAL_EMBEDDINGS, VISUAL_MASK, AUDIO_EMBEDDINGS, AUDIO_MASK), PROBS),
}


@pytest.fixture(scope="module")
def checkpoint(checkpoint_path):
    return read_checkpoint(checkpoint_path)


@pytest.fixture(scope="module")
def folder(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    export_parts(checkpoint, folder)
    return folder


@pytest.fixture(scope="module")
def parts(checkpoint, folder):
    return plain_parts(export_parts(checkpoint, folder))


def plain_parts(exported):
    return {name: part.part for name, part in exported.items()}


def tensors(values):
    """Names with their shapes but for the batch, which must be named so."""
    found = {}
    for value in values:
        batch, *shape = value.type.tensor_type.shape.dim
        assert batch.dim_param == "batch"
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        found[value.name] = tuple(size.dim_value for size in shape)
    return found


def random_inputs(part, batch, seed=0):
    rng = np.random.default_rng(seed)
    return {
        name: (rng.random if "mask" in name else rng.standard_normal)((batch, *shape)).round(1).astype(np.float32)
        for name, shape in part.inputs.items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_opset_is_seventeen(folder, name):
    model = onnx.load(folder / f"{name}.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == OPSET == 17
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}


@pytest.mark.parametrize("name", NAMES)
def test_tensors_bear_the_projects_names_and_a_free_batch(folder, parts, name):
    graph = onnx.load(folder / f"{name}.onnx").graph
    inputs, outputs = NAMES[name]
    assert tensors(graph.input) == dict(parts[name].inputs)
    assert tensors(graph.output) == dict(parts[name].outputs)
    assert tuple(parts[name].inputs) == inputs
    assert tuple(parts[name].outputs) == outputs


def test_shapes_are_those_of_the_definitions(parts):
    window = WindowSpec()
    assert parts["visual"].inputs[FACE] == VideoSpec().shape
    assert parts["audio"].inputs[SPECTROGRAM] == AudioSpec().shape
    head = parts["head"]
    assert head.inputs[VISUAL_EMBEDDINGS] == (window.image_slots, *parts["visual"].outputs[EMBEDDING])
    assert head.inputs[AUDIO_EMBEDDINGS] == (window.segment_slots(AudioSpec()), *parts["audio"].outputs[EMBEDDING])
    assert all(shape == (len(RAVDESS_LABELS),) for shape in head.outputs.values())


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("name", ["visual", "audio"])
def test_encoders_equal_pytorch_at_any_batch(checkpoint, folder, parts, name, batch):
    inputs = random_inputs(parts[name], batch)
    (chunks,) = inputs.values()
    found = OnnxRuntimeEngine(folder / f"{name}.onnx").run(inputs)[EMBEDDING]
    with torch.inference_mode():
        expected = getattr(checkpoint.network, name)(torch.from_numpy(chunks)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5 * max(1, abs(expected).max()))
    assert expected.std() > 0.01


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_head_gives_pytorchs_probabilities_at_each_outputs_temperature(checkpoint, folder, parts, batch):
    inputs = random_inputs(parts["head"], batch) | {
        name: np.random.default_rng(1).integers(0, 2, (batch, *parts["head"].inputs[name])).astype(np.float32)
        for name in (VISUAL_MASK, AUDIO_MASK)
    }
    found = OnnxRuntimeEngine(folder / "head.onnx").run(inputs)
    with torch.inference_mode():
        logits = checkpoint.network.head(*(torch.from_numpy(inputs[name]) for name in NAMES["head"][0]))
    assert tuple(found) == PROBS
    for name, output, temperature in zip(PROBS, logits, (0.5, 1.0, 2.0), strict=True):
        expected = torch.softmax(output / temperature, 1).numpy()
        np.testing.assert_allclose(found[name], expected, atol=1e-5)
        np.testing.assert_allclose(found[name].sum(1), 1, atol=1e-5)
        assert expected.std() > 1e-3


def test_an_empty_window_has_probabilities(folder, parts):
    inputs = {name: np.zeros((1, *shape), np.float32) for name, shape in parts["head"].inputs.items()}
    for probs in OnnxRuntimeEngine(folder / "head.onnx").run(inputs).values():
        assert probs.sum() == pytest.approx(1, abs=1e-5)


def test_an_export_that_computes_something_else_is_refused(checkpoint, tmp_path, monkeypatch):
    def spoil(path):
        model = onnx.load(path)
        weights = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
        values = onnx.numpy_helper.to_array(weights) * np.float32(1.001)
        weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
        onnx.save(model, path)

    monkeypatch.setattr(export.onnx_from_checkpoint, "simplify_onnx", spoil)
    with pytest.raises(ArtefactError, match=r"visual\.onnx: embedding differs from PyTorch"):
        export_parts(checkpoint, tmp_path)


@pytest.mark.parametrize("fusion", ["n0-late", "n1", "n2"])
@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_every_head_exports_and_equals_pytorch(checkpoint, tmp_path, aggregator, fusion):
    torch.manual_seed(0)
    network = Mrpn(replace(TINY, aggregator=aggregator, fusion=fusion)).eval()
    temperatures = [0.5, 1.0, 2.0][: len(network.outputs())]
    exported = export_parts(replace(checkpoint, network=network, temperatures=temperatures), tmp_path)
    parts = plain_parts(exported)
    inputs = random_inputs(parts["head"], 3, seed=4)
    inputs |= {name: values.round() for name, values in inputs.items() if "mask" in name}
    found = OnnxRuntimeEngine(tmp_path / "head.onnx").run(inputs)
    with torch.inference_mode():
        logits = network.head(*(torch.from_numpy(values) for values in inputs.values()))
    assert list(found) == network.outputs()
    for probs, output, temperature in zip(found.values(), logits, temperatures, strict=True):
        np.testing.assert_allclose(probs, torch.softmax(output / temperature, 1), atol=1e-5)


@pytest.mark.parametrize(
    "sizes", [{"face_shape": (1, 64, 64)}, {"segment_shape": (1, 256, 250)}, {"image_slots": 20}, {"segment_slots": 3}]
)
def test_a_network_of_another_size_than_its_specs_is_refused(checkpoint, sizes):
    network = Mrpn(replace(TINY, **sizes)).eval()
    with pytest.raises(ArtefactError, match="its specs make"):
        check_deployable(replace(checkpoint, network=network))


def test_what_no_runtime_can_feed_is_no_bundle(checkpoint):
    check_deployable(checkpoint)
    with pytest.raises(ArtefactError, match=r"has outputs \['probs_fused'\]; edge-run needs .* Train n1 or n2"):
        check_deployable(replace(checkpoint, network=Mrpn(replace(TINY, fusion="n0"))))
    for change, reason in (
        ({"specs": None}, "need the whole clip"),
        ({"network": Mrpn(replace(TINY, modalities=("audio",), fusion="n0"))}, r"with parts \['audio', 'head'\]"),
        ({"system": "fercnn", "network": SYSTEMS["fercnn"].network(FercnnConfig())}, "of fercnn with parts"),
    ):
        with pytest.raises(ArtefactError, match=f"{reason}.*edge-export onnx"):
            check_deployable(replace(checkpoint, **change))


def test_simplified_parts_have_fewer_nodes(checkpoint, tmp_path):
    exported = export_parts(checkpoint, tmp_path)
    for name, part in exported.items():
        before, after = part.nodes
        assert after <= before
        assert after == len(onnx.load(tmp_path / f"{name}.onnx").graph.node)
    before, after = exported["head"].nodes
    assert after < 0.8 * before


def test_export_gives_the_same_bytes_again(checkpoint, folder, tmp_path):
    export_parts(checkpoint, tmp_path)
    files = sorted(path.name for path in folder.iterdir())
    assert files == sorted(path.name for path in tmp_path.iterdir())
    assert {name.split(".")[1] for name in files} == {"onnx", "float16"}
    for name in files:
        assert (folder / name).read_bytes() == (tmp_path / name).read_bytes(), name


@pytest.mark.parametrize("layer", ["weights", "values between layers"])
def test_a_part_that_float16_cannot_hold_stays_in_float32(checkpoint, tmp_path, layer):
    network = copy.deepcopy(checkpoint.network)
    if layer == "weights":
        network.audio.conv1.weight.data.fill_(1e6)
    else:  # which ONNX Runtime computes in float32
        network.audio.layer1[0].bn1.weight.data.fill_(1e4)
        network.audio.layer1[0].bn1.bias.data.fill_(1e5)
        network.audio.layer1[0].conv2.weight.data.mul_(1e-5)
    exported = export_parts(replace(checkpoint, network=network), tmp_path)
    assert {name: "float16" in part.part.files for name, part in exported.items()} == {
        "visual": True, "audio": False, "head": True,
    }  # fmt: skip
    assert exported["audio"].float16_db < 40 < exported["visual"].float16_db
    assert not (tmp_path / "audio.float16.onnx").exists()


def test_a_checkpoint_is_read_as_it_was_saved(checkpoint, saved):
    assert checkpoint.labels == RAVDESS_LABELS
    assert checkpoint.specs == (AudioSpec(), VideoSpec(), WindowSpec())
    assert checkpoint.system == "mrpn"
    assert checkpoint.temperatures == [0.5, 1.0, 2.0]
    assert checkpoint.training == {"split": saved["split"], **saved["training"]}
    assert checkpoint.results == saved["results"]
    assert not checkpoint.network.training
    for name, value in checkpoint.network.state_dict().items():
        assert torch.equal(value, saved["model"][name]), name


@pytest.mark.parametrize(
    "content", [b"", b"no checkpoint", pickle.dumps({"network": {}})], ids=["empty", "text", "pickle"]
)
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "mrpn.pt").write_bytes(content)
    with pytest.raises(ArtefactError, match=r"mrpn\.pt cannot be read as a checkpoint"):
        read_checkpoint(tmp_path / "mrpn.pt")


def test_a_missing_or_cut_checkpoint_is_refused(checkpoint_path, tmp_path):
    (tmp_path / "cut.pt").write_bytes(checkpoint_path.read_bytes()[:-1_000])
    for name in ("cut.pt", "missing.pt"):
        with pytest.raises(ArtefactError, match=f"{name} cannot be read"):
            read_checkpoint(tmp_path / name)


@pytest.mark.parametrize(
    "field", ["system", "network", "model", "temperatures", "labels", "specs", "split", "training", "results"]
)
def test_a_checkpoint_without_a_field_is_refused(saved, tmp_path, field):
    torch.save({name: value for name, value in saved.items() if name != field}, tmp_path / "mrpn.pt")
    with pytest.raises(ArtefactError, match=field):
        read_checkpoint(tmp_path / "mrpn.pt")


@pytest.mark.parametrize(
    "network", [{"visual_width": 3}, {"aggregate_size": 8}, {"labels": 6}, {"layers": 4}], ids=lambda n: next(iter(n))
)
def test_a_checkpoint_of_another_network_is_refused(saved, tmp_path, network):
    torch.save(saved | {"network": saved["network"] | network}, tmp_path / "mrpn.pt")
    with pytest.raises(ArtefactError, match="cannot be read as a checkpoint"):
        read_checkpoint(tmp_path / "mrpn.pt")


class Trap:
    """Unpickled by a careless reader, it creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_code_in_a_checkpoint_is_not_run(saved, tmp_path):
    torch.save(saved | {"results": Trap(tmp_path / "sprung")}, tmp_path / "mrpn.pt")
    with pytest.raises(ArtefactError, match="cannot be read as a checkpoint"):
        read_checkpoint(tmp_path / "mrpn.pt")
    assert not (tmp_path / "sprung").exists()
