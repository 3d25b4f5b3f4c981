"""Options from a TOML file too: its values become arguments, so that the command line's own parser judges them."""

import argparse
import difflib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

ALONE = {"help", "version", "list-devices", "config", "print-config"}
"""No file may hold these: they name the file, or print something and stop."""


class OptionParser(argparse.ArgumentParser):
    """A parser whose options may also come from the TOML file that `--config` names; the command line wins.

    What is wrong with the file is told in one line, with its name and the line's number; the exit status is 2.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._file = Path()
        self._lines: dict[str, int] = {}

    def file_options(self) -> dict[str, argparse.Action]:
        """Those that a file may hold, by name."""
        named = {next(s for s in action.option_strings if s.startswith("--"))[2:]: action for action in self._actions}
        return {name: action for name, action in named.items() if name not in ALONE}

    def parse_both(self, arguments: Sequence[str] | None) -> argparse.Namespace:
        """What the command line says, and where it says nothing, the file."""
        given = self.parse_args(arguments)
        if given.config is None:
            return given
        self._file = given.config
        values = self._read()
        for name in self._replaced(given, arguments) & set(values):
            del values[name], self._lines[name]
        return self.parse_args(arguments, self.parse_args(self._arguments(values)))

    def toml_from(self, given: argparse.Namespace) -> str:
        """A file that says the same; an option without a value is left out."""
        lines = []
        for name, action in self.file_options().items():
            value = getattr(given, action.dest)
            if action.nargs == 0 and not isinstance(value, bool):
                value = value is action.const  # --no-camera sets the camera to None
            if value is not None:
                lines.append(f"{name} = {_toml_from_value(value)}\n")
                try:
                    lines[-1].encode()
                except UnicodeEncodeError:
                    self.error(f"--{name} has a name that is not UTF-8, which no TOML file can hold")
        return "".join(lines)

    def error(self, message: str) -> NoReturn:
        for name in re.findall(r"--([a-z][a-z-]*)", message):
            if name in self._lines:
                self._fail(message.removeprefix("argument "), self._lines[name])
        super().error(message)

    def _fail(self, message: str, line: int | None = None) -> NoReturn:
        where = self._file if line is None else f"{self._file}, line {line}"
        self.exit(2, f"{self.prog}: error: {where}: {message}".replace("\n", "\\n") + "\n")

    def _read(self) -> dict[str, Any]:
        if sys.version_info >= (3, 11):
            import tomllib
        else:
            import tomli as tomllib
        try:
            text = self._file.read_text(encoding="utf-8")
            values = tomllib.loads(text)
        except (OSError, UnicodeDecodeError, RecursionError) as error:
            self._fail(f"cannot be read: {error}; expected a TOML file such as packaging/car.toml")
        except tomllib.TOMLDecodeError as error:
            found = re.search(r"at line (\d+)", str(error))
            self._fail(f"{error}; expected TOML, name = value", int(found[1]) if found else len(text.splitlines()))
        except ValueError as error:  # a number of thousands of digits
            self._fail(f"{error}; expected TOML, name = value")
        self._lines = {name: _line_of(name, text) for name in values}
        return values

    def _replaced(self, given: argparse.Namespace, arguments: Sequence[str] | None) -> set[str]:
        """What of the file a source that the command line names takes the place of."""
        if given.replay:
            return {"clip", "camera", "no-camera", "microphone", "no-microphone", "channel"}
        if given.clip:
            return {"replay", "camera", "microphone", "channel"}
        unless_named = self.parse_args(arguments, argparse.Namespace(camera=None, microphone=None))  # no defaults
        named = unless_named.camera is not None or unless_named.microphone is not None
        return {"clip", "replay", "realtime"} if named else set()

    def _arguments(self, values: Mapping[str, Any]) -> list[str]:
        """The file's values, as they would stand on the command line."""
        arguments, options = [], self.file_options()
        for name, value in values.items():
            if name not in options:
                self._fail(_unknown(name, options), self._lines[name])
            action = options[name]
            if isinstance(value, list) and "," in str(action.metavar):
                value = ",".join(map(str, value))
            types, words = _expected(action)
            if type(value) not in types or "\0" in str(value):
                self._fail(f"{name} is {json.dumps(value, default=str)}; expected {words}", self._lines[name])
            if action.type is a_file and value:
                value = self._file.parent / value
            if action.nargs != 0:
                arguments.append(f"--{name}={value}")
            elif value:
                arguments.append(f"--{name}")
        return arguments


def a_file(text: str) -> Path:
    """An option's type: a Path, but ArgumentTypeError for no name, such as a variable without a value gives."""
    if not text:
        raise argparse.ArgumentTypeError("the name is empty; expected a file")
    return Path(text)


def _expected(action: argparse.Action) -> tuple[tuple[type, ...], str]:
    """Types of a value in the file, and in words; what a string says is judged as on the command line."""
    if action.nargs == 0:
        return (bool,), "true or false"
    if action.type is a_file:
        return (str,), "the name of a file, as a string"
    return (str, int, float), "a string or a number"


def _unknown(name: str, options: Mapping[str, Any]) -> str:
    if name in ALONE:
        return f"{name} belongs on the command line; remove it here"
    near = difflib.get_close_matches(name, options, n=1)
    return f"{name} is no option; " + (f"did you mean {near[0]}?" if near else "edge-run --help lists all of them")


def _line_of(name: str, text: str) -> int:
    """Number of the line that sets a name, or begins a table of it; the file is flat, so it is the first such line."""
    begins = re.compile(rf"""[\s\[]*["']?{re.escape(name)}["']?\s*[=.\]]""")
    return next((number for number, line in enumerate(text.split("\n"), 1) if begins.match(line)), 1)


def _toml_from_value(value: Any) -> str:
    if isinstance(value, bool | int | float):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml_from_value, value))}]"
    text = value.absolute() if isinstance(value, Path) else value
    return json.dumps(str(text), ensure_ascii=False).replace("\x7f", "\\u007f")
