"""The bundle, and whether this machine keeps up with it."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edge.checks.finding import Finding, findings_of

if TYPE_CHECKING:
    from bundle.manifest import Manifest
    from perception.network import Network

HEADROOM_S = 2.0
WARM_UPDATES = 5


def check_bundle(folder: Path) -> Iterator[Finding]:
    """Whether it is whole; whether its INT8 files may be used; whether updates come in time."""
    from bundle.manifest import INT8_ONNXRUNTIME, read_manifest, why_ungated

    manifest = read_manifest(folder)
    count = sum(len(part.files) for part in manifest.parts.values())
    yield Finding("bundle", "ok", f"{manifest.name}, {manifest.system}: {count} files, all with the recorded SHA-256")
    reason = why_ungated(manifest, INT8_ONNXRUNTIME)
    if reason:
        mend = f"edge-calibrate --bundle {folder} --data DATA  (docs/calibration.md)"
        yield Finding("accuracy gate", "warning", f"float32 is run, which is slower: {reason}", mend)
    else:
        yield Finding("accuracy gate", "ok", "the INT8 files for ONNX Runtime have passed it, and are run there")
    yield from findings_of("headroom", lambda: _check_headroom(folder, manifest))


def _check_headroom(folder: Path, manifest: "Manifest") -> Iterator[Finding]:
    """How much of the time between two updates their work takes on the processor, with both senses, at 720p."""
    import numpy as np

    from bundle.folders import engine_folder
    from bundle.manifest import INT8_ONNXRUNTIME, choose_precision
    from edge.load import TOO_BUSY
    from perception.network import open_network

    precision = choose_precision(manifest, None, INT8_ONNXRUNTIME)
    busy = np.array(list(_works_s(open_network(folder, precision)))) / manifest.window.step_s
    mean, p99 = busy.mean(), np.percentile(busy, 99)
    text = f"an update takes {mean:.0%} of the {manifest.window.step_s * 1e3:.0f} ms that it has, p99 {p99:.0%}"
    text += ", on ONNX Runtime"
    mend = "Close what else runs (top); on a Jetson: sudo nvpmodel -m 0 && sudo jetson_clocks; last: --no-camera"
    if mean > TOO_BUSY and any(engine_folder().glob("*.engine")):
        yield Finding("headroom", "warning", f"{text}: too much, should the GPU's engines fail", mend)
    elif mean > TOO_BUSY:
        yield Finding("headroom", "failure", f"{text}: too much", mend)
    elif p99 > TOO_BUSY:
        yield Finding("headroom", "warning", f"{text}: some will be late", mend)
    else:
        yield Finding("headroom", "ok", text)


def _works_s(network: "Network") -> Iterator[float]:
    """Seconds that each update takes, as edge-run makes it of two images and 0.2 s of sound."""
    import numpy as np

    from perception.chunks import AudioChunk, VideoChunk
    from perception.face import FaceDetection
    from perception.mediapipe_face import MediaPipeFaceDetector
    from perception.pipeline import Perception

    noise = np.random.default_rng(0)
    image = noise.integers(0, 255, (720, 1280, 3), dtype=np.uint8)
    step_ns, period_ns = network.window.step_ns, network.window.image_period_ns
    sound = (noise.standard_normal(network.audio.step_samples) * 2_000).astype(np.int16)
    face = FaceDetection((540, 240, 740, 480), (600, 300), (680, 305), (640, 390), 1.0)
    faces = MediaPipeFaceDetector()
    # In noise it looks for the longest, with both of its models, and finds none.
    perception = Perception(network, detect=lambda seen: faces.detect(seen) or [face], microphone=True, start_ns=0)
    began_s, number = time.perf_counter(), 0
    while number <= WARM_UPDATES or time.perf_counter() - began_s < HEADROOM_S:
        begun_s = time.perf_counter()
        perception.push(AudioChunk(sound, number * step_ns))
        for captured_ns in range(number * step_ns, (number + 1) * step_ns, period_ns):
            perception.push(VideoChunk(image, captured_ns))
        number += 1
        perception.estimate(number)
        if number > WARM_UPDATES:
            yield time.perf_counter() - begun_s
        else:
            began_s = time.perf_counter()
