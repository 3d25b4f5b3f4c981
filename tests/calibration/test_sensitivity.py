"""The layer that hurts is found."""

from pathlib import Path

import numpy as np
import pytest
from onnxruntime.quantization.calibrate import TensorData

from bundle.features import FACE
from calibration.qdq import KINDS, quantizable_layers
from calibration.ranges import activation_ranges
from calibration.sensitivity import layer_sqnr_db, sqnr_db, worst_first


def test_sqnr_by_hand() -> None:
    assert sqnr_db(np.array([3.0, 4.0]), np.array([3.0, 4.5])) == 20.0
    assert sqnr_db(np.ones(4), np.zeros(4)) == 0.0


@pytest.mark.parametrize("precision", KINDS)
def test_layer_whose_input_is_clipped_is_the_worst(tiny: Path, precision: str) -> None:
    rng = np.random.default_rng(0)
    batches = [{FACE: rng.standard_normal((4, 1, 8, 8), np.float32)} for _ in range(4)]
    ranges = activation_ranges(tiny, batches, "MinMax")
    honest = layer_sqnr_db(tiny, ranges, precision, batches)
    assert list(honest) == quantizable_layers(tiny, precision)
    assert min(honest.values()) > 25
    ranges[FACE] = TensorData(lowest=np.float32(-0.1), highest=np.float32(0.1))  # what "first" takes, and no other
    clipped = layer_sqnr_db(tiny, ranges, precision, batches)
    assert worst_first({"visual": clipped})[0] == ("visual", "first")
    assert clipped["first"] < 15
    assert all(clipped[name] == honest[name] for name in clipped if name != "first")


def test_layers_of_all_parts_are_in_one_order() -> None:
    found = worst_first({"visual": {"a": 30.0, "b": 10.0}, "audio": {"c": 20.0}})
    assert found == [("visual", "b"), ("audio", "c"), ("visual", "a")]
