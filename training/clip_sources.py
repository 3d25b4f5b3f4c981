"""Corpora as the clips of some subjects, with faces of the size and rate that a system asks for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bundle.features import VideoSpec
from bundle.labels import CREMA_D_LABELS, RAVDESS_LABELS
from corpora.av_clip import AvClip, CompositeClips, FaceFormat, prepare_av_clips
from corpora.composite import FacePool
from corpora.crema_d import list_crema_d
from corpora.fer2013 import Usage, aligned_fer2013
from corpora.folds import DeploymentSplit, Split
from corpora.ravdess import list_ravdess, read_ravdess
from perception.mediapipe_face import MediaPipeFaceDetector

Clips = Callable[[Sequence[int]], Sequence[AvClip]]


@dataclass(frozen=True)
class ClipSource:
    """A corpus. labels : in the order of `AvClip.label`. protocols : of `corpora.folds.PROTOCOLS`, the usual one first.

    open : from the corpus's folder, a folder for caches, the split, the faces' format and a seed to the clips of
        given subjects.
    """

    labels: Sequence[str]
    protocols: Sequence[str]
    open: Callable[[Path, Path, Split | DeploymentSplit, FaceFormat, int], Clips]


def _composite(data: Path, cache: Path, split: Split | DeploymentSplit, faces: FaceFormat, seed: int) -> Clips:
    detect = MediaPipeFaceDetector().detect
    usages: dict[tuple[int, ...], Usage] = {split.train: "Training", split.validation: "PublicTest"}

    def clips(subjects: Sequence[int]) -> Sequence[AvClip]:
        usage = usages.get(tuple(subjects), "PrivateTest")
        pool = FacePool(aligned_fer2013(data / "fer2013.zip", usage, VideoSpec(), detect, cache), seed)
        return CompositeClips(read_ravdess(data / "ravdess-speech-16k", subjects), pool, faces, seed)

    return clips


def _ravdess(data: Path, cache: Path, split: Split | DeploymentSplit, faces: FaceFormat, seed: int) -> Clips:
    detect = MediaPipeFaceDetector().detect
    return lambda subjects: prepare_av_clips(list_ravdess(data, subjects, video=True), faces, detect, cache)


def _crema_d(data: Path, cache: Path, split: Split | DeploymentSplit, faces: FaceFormat, seed: int) -> Clips:
    detect = MediaPipeFaceDetector().detect
    return lambda subjects: prepare_av_clips(list_crema_d(data, "flv", subjects), faces, detect, cache)


_RAVDESS_PROTOCOLS = "deployment-ravdess", "luna-jimenez-ravdess", "mrpn-ravdess", "mocanu-ravdess"

CLIP_SOURCES: Mapping[str, ClipSource] = {
    "composite": ClipSource(RAVDESS_LABELS, _RAVDESS_PROTOCOLS, _composite),
    "ravdess": ClipSource(RAVDESS_LABELS, _RAVDESS_PROTOCOLS, _ravdess),
    "crema-d": ClipSource(CREMA_D_LABELS, ("mrpn-crema-d", "mocanu-crema-d"), _crema_d),
}
