"""A labelled clip as every system gets it: sound, and the aligned face at a steady rate."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bundle.features import VideoSpec
from corpora.composite import FacePool, face_track
from corpora.ravdess import Speech

SAMPLE_RATE_HZ = 16_000


@dataclass(frozen=True)
class FaceFormat:
    """How a system wants its faces: `size_px` square, `fps` of them per second."""

    size_px: int
    fps: float


@dataclass(frozen=True)
class AvClip:
    """One utterance of one subject.

    wave : int16 [shape=(n,)], 16 kHz, mono. images : uint8 gray [shape=(t, size, size)], the face aligned by the eyes,
    at `fps` from the wave's first sample on. label : position in the corpus's labels.
    """

    wave: npt.NDArray[np.int16]
    images: npt.NDArray[np.uint8]
    fps: float
    label: int
    subject: int


def composite_av_clips(speech: Sequence[Speech], pool: FacePool, faces: FaceFormat, seed: int) -> Iterator[AvClip]:
    """Real voices, each with a slowly moving still face of the same emotion; see `corpora.composite`."""
    spec = VideoSpec(size_px=faces.size_px, mean=0, std=1)
    for number, clip in enumerate(speech):
        rng = np.random.default_rng((seed, number))
        slots = max(1, int(len(clip.wave) / SAMPLE_RATE_HZ * faces.fps))
        track = face_track(pool.draw(clip.label, clip.actor, rng), spec, slots, rng)
        images = np.rint(track[:, 0]).clip(0, 255).astype(np.uint8)
        yield AvClip(clip.wave, images, faces.fps, clip.label, clip.actor)
