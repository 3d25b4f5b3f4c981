"""What PortAudio says of this machine's inputs."""

from typing import Any


def inputs_of(audio: Any) -> list[dict[str, Any]]:
    """Its descriptions of the inputs of a `pyaudio.PyAudio`, with all names as text: PyAudio leaves some in bytes."""
    infos = (dict(audio.get_device_info_by_index(index)) for index in range(audio.get_device_count()))
    inputs = [info for info in infos if info["maxInputChannels"] > 0]
    for info in inputs:
        if isinstance(info["name"], bytes):
            info["name"] = info["name"].decode(errors="replace")
    return inputs
