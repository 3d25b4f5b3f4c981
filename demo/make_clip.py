"""Make the demo clip: a driver who leans, tilts her head and talks, as a cabin camera sees her.

The face is NASA's portrait of the astronaut Eileen Collins, which is in the public domain, as distributed
with scikit-image (`skimage.data.astronaut`). The voice is synthesised by espeak-ng: nobody was recorded, and
nothing is random.

    python demo/make_clip.py --output demo/driver.mp4
"""

import argparse
import io
import subprocess
import sys
import wave
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
from skimage.data import astronaut

WIDTH, HEIGHT, FPS = 640, 480, 30
TEXT = "Good evening. The road is clear, and there is plenty of time. At the next junction I turn left."
VOICE = ("-v", "en-us+f3", "-s", "165")
PAUSE_S = 0.5  # before and after
FACE_X, FACE_Y = 224, 130  # pixels of the portrait
MOUTH_X, MOUTH_Y, MOUTH_HALF_WIDTH, MOUTH_CURVE, MOUTH_OPENS = 224, 148.5, 18, 7, 7
MOUTH_COLOUR = (75, 30, 30)


def synthesise_speech() -> tuple[npt.NDArray[np.int16], int]:
    """Speech between two pauses, and its sample rate in Hz."""
    try:
        wav = subprocess.run(["espeak-ng", *VOICE, "--stdout", TEXT], check=True, capture_output=True).stdout
    except FileNotFoundError:
        sys.exit("espeak-ng is not on the PATH; it speaks the text. Install it: apt-get install espeak-ng.")
    with wave.open(io.BytesIO(wav)) as file:
        rate_hz = file.getframerate()
        spoken = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    return np.pad(spoken, round(PAUSE_S * rate_hz)), rate_hz


def measure_openings(samples: npt.NDArray[np.int16], rate_hz: int) -> npt.NDArray[np.float64]:
    """How far the mouth is open in each image, 0..1: how loud the speech is around it."""
    centres = np.arange(len(samples) * FPS // rate_hz) * rate_hz // FPS
    power = np.convolve(samples.astype(float) ** 2, np.hanning(rate_hz // 10), mode="same")[centres]
    return np.sqrt(power / power.max())


def draw_driver(portrait: npt.NDArray[np.uint8], time_s: float, opening: float) -> npt.NDArray[np.uint8]:
    """The portrait as seen at `time_s`, with the jaw lowered by `opening`, 0..1."""
    scale, tilt = 1.55 + 0.08 * np.sin(0.9 * time_s), np.deg2rad(5 * np.sin(1.3 * time_s))
    columns, rows = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    across, down = columns - 0.5 * WIDTH - 25 * np.sin(0.8 * time_s), rows - 0.42 * HEIGHT
    x = FACE_X + (across * np.cos(tilt) + down * np.sin(tilt)) / scale
    y = FACE_Y + (down * np.cos(tilt) - across * np.sin(tilt)) / scale

    beside = (x - MOUTH_X) / MOUTH_HALF_WIDTH
    teeth = MOUTH_Y - MOUTH_CURVE * beside**2 + beside  # their lower edge, a smile; the head leans a little
    jaw = MOUTH_OPENS * opening * np.exp(-((beside / 1.3) ** 4))
    gap = MOUTH_OPENS * opening * np.clip(1 - beside**2, 0, 1)
    depth = y - teeth - gap
    lowered = (gap + (jaw - gap) * np.interp(depth, [0, 10], [0, 1])) * np.interp(depth, [18, 42], [1, 0])
    source_y = np.where(depth > 0, y - lowered, y)
    image = cv2.remap(
        portrait,
        x.astype(np.float32),
        source_y.astype(np.float32),
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT,
    )
    inside = np.clip(np.minimum(y - teeth, -depth), 0, 1)[..., None]
    return np.rint(image * (1 - inside) + MOUTH_COLOUR * inside).astype(np.uint8)


def write_clip(path: Path) -> None:
    """H.264 and AAC in an MP4 whose index comes first, so that it can be streamed."""
    samples, rate_hz = synthesise_speech()
    portrait = astronaut()
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        video = container.add_stream("libx264", rate=FPS, width=WIDTH, height=HEIGHT, pix_fmt="yuv420p")
        video.options = {"crf": "20", "preset": "medium"}
        audio = container.add_stream("aac", rate=rate_hz, layout="mono")
        for index, opening in enumerate(measure_openings(samples, rate_hz)):
            image = av.VideoFrame.from_ndarray(draw_driver(portrait, index / FPS, opening))
            image.pts, image.time_base = index, Fraction(1, FPS)
            container.mux(video.encode(image))
        speech = av.AudioFrame.from_ndarray(samples[np.newaxis], format="s16", layout="mono")
        speech.pts, speech.sample_rate, speech.time_base = 0, rate_hz, Fraction(1, rate_hz)
        container.mux(audio.encode(speech))
        for stream in (video, audio):
            container.mux(stream.encode(None))


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the demo clip.")
    default = Path(__file__).with_name("driver.mp4")
    parser.add_argument("--output", type=Path, default=default, help="MP4 file to write (default: %(default)s)")
    write_clip(parser.parse_args().output)


if __name__ == "__main__":
    main()
