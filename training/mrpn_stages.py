"""The stages in which the default bundle's MRPN is trained, each on what it needs and resumable.

Voices alone in whole clips, then in the runtime's segments (RAVDESS), faces alone (FER2013), then both (composite).
Each stage sees what a car does to pictures and sound, unless the recipe leaves it out: `training.augment` draws it anew
for each use.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bundle.errors import InputError
from bundle.features import AudioSpec, VideoSpec, WindowSpec
from bundle.labels import FER2013_LABELS, RAVDESS_LABELS
from corpora.cache import written_whole
from corpora.composite import (
    FacePool,
    Specs,
    Window,
    audio_slots,
    composite_window,
    composite_windows,
    stack_windows,
)  # fmt: skip
from corpora.fer2013 import Fer2013, Usage, aligned_fer2013
from corpora.folds import DeploymentSplit, Split, deployment_split
from corpora.ravdess import Speech, read_ravdess
from networks.mrpn import Modality, Mrpn, MrpnConfig, encode_valid, layout_of
from networks.pretrained import load_pretrained
from perception.mediapipe_face import MediaPipeFaceDetector
from training.augment import (
    FaceJitter,
    center_faces,
    change_speech,
    disturb_faces,
    disturb_speech,
    jitter_faces,
    mask_spectrograms,
    mixup,
    random_gaps,
    spoil_face,
    spoil_speech,
)  # fmt: skip
from training.evaluate import Ints, Probs, figures_of_merit
from training.fit import FitConfig, fit, has_bfloat16, read_checkpoint
from training.losses import multi_term_loss

LABEL_SMOOTHING = 0.1
FER_POOL_FRACTION = 0.15  # of Training, kept from the visual encoder for the fused stage's faces
FACE_REPEATS = 8  # slots that show the same image in training: five images of a window are encoded, not forty
CLASSIFIED = {"visual": FER2013_LABELS, "audio": RAVDESS_LABELS}
"""What each encoder is first trained to tell apart, by modality."""
VISUAL_CHECKPOINT = "visual.pt"
DRAWS = 3  # faces with which each clip is evaluated
FACES_PER_BATCH, CLIPS_PER_BATCH = 128, 32
STAGES = "clips", "audio", "visual", "fused"
WHOLE_CLIP_S = 3.0
"""Of a clip's 3 to 5 s all but silence fits into so much; what is longer is cropped."""
CROP_PLACES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Where in a whole clip lie the crops whose probabilities are averaged, from its start to its end."""


@dataclass(frozen=True)
class MrpnRecipe:
    """What to train, and on whom; the defaults make the default bundle's network.

    visual, clips, audio, fused : of the four stages; of each the last epoch is kept, so no validation subject chooses.
    disturbances : train with what a car does to pictures and sound. Channels that say nothing the fused stage has
        anyway.
    """

    split: DeploymentSplit | Split = field(default_factory=lambda: deployment_split(0))
    seed: int = 0
    network: MrpnConfig = field(default_factory=MrpnConfig)
    visual: FitConfig = FitConfig(epochs=24, lr=4e-3, weight_decay=5e-2, keep="last")  # noqa: RUF009 (immutable)
    clips: FitConfig = FitConfig(epochs=80, lr=3e-3, weight_decay=1e-1, keep="last")  # noqa: RUF009
    audio: FitConfig = FitConfig(epochs=15, lr=1e-3, weight_decay=1e-1, keep="last")  # noqa: RUF009
    fused: FitConfig = FitConfig(epochs=12, lr=1e-3, weight_decay=5e-2, keep="last")  # noqa: RUF009
    disturbances: bool = True
    specs: Specs = field(default_factory=lambda: (AudioSpec(), VideoSpec(), WindowSpec()))

    @property
    def measured(self) -> tuple[int, ...]:
        """Actors whose figures are reported: those to test on or, where there are none, to validate on."""
        return self.split.test or self.split.validation


class MrpnStages:
    """The stages of `model`, on the corpora in `data`; checkpoints and metrics go to `folder`, faces to `cache`."""

    def __init__(self, recipe: MrpnRecipe, model: Mrpn, data: Path, folder: Path, cache: Path) -> None:
        self.recipe, self.model, self.data, self.folder, self.cache = recipe, model, data, folder, cache
        self.encoders = {name: modality.encoder for name, modality in model.modalities.items()}
        self._classifiers = {
            name: _classifier(modality, len(CLASSIFIED[name])) for name, modality in model.modalities.items()
        }

    def take_visual(self, checkpoint: Path) -> None:
        """Go on from another training's visual stage, finished or not: it saw no actor, so that folds can share it.

        Raises
        ------
        ArtefactError : no such checkpoint, or one of another network, recipe, or share of the faces.
        """
        own = self.folder / VISUAL_CHECKPOINT
        if own.exists():
            return
        load_pretrained(self._classifiers["visual"], checkpoint, key="model")
        steps = _steps(len(self._own_faces.labels), FACES_PER_BATCH)
        read_checkpoint(checkpoint, self.recipe.visual, self.recipe.seed, steps, self._visual_options)
        with written_whole(own) as partial:
            shutil.copyfile(checkpoint, partial)

    def train_visual(self) -> None:
        """Train the visual encoder as a classifier of FER2013."""
        recipe, classifier, video = self.recipe, self._classifiers["visual"], self.recipe.specs[1]
        faces = self._own_faces
        crops, labels = faces.images, torch.from_numpy(faces.labels)
        steps = _steps(len(crops), FACES_PER_BATCH)

        def batches(epoch: int) -> Iterator[dict[str, Tensor]]:
            rng, generator = np.random.default_rng((recipe.seed, 2, epoch)), self._generator(epoch)
            order = torch.randperm(len(crops), generator=generator)[: steps * FACES_PER_BATCH]
            for chosen in order.split(FACES_PER_BATCH):
                disturbed = torch.from_numpy(self._disturbed(crops[chosen], rng))
                batch = {"faces": jitter_faces(disturbed, video, FaceJitter(), generator)}
                yield mixup(batch, labels[chosen], len(FER2013_LABELS), rng)

        def loss_of(batch: dict[str, Tensor]) -> Tensor:
            return _classifier_loss(classifier, batch["faces"], batch["target"])

        def validate() -> dict[str, float]:
            validation = self.faces("PublicTest")
            probs = self._classified(center_faces(torch.from_numpy(validation.images), video))
            return figures_of_merit(probs.numpy(), validation.labels)

        fit(
            "visual", classifier, classifier.parameters(), batches, steps, loss_of, validate, recipe.visual,
            recipe.seed, self.folder, options=self._visual_options,
        )  # fmt: skip

    def predict_faces(self, usage: Usage) -> tuple[Probs, Ints]:
        """What the visual encoder as a classifier says of FER2013's faces, and the labels.

        Of each as it is, and averaged over it and its mirror image.
        """
        faces = self.faces(usage)
        inputs = center_faces(torch.from_numpy(faces.images), self.recipe.specs[1])
        with torch.inference_mode():
            seen, mirrored = self._classified(inputs), self._classified(inputs.flip(3))
        return {"probs_visual": seen.numpy(), "probs_visual_mirrored": (seen + mirrored).numpy() / 2}, faces.labels

    def _classified(self, faces: Tensor) -> Tensor:
        """Of network inputs (B, 1, H, W): probabilities (B, FER2013's labels)."""
        classifier = self._classifiers["visual"]
        inputs = faces.to(memory_format=layout_of(classifier[0]))
        return torch.cat([classifier(part).softmax(1) for part in inputs.split(512)])

    def train_clips(self) -> tuple[Probs, Ints]:
        """Train the audio encoder as a classifier of whole clips, far cheaper than their overlapping segments.

        Returns what it says of the measured actors' clips, and the labels.
        """
        recipe, classifier, audio = self.recipe, self._classifiers["audio"], whole_clip(self.recipe.specs[0])
        train = self.speech(recipe.split.train)
        steps = _steps(len(train), CLIPS_PER_BATCH)

        def batches(epoch: int) -> Iterator[dict[str, Tensor]]:
            rng, generator = np.random.default_rng((recipe.seed, 3, epoch)), self._generator(epoch)
            for chosen in _shuffled(train, rng, steps):
                segments = np.stack([_whole(self._changed(clip.wave, rng), audio, rng.random()) for clip in chosen])
                batch = {"segments": torch.from_numpy(segments)[:, None]}
                mask_spectrograms(batch["segments"], generator)
                yield mixup(batch, _labels(chosen), len(RAVDESS_LABELS), rng)

        def loss_of(batch: dict[str, Tensor]) -> Tensor:
            return _classifier_loss(classifier, batch["segments"][:, 0], batch["target"])

        def predict(actors: Sequence[int], places: Sequence[float]) -> tuple[Probs, Ints]:
            probs = []
            for clip in self.speech(actors):
                crops = np.stack([_whole(clip.wave, audio, place) for place in places])
                probs.append(classifier(torch.from_numpy(crops)).softmax(1).mean(0))
            return {"probs_clip": torch.stack(probs).numpy()}, _labels(self.speech(actors)).numpy()

        fit(
            "clips", classifier, classifier.parameters(), batches, steps, loss_of,
            lambda: _figures(*predict(recipe.split.validation, (0.5,))), recipe.clips, recipe.seed, self.folder,
        )  # fmt: skip
        with torch.inference_mode():
            return predict(recipe.measured, CROP_PLACES)

    def train_audio(self) -> Mapping[str, float]:
        """Train the audio encoder, aggregator and branch on segments; returns figures on the validation actors."""
        recipe, model, (audio, _, window) = self.recipe, self.model, self.recipe.specs
        head = model.head
        train, validation = self.speech(recipe.split.train), self.speech(recipe.split.validation)
        steps = _steps(len(train), CLIPS_PER_BATCH)
        batch_of_validation = _audio_batch([audio_slots(clip.wave, audio, window) for clip in validation])

        def batches(epoch: int) -> Iterator[dict[str, Tensor]]:
            rng, generator = np.random.default_rng((recipe.seed, epoch)), self._generator(epoch)
            for chosen in _shuffled(train, rng, steps):
                batch = _audio_batch([audio_slots(self._changed(clip.wave, rng), audio, window) for clip in chosen])
                mask_spectrograms(batch["segments"], generator)
                batch["audio_mask"] *= random_gaps(batch["audio_mask"].shape, generator)
                yield mixup(batch, _labels(chosen), len(RAVDESS_LABELS), rng)

        def loss_of(batch: dict[str, Tensor]) -> Tensor:
            with _in_bfloat16():
                heard = model.embeddings("audio", batch)
            logits = head.branch["audio"](head.features("audio", heard, batch["audio_mask"]))
            return F.cross_entropy(logits, batch["target"], label_smoothing=LABEL_SMOOTHING)

        def validate() -> dict[str, float]:
            probs = model.branch_logits("audio", batch_of_validation).softmax(1)
            return figures_of_merit(probs.numpy(), _labels(validation).numpy())

        parameters = [
            *self.encoders["audio"].parameters(), *head.aggregator["audio"].parameters(),
            *head.feature_norm["audio"].parameters(), *head.branch["audio"].parameters(),
        ]  # fmt: skip
        return fit(
            "audio", model, parameters, batches, steps, loss_of, validate, recipe.audio, recipe.seed, self.folder
        )

    def train_fused(self) -> Mapping[str, float]:
        """Train the whole N2 with the multi-term loss on the composite; the visual encoder stays as FER2013 left it.

        Now and then a face or a voice is there and says nothing: the fusion learns to leave it.
        """
        recipe, model = self.recipe, self.model
        train, pool = self.speech(recipe.split.train), self.pool("Training")
        validation = self.windows(recipe.split.validation, "PublicTest")[::DRAWS]  # one of each clip
        steps = _steps(len(train), CLIPS_PER_BATCH)
        distinct = recipe.specs[2].image_slots // FACE_REPEATS
        visual, audio = self.encoders["visual"], self.encoders["audio"]
        visual.requires_grad_(False)

        def batches(epoch: int) -> Iterator[dict[str, Tensor]]:
            rng, generator = np.random.default_rng((recipe.seed, 1, epoch)), self._generator(epoch)
            disturbed = pool.through(lambda crop: spoil_face(self._disturbed(crop[None], rng), rng)[0])
            for chosen in _shuffled(train, rng, steps):
                heard = [replace(clip, wave=spoil_speech(self._changed(clip.wave, rng), rng)) for clip in chosen]
                batch = _tensors([composite_window(clip, disturbed, recipe.specs, rng, distinct) for clip in heard])
                mask_spectrograms(batch["segments"], generator)
                for mask in ("audio_mask", "visual_mask"):
                    batch[mask] *= random_gaps(batch[mask].shape, generator)
                yield batch

        def loss_of(batch: dict[str, Tensor]) -> Tensor:
            visual.eval()  # frozen: its normalisation too
            faces = batch["faces"][:, ::FACE_REPEATS]  # (B, distinct, 1, H, W)
            seen = encode_valid(visual, faces, torch.ones(faces.shape[:2]))
            seen = seen.repeat_interleave(FACE_REPEATS, 1) * batch["visual_mask"].unsqueeze(2)
            with _in_bfloat16():
                heard = encode_valid(audio, batch["segments"], batch["audio_mask"])
            logits = model.head(seen, batch["visual_mask"], heard, batch["audio_mask"])
            return multi_term_loss(logits, batch["label"], LABEL_SMOOTHING)

        def validate() -> dict[str, float]:
            probs, labels = predict(model, validation)
            return figures_of_merit(probs["probs_fused"], labels)

        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        return fit("fused", model, trained, batches, steps, loss_of, validate, recipe.fused, recipe.seed, self.folder)

    def predict_audio(self, actors: Sequence[int]) -> tuple[Probs, Ints]:
        """What the audio branch alone says of the actors' clips, and the labels."""
        audio, _, window = self.recipe.specs
        clips = self.speech(actors)
        self.model.eval()
        with torch.inference_mode():
            logits = [
                self.model.branch_logits("audio", _audio_batch([audio_slots(clip.wave, audio, window)]))
                for clip in clips
            ]
        return {"probs_audio": torch.cat(logits).softmax(1).numpy()}, _labels(clips).numpy()

    def faces(self, usage: Usage) -> Fer2013:
        """Aligned FER2013 faces, made once."""
        if usage not in self._faces:
            path, video = self.data / "fer2013.zip", self.recipe.specs[1]
            self._faces[usage] = aligned_fer2013(path, usage, video, MediaPipeFaceDetector().detect, self.cache)
        return self._faces[usage]

    def pool(self, usage: Usage) -> FacePool:
        """Faces to deal to actors; of Training, those that the visual encoder was not trained on."""
        faces = self.faces(usage)
        if usage == "Training":
            faces = _part(faces, self._in_pool)
        return FacePool(faces, self.recipe.seed)

    def speech(self, actors: Sequence[int]) -> list[Speech]:
        """The actors' clips, read once."""
        key = tuple(actors)
        if key not in self._speech:
            self._speech[key] = read_ravdess(self.data / "ravdess-speech-16k", actors)
        return self._speech[key]

    def windows(self, actors: Sequence[int], usage: Usage) -> list[Window]:
        """Composite windows on which the actors are evaluated: `DRAWS` of each clip, one after another."""
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
        """Which of FER2013's training faces the fused stage gets; none where there is no such stage."""
        share = FER_POOL_FRACTION if len(self.encoders) > 1 else 0.0
        return np.random.default_rng(self.recipe.seed).random(len(self.faces("Training").labels)) < share

    @property
    def _own_faces(self) -> Fer2013:
        """Those of the visual stage."""
        return _part(self.faces("Training"), ~self._in_pool)

    @property
    def _visual_options(self) -> Mapping[str, bool]:
        """By which a visual stage is known beyond its folder."""
        return {"disturbances": self.recipe.disturbances}

    def _changed(self, wave: npt.NDArray[np.int16], rng: np.random.Generator) -> npt.NDArray[np.int16]:
        changed = change_speech(wave, rng)
        return disturb_speech(changed, rng) if self.recipe.disturbances else changed

    def _disturbed(self, crops: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        return disturb_faces(crops, rng) if self.recipe.disturbances else crops

    def _generator(self, epoch: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.recipe.seed * 100_003 + epoch)


def stages_of(network: MrpnConfig) -> Sequence[str]:
    """Those in which such a network is trained: of one modality its own, and without side branches none for them."""
    if len(network.modalities) == 1:
        return {"audio": STAGES[:2], "visual": STAGES[2:3]}[network.modalities[0]]
    return [stage for stage in STAGES if stage != "audio" or network.fusion != "n0"]


def predict(model: Mrpn, windows: Sequence[Window]) -> tuple[Probs, Ints]:
    """Untempered probabilities [shape=(n, labels)] of each output, and the labels."""
    parts: dict[str, list[npt.NDArray[np.float32]]] = {}
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(windows), CLIPS_PER_BATCH):
            for name, logits in model(_tensors(windows[start : start + CLIPS_PER_BATCH])).items():
                parts.setdefault(name, []).append(logits.softmax(1).numpy())
    probs = {name: np.concatenate(rows) for name, rows in parts.items()}
    return probs, np.array([window.label for window in windows])


def _part(faces: Fer2013, chosen: npt.NDArray[np.bool_]) -> Fer2013:
    return Fer2013(faces.images[chosen], faces.labels[chosen])


def _classifier(modality: Modality, labels: int) -> nn.Sequential:
    """A modality's encoder, to be trained by labels of single chunks."""
    classifier = nn.Sequential(modality.encoder, nn.Dropout(0.3), nn.Linear(modality.embedding_size, labels))
    return classifier.to(memory_format=layout_of(modality.encoder))  # type: ignore[call-overload]


def _classifier_loss(classifier: nn.Sequential, chunks: Tensor, target: Tensor) -> Tensor:
    """chunks : (B, 1, H, W). target : blended label probabilities (B, labels)."""
    with _in_bfloat16():
        logits = classifier(chunks.to(memory_format=layout_of(classifier[0])))
    return F.cross_entropy(logits.float(), target, label_smoothing=LABEL_SMOOTHING)


def _in_bfloat16() -> torch.autocast:
    """For encoders, where the processor has it; heads compute in float32."""
    return torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16())


def whole_clip(audio: AudioSpec) -> AudioSpec:
    """`audio`, but a single segment of `WHOLE_CLIP_S`, standardised by itself."""
    return replace(audio, segment_s=WHOLE_CLIP_S, step_s=WHOLE_CLIP_S, statistics_s=WHOLE_CLIP_S)


def _whole(wave: npt.NDArray[np.int16], audio: AudioSpec, place: float) -> npt.NDArray[np.float32]:
    """The one segment of `whole_clip` from `place`, 0..1, of the wave, or of the silence around it [(1, mels, n)]."""
    spare = len(wave) - audio.segment_samples
    before = round(max(0, -spare) * place)
    wave = np.pad(wave, (before, max(0, -spare) - before))[round(max(0, spare) * place) :][: audio.segment_samples]
    return audio_slots(wave, audio, WindowSpec(window_s=WHOLE_CLIP_S, step_s=WHOLE_CLIP_S))[0][0]


def _steps(examples: int, batch_size: int) -> int:
    """Batches of an epoch, all whole."""
    if examples < batch_size:
        raise InputError(
            f"{examples} examples to train on; expected a batch of {batch_size} or more. Fetch the corpus."
        )
    return examples // batch_size


def _figures(probs: Probs, labels: Ints) -> dict[str, float]:
    """Of the only output."""
    (only,) = probs.values()
    return figures_of_merit(only, labels)


def _labels(clips: Sequence[Speech]) -> Tensor:
    return torch.tensor([clip.label for clip in clips])


def _shuffled(clips: Sequence[Speech], rng: np.random.Generator, steps: int) -> Iterator[list[Speech]]:
    order = rng.permutation(len(clips))
    for step in range(steps):
        yield [clips[i] for i in order[step * CLIPS_PER_BATCH : (step + 1) * CLIPS_PER_BATCH]]


def _tensors(windows: Sequence[Window]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in stack_windows(windows).items()}


def _audio_batch(windows: Sequence[tuple[npt.NDArray, npt.NDArray]]) -> dict[str, Tensor]:
    segments, masks = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*windows, strict=True))
    return {"segments": segments, "audio_mask": masks}
