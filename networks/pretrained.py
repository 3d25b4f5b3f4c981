"""Published weights into our modules: by key, without running code, and nothing left out unsaid."""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bundle.errors import ArtefactError


def load_pretrained(
    module: nn.Module,
    path: str | Path,
    *,
    entry: str | None = None,
    drop: Sequence[str] = (),
    fresh: Sequence[str] = (),
    sum_channels: Sequence[str] = (),
) -> None:
    """Fill `module` with the weights of a file; where they do not fit, change nothing and say what does not.

    Parameters
    ----------
    entry : where the file holds the weights, if not at its top: "model", "state_dict".
    drop : what the file has and the module does not need, such as "fc".
    fresh : what the module has and the file does not; it keeps the values that it has.
    sum_channels : convolutions whose weights are summed over their input channels, so that a network of RGB images
        takes gray ones as if all three channels were alike: "conv1".

    All three hold names of submodules or tensors, and what lies below them. Counters of batches, which old files lack,
    may be missing.

    Raises
    ------
    ArtefactError : the file holds no plain tensors; keys are missing, unexpected or of another shape.

    Examples
    --------
    >>> from networks.resnet import ResNet18
    >>> load_pretrained(ResNet18(1), "resnet18.pth", drop=["fc"], sum_channels=["conv1"])  # doctest: +SKIP
    """
    state = {key: value for key, value in _read_state(Path(path), entry).items() if not _is_below(key, drop)}
    for key, value in state.items():
        if _is_below(key, sum_channels) and value.ndim == 4:
            state[key] = value.sum(1, keepdim=True)
    own = module.state_dict()
    expected = {key for key in own if not _is_below(key, fresh) and not key.endswith("num_batches_tracked")}
    problems = {
        "missing": sorted(expected - state.keys()),
        "unexpected": sorted(state.keys() - own.keys()),
        "of another shape": [
            f"{key} {tuple(value.shape)}, expected {tuple(own[key].shape)}"
            for key, value in state.items()
            if key in own and value.shape != own[key].shape
        ],
    }
    if any(problems.values()):
        said = "; ".join(f"{len(keys)} {what}: {_some(keys)}" for what, keys in problems.items() if keys)
        raise ArtefactError(
            f"{path} does not fit {type(module).__name__} ({said}). Name what is meant to differ in drop, fresh or "
            "sum_channels, or take the file of this very network."
        )
    module.load_state_dict(state, strict=False)


def _read_state(path: Path, entry: str | None) -> Mapping[str, Tensor]:
    try:
        state: Any = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # torch.load raises whatever the bytes provoke
        reason = f"{type(error).__name__}: {error}".split("\n")[0]
        if isinstance(error, pickle.UnpicklingError):  # whose text advises to run what code the file may hold
            reason = "no file of plain tensors"
        raise ArtefactError(f"{path} cannot be read as weights ({reason}); expected a PyTorch state_dict.") from error
    if entry is not None:
        state = state.get(entry) if isinstance(state, dict) else None
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ArtefactError(
            f"{path} holds no tensors by name{f' at {entry!r}' if entry else ''}; expected a PyTorch state_dict. "
            "Say by entry where in the file it is."
        )
    return state


def _is_below(key: str, names: Sequence[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:5]) + (", ..." if len(keys) > 5 else "")
