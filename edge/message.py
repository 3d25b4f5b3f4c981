"""The message: one JSON object per update. docs/message.md is its reference, docs/message.schema.json its schema."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from perception.chunks import EmotionState

Message = Mapping[str, Any]


@dataclass(frozen=True)
class Dropped:
    """Counts since the start of what was captured but never perceived: images, and audio samples at 16 kHz."""

    images: int = 0
    audio: int = 0


def message_from_state(
    seq: int, state: EmotionState, emitted_ns: int, dropped: Dropped, bundle: str, engine: str
) -> Message:
    """The message of one update."""
    estimate = state.estimate
    age_ns = None if estimate.newest_ns is None else emitted_ns - estimate.newest_ns
    return {
        "seq": seq,
        "captured_ns": estimate.captured_ns,
        "emitted_ns": emitted_ns,
        "age_ms": None if age_ns is None else round(age_ns / 1e6, 3),
        "state": state.state,
        "since_s": round((estimate.captured_ns - state.since_ns) / 1e9, 3),
        "reason": state.reason,
        "emotion": state.emotion,
        "confidence": _rounded(state.confidence),
        "probabilities": state.probabilities and {label: _rounded(p) for label, p in state.probabilities.items()},
        "valence": _rounded(state.valence),
        "arousal": _rounded(state.arousal),
        "source": estimate.source,
        "face": estimate.face,
        "voice": estimate.voice,
        "dropped": {"images": dropped.images, "audio": dropped.audio},
        "bundle": bundle,
        "engine": engine,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
