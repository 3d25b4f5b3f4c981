"""The MRPN recipe: visual encoder on FER2013, audio branch on RAVDESS, then the whole N2 on their composite."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bundle.features import PROBS, AudioSpec, VideoSpec, WindowSpec
from bundle.labels import FER2013_LABELS, RAVDESS_LABELS
from corpora.composite import FacePool, Specs, Window, audio_slots, composite_window, composite_windows, stack_windows
from corpora.fer2013 import Fer2013, Usage, aligned_fer2013
from corpora.folds import deployment_split
from corpora.ravdess import Speech, read_ravdess
from networks.mrpn import Mrpn, MrpnConfig, encode_valid
from perception.mediapipe_face import MediaPipeFaceDetector
from training.augment import FaceJitter, center_faces, change_speech, jitter_faces, mask_spectrograms, random_gaps
from training.evaluate import figures_of_merit, fit_temperature, temper
from training.fit import FitConfig, claim_folder, fit
from training.losses import multi_term_loss

LABEL_SMOOTHING = 0.1
FER_POOL_FRACTION = 0.15  # of Training, kept from the visual encoder for the fused stage's faces
FACE_REPEATS = 8  # slots that show the same image in training: five images of a window are encoded, not forty
DRAWS = 3  # faces with which each clip is evaluated
FACES_PER_BATCH, CLIPS_PER_BATCH = 128, 32


@dataclass(frozen=True)
class MrpnRecipe:
    """What to train, and on whom; the defaults make the default bundle's network in about an hour on two cores."""

    fold: int = 0
    seed: int = 0
    network: MrpnConfig = field(default_factory=MrpnConfig)
    visual: FitConfig = FitConfig(epochs=16, lr=4e-3, weight_decay=5e-2)  # noqa: RUF009 (immutable)
    audio: FitConfig = FitConfig(epochs=50, lr=3e-3, weight_decay=1e-1)  # noqa: RUF009
    fused: FitConfig = FitConfig(epochs=12, lr=1e-3, weight_decay=5e-2)  # noqa: RUF009
    specs: Specs = field(default_factory=lambda: (AudioSpec(), VideoSpec(), WindowSpec()))


class MrpnTraining:
    """Three stages, each resumable, on the corpora in `data`; checkpoints and caches go to `folder`."""

    def __init__(self, recipe: MrpnRecipe, data: Path, folder: Path) -> None:
        self.recipe, self.data, self.folder = recipe, data, folder
        self.split = deployment_split(recipe.fold)
        torch.manual_seed(recipe.seed)
        self.model = Mrpn(recipe.network)
        self.encoders = {name: modality.encoder for name, modality in self.model.modalities.items()}

    def run(self) -> dict[str, Any]:
        """Train, and write `mrpn.pt`, which edge-export reads; returns the figures on the actors held out.

        Raises
        ------
        ArtefactError : the folder holds the training of another recipe.
        InputError : the corpora cannot be read.
        """
        claim_folder(self.folder, asdict(self.recipe))
        visual = self.train_visual()
        self.train_audio()
        self.train_fused()
        probs, labels = predict(self.model, self.windows(self.split.validation, "PublicTest"))
        temperatures = [fit_temperature(output, labels) for output in probs]
        probs, labels = predict(self.model, self.windows(self.split.held_out, "PrivateTest"))
        results = {"fer2013_private_test": visual} | {
            name: figures_of_merit(temper(output, temperature), labels)
            for name, output, temperature in zip(PROBS, probs, temperatures, strict=True)
        }
        self._save(temperatures, results)
        return results

    def train_visual(self) -> Mapping[str, float]:
        """Train the visual encoder as a classifier of FER2013; returns its figures on PrivateTest."""
        recipe, visual, video = self.recipe, self.model.modalities["visual"], self.recipe.specs[1]
        classifier = nn.Sequential(
            visual.encoder, nn.Dropout(0.3), nn.Linear(visual.embedding_size, len(FER2013_LABELS))
        )
        classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        own = ~self._in_pool
        crops = torch.from_numpy(self.faces("Training").images[own])
        labels = torch.from_numpy(self.faces("Training").labels[own])
        steps = len(crops) // FACES_PER_BATCH

        def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
            generator = self._generator(epoch)
            order = torch.randperm(len(crops), generator=generator)[: steps * FACES_PER_BATCH]
            for chosen in order.split(FACES_PER_BATCH):
                yield jitter_faces(crops[chosen], video, FaceJitter(), generator), labels[chosen]

        def loss_of(batch: tuple[Tensor, Tensor]) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                logits = classifier(batch[0].contiguous(memory_format=torch.channels_last))
            return F.cross_entropy(logits.float(), batch[1], label_smoothing=LABEL_SMOOTHING)

        def figures(usage: Usage) -> dict[str, float]:
            inputs = center_faces(torch.from_numpy(self.faces(usage).images), video)
            inputs = inputs.contiguous(memory_format=torch.channels_last)
            probs = torch.cat([classifier(part).softmax(1) for part in inputs.split(512)])
            return figures_of_merit(probs.numpy(), self.faces(usage).labels)

        fit(
            "visual", classifier, classifier.parameters(), batches, steps, loss_of,
            lambda: figures("PublicTest"), recipe.visual, recipe.seed, self.folder,
        )  # fmt: skip
        with torch.inference_mode():
            return figures("PrivateTest")

    def train_audio(self) -> Mapping[str, float]:
        """Train the audio encoder, aggregator and branch on RAVDESS; returns the figures on the validation actors."""
        recipe, model = self.recipe, self.model
        audio, _, window = recipe.specs
        train, validation = self.speech(self.split.train), self.speech(self.split.validation)
        steps = len(train) // CLIPS_PER_BATCH
        validation_batch = _audio_batch([audio_slots(clip.wave, audio, window) for clip in validation])
        validation_labels = np.array([clip.label for clip in validation])

        def batches(epoch: int) -> Iterator[dict[str, Tensor]]:
            rng, generator = np.random.default_rng((recipe.seed, epoch)), self._generator(epoch)
            for chosen in _shuffled(train, rng, steps):
                batch = _audio_batch([audio_slots(change_speech(clip.wave, rng), audio, window) for clip in chosen])
                mask_spectrograms(batch["segments"], generator)
                batch["audio_mask"] *= random_gaps(batch["audio_mask"].shape, generator)
                yield mixup(batch, torch.tensor([clip.label for clip in chosen]), rng, generator)

        def loss_of(batch: dict[str, Tensor]) -> Tensor:
            return F.cross_entropy(
                model.branch_logits("audio", batch), batch["target"], label_smoothing=LABEL_SMOOTHING
            )

        def validate() -> dict[str, float]:
            return figures_of_merit(
                model.branch_logits("audio", validation_batch).softmax(1).numpy(), validation_labels
            )

        head = model.head
        parameters = [
            *self.encoders["audio"].parameters(), *head.aggregator["audio"].parameters(),
            *head.feature_norm["audio"].parameters(), *head.branch["audio"].parameters(),
        ]  # fmt: skip
        return fit(
            "audio", model, parameters, batches, steps, loss_of, validate, recipe.audio, recipe.seed, self.folder
        )

    def train_fused(self) -> Mapping[str, float]:
        """Train the whole N2 with the multi-term loss on the composite; the visual encoder stays as FER2013 left it."""
        recipe, model = self.recipe, self.model
        train, pool = self.speech(self.split.train), self.pool("Training")
        validation = self.windows(self.split.validation, "PublicTest")
        steps = len(train) // CLIPS_PER_BATCH
        distinct = recipe.specs[2].image_slots // FACE_REPEATS
        visual, audio = self.encoders["visual"], self.encoders["audio"]
        visual.requires_grad_(False)

        def batches(epoch: int) -> Iterator[dict[str, Tensor]]:
            rng, generator = np.random.default_rng((recipe.seed, 1, epoch)), self._generator(epoch)
            for chosen in _shuffled(train, rng, steps):
                changed = [Speech(change_speech(clip.wave, rng), clip.label, clip.actor) for clip in chosen]
                windows = [composite_window(clip, pool, recipe.specs, rng, distinct) for clip in changed]
                batch = _tensors(windows)
                mask_spectrograms(batch["segments"], generator)
                for mask in ("audio_mask", "visual_mask"):
                    batch[mask] *= random_gaps(batch[mask].shape, generator)
                yield batch

        def loss_of(batch: dict[str, Tensor]) -> Tensor:
            visual.eval()  # frozen: its normalisation too
            faces = batch["faces"][:, ::FACE_REPEATS]  # (B, distinct, 1, H, W)
            seen = encode_valid(visual, faces, torch.ones(faces.shape[:2]))
            seen = seen.repeat_interleave(FACE_REPEATS, 1) * batch["visual_mask"].unsqueeze(2)
            heard = encode_valid(audio, batch["segments"], batch["audio_mask"])
            logits = model.head(seen, batch["visual_mask"], heard, batch["audio_mask"])
            return multi_term_loss(logits, batch["label"], LABEL_SMOOTHING)

        def validate() -> dict[str, float]:
            probs, labels = predict(model, validation)
            return figures_of_merit(probs[0], labels)

        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        return fit("fused", model, trained, batches, steps, loss_of, validate, recipe.fused, recipe.seed, self.folder)

    def faces(self, usage: Usage) -> Fer2013:
        """Aligned FER2013 faces, made once."""
        if usage not in self._faces:
            path, video = self.data / "fer2013.zip", self.recipe.specs[1]
            self._faces[usage] = aligned_fer2013(path, usage, video, MediaPipeFaceDetector().detect, self.folder)
        return self._faces[usage]

    def pool(self, usage: Usage) -> FacePool:
        """Faces to deal to actors; of Training, those that the visual encoder was not trained on."""
        faces = self.faces(usage)
        if usage == "Training":
            faces = Fer2013(faces.images[self._in_pool], faces.labels[self._in_pool])
        return FacePool(faces, self.recipe.seed)

    def speech(self, actors: Sequence[int]) -> list[Speech]:
        """The actors' clips, read once."""
        key = tuple(actors)
        if key not in self._speech:
            self._speech[key] = read_ravdess(self.data / "ravdess-speech-16k", actors)
        return self._speech[key]

    def windows(self, actors: Sequence[int], usage: Usage) -> list[Window]:
        """Composite windows on which the actors are evaluated."""
        speech, pool = self.speech(actors), self.pool(usage)
        return [*composite_windows(speech, pool, self.recipe.specs, self.recipe.seed, DRAWS)]

    @cached_property
    def _faces(self) -> dict[Usage, Fer2013]:
        return {}

    @cached_property
    def _speech(self) -> dict[tuple[int, ...], list[Speech]]:
        return {}

    @cached_property
    def _in_pool(self) -> npt.NDArray[np.bool_]:
        """Which of FER2013's training faces the fused stage gets."""
        return np.random.default_rng(self.recipe.seed).random(len(self.faces("Training").labels)) < FER_POOL_FRACTION

    def _generator(self, epoch: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.recipe.seed * 100_003 + epoch)

    def _save(self, temperatures: Sequence[float], results: Mapping[str, Any]) -> None:
        recipe = self.recipe
        training = {
            "data": "FER2013 (visual encoder); RAVDESS speech (audio branch); RAVDESS x FER2013 composite (fusion)",
            "fold": recipe.fold,
            "seed": recipe.seed,
            "face_pool_fraction": FER_POOL_FRACTION,
            "draws": DRAWS,
        }
        training |= {stage: vars(getattr(recipe, stage)) for stage in ("visual", "audio", "fused")}
        torch.save(
            {
                "system": "mrpn",
                "network": asdict(recipe.network),
                "model": self.model.state_dict(),
                "temperatures": list(temperatures),
                "labels": list(RAVDESS_LABELS),
                "specs": [asdict(spec) for spec in recipe.specs],
                "split": asdict(self.split),
                "training": training,
                "results": results,
            },
            self.folder / "mrpn.partial",
        )
        (self.folder / "mrpn.partial").replace(self.folder / "mrpn.pt")


def predict(model: Mrpn, windows: Sequence[Window]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Untempered probabilities of the fused, visual and audio outputs [shape=(3, n, labels)], and the labels."""
    parts = []
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(windows), CLIPS_PER_BATCH):
            logits = model(_tensors(windows[start : start + CLIPS_PER_BATCH]))
            parts.append(torch.stack([logits[name].softmax(1) for name in PROBS]).numpy())
    return np.concatenate(parts, 1), np.array([window.label for window in windows])


def mixup(
    batch: dict[str, Tensor], labels: Tensor, rng: np.random.Generator, generator: torch.Generator
) -> dict[str, Tensor]:
    """Blend each window with another (Zhang et al. 2018); "target" holds the blended label probabilities."""
    share = float(rng.beta(0.4, 0.4))
    other = torch.randperm(len(labels), generator=generator)
    target = F.one_hot(labels, len(RAVDESS_LABELS)).float()
    return {
        "segments": share * batch["segments"] + (1 - share) * batch["segments"][other],
        "audio_mask": batch["audio_mask"] * batch["audio_mask"][other],
        "target": share * target + (1 - share) * target[other],
    }


def _shuffled(clips: Sequence[Speech], rng: np.random.Generator, steps: int) -> Iterator[list[Speech]]:
    order = rng.permutation(len(clips))
    for step in range(steps):
        yield [clips[i] for i in order[step * CLIPS_PER_BATCH : (step + 1) * CLIPS_PER_BATCH]]


def _tensors(windows: Sequence[Window]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in stack_windows(windows).items()}


def _audio_batch(windows: Sequence[tuple[npt.NDArray, npt.NDArray]]) -> dict[str, Tensor]:
    segments, masks = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*windows, strict=True))
    return {"segments": segments, "audio_mask": masks}
