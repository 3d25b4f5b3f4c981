"""edge-report: a recorded session as one page that needs nothing else."""

import argparse
import os
import sys
from pathlib import Path

from bundle.command import exit_status
from bundle.errors import InputError
from edge.report_page import page_of
from edge.session_log import session_from_lines


def main(arguments: list[str] | None = None) -> int:
    """Write the page; the exit status is 0 for success, 1 for a failure that a message explains, 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="edge-report", description="Turn a recorded session into one HTML page.")
    parser.add_argument("session", type=Path, help="what edge-run --output wrote")
    parser.add_argument("--output", type=Path, metavar="FILE", help="(default: beside the session, with .html)")
    options = parser.parse_args(arguments)
    return exit_status("edge-report", lambda: _write(options), stopped="the same command writes the page")


def _write(options: argparse.Namespace) -> None:
    if options.session.is_dir():
        raise InputError(f"{options.session} is a folder; expected a file that edge-run --output wrote.")
    output = options.output or options.session.with_suffix(".html")
    if os.path.realpath(output) == os.path.realpath(options.session):
        raise InputError(f"--output {output} is the session itself. Choose another file.")
    with options.session.open(encoding="utf-8", errors="replace") as lines:
        name = options.session.name.encode(errors="replace").decode()  # a name may be no UTF-8
        page = page_of(session_from_lines(lines, name))
    output.write_text(page, encoding="utf-8", errors="replace")  # JSON can hold what UTF-8 cannot
    print(str(output).encode(errors="replace").decode())


if __name__ == "__main__":
    sys.exit(main())
