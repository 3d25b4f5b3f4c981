"""Our side: the runtime's perception on windows without gaps, whose chunks can be had."""

import numpy as np
import pytest

from benchmarks.updates import Updates, Variant
from bundle.features import EMBEDDING, FACE
from perception.engine import Tensors


class Counting:
    """An engine that counts its runs."""

    name = "counting"

    def __init__(self, engine: object) -> None:
        self.engine, self.runs = engine, 0

    def run(self, inputs: Tensors) -> Tensors:
        self.runs += 1
        return self.engine.run(inputs)  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize(("fps", "images"), [(5, 1), (10, 2), (30, 2), (60, 2)])
def test_an_update_encodes_two_images_at_most_and_one_segment(slim: Variant, fps: int, images: int) -> None:
    engines = {name: Counting(engine) for name, engine in slim.engines().items()}
    updates = Updates(slim.opened(engines), fps, faces=3)
    before = {name: engine.runs for name, engine in engines.items()}
    for _ in range(3):
        updates.update()
    counted = {name: engine.runs - before[name] for name, engine in engines.items()}
    assert counted == {"visual": 3 * images, "audio": 3, "head": 3}


def test_a_camera_too_slow_for_the_grid_leaves_gaps_that_are_refused(slim: Variant) -> None:
    with pytest.raises(RuntimeError, match="gaps"):
        Updates(slim.opened(slim.engines()), fps=5).outputs()


def test_remembered_chunks_are_those_of_the_window(slim: Variant) -> None:
    chunks, _ = slim.remember()
    assert {name: value.shape for name, value in chunks.items()} == {
        "visual": (40, 1, 48, 48),
        "audio": (16, 1, 64, 100),
    }
    encoded = slim.engines()["visual"].run({FACE: chunks["visual"]})[EMBEDDING]
    assert len(np.unique(encoded.round(3), axis=0)) > 1, "images differ, so that a wrong order would show"
