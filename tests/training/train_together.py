"""Trains a small network by its share of each batch; torchrun starts it, and one process may run it alone."""

import sys
from contextlib import suppress
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from training.fit import FitConfig, fit
from training.ranks import joined, rank, ranks

SIZE, STEPS = 16, 3


def main(folder: Path) -> None:
    torch.manual_seed(7 + rank())  # the first's weights count
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    unused = nn.Linear(2, 2)
    model.add_module("unused", unused)
    classify, validated = model[:3], []

    def batches(epoch):
        generator = torch.Generator().manual_seed(epoch)
        for _ in range(STEPS):
            inputs = torch.randn(SIZE, 4, generator=generator)[rank() :: ranks()]
            yield inputs, (inputs[:, 0] > 0).long()

    def validate():
        validated.append(rank())
        return {"uar": float(len(validated))}

    figures = fit(
        "small", model, model.parameters(), batches, STEPS,
        lambda batch: F.cross_entropy(classify(batch[0]), batch[1]), validate,
        FitConfig(epochs=4, lr=0.02, weight_decay=0.0), 0, folder,
    )  # fmt: skip
    assert validated == ([0] * 4 if rank() == 0 else [])
    torch.save({"figures": figures, "model": model.state_dict()}, folder / f"rank-{rank()}-of-{ranks()}.pt")


if __name__ == "__main__":
    with joined("cpu"):
        main(Path(sys.argv[1]))
    threads = []
    for comm in Path("/proc/self/task").glob("*/comm"):
        with suppress(OSError):  # it has just ended
            threads.append(comm.read_text())
    assert not [name for name in threads if "gloo" in name]  # such a thread could abort Python at its exit
