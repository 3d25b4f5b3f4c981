"""Feature definitions: how sound and images become network input, and how long a window is.

Every number that training, calibration and the runtime must share is here, travels in the manifest, and is read
back from it: a network never meets features that differ from those it was trained on.
"""

from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any

from bundle.errors import ArgumentError

FACE = "face"
SPECTROGRAM = "spectrogram"
EMBEDDING = "embedding"
VISUAL_EMBEDDINGS = "visual_embeddings"
VISUAL_MASK = "visual_mask"
AUDIO_EMBEDDINGS = "audio_embeddings"
AUDIO_MASK = "audio_mask"
PROBS_FUSED = "probs_fused"
PROBS_VISUAL = "probs_visual"
PROBS_AUDIO = "probs_audio"
PROBS = (PROBS_FUSED, PROBS_VISUAL, PROBS_AUDIO)
"""Tensor names, the same in PyTorch export, ONNX, engines and the manifest."""

NS_PER_S = 1_000_000_000


def _check_types(spec: Any) -> None:
    """ArgumentError where a field is of another type than its default: a text times a billion would fill the memory."""
    for field in fields(spec):
        value, kind = getattr(spec, field.name), type(field.default)
        expected = {int: Integral, float: Real}.get(kind, kind)  # NumPy's numbers too
        if isinstance(value, bool) or not isinstance(value, expected):
            raise ArgumentError(f"{field.name} is of type {type(value).__name__}; expected {kind.__name__}.")


@dataclass(frozen=True)
class AudioSpec:
    """Log-mel segments of high-passed, causally standardised speech.

    Defaults: the 64 mels, 50..8000 Hz of PANNs (Kong et al. 2020), 1-s segments every 0.2 s of MRPN (Chang & Skarbek
    2021, 4.4). The wave is standardised by the mean and standard deviation of the last `statistics_s` seconds up to
    the segment's end; the deviation is floored at `std_floor`. What lies below `highpass_hz` is left out before that:
    in a driving car it holds nine tenths of the power, and would hide the speech from the standardisation.
    """

    sample_rate_hz: int = 16_000
    highpass_hz: float = 200.0  # 0: none
    segment_s: float = 1.0
    step_s: float = 0.2
    n_fft: int = 512
    hop_length: int = 160
    window: str = "hann"
    output: str = "logmel"
    n_mels: int = 64
    fmin_hz: float = 50.0
    fmax_hz: float = 8_000.0
    statistics_s: float = 10.0
    std_floor: float = 33.0  # int16 units: -60 dBFS, a quiet microphone's own noise
    power_floor: float = 1e-3  # of standardised power, before the logarithm

    def __post_init__(self) -> None:
        _check_types(self)
        hop, step, segment = self.hop_length, self.step_samples, self.segment_samples
        statistics = self.statistics_samples
        if not 0 < hop <= step <= segment or step % hop or segment % step or statistics % step:
            raise ArgumentError(
                f"hop {hop}, step {step}, segment {segment}, statistics {statistics} samples do not nest; "
                "expected hop to divide step, and step to divide segment and statistics."
            )

    @property
    def segment_samples(self) -> int:
        return round(self.segment_s * self.sample_rate_hz)

    @property
    def step_samples(self) -> int:
        return round(self.step_s * self.sample_rate_hz)

    @property
    def statistics_samples(self) -> int:
        return round(self.statistics_s * self.sample_rate_hz)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, bins, columns) of one segment."""
        bins = self.n_mels if self.output == "logmel" else self.n_fft // 2
        return 1, bins, self.segment_samples // self.hop_length

    def stream_options(self) -> dict[str, Any]:
        """Arguments of `kernels.SpectrogramStream`."""
        return {
            "sample_rate": self.sample_rate_hz,
            "n_fft": self.n_fft,
            "hop_length": self.hop_length,
            "segment": self.segment_samples,
            "step": self.step_samples,
            "window": self.window,
            "output": self.output,
            "n_mels": self.n_mels,
            "fmin": self.fmin_hz,
            "fmax": self.fmax_hz,
            "statistics": self.statistics_samples,
            "std_floor": self.std_floor,
            "power_floor": self.power_floor,
        }


@dataclass(frozen=True)
class VideoSpec:
    """Gray face crops, aligned by the eyes.

    The eyes' place is the median over FER2013's training images, so that a camera face is framed as those are.
    Gray, so that infrared cabins work.
    """

    size_px: int = 48
    eye_x: float = 0.32  # the left eye in the crop, as a fraction of its width; the right eye mirrors it
    eye_y: float = 0.40
    supersample: int = 2
    mean: float = 127.0
    std: float = 64.0

    def __post_init__(self) -> None:
        _check_types(self)
        if min(self.size_px, self.supersample, self.std) <= 0 or not 0 < self.eye_x < 0.5:
            raise ArgumentError(f"{self}: expected size_px, supersample and std above 0, and 0 < eye_x < 0.5.")

    @property
    def shape(self) -> tuple[int, int, int]:
        return 1, self.size_px, self.size_px


@dataclass(frozen=True)
class WindowSpec:
    """The window that the head sees, and how often it looks."""

    window_s: float = 4.0
    step_s: float = 0.2
    image_period_s: float = 0.1
    min_speech_s: float = 0.5  # less speech than this in a window: audio does not count as present
    min_face_s: float = 0.5  # likewise for images with a face

    def __post_init__(self) -> None:
        _check_types(self)
        period, step, window = self.image_period_ns, self.step_ns, round(self.window_s * NS_PER_S)
        if not 0 < period <= step <= window or step % period or window % step:
            raise ArgumentError(
                f"image period {period}, step {step}, window {window} ns do not nest; "
                "expected the period to divide the step, and the step to divide the window."
            )

    @property
    def step_ns(self) -> int:
        return round(self.step_s * NS_PER_S)

    @property
    def image_period_ns(self) -> int:
        return round(self.image_period_s * NS_PER_S)

    @property
    def image_slots(self) -> int:
        return round(self.window_s / self.image_period_s)

    def segment_slots(self, audio: AudioSpec) -> int:
        """Segments that lie wholly within the window."""
        return round((self.window_s - audio.segment_s) / audio.step_s) + 1
