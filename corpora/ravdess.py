"""RAVDESS speech (Livingstone & Russo 2018): 1,440 clips, 24 actors, eight emotions.

File names are `modality-channel-emotion-intensity-statement-repetition-actor`, two digits each.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from bundle.errors import InputError
from perception.chunks import AudioChunk
from perception.clip import decode_clip

_NAME = re.compile(r"\d\d-\d\d-0[1-8]-\d\d-\d\d-\d\d-(0[1-9]|1\d|2[0-4])", re.ASCII)
_SUFFIXES = (".flac", ".wav", ".mp4")
_VIDEO_ONLY, _SPEECH = "02", "01"  # modality, channel


@dataclass(frozen=True)
class RavdessClip:
    """One clip; `label` is a position in RAVDESS_LABELS, `actor` 1..24."""

    path: Path
    actor: int
    label: int

    def read_speech(self) -> npt.NDArray[np.int16]:
        """Its sound, int16 [shape=(n,)], 16 kHz, mono.

        Raises
        ------
        InputError : as `decode_clip`, or the clip has no sound.
        """
        samples = [chunk.samples for chunk in decode_clip(self.path) if isinstance(chunk, AudioChunk)]
        if not samples:
            raise InputError(f"{self.path} has no sound; expected speech. Copy it from RAVDESS again.")
        return np.concatenate(samples)


@dataclass(frozen=True)
class Speech:
    """A clip's sound in memory; int16 [shape=(n,)], 16 kHz, mono."""

    wave: npt.NDArray[np.int16]
    label: int
    actor: int


def list_ravdess(folder: str | Path, actors: Iterable[int] | None = None) -> list[RavdessClip]:
    """Speech clips with sound below `folder`, ordered by path; of `actors` only, where given.

    Raises
    ------
    InputError : no clip there, or none of one of `actors`; or a name that is not RAVDESS's.
    """
    clips = []
    for path in sorted(Path(folder).rglob("*")):
        if path.suffix not in _SUFFIXES:
            continue
        if not _NAME.fullmatch(path.stem):
            raise InputError(f"{path} is not a RAVDESS name; expected seven numbers such as 03-01-06-01-02-01-12.")
        modality, channel, emotion, *_, actor = path.stem.split("-")
        if channel == _SPEECH and modality != _VIDEO_ONLY:
            clips.append(RavdessClip(path, actor=int(actor), label=int(emotion) - 1))
    wanted = {clip.actor for clip in clips} if actors is None else set(actors)
    clips = [clip for clip in clips if clip.actor in wanted]
    missing = sorted(wanted - {clip.actor for clip in clips})
    if missing or not clips:
        who = f" of actors {missing}" if missing else ""
        raise InputError(
            f"no RAVDESS speech{who} ({', '.join(_SUFFIXES)}) below {folder}; expected the folders Actor_01..Actor_24."
        )
    return clips


def read_ravdess(folder: str | Path, actors: Iterable[int]) -> list[Speech]:
    """The actors' speech, read with progress; errors as `list_ravdess` and `read_speech`."""
    clips = tqdm(list_ravdess(folder, actors), desc="read RAVDESS", leave=False)
    return [Speech(clip.read_speech(), clip.label, clip.actor) for clip in clips]
