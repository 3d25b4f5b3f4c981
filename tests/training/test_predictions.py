"""Predictions are found again as they were left; nothing else is taken for them."""

from dataclasses import replace

import numpy as np
import pytest

from bundle.errors import ArtefactError
from training.predictions import Predictions, clip_id, read_predictions, write_predictions

SETTINGS = {"system": "mrpn", "variant": "n2", "labels": ["calm", "angry"], "split": {"train": [1], "test": [2]}}


def predictions():
    probs = np.random.default_rng(0).dirichlet((1, 1), (2, 3)).astype(np.float32)
    return Predictions(
        {"probs_fused": probs[0], "probs_audio": probs[1]}, np.array([0, 1, 1]), np.array([2, 2, 2]),
        np.array(["a", "a", "b"]), "test", SETTINGS, {"probs_audio": 1.5},
    )  # fmt: skip


def test_predictions_are_found_again(tmp_path):
    left = predictions()
    write_predictions(tmp_path, left)
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.npz"]
    found = read_predictions(tmp_path / "predictions.npz")
    assert list(found.probs) == ["probs_fused", "probs_audio"]
    for name in left.probs:
        np.testing.assert_array_equal(found.probs[name], left.probs[name])
    for name in ("labels", "subjects", "clips"):
        np.testing.assert_array_equal(getattr(found, name), getattr(left, name))
    assert (found.side, found.settings, found.temperatures) == (left.side, SETTINGS, left.temperatures)
    assert found.label_names == ("calm", "angry")


def test_outputs_without_a_label_are_refused(tmp_path):
    write_predictions(tmp_path, replace(predictions(), settings=SETTINGS | {"labels": ["calm", "angry", "sad"]}))
    with pytest.raises(ArtefactError, match="2 outputs for 3 labels"):
        read_predictions(tmp_path / "predictions.npz")


def test_a_clip_is_named_by_its_sound():
    wave = np.arange(100, dtype=np.int16)
    assert clip_id(wave) == clip_id(wave.copy()) != clip_id(wave[:-1])


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 half a zip"])
def test_a_damaged_file_is_refused(tmp_path, content):
    path = tmp_path / "predictions.npz"
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match=r"predictions\.npz holds no predictions"):
        read_predictions(path)


def test_any_damaged_byte_is_noticed_or_harmless(tmp_path):
    write_predictions(tmp_path, predictions())
    path = tmp_path / "predictions.npz"
    whole, refused = path.read_bytes(), 0
    for position in range(0, len(whole), 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :])
        try:
            read_predictions(path)
        except ArtefactError:
            refused += 1
    assert refused > len(whole) // 14


def test_another_table_and_pickled_objects_are_refused(tmp_path):
    path = tmp_path / "predictions.npz"
    for content in ({"images": np.zeros(3)}, {"names": np.array([{}], dtype=object)}):
        np.savez(path, **content)
        with pytest.raises(ArtefactError, match="holds no predictions"):
            read_predictions(path)
