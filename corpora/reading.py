"""Files of a corpus, one after another: what is corrupt or missing is refused, or named, counted and left out."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from bundle.errors import InputError
from perception.chunks import AudioChunk
from perception.clip import decode_clip

OnError = Literal["refuse", "skip"]
"""What to do about a file that cannot be read or is not there: raise InputError, or warn and go on without it."""

_NAMED = 20  # in one message

Item = TypeVar("Item")
Read = TypeVar("Read")


@dataclass(frozen=True)
class ClipFile:
    """One clip of a corpus; `label` is a position in the corpus's labels."""

    path: Path
    actor: int
    label: int

    def read_speech(self) -> npt.NDArray[np.int16]:
        """Its sound, int16 [shape=(n,)], 16 kHz, mono.

        Raises
        ------
        InputError : as `decode_clip`, or the file has no sound.
        """
        samples = [chunk.samples for chunk in decode_clip(self.path) if isinstance(chunk, AudioChunk)]
        if not samples:
            raise InputError(f"{self.path} has no sound; expected speech. Copy it from the corpus again.")
        return np.concatenate(samples)


def read_each(
    corpus: str, items: Sequence[Item], read: Callable[[Item], Read], on_error: OnError = "refuse"
) -> list[Read]:
    """Results of `read`, with progress; with "skip", of what it can read.

    Raises
    ------
    InputError : as `read`, with "refuse"; if nothing at all can be read.
    """
    results, problems = [], []
    for item in tqdm(items, desc=f"read {corpus}", leave=False):
        try:
            results.append(read(item))
        except InputError as error:
            if on_error == "refuse":
                raise
            problems.append(str(error))
    if problems:
        complain(f"{len(problems)} of {len(items)} {corpus} files cannot be read", problems, "skip")
    if items and not results:
        raise InputError(f"none of {len(items)} {corpus} files can be read; the first: {problems[0]}")
    return results


def complain(what: str, names: Sequence[str], on_error: OnError) -> None:
    """Raise InputError with what is wrong and with which files, or warn and let the caller go on without them."""
    named = "; ".join(names[:_NAMED]) + (f"; and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    if on_error == "refuse":
        raise InputError(f"{what}: {named}. Fetch them again, or leave them out (edge-train: --on-error skip).")
    warnings.warn(f"{what}, left out: {named}", stacklevel=3)
