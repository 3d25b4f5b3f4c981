"""A short drive as messages, and a browser to show them."""

import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bundle.labels import RAVDESS_LABELS
from edge.message import Dropped, Message, message_from_state
from perception.chunks import Estimate
from perception.state import StateMachine

if TYPE_CHECKING:
    from tests.browser import Browser

STEP_NS = 200_000_000


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Browser]":
    """A running browser, shared; each test opens its own page in it."""
    if not shutil.which("chromium"):
        pytest.skip("chromium is not installed")
    from tests.browser import Browser

    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def drive() -> Callable[[int], list[Message]]:
    """The first messages of the drive, five a second: unknown for 1 s, joyful to 8 s, agitated from then on."""
    return lambda count: _drive(count)


def _drive(count: int) -> list[Message]:
    state, messages = StateMachine(RAVDESS_LABELS), []
    for seq in range(count):
        now_ns = seq * STEP_NS
        if seq < 5:
            estimate = Estimate(now_ns, None, None, "none", "warming up", "no image", "lost")
        elif seq < 40:
            estimate = Estimate(now_ns, now_ns - 90_000_000, _probs("happy"), "audio+video", "", "ok", "speech")
        else:
            estimate = Estimate(now_ns, now_ns - 90_000_000, _probs("angry"), "audio", "", "dark", "speech")
        dropped = Dropped(images=seq // 10, audio=16 * seq)
        messages.append(message_from_state(seq, state.update(estimate), now_ns, dropped, "default", "onnxruntime-cpu"))
    return messages


def _probs(emotion: str) -> np.ndarray:
    probs = np.full(len(RAVDESS_LABELS), 0.02, np.float32)
    probs[RAVDESS_LABELS.index(emotion)] = 0.86
    return probs
