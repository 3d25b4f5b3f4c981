"""Published weights into our modules: by key, without running code, and nothing left out unsaid."""

import importlib
import pickle
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bundle.errors import ArtefactError

_MULTIARRAY = importlib.import_module("numpy._core.multiarray" if hasattr(np, "_core") else "numpy.core.multiarray")
_ARRAYS = [
    np.ndarray, np.dtype, type(np.dtype(np.int64)), _MULTIARRAY._reconstruct,
    (_MULTIARRAY._reconstruct, "numpy.core.multiarray._reconstruct"),
]  # fmt: skip
"""What a file may hold besides tensors: PANNs' have the sampler's state, arrays of integers, beside the model."""

_PARALLEL = "module."
"""Before each name in files that were saved by `torch.nn.DataParallel`."""


def load_pretrained(
    module: nn.Module, path: Path, *, drop: Sequence[str] = (), key: str | None = None, sum_channels: Sequence[str] = ()
) -> None:
    """Load a published state dict into `module`, in place; nothing that the file may hold is run.

    Counters of batches, which old files lack, may be missing; DataParallel's prefix of the names may be there.

    Parameters
    ----------
    drop : prefixes of names that keep their initial values, such as "fc.": skipped in the file, and not asked for by
        the module.
    key : entry of the file that holds the state dict ("model", "state_dict"); without it the file is the state dict.
    sum_channels : convolutions, such as "conv1.weight", whose weights are summed over their input channels: a network
        of RGB images then takes gray ones as if all three channels were alike.

    Raises
    ------
    ArtefactError : no file of plain tensors; no such entry; names that are missing, unexpected or of another shape.
        The module is as it was, then.
    """
    published = _kept(_state_dict(path, key), drop)
    for name in sum_channels:
        if name in published and published[name].ndim > 1:  # others are named below, as of another shape
            published[name] = published[name].sum(1, keepdim=True)
    own = _kept(module.state_dict(), drop)
    problems = {
        "missing": [name for name in own.keys() - published.keys() if not name.endswith("num_batches_tracked")],
        "unexpected": [*(published.keys() - own.keys())],
        "of another shape": [
            f"{name} {tuple(published[name].shape)}, expected {tuple(own[name].shape)}"
            for name in published.keys() & own.keys()
            if published[name].shape != own[name].shape
        ],
    }
    if any(problems.values()):
        told = "; ".join(f"{len(names)} {kind}: {_some(names)}" for kind, names in problems.items() if names)
        raise ArtefactError(
            f"{path} does not fit {type(module).__name__} ({told}). Take the weights of that network, or name in "
            "`drop` and `sum_channels` what is meant to differ."
        )
    module.load_state_dict(published, strict=False)


def _kept(state: Mapping[str, Tensor], drop: Sequence[str]) -> dict[str, Tensor]:
    names = {name: name.removeprefix(_PARALLEL) for name in state}
    return {names[name]: tensor for name, tensor in state.items() if not names[name].startswith(tuple(drop))}


def _state_dict(path: Path, key: str | None) -> Mapping[str, Tensor]:
    try:
        with warnings.catch_warnings():  # old files have old forms
            warnings.simplefilter("ignore")
            with torch.serialization.safe_globals(_ARRAYS):
                saved: Any = torch.load(path, weights_only=True, map_location="cpu")
        state = saved if key is None else saved[key]
        if not state or not all(isinstance(tensor, Tensor) for tensor in state.values()):
            raise TypeError("it holds no tensors by name, or more than those")
    except Exception as error:  # torch.load raises whatever the bytes provoke
        reason = f"{type(error).__name__}: {error}".split("\n")[0]
        if isinstance(error, pickle.UnpicklingError):  # whose text advises to run what code the file may hold
            reason = "no file of plain tensors"
        where = f" under {key!r}" if key else ", or `key` to name the entry that holds it"
        raise ArtefactError(f"{path} cannot be read as weights ({reason}); expected a state dict{where}.") from error
    return state


def _some(names: Sequence[str]) -> str:
    return ", ".join(sorted(names)[:5]) + (", ..." if len(names) > 5 else "")
