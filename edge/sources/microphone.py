"""Any PyAudio input at its native rate, as 16-kHz mono chunks; reopened whenever it falls silent."""

import re
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bundle.errors import InputError
from bundle.features import NS_PER_S
from edge.clock import now_ns
from edge.message import MicrophoneHealth
from edge.portaudio import inputs_of
from edge.watch import SILENT_NS, SoundWatch
from perception.chunks import AudioChunk
from perception.quiet import native_stderr_silenced
from perception.timeline import AudioTimeline

BLOCKS_PER_S = 50
"""One callback every 20 ms."""

QUEUED_BLOCKS = 4 * BLOCKS_PER_S
"""One emotion window: older audio could not change the state any more."""

SERVER_CHANNELS = 32
"""An input with so many is a sound server's (PulseAudio 32, PipeWire 64), which mixes to any number."""

LOOK_S = 0.25
SILENT_LOOKS = 4
"""An input that was silent at so many looks, for 1 s, is lost. PortAudio never tells: callbacks just stop."""

OPEN_TIMEOUT_S = 2.0
CLOSE_TIMEOUT_S = 1.0

REOPEN_S = 1.0
REOPEN_OFTEN, REOPEN_SELDOM = 30, 30
"""An input that is lost is tried so many times in succession, then at each 30th second, or once sound cards come or go:
an attempt costs some 13 kB, which PortAudio keeps."""

SOUND_CARDS = Path("/proc/asound/cards")

MUTE_REOPEN_S = 5.0
"""Digital silence for so long: drivers are known that give nothing else after a glitch, until they are reopened."""

MUTE_REOPEN_AGAIN_S = 60.0

MAX_AGE_S = 1.0
"""Of a block, as PortAudio tells it; its clock may be the wall clock, and be set between its two readings."""


class Input(Protocol):
    """An opened input that calls `on_block(interleaved int16 samples, age in s)` from a thread of its own."""

    name: str
    rate_hz: int
    channels: int

    def close(self) -> None: ...


OnBlock = Callable[[bytes, float], None]
OpenInput = Callable[[str | int, int | None, OnBlock], Input]


class Microphone:
    """16-kHz mono int16 from any PyAudio input.

    PortAudio's callback copies and enqueues; `take` mixes and resamples. A thread notices when nothing comes
    any more (input unplugged, sound server gone or hanging) and reopens the input until it is back. Digital silence
    is told by `health`, and the input is reopened once after 5 s of it, then every 60 s.

    Parameters
    ----------
    device : "default"; a name or a part of one, in any case; or an index. Digits are an index. A full name is also that
        of the only input that differs in ALSA's number of the card; of two alike, one may be taken for the other.
    channel : the one to use, from 0; None for the mean of all. A sound server maps channels as it likes: to
        choose from more than two, name the ALSA hw device.
    wake : called from the device's threads when there are new samples, and when the input is lost.
    open_input : opens the device, or raises InputError; None for PyAudio.

    Raises
    ------
    InputError : no input or several inputs answer to the name, the channel does not exist, or the input
        cannot be opened or delivers nothing for 2 s.
    """

    def __init__(
        self,
        device: str | int = "default",
        *,
        channel: int | None = None,
        wake: Callable[[], None] = lambda: None,
        open_input: OpenInput | None = None,
    ) -> None:
        self._channel, self._wake, self._open = channel, wake, open_input or PortAudioInput
        self._stream = _Stream(self._open, device, channel, wake)
        self._watch_sound = SoundWatch()
        # Plugged in again, an input may have another index.
        self._device = device if isinstance(device, str) and not device.isdecimal() else self._stream.name
        self._connected = True
        self._closing = threading.Event()
        self._watchdog = threading.Thread(target=self._watch, name="microphone", daemon=True)
        self._watchdog.start()

    def take(self) -> list[AudioChunk]:
        """What was captured since the last call, but for 60 ms at most that callback and resampler hold back.

        Chunks abut. Where samples were lost, captured_ns jumps by what is missing; it never runs back.
        """
        chunks = self._stream.take()
        for chunk in chunks:
            self._watch_sound.update(chunk.samples, chunk.captured_ns)
        return chunks

    @property
    def dropped(self) -> int:
        """Samples at 16 kHz that were lost while the input was connected."""
        return self._stream.timeline.lost_samples

    @property
    def rate_hz(self) -> int:
        """The input's native rate, as it claims."""
        return self._stream.rate_hz

    @property
    def connected(self) -> bool:
        """False from the loss of the input until samples come again."""
        return self._connected

    @property
    def health(self) -> MicrophoneHealth:
        """As docs/message.md says."""
        if not self._connected:
            return "lost"
        if self._stream.has_other_rate:
            return "wrong rate"
        return "silent" if self._watch_sound.silent_ns >= SILENT_NS else "ok"

    def close(self) -> None:
        """Returns within 2 s, even if the sound server hangs."""
        self._closing.set()
        self._watchdog.join(CLOSE_TIMEOUT_S)
        self._stream.close()

    def __enter__(self) -> "Microphone":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _watch(self) -> None:
        silent_looks, mute_until_ns = 0, round(MUTE_REOPEN_S * NS_PER_S)
        while not self._closing.wait(LOOK_S):
            silent_looks = 0 if self._stream.heard.is_set() else silent_looks + 1
            self._stream.heard.clear()
            mute_ns = self._watch_sound.silent_ns
            if mute_ns < SILENT_NS:
                mute_until_ns = round(MUTE_REOPEN_S * NS_PER_S)
            if silent_looks == SILENT_LOOKS or mute_ns >= mute_until_ns:
                self._connected = False
                self._wake()
                self._stream.close()
                self._reopen(wait_s=0.0 if mute_ns >= mute_until_ns else REOPEN_S)
                mute_until_ns = mute_ns + round(MUTE_REOPEN_AGAIN_S * NS_PER_S)

    def _reopen(self, wait_s: float) -> None:
        cards, seconds = _sound_cards(), 0
        while not self._closing.wait(wait_s):
            wait_s, seconds = REOPEN_S, seconds + 1
            if _sound_cards() != cards:
                cards, seconds = _sound_cards(), 1
            if seconds > REOPEN_OFTEN and seconds % REOPEN_SELDOM:
                continue
            with suppress(Exception):  # whatever PyAudio and the system say; it is still lost, as `connected` says
                stream = _Stream(self._open, self._device, self._channel, self._wake, self.dropped)
                if self._closing.is_set():  # since the sound server let go of us
                    stream.close()
                else:
                    self._stream, self._connected = stream, True
                return


class _Stream:
    """An opened input that delivers; the constructor waits for its first block."""

    def __init__(
        self,
        open_input: OpenInput,
        device: str | int,
        channel: int | None,
        wake: Callable[[], None],
        lost_samples: int = 0,
    ) -> None:
        self.heard = threading.Event()
        self._channel, self._wake = channel, wake
        self._blocks: deque[tuple[bytes, int]] = deque(maxlen=QUEUED_BLOCKS)  # the timeline sees a gap, and counts it
        self._input = open_input(device, channel, self._on_block)
        self.name, self.rate_hz = self._input.name, self._input.rate_hz
        self.timeline = AudioTimeline(self.rate_hz, lost_samples)
        if not self.heard.wait(OPEN_TIMEOUT_S):
            self.close()
            raise InputError(
                f"microphone {self.name!r}, opened with {self._input.channels} channels at {self.rate_hz} Hz, "
                f"delivers nothing; expected samples within {OPEN_TIMEOUT_S:.0f} s. "
                "Resume it if it is suspended, or choose another one (edge-run --list-devices)."
            )

    def take(self) -> list[AudioChunk]:
        chunks = []
        with suppress(IndexError):  # the queue is empty
            while True:
                data, captured_ns = self._blocks.popleft()
                samples = mono_from_bytes(data, self._input.channels, self._channel)
                chunks += self.timeline.push(samples, captured_ns)
        return chunks

    @property
    def has_other_rate(self) -> bool:
        """Whether the input has another rate than it claims."""
        return self.timeline.rate_hz != self.rate_hz

    def close(self) -> None:
        self._input.close()

    def _on_block(self, data: bytes, age_s: float) -> None:
        self._blocks.append((data, now_ns() - round(min(max(age_s, 0.0), MAX_AGE_S) * NS_PER_S)))
        self.heard.set()
        self._wake()


class PortAudioInput:
    """An input of PortAudio's, opened at its native rate."""

    def __init__(self, device: str | int, channel: int | None, on_block: OnBlock) -> None:
        import pyaudio

        self._on_block = on_block
        self._go_on = None, pyaudio.paContinue
        self._closed = False
        # Only a new PyAudio sees inputs that came and went.
        with native_stderr_silenced():  # ALSA and JACK print a page about devices that nobody asked for
            self._audio = pyaudio.PyAudio()
        try:
            info = _input_from_name(self._audio, device)
            self.name: str = info["name"]
            self.channels = _channels_to_open(info, channel)
            self.rate_hz = round(info["defaultSampleRate"])
            self._open(info["index"])
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """PortAudio does not return while a sound server hangs: then a thread is left behind."""
        if not self._closed:
            self._closed = True
            closer = threading.Thread(target=self._audio.terminate, name="microphone closing", daemon=True)
            closer.start()
            closer.join(CLOSE_TIMEOUT_S)

    def _open(self, index: int) -> None:
        import pyaudio

        try:
            self._audio.open(
                rate=self.rate_hz,
                channels=self.channels,
                format=pyaudio.paInt16,
                input=True,
                input_device_index=index,
                frames_per_buffer=self.rate_hz // BLOCKS_PER_S,
                stream_callback=self._on_samples,
            )
        except (OSError, ValueError) as error:
            raise InputError(
                f"microphone {self.name!r}, opened with {self.channels} channels at {self.rate_hz} Hz, answers: "
                f"{error}; expected a free input. Close what else uses it, or choose another one "
                "(edge-run --list-devices)."
            ) from error

    def _on_samples(self, data: bytes, _n: int, times_s: Mapping[str, float], _flags: int) -> tuple[None, int]:
        self._on_block(data, times_s["current_time"] - times_s["input_buffer_adc_time"])
        return self._go_on


def _sound_cards() -> str:
    """ALSA's list of them; none where there is no ALSA."""
    try:
        return SOUND_CARDS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def mono_from_bytes(data: bytes, channels: int, channel: int | None) -> npt.NDArray[np.int16]:
    """One channel of interleaved int16 samples, or the mean of all where `channel` is None."""
    frames = np.frombuffer(data, np.int16).reshape(-1, channels)
    if channel is None:
        return np.rint(frames.mean(axis=1, dtype=np.float32)).astype(np.int16)
    return np.ascontiguousarray(frames[:, channel])


def _input_from_name(audio: Any, device: str | int) -> Any:
    """PortAudio's description, a dict, of the one input that is meant."""
    inputs = inputs_of(audio)
    wanted = str(device).casefold()
    if device == "default":
        with suppress(OSError):  # there is none
            wanted = str(audio.get_default_input_device_info()["index"])
    if wanted.isdecimal():
        found = [info for info in inputs if info["index"] == int(wanted)]
    else:
        found = [info for info in inputs if info["name"].casefold() == wanted]
        found = found or [info for info in inputs if wanted in info["name"].casefold()]
        found = found or [info for info in inputs if _without_card(info["name"]) == _without_card(str(device))]
    if len(found) == 1:
        return found[0]
    matches = "several inputs" if found else "no input"
    if not inputs:
        raise InputError(
            f"microphone {device!r} is not there, nor any other. Connect one, join the group audio, or go without: "
            "--no-microphone."
        )
    present = ", ".join(f"{info['index']}: {info['name']}" for info in found or inputs)
    raise InputError(
        f"microphone {device!r} is {matches}; expected one of: {present}. Give its index or its full name."
    )


def _without_card(name: str) -> str:
    """A name without ALSA's number of the card, which may be another after a start or when it is plugged in again."""
    return re.sub(r"\(hw:\d+", "(hw:", name.casefold())


def _channels_to_open(info: Mapping[str, Any], channel: int | None) -> int:
    offered: int = info["maxInputChannels"]
    if channel is not None and not 0 <= channel < offered:
        raise InputError(
            f"channel is {channel}; microphone {info['name']!r} has {offered}, expected 0..{offered - 1}. "
            "Give one of these, or none for the mean of all."
        )
    return offered if offered < SERVER_CHANNELS else max(2, (channel or 0) + 1)
