"""Options from a TOML file: judged as on the command line, overruled by it, and told back."""

import contextlib
import io
import re
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.options import Options, option_parser, parse_options
from tests.edge.test_run import DEMO, ROOT, edge_run, messages

Car = Callable[[str], Path]

EXAMPLE = ROOT / "packaging" / "car.toml"

FLEET = ["--profile", "fleet", "--approved-states", "startled,agitated", "--audit", "/audit.jsonl"]

EVERYTHING = """\
bundle = "bundle"
engine = "onnxruntime"
precision = "int8"
allow-ungated = true
duration = 60
output = "states.jsonl"
dashboard = 8080
view = "terminal"
metrics = "[::1]:9100"
token-file = "token"
mqtt = "mqtts://car%407@broker.example/fleet 7/driver"
mqtt-password-file = "password"
mqtt-ca = "authority.pem"
record = "drive.rec"
record-media = true
chaos = "suspend"
camera = "http://10.0.0.2/mjpeg?a=\\"1\\"\\u007f"
roi = [0.5, 0, 1, 0.25]
rotate = 270
mirror = true
mono = true
microphone = 3
channel = 1
"""


@pytest.fixture
def car(tmp_path: Path) -> Car:
    """Writes the file, in a folder that is not the current one, and returns its path."""

    def write(text: str) -> Path:
        path = tmp_path / "car.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def parsed(path: Path, *arguments: str) -> Options:
    return parse_options(["--config", str(path), *arguments])


def refused(capsys: pytest.CaptureFixture[str], path: Path, *arguments: str) -> str:
    """The one line that says why the file is refused, after its name; the exit status is 2."""
    with pytest.raises(SystemExit) as stopped:
        parsed(path, *arguments)
    assert stopped.value.code == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert told.startswith(f"edge-run: error: {path}")
    return told.removeprefix(f"edge-run: error: {path}").rstrip("\n")


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        parse_options([*arguments, "--print-config"])
    assert stopped.value.code == 0
    return capsys.readouterr().out


class TestValues:
    def test_file_says_the_same_as_the_command_line(self, car: Car) -> None:
        said = car('camera = 2\nroi = [0.5, 0, 1, 1]\nmono = true\nmirror = false\nmqtt = "mqtt://car/driver"\n')
        command = ["--camera", "2", "--roi", "0.5,0,1,1", "--mono", "--mqtt", "mqtt://car/driver"]
        assert parsed(said) == parse_options(command)

    def test_empty_file_changes_nothing(self, car: Car) -> None:
        assert parsed(car("")) == parse_options([])

    def test_files_are_relative_to_the_folder_of_the_file(self, car: Car, tmp_path: Path) -> None:
        options = parsed(car('clip = "drives/1.mp4"\noutput = "/var/log/states.jsonl"\n'))
        assert options.clip == tmp_path / "drives" / "1.mp4"
        assert options.output == Path("/var/log/states.jsonl")

    def test_device_that_is_left_out_is_left_out(self, car: Car) -> None:
        assert parsed(car("no-camera = true\nno-microphone = false\n")).camera is None

    def test_run_takes_its_options_from_the_file(self, car: Car) -> None:
        path = car(f'clip = "{DEMO}"\nduration = 30\nno-camera = true\noutput = "states.jsonl"\n')
        result = edge_run("--config", path, "--duration", 1)
        assert result.returncode == 0, result.stderr
        assert len(messages((path.parent / "states.jsonl").read_text())) == 6


class TestCommandLineWins:
    def test_value_of_the_command_line_replaces_the_one_of_the_file(self, car: Car) -> None:
        path = car('camera = "2"\nrotate = 90\nmono = true\nroi = [0.5, 0, 1, 1]\n')
        options = parsed(path, "--camera", "0", "--no-mono", "--rotate", "180")
        assert (options.camera, options.mono, options.rotate, options.roi) == ("0", False, 180, (0.5, 0, 1, 1))

    @pytest.mark.parametrize(("file", "command"), [("no-camera = true", "--camera=1"), ("camera = 1", "--no-camera")])
    def test_camera_is_the_one_of_the_command_line(self, car: Car, file: str, command: str) -> None:
        assert parsed(car(file), command) == parse_options([command])

    @pytest.mark.parametrize(
        ("file", "command"),
        [
            ('camera = 2\nmicrophone = "cabin"', "--clip=x.mp4"),
            ('replay = "x.rec"', "--clip=x.mp4"),
            ('clip = "x.mp4"\nno-camera = true', "--replay=x.rec"),
            ('clip = "x.mp4"\nrealtime = true', "--camera=2"),
            ('clip = "x.mp4"', "--camera=0"),
            ('replay = "x.rec"', "--microphone=default"),
        ],
    )
    def test_source_of_the_command_line_takes_the_place_of_the_file_s(self, car: Car, file: str, command: str) -> None:
        assert parsed(car(file), command) == parse_options([command])

    def test_one_device_leaves_the_other_as_the_file_says(self, car: Car) -> None:
        options = parsed(car('camera = 2\nmicrophone = "cabin"\n'), "--camera", "3")
        assert (options.camera, options.microphone) == ("3", "cabin")


class TestRefusal:
    @pytest.mark.parametrize(
        ("line", "tells"),
        [
            ("camra = 1", "camra is no option; did you mean camera?"),
            ("token_file = 'x'", "token_file is no option; did you mean token-file?"),
            ("xyzzy = 1", "xyzzy is no option; edge-run --help lists all of them"),
            ("[vehicle]\nrotate = 90", "vehicle is no option"),
            ("print-config = true", "print-config belongs on the command line"),
            ('mirror = "yes"', 'mirror is "yes"; expected true or false'),
            ("view = true", "view is true; expected a string or a number"),
            ("[metrics]\nport = 1", 'metrics is {"port": 1}; expected a string or a number'),
            ("chaos = ['suspend']", 'chaos is ["suspend"]; expected a string or a number'),
            ("output = 5", "output is 5; expected the name of a file, as a string"),
            ('output = "a\\u0000b"', "expected the name of a file"),
            ("rotate = 45", "--rotate: invalid choice: 45 (choose from 0, 90, 180, 270)"),
            ("channel = 0.5", "--channel: invalid int value: '0.5'"),
            ("channel = -1", "--channel is -1; expected 0 or more"),
            ("duration = inf", "--duration: inf is not a positive number of seconds"),
            ("roi = [0.5, true, 1, 1]", "--roi: 0.5,True,1,1: expected X0,Y0,X1,Y1 with 0 <= x0 < x1 <= 1"),
            ('dashboard = "car:http"', "--dashboard: car:http: expected PORT or HOST:PORT"),
            ('mqtt = "mqtt://car:secret@broker/x"', "--mqtt: a password"),
            ("no-camera = true", "--no-camera: not allowed with argument --camera"),
            ("realtime = true", "--realtime goes with --clip or --replay"),
            ('camera = "2', "Illegal character"),
            ("roi = [", "Invalid value"),
            ('approved-states = ["calm"]', "--approved-states: calm: expected one or more of agitated, startled"),
            ("approved-states = []", "expected one or more of agitated, startled"),
            ('profile = "fleet"', "--profile fleet needs --approved-states"),
            ("camera = 3", "Cannot overwrite a value"),
        ],
    )
    def test_mistake_is_told_with_its_line(
        self, car: Car, capsys: pytest.CaptureFixture[str], line: str, tells: str
    ) -> None:
        path = car(f"# rotate = 45\n\n camera = 2\n{line}\n")
        told = refused(capsys, path)
        assert told.startswith(", line 4: ")
        assert tells in told

    def test_value_of_the_file_that_does_not_go_with_the_command_line_is_told(
        self, car: Car, capsys: pytest.CaptureFixture[str]
    ) -> None:
        told = refused(capsys, car('mono = true\nchaos = "suspend"\n'), "--replay", "x.rec")
        assert told.startswith(", line 2: --chaos goes with devices or --clip")

    @pytest.mark.parametrize(("content", "tells"), [(None, "No such file"), (b"\xff", "utf-8")])
    def test_file_that_cannot_be_read_is_refused(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, tells: str
    ) -> None:
        path = tmp_path / "car.toml"
        if content is not None:
            path.write_bytes(content)
        told = refused(capsys, path)
        assert told.startswith(": cannot be read")
        assert tells in told

    def test_password_is_not_told_again(self, car: Car, capsys: pytest.CaptureFixture[str]) -> None:
        assert "secret" not in refused(capsys, car('mqtt = "mqtt://car:secret@broker/x"\n'))


VALUES = [
    "true", "false", "0", "-1", "1e400", "nan", "99999999999999999999", '""', '"a\\nb"', '"x\\u0000"', '"--mono"',
    '"a=b"', "[]", "[0, 0, 1, 1]", '["agitated"]', "[[1], {a = 1}]", "{}", "1979-05-27", "07:32:00", '"fleet"', '"mqtt://a/b"',
    "=", '"', "[", "#",
]  # fmt: skip


class TestFuzz:
    """Whatever the file holds, there are options or one line that says why not."""

    LINES = st.tuples(st.sampled_from([*option_parser().file_options(), "camra", "a.b"]), st.sampled_from(VALUES))

    @given(st.lists(LINES, max_size=4).map(lambda lines: "\n".join(f"{name} = {value}" for name, value in lines)))
    def test_lines_of_any_kind(self, tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
        self.judge(tmp_path_factory, text.encode())

    @given(st.binary(max_size=60) | st.text("[]{}=.\"'#\\n\\\\ae1-", max_size=40).map(str.encode))
    def test_bytes_of_any_kind(self, tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
        self.judge(tmp_path_factory, content)

    def judge(self, tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
        path = tmp_path_factory.getbasetemp() / "fuzz.toml"
        path.write_bytes(content)
        told, status = io.StringIO(), None
        with contextlib.redirect_stderr(told):
            try:
                parsed(path)
            except SystemExit as stopped:
                status = stopped.code
        if status is not None:
            assert status == 2
            assert told.getvalue().startswith(f"edge-run: error: {path}")
            assert told.getvalue().count("\n") == 1


class TestPrintConfig:
    def test_what_is_printed_reads_back_to_the_same(
        self, car: Car, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = car(EVERYTHING)
        expected, text = parsed(path), printed(capsys, "--config", str(path))
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "copy.toml").write_text(text, encoding="utf-8")
        assert parsed(elsewhere / "copy.toml") == expected
        plain = parse_options([])
        do_not_go_with_the_rest = {"clip", "replay", "realtime", "list_devices", "profile", "approved_states", "audit"}
        same = {field.name for field in fields(Options) if getattr(expected, field.name) == getattr(plain, field.name)}
        assert same == do_not_go_with_the_rest

    @pytest.mark.parametrize("arguments", [[], ["--no-camera"], ["--replay", "/x.rec", "--realtime"], FLEET])
    def test_command_line_is_printed_too(
        self, car: Car, capsys: pytest.CaptureFixture[str], arguments: list[str]
    ) -> None:
        assert parsed(car(printed(capsys, *arguments))) == parse_options(arguments)

    def test_no_secret_is_printed(self, car: Car, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for name in ("token", "password"):
            (tmp_path / name).write_text("swordfish-swordfish\n")
        assert "swordfish" not in printed(capsys, "--config", str(car(EVERYTHING)))


class TestExample:
    """packaging/car.toml, where everything is commented out."""

    SAID = re.findall(r"^# ([a-z-]+) = (.*)$", EXAMPLE.read_text(), re.MULTILINE)

    def test_it_changes_nothing_as_it_is(self) -> None:
        assert parsed(EXAMPLE) == parse_options([])

    def test_it_holds_every_option_and_nothing_else(self) -> None:
        assert sorted(name for name, _ in self.SAID) == sorted(option_parser().file_options())

    @pytest.mark.parametrize(("name", "value"), SAID)
    def test_every_line_is_an_option_once_it_is_uncommented(self, car: Car, name: str, value: str) -> None:
        parser = option_parser()
        given = parser.parse_both(["--config", str(car(f"{name} = {value}\n"))])
        alone = vars(parser.parse_args([]))
        changed = {key for key, got in vars(given).items() if got != alone[key]}
        assert changed - {"config"} == {parser.file_options()[name].dest}

    def test_it_parses_once_all_of_it_is_uncommented(self) -> None:
        if sys.version_info >= (3, 11):
            import tomllib
        else:
            import tomli as tomllib
        values = tomllib.loads("\n".join(f"{name} = {value}" for name, value in self.SAID))
        assert len(values) == len(self.SAID)


def test_a_clip_takes_the_place_of_the_files_microphone_and_its_channel(car: Car) -> None:
    path = car("microphone = 3\nchannel = 1\n")
    assert parsed(path).channel == 1
    assert parsed(path, "--clip", "drive.mp4").channel is None


def test_a_number_of_thousands_of_digits_is_refused(car: Car, capsys: pytest.CaptureFixture[str]) -> None:
    assert "expected TOML" in refused(capsys, car(f"microphone = {'9' * 5000}\n"))
