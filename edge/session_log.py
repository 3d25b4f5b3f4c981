"""What a session amounted to, from the messages that it wrote."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bundle.errors import InputError
from bundle.features import NS_PER_S
from edge.message import Message

STEP_S = 0.2
"""How long the last message is taken to hold: until the next would have come."""

OUTAGE_S = 1.0
"""What was missing for less is not listed."""


@dataclass(frozen=True)
class Span:
    """Messages in a row that say the same; times in seconds since the start of the session."""

    value: str
    start_s: float
    end_s: float
    reason: str

    @property
    def length_s(self) -> float:
        return self.end_s - self.start_s


@dataclass(frozen=True)
class SessionLog:
    """All that the page tells.

    times_s, ages_ms : float64 ndarrays [shape=(messages,)], since the start; NaN where nothing was used.
    probabilities : float32 ndarray [shape=(messages, labels)], NaN where there are none.
    states, sources, loads : they cover the session without gaps. outages : what was missing, and why, in order of time.
    """

    name: str
    bundle: str
    engine: str
    times_s: npt.NDArray[np.float64]
    ages_ms: npt.NDArray[np.float64]
    labels: tuple[str, ...]
    probabilities: npt.NDArray[np.float32]
    states: list[Span]
    sources: list[Span]
    loads: list[Span]
    outages: list[Span]
    dropped_images: int
    dropped_audio_s: float
    dropped_updates: int
    cut_off: bool

    @property
    def length_s(self) -> float:
        return float(self.times_s[-1]) + STEP_S


def session_from_lines(lines: Iterator[str], name: str) -> SessionLog:
    """The session that `edge-run --output` wrote.

    Raises
    ------
    InputError : there is no message, or a line is none; the last one may be cut off, as by a power failure.
    """
    messages, cut_off = _messages(lines, name)
    if not messages:
        raise InputError(f"{name} holds no message; expected what edge-run --output wrote. Record a session first.")
    start_ns = messages[0]["captured_ns"]
    times_s = np.array([(message["captured_ns"] - start_ns) / NS_PER_S for message in messages])
    labels = next((tuple(m["probabilities"]) for m in messages if m["probabilities"]), ())
    probabilities = [[(m["probabilities"] or {}).get(label, np.nan) for label in labels] for m in messages]
    last = messages[-1]
    return SessionLog(
        name=name,
        bundle=last["bundle"],
        engine=last["engine"],
        times_s=times_s,
        ages_ms=np.array([message["age_ms"] for message in messages], np.float64),
        labels=labels,
        probabilities=np.array(probabilities, np.float32).reshape(len(messages), len(labels)),
        states=_spans(messages, times_s, lambda message: message["state"]),
        sources=_spans(messages, times_s, lambda message: message["source"]),
        loads=_spans(messages, times_s, lambda message: message["health"]["load"]),
        outages=sorted(_outages(messages, times_s), key=lambda span: span.start_s),
        dropped_images=last["dropped"]["images"],
        dropped_audio_s=last["dropped"]["audio"] / 16_000,
        dropped_updates=last["dropped"]["updates"],
        cut_off=cut_off,
    )


def _messages(lines: Iterator[str], name: str) -> tuple[list[Message], bool]:
    """The messages, and whether the last line was left out since it is cut off."""
    messages: list[Message] = []
    for number, line in enumerate(lines, 1):
        try:
            message = json.loads(line)
            _check(message)
            if messages and message["captured_ns"] < messages[-1]["captured_ns"]:
                raise ValueError("earlier than the one before: of another session")
        except (ValueError, LookupError, TypeError) as error:
            if not line.endswith("\n"):
                return messages, True
            raise InputError(
                f"{name}, line {number} is no message ({type(error).__name__}: {error}); expected what edge-run "
                "--output wrote. Remove the line, or take another file."
            ) from error
        messages.append(message)
    return messages, False


def _check(message: Any) -> None:
    """ValueError, LookupError or TypeError unless all that is read here is there."""
    texts = [message[field] for field in ("state", "reason", "source", "face", "voice", "bundle", "engine")]
    texts += [message["health"][field] for field in ("camera", "microphone", "load")]
    dropped, probabilities = message["dropped"], message["probabilities"] or {}
    numbers = [
        message["captured_ns"],
        message["age_ms"] or 0,
        *(dropped[what] for what in ("images", "audio", "updates")),
    ]
    numbers += [probabilities[label] for label in probabilities]
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(n, int | float) for n in numbers):
        raise TypeError("a value of the wrong type")


def _spans(
    messages: Sequence[Message], times_s: npt.NDArray[np.float64], value_of: Callable[[Message], str]
) -> list[Span]:
    values = [value_of(message) for message in messages]
    begins = [0] + [i for i in range(1, len(values)) if values[i] != values[i - 1]]
    ends_s = [float(times_s[i]) for i in begins[1:]] + [float(times_s[-1]) + STEP_S]
    return [
        Span(values[i], float(times_s[i]), end_s, messages[i]["reason"])
        for i, end_s in zip(begins, ends_s, strict=True)
    ]


def _outages(messages: Sequence[Message], times_s: npt.NDArray[np.float64]) -> Iterator[Span]:
    """What was missing for a second or longer: all data, the face, the sound, a device, or messages themselves."""
    missing = {
        "face": ("no face", {"lost": "not found", "dark": "too dark", "no image": "no image from the camera"}),
        "voice": ("no sound", {"lost": "no sound from the microphone"}),
        "source": ("nothing to go by", {"none": ""}),
    }
    for field, (what, reasons) in missing.items():
        for span in _spans(messages, times_s, lambda message, field=field: message[field]):  # type: ignore[misc]
            if span.value in reasons and span.length_s >= OUTAGE_S:
                yield Span(what, span.start_s, span.end_s, reasons[span.value] or span.reason.removeprefix("held: "))
    for device in ("camera", "microphone"):
        for span in _spans(messages, times_s, lambda message, device=device: message["health"][device]):  # type: ignore[misc]
            if span.value not in ("ok", "off") and span.length_s >= OUTAGE_S:
                yield Span(f"{device} not well", span.start_s, span.end_s, span.value)
    for i in np.flatnonzero(np.diff(times_s) >= OUTAGE_S):
        yield Span("no messages", float(times_s[i]) + STEP_S, float(times_s[i + 1]), "the run stood still")
