"""edge-doctor: is this machine ready for edge-run, and if not, what mends it."""

import argparse
import json
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from bundle.command import drop_unwritten
from bundle.errors import EdgeEmotionError, InputError
from bundle.manifest import DEFAULT_BUNDLE, read_manifest
from edge.checks.devices import check_camera, check_microphone
from edge.checks.finding import Finding, findings_of
from edge.checks.gpu import check_engines, check_gpu, check_tensorrt
from edge.checks.machine import check_clock, check_disk, check_kernel_cache
from edge.checks.network import check_bundle
from edge.checks.packages import check_clashes, check_packages, check_python
from edge.checks.report import HOLDS, report_of
from edge.options import CAMERA, MICROPHONE

DEVICE_LIMIT_S = 45.0
"""For a driver that hangs; a camera and a microphone that are well take 5 s."""

STATUS_WIDTH, NAME_WIDTH, TEXT_WIDTH = 9, 15, 96
METER_WIDTH, METER_FLOOR_DBFS = 30, -60.0

EPILOG = """\
It opens the camera and the microphone for some seconds, keeps nothing of them, and writes no file but --report's (and
Numba's own cache of compiled kernels). Exit status: 0 all is ok, or only warnings; 1 a failure; 2 wrong usage.
"""


def main(arguments: list[str] | None = None) -> int:
    """Check everything; the exit status is 1 where edge-run would fail, 2 for wrong usage."""
    options = _parse(arguments)
    findings: list[Finding] = []
    try:
        for finding in _examine(options):
            findings.append(finding)
            if not options.json:
                print(_text(finding), flush=True)
        listed = [asdict(finding) for finding in findings]
        print(json.dumps(listed, indent=2) if options.json else _summary(findings), flush=True)
        if options.report:
            _write_report(options, findings)
    except BrokenPipeError:  # whoever read our output has seen enough
        drop_unwritten()
    except (EdgeEmotionError, OSError) as error:
        print(f"edge-doctor: {error}", file=sys.stderr)
        drop_unwritten()
        return 1
    except KeyboardInterrupt:
        return 130
    return int(any(finding.status == "failure" for finding in findings))


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="edge-doctor",
        description="Check this machine for edge-run: what is there, what is wrong, and the command that mends it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print the findings as a list of objects")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write what you can send to whoever helps you")
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, help="the networks (default: the built-in ones)")
    camera = parser.add_mutually_exclusive_group()
    camera.add_argument("--camera", default=CAMERA, metavar="C", help="index, path or URL (default: 0)")
    camera.add_argument("--no-camera", action="store_true", help="leave it alone")
    microphone = parser.add_mutually_exclusive_group()
    microphone.add_argument("--microphone", default=MICROPHONE, metavar="M", help="default, name or index")
    microphone.add_argument("--no-microphone", action="store_true", help="leave it alone")
    return parser.parse_args(arguments)


def _examine(options: argparse.Namespace) -> Iterator[Finding]:
    """All findings, each when it is there; what is cheap first."""
    yield from findings_of("python", check_python)
    yield from findings_of("packages", check_packages)
    yield from findings_of("clashes", check_clashes)
    yield from findings_of("disk", check_disk)
    yield from findings_of("clock", check_clock)
    yield from findings_of("kernel cache", check_kernel_cache)
    yield from findings_of("gpu", check_gpu)
    yield from findings_of("tensorrt", check_tensorrt)
    yield from findings_of("engine cache", check_engines)
    if not options.no_camera:
        yield from findings_of("camera", lambda: check_camera(options.camera), DEVICE_LIMIT_S)
    if not options.no_microphone:
        heard = findings_of("microphone", lambda: check_microphone(options.microphone, _show_level), DEVICE_LIMIT_S)
        _draw("")
        yield from heard
    yield from findings_of("bundle", lambda: check_bundle(options.bundle))


def _show_level(dbfs: float) -> None:
    """A meter, drawn over itself."""
    filled = round(METER_WIDTH * max(0.0, 1 - dbfs / METER_FLOOR_DBFS))
    head = f"{'':{STATUS_WIDTH}}{'microphone':{NAME_WIDTH}}"
    _draw(f"{head}[{'#' * filled:{METER_WIDTH}}] {dbfs:4.0f} dBFS")


def _draw(line: str) -> None:
    """A line that the next one overwrites, for whoever looks on."""
    if sys.stderr is not None and sys.stderr.isatty():
        print(f"\r\033[K{line}", end="\r", file=sys.stderr, flush=True)


def _text(finding: Finding) -> str:
    """One line of the table, the remedy below it."""
    head = f"{finding.status:{STATUS_WIDTH}}{finding.check:{NAME_WIDTH}}"
    lines = textwrap.wrap(finding.text, TEXT_WIDTH, break_long_words=False, break_on_hyphens=False)
    below = [*lines[1:], *[f"-> {finding.mend}"] * bool(finding.mend)]
    return "\n".join([head + lines[0], *(" " * len(head) + line for line in below)])


def _summary(findings: Sequence[Finding]) -> str:
    counts = Counter(finding.status for finding in findings)
    return f"\nok: {counts['ok']}, warnings: {counts['warning']}, failures: {counts['failure']}"


def _write_report(options: argparse.Namespace, findings: Sequence[Finding]) -> None:
    path = options.report
    try:
        path.write_text(report_of(findings, _named(options)), encoding="utf-8")
    except OSError as error:
        raise InputError(f"--report {path} cannot be written: {error.strerror}. Choose another file.") from error
    print(f"{path} is written. {HOLDS}", file=sys.stderr)


def _named(options: argparse.Namespace) -> list[str]:
    """What the user called things, unless every machine calls them so."""
    given = [options.camera, options.microphone, str(options.bundle)]
    if options.bundle != DEFAULT_BUNDLE:
        with suppress(EdgeEmotionError):
            given.append(read_manifest(options.bundle).name)
    return [name for name in given if not name.isdecimal() and name not in (MICROPHONE, str(DEFAULT_BUNDLE))]


if __name__ == "__main__":
    sys.exit(main())
