"""What a session amounted to, from the messages that it wrote."""

import json
import math
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from sys import intern
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bundle.errors import InputError
from bundle.features import NS_PER_S
from edge.message import STANDSTILL_NS, STEP_NS, Message

STEP_S = STEP_NS / NS_PER_S

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
    states, sources, loads : they cover the session, but for where the run stood still (`held_ns`).
    outages : what was missing, and why, in order of time.
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
    said, labels, last, cut_off = _read(lines, name)
    if last is None:
        raise InputError(f"{name} holds no message; expected what edge-run --output wrote. Record a session first.")
    times_s = np.array([(each.captured_ns - said[0].captured_ns) / NS_PER_S for each in said])
    probabilities = np.full((len(said), len(labels)), np.nan, np.float32)
    for row, each in zip(probabilities, said, strict=True):
        if each.probabilities:
            row[:] = each.probabilities
    return SessionLog(
        name=name,
        bundle=last["bundle"],
        engine=last["engine"],
        times_s=times_s,
        ages_ms=np.array([each.age_ms for each in said], np.float64),
        labels=labels,
        probabilities=probabilities,
        states=_spans(said, times_s, lambda each: each.state),
        sources=_spans(said, times_s, lambda each: each.source),
        loads=_spans(said, times_s, lambda each: each.load),
        outages=sorted(_outages(said, times_s), key=lambda span: span.start_s),
        dropped_images=last["dropped"]["images"],
        dropped_audio_s=last["dropped"]["audio"] / 16_000,
        dropped_updates=last["dropped"]["updates"],
        cut_off=cut_off,
    )


class _Said(NamedTuple):
    """What is told of one message: a tenth of its size, as a day has 432,000 of them."""

    captured_ns: int
    age_ms: float | None
    state: str
    reason: str
    source: str
    face: str
    voice: str
    camera: str
    microphone: str
    load: str
    probabilities: Sequence[float]


def _read(lines: Iterator[str], name: str) -> tuple[list[_Said], tuple[str, ...], Message | None, bool]:
    """What is told of each message; the labels; the last message; whether a last line was left out as it is cut off."""
    said: list[_Said] = []
    labels: tuple[str, ...] = ()
    last: Message | None = None
    for number, line in enumerate(lines, 1):
        try:
            message = json.loads(line)
            _check(message)
            if last and (message["captured_ns"] < last["captured_ns"] or message["seq"] <= last["seq"]):
                raise ValueError("no later than the one before: of another session")
            labels = labels or tuple(message["probabilities"] or ())
            said.append(_said(message, labels))
        except (ValueError, LookupError, TypeError, OverflowError, RecursionError) as error:
            if not line.endswith("\n"):
                return said, labels, last, True
            raise InputError(
                f"{name}, line {number} is no message ({type(error).__name__}: {error}); expected what edge-run "
                "--output wrote. Remove the line, or take another file."
            ) from error
        last = message
    return said, labels, last, False


def _said(message: Message, labels: Sequence[str]) -> _Said:
    probabilities, health = message["probabilities"], message["health"]
    return _Said(
        message["captured_ns"], message["age_ms"], intern(message["state"]), intern(message["reason"]),
        intern(message["source"]), intern(message["face"]), intern(message["voice"]),
        intern(health["camera"]), intern(health["microphone"]), intern(health["load"]),
        array("f", [probabilities.get(label, np.nan) for label in labels] if probabilities else []),
    )  # fmt: skip


def _check(message: Any) -> None:
    """ValueError, LookupError or TypeError unless all that is read here is there."""
    texts = [message[field] for field in ("state", "reason", "source", "face", "voice", "bundle", "engine")]
    texts += [message["health"][field] for field in ("camera", "microphone", "load")]
    dropped, probabilities = message["dropped"], message["probabilities"] or {}
    numbers = [
        message["captured_ns"],
        message["seq"],
        message["age_ms"] or 0,
        *(dropped[what] for what in ("images", "audio", "updates")),
    ]
    numbers += [probabilities[label] for label in probabilities]
    wrong = not all(isinstance(text, str) for text in texts) or not all(isinstance(n, int | float) for n in numbers)
    if wrong or not isinstance(probabilities, dict):
        raise TypeError("a value of the wrong type")
    if not all(map(math.isfinite, numbers)):
        raise ValueError("a number that is not finite")


def _spans(said: Sequence[_Said], times_s: npt.NDArray[np.float64], value_of: Callable[[_Said], str]) -> list[Span]:
    values = [value_of(each) for each in said]
    stood_still = np.diff(times_s, prepend=0.0) > STANDSTILL_NS / NS_PER_S
    begins = [0] + [i for i in range(1, len(values)) if values[i] != values[i - 1] or stood_still[i]]
    ends_s = [float(times_s[i - 1]) + STEP_S if stood_still[i] else float(times_s[i]) for i in begins[1:]]
    ends_s.append(float(times_s[-1]) + STEP_S)
    return [Span(values[i], float(times_s[i]), end_s, said[i].reason) for i, end_s in zip(begins, ends_s, strict=True)]


def _outages(said: Sequence[_Said], times_s: npt.NDArray[np.float64]) -> Iterator[Span]:
    """What was missing for a second or longer: all data, the face, the sound, a device, or messages themselves."""
    missing = {
        "face": ("no face", {"lost": "not found", "dark": "too dark", "no image": "no image from the camera"}),
        "voice": ("no sound", {"lost": "no sound from the microphone"}),
        "source": ("nothing to go by", {"none": ""}),
    }
    for field, (what, reasons) in missing.items():
        for span in _spans(said, times_s, attrgetter(field)):
            if span.value in reasons and span.length_s >= OUTAGE_S:
                yield Span(what, span.start_s, span.end_s, reasons[span.value] or span.reason.removeprefix("held: "))
    for device in ("camera", "microphone"):
        for span in _spans(said, times_s, attrgetter(device)):
            if span.value not in ("ok", "off") and span.length_s >= OUTAGE_S:
                yield Span(f"{device} not well", span.start_s, span.end_s, span.value)
    for i in np.flatnonzero(np.diff(times_s) >= OUTAGE_S):
        begin_s, end_s = float(times_s[i]) + STEP_S, float(times_s[i + 1])
        yield Span("no messages", begin_s, end_s, "the run stood still, or its lines were left out")
