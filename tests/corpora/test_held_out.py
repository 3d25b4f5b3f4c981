"""What a bundle is evaluated on, and through which arrays."""

import numpy as np
import pytest

from bundle.features import FACE, PROBS
from bundle.manifest import DEFAULT_BUNDLE
from corpora.composite import composite_window
from corpora.held_out import embed, open_held_out, probs_of_window


@pytest.fixture(scope="module")
def held_out(data):
    return open_held_out(DEFAULT_BUNDLE, data)


def test_only_the_actors_held_out_speak(held_out):
    assert {clip.actor for clip in held_out.speech} == {2, 5, 14, 15, 16}
    assert (held_out.seed, held_out.draws) == (0, 3)


def test_what_the_mask_leaves_out_is_zero_and_changes_no_probability(held_out):
    rng = np.random.default_rng(0)
    window = composite_window(held_out.speech[0], held_out.pool, held_out.specs, rng)
    assert not window.visual_mask.all()
    vectors = embed(held_out.network.engines["visual"], FACE, window.faces, window.visual_mask)
    assert (vectors.any(1) == (window.visual_mask > 0)).all()
    before = probs_of_window(held_out.network, window)
    window.faces[window.visual_mask == 0] = 9
    window.segments[window.audio_mask == 0] = 9
    after = probs_of_window(held_out.network, window)
    assert list(after) == list(PROBS)
    for name in PROBS:
        assert after[name].sum() == pytest.approx(1, abs=1e-5)
        np.testing.assert_array_equal(before[name], after[name])
