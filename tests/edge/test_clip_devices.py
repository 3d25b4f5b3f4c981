"""A clip in place of a camera: its images come as a camera gives them."""

import numpy as np

from edge.clip_devices import ClipDevices
from perception.chunks import VideoChunk
from perception.clip import decode_clip
from tests.edge.test_run import DEMO


def test_images_are_bgr_and_in_one_piece_as_those_of_a_camera() -> None:
    """OpenCV takes ten times as long for one that is not."""
    capture = ClipDevices(DEMO, None).open_capture(0)
    taken, image = capture.retrieve()
    assert taken
    assert image.flags.c_contiguous
    shown = next(chunk.image for chunk in decode_clip(DEMO) if isinstance(chunk, VideoChunk))
    assert np.abs(image[..., ::-1].astype(int) - shown).mean() < 2  # what JPEG leaves
    assert np.abs(image.astype(int) - shown).mean() > 10
