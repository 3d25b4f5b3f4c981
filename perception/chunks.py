"""The values that flow through the runtime. All are immutable; all times are nanoseconds of one monotonic clock."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Source = Literal["audio+video", "video", "audio", "none"]
FaceStatus = Literal["ok", "lost", "dark", "no image", "off"]
VoiceStatus = Literal["speech", "silent", "lost", "off"]


@dataclass(frozen=True)
class AudioChunk:
    """Consecutive microphone samples.

    samples : int16 ndarray [shape=(n,)], 16 kHz, mono.
    captured_ns : time of the first sample.
    """

    samples: npt.NDArray[np.int16]
    captured_ns: int

    def end_ns(self, sample_rate_hz: int = 16_000) -> int:
        """Time just after the last sample."""
        return self.captured_ns + len(self.samples) * 1_000_000_000 // sample_rate_hz


@dataclass(frozen=True)
class VideoChunk:
    """One camera image.

    image : uint8 RGB, (H, W, 3), 0..255, upright.
    captured_ns : start of exposure, or the nearest that the camera tells.
    """

    image: npt.NDArray[np.uint8]
    captured_ns: int


@dataclass(frozen=True)
class Embedding:
    """What an encoder made of one chunk.

    vector : float32 ndarray [shape=(width,)].
    captured_ns : time of the newest sample that it saw.
    """

    vector: npt.NDArray[np.float32]
    captured_ns: int


@dataclass(frozen=True)
class Observation:
    """What one window holds, before the head judges it.

    captured_ns : end of the window. newest_ns : time of the newest sample used, None where nothing counts.
    source : the modalities that count. reason : why none does.
    visual, audio : float32 ndarray [shape=(slots, width)], embeddings, newest last; visual_mask, audio_mask :
        float32 ndarray [shape=(slots,)], 1 where there is one.
    """

    captured_ns: int
    newest_ns: int | None
    source: Source
    reason: str
    face: FaceStatus
    voice: VoiceStatus
    visual: npt.NDArray[np.float32]
    visual_mask: npt.NDArray[np.float32]
    audio: npt.NDArray[np.float32]
    audio_mask: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Estimate:
    """What one window says.

    captured_ns : end of the window. newest_ns : time of the newest sample used, None where nothing was.
    probs : float32 ndarray [shape=(labels,)], sums to 1; None with source "none". reason : why there are none.
    """

    captured_ns: int
    newest_ns: int | None
    probs: npt.NDArray[np.float32] | None
    source: Source
    reason: str
    face: FaceStatus
    voice: VoiceStatus


@dataclass(frozen=True)
class EmotionState:
    """The driver's state after one update; docs/message.md specifies each field."""

    state: str
    since_ns: int
    reason: str
    emotion: str | None
    confidence: float | None
    probabilities: Mapping[str, float] | None
    valence: float | None
    arousal: float | None
    estimate: Estimate
