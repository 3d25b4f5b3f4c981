"""A bundle, the actors that it was not trained on, and what it says of a whole window."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from bundle.errors import ArtefactError
from bundle.features import (
    AUDIO_EMBEDDINGS,
    AUDIO_MASK,
    EMBEDDING,
    FACE,
    PROBS,
    SPECTROGRAM,
    VISUAL_EMBEDDINGS,
    VISUAL_MASK,
)
from bundle.manifest import read_manifest
from corpora.composite import FacePool, Specs, Window, composite_windows
from corpora.fer2013 import aligned_fer2013
from corpora.ravdess import Speech, read_ravdess
from perception.engine import Engine
from perception.mediapipe_face import MediaPipeFaceDetector
from perception.network import Network, open_network

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Slots = tuple[Floats, Floats]
"""Embeddings [shape=(slots, width)] and their mask [shape=(slots,)]."""


@dataclass(frozen=True)
class HeldOut:
    """What a bundle is evaluated on.

    speech : of the actors held out. pool : faces of FER2013's PrivateTest. seed, draws : as training evaluated it.
    """

    network: Network
    speech: list[Speech]
    pool: FacePool
    seed: int
    draws: int

    @property
    def specs(self) -> Specs:
        return self.network.audio, self.network.video, self.network.window


def open_held_out(folder: Path, data: Path) -> HeldOut:
    """The bundle in `folder` and, of the corpora in `data`, what it was not trained on.

    Raises
    ------
    ArtefactError : no bundle in `folder`, or one that was not trained on a deployment fold of the composite.
    InputError : the corpora in `data` cannot be read.
    """
    training, network = read_manifest(folder).training, open_network(folder)
    try:
        actors, seed, draws = training["split"]["held_out"], training["seed"], training["draws"]
    except (KeyError, TypeError) as error:
        raise ArtefactError(
            f"{folder} does not say on whom it was not trained, or with what faces (no {error}); expected a bundle "
            "that edge-train trained on a deployment fold of the composite: not on films."
        ) from error
    speech = read_ravdess(data / "ravdess-speech-16k", actors)
    faces = aligned_fer2013(data / "fer2013.zip", "PrivateTest", network.video, MediaPipeFaceDetector().detect)
    return HeldOut(network, speech, FacePool(faces, seed), seed, draws)


@dataclass(frozen=True)
class Predictions:
    """Of n windows.

    subjects, labels [shape=(n,)] : who speaks, and the true emotion. probs [shape=(n, classes)] : by output.
    """

    subjects: Ints
    labels: Ints
    probs: dict[str, Floats]


def predict_windows(network: Network, held_out: HeldOut) -> Predictions:
    """The network on each window of the subjects held out: the same windows for each network."""
    speech, draws = held_out.speech, held_out.draws
    windows = composite_windows(speech, held_out.pool, held_out.specs, held_out.seed, draws)
    subjects, labels, outputs = [], [], []
    for window in tqdm(windows, total=len(speech) * draws, desc="windows", leave=False):
        subjects.append(window.actor)
        labels.append(window.label)
        outputs.append(probs_of_window(network, window))
    probs = {name: np.stack([output[name] for output in outputs]) for name in PROBS}
    return Predictions(np.array(subjects), np.array(labels), probs)


def probs_of_window(network: Network, window: Window) -> dict[str, Floats]:
    """The network on a whole window, nothing cached: probabilities [shape=(labels,)] by output."""
    return head_probs(
        network,
        (embed(network.engines["visual"], FACE, window.faces, window.visual_mask), window.visual_mask),
        (embed(network.engines["audio"], SPECTROGRAM, window.segments, window.audio_mask), window.audio_mask),
    )


def head_probs(network: Network, visual: Slots, audio: Slots) -> dict[str, Floats]:
    """The head on embeddings: probabilities [shape=(labels,)] by output."""
    names = VISUAL_EMBEDDINGS, VISUAL_MASK, AUDIO_EMBEDDINGS, AUDIO_MASK
    inputs = {name: array[None] for name, array in zip(names, visual + audio, strict=True)}
    return {name: array[0] for name, array in network.engines["head"].run(inputs).items()}


def embed(engine: Engine, name: str, chunks: Floats, mask: Floats) -> Floats:
    """Embeddings [shape=(slots, width)] of the chunks whose mask is not 0; zeros for the others."""
    valid = mask > 0
    vectors = engine.run({name: chunks[valid]})[EMBEDDING]
    embeddings = np.zeros((len(mask), vectors.shape[1]), np.float32)
    embeddings[valid] = vectors
    return embeddings
