"""What a check finds; and a check that breaks, or hangs, as a finding."""

import re
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bundle.errors import EdgeEmotionError

LIMIT_S = 120.0
"""Enough to compile all kernels on a small board."""

PACKAGE_OF_LIBRARY = {
    "libGL.so.1": "libgl1",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libportaudio.so.2": "libportaudio2",
}
"""Debian's, by the library that an import misses."""

ROOT = Path(__file__).parents[2]
"""Where our packages lie: the project's folder, or where pip put them."""

PIP = f"{sys.executable} -m pip"
"""Another `pip` may be first in the path, which would mend another Python."""

INSTALL = (
    f"{PIP} install -e {ROOT}" if (ROOT / "setup.py").is_file() else f"{PIP} install --force-reinstall edge-emotion"
)
REPORT = "Send what edge-doctor --report FILE writes."


@dataclass(frozen=True)
class Finding:
    """One sentence on one thing.

    mend : the command or act that mends it, empty where it is ok.
    """

    check: str
    status: Literal["ok", "warning", "failure"]
    text: str
    mend: str = ""


def findings_of(name: str, check: Callable[[], Iterable[Finding]], limit_s: float = LIMIT_S) -> list[Finding]:
    """What the check finds; it never raises, and a driver that hangs is left behind."""
    found: list[Finding] = []

    def run() -> None:
        try:
            for finding in check():
                found.append(finding)
        except Exception as error:
            found.append(finding_from_error(name, error))

    thread = threading.Thread(target=run, name=f"checking {name}", daemon=True)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        mend = "Unplug what hangs and plug it in again, or restart the machine (sound: its server)."
        return [*found, Finding(name, "failure", f"no answer within {limit_s:.0f} s", mend)]
    return found


def finding_from_error(name: str, error: Exception) -> Finding:
    """What is wrong, and the remedy that our own errors tell, or that is known of missing libraries."""
    text = " ".join(str(error).split())
    if isinstance(error, EdgeEmotionError):
        received, remedy = (re.split(r"; (?=expected)|\. ", text, maxsplit=1) + [REPORT])[:2]
        return Finding(name, "failure", received, remedy)
    if isinstance(error, ModuleNotFoundError):
        package = str(error.name).partition(".")[0]
        return Finding(name, "failure", f"the Python package {package} is not installed", INSTALL)
    for library, package in PACKAGE_OF_LIBRARY.items():
        if isinstance(error, ImportError) and library in text:
            return Finding(name, "failure", f"the library {library} is missing", f"sudo apt-get install {package}")
    return Finding(name, "failure", f"the check itself broke: {type(error).__name__}: {text}", REPORT)
