"""The command line of edge-run."""

import argparse
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bundle.manifest import DEFAULT_BUNDLE
from edge.access import Address
from edge.broker import Broker
from edge.config import OptionParser, a_file
from edge.fleet import SAFETY_STATES, approved_states
from edge.scenarios import SCENARIOS

ENGINES = "auto", "tensorrt", "tensorrt-rtx", "openvino", "onnxruntime"

CAMERA, MICROPHONE = "0", "default"
"""Unless others are named."""

ON_OR_OFF = argparse.BooleanOptionalAction
"""So that the command line can switch off what a file switches on."""

WITHHELD_BY_FLEET = {
    "dashboard": "shows the driver and the probability of every emotion",
    "view": "shows the probability of every emotion",
    "record": "holds every state and what it was inferred from",
    "replay": "was recorded without the profile and holds every state",
}

EPILOG = """\
examples:
  edge-run                                     camera 0 and the default microphone
  edge-run --clip drive.mp4                    a recording, as fast as possible
  edge-run --camera http://10.0.0.2/mjpeg --no-microphone
  edge-run --clip drive.mp4 --chaos freeze-camera
  edge-run --dashboard 8080                    and a live page at http://127.0.0.1:8080
  edge-run --roi 0.5,0,1,1 --mono              the driver on the right, in an infrared image
  edge-run --config car.toml --duration 60     all that a file says, for a minute
"""


@dataclass(frozen=True)
class Options:
    """What the user asked for; fields as the command line names them."""

    bundle: Path
    engine: str
    precision: str | None
    allow_ungated: bool
    clip: Path | None
    realtime: bool
    camera: str | None
    microphone: str | None
    channel: int | None
    roi: tuple[float, float, float, float]
    rotate: int
    mirror: bool
    mono: bool
    duration_s: float | None
    output: Path | None
    dashboard: Address | None
    view: str | None
    metrics: Address | None
    token_file: Path | None
    record: Path | None
    record_media: bool
    replay: Path | None
    chaos: str | None
    mqtt: Broker | None
    mqtt_password_file: Path | None
    mqtt_ca: Path | None
    profile: str | None
    approved_states: tuple[str, ...]
    audit: Path | None
    config: Path | None = field(compare=False)  # what it says, the others say
    list_devices: bool

    @property
    def by_the_clock(self) -> bool:
        """Whether the run goes on whatever happens, as devices do, and can wait for nobody."""
        return self.realtime or self.chaos is not None or not (self.clip or self.replay)


def option_parser() -> OptionParser:
    """All options, of the command line and of a file."""
    parser = OptionParser(
        prog="edge-run",
        description="Read a camera and a microphone, or a clip, and print the driver's emotion state as JSON Lines.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"edge-emotion {own_version()}")
    parser.add_argument("--list-devices", action="store_true", help="print cameras and microphones, and stop")
    parser.add_argument("--config", type=a_file, metavar="FILE", help="options from a TOML file; the command line wins")
    parser.add_argument("--print-config", action="store_true", help="print all options as such a file, and stop")
    parser.add_argument("--bundle", type=a_file, default=DEFAULT_BUNDLE, help="the networks (default: the built-in)")
    parser.add_argument(
        "--engine", choices=ENGINES, default="auto",
        help="what runs the networks (default: TensorRT, TensorRT-RTX or ONNX Runtime, the first that can be had)",
    )  # fmt: skip
    parser.add_argument(
        "--precision", choices=("float32", "int8"),
        help="of encoders and large heads (default: int8 if the bundle's INT8 files passed its accuracy gate)",
    )  # fmt: skip
    parser.add_argument("--allow-ungated", action=ON_OR_OFF, default=False, help="accept INT8 that passed no gate")
    parser.add_argument("--duration", type=_positive, metavar="S", help="stop after S seconds")
    parser.add_argument(
        "--output", type=a_file, metavar="FILE",
        help="write the messages to FILE, or to a new file in it where it is a folder (default: stdout)",
    )  # fmt: skip

    onlookers = parser.add_argument_group("looking on (nothing is served unless asked for)")
    onlookers.add_argument("--dashboard", type=Address.parse, metavar="[HOST:]PORT", help="live page for a browser")
    onlookers.add_argument("--view", choices=("terminal",), help="a text screen instead of lines in a terminal")
    onlookers.add_argument("--metrics", type=Address.parse, metavar="[HOST:]PORT", help="Prometheus and /healthz")
    onlookers.add_argument(
        "--token-file", type=a_file, metavar="FILE",
        help="its first line must be given by who looks on (default, beyond this machine: a new token each run)",
    )  # fmt: skip

    mqtt = parser.add_argument_group("MQTT")
    mqtt.add_argument("--mqtt", type=Broker.parse, metavar="URL", help="mqtt[s]://[USER@]HOST[:PORT]/TOPIC")
    mqtt.add_argument("--mqtt-password-file", type=a_file, metavar="FILE", help="its first line is the password")
    mqtt.add_argument("--mqtt-ca", type=a_file, metavar="FILE", help="authorities to trust (default: the system's)")

    work = parser.add_argument_group("a driver at work (docs/privacy-and-law.md)")
    work.add_argument("--profile", choices=("fleet",), help="let nothing out but approved safety states")
    work.add_argument(
        "--approved-states", type=approved_states, metavar="STATE,...",
        help=f"the states that whoever operates the cars approves, among {', '.join(SAFETY_STATES)}",
    )  # fmt: skip
    work.add_argument("--audit", type=a_file, metavar="FILE", help="add a line to FILE at the start and at the end")

    clip = parser.add_argument_group("a recording instead of devices")
    which = clip.add_mutually_exclusive_group()
    which.add_argument("--clip", type=a_file, metavar="FILE", help="mp4, mkv, flv, wav, ...")
    which.add_argument("--replay", type=a_file, metavar="FILE", help="what --record wrote: the same states again")
    clip.add_argument("--realtime", action=ON_OR_OFF, default=False, help="at the speed at which it was recorded")

    record = parser.add_argument_group("recording (nothing is written unless asked for)")
    record.add_argument(
        "--record", type=a_file, metavar="FILE",
        help="write embeddings, states and timings to FILE, or to a new file in it where it is a folder",
    )  # fmt: skip
    record.add_argument("--record-media", action=ON_OR_OFF, default=False, help="write images and sound to it as well")

    faults = parser.add_argument_group("faults on purpose")
    faults.add_argument(
        "--chaos", choices=tuple(SCENARIOS), metavar="SCENARIO",
        help=f"to the devices, or to --clip in their place: {', '.join(SCENARIOS)}",
    )  # fmt: skip

    camera = parser.add_argument_group("camera")
    which = camera.add_mutually_exclusive_group()
    which.add_argument("--camera", default=CAMERA, metavar="C", help="index, path or URL (default: 0)")
    which.add_argument("--no-camera", dest="camera", action="store_const", const=None, help="sound only")
    camera.add_argument(
        "--roi", type=_region, default=(0.0, 0.0, 1.0, 1.0), metavar="X0,Y0,X1,Y1",
        help="where the driver sits, as fractions of the upright image (default: all of it)",
    )  # fmt: skip
    camera.add_argument("--rotate", type=int, choices=(0, 90, 180, 270), default=0, help="clockwise, to stand upright")
    camera.add_argument("--mirror", action=ON_OR_OFF, default=False, help="the camera delivers a mirror image")
    camera.add_argument("--mono", action=ON_OR_OFF, default=False, help="infrared camera: ignore its colours")

    microphone = parser.add_argument_group("microphone")
    which = microphone.add_mutually_exclusive_group()
    which.add_argument("--microphone", default=MICROPHONE, metavar="M", help="default, name or index")
    which.add_argument("--no-microphone", dest="microphone", action="store_const", const=None, help="pictures only")
    microphone.add_argument("--channel", type=int, metavar="N", help="take channel N, from 0 (default: mean of all)")

    return parser


def parse_options(arguments: Sequence[str] | None = None) -> Options:
    """Parse the command line and the file that it names; a usage error exits with 2, --print-config with 0."""
    parser = option_parser()
    given = parser.parse_both(arguments)
    if given.camera is None and given.microphone is None:
        parser.error("--no-camera and --no-microphone leave nothing to perceive; drop one of them")
    if given.realtime and not given.clip and not given.replay:
        parser.error("--realtime goes with --clip or --replay; devices are always in real time")
    if (given.clip or given.replay) and {given.camera, given.microphone} - {CAMERA, MICROPHONE, None}:
        parser.error("--camera and --microphone name devices; --clip and --replay stand in their place")
    if given.replay and (
        given.camera is None or given.microphone is None or given.channel is not None or given.record_media
    ):
        parser.error(
            "--no-camera, --no-microphone, --channel and --record-media go with devices or --clip, not with --replay"
        )
    if given.token_file and not (given.dashboard or given.metrics):
        parser.error("--token-file goes with --dashboard or --metrics")
    if given.chaos and given.replay:
        parser.error("--chaos goes with devices or --clip; a recorded run is what it was")
    if given.record_media and not given.record:
        parser.error("--record-media goes with --record FILE, which names where to")
    if given.allow_ungated and given.precision != "int8":
        parser.error("--allow-ungated goes with --precision int8")
    if given.mqtt_password_file and not (given.mqtt and given.mqtt.user):
        parser.error("--mqtt-password-file goes with --mqtt mqtt[s]://USER@..., whose password it is")
    if given.mqtt_ca and not (given.mqtt and given.mqtt.tls):
        parser.error("--mqtt-ca goes with --mqtt mqtts://...; mqtt:// asks for no certificate")
    if given.channel is not None and given.channel < 0:
        parser.error(f"--channel is {given.channel}; expected 0 or more")
    _check_profile(parser, given)
    if given.print_config:
        print(parser.toml_from(given), end="", flush=True)
        parser.exit()
    return Options(
        bundle=given.bundle,
        engine=given.engine,
        precision=given.precision,
        allow_ungated=given.allow_ungated,
        clip=given.clip,
        realtime=given.realtime,
        camera=given.camera,
        microphone=given.microphone,
        channel=given.channel,
        roi=given.roi,
        rotate=given.rotate,
        mirror=given.mirror,
        mono=given.mono,
        duration_s=given.duration,
        output=given.output,
        dashboard=given.dashboard,
        view=given.view,
        metrics=given.metrics,
        token_file=given.token_file,
        record=given.record,
        record_media=given.record_media,
        replay=given.replay,
        chaos=given.chaos,
        mqtt=given.mqtt,
        mqtt_password_file=given.mqtt_password_file,
        mqtt_ca=given.mqtt_ca,
        profile=given.profile,
        approved_states=given.approved_states or (),
        audit=given.audit,
        config=given.config,
        list_devices=given.list_devices,
    )


def _check_profile(parser: OptionParser, given: argparse.Namespace) -> None:
    if given.profile is None:
        if given.approved_states or given.audit:
            parser.error("--approved-states and --audit go with --profile fleet; without it all states are let out")
        return
    for name, shows in WITHHELD_BY_FLEET.items():
        if getattr(given, name):
            parser.error(f"--{name} does not go with --profile fleet: it {shows}; drop one of them")
    if not given.approved_states:
        parser.error(
            f"--profile fleet needs --approved-states, one or more of {', '.join(SAFETY_STATES)}: "
            "who operates the cars approves each, as nobody else can judge whether it is lawful there"
        )
    if not given.audit:
        parser.error("--profile fleet needs --audit FILE, so that it can be told later what was let out")


def _positive(text: str) -> float:
    with suppress(ValueError):
        value = float(text)
        if 0 < value < float("inf"):
            return value
    raise argparse.ArgumentTypeError(f"{text} is not a positive number of seconds")


def _region(text: str) -> tuple[float, float, float, float]:
    with suppress(ValueError):
        x0, y0, x1, y1 = (float(part) for part in text.split(","))
        if 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1:
            return x0, y0, x1, y1
    raise argparse.ArgumentTypeError(f"{text}: expected X0,Y0,X1,Y1 with 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1")


def own_version() -> str:
    """Of this package, as it is installed."""
    try:
        return version("edge-emotion")
    except PackageNotFoundError:
        return "(not installed)"
