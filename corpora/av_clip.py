"""A labelled clip as every system gets it: sound, and the aligned face at a steady rate."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from bundle.errors import InputError
from bundle.features import NS_PER_S, VideoSpec
from corpora.cache import alone, kept_arrays, kept_path, written_whole
from corpora.composite import FacePool, face_track
from corpora.ravdess import Speech
from corpora.reading import ClipFile, OnError, read_each
from kernels import preprocess_faces
from perception.chunks import AudioChunk
from perception.clip import decode_clip
from perception.face import Detect, DriverTracker, FaceDetection

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


class CompositeClips(Sequence[AvClip]):
    """Real voices, each with a slowly moving still face of the same emotion; see `corpora.composite`.

    Each is made when it is asked for, always the same: a corpus of large faces does not fit in memory.
    """

    def __init__(self, speech: Sequence[Speech], pool: FacePool, faces: FaceFormat, seed: int) -> None:
        self._speech, self._pool, self._faces, self._seed = speech, pool, faces, seed

    def __len__(self) -> int:
        return len(self._speech)

    @overload
    def __getitem__(self, index: int) -> AvClip: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[AvClip]: ...
    def __getitem__(self, index: int | slice) -> AvClip | Sequence[AvClip]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        clip, faces, rng = self._speech[index], self._faces, np.random.default_rng((self._seed, index % len(self)))
        spec = VideoSpec(size_px=faces.size_px, mean=0, std=1)
        slots = max(1, int(len(clip.wave) / SAMPLE_RATE_HZ * faces.fps))
        track = face_track(self._pool.draw(clip.label, clip.actor, rng), spec, slots, rng)
        images = np.rint(track[:, 0]).clip(0, 255).astype(np.uint8)
        return AvClip(clip.wave, images, faces.fps, clip.label, clip.actor)


def read_av_clip(file: ClipFile, faces: FaceFormat, detect: Detect) -> AvClip:
    """A filmed utterance, its face found and aligned as the runtime does it.

    Time starts with the stream that starts first; where there is no sound, the wave is silent. Of the pictures in one
    period the first counts; a period without a face shows the one before, or the first that was found.

    Raises
    ------
    InputError : as `decode_clip`, or the film has no sound or no face.
    """
    sound: list[AudioChunk] = []
    found: dict[int, npt.NDArray[np.uint8]] = {}  # by period
    tracker, spec, newest = DriverTracker(), VideoSpec(size_px=faces.size_px, mean=0, std=1), -1
    for chunk in decode_clip(file.path):
        if isinstance(chunk, AudioChunk):
            sound.append(chunk)
            continue
        period = int(chunk.captured_ns * faces.fps / NS_PER_S + 1e-3)  # timestamps are rounded
        if period > newest:
            newest = period
            face = tracker.update(detect(chunk.image), chunk.captured_ns)
            if face is not None:
                found[period] = _crop(chunk.image, face, spec)
    if not sound or not found:
        raise InputError(f"{file.path} has no {'face' if sound else 'sound'}; expected a film of someone who speaks.")
    wave = _joined(sound)
    periods = np.arange(max(1, int(len(wave) / SAMPLE_RATE_HZ * faces.fps)))
    shown = np.searchsorted(list(found), periods, side="right") - 1
    images = np.stack([*found.values()])[shown.clip(0)]
    return AvClip(wave, images, faces.fps, file.label, file.actor)


def _crop(image: npt.NDArray[np.uint8], face: FaceDetection, spec: VideoSpec) -> npt.NDArray[np.uint8]:
    matrix = face.crop_matrix(spec)
    crop = preprocess_faces(image, [matrix], spec.size_px, supersample=spec.supersample, mean=0, std=1)
    return np.rint(crop[0, 0]).clip(0, 255).astype(np.uint8)


def _joined(sound: Sequence[AudioChunk]) -> npt.NDArray[np.int16]:
    """Chunks at their times, with silence between."""
    starts = [round(chunk.captured_ns * SAMPLE_RATE_HZ / NS_PER_S) for chunk in sound]
    wave = np.zeros(starts[-1] + len(sound[-1].samples), np.int16)
    for start, chunk in zip(starts, sound, strict=True):
        wave[start : start + len(chunk.samples)] = chunk.samples
    return wave


class PreparedClips(Sequence[AvClip]):
    """Clips kept one per file, and read when they are asked for: a corpus of large faces does not fit in memory."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, index: int) -> AvClip: ...
    @overload
    def __getitem__(self, index: slice) -> "PreparedClips": ...
    def __getitem__(self, index: int | slice) -> "AvClip | PreparedClips":
        if isinstance(index, slice):
            return PreparedClips(self._paths[index])
        kept = kept_arrays(self._paths[index])
        fps, label, subject = kept["numbers"].tolist()
        return AvClip(kept["wave"], kept["images"], fps, int(label), int(subject))


def prepare_av_clips(
    files: Sequence[ClipFile], faces: FaceFormat, detect: Detect, cache: Path, *, on_error: OnError = "refuse"
) -> PreparedClips:
    """Read films once; `cache` keeps what was made of them: it is found again until the film or `faces` change.

    Raises
    ------
    InputError : as `read_av_clip`, unless skipped; none can be read.
    """

    def prepared(file: ClipFile) -> Path:
        path = kept_path(cache, file.path, faces, file.label, file.actor)
        if not path.exists():
            clip = read_av_clip(file, faces, detect)
            with written_whole(path) as partial:
                np.savez(partial, wave=clip.wave, images=clip.images, numbers=(clip.fps, clip.label, clip.subject))
        return path

    with alone(cache):
        return PreparedClips(read_each("film", files, prepared, on_error))
