"""Corpora as the clips of some subjects, with faces of the size and rate that a system asks for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bundle.features import VideoSpec
from bundle.labels import CREMA_D_LABELS, RAVDESS_LABELS
from corpora.av_clip import AvClip, CompositeClips, FaceFormat, prepare_av_clips
from corpora.composite import FacePool
from corpora.crema_d import list_crema_d
from corpora.fer2013 import Usage, aligned_fer2013
from corpora.folds import DeploymentSplit, Split
from corpora.ravdess import list_ravdess, read_ravdess
from corpora.reading import ClipFile, OnError
from perception.mediapipe_face import MediaPipeFaceDetector

Clips = Callable[[Sequence[int]], Sequence[AvClip]]
"""The clips of given subjects."""


@dataclass(frozen=True)
class Wanted:
    """data : the corpus's folder. cache : for what takes long to make. split : who is to see which faces, where those
    are not the speakers' own.
    """

    data: Path
    cache: Path
    split: Split | DeploymentSplit
    faces: FaceFormat
    seed: int = 0
    on_error: OnError = "refuse"


@dataclass(frozen=True)
class ClipSource:
    """A corpus.

    labels : in the order of `AvClip.label`. protocols : of `corpora.folds`, the usual one first. faces : False where
    its clips have none.
    """

    labels: Sequence[str]
    protocols: Sequence[str]
    open: Callable[[Wanted], Clips]
    faces: bool = True


def _composite(wanted: Wanted) -> Clips:
    data, split, detect = wanted.data, wanted.split, MediaPipeFaceDetector().detect
    usages: dict[tuple[int, ...], Usage] = {split.train: "Training", split.validation: "PublicTest"}

    def clips(subjects: Sequence[int]) -> Sequence[AvClip]:
        usage = usages.get(tuple(subjects), "PrivateTest")
        faces = aligned_fer2013(data / "fer2013.zip", usage, VideoSpec(), detect, wanted.cache)
        speech = read_ravdess(data / "ravdess-speech-16k", subjects, on_error=wanted.on_error)
        return CompositeClips(speech, FacePool(faces, wanted.seed), wanted.faces, wanted.seed)

    return clips


def _speech(wanted: Wanted) -> Clips:
    unseen = np.empty((0, wanted.faces.size_px, wanted.faces.size_px), np.uint8)

    def clips(subjects: Sequence[int]) -> Sequence[AvClip]:
        speech = read_ravdess(wanted.data, subjects, on_error=wanted.on_error)
        return [AvClip(clip.wave, unseen, wanted.faces.fps, clip.label, clip.actor) for clip in speech]

    return clips


def _films(wanted: Wanted, films_of: Callable[[Sequence[int]], Sequence[ClipFile]]) -> Clips:
    detect = MediaPipeFaceDetector().detect
    return lambda subjects: prepare_av_clips(
        films_of(subjects), wanted.faces, detect, wanted.cache, on_error=wanted.on_error
    )


def _ravdess(wanted: Wanted) -> Clips:
    return _films(wanted, lambda actors: list_ravdess(wanted.data, actors, video=True, on_error=wanted.on_error))


def _crema_d(wanted: Wanted) -> Clips:
    return _films(wanted, lambda actors: list_crema_d(wanted.data, "flv", actors, on_error=wanted.on_error))


_RAVDESS_PROTOCOLS = "deployment-ravdess", "luna-jimenez-ravdess", "mrpn-ravdess", "mocanu-ravdess"

CLIP_SOURCES: Mapping[str, ClipSource] = {
    "composite": ClipSource(RAVDESS_LABELS, _RAVDESS_PROTOCOLS, _composite),
    "ravdess": ClipSource(RAVDESS_LABELS, _RAVDESS_PROTOCOLS, _ravdess),
    "ravdess-speech": ClipSource(RAVDESS_LABELS, _RAVDESS_PROTOCOLS, _speech, faces=False),
    "crema-d": ClipSource(CREMA_D_LABELS, ("mrpn-crema-d", "mocanu-crema-d"), _crema_d),
}
