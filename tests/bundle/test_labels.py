"""Every emotion has a driver state and a place on the wheel."""

import math

import pytest

from bundle.labels import (
    CREMA_D_LABELS,
    FER2013_LABELS,
    RAVDESS_LABELS,
    STATE_OF_EMOTION,
    STATES,
    VALENCE_AROUSAL,
    state_indices,
)

CORPORA = {"ravdess": RAVDESS_LABELS, "crema-d": CREMA_D_LABELS, "fer2013": FER2013_LABELS}


@pytest.mark.parametrize("labels", CORPORA.values(), ids=CORPORA)
def test_every_emotion_of_a_corpus_is_known(labels):
    assert len(set(labels)) == len(labels)
    assert set(labels) <= set(STATE_OF_EMOTION)
    assert set(labels) <= set(VALENCE_AROUSAL)


@pytest.mark.parametrize("labels", CORPORA.values(), ids=CORPORA)
def test_state_indices_count_each_label_once_under_its_state(labels):
    indices = state_indices(labels)
    assert sorted(position for positions in indices.values() for position in positions) == list(range(len(labels)))
    for state, positions in indices.items():
        assert {STATE_OF_EMOTION[labels[position]] for position in positions} == {state}


def test_states_without_emotions_are_left_out():
    assert state_indices(("sad", "happy")) == {"low": [0], "joyful": [1]}


def test_every_emotion_leads_to_a_state_that_is_not_unknown():
    assert set(STATE_OF_EMOTION.values()) == set(STATES) - {"unknown"}


def test_emotions_lie_on_the_unit_circle_with_neutral_in_the_middle():
    radii = {emotion: math.hypot(*place) for emotion, place in VALENCE_AROUSAL.items()}
    assert radii.pop("neutral") == 0
    assert radii == pytest.approx(dict.fromkeys(radii, 1.0))


@pytest.mark.parametrize(
    ("emotion", "valence", "arousal"),
    [
        ("happy", +1, +1),
        ("surprised", +1, +1),
        ("angry", -1, +1),
        ("fearful", -1, +1),
        ("disgust", -1, +1),
        ("sad", -1, -1),
        ("calm", +1, -1),
    ],
)
def test_emotions_lie_in_their_quadrant(emotion, valence, arousal):
    found_valence, found_arousal = VALENCE_AROUSAL[emotion]
    assert found_valence * valence > 0
    assert found_arousal * arousal > 0
