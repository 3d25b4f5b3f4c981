"""What the encoders see of the calibration subjects, and why it would be refused."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bundle.errors import ArtefactError
from bundle.features import FACE, SPECTROGRAM
from bundle.manifest import Manifest, preprocessing_sha256
from corpora.cache import written_whole
from corpora.composite import FacePool, composite_windows
from corpora.fer2013 import aligned_fer2013
from corpora.folds import PROTOCOLS
from corpora.ravdess import read_ravdess
from perception.mediapipe_face import MediaPipeFaceDetector

Floats = npt.NDArray[np.float32]
Batch = dict[str, Floats]

INPUTS: Mapping[str, str] = {"visual": FACE, "audio": SPECTROGRAM}
"""Input of each part that is calibrated; a head needs none."""

FACES_PER_WINDOW, SEGMENTS_PER_WINDOW = 8, 4
"""Neighbouring slots look alike; a few of each window say as much as all."""

SAMPLES_PER_BATCH = 4
"""All activations of a batch are in memory at once: 20 MB for each 224 x 224 image of a ResNet-18."""

NOISE_CORRELATION = 0.3
"""Between neighbouring pixels or columns. White noise has 0, FER2013's faces and RAVDESS's spectrograms over 0.9."""
CORRELATED_SAMPLES = 64


@dataclass(frozen=True)
class Samples:
    """Network input of calibration subjects.

    subjects : whose it is. preprocessing_sha256 : of the definitions by which it was made. inputs : float32
    [shape=(n, ...)] by part, in no order.
    """

    subjects: tuple[int, ...]
    preprocessing_sha256: str
    inputs: Mapping[str, Floats]

    def batches(self, part: str) -> list[Batch]:
        """Views of a part's samples, a few at a time."""
        arrays = self.inputs[part]
        return [
            {INPUTS[part]: arrays[start : start + SAMPLES_PER_BATCH]}
            for start in range(0, len(arrays), SAMPLES_PER_BATCH)
        ]


def check_bundle(manifest: Manifest) -> None:
    """Refuse what cannot be calibrated.

    Raises
    ------
    ArtefactError : a part is absent, or has other inputs; or the bundle does not say on whom and how it was trained.
    """
    parts = [part for part, name in INPUTS.items() if part in manifest.parts and name in manifest.parts[part].inputs]
    missing = [f"part {part}" for part in INPUTS if part not in parts]
    missing += [f"training.{key}" for key in ("split", "seed", "draws") if key not in manifest.training]
    if missing:
        raise ArtefactError(
            f"bundle {manifest.name} ({manifest.system}) lacks {', '.join(missing)}; expected encoders of {FACE} and "
            f"{SPECTROGRAM}, as mrpn has them, that edge-train trained on the composite: not on films."
        )


def subjects_of(manifest: Manifest, side: str) -> tuple[int, ...]:
    """Subjects of one side of the bundle's split: "calibration", or "held_out" for the gate.

    Raises
    ------
    ArtefactError : it has none, or some that serve another purpose too: the figures would flatter.
    """
    split = _split(manifest)
    subjects = split.get(side, set())
    shared = subjects & set().union(*(split[other] for other in split if other != side))
    if not subjects or shared:
        raise ArtefactError(
            f"bundle {manifest.name} has {side} subjects {sorted(subjects)}, of which {sorted(shared)} serve another "
            "purpose too; expected some of their own. Train again with a split that sets them apart."
        )
    return tuple(sorted(subjects))


def fold_name(manifest: Manifest) -> str | None:
    """Protocol and number of the fold by which the bundle was trained, "deployment-ravdess/0"; None without a name."""
    for protocol, folds in PROTOCOLS.items():
        for number, fold in enumerate(folds):
            if _split(manifest) == {side: set(subjects) for side, subjects in vars(fold).items()}:
                return f"{protocol}/{number}"
    return None


def _split(manifest: Manifest) -> dict[str, set[int]]:
    return {side: set(subjects) for side, subjects in manifest.training.get("split", {}).items()}


def make_samples(manifest: Manifest, data: Path) -> Samples:
    """Composite windows of the calibration subjects, of the corpora in `data`.

    Their faces are FER2013's PublicTest, on which no weight was trained; the gate's are PrivateTest.

    Raises
    ------
    ArtefactError : as `subjects_of`. InputError : the corpora cannot be read.
    """
    subjects = subjects_of(manifest, "calibration")
    faces, segments = zip(*_windows(manifest, data, subjects), strict=True)
    rng = np.random.default_rng(manifest.training["seed"])
    # The first batch sets the calibrator's bins, so that it should be like any other.
    inputs = {"visual": rng.permutation(np.concatenate(faces)), "audio": rng.permutation(np.concatenate(segments))}
    return Samples(subjects, preprocessing_sha256(manifest), inputs)


def _windows(manifest: Manifest, data: Path, subjects: tuple[int, ...]) -> Iterator[tuple[Floats, Floats]]:
    seed = manifest.training["seed"]
    specs = (manifest.audio, manifest.video, manifest.window)
    speech = read_ravdess(data / "ravdess-speech-16k", subjects)
    detector = MediaPipeFaceDetector()
    pool = FacePool(aligned_fer2013(data / "fer2013.zip", "PublicTest", manifest.video, detector.detect), seed)
    for window in composite_windows(speech, pool, specs, seed):
        faces, segments = window.faces[window.visual_mask > 0], window.segments[window.audio_mask > 0]
        yield _spread(faces, FACES_PER_WINDOW), _spread(segments, SEGMENTS_PER_WINDOW)


def _spread(slots: Floats, count: int) -> Floats:
    """`count` slots from first to last; none of none, as a clip of less than a segment has."""
    return slots[np.linspace(0, len(slots) - 1, count).round().astype(int)] if len(slots) else slots


def check_samples(samples: Samples, manifest: Manifest) -> None:
    """Refuse what would spoil a calibration, or the gate after it.

    Raises
    ------
    ArtefactError : leaking: samples of others than the bundle's calibration subjects. Stale: made by other definitions
        of features. Empty: none, or all alike. Random: neighbouring pixels or columns that have nothing in common.
    """
    expected = subjects_of(manifest, "calibration")
    strangers = sorted(set(samples.subjects) - set(expected))
    if strangers or not samples.subjects:
        raise _refused("leaking", f"subjects {strangers or 'unknown'}", f"the bundle's own, {[*expected]}, alone")
    if samples.preprocessing_sha256 != preprocessing_sha256(manifest):
        found, wanted = samples.preprocessing_sha256, preprocessing_sha256(manifest)
        raise _refused("stale", f"features {found[:16]}...", f"{wanted[:16]}..., as the bundle defines them")
    for part, name in INPUTS.items():
        _check_part(part, samples.inputs.get(part, np.empty(0, np.float32)), manifest.parts[part].inputs[name])


def _check_part(part: str, arrays: Floats, shape: tuple[int, ...]) -> None:
    if arrays.size and (arrays.shape[1:] != shape or arrays.dtype != np.float32):
        raise _refused("stale", f"{part} samples of {arrays.dtype} {arrays.shape[1:]}", f"float32 {shape}")
    if not np.isfinite(arrays).all():
        raise _refused("stale", f"{part} samples with values that are not finite", "finite ones")
    if not arrays.size or not np.ptp(arrays) > 0:
        raise _refused("empty", f"{len(arrays)} samples of {part}, no two values of which differ", "some")
    some = arrays[:: max(1, len(arrays) // CORRELATED_SAMPLES)]
    correlation = float(np.corrcoef(some[..., :-1].ravel(), some[..., 1:].ravel())[0, 1])
    if not correlation >= NOISE_CORRELATION:
        raise _refused(
            "random", f"{part} samples whose neighbours correlate by {correlation:.2f}", f">= {NOISE_CORRELATION}"
        )


def _refused(kind: str, found: str, expected: str) -> ArtefactError:
    return ArtefactError(
        f"calibration data are {kind}: {found}; expected {expected}. "
        "Make them again from the corpora: delete the file of --samples."
    )


def write_samples(path: Path, samples: Samples) -> None:
    """Keep samples for another calibration of the same bundle; .npz."""
    kept = {"subjects": samples.subjects, "preprocessing_sha256": samples.preprocessing_sha256, **samples.inputs}
    with written_whole(path) as partial:
        np.savez(partial, **kept)  # type: ignore[arg-type]


def read_samples(path: Path) -> Samples:
    """What `write_samples` kept; it runs no code that the file may hold.

    Raises
    ------
    ArtefactError : `path` holds no samples.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            inputs = {part: kept[part] for part in INPUTS}
            subjects = tuple(int(subject) for subject in kept["subjects"])
            return Samples(subjects, str(kept["preprocessing_sha256"]), inputs)
    except Exception as error:  # zipfile, zlib and NumPy raise whatever damaged bytes provoke
        raise ArtefactError(
            f"{path} holds no calibration samples ({error}); expected a file that edge-calibrate --samples wrote. "
            "Delete it, and they are made again."
        ) from error
