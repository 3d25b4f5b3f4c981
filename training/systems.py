"""Which recipe trains which system, on which corpus: what edge-train is made of."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bundle.errors import ArgumentError, InputError
from corpora.folds import PROTOCOLS, DeploymentSplit, Split
from corpora.reading import OnError
from networks.mrpn import MrpnConfig
from networks.systems import SYSTEMS, variant_config
from training.attention_fusion import AttentionFusionRecipe
from training.clip_sources import CLIP_SOURCES, Wanted
from training.clips import ClipTraining
from training.cnn14 import Cnn14Recipe
from training.fercnn import FercnnRecipe
from training.fit import Keep, Precision
from training.mrpn import MrpnTraining
from training.mrpn_stages import STAGES, MrpnRecipe, stages_of
from training.paper_mrpn import SLIM_RECIPE, PaperMrpnRecipe
from training.ranks import ranks
from training.recipe import Recipe
from training.transfer import TransferRecipe

Weights = Mapping[str, Path]


@dataclass(frozen=True)
class Request:
    """What to train, on what; what is None, the system or the corpus says.

    weights : published ones to start from, by part. options : of the recipe, by name. keep, precision : of
    `training.fit.FitConfig`; without patience where the last epoch is kept. on_error : what to do about films that
    cannot be read. cache : for what is made of the corpus, where trainings are to share it (default: the output).
    """

    data: Path
    output: Path
    system: str = "mrpn"
    variant: str | None = None
    corpus: str = "composite"
    protocol: str | None = None
    fold: int = 0
    weights: Weights = field(default_factory=dict)
    options: Mapping[str, bool | int | str] = field(default_factory=dict)
    epochs: int | None = None
    batch_size: int | None = None
    keep: Keep = "best"
    precision: Precision = "float32"
    on_error: OnError = "refuse"
    cache: Path | None = None
    seed: int = 0
    device: str = "cpu"
    tensorboard: bool = False


def train(request: Request) -> Mapping[str, Any]:
    """Train as asked, and leave `<system>.pt` in the output folder; returns the figures of the held-out subjects.

    The slim MRPN on the composite leaves none where it is trained with one modality alone.

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
    if (request.system, variant, request.corpus) == ("mrpn", "slim", "composite"):
        if ranks() > 1:
            raise ArgumentError(f"{ranks()} processes for the slim MRPN, which trains in one; expected no torchrun.")
        slim = _slim_recipe(request, config, split)
        visual = request.weights.get("visual")
        return MrpnTraining(slim, request.data, request.output, request.cache, visual, protocol).run()
    if not source.faces:
        _check_needs_no_faces(request, variant, config)
    recipe = _recipe(request, config, source.labels)
    cache = request.cache or request.output
    clips = source.open(Wanted(request.data, cache, split, recipe.faces, request.seed, request.on_error))
    return ClipTraining(
        request.system, variant, recipe, split, clips, request.output, source.labels, recipe.specs, request.seed,
        request.device, request.corpus, protocol, request.tensorboard,
    ).run()  # fmt: skip


SLIM_OPTIONS: Mapping[str, type] = {
    "modalities": str, "fusion": str, "visual_width": int, "audio_width": int,
    **{f"{stage}_epochs": int for stage in STAGES}, "average": bool, "disturbances": bool,
}  # fmt: skip
"""Of the slim MRPN's recipe: fields of its network, and epochs of its stages.

modalities : "visual" or "audio" trains the stages of one alone. fusion : of both; "n0-late" is not for stages.
average : of `FitConfig`, in all stages. disturbances : of `MrpnRecipe`.
"""


def _slim_recipe(request: Request, config: MrpnConfig, split: DeploymentSplit | Split) -> MrpnRecipe:
    allowed = Request(
        request.data, request.output, variant=request.variant, protocol=request.protocol, fold=request.fold,
        weights=request.weights, cache=request.cache, options=request.options, seed=request.seed,
    )  # fmt: skip
    wrong = [name for name, value in request.options.items() if type(value) is not SLIM_OPTIONS.get(name)]
    wrong += request.weights.keys() - {"visual"}
    if request != allowed or wrong:
        raise ArgumentError(
            "on the composite the slim MRPN has a recipe of its own, in stages; expected no options but --cache, "
            "--protocol, --fold, --seed, --threads, --weights visual=visual.pt of another fold, and --set of "
            f"{', '.join(SLIM_OPTIONS)}, or another --variant."
        )
    changes: dict[str, Any] = dict(request.options)
    average, disturbances = changes.pop("average", False), changes.pop("disturbances", True)
    epochs = {stage: changes.pop(f"{stage}_epochs") for stage in STAGES if f"{stage}_epochs" in changes}
    if changes.get("fusion") == "n0-late":
        raise ArgumentError(
            "fusion is n0-late, which starts from a network per modality; expected n0, n1, n2, or --variant n0-late."
        )
    if "modalities" in changes:
        if request.weights or "fusion" in changes:
            raise ArgumentError("modalities leaves no use for --weights and fusion; expected one or the other.")
        changes["modalities"] = tuple(changes["modalities"].split(","))
    recipe = MrpnRecipe(split, request.seed, replace(config, **changes), disturbances=disturbances)
    trained = stages_of(recipe.network)
    idle = [f"{stage}_epochs" for stage in epochs if stage not in trained]
    if idle:
        raise ArgumentError(
            f"{', '.join(idle)}: this network has no such stage; expected epochs of {', '.join(trained)}."
        )
    fits = {stage: replace(getattr(recipe, stage), average=average) for stage in STAGES}
    return replace(recipe, **fits | {stage: replace(fits[stage], epochs=count) for stage, count in epochs.items()})


def _recipe(request: Request, config: Any, labels: Sequence[str]) -> Recipe:
    make, known = RECIPES[request.system]
    parts = WEIGHTED_PARTS[request.system](config)
    strangers = sorted(request.weights.keys() - parts)
    if strangers:
        raise ArgumentError(
            f"--weights names {', '.join(strangers)}; expected parts of this {request.system} that published weights "
            f"can be loaded into: {', '.join(parts) or 'it has none'}."
        )
    sizes = NETWORK_OPTIONS[request.system]
    wrong = [name for name, value in request.options.items() if type(value) is not (known | sizes).get(name)]
    if wrong:
        expected = ", ".join(f"{name}={kind.__name__}" for name, kind in (known | sizes).items()) or "none"
        raise ArgumentError(f"{request.system} has no option {', '.join(wrong)} of that kind; expected {expected}.")
    modalities = getattr(config, "modalities", ("visual", "audio"))
    idle = sorted(name for name in request.options if OF_ONE_MODALITY.get(name, modalities[0]) not in modalities)
    if idle:
        raise ArgumentError(f"{', '.join(idle)}: this network of {', '.join(modalities)} alone has no use for it.")
    config = replace(config, **{name: value for name, value in request.options.items() if name in sizes})
    options = {name: value for name, value in request.options.items() if name in known}
    recipe = make(config, labels, request.weights, **options)
    plain = Request(request.data, request.output)
    own = [
        name
        for name in ("keep", "epochs", "batch_size", "precision", "tensorboard")
        if getattr(request, name) != getattr(plain, name)
    ]
    if own and request.options.get("in_stages"):
        given = ", ".join(f"--{name.replace('_', '-')}" for name in own)
        raise ArgumentError(
            f"in_stages trains each stage as the paper does, and keeps its best epoch; expected no {given}."
        )
    fit = replace(recipe.fit, epochs=request.epochs or recipe.fit.epochs, precision=request.precision)
    recipe.fit = replace(fit, keep="last", patience=None) if request.keep == "last" else fit
    recipe.batch_size = request.batch_size or recipe.batch_size
    published = {part: path for part, path in request.weights.items() if path not in recipe.stages}
    recipe.options = {**recipe.options, **{f"{part}_weights": _sha256(path) for part, path in published.items()}}
    return recipe


def _sha256(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"--weights {path} is no file; expected published weights.")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _check_needs_no_faces(request: Request, variant: str, config: Any) -> None:
    seen = NEEDS_FACES[request.system]
    if seen(config) and not request.options.get("audio_only"):
        known = [f"--variant {name}" for name, each in SYSTEMS[request.system].variants.items() if not seen(each)]
        known += ["--set audio_only=true"] if "audio_only" in RECIPES[request.system][1] else []
        raise ArgumentError(
            f"{request.system} {variant} needs faces, and {request.corpus} has none; expected {' or '.join(known)}, or "
            "a corpus with faces."
        )


def _mrpn(config: Any, labels: Sequence[str], weights: Weights, **options: Any) -> Recipe:
    options = {**(SLIM_RECIPE if config.small_input else {}), **options}
    if config.fusion == "n0-late":
        return PaperMrpnRecipe(config, labels, branches=weights, **options)
    return PaperMrpnRecipe(config, labels, resnets=weights, **options)


def _attention_fusion(config: Any, labels: Sequence[str], weights: Weights) -> Recipe:
    if config.loss != "none" and ranks() > 1:
        raise ArgumentError(
            f"{ranks()} processes for the {config.loss} loss, which is of pairs in a batch; expected one."
        )
    return AttentionFusionRecipe(config, labels, kinetics=weights.get("visual"), imagenet=weights.get("audio"))


def _transfer(config: Any, labels: Sequence[str], weights: Weights, **options: Any) -> Recipe:
    if options.get("frozen_blocks") and "audio" not in weights:
        raise ArgumentError("frozen_blocks leaves layers as they were pretrained; expected --weights audio=FILE.")
    audio_only, given = options.pop("audio_only", False), options.keys() | weights.keys()
    network = replace(config, labels=len(labels), stn_labels=options.pop("stn_labels", len(labels)))
    if audio_only:
        wrong = sorted(given - {"frozen_blocks", "speech_only", "audio"})
        if wrong:
            raise ArgumentError(
                f"audio_only leaves no use for {', '.join(wrong)}; expected frozen_blocks, speech_only."
            )
        return Cnn14Recipe(network, cnn14=weights.get("audio"), **options)
    if not options.get("fine_tune", True) and "visual" not in weights:
        raise ArgumentError("fine_tune=false leaves a part as it was pretrained; expected --weights visual=FILE.")
    return TransferRecipe(network, cnn14=weights.get("audio"), stn=weights.get("visual"), **options)


def _fercnn(config: Any, labels: Sequence[str], _: Weights) -> Recipe:
    return FercnnRecipe(config, labels)


RECIPES: Mapping[str, tuple[Callable[..., Recipe], dict[str, type]]] = {
    "mrpn": (_mrpn, {"standardize": str, "slices": bool, "alike": bool}),
    "attention-fusion": (_attention_fusion, {}),
    "transfer": (
        _transfer,
        {
            "fine_tune": bool,
            "stn_labels": int,
            "frozen_blocks": int,
            "speech_only": bool,
            "in_stages": bool,
            "audio_only": bool,
        },
    ),
    "fercnn": (_fercnn, {}),
}
"""By system: what makes its recipe of a configuration, labels and weights; and its further options, which the recipe
explains.
"""

NETWORK_OPTIONS: Mapping[str, dict[str, type]] = {
    "mrpn": {
        "visual_width": int, "audio_width": int, "aggregate_size": int, "hidden_size": int, "small_input": bool,
    },
    "attention-fusion": {
        "depth": int, "visual_width": int, "audio_width": int, "channels": int, "grid": int, "size_px": int,
    },
    "transfer": {"stn_width": int, "audio_width": int},
    "fercnn": {},
}  # fmt: skip
"""By system: fields of its network's configuration that --set may change, for networks that a CPU can train."""

OF_ONE_MODALITY = {"visual_width": "visual", "depth": "visual", "alike": "visual", "audio_width": "audio"}
"""Options that leave a network of the other modality alone as it is."""

WEIGHTED_PARTS: Mapping[str, Callable[[Any], Sequence[str]]] = {
    "mrpn": lambda config: config.modalities,
    "attention-fusion": lambda config: config.modalities,
    "transfer": lambda config: ("visual", "audio"),
    "fercnn": lambda config: (),
}
"""By system: the parts of a configuration that --weights may name."""

NEEDS_FACES: Mapping[str, Callable[[Any], bool]] = {
    "mrpn": lambda config: "visual" in config.modalities,
    "attention-fusion": lambda config: "visual" in config.modalities,
    "transfer": lambda config: True,
    "fercnn": lambda config: config.video_features > 0,
}
"""By system: whether a configuration of it does."""


def count_folds(corpus: str, protocol: str | None) -> int:
    """Folds of a protocol, or of the corpus's usual one.

    Raises
    ------
    ArgumentError : it has no such protocol.
    """
    protocols = CLIP_SOURCES[corpus].protocols
    protocol = protocol or protocols[0]
    _split(protocols, protocol, 0)
    return len(PROTOCOLS[protocol])


def _split(protocols: Sequence[str], protocol: str, fold: int) -> Split | DeploymentSplit:
    if protocol not in protocols:
        raise ArgumentError(f"protocol is {protocol!r}; expected one of {', '.join(protocols)}.")
    folds = PROTOCOLS[protocol]
    if fold >= len(folds):
        raise ArgumentError(f"fold is {fold}; expected 0..{len(folds) - 1} of {protocol}.")
    return folds[fold]
