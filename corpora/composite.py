"""RAVDESS x FER2013: real voices paired with real faces of the same emotion, where no audio-video corpus is at hand.

Each clip shows one still FER2013 face, slowly jittered. The pairing is independent given the emotion, which flatters
any fusion: results on it test the plumbing and the fall-backs, and are always called "composite".
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bundle.errors import InputError
from bundle.features import AudioSpec, VideoSpec, WindowSpec
from bundle.labels import FER2013_LABELS, RAVDESS_LABELS
from corpora.fer2013 import MARGIN_PX, Fer2013
from corpora.folds import RAVDESS_ACTORS
from corpora.ravdess import Speech
from kernels import preprocess_faces
from perception.segments import segments_of_wave

Floats = npt.NDArray[np.float32]
Specs = tuple[AudioSpec, VideoSpec, WindowSpec]
Change = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]
"""Of a face crop [shape=(size, size)]."""


@dataclass(frozen=True)
class Window:
    """Network input of one window, newest slot last; slots whose mask is 0 mean nothing.

    faces [shape=(image_slots, 1, size, size)], visual_mask [shape=(image_slots,)],
    segments [shape=(segment_slots, 1, bins, columns)], audio_mask [shape=(segment_slots,)], all float32.
    """

    faces: Floats
    visual_mask: Floats
    segments: Floats
    audio_mask: Floats
    label: int
    actor: int


class FacePool:
    """Deals FER2013 faces, aligned and with a margin, to actors: by emotion, no face to two actors.

    Raises
    ------
    InputError : fewer faces of an emotion than actors.
    """

    def __init__(self, faces: Fer2013, seed: int) -> None:
        self._crops = faces.images
        self._change: Change = lambda crop: crop
        self._dealt: dict[tuple[str, int], npt.NDArray[np.int64]] = {}
        for position, emotion in enumerate(FER2013_LABELS):
            deck = np.random.default_rng((seed, position)).permutation(np.flatnonzero(faces.labels == position))
            if len(deck) < len(RAVDESS_ACTORS):
                raise InputError(
                    f"{len(deck)} {emotion} faces; expected {len(RAVDESS_ACTORS)} or more, one for each actor. "
                    "Fetch fer2013.zip again."
                )
            for actor in RAVDESS_ACTORS:
                self._dealt[emotion, actor] = deck[actor - 1 :: len(RAVDESS_ACTORS)]

    def draw(self, label: int, actor: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        """A face of the emotion `label` (position in RAVDESS_LABELS) from the actor's own; calm shows neutral faces."""
        emotion = RAVDESS_LABELS[label]
        return self._change(self._crops[rng.choice(self._dealt["neutral" if emotion == "calm" else emotion, actor])])

    def through(self, change: Change) -> "FacePool":
        """The same faces, dealt alike, each changed when it is drawn."""
        pool = copy(self)
        pool._change = change
        return pool


def face_track(
    crop: npt.NDArray[np.uint8], spec: VideoSpec, slots: int, rng: np.random.Generator, distinct: int | None = None
) -> Floats:
    """A still face that moves a little: float32 [shape=(slots, 1, size, size)].

    A new place, size, angle and contrast at both ends and in the middle, and straight lines between. `distinct`
    images are sampled (default: all) and held for as many slots as it takes.
    """
    distinct = distinct or slots
    knots = rng.uniform(-1, 1, (3, 5))
    place = np.linspace(0, 2, distinct)
    dx, dy, scale, angle, light = (np.interp(place, (0, 1, 2), knot) for knot in knots.T)
    crop_px = crop.shape[0] - 2 * MARGIN_PX  # what a face without jitter shows
    scale, angle = (1 + 0.06 * scale) * crop_px / spec.size_px, 0.09 * angle
    center = (crop.shape[0] - 1) / 2
    half = (spec.size_px - 1) / 2
    a, b = scale * np.cos(angle), scale * np.sin(angle)
    x = center + 1.5 * dx - (a * half - b * half)
    y = center + 1.5 * dy - (b * half + a * half)
    matrices = np.stack((np.stack((a, -b, x), 1), np.stack((b, a, y), 1)), 1)
    image = np.repeat(crop[..., None], 3, 2)
    faces = preprocess_faces(image, matrices, spec.size_px, supersample=1, mean=spec.mean, std=spec.std)
    faces *= (1 + 0.15 * light)[:, None, None, None]
    return faces[np.arange(slots) * distinct // slots]


def audio_slots(wave: npt.NDArray[np.int16], audio: AudioSpec, window: WindowSpec) -> tuple[Floats, Floats]:
    """Segments of the window that ends with `wave`, and their mask, as the runtime would see them."""
    slots = window.segment_slots(audio)
    segments = segments_of_wave(wave, audio)[-slots:]
    filled = np.zeros((slots, *audio.shape), np.float32)
    mask = np.zeros(slots, np.float32)
    if len(segments):
        filled[-len(segments) :, 0] = segments
        mask[-len(segments) :] = 1
    return filled, mask


def composite_window(
    speech: Speech, pool: FacePool, specs: Specs, rng: np.random.Generator, distinct: int | None = None
) -> Window:
    """The window at the end of a composite clip: `speech` and a face that `rng` draws for it."""
    audio, video, window = specs
    segments, audio_mask = audio_slots(speech.wave, audio, window)
    crop = pool.draw(speech.label, speech.actor, rng)
    faces = face_track(crop, video, window.image_slots, rng, distinct)
    seen = min(window.image_slots, int(len(speech.wave) / audio.sample_rate_hz / window.image_period_s))
    visual_mask = (np.arange(window.image_slots) >= window.image_slots - seen).astype(np.float32)
    return Window(faces, visual_mask, segments, audio_mask, speech.label, speech.actor)


def composite_windows(
    speech: Sequence[Speech], pool: FacePool, specs: Specs, seed: int, draws: int = 1
) -> Iterator[Window]:
    """The windows of a corpus to be evaluated: each clip with `draws` faces of its actor's own."""
    for number, clip in enumerate(speech):
        for draw in range(draws):
            yield composite_window(clip, pool, specs, np.random.default_rng((seed, number, draw)))


def stack_windows(windows: Sequence[Window]) -> Mapping[str, npt.NDArray]:
    """Arrays of a batch, by name."""
    names = ("faces", "visual_mask", "segments", "audio_mask")
    batch = {name: np.stack([getattr(window, name) for window in windows]) for name in names}
    return batch | {"label": np.array([window.label for window in windows])}
