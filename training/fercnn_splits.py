"""FERCNN by the paper's random split, which leaks, and with actors kept apart: the figures of two equal trainings.

python -m training.fercnn_splits --corpus ravdess --data RAVDESS --output runs/fercnn-splits
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bundle.command import exit_status
from bundle.errors import ArgumentError
from bundle.features import PROBS_FUSED
from bundle.labels import CREMA_D_LABELS, RAVDESS_LABELS
from corpora.av_clip import AvClip, prepare_av_clips
from corpora.crema_d import list_crema_d
from corpora.folds import RAVDESS_ACTORS, random_split, subject_split
from corpora.ravdess import list_ravdess, read_ravdess
from networks.fercnn import VARIANTS
from training.evaluate import figures_of_merit
from training.fercnn import FercnnRecipe, fused_projection
from training.fit import claim_folder, fit
from training.main import MOST_SEED

Positions = npt.NDArray[np.int64]

VERSIONS = 3
"""Of each clip: section III-A counts three times the corpora's."""

TESTED = {"ravdess": 0.25, "ravdess-speech": 0.25, "crema-d": 0.2}
"""Share that is tested, by corpus: Table VI counts 1,080 of RAVDESS's 4,320 sounds and 4,466 of CREMA-D's 22,326."""

VALIDATION = 1 / 6
"""Share of what is not tested, by which the epoch is chosen. The paper names no such clips."""


@dataclass(frozen=True)
class Samples:
    """Versions of clips as features: by name float32 [shape=(n, size)]; labels and subjects, integers [shape=(n,)]."""

    features: Mapping[str, npt.NDArray[np.float32]]
    labels: Positions
    subjects: Positions


def compare_splits(
    recipe: FercnnRecipe, clips: Sequence[AvClip], folder: Path, *, test_fraction: float, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Figures of the tested versions of clips, by split: "random", as the paper's, and "actor-disjoint".

    All else is the same: the clips and their three versions, the share of them that trains, validates and tests, the
    projection fitted to what trains, network, seed and schedule. Random, other versions of a tested clip are trained
    on, and so is each tested actor. "train" and "test" count versions.

    Parameters
    ----------
    clips : of all subjects. folder : of checkpoints and metrics, by split; a training is resumed there.
    test_fraction : of the versions, or of the subjects.

    Raises
    ------
    ArgumentError : too few clips or subjects for a side.
    ArtefactError : the folder holds another comparison.
    """
    samples = versions_of(recipe, clips, seed)
    draws: Mapping[str, Callable[[Positions, float], tuple[Positions, Positions]]] = {
        "random": lambda subjects, fraction: random_split(len(subjects), fraction, seed),
        "actor-disjoint": lambda subjects, fraction: subject_split(subjects, fraction, seed),
    }
    figures = {}
    for name, draw in draws.items():
        rest, test = draw(samples.subjects, test_fraction)
        train, validation = (rest[side] for side in draw(samples.subjects[rest], VALIDATION))
        found = _train(recipe, samples, (train, validation, test), folder / name, seed)
        figures[name] = {**found, "train": len(train), "test": len(test)}
    return figures


def versions_of(recipe: FercnnRecipe, clips: Sequence[AvClip], seed: int) -> Samples:
    """Each clip as it is, and with its sound changed in two ways that follow `seed`."""
    inputs, labels, subjects = [], [], []
    for number, clip in enumerate(clips):
        for version in range(VERSIONS):
            inputs.append(recipe.inputs(clip, np.random.default_rng((seed, number, version)) if version else None))
            labels.append(clip.label)
            subjects.append(clip.subject)
    features = {name: np.stack([each[name] for each in inputs]) for name in recipe.network.inputs}
    return Samples(features, np.array(labels), np.array(subjects))


def _train(
    recipe: FercnnRecipe, samples: Samples, sides: Sequence[Positions], folder: Path, seed: int
) -> dict[str, float]:
    """Figures of the last of `sides` after training on the first; the second chooses the epoch."""
    train, validation, test = sides
    settings = {"network": asdict(recipe.network), "fit": vars(recipe.fit), "seed": seed}
    claim_folder(folder, settings | {"sides": [side.tolist() for side in sides]})
    torch.manual_seed(seed)
    network = recipe.build()
    projection = fused_projection(
        [part[train].astype(np.float64) for part in samples.features.values()], samples.labels[train]
    )
    network.head.set_projection(*map(torch.from_numpy, projection))
    size = min(recipe.batch_size, len(train))

    def batch(chosen: Positions) -> dict[str, Tensor]:
        return {name: torch.from_numpy(part[chosen]) for name, part in samples.features.items()}

    def batches(epoch: int) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        order = np.random.default_rng((seed, epoch)).permutation(train)
        for chosen in order[: len(order) // size * size].reshape(-1, size):
            yield batch(chosen), torch.from_numpy(samples.labels[chosen])

    def figures(chosen: Positions) -> dict[str, float]:
        with torch.inference_mode():
            probs = network(batch(chosen))[PROBS_FUSED].softmax(1).numpy()
        return figures_of_merit(probs, samples.labels[chosen])

    fit(
        "fercnn-epochs", network, network.parameters(), batches, len(train) // size,
        lambda pair: recipe.loss(network, *pair), lambda: figures(validation), recipe.fit, seed, folder,
    )  # fmt: skip
    return figures(test)


def _clips(corpus: str, data: Path, cache: Path, recipe: FercnnRecipe) -> Sequence[AvClip]:
    if corpus == "ravdess-speech":
        size = recipe.faces.size_px
        unseen = np.empty((0, size, size), np.uint8)
        speech = read_ravdess(data, RAVDESS_ACTORS)
        return [AvClip(clip.wave, unseen, recipe.faces.fps, clip.label, clip.actor) for clip in speech]
    from perception.mediapipe_face import MediaPipeFaceDetector

    files = list_crema_d(data, "flv") if corpus == "crema-d" else list_ravdess(data, video=True)
    return prepare_av_clips(files, recipe.faces, MediaPipeFaceDetector().detect, cache)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.fercnn_splits",
        description="Train FERCNN twice, by a random split and with actors kept apart; print both figures as JSON.",
    )
    parser.add_argument(
        "--corpus", choices=TESTED, default="ravdess",
        help="ravdess-speech: wav or flac alone, for --variant audio; others: films (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpus")
    parser.add_argument("--output", type=Path, required=True, help="folder for checkpoints, metrics and caches")
    parser.add_argument("--variant", choices=VARIANTS, default="multimodal", help="(default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=FercnnRecipe.fit.epochs, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all randomness (default: %(default)s)")
    options = parser.parse_args(arguments)

    def compare() -> None:
        print(json.dumps(_compare(options), indent=2))

    return exit_status("fercnn_splits", compare, stopped="the same command resumes after the last whole epoch")


def _compare(options: argparse.Namespace) -> Mapping[str, Any]:
    if options.corpus == "ravdess-speech" and options.variant != "audio":
        raise ArgumentError(f"--variant is {options.variant}; expected audio: ravdess-speech has no faces.")
    if options.epochs < 1:
        raise ArgumentError(f"--epochs is {options.epochs}; expected 1 or more.")
    if not 0 <= options.seed <= MOST_SEED:
        raise ArgumentError(f"--seed is {options.seed}; expected 0..{MOST_SEED}.")
    labels = CREMA_D_LABELS if options.corpus == "crema-d" else RAVDESS_LABELS
    recipe = FercnnRecipe(VARIANTS[options.variant], labels)
    recipe.fit = replace(recipe.fit, epochs=options.epochs)
    clips = _clips(options.corpus, options.data, options.output, recipe)
    return compare_splits(recipe, clips, options.output, test_fraction=TESTED[options.corpus], seed=options.seed)


if __name__ == "__main__":
    sys.exit(main())
