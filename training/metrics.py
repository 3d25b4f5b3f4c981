"""Figures of each epoch, as a table and for TensorBoard."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bundle.errors import ArgumentError


class Metrics:
    """Writes `<name>.csv` in `folder` and, on request, events below `tensorboard/<name>`.

    Raises
    ------
    ArgumentError : TensorBoard is asked for, and not installed.
    """

    def __init__(self, folder: Path, name: str, tensorboard: bool) -> None:
        self._table = folder / f"{name}.csv"
        self._events = _event_writer(folder / "tensorboard" / name) if tensorboard else None

    def write(self, history: Sequence[Mapping[str, float]]) -> None:
        """All epochs to the table, the last one to TensorBoard."""
        with self._table.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(history[0]))
            writer.writeheader()
            writer.writerows(history)
        if self._events:
            for name, value in history[-1].items():
                self._events.add_scalar(name, value, history[-1]["epoch"])
            self._events.flush()

    def close(self) -> None:
        if self._events:
            self._events.close()


def _event_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ArgumentError("--tensorboard needs TensorBoard; install edge-emotion[tensorboard].") from error
    return SummaryWriter(str(folder))
