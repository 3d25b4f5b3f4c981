"""edge-evaluate: a bundle's figures on its held-out actors, through the engines that edge-run uses."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from bundle.errors import ArtefactError, EdgeEmotionError
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
from bundle.manifest import DEFAULT_BUNDLE, read_manifest
from corpora.composite import FacePool, Window, composite_windows
from corpora.fer2013 import aligned_fer2013
from corpora.ravdess import read_ravdess
from perception.engine import Engine
from perception.mediapipe_face import MediaPipeFaceDetector
from perception.network import Network, open_network
from training.evaluate import figures_of_merit

Floats = npt.NDArray[np.float32]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="edge-evaluate", description="Evaluate a bundle on the actors that it was not trained on (composite)."
    )
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, help="(default: the built-in one)")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder that holds ravdess-speech-16k/Actor_NN/ and fer2013.zip"
    )
    options = parser.parse_args(arguments)
    try:
        print(json.dumps(evaluate_bundle(options.bundle, options.data), indent=2))
    except (EdgeEmotionError, OSError) as error:
        print(f"edge-evaluate: {error}", file=sys.stderr)
        return 1
    return 0


def evaluate_bundle(folder: Path, data: Path) -> dict[str, dict[str, float]]:
    """Figures of each output on the composite windows of the held-out actors, as training states them.

    Raises
    ------
    ArtefactError : no bundle in `folder`, or one that does not say on whom it was trained.
    InputError : the corpora in `data` cannot be read.
    """
    training, network = read_manifest(folder).training, open_network(folder)
    try:
        held_out, seed, draws = training["split"]["held_out"], training["seed"], training["draws"]
    except (KeyError, TypeError) as error:
        raise ArtefactError(
            f"{folder} does not say on whom it was not trained (no {error}); expected a bundle of edge-train's "
            "checkpoint. Export it again with edge-export."
        ) from error
    speech = read_ravdess(data / "ravdess-speech-16k", held_out)
    faces = aligned_fer2013(data / "fer2013.zip", "PrivateTest", network.video, MediaPipeFaceDetector().detect)
    specs = (network.audio, network.video, network.window)
    windows = composite_windows(speech, FacePool(faces, seed), specs, seed, draws)
    labels, outputs = [], []
    for window in tqdm(windows, total=len(speech) * draws, desc="evaluate", leave=False):
        labels.append(window.label)
        outputs.append(probs_of_window(network, window))
    return {name: figures_of_merit(np.stack([output[name] for output in outputs]), np.array(labels)) for name in PROBS}


def probs_of_window(network: Network, window: Window) -> dict[str, Floats]:
    """The network on a whole window, nothing cached: probabilities [shape=(labels,)] by output."""
    visual = _encode(network.engines["visual"], FACE, window.faces, window.visual_mask)
    audio = _encode(network.engines["audio"], SPECTROGRAM, window.segments, window.audio_mask)
    inputs = {
        VISUAL_EMBEDDINGS: visual,
        VISUAL_MASK: window.visual_mask,
        AUDIO_EMBEDDINGS: audio,
        AUDIO_MASK: window.audio_mask,
    }
    outputs = network.engines["head"].run({name: array[None] for name, array in inputs.items()})
    return {name: array[0] for name, array in outputs.items()}


def _encode(engine: Engine, name: str, chunks: Floats, mask: Floats) -> Floats:
    valid = mask > 0
    vectors = engine.run({name: chunks[valid]})[EMBEDDING]
    embeddings = np.zeros((len(mask), vectors.shape[1]), np.float32)
    embeddings[valid] = vectors
    return embeddings


if __name__ == "__main__":
    sys.exit(main())
