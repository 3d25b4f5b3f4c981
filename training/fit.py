"""The training loop: seeded, resumable after any epoch, with progress and an ETA."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from bundle.errors import ArgumentError, ArtefactError
from corpora.cache import written_whole
from training.metrics import Metrics
from training.ranks import made_by_first, mean_over_ranks, rank, ranks, synchronised

PLATEAU_EPOCHS = 10
MOMENTUM = 0.9  # of SGD
AVERAGE_DECAY = 0.998  # per step, at most: the mean is of some 500, or of the last ninth of fewer than 4,500

Batch = TypeVar("Batch")
Keep = Literal["best", "last"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class FitConfig:
    """How long to train, and how.

    epochs : passes over the data, at most. lr : the first, or the peak of a one-cycle schedule.
    optimizer : "adamw", "adam", or "sgd" with momentum 0.9.
    schedule : "one-cycle": over all steps; "plateau": halved after ten epochs in which "validation_loss" did not fall
        (Chang & Skarbek 2021, 5.2); "constant".
    patience : stop after so many epochs without one that is as good as the best; None: never.
    keep : "best": the epoch that does best on the validation subjects; "last": the last, in whose choice they have no
        say, so that figures on them are honest.
    precision : "bfloat16": of matrix products in training (autocast), which is faster on a GPU and on a
        CPU with AMX or AVX-512 BF16.
    average : judge and keep the exponential moving average of the weights, and of what normalisation counts, over the
        steps, instead of what the last step left.

    Raises
    ------
    ArgumentError : an unknown name; no epoch; to keep the last epoch, and stop by the best.
    """

    epochs: int
    lr: float
    weight_decay: float
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    schedule: Literal["one-cycle", "plateau", "constant"] = "one-cycle"
    patience: int | None = None
    keep: Keep = "best"
    precision: Precision = "float32"
    average: bool = False

    def __post_init__(self) -> None:
        known = {"optimizer": _OPTIMIZERS, "schedule": _SCHEDULES, "keep": get_args(Keep)}
        for name, choices in (known | {"precision": get_args(Precision)}).items():
            if getattr(self, name) not in choices:
                raise ArgumentError(f"{name} is {getattr(self, name)!r}; expected one of {', '.join(choices)}.")
        if self.epochs < 1:
            raise ArgumentError(f"epochs are {self.epochs}; expected 1 or more.")
        if self.keep == "last" and self.patience is not None:
            raise ArgumentError(f"patience is {self.patience}; expected None where the last epoch is kept.")


def has_bfloat16() -> bool:
    """Whether this processor multiplies in bfloat16; on others a convolution takes ten times as long as in float32."""
    has = torch.cpu.get_capabilities()
    return any(has.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))  # the last is Arm's


_OPTIMIZERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "sgd": partial(torch.optim.SGD, momentum=MOMENTUM),
}
_SCHEDULES: Mapping[str, Callable[..., Any]] = {
    "one-cycle": lambda optimizer, lr, steps: torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps),
    "plateau": lambda optimizer, lr, steps: torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=PLATEAU_EPOCHS - 1, threshold=0
    ),
    "constant": lambda optimizer, lr, steps: torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0),
}


def fit(
    name: str,
    model: nn.Module,
    parameters: Iterable[nn.Parameter],
    batches: Callable[[int], Iterable[Any]],
    steps: int,
    loss_of: Callable[[Any], Tensor],
    validate: Callable[[], Mapping[str, float]],
    config: FitConfig,
    seed: int,
    folder: Path,
    tensorboard: bool = False,
    options: Mapping[str, bool] = MappingProxyType({}),
) -> Mapping[str, float]:
    """Train `model` in place and leave in it the weights of its best epoch, or of the last, as `config` says.

    Parameters
    ----------
    name : of the files `<name>.pt` (checkpoint, written after each epoch) and `<name>.csv` (metrics) in `folder`.
    batches : the batches of an epoch, `steps` of them, from its number, on which all their randomness depends. They are
        made by a thread of their own, one ahead.
    validate : figures on the validation subjects; the epoch with the highest "uar" is the best, the last of several.
        The schedule "plateau" goes by their "validation_loss".
    seed : of what is random in the model.
    tensorboard : write the metrics for it, too, to `tensorboard/<name>` in `folder`.
    options : what else its checkpoints are compared by.

    Processes that torchrun started share the work: each calls this with its share of each batch, gradients and losses
    are means over them, and the first validates and writes.

    Returns
    -------
    The figures of that epoch.

    Raises
    ------
    ArtefactError : as `read_checkpoint`, of the checkpoint in `folder`.
    """
    optimizer = _OPTIMIZERS[config.optimizer](parameters, lr=config.lr, weight_decay=config.weight_decay)
    schedule = _SCHEDULES[config.schedule](optimizer, config.lr, config.epochs * steps)
    path = folder / f"{name}.pt"
    device = next(model.parameters()).device
    average = _average(model) if config.average else None
    first, history, best = 0, [], {}
    if path.exists():
        saved = read_checkpoint(path, config, seed, steps, options)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        if average is not None:
            average.load_state_dict(saved["average"])
        first, history, best = saved["epoch"] + 1, saved["history"], saved["best"]
    objective = synchronised(model, loss_of)
    metrics = Metrics(folder, name, tensorboard and rank() == 0)
    progress = tqdm(total=config.epochs * steps, initial=first * steps, desc=name, file=sys.stderr, disable=rank() > 0)
    with progress, closing(metrics):
        for epoch in range(first, config.epochs):
            if best and config.patience is not None and epoch - best["figures"]["epoch"] > config.patience:
                break
            torch.manual_seed((seed * 100_003 + epoch) * ranks() + rank())
            model.train()
            total = 0.0
            for batch in _ahead(batches(epoch)):
                with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
                    loss = objective(batch)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if average is not None:
                    average.update_parameters(model)
                if config.schedule == "one-cycle":
                    schedule.step()
                total += loss.item()
                progress.update()
            model.eval()
            mean_loss = mean_over_ranks(total / steps, device)
            with _holding(model, average):
                with torch.inference_mode():
                    figures = {"epoch": epoch, "loss": mean_loss, **made_by_first(validate)}
                if not best or config.keep == "last" or figures["uar"] >= best["figures"]["uar"]:
                    best = {"figures": figures, "model": _copy_of(model)}
            if config.schedule == "plateau":
                schedule.step(figures["validation_loss"])
            history.append(figures)
            progress.set_postfix({key: f"{value:.3f}" for key, value in figures.items() if key != "epoch"})
            if rank() == 0:
                content = {
                    "config": _settings(config, seed, steps, options), "epoch": epoch, "model": model.state_dict(),
                    "average": average and average.state_dict(), "optimizer": optimizer.state_dict(),
                    "schedule": schedule.state_dict(), "history": history, "best": best,
                }  # fmt: skip
                metrics.write(history)
                save_whole(content, path)  # an interrupted run leaves the epoch before
    model.load_state_dict(best["model"])
    model.eval()
    return best["figures"]


def _average(model: nn.Module) -> AveragedModel:
    def move(averages: Any, values: Any, steps: Any) -> None:
        decay = min(AVERAGE_DECAY, float((1 + steps) / (10 + steps)))  # grows, that the random start is soon forgotten
        get_ema_multi_avg_fn(decay)(averages, values, steps)

    return AveragedModel(model, multi_avg_fn=move, use_buffers=True)


@contextmanager
def _holding(model: nn.Module, average: AveragedModel | None) -> Iterator[None]:
    """The average in place of the model's own weights, where there is one, and these again."""
    if average is None:
        yield
        return
    own = _copy_of(model)
    model.load_state_dict(average.module.state_dict())
    yield
    model.load_state_dict(own)


def _copy_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def read_checkpoint(
    path: Path, config: FitConfig, seed: int, steps: int, options: Mapping[str, bool] = MappingProxyType({})
) -> dict[str, Any]:
    """What `fit`, called with these, left there.

    Raises
    ------
    ArtefactError : it is no checkpoint, or one of a training with other settings, or another number of steps.
    """
    try:
        saved: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        found = saved["config"]
    except Exception as error:  # torch.load raises whatever the bytes provoke
        reason = f"{type(error).__name__}: {error}".split("\n")[0]
        raise ArtefactError(
            f"{path} cannot be read as a checkpoint ({reason}). Delete it to begin this stage again."
        ) from error
    if found != (asked := _settings(config, seed, steps, options)):
        raise ArtefactError(
            f"{path} was trained with {found}; this run asks for {asked}. Give the options and the data of that "
            "training, or choose another folder or checkpoint."
        )
    return saved


def _settings(config: FitConfig, seed: int, steps: int, options: Mapping[str, bool]) -> dict[str, Any]:
    """What a checkpoint is compared by."""
    return vars(config) | {"seed": seed, "steps": steps, **options}


def _ahead(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The same batches, each made while the network is at the one before it."""
    coming = iter(batches)
    with ThreadPoolExecutor(1) as thread:
        made = thread.submit(next, coming, None)
        while (batch := made.result()) is not None:
            made = thread.submit(next, coming, None)
            yield batch


def claim_folder(folder: Path, settings: Mapping[str, Any]) -> None:
    """Note a training's settings in its folder, or compare: resumed with others, it might know its test subjects.

    A folder in which no epoch was finished may be given other settings.

    Raises
    ------
    ArtefactError : the folder holds a training with other settings.
    """
    path, text = folder / "recipe.json", json.dumps(settings, indent=2)
    if not path.exists() or not any(folder.glob("*.pt")):
        folder.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as partial:
            partial.write_text(text, encoding="utf-8")
    elif path.read_text(encoding="utf-8") != text:
        raise ArtefactError(
            f"{folder} holds a training whose settings, {path.name}, are not these. Choose another --output, or give "
            "the options of that training."
        )


def save_whole(content: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint, or leave the one before.

    Raises
    ------
    OSError : it cannot be written.
    """
    with written_whole(path) as partial:
        try:
            torch.save(content, partial)
        except RuntimeError as error:  # PyTorch's, whatever the reason
            reason = str(error).split("\n")[0]
            raise OSError(f"{path} cannot be written ({reason}). Is the disk full?") from error
