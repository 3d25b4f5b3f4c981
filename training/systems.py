"""Which recipe trains which system, on which corpus: what edge-train is made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bundle.errors import ArgumentError
from corpora.folds import PROTOCOLS, DeploymentSplit, Split
from networks.systems import SYSTEMS, variant_config
from training.attention_fusion import AttentionFusionRecipe
from training.clip_sources import CLIP_SOURCES
from training.clips import ClipTraining
from training.fercnn import FercnnRecipe
from training.mrpn import MrpnRecipe, MrpnTraining
from training.paper_mrpn import PaperMrpnRecipe
from training.recipe import Recipe
from training.transfer import TransferRecipe

Weights = Mapping[str, Path]


@dataclass(frozen=True)
class Request:
    """What to train, on what; what is None, the system or the corpus says. weights : published ones, by part."""

    data: Path
    output: Path
    system: str = "mrpn"
    variant: str | None = None
    corpus: str = "composite"
    protocol: str | None = None
    fold: int = 0
    weights: Weights = field(default_factory=dict)
    epochs: int | None = None
    seed: int = 0
    device: str = "cpu"


def train(request: Request) -> Mapping[str, Any]:
    """Train as asked, and leave `<system>.pt` in the output folder; returns the figures of the held-out subjects.

    Raises
    ------
    ArgumentError : an unknown name; what does not go together.
    ArtefactError : the folder holds another training; weights of another network.
    InputError : the corpus cannot be read.
    """
    if request.system not in SYSTEMS:
        raise ArgumentError(f"system is {request.system!r}; expected one of {', '.join(SYSTEMS)}.")
    variant, config = variant_config(request.system, request.variant)
    source = CLIP_SOURCES[request.corpus]
    protocol = request.protocol or source.protocols[0]
    split = _split(source.protocols, protocol, request.fold)
    if (request.system, variant) == ("mrpn", "slim"):
        if request.corpus != "composite" or protocol != source.protocols[0] or request.weights or request.epochs:
            raise ArgumentError(
                "the slim MRPN has a recipe of its own: from nothing, in three stages, on the composite, split for "
                "deployment; expected no --corpus, --protocol, --weights or --epochs, or another --variant."
            )
        return MrpnTraining(MrpnRecipe(request.fold, request.seed), request.data, request.output).run()
    recipe = RECIPES[request.system](config, source.labels, request.weights)
    if request.epochs:
        recipe.fit = replace(recipe.fit, epochs=request.epochs)
    clips = source.open(request.data, request.output, split, recipe.faces, request.seed)
    return ClipTraining(
        request.system, variant, recipe, split, clips, request.output, source.labels, recipe.specs, request.seed,
        request.device,
    ).run()  # fmt: skip


def _mrpn(config: Any, labels: Sequence[str], weights: Weights) -> Recipe:
    if config.fusion == "n0-late":
        return PaperMrpnRecipe(config, labels, branches=weights)
    return PaperMrpnRecipe(config, labels, resnets=weights)


def _attention_fusion(config: Any, labels: Sequence[str], weights: Weights) -> Recipe:
    return AttentionFusionRecipe(config, labels, kinetics=weights.get("visual"), imagenet=weights.get("audio"))


def _transfer(config: Any, labels: Sequence[str], weights: Weights) -> Recipe:
    network = replace(config, labels=len(labels), stn_labels=len(labels))
    return TransferRecipe(network, cnn14=weights.get("audio"), stn=weights.get("visual"))


def _fercnn(config: Any, labels: Sequence[str], weights: Weights) -> Recipe:
    if weights:
        raise ArgumentError("no weights were published for fercnn; expected no --weights.")
    return FercnnRecipe(replace(config, labels=len(labels)))


RECIPES: Mapping[str, Callable[[Any, Sequence[str], Weights], Recipe]] = {
    "mrpn": _mrpn,
    "attention-fusion": _attention_fusion,
    "transfer": _transfer,
    "fercnn": _fercnn,
}


def _split(protocols: Sequence[str], protocol: str, fold: int) -> Split | DeploymentSplit:
    if protocol not in protocols:
        raise ArgumentError(f"protocol is {protocol!r}; expected one of {', '.join(protocols)}.")
    folds = PROTOCOLS[protocol]
    if fold >= len(folds):
        raise ArgumentError(f"fold is {fold}; expected 0..{len(folds) - 1} of {protocol}.")
    return folds[fold]
