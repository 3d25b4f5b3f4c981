"""Which output of the head speaks: fused, visual or audio, by what was really there."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from bundle.features import PROBS_AUDIO, PROBS_FUSED, PROBS_VISUAL
from perception.chunks import FaceStatus, Source, VoiceStatus

_OUTPUTS: Mapping[Source, str] = {
    "audio+video": PROBS_FUSED,
    "video": PROBS_VISUAL,
    "audio": PROBS_AUDIO,
}

_WITHOUT_FACE: Mapping[FaceStatus, str] = {
    "ok": "face seen too briefly",
    "lost": "no face in the image",
    "dark": "image too dark",
    "no image": "no image from the camera",
    "off": "no camera in use",
}
_WITHOUT_SPEECH: Mapping[VoiceStatus, str] = {
    "speech": "speech too brief",
    "silent": "nobody speaks",
    "lost": "no sound from the microphone",
    "off": "no microphone in use",
}


def choose_source(face_present: bool, speech_present: bool) -> Source:
    """The modalities that count."""
    if face_present and speech_present:
        return "audio+video"
    if face_present:
        return "video"
    return "audio" if speech_present else "none"


def probs_of_source(outputs: Mapping[str, npt.NDArray[np.float32]], source: Source) -> npt.NDArray[np.float32] | None:
    """The head's own output for the modalities present, [shape=(labels,)]; None for none."""
    return None if source == "none" else outputs[_OUTPUTS[source]][0]


def reason_for_none(face: FaceStatus, voice: VoiceStatus) -> str:
    """Why neither modality counts."""
    return f"{_WITHOUT_FACE[face]}, {_WITHOUT_SPEECH[voice]}"
