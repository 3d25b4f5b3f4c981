"""An engine that outlives its failures: the next one takes over, and the last is asked again."""

from collections.abc import Callable, Sequence

from bundle.errors import EngineError
from perception.engine import Engine, Tensors, check_finite


class ResilientEngine:
    """Runs a part of a network on the first of several engines that works.

    Parameters
    ----------
    part : its name. openers : what opens each engine, the best first; only the first is opened at once.
    on_failure : called with one sentence when an engine fails.

    Raises
    ------
    EngineError : from `run`, when the last engine failed too; it is tried again by the next `run`.
    """

    def __init__(
        self, part: str, openers: Sequence[Callable[[], Engine]], on_failure: Callable[[str], None] = lambda _: None
    ) -> None:
        self.part, self.works = part, True
        self._openers, self._on_failure = [*openers], on_failure
        self.use(self._openers.pop(0)())

    def run(self, inputs: Tensors) -> Tensors:
        while True:
            try:
                outputs = self.engine.run(inputs)
                check_finite(outputs)
            except Exception as error:  # engines share no base class of errors
                self._fail(error)
            else:
                self.works = True
                return outputs

    def use(self, engine: Engine) -> None:
        """Run on this engine from now on."""
        self.engine, self.name = engine, engine.name

    def _fail(self, error: Exception) -> None:
        if self.works:
            self._on_failure(f"{self.part} on {self.name} failed: {error}")
        while self._openers:
            opener = self._openers.pop(0)
            try:
                self.use(opener())
            except Exception as opening:
                self._on_failure(f"{self.part}: the next engine cannot be opened: {opening}")
            else:
                return
        self.works = False
        raise EngineError(
            f"{self.part} on {self.name} failed: {error}. It is tried again with the next input."
        ) from error
