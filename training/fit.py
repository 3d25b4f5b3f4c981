"""The training loop: seeded, resumable after any epoch, with progress and an ETA."""

import csv
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from bundle.errors import ArtefactError


@dataclass(frozen=True)
class FitConfig:
    """epochs : passes over the data. lr : peak of a one-cycle schedule."""

    epochs: int
    lr: float
    weight_decay: float


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
) -> Mapping[str, float]:
    """Train `model` in place and leave the weights of its best epoch in it.

    Parameters
    ----------
    name : of the files `<name>.pt` (checkpoint, written after each epoch) and `<name>.csv` (metrics) in `folder`.
    batches : the batches of an epoch, `steps` of them, from its number, on which all their randomness depends.
    validate : figures on the validation subjects; the epoch with the highest "uar" is the best, the last of several.
    seed : of what is random in the model.

    Returns
    -------
    The figures of the best epoch.

    Raises
    ------
    ArtefactError : the checkpoint in `folder` is of another configuration.
    """
    optimizer = torch.optim.AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=config.epochs * steps)
    path = folder / f"{name}.pt"
    settings = vars(config) | {"seed": seed}
    first, history, best = 0, [], {}
    if path.exists():
        saved = torch.load(path, weights_only=True)
        if saved["config"] != settings:
            raise ArtefactError(
                f"{path} was trained with {saved['config']}; this run asks for {settings}. "
                "Choose another --output, or delete the file to start again."
            )
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        first, history, best = saved["epoch"] + 1, saved["history"], saved["best"]
    with tqdm(total=config.epochs * steps, initial=first * steps, desc=name, file=sys.stderr) as progress:
        for epoch in range(first, config.epochs):
            torch.manual_seed(seed * 100_003 + epoch)
            model.train()
            total = 0.0
            for batch in batches(epoch):
                loss = loss_of(batch)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                total += loss.item()
                progress.update()
            model.eval()
            with torch.inference_mode():
                figures = {"epoch": epoch, "loss": total / steps, **validate()}
            history.append(figures)
            progress.set_postfix({key: f"{value:.3f}" for key, value in figures.items() if key != "epoch"})
            if not best or figures["uar"] >= best["figures"]["uar"]:
                best = {"figures": figures, "model": {k: v.clone() for k, v in model.state_dict().items()}}
            _save(path, model, optimizer, schedule, epoch, history, best, settings)
            _write_csv(folder / f"{name}.csv", history)
    model.load_state_dict(best["model"])
    model.eval()
    return best["figures"]


def _save(path: Path, model, optimizer, schedule, epoch: int, history, best, settings: Mapping[str, float]) -> None:
    """Write the checkpoint to a temporary name and rename it: an interrupted run leaves the epoch before."""
    partial = path.with_suffix(".partial")
    torch.save(
        {
            "config": settings,
            "epoch": epoch,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
            "history": history,
            "best": best,
        },
        partial,
    )
    partial.replace(path)


def _write_csv(path: Path, history: list[dict[str, float]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(history[0]))
        writer.writeheader()
        writer.writerows(history)
