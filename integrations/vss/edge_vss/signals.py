"""Signals of the overlay emotion.vspec from one message; docs/message.md is the message's reference."""

import re
from collections.abc import Mapping
from contextlib import suppress

Signals = Mapping[str, bool | float | str | None]
"""Value of each signal of the overlay by its path, in the order of writing; None: not available."""

BRANCH = "Vehicle.Driver.Emotion"
EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
WORDS = {
    "state": {"calm", "joyful", "startled", "agitated", "low", "unknown", "other"},
    "source": {"audio+video", "video", "audio", "none"},
    "face": {"ok", "lost", "dark", "no image", "off"},
    "voice": {"speech", "silent", "lost", "off"},
}


class MalformedError(ValueError):
    """Says what is wrong with a message, without its values: the same text for the same kind of fault."""


def signals_from_message(message: object) -> Signals:
    """Signals of one message; MalformedError if it is none."""
    probabilities = _field(message, "probabilities") or {}
    if not isinstance(probabilities, dict) or not probabilities.keys() <= set(EMOTIONS):
        raise MalformedError(f"probabilities are not an object with keys among {', '.join(EMOTIONS)}")
    return _signals(
        is_available=True,
        state=_word(message, "state"),
        confidence=_percent(_number(message, "confidence", 0, 1)),
        valence=_number(message, "valence", -1, 1),
        arousal=_number(message, "arousal", -1, 1),
        probabilities={emotion: _percent(_number(probabilities, emotion, 0, 1)) for emotion in probabilities},
        source=_word(message, "source"),
        face=_word(message, "face"),
        voice=_word(message, "voice"),
        latency=_number(message, "age_ms", float("-inf"), float("inf")),
    )


def _signals(
    is_available: bool = False,
    state: str = "UNKNOWN",
    confidence: float | None = None,
    valence: float | None = None,
    arousal: float | None = None,
    probabilities: Mapping[str, float | None] = {},
    source: str = "NONE",
    face: str = "UNKNOWN",
    voice: str = "UNKNOWN",
    latency: float | None = None,
) -> Signals:
    """Details come first: whoever is told of a new state finds the details that belong to it."""
    values = {f"Probability.{emotion.capitalize()}": probabilities.get(emotion) for emotion in EMOTIONS} | {
        "Valence": valence,
        "Arousal": arousal,
        "Source": source,
        "Face": face,
        "Voice": voice,
        "Latency": latency,
        "Confidence": confidence,
        "State": state,
        "IsAvailable": is_available,
    }
    return {f"{BRANCH}.{name}": value for name, value in values.items()}


UNAVAILABLE = _signals()
"""What the databroker is told when no message comes any more: nothing that could be taken for the driver's state."""


def _field(message: object, name: str) -> object:
    if not isinstance(message, dict):
        raise MalformedError("not a JSON object")
    if name not in message:
        raise MalformedError(f"no {name} in it")
    return message[name]


def _word(message: object, name: str) -> str:
    """A word of the message as VSS writes them: `NO_IMAGE` of `no image`."""
    word = _field(message, name)
    if not isinstance(word, str) or word not in WORDS[name]:
        raise MalformedError(f"{name} is none of {', '.join(sorted(WORDS[name]))}")
    return re.sub(r"\W", "_", word).upper()


def _number(message: object, name: str, low: float, high: float) -> float | None:
    value = _field(message, name)
    if value is None:
        return None
    with suppress(OverflowError):  # of an integer that is no float
        if not isinstance(value, bool) and isinstance(value, int | float) and low <= value <= high:
            return float(value)
    raise MalformedError(f"{name} is neither null nor a number from {low} to {high}")


def _percent(ratio: float | None) -> float | None:
    return None if ratio is None else 100 * ratio
