"""A checkpoint as edge-train leaves it, of a tiny network that has seen nothing but noise."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from bundle.features import AudioSpec, VideoSpec, WindowSpec
from bundle.labels import RAVDESS_LABELS
from networks.mrpn import Mrpn, MrpnConfig


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
