"""RAVDESS speech (Livingstone & Russo 2018): 1,440 clips, 24 actors, eight emotions.

File names are `modality-channel-emotion-intensity-statement-repetition-actor`, two digits each.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bundle.errors import InputError
from corpora.reading import ClipFile, OnError, complain, read_each

_NAME = re.compile(r"\d\d-\d\d-0[1-8]-\d\d-\d\d-\d\d-(0[1-9]|1\d|2[0-4])", re.ASCII)
_SUFFIXES = (".flac", ".wav", ".mp4")
_AUDIO_VIDEO, _VIDEO_ONLY, _SPEECH = "01", "02", "01"  # modalities, channel


@dataclass(frozen=True)
class Speech:
    """A clip's sound in memory; int16 [shape=(n,)], 16 kHz, mono."""

    wave: npt.NDArray[np.int16]
    label: int
    actor: int


def list_ravdess(
    folder: str | Path,
    actors: Iterable[int] | None = None,
    *,
    video: bool = False,
    complete: bool = False,
    on_error: OnError = "refuse",
) -> list[ClipFile]:
    """Speech clips with sound below `folder`, ordered by path, each utterance once; of `actors` only, where given.

    Parameters
    ----------
    video : those with sound and picture only, 01-01-*.mp4.
    complete : expect all 60 clips of each actor.

    Raises
    ------
    InputError : no clip there; or, unless skipped, a name that is not RAVDESS's, an actor of whom there is none, or a
        clip that is missing from a complete corpus.
    """
    paths = [path for path in sorted(Path(folder).rglob("*")) if path.suffix in _SUFFIXES]
    strange = [str(path) for path in paths if not _NAME.fullmatch(path.stem)]
    if strange:
        what = f"{len(strange)} without a RAVDESS name, seven numbers such as 03-01-06-01-02-01-12"
        complain(what, strange, on_error)
    spoken: dict[str, ClipFile] = {}
    for path in sorted(paths, key=lambda path: path.stem[:2]):  # by modality: of a film and its sound, the sound
        if _NAME.fullmatch(path.stem):
            modality, channel, emotion, *_, actor = path.stem.split("-")
            if channel == _SPEECH and (modality == _AUDIO_VIDEO if video else modality != _VIDEO_ONLY):
                spoken[path.stem[3:]] = ClipFile(path, actor=int(actor), label=int(emotion) - 1)
    clips = sorted(spoken.values(), key=lambda clip: clip.path)
    wanted = {clip.actor for clip in clips} if actors is None else set(actors)
    clips = [clip for clip in clips if clip.actor in wanted]
    absent = sorted(wanted - {clip.actor for clip in clips})
    if not clips or (absent and on_error == "refuse"):
        who = f" of actors {absent}" if absent else ""
        what = f"films{who} with sound (01-01-*.mp4)" if video else f"speech{who} ({', '.join(_SUFFIXES)})"
        raise InputError(f"no RAVDESS {what} below {folder}; expected the folders Actor_01..Actor_24.")
    if absent:
        complain(f"{len(absent)} RAVDESS actors have no speech below {folder}", [*map(str, absent)], on_error)
    if complete:
        found = {clip.path.stem[3:] for clip in clips}
        missing = [name for actor in sorted(wanted) for name in _speech_names(actor) if name not in found]
        if missing:
            complain(f"{len(missing)} RAVDESS clips are missing below {folder}", missing, on_error)
    return clips


def read_ravdess(folder: str | Path, actors: Iterable[int], *, on_error: OnError = "refuse") -> list[Speech]:
    """The actors' speech, read with progress; errors as `list_ravdess` and `read_each`."""
    clips = list_ravdess(folder, actors, on_error=on_error)
    return read_each("RAVDESS", clips, lambda clip: Speech(clip.read_speech(), clip.label, clip.actor), on_error)


def _speech_names(actor: int) -> Iterator[str]:
    """What the names of an actor's 60 speech clips are after the modality; neutral has one intensity."""
    for emotion, intensity, statement, repetition in product(range(1, 9), (1, 2), (1, 2), (1, 2)):
        if emotion > 1 or intensity == 1:
            yield f"{_SPEECH}-{emotion:02}-{intensity:02}-{statement:02}-{repetition:02}-{actor:02}"
