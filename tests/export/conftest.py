"""Checkpoints as edge-train leaves them, of tiny networks that have seen nothing but noise, and their ONNX files."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bundle.features import AudioSpec, VideoSpec, WindowSpec
from bundle.labels import RAVDESS_LABELS
from networks.attention_fusion import AttentionFusionConfig
from networks.fercnn import FercnnConfig
from networks.mrpn import Mrpn, MrpnConfig
from networks.systems import SYSTEMS
from networks.transfer import TransferConfig

SMALL = {
    "mrpn": MrpnConfig(visual_width=4, audio_width=4, aggregate_size=8, hidden_size=8),
    "attention-fusion": AttentionFusionConfig(
        depth=50, visual_width=4, audio_width=4, channels=16, grid=4, heads=2, snippets=2, size_px=32
    ),
    "transfer": TransferConfig(audio_width=4, lstm_size=8, stn_width=4),
    "fercnn": FercnnConfig(video_features=20),
}
"""Each paper's system with all its kinds of layers, few channels and small images."""

Files = dict[str, tuple[Path, dict[str, tuple[int, ...]]]]
"""ONNX file and shapes of its inputs, by "part.precision"."""


@pytest.fixture(scope="session")
def saved() -> dict[str, Any]:
    """What the file holds."""
    torch.manual_seed(0)
    config = MrpnConfig(visual_width=2, audio_width=2, aggregate_size=6, hidden_size=5)
    network = Mrpn(config)
    specs = AudioSpec(), VideoSpec(), WindowSpec()
    batch = {
        "faces": torch.randn(8, 40, *VideoSpec().shape),
        "visual_mask": torch.ones(8, 40),
        "segments": torch.randn(8, 16, *AudioSpec().shape),
        "audio_mask": torch.ones(8, 16),
    }
    with torch.inference_mode():
        network.train()(batch)  # normalisation that differs from its start
    return {
        "system": "mrpn",
        "network": asdict(config),
        "model": network.state_dict(),
        "temperatures": [0.5, 1.0, 2.0],
        "labels": list(RAVDESS_LABELS),
        "specs": [asdict(spec) for spec in specs],
        "split": {"train": [1], "held_out": [2, 5]},
        "training": {"seed": 0, "draws": 1},
        "results": {"probs_fused": {"uar": 0.5}},
    }


@pytest.fixture(scope="session")
def checkpoint_path(saved: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "mrpn.pt"
    torch.save(saved, path)
    return path


@pytest.fixture(scope="session")
def system_checkpoint(saved: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Path of a checkpoint of any of the four systems."""

    def write(system: str) -> Path:
        torch.manual_seed(0)
        network = SYSTEMS[system].network(SMALL[system]).eval()
        path = tmp_path_factory.mktemp("systems") / f"{system}.pt"
        heads = len(list(network.parts().values())[-1].outputs)
        changes = {
            "system": system,
            "network": asdict(SMALL[system]),
            "model": network.state_dict(),
            "temperatures": [1.5] * heads,
            "specs": [],
        }
        torch.save(saved | changes, path)
        return path

    return write


@pytest.fixture(scope="session")
def onnx_files(
    system_checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Files]:
    """Files of a system's parts in float32, float16 and, where there are convolutions, INT8."""
    from export.onnx_from_checkpoint import export_parts, read_checkpoint

    known: dict[str, Files] = {}

    def export(system: str) -> Files:
        if system in known:
            return known[system]
        folder, files = tmp_path_factory.mktemp(system), known.setdefault(system, {})
        for name, exported in export_parts(read_checkpoint(system_checkpoint(system)), folder).items():
            inputs, float32 = dict(exported.part.inputs), folder / exported.part.files["float32"]
            for precision, file in exported.part.files.items():
                files[f"{name}.{precision}"] = folder / file, inputs
            if b"Conv" in float32.read_bytes():
                files[f"{name}.int8"] = folder / f"{name}.int8.onnx", inputs
                quantize(float32, folder / f"{name}.int8.onnx", inputs, "int8-tensorrt")
        return files

    return export


def quantize(source: Path, target: Path, inputs: dict[str, tuple[int, ...]], precision: str) -> None:
    """Write one INT8 file of a part, calibrated on noise."""
    from calibration.qdq import quantizable_layers, write_quantized
    from calibration.ranges import activation_ranges

    rng = np.random.default_rng(0)
    noise = {tensor: rng.standard_normal((2, *shape), np.float32) for tensor, shape in inputs.items()}
    ranges = activation_ranges(source, [noise], "MinMax")
    write_quantized(source, target, ranges, precision, quantizable_layers(source, precision))
