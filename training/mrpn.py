"""The default bundle's MRPN: its stages in order, its figures, and the checkpoint that edge-export reads."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bundle.labels import FER2013_LABELS, RAVDESS_LABELS
from networks.mrpn import Mrpn
from training.evaluate import Ints, Probs, figures_of_merit, fit_temperature, temper
from training.fit import claim_folder, save_whole
from training.mrpn_stages import DRAWS, FER_POOL_FRACTION, STAGES, MrpnRecipe, MrpnStages, predict, stages_of
from training.predictions import Predictions, Side, clip_id, write_predictions

FER2013_SPLIT = {"train": (0,), "validation": (1,), "test": (2,)}
"""FER2013 names no subjects: its official parts stand for them."""


class MrpnTraining:
    """A training of `recipe` on the corpora in `data`; checkpoints and figures go to `folder`.

    cache : folder of aligned faces, where trainings are to share it; None: `folder`.
    visual : checkpoint of another training's visual stage, to go on from.
    protocol : name of what the recipe's split is a fold of, for the record.
    """

    def __init__(
        self, recipe: MrpnRecipe, data: Path, folder: Path, cache: Path | None = None, visual: Path | None = None,
        protocol: str = "",
    ) -> None:  # fmt: skip
        self.recipe, self.folder, self.visual, self.protocol = recipe, folder, visual, protocol
        torch.manual_seed(recipe.seed)
        self.model = Mrpn(recipe.network)
        self.stages = MrpnStages(recipe, self.model, data, folder, cache or folder)

    def run(self) -> dict[str, Any]:
        """Train, and write `predictions.npz`; returns the figures on who was held out.

        Of both modalities also `mrpn.pt`, which edge-export reads. A network of one of them, as its configuration
        says, is trained in the stages that concern it.

        Raises
        ------
        ArtefactError : the folder, or the visual checkpoint, is of a training with another recipe.
        InputError : the corpora cannot be read, or are smaller than a batch.
        """
        claim_folder(self.folder, asdict(self.recipe))
        stages = self.stages
        results: dict[str, Any] = {}
        if self.visual is not None:
            stages.take_visual(self.visual)
        if "audio" in stages.encoders:
            clips = stages.train_clips()
            results |= _figures(*clips)
            if "audio" in stages_of(self.recipe.network):
                stages.train_audio()
        if "visual" in stages.encoders:
            stages.train_visual()
            faces = stages.predict_faces("PrivateTest")
            results["fer2013_private_test"] = _figures(*faces)["probs_visual"]
        if len(stages.encoders) > 1:
            return results | self._finish_fused(results)
        if "audio" in stages.encoders:
            probs, labels = stages.predict_audio(self.recipe.measured)
            self._write_predictions(probs | clips[0], labels, repeats=1, temperatures={})
            return results | _figures(probs, labels)
        self._write_face_predictions(*faces)
        return results

    def _finish_fused(self, results: Mapping[str, Any]) -> dict[str, Any]:
        """Train the fused stage, and write what comes of all; returns the figures of its outputs."""
        stages, recipe = self.stages, self.recipe
        stages.train_fused()
        probs, labels = predict(self.model, stages.windows(recipe.split.validation, "PublicTest"))
        temperatures = {name: fit_temperature(output, labels) for name, output in probs.items()}
        probs, labels = predict(self.model, stages.windows(recipe.measured, "PrivateTest"))
        tempered = {name: temper(output, temperatures[name]) for name, output in probs.items()}
        figures = _figures(tempered, labels)
        self._write_predictions(probs, labels, DRAWS, temperatures)
        self._save(temperatures, dict(results) | figures)
        return figures

    def _write_predictions(self, probs: Probs, labels: Ints, repeats: int, temperatures: Mapping[str, float]) -> None:
        """Of the measured actors' clips, each so often."""
        recipe = self.recipe
        clips = [clip for clip in self.stages.speech(recipe.measured) for _ in range(repeats)]
        side: Side = "test" if recipe.split.test else "validation"
        write_predictions(
            self.folder,
            Predictions(
                probs, labels, np.array([clip.actor for clip in clips]),
                np.array([clip_id(clip.wave) for clip in clips]), side,
                self._settings() | {"labels": list(RAVDESS_LABELS), "split": asdict(recipe.split)},
                temperatures if recipe.split.test else {},
            ),
        )  # fmt: skip

    def _write_face_predictions(self, probs: Probs, labels: Ints) -> None:
        """Of FER2013's PrivateTest; PublicTest sets the temperatures."""
        images, (validation, known) = self.stages.faces("PrivateTest").images, self.stages.predict_faces("PublicTest")
        write_predictions(
            self.folder,
            Predictions(
                probs, labels, np.full(len(labels), FER2013_SPLIT["test"][0]),
                np.array([clip_id(image) for image in images]), "test",
                self._settings() | {"labels": list(FER2013_LABELS), "split": FER2013_SPLIT},
                {name: fit_temperature(output, known) for name, output in validation.items()},
            ),
        )  # fmt: skip

    def _settings(self) -> dict[str, Any]:
        recipe = self.recipe
        fits = {stage: vars(getattr(recipe, stage)) for stage in STAGES}
        return {
            "system": "mrpn",
            "variant": "slim",
            "network": asdict(recipe.network),
            "specs": [asdict(spec) for spec in recipe.specs],
            "training": {
                "data": "FER2013 (visual encoder); RAVDESS speech (audio branch); RAVDESS x FER2013 composite (fusion)",
                "protocol": self.protocol,
                "seed": recipe.seed,
                "face_pool_fraction": FER_POOL_FRACTION,
                "draws": DRAWS,
                "disturbances": recipe.disturbances,
            }
            | fits,
        }

    def _save(self, temperatures: Mapping[str, float], results: Mapping[str, Any]) -> None:
        content = {
            "model": self.model.state_dict(),
            "temperatures": list(temperatures.values()),
            "labels": list(RAVDESS_LABELS),
            "split": asdict(self.recipe.split),
            "results": dict(results),
        }
        save_whole(self._settings() | content, self.folder / "mrpn.pt")


def _figures(probs: Probs, labels: Ints) -> dict[str, dict[str, float]]:
    return {name: figures_of_merit(output, labels) for name, output in probs.items()}
