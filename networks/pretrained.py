"""Published weights into a network, by key."""

import pickle
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from bundle.errors import ArtefactError


def load_pretrained(module: nn.Module, path: Path, *, drop: Sequence[str] = (), key: str | None = None) -> None:
    """Load a published state dict into `module`, in place; nothing that the file may hold is run.

    Parameters
    ----------
    drop : prefixes of keys that keep their initial values: skipped in the file, and not asked for by the module.
    key : entry of the file that holds the state dict ("model", "state_dict"); without it the file is the state dict.

    Raises
    ------
    ArtefactError : no file of plain tensors; no such entry; keys that are missing, unexpected or of another shape.
        The module is as it was, then.
    """
    published = _kept(_state_dict(path, key), drop)
    wanted = _kept(module.state_dict(), drop)
    both = published.keys() & wanted.keys()
    differences = {
        "missing": sorted(wanted.keys() - published.keys()),
        "unexpected": sorted(published.keys() - wanted.keys()),
        "of another shape": sorted(k for k in both if published[k].shape != wanted[k].shape),
    }
    if any(differences.values()):
        told = "; ".join(f"{kind}: {', '.join(keys)}" for kind, keys in differences.items() if keys)
        raise ArtefactError(
            f"{path} does not fit {type(module).__name__}: {told}. "
            "Expected the weights of that network; name in `drop` the prefixes that are to keep their initial values."
        )
    module.load_state_dict(published, strict=False)


def _kept(state: Mapping[str, Tensor], drop: Sequence[str]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.startswith(tuple(drop))}


def _state_dict(path: Path, key: str | None) -> Mapping[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            saved = torch.load(path, weights_only=True, map_location="cpu")
        state = saved if key is None else saved[key]
        if not all(isinstance(tensor, Tensor) for tensor in state.values()):
            raise TypeError(f"holds more than tensors; its entries are {', '.join(map(str, state))}")
    except Exception as error:  # torch.load raises whatever the bytes provoke
        reason = f"{type(error).__name__}: {error}".split("\n")[0]
        if isinstance(error, pickle.UnpicklingError):  # whose text advises to run what code the file may hold
            reason = "no file of plain tensors"
        raise ArtefactError(
            f"{path} cannot be read as weights ({reason}); expected a state dict of tensors"
            + (f" under {key!r}." if key else ", or `key` to name the entry that holds it.")
        ) from error
    return state
