"""Chunks to embeddings, each computed once, when its chunk arrives."""

import numpy as np
import numpy.typing as npt

from bundle.features import EMBEDDING, FACE, NS_PER_S, SPECTROGRAM, AudioSpec, VideoSpec, WindowSpec
from kernels import HighPass, SpectrogramStream, preprocess_faces
from kernels.face import LUMA
from perception.chunks import AudioChunk, Embedding, FaceStatus, VideoChunk, VoiceStatus
from perception.engine import Engine
from perception.face import Detect, DriverTracker
from perception.mount import CameraMount
from perception.tap import Tap
from perception.voice import VoiceActivity
from perception.windows import SlotWindow

STALE_NS = NS_PER_S // 2
"""A device whose newest data are older than this is lost; shorter gaps are normal jitter."""

FACE_HOLD_NS = NS_PER_S
"""A face seen this recently still counts: drivers blink, turn their heads and scratch their noses."""

DARK_LUMA = 12.0
"""Mean luma, 0..255, under which an image without a face is called dark."""

GAP_NS = 20_000_000
"""A jump in the sound's timestamps larger than this begins a new stream."""

_SAMPLE_NS = NS_PER_S // 16_000


class FaceEncoder:
    """Images to embeddings of the driver's face, one per point of the grid: the first of the images nearest to it.

    Nearest, not before it: an update waits for its newest sound anyway, and meanwhile comes an image that is younger.
    """

    def __init__(
        self,
        video: VideoSpec,
        window: WindowSpec,
        detect: Detect,
        mount: CameraMount,
        engine: Engine,
        width: int,
        start_ns: int,
        tap: Tap | None = None,
    ) -> None:
        self._video, self._window, self._engine = video, window, engine
        self._detect, self._mount, self._tap = detect, mount, tap
        self._tracker = DriverTracker()
        nearest = start_ns - window.image_period_ns // 2
        self._embeddings = SlotWindow(window.image_slots, window.image_period_ns, width, nearest)
        self._status: dict[int, FaceStatus] = {}
        self._newest_slot = -1
        self._crop(np.zeros((1, 1, 3), np.uint8), np.eye(2, 3))  # loads the kernel now, not at the first face

    def push(self, chunk: VideoChunk) -> None:
        """Encode the image if it is the first of its slot, else drop it: more images do not add information."""
        slot = self._embeddings.slot(chunk.captured_ns)
        if slot <= self._newest_slot:
            return
        self._newest_slot = slot
        image = self._mount.upright(chunk.image)
        face = self._tracker.update(self._detect(image), chunk.captured_ns)
        if self._tap:
            self._tap.see(image, face)
        if face is None:
            dark = float((image[::8, ::8] @ LUMA).mean()) < DARK_LUMA
            self._status[slot] = "dark" if dark else "lost"
            return
        self._status[slot] = "ok"  # whether or not the engine can encode it
        crop = self._crop(image, face.crop_matrix(self._video))
        vector = self._engine.run({FACE: crop})[EMBEDDING][0]
        self._embeddings.put(Embedding(vector, chunk.captured_ns))

    def window(self, end_slot: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Embeddings and mask of the window before `end_slot`, as `SlotWindow.window`."""
        return self._embeddings.window(end_slot)

    def newest_ns(self, end_slot: int) -> int | None:
        """Capture time of the newest face before `end_slot`."""
        return self._embeddings.newest_ns(end_slot)

    def status(self, end_slot: int) -> FaceStatus:
        """What the newest image before `end_slot` showed."""
        recent = end_slot - STALE_NS // self._window.image_period_ns
        self._status = {slot: status for slot, status in self._status.items() if slot >= recent}
        past = [slot for slot in self._status if slot < end_slot]
        return self._status[max(past)] if past else "no image"

    def counts(self, mask: npt.NDArray[np.float32], end_slot: int, now_ns: int) -> bool:
        """Whether the window shows enough of the driver's face, and recently enough."""
        newest_ns = self.newest_ns(end_slot)
        enough = mask.sum() >= round(self._window.min_face_s / self._window.image_period_s)
        return bool(enough) and newest_ns is not None and now_ns - newest_ns <= FACE_HOLD_NS

    def _crop(self, image: npt.NDArray[np.uint8], matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        video = self._video
        return preprocess_faces(
            image, [matrix], video.size_px, supersample=video.supersample, mean=video.mean, std=video.std
        )


class VoiceEncoder:
    """Sound to embeddings of spectrogram segments, one per step, and where in it somebody speaks."""

    def __init__(
        self,
        audio: AudioSpec,
        window: WindowSpec,
        engine: Engine,
        width: int,
        start_ns: int,
        tap: Tap | None = None,
    ) -> None:
        self._audio, self._window, self._engine, self._start_ns, self._tap = audio, window, engine, start_ns, tap
        self._high_pass = HighPass(audio.highpass_hz, audio.sample_rate_hz)
        self._high_pass.push(np.zeros(1, np.int16))  # loads the kernel now; each stream begins with a reset
        self._spectrogram = SpectrogramStream(**audio.stream_options())
        self._activity = VoiceActivity(keep_s=2 * window.window_s)
        nearest = start_ns - window.step_ns // 2  # segments end on the grid, but for rounding
        self._embeddings = SlotWindow(window.segment_slots(audio), window.step_ns, width, nearest)
        self._heard: list[tuple[int, int]] = []  # spans of unbroken sound: (first sample, just after the last)
        self._skip_samples = 0
        self._segment_end_ns = 0

    def push(self, chunk: AudioChunk) -> None:
        """Encode each segment that the chunk completes."""
        if not self._heard or abs(chunk.captured_ns - self._heard[-1][1]) > GAP_NS:
            self._begin_stream(chunk.captured_ns)
        start_ns, end_ns = self._heard[-1]
        self._heard[-1] = start_ns, end_ns + len(chunk.samples) * _SAMPLE_NS
        skipped = min(self._skip_samples, len(chunk.samples))
        self._skip_samples -= skipped
        chunk = AudioChunk(chunk.samples[skipped:], end_ns + skipped * _SAMPLE_NS)
        self._activity.push(chunk)
        if self._tap:
            self._tap.hear(chunk.samples, self._activity.speaking)
        self._spectrogram.push(self._high_pass.push(chunk.samples))
        for segment in self._spectrogram.segments():
            end_ns, self._segment_end_ns = self._segment_end_ns, self._segment_end_ns + self._window.step_ns
            vector = self._engine.run({SPECTROGRAM: segment[None, None]})[EMBEDDING][0]
            self._embeddings.put(Embedding(vector, end_ns))

    def window(self, end_slot: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Embeddings and mask of the window before `end_slot`, as `SlotWindow.window`."""
        return self._embeddings.window(end_slot)

    def newest_ns(self, end_slot: int) -> int | None:
        """End of the newest segment before `end_slot`."""
        return self._embeddings.newest_ns(end_slot)

    def counts(self, mask: npt.NDArray[np.float32], now_ns: int) -> bool:
        """Whether the window holds enough speech for its sound to count."""
        from_ns = now_ns - round(self._window.window_s * NS_PER_S)
        speech_s = self._activity.speech_s(from_ns, now_ns)
        return bool(mask.any()) and speech_s >= self._window.min_speech_s

    def status(self, speaks: bool, now_ns: int) -> VoiceStatus:
        """What the microphone gives."""
        self._heard = [span for span in self._heard if span is self._heard[-1] or now_ns - span[1] <= STALE_NS]
        if not any(start <= now_ns and now_ns - end <= STALE_NS for start, end in self._heard):
            return "lost"
        return "speech" if speaks else "silent"

    def _begin_stream(self, captured_ns: int) -> None:
        """Forget the sound before a gap, and skip to the next step of the grid, so that segments end on it."""
        self._high_pass.reset()
        self._spectrogram.reset()
        self._activity.reset()
        self._heard.append((captured_ns, captured_ns))
        self._skip_samples = -((captured_ns - self._start_ns) // _SAMPLE_NS) % self._audio.step_samples
        first_ns = captured_ns + self._skip_samples * _SAMPLE_NS
        self._segment_end_ns = first_ns + self._audio.segment_samples * _SAMPLE_NS
