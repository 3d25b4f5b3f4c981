"""What a training said of the clips that it is measured by, kept beside its checkpoint for edge-evaluate."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bundle.errors import ArtefactError
from corpora.cache import written_whole
from training.evaluate import Ints, Probs

FILE = "predictions.npz"

Side = Literal["test", "validation"]
"""Of the split: validation where it has no subjects to test on."""


@dataclass(frozen=True)
class Predictions:
    """One training's, a row per clip.

    probs : by output name, untempered, float32 [shape=(n, labels)]. labels : positions in the label names, int64
    [shape=(n,)]. subjects : int64 [shape=(n,)]. clips : `clip_id` of the sound [shape=(n,)]; a clip that was shown with
    several faces has several rows. side : whose the clips are. settings : what was trained on whom, JSON: "system",
    "variant", "labels" (their names), "split" by side, "training".
    temperatures : by output name, from the validation subjects; none where these are the subjects measured.
    """

    probs: Probs
    labels: Ints
    subjects: Ints
    clips: npt.NDArray[np.str_]
    side: Side
    settings: Mapping[str, Any]
    temperatures: Mapping[str, float]

    @property
    def label_names(self) -> Sequence[str]:
        return tuple(self.settings["labels"])

    @property
    def split(self) -> Mapping[str, Sequence[int]]:
        return self.settings["split"]


def clip_id(wave: npt.NDArray[np.int16]) -> str:
    """Name of a clip, the same in every training: what its sound hashes to."""
    return hashlib.sha256(wave.tobytes()).hexdigest()[:16]


def write_predictions(folder: Path, predictions: Predictions) -> None:
    """Write `predictions.npz`."""
    with written_whole(folder / FILE) as partial:
        np.savez_compressed(
            partial,
            names=np.array([*predictions.probs]),
            probs=np.stack([*predictions.probs.values()]),
            temperatures=np.array([predictions.temperatures.get(name, np.nan) for name in predictions.probs]),
            labels=predictions.labels,
            subjects=predictions.subjects,
            clips=predictions.clips,
            side=np.array(predictions.side),
            settings=np.array(json.dumps(predictions.settings)),
        )


def read_predictions(path: Path) -> Predictions:
    """What `write_predictions` left.

    Raises
    ------
    ArtefactError : it is no such file.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            names = kept["names"].tolist()
            temperatures = dict(zip(names, kept["temperatures"].tolist(), strict=True))
            predictions = Predictions(
                dict(zip(names, kept["probs"], strict=True)), kept["labels"], kept["subjects"], kept["clips"],
                str(kept["side"]), json.loads(str(kept["settings"])),  # type: ignore[arg-type]
                {name: value for name, value in temperatures.items() if np.isfinite(value)},
            )  # fmt: skip
            if kept["probs"].shape[2] != len(predictions.label_names):
                raise ValueError(f"{kept['probs'].shape[2]} outputs for {len(predictions.label_names)} labels")
            return predictions
    except Exception as error:  # zipfile, zlib and NumPy raise whatever damaged bytes provoke
        raise ArtefactError(
            f"{path} holds no predictions ({error}); expected what edge-train wrote. Train the fold again."
        ) from error
