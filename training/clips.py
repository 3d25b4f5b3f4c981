"""Any system, trained on labelled clips: what its recipe says, on the subjects of a split."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bundle.errors import ArgumentError, ArtefactError, InputError
from corpora.av_clip import AvClip
from corpora.folds import DeploymentSplit, Split
from networks.system import System
from training.evaluate import Probs, figures_of_merit, fit_temperature, temper
from training.fit import claim_folder, fit, save_whole
from training.predictions import Predictions, Side, clip_id, write_predictions
from training.ranks import made_by_first, rank, ranks
from training.recipe import Recipe


@dataclass(frozen=True)
class ClipTraining:
    """A training, resumable after any epoch.

    recipe : of `system`, whose network is its `variant`. clips : those of given subjects; they may be read when they
    are asked for. folder : of checkpoints and metrics. labels : the corpus's, in the order of `AvClip.label`.
    specs : the features, for the runtime; none where no runtime can compute them. device : of PyTorch.
    corpus, protocol : names of what `clips` and `split` are of, for the record. tensorboard : write metrics for it.
    """

    system: str
    variant: str
    recipe: Recipe
    split: Split | DeploymentSplit
    clips: Callable[[Sequence[int]], Sequence[AvClip]]
    folder: Path
    labels: Sequence[str]
    specs: Sequence[Any] = ()
    seed: int = 0
    device: str = "cpu"
    corpus: str = ""
    protocol: str = ""
    tensorboard: bool = False

    def run(self) -> dict[str, Any]:
        """Train, and write `<system>.pt` and `predictions.npz`; returns figures by output name of the test subjects.

        Where the split has none, they are those of its validation subjects, by whom the temperatures were chosen and,
        unless the recipe keeps the last, the epoch: as papers report them, and too good. "subjects" says which.

        Raises
        ------
        ArtefactError : the folder holds another training; a stage was trained on another split.
        InputError : no clip of a side.
        """
        torch.manual_seed(self.seed)
        network = self.recipe.build().to(self.device)
        self._check_stages()
        made_by_first(lambda: claim_folder(self.folder, self._settings(network) | self._stages()))
        train, validation = self._side("train"), self._side("validation")
        measured = self._side("test") if self.split.test else validation  # by all processes: it may take long
        self.recipe.prepare(network, train)
        if not self.recipe.train(network, train, validation, self.seed):
            self._fit(network, train, validation)
        return made_by_first(lambda: self._measure(network, validation, measured))

    def _measure(self, network: System, validation: Sequence[AvClip], clips: Sequence[AvClip]) -> dict[str, Any]:
        """Figures of the trained network; it, and what it says, are written."""
        probs, labels = self.predict(network, validation)
        temperatures = {name: fit_temperature(output, labels) for name, output in probs.items()}
        side: Side = "test" if self.split.test else "validation"
        if side == "test":
            probs, labels = self.predict(network, clips)
        results: dict[str, Any] = {"subjects": side}
        for name, output in probs.items():
            results[name] = figures_of_merit(temper(output, temperatures[name]), labels)
        subjects, names = zip(*((clip.subject, clip_id(clip.wave)) for clip in clips), strict=True)
        own = temperatures if side == "test" else {}
        found = Predictions(
            probs, labels, np.array(subjects), np.array(names), side, self._settings(network), own
        )  # fmt: skip
        write_predictions(self.folder, found)
        self._save(network, temperatures, results)
        return results

    def _fit(self, network: System, train: Sequence[AvClip], validation: Sequence[AvClip]) -> None:
        """Train by gradients, and leave the weights of the epoch to keep in the network.

        Each process takes its share of each batch.
        """
        batch_size = min(self.recipe.batch_size, len(train)) // ranks() * ranks()
        if not batch_size:
            raise ArgumentError(f"{ranks()} processes for batches of {self.recipe.batch_size}; expected fewer.")
        if batch_size // ranks() == 1 and any(isinstance(module, nn.BatchNorm1d) for module in network.modules()):
            raise ArgumentError(
                f"batches of {batch_size} for {ranks()} processes; expected two clips for each: a single one "
                "cannot be normalised."
            )
        steps = len(train) // batch_size

        def batches(epoch: int) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
            rng = np.random.default_rng((self.seed, epoch))
            order = rng.permutation(len(train))[: steps * batch_size]
            if rank():
                rng = np.random.default_rng((self.seed, epoch, rank()))  # to augment otherwise than the first
            for chosen in order.reshape(steps, batch_size):
                yield self._batch([train[index] for index in chosen[rank() :: ranks()]], rng)

        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        fit(
            f"{self.system}-epochs", network, trained, batches, steps,
            lambda batch: self.recipe.loss(network, *batch), lambda: self._validate(network, validation),
            self.recipe.fit, self.seed, self.folder, self.tensorboard,
        )  # fmt: skip

    def predict(self, network: System, clips: Sequence[AvClip]) -> tuple[Probs, npt.NDArray[np.int64]]:
        """Untempered probabilities [shape=(clips, labels)] by output name, one row per clip, and the labels."""
        parts: dict[str, list[npt.NDArray[np.float32]]] = {}
        labels = []
        network.eval()
        with torch.inference_mode():
            for batch, batch_labels in self._in_order(clips):
                labels.append(batch_labels.cpu().numpy())
                for name, logits in network(batch).items():
                    parts.setdefault(name, []).append(logits.float().softmax(1).cpu().numpy())
        return {name: np.concatenate(rows) for name, rows in parts.items()}, np.concatenate(labels)

    def _validate(self, network: System, clips: Sequence[AvClip]) -> dict[str, float]:
        """Figures of the network's first output; with a schedule that goes by it, the loss too."""
        probs, labels = self.predict(network, clips)
        figures = figures_of_merit(next(iter(probs.values())), labels)
        if self.recipe.fit.schedule == "plateau":
            losses = [
                len(batch_labels) * float(self.recipe.loss(network, batch, batch_labels))
                for batch, batch_labels in self._in_order(clips)
            ]
            figures["validation_loss"] = sum(losses) / len(clips)
        return figures

    def _in_order(self, clips: Sequence[AvClip]) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        size = self.recipe.batch_size
        for start in range(0, len(clips), size):
            yield self._batch([clips[index] for index in range(start, min(start + size, len(clips)))], None)

    def _batch(self, clips: Sequence[AvClip], rng: np.random.Generator | None) -> tuple[dict[str, Tensor], Tensor]:
        inputs = [self.recipe.inputs(clip, rng) for clip in clips]
        batch = {
            name: torch.from_numpy(np.stack([each[name] for each in inputs])).to(self.device) for name in inputs[0]
        }
        return batch, torch.tensor([clip.label for clip in clips], device=self.device)

    def _side(self, name: str) -> Sequence[AvClip]:
        """The clips of one side of the split."""
        subjects = getattr(self.split, name)
        clips = self.clips(subjects)
        if not len(clips):
            raise InputError(f"no clip of the {name} subjects {list(subjects)}; expected some of each side.")
        return clips

    def _check_stages(self) -> None:
        """Refuse a start from weights that may know the subjects whose figures are to be reported."""
        for path in self.recipe.stages:
            saved = torch.load(path, weights_only=True, map_location="cpu")
            found, kept = saved.get("split"), saved.get("training", {}).get("fit", {}).get("keep")
            if found != asdict(self.split):
                raise ArtefactError(
                    f"{path} was trained on the split {found}; expected {asdict(self.split)}. "
                    "Train it on the same protocol and fold first."
                )
            standardize = self.recipe.options.get("standardize")
            if standardize and saved.get("training", {}).get("standardize") != standardize:
                raise ArtefactError(
                    f"{path} was trained on sound standardised otherwise; expected standardize={standardize}, as of "
                    "this training. Train it so first."
                )
            if self.recipe.fit.keep == "last" and kept != "last" and not self.split.test:
                raise ArtefactError(
                    f"{path} is of the best epoch on the subjects that are measured; expected the last, as of this "
                    "training. Train it with --keep last first."
                )

    def _stages(self) -> dict[str, Any]:
        """What those checkpoints hash to: another fold's differ, so that they are no setting."""
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in self.recipe.stages]
        return {"stages": digests} if digests else {}

    def _settings(self, network: System) -> dict[str, Any]:
        config: Any = network.config  # a dataclass of each system's own
        return {
            "system": self.system,
            "variant": self.variant,
            "corpus": self.corpus,
            "protocol": self.protocol,
            "network": asdict(config),
            "labels": list(self.labels),
            "specs": [asdict(spec) for spec in self.specs],
            "split": asdict(self.split),
            "training": {
                "seed": self.seed,
                "batch_size": self.recipe.batch_size,
                "fit": vars(self.recipe.fit),
                **self.recipe.options,
            },
        }

    def _save(self, network: System, temperatures: Mapping[str, float], results: Mapping[str, Any]) -> None:
        model = {name: value.cpu() for name, value in network.state_dict().items()}
        content = {"model": model, "temperatures": list(temperatures.values()), "results": dict(results)}
        save_whole(self._settings(network) | content, self.folder / f"{self.system}.pt")
