"""The sound alone is the audio part of the whole system: same input, same network, same weights."""

import numpy as np
import torch
import torch.nn.functional as F

from corpora.av_clip import AvClip
from networks.transfer import SoundOfTransfer, Transfer, TransferConfig
from training.cnn14 import Cnn14Recipe
from training.transfer import TransferRecipe

CONFIG = TransferConfig(lstm_size=4, stn_width=2, audio_width=2, audio_columns=100)
RNG = np.random.default_rng(0)
CLIP = AvClip(
    RNG.normal(0, 900, 32_000).astype(np.int16), RNG.integers(0, 255, (20, 48, 48), np.uint8), 10.0, 3, 1
)  # fmt: skip


def test_it_hears_what_the_whole_system_hears():
    alone, whole = Cnn14Recipe(CONFIG), TransferRecipe(CONFIG)
    for seed in (None, 0, 1):
        draws = [None if seed is None else np.random.default_rng(seed) for _ in range(2)]
        inputs = alone.inputs(CLIP, draws[0])
        assert list(inputs) == ["log_mel"]
        np.testing.assert_array_equal(inputs["log_mel"], whole.inputs(CLIP, draws[1])["log_mel"])


def test_its_weights_are_those_of_the_whole_systems_audio_part():
    whole, alone = Transfer(CONFIG).eval(), SoundOfTransfer(CONFIG).eval()
    alone.load_state_dict({key: value for key, value in whole.state_dict().items() if key.startswith("audio.")})
    batch = {name: torch.from_numpy(value)[None] for name, value in TransferRecipe(CONFIG).inputs(CLIP, None).items()}
    with torch.inference_mode():
        assert torch.equal(alone(batch)["probs_audio"], whole(batch)["probs_audio"])
        expected = F.cross_entropy(whole(batch)["probs_audio"], torch.tensor([3]))
        assert Cnn14Recipe(CONFIG).loss(alone, batch, torch.tensor([3])) == expected


def test_blocks_are_frozen_as_asked_for():
    network = Cnn14Recipe(CONFIG, frozen_blocks=2).build()
    assert not any(parameter.requires_grad for parameter in network.audio.conv_block2.parameters())
    assert all(parameter.requires_grad for parameter in network.audio.conv_block3.parameters())
    (part,) = network.parts().values()
    assert part.inputs == {"log_mel": (1, 100, 64)}
    assert part.outputs == {"probs_audio": (8,)}
