"""The live page's counterpart for a terminal, drawn by a thread of its own."""

import threading
from collections import deque
from contextlib import suppress
from itertools import pairwise
from typing import TextIO

import numpy as np
import numpy.typing as npt
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bundle.errors import InputError
from bundle.features import NS_PER_S
from bundle.labels import STATE_OF_EMOTION
from edge.level import dbfs_from_samples
from edge.message import Message
from perception.face import FaceDetection

Heard = tuple[npt.NDArray[np.int16], bool]

COLOURS = {
    "calm": "#1fb28a", "joyful": "#f0e442", "startled": "#d98cb6", "agitated": "#ec7a3c", "low": "#56b4e9",
    "unknown": "#7b8896",
}  # fmt: skip
"""Of the states, as on the live page: Okabe and Ito's, which people with any colour vision can tell apart."""

HISTORY = 300
"""Updates that are looked back on: a minute; the strips show the newest of them, one a column."""

FLOOR_DBFS = -60.0
STEPS = " ▁▂▃▄▅▆▇█"
WHEEL_COLUMNS, WHEEL_ROWS = 19, 7


class TerminalView:
    """Draws the newest update; one that comes while it still draws is left out.

    Raises
    ------
    InputError : the stream is no terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        if not stream.isatty():
            raise InputError("--view terminal draws on standard error, which is no terminal. Go without it there.")
        # Standard output stays as it is: lines may go to a pipe.
        self._live = Live(console=Console(file=stream), auto_refresh=False, redirect_stdout=False)
        self._history: deque[Message] = deque(maxlen=HISTORY)
        self._face: FaceDetection | None = None
        self._heard: Heard | None = None
        self._fresh, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._draw, name="terminal view", daemon=True)
        self._live.start()
        self._thread.start()

    def publish(self, message: Message) -> None:
        self._history.append(message)
        self._fresh.set()

    def see(self, image: npt.NDArray[np.uint8], face: FaceDetection | None) -> None:
        self._face = face

    def hear(self, samples: npt.NDArray[np.int16], speaking: bool) -> None:
        self._heard = samples, speaking

    def close(self) -> None:
        """Leave the last picture, with the cursor under it; a terminal that takes nothing, or is gone, as it is."""
        self._closing.set()
        self._fresh.set()
        self._thread.join(2.0)
        if not self._thread.is_alive():  # else it waits for the terminal, and so would this
            with suppress(OSError):
                self._live.stop()

    def __enter__(self) -> "TerminalView":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _draw(self) -> None:
        with suppress(OSError):  # the terminal is closed
            while not self._closing.is_set():
                self._fresh.wait()
                self._fresh.clear()
                if self._history:
                    screen = screen_of([*self._history], self._face, self._heard, self._live.console.width)
                    self._live.update(screen, refresh=True)


def screen_of(history: list[Message], face: FaceDetection | None, heard: Heard | None, width: int) -> Group:
    """All that is shown: the newest message of `history`, the way to it, and what was last seen and heard."""
    message = history[-1]
    columns = Table.grid(expand=True, padding=(0, 1))
    columns.add_column(ratio=3)
    columns.add_column(ratio=2)
    strips = _emotions(history[-max(8, width * 3 // 5 - 24) :])
    way = Group(_panel(strips, "emotions"), _panel(_changes(history), "last changes"))
    columns.add_row(way, Group(_panel(_senses(message, face, heard), "health"), _panel(_wheel(message), "affect")))
    name = f"edge-emotion  [dim]{message['bundle']} on {message['engine']}, update {message['seq']}[/dim]"
    return Group(_panel(_state(message), name), columns)


def _state(message: Message) -> Table:
    colour, sure = COLOURS[message["state"]], message["confidence"]
    table = Table.grid(expand=True)
    table.add_column(width=14)
    table.add_column(ratio=1)
    line = f"for {message['since_s']:.1f} s"
    line += f", {sure:.0%} sure" if sure is not None else ""
    line += f", mostly {message['emotion']}" if message["emotion"] else ""
    table.add_row(Text(message["state"].upper(), f"bold {colour}"), Text(line))
    table.add_row(_bar(sure or 0.0, 12, colour), Text(message["reason"], "dim"))
    return table


def _emotions(history: list[Message]) -> Table:
    """A strip of the states, then one of each emotion's probabilities, newest on the right."""
    table = Table.grid(padding=(0, 1))
    states = Text("state    ", "dim")
    table.add_row(states, Text.assemble(*((" ", f"on {COLOURS[m['state']]}") for m in history)), "")
    told = [m["probabilities"] for m in history if m["probabilities"]]
    newest = history[-1]["probabilities"]
    for emotion in told[-1] if told else ():
        colour = COLOURS[STATE_OF_EMOTION[emotion]]
        strip = "".join(_step(m["probabilities"][emotion] if m["probabilities"] else 0.0) for m in history)
        strong = newest and newest[emotion] == max(newest.values())
        value = Text(f"{newest[emotion]:.2f}" if newest else "", "bold" if strong else "dim")
        table.add_row(Text(emotion, "bold" if strong else "dim"), Text(strip, colour), value)
    return table


def _changes(history: list[Message]) -> Table:
    table = Table.grid(padding=(0, 1))
    changed = [new for old, new in pairwise(history) if new["state"] != old["state"]]
    for message in changed[:-4:-1]:
        ago_s = (history[-1]["captured_ns"] - message["captured_ns"]) / NS_PER_S
        state = Text(message["state"], COLOURS[message["state"]])
        table.add_row(Text(f"{ago_s:.0f} s ago", "dim"), state, Text(message["reason"], "dim"))
    return table


def _senses(message: Message, face: FaceDetection | None, heard: Heard | None) -> Table:
    table = Table.grid(padding=(0, 1))
    health = message["health"]
    seen = f", {face.score:.0%} sure" if face and message["face"] == "ok" else ""
    table.add_row(Text("rests on", "dim"), message["source"])
    table.add_row(Text("camera", "dim"), f"{message['face']}{_trouble(health['camera']) or seen}")
    table.add_row(Text("microphone", "dim"), f"{message['voice']}{_trouble(health['microphone'])}")
    if heard:
        level_dbfs, speaking = dbfs_from_samples(heard[0]), heard[1]
        bar = _bar(max(0.0, 1 - level_dbfs / FLOOR_DBFS), 10, COLOURS["low" if speaking else "unknown"])
        table.add_row(Text("level", "dim"), _side_by_side(bar, f"{level_dbfs:.0f} dBFS"))
    age = "" if message["age_ms"] is None else f"{message['age_ms']:.0f} ms"
    dropped = message["dropped"]
    late = f", {dropped['updates']} left out" if dropped["updates"] else ""
    table.add_row(Text("delay", "dim"), f"{age}{late}".removeprefix(", "))
    table.add_row(Text("dropped", "dim"), f"{dropped['images']} images, {dropped['audio'] / 16_000:.1f} s")
    table.add_row(Text("mode", "dim"), health["load"])
    return table


def _wheel(message: Message) -> Text:
    """Valence to the right, arousal upwards, -1..1 each."""
    grid = [[" "] * WHEEL_COLUMNS for _ in range(WHEEL_ROWS)]
    middle_row, middle_column = WHEEL_ROWS // 2, WHEEL_COLUMNS // 2
    grid[middle_row] = ["─"] * WHEEL_COLUMNS
    for row in grid:
        row[middle_column] = "│"
    grid[middle_row][middle_column] = "┼"
    if message["valence"] is not None:
        row_of = round(middle_row * (1 - message["arousal"]))
        grid[row_of][round(middle_column * (1 + message["valence"]))] = "●"
    return Text("\n".join("".join(row) for row in grid), COLOURS[message["state"]])


def _trouble(device: str) -> str:
    return f" ({device})" if device not in ("ok", "off") else ""


def _panel(content: RenderableType, title: str) -> Panel:
    return Panel(content, title=title, title_align="left", border_style="dim")


def _bar(share: float, width: int, colour: str) -> ProgressBar:
    return ProgressBar(total=1.0, completed=share, width=width, complete_style=colour, finished_style=colour)


def _side_by_side(bar: ProgressBar, text: str) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_row(bar, text)
    return table


def _step(share: float) -> str:
    return STEPS[round(share * (len(STEPS) - 1))]
