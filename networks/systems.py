"""All systems by name, and what each is made of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bundle.errors import ArgumentError
from networks import attention_fusion, fercnn, mrpn, transfer
from networks.system import System


@dataclass(frozen=True)
class Kind:
    """A paper's system. variants : configurations by name, the first of which is built when none is named."""

    paper: str
    network: Callable[[Any], System]
    variants: Mapping[str, Any]


SYSTEMS: Mapping[str, Kind] = {
    "mrpn": Kind("Chang & Skarbek 2021", mrpn.Mrpn, mrpn.VARIANTS),
    "attention-fusion": Kind("Mocanu et al. 2023", attention_fusion.AttentionFusion, attention_fusion.VARIANTS),
    "transfer": Kind("Luna-Jiménez et al. 2021", transfer.Transfer, transfer.VARIANTS),
    "fercnn": Kind("Srinivas & Mishra 2022", fercnn.Fercnn, fercnn.VARIANTS),
}


def variant_config(system: str, variant: str | None = None) -> tuple[str, Any]:
    """Name and configuration of a variant, or of the system's first.

    Raises
    ------
    ArgumentError : the system has no such variant.
    """
    variants = SYSTEMS[system].variants
    name = next(iter(variants)) if variant is None else variant
    if name not in variants:
        raise ArgumentError(f"{system} has no variant {name!r}; expected one of {', '.join(variants)}.")
    return name, variants[name]


def describe(system: str, variant: str) -> dict[str, Any]:
    """Parameters of a variant and, of each of its parts, how often it runs, inputs, outputs and parameters.

    Shapes lack the batch. No memory is taken for the weights.
    """
    kind = SYSTEMS[system]
    with torch.device("meta"):
        network = kind.network(kind.variants[variant])
    parts = {
        name: {
            "runs": part.runs,
            "inputs": {tensor: list(shape) for tensor, shape in part.inputs.items()},
            "outputs": {tensor: list(shape) for tensor, shape in part.outputs.items()},
            "parameters": count_parameters(part.module),
        }
        for name, part in network.parts().items()
    }
    return {"parameters": count_parameters(network), "parts": parts}


def count_parameters(module: nn.Module) -> int:
    """Elements of all parameters, frozen ones too."""
    return sum(parameter.numel() for parameter in module.parameters())
