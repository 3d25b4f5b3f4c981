"""The way from chunks to an estimate: push what arrives, ask every 0.2 s. Clock-free and deterministic."""

import numpy as np

from bundle.features import AUDIO_EMBEDDINGS, AUDIO_MASK, VISUAL_EMBEDDINGS, VISUAL_MASK
from perception.chunks import AudioChunk, Estimate, Observation, VideoChunk
from perception.encoders import FaceEncoder, VoiceEncoder
from perception.engine import Engine
from perception.face import Detect
from perception.fusion import choose_source, probs_of_source, reason_for_none
from perception.mount import CameraMount
from perception.network import Network
from perception.tap import Tap

WARM_UP_S = 1.6
"""Sound cannot count before a second of it, half a second of speech in it; until then, nothing is no finding."""


class Perception:
    """Chunks to estimates of the driver's emotion.

    Encoders run once per chunk, in `push`; only the small head runs in `estimate`. An estimate depends on the sound
    before its time, and on images up to half a period after it if they are there; not on how that was cut into chunks.

    Parameters
    ----------
    detect : faces of an image; None where no camera is in use.
    microphone : whether one is in use.
    start_ns : where the grid of updates and slots begins: update n is at start_ns + n * 0.2 s.
    tap : sees each image that is encoded and hears all sound; it changes no estimate.
    """

    def __init__(
        self,
        network: Network,
        *,
        detect: Detect | None,
        mount: CameraMount = CameraMount(),  # noqa: B008 (immutable)
        microphone: bool,
        start_ns: int,
        tap: Tap | None = None,
    ) -> None:
        self._network, self._start_ns = network, start_ns
        sizes, engines, window = network.embedding_sizes, network.engines, network.window
        self._face = detect and FaceEncoder(
            network.video, window, detect, mount, engines["visual"], sizes["visual"], start_ns, tap
        )
        self._voice = (
            VoiceEncoder(network.audio, window, engines["audio"], sizes["audio"], start_ns, tap) if microphone else None
        )
        self._no_faces = empty_window(window.image_slots, sizes["visual"])
        self._no_segments = empty_window(window.segment_slots(network.audio), sizes["audio"])

    def push(self, chunk: AudioChunk | VideoChunk) -> None:
        """Encode a chunk; each stream in order of time. A chunk of a modality not in use is ignored."""
        if isinstance(chunk, VideoChunk):
            if self._face:
                self._face.push(chunk)
        elif self._voice:
            self._voice.push(chunk)

    def estimate(self, number: int) -> Estimate:
        """What the window that ends at update `number` says; numbers must not decrease."""
        return self.judge(self.observe(number))

    def judge(self, observation: Observation) -> Estimate:
        """What the network's head makes of a window."""
        return estimate_from_observation(observation, self._network.engines["head"])

    def observe(self, number: int) -> Observation:
        """What the window that ends at update `number` holds; numbers must not decrease."""
        window = self._network.window
        now_ns = self._start_ns + number * window.step_ns
        image_end, segment_end = number * (window.step_ns // window.image_period_ns) + 1, number + 1
        visual, visual_mask = self._face.window(image_end) if self._face else self._no_faces
        audio, audio_mask = self._voice.window(segment_end) if self._voice else self._no_segments
        sees = self._face.counts(visual_mask, image_end, now_ns) if self._face else False
        speaks = self._voice.counts(audio_mask, now_ns) if self._voice else False
        face = self._face.status(image_end) if self._face else "off"
        voice = self._voice.status(speaks, now_ns) if self._voice else "off"
        hears = speaks and voice != "lost"
        source = choose_source(sees, hears)
        newest_ns, reason = None, ""
        if source == "none":
            reason = "warming up" if number * window.step_s < WARM_UP_S else reason_for_none(face, voice)
        else:
            seen_ns = self._face.newest_ns(image_end) if self._face and sees else None
            heard_ns = self._voice.newest_ns(segment_end) if self._voice and hears else None
            newest_ns = max(time for time in (seen_ns, heard_ns) if time is not None)
        return Observation(
            now_ns, newest_ns, source, reason, face, voice, visual, visual_mask, audio, audio_mask
        )  # fmt: skip


def estimate_from_observation(observation: Observation, head: Engine) -> Estimate:
    """What the head makes of a window; it is not asked where no modality counts."""
    probs = None
    if observation.source != "none":
        outputs = head.run(
            {
                VISUAL_EMBEDDINGS: observation.visual[None],
                VISUAL_MASK: observation.visual_mask[None],
                AUDIO_EMBEDDINGS: observation.audio[None],
                AUDIO_MASK: observation.audio_mask[None],
            }
        )
        probs = probs_of_source(outputs, observation.source)
    return Estimate(
        observation.captured_ns, observation.newest_ns, probs, observation.source, observation.reason,
        observation.face, observation.voice,
    )  # fmt: skip


def empty_window(slots: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings and mask of a window in which there is nothing."""
    return np.zeros((slots, width), np.float32), np.zeros(slots, np.float32)
