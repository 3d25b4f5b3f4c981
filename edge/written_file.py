"""A file that a run writes: opened when there is something to write, so that until then it stays as it was."""

import errno
import os
import threading
from pathlib import Path

from bundle.errors import InputError

READER_S = 0.1
"""Between two looks whether somebody reads a named pipe."""


class WrittenFile:
    """One that will be written.

    Parameters
    ----------
    flag : of the command line, for messages.

    Raises
    ------
    InputError : it is plain already that it cannot be written.
    """

    def __init__(self, flag: str, path: Path) -> None:
        self._flag, self._path = flag, path
        self._is_new = not os.path.lexists(path)
        target = path if path.exists() else path.parent
        if path.is_dir():
            raise self._unwritable(errno.EISDIR)
        if not target.exists():
            raise self._unwritable(errno.ENOENT)
        if not os.access(target, os.W_OK):
            raise self._unwritable(errno.EACCES)

    def open(self, stop: threading.Event) -> int | None:
        """Its descriptor, emptied or made; of a named pipe, when somebody reads it, None if `stop` is set before.

        Raises
        ------
        InputError : it cannot be written, or is there now and was not: another run writes it.
        """
        flags = os.O_WRONLY | os.O_CREAT | (os.O_EXCL if self._is_new else os.O_TRUNC)
        try:
            return self._pipe(stop) if self._path.is_fifo() else os.open(self._path, flags, 0o666)
        except OSError as error:
            raise self._unwritable(error.errno) from error

    def _pipe(self, stop: threading.Event) -> int | None:
        while not stop.is_set():
            try:
                descriptor = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno != errno.ENXIO:  # no reader yet
                    raise
                stop.wait(READER_S)
            else:
                os.set_blocking(descriptor, True)
                return descriptor
        return None

    def _unwritable(self, number: int | None) -> InputError:
        reason = os.strerror(number or 0)
        return InputError(f"{self._flag} {self._path} cannot be written: {reason}. Choose another file.")
