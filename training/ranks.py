"""Processes that train one network together, as torchrun starts them. Alone, a process is the first of one."""

import gc
import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

Made = TypeVar("Made")


def rank() -> int:
    """Of this process, 0..ranks() - 1; the first alone writes, measures and shows progress."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def ranks() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


def own_device(device: str) -> str:
    """This process's: where torchrun started it, the GPU of its number."""
    is_one_of_several = distributed.is_torchelastic_launched() and device.startswith("cuda")
    return f"cuda:{os.environ['LOCAL_RANK']}" if is_one_of_several else device


@contextmanager
def joined(device: str) -> Iterator[None]:
    """Join the other processes, where torchrun started this one. device : its own."""
    if not distributed.is_torchelastic_launched():
        yield
        return
    # A thread of the group that outlives it can abort Python at its exit. Its last keepers: the default arguments of
    # this module, where DistributedDataParallel imports it first, and reference cycles.
    importlib.import_module("torch.distributed.nn")
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()
        gc.collect()


def made_by_first(make: Callable[[], Made]) -> Made:
    """What the first process makes, in all of them."""
    if ranks() == 1:
        return make()
    made: list[Any] = [make() if rank() == 0 else None]
    distributed.broadcast_object_list(made)
    return made[0]


def mean_over_ranks(value: float, device: torch.device) -> float:
    if ranks() == 1:
        return value
    total = torch.tensor(value, device=device)
    distributed.all_reduce(total)
    return total.item() / ranks()


class _Objective(nn.Module):
    """The loss as a module, for it is the call of a module that synchronises gradients."""

    def __init__(self, model: nn.Module, loss_of: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.model, self.loss_of = model, loss_of

    def forward(self, batch: Any) -> Tensor:
        return self.loss_of(batch)


def synchronised(model: nn.Module, loss_of: Callable[[Any], Tensor]) -> Callable[[Any], Tensor]:
    """`loss_of`, whose gradients are the mean over all processes' batches; buffers are those of the first."""
    if ranks() == 1:
        return loss_of
    return nn.parallel.DistributedDataParallel(_Objective(model, loss_of), find_unused_parameters=True)
