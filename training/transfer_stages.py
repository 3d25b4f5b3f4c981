"""The stages of Luna-Jiménez et al. 2021, one part trained after the other, with the published hyper-parameters."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from sklearn.metrics import f1_score
from sklearn.svm import SVC
from torch import Tensor, nn
from tqdm import tqdm

from bundle.labels import FER2013_LABELS, RAVDESS_LABELS, VALENCE_AROUSAL
from corpora.av_clip import AvClip
from corpora.fer2013 import Fer2013
from networks.transfer import MaxVoting, SpatialTransformer, Transfer, embed_images
from training.late_fusion import BEST, concatenated, fusion_models, linear_layer
from training.saliency import SaliencyMap
from training.transfer import TransferRecipe, stn_inputs

Batch = Mapping[str, Tensor]
Examples = tuple[Tensor, ...]
"""What a network takes, and last the labels: each (n, ...)."""

VALENCES = ("negative", "neutral", "positive")
VALENCE_OF_FER2013 = tuple(int(np.sign(VALENCE_AROUSAL[label][0])) + 1 for label in FER2013_LABELS)
"""Position in VALENCES of each FER2013 class: the side of the emotion wheel on which `bundle.labels` has it."""

FER2013_OF_RAVDESS = tuple(FER2013_LABELS.index(label.replace("calm", "neutral")) for label in RAVDESS_LABELS)
"""Class of a seven-class network whose posterior each RAVDESS label gets; calm has neutral's (section 4.2)."""


def adam(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8)


def sgd(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=1e-3, momentum=0.9, weight_decay=5e-4)


@dataclass(frozen=True)
class Stage:
    """How one network is trained (sections 4.1, 4.2).

    epochs, iterations : at most. patience : epochs without a better score after which training stops.
    weighted : classes count in the loss by the inverse of their number of examples.
    """

    batch_size: int
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] = adam
    epochs: int = 500
    iterations: int = 30_000
    patience: int = 500
    score: Literal["accuracy", "f1"] = "accuracy"
    weighted: bool = False


STAGES: Mapping[str, Stage] = {
    "stn": Stage(128, iterations=10**9, patience=30, weighted=True),
    "sequence": Stage(64, iterations=10**9, patience=30, score="f1", weighted=True),
    "cnn14": Stage(24, epochs=10**9, patience=10**9),
    "alexnet": Stage(24, sgd, iterations=10**9),
}
"""Of the paper, which is silent on the sequence model's limit of epochs (the STN's) and AlexNet's batch (CNN-14's)."""


def train_in_stages(
    recipe: TransferRecipe,
    system: Transfer,
    train: Sequence[AvClip],
    validation: Sequence[AvClip],
    seed: int = 0,
    stages: Mapping[str, Stage] = STAGES,
) -> dict[str, float]:
    """Train the system in place: spatial transformer, sequence model, CNN-14, then the fusion of their posteriors.

    Each keeps its best epoch on the validation clips, as in the paper, which reports its figures on the same. It runs
    where the system's weights are.

    Returns
    -------
    Best score of each on the validation clips, 0..1: "stn" accuracy of images, "sequence" F1, "cnn14" and "fused"
    accuracy.
    """
    device = system.head.fusion.weight.device
    sets = []
    for clips in (train, validation):
        batch = {name: tensor.to(device) for name, tensor in clip_batch(recipe, clips).items()}
        sets.append((batch, torch.tensor([clip.label for clip in clips], device=device)))
    figures = {}
    if recipe.fine_tune:
        images = [valid_images(batch, label) for batch, label in sets]
        figures["stn"] = train_stage(system.visual.stn, images[0], images[1], stages["stn"], seed)
    if recipe.network.lstm_size:
        windows = [(image_embeddings(system, batch), batch["visual_mask"], label) for batch, label in sets]
        figures["sequence"] = train_stage(system.head.sequence, windows[0], windows[1], stages["sequence"], seed)
    sounds = [(batch["log_mel"], label) for batch, label in sets]
    figures["cnn14"] = train_stage(system.audio, sounds[0], sounds[1], stages["cnn14"], seed)
    posteriors = [(fused_posteriors(system, batch), label.cpu().numpy()) for batch, label in sets]
    figures["fused"] = fuse(system, posteriors[0], posteriors[1])
    return figures


def train_stage(model: nn.Module, train: Examples, validation: Examples, stage: Stage, seed: int = 0) -> float:
    """Train what of `model` is not frozen, leave the weights of its best epoch in it, and return that epoch's score."""
    torch.manual_seed(seed)
    *inputs, labels = train
    weights = _class_weights(model, train) if stage.weighted else None
    optimizer = stage.optimizer(parameter for parameter in model.parameters() if parameter.requires_grad)
    best, best_state, idle, iterations = -1.0, {}, 0, 0
    epochs = min(stage.epochs, -(-stage.iterations // -(-len(labels) // stage.batch_size)))
    for _ in tqdm(range(epochs), desc=type(model).__name__, leave=False):
        model.train()
        for chosen in torch.randperm(len(labels)).split(stage.batch_size)[: stage.iterations - iterations]:
            loss = F.cross_entropy(model(*(tensor[chosen] for tensor in inputs)), labels[chosen], weights)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            iterations += 1
        score, idle = _score(model, validation, stage.score), idle + 1
        if score > best:
            best, idle = score, 0
            best_state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        if idle >= stage.patience or iterations >= stage.iterations:
            break
    model.load_state_dict(best_state)
    return best


def fuse(
    system: Transfer,
    train: tuple[npt.NDArray, npt.NDArray],
    validation: tuple[npt.NDArray, npt.NDArray],
    model: str = BEST,
) -> float:
    """Set the head's late fusion to a model trained on posteriors and labels; its accuracy on the validation's.

    model : of `training.late_fusion.fusion_models`.

    Raises
    ------
    ArgumentError : it is an SVM or k-NN.
    """
    fusion = fusion_models()[model].fit(*train)
    weight, bias = linear_layer(fusion)
    system.head.fusion.weight.data.copy_(torch.from_numpy(weight))
    system.head.fusion.bias.data.copy_(torch.from_numpy(bias))
    return float(fusion.score(*validation))


def pretrain_stn(
    stn: SpatialTransformer,
    train: Fer2013,
    validation: Fer2013,
    saliency: SaliencyMap,
    path: Path,
    stage: Stage = STAGES["stn"],
) -> float:
    """Train on FER2013, for three valences or its seven classes as the network has outputs, and save it to `path`.

    The paper pretrains on AffectNet, which is not at hand. Returns the accuracy on `validation`.
    """
    valences = stn.fc2.out_features == len(VALENCES)
    classes = torch.tensor(VALENCE_OF_FER2013 if valences else range(len(FER2013_LABELS)))
    data: list[Examples] = []
    for faces in (train, validation):
        images = (torch.from_numpy(each).unsqueeze(1) for each in stn_inputs(faces.images, saliency))
        data.append((*images, classes[torch.from_numpy(faces.labels)]))
    accuracy = train_stage(stn, data[0], data[1], stage)
    torch.save(stn.state_dict(), path)
    return accuracy


def vote_of_seven(stn: SpatialTransformer, batch: Batch) -> Tensor:
    """RAVDESS labels (n,) by max. voting of a seven-class network as pretrained; calm and neutral share a posterior.

    Of two equal posteriors the first label is voted for, so that "calm" never is.
    """
    stn.eval()
    layers = in_batches(
        lambda *part: embed_images(stn, *part)["posteriors"], batch["faces"], batch["saliency"], batch["visual_mask"]
    )
    return MaxVoting()(layers[:, :, FER2013_OF_RAVDESS], batch["visual_mask"]).argmax(1)


def embedding_svm() -> SVC:
    """The untrained classifier of embeddings of AlexNet's fc7 or of CNN-14 (section 3.2.1)."""
    return SVC(kernel="rbf", C=0.001)


def clip_batch(recipe: TransferRecipe, clips: Sequence[AvClip]) -> dict[str, Tensor]:
    """All clips as evaluation wants them, by name."""
    windows = [recipe.inputs(clip, None) for clip in clips]
    return {name: torch.from_numpy(np.stack([window[name] for window in windows])) for name in windows[0]}


def valid_images(batch: Batch, labels: Tensor) -> Examples:
    """All images, their saliency maps, and the label of the clip that each is from: "heritaged" (section 3.3)."""
    valid = batch["visual_mask"].bool()
    return batch["faces"][valid], batch["saliency"][valid], labels.unsqueeze(1).expand(valid.shape)[valid]


def image_embeddings(system: Transfer, batch: Batch) -> Tensor:
    """The layer of the spatial transformer that the sequence model sees, (n, T, E)."""
    encoder = system.visual.eval()
    return in_batches(
        lambda *part: embed_images(encoder.stn, *part)[encoder.layer],
        batch["faces"], batch["saliency"], batch["visual_mask"],
    )  # fmt: skip


def fused_posteriors(system: Transfer, batch: Batch) -> npt.NDArray[np.float32]:
    """Input of a late fusion: posteriors of the sound and of the face [shape=(n, 2 labels)]."""
    system.eval()
    visual = in_batches(system.head.sequence, image_embeddings(system, batch), batch["visual_mask"])
    audio = in_batches(system.audio, batch["log_mel"])
    return concatenated(audio.softmax(1).cpu().numpy(), visual.softmax(1).cpu().numpy())


def in_batches(function: Callable[..., Tensor], *inputs: Tensor, size: int = 64) -> Tensor:
    """`function` of all, a part at a time and without gradients; a module is to be in evaluation mode."""
    with torch.no_grad():
        return torch.cat([function(*part) for part in zip(*(tensor.split(size) for tensor in inputs), strict=True)])


def _class_weights(model: nn.Module, train: Examples) -> Tensor:
    """Inverse of each class's number of examples; 0 for a class without any."""
    *inputs, labels = train
    classes = in_batches(model.eval(), *(tensor[:1] for tensor in inputs)).shape[1]
    counts = torch.bincount(labels, minlength=classes).float()
    return torch.where(counts > 0, 1 / counts.clamp_min(1), 0.0)


def _score(model: nn.Module, data: Examples, score: Literal["accuracy", "f1"]) -> float:
    *inputs, labels = data
    predictions = in_batches(model.eval(), *inputs).argmax(1)
    if score == "f1":
        return float(f1_score(labels.cpu().numpy(), predictions.cpu().numpy(), average="macro"))
    return float((predictions == labels).float().mean())
