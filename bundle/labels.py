"""Emotion labels of the corpora, the driver states they map to, and their place on the emotion wheel."""

import math
from collections.abc import Mapping, Sequence

RAVDESS_LABELS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
"""Livingstone & Russo 2018: emotion codes 01 to 08 of the file names, in this order."""

CREMA_D_LABELS = ("angry", "disgust", "fearful", "happy", "neutral", "sad")
"""Cao et al. 2014: ANG, DIS, FEA, HAP, NEU, SAD."""

FER2013_LABELS = ("angry", "disgust", "fearful", "happy", "neutral", "sad", "surprised")
"""Goodfellow et al. 2015: classes 0 to 6, under the names that RAVDESS uses."""

STATES = ("calm", "joyful", "startled", "agitated", "low", "unknown")

STATE_OF_EMOTION: Mapping[str, str] = {
    "neutral": "calm",
    "calm": "calm",
    "happy": "joyful",
    "surprised": "startled",
    "angry": "agitated",
    "fearful": "agitated",
    "disgust": "agitated",
    "sad": "low",
}


def _on_the_circle(degrees: float) -> tuple[float, float]:
    return math.cos(math.radians(degrees)), math.sin(math.radians(degrees))


VALENCE_AROUSAL: Mapping[str, tuple[float, float]] = {
    "neutral": (0.0, 0.0),
    "happy": _on_the_circle(7.8),
    "surprised": _on_the_circle(69.8),  # "astonished"
    "angry": _on_the_circle(99.0),
    "fearful": _on_the_circle(116.5),  # "afraid"
    "disgust": _on_the_circle(138.0),  # not in the study; placed at its nearest word, "distressed"
    "sad": _on_the_circle(207.5),
    "calm": _on_the_circle(316.2),
}
"""(valence, arousal) on the unit circle, -1..1 each.

Angles: J. A. Russell, "A circumplex model of affect", J. Pers. Soc. Psychol. 39(6), 1980, direct circular scaling.
Neutral is the centre, as in Mocanu et al. 2023, Fig. 4a, whose wheel has the same signs of valence.
"""


def state_indices(labels: Sequence[str]) -> dict[str, list[int]]:
    """Positions in `labels` of the emotions of each driver state; a state without emotions is left out."""
    indices: dict[str, list[int]] = {}
    for position, label in enumerate(labels):
        indices.setdefault(STATE_OF_EMOTION[label], []).append(position)
    return indices
