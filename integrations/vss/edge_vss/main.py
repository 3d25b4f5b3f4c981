"""edge-vss: messages of edge-run on standard input, signals in a databroker."""

import argparse
import signal
import ssl
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from edge_vss.databroker import Databroker, RefusedError
from edge_vss.forward import Forwarder
from edge_vss.lines import LineReader
from edge_vss.newest import Newest
from edge_vss.signals import Signals


def main(arguments: list[str] | None = None) -> int:
    """Run; the exit status is 0 for success, 1 for a failure that a message explains, 2 for wrong usage."""
    options = _parse(arguments)
    if sys.stdin is None:
        print("edge-vss: standard input is closed; expected the lines of edge-run", file=sys.stderr)
        return 1
    try:
        host, port = options.databroker
        databroker = Databroker(host, port, _checked(options.ca), _token(options.token_file))
    except OSError as error:
        print(f"edge-vss: {error}", file=sys.stderr)
        return 1
    newest: Newest[Signals] = Newest()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: newest.end())
    reader, forwarder = LineReader(0, newest), Forwarder(newest, databroker, options.silence_s)
    reader.start()
    try:
        failure = _failure(forwarder, reader, databroker.address)
    finally:
        databroker.close()
    print(
        f"edge-vss: {reader.messages} messages, {forwarder.written} written, "
        f"{reader.messages - forwarder.written} left out for newer ones, {reader.malformed} malformed lines",
        file=sys.stderr,
    )
    if failure:
        print(f"edge-vss: {failure}", file=sys.stderr)
    return 1 if failure else 0


def _failure(forwarder: Forwarder, reader: LineReader, address: str) -> str:
    """Why not all went well, in one line; empty if it did."""
    try:
        forwarder.run()
    except TimeoutError:
        return f"the last signals were not written: {address} cannot be reached"
    except (RefusedError, OSError) as error:
        return str(error)
    return f"standard input cannot be read: {reader.error}" if reader.error else ""


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="edge-vss",
        description="Write the messages of edge-run as Vehicle Signal Specification signals to a KUKSA databroker.",
        epilog="edge-run --camera 0 --microphone default | edge-vss --databroker localhost:55555",
    )
    parser.add_argument(
        "--databroker", metavar="HOST:PORT", type=_address, default=("localhost", 55555), help="default localhost:55555"
    )
    parser.add_argument("--ca", metavar="FILE", type=Path, help="use TLS, and trust these authorities (PEM)")
    parser.add_argument("--token-file", metavar="FILE", type=Path, help="its text is the access token (JWT)")
    parser.add_argument(
        "--silence-s", metavar="S", type=_seconds, default=2.0,
        help="without a message for so long, the signals become unavailable; default 2",
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"edge-vss {version('edge-vss')}")
    return parser.parse_args(arguments)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f"{text}: expected HOST:PORT")
    return host, int(port)


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if 0 < (seconds := float(text)) < 3600:
            return seconds
    raise argparse.ArgumentTypeError(f"{text}: expected more than 0 and less than 3600")


def _checked(ca_file: Path | None) -> Path | None:
    """The file itself; OSError if it holds no certificates, on which gRPC would only fail to connect."""
    if ca_file is not None:
        try:
            ssl.create_default_context(cafile=ca_file)
        except OSError as error:
            raise OSError(f"--ca {ca_file} cannot be read: {error}; expected certificates in PEM format") from error
    return ca_file


def _token(token_file: Path | None) -> str | None:
    if token_file is None:
        return None
    try:
        token = token_file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise OSError(f"--token-file {token_file} cannot be read: {error}; expected the text of a JWT") from error
    if not token or len(token.split()) != 1:
        raise OSError(f"--token-file {token_file} holds {len(token.split())} words; expected the text of a JWT")
    return token


if __name__ == "__main__":
    sys.exit(main())
