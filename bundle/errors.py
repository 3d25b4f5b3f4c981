"""The project's exceptions: one root, so that a command can turn any of them into one line and an exit code."""


class EdgeEmotionError(Exception):
    """Root of all errors that a user can mend. The message says what was received, expected, and what to do."""


class ArgumentError(EdgeEmotionError, ValueError):
    """A value outside its documented range."""


class ArtefactError(EdgeEmotionError, ValueError):
    """A bundle, checkpoint or engine that is missing, corrupt, stale or of another format."""


class InputError(EdgeEmotionError):
    """A clip, camera, microphone or corpus that cannot be opened or read."""


class EngineError(EdgeEmotionError):
    """A part of a network that no engine could run."""
