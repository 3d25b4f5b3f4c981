"""The message: one JSON object per update. docs/message.md is its reference, docs/message.schema.json its schema."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

from perception.chunks import EmotionState

Message = Mapping[str, Any]

CameraHealth = Literal["ok", "lost", "frozen", "slow", "black", "off"]
MicrophoneHealth = Literal["ok", "lost", "silent", "wrong rate", "off"]
Load = Literal["normal", "reduced rate", "int8", "one modality"]


STEP_NS = 200_000_000
"""Between two updates; how long a session's last message is taken to hold."""

STANDSTILL_NS = 10_000_000_000


@dataclass(frozen=True)
class Dropped:
    """Counts since the start of what never came about: images and audio samples at 16 kHz that were captured but never
    perceived, and updates that would have been late.
    """

    images: int = 0
    audio: int = 0
    updates: int = 0


@dataclass(frozen=True)
class Health:
    """How the devices do, and what is given up under load."""

    camera: CameraHealth = "off"
    microphone: MicrophoneHealth = "off"
    load: Load = "normal"


def message_from_state(
    seq: int,
    state: EmotionState,
    emitted_ns: int,
    dropped: Dropped,
    bundle: str,
    engine: str,
    health: Health = Health(),
) -> Message:
    """The message of one update."""
    estimate = state.estimate
    age_ns = None if estimate.newest_ns is None else max(0, emitted_ns - estimate.newest_ns)  # a clip's may be ahead
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
        "dropped": asdict(dropped),
        "health": asdict(health),
        "bundle": bundle,
        "engine": engine,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def held_ns(gap_ns: int) -> int:
    """How long a message held that was followed by the next after `gap_ns`.

    A run that was silent for longer than `STANDSTILL_NS` stood still, as in a suspend, and says nothing of that time.
    """
    return gap_ns if gap_ns <= STANDSTILL_NS else STEP_NS


_Part = TypeVar("_Part", Dropped, Health)


def part_from_message(kind: type[_Part], message: Message) -> _Part:
    """A message's "dropped" or "health"; ValueError, KeyError or TypeError where it holds none."""
    document = message[kind.__name__.lower()]
    part = kind(**document)
    if any(type(value) is not type(getattr(kind(), name)) for name, value in document.items()):
        raise ValueError(f"{document} is no {kind.__name__}")
    return part
