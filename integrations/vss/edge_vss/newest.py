"""One slot between a reader that must never wait and a writer that may."""

import threading
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Newest(Generic[Item]):
    """Holds the newest item alone; `end` may be called from a signal handler, as the condition's lock is reentrant."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._item: Item | None = None
        self._ended = False

    def put(self, item: Item) -> None:
        """Replaces the item that nobody has taken yet; nothing after the end, which a slow writer would never reach."""
        with self._condition:
            if not self._ended:
                self._item = item
                self._condition.notify()

    def end(self) -> None:
        """No item is needed any more, though the last one can still be taken."""
        with self._condition:
            self._ended = True
            self._condition.notify()

    def take(self, timeout_s: float) -> Item | None:
        """The newest item, each once; None if there was none in that time. EOFError when all is taken after the end."""
        with self._condition:
            self._condition.wait_for(lambda: self._item is not None or self._ended, timeout_s)
            item, self._item = self._item, None
            if item is None and self._ended:
                raise EOFError
            return item
