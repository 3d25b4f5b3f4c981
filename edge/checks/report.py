"""What a user can send: versions, the machine, the findings, and nothing that says whose they are."""

import getpass
import os
import platform
import re
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edge.checks.finding import ROOT, Finding
from edge.checks.packages import PROJECT, SERVES, requirements

HOLDS = (
    "It holds versions, this machine's kind, and what edge-doctor found. It holds no image, no sound, no name of a "
    "user or of this machine, no folder, no address and no serial number. Read it before you send it."
)

SYSTEM_PATH = r"(?:dev/(?:video|snd|null)|etc/|proc/|sys/)"
"""What is the same on every machine; any other path is cut down to its last name."""


def report_of(findings: Sequence[Finding], named: Sequence[str]) -> str:
    """The report in Markdown. named : what the user called devices and bundle; left out."""
    rows = [f"| {f.check} | {f.status} | {anonymous(f.text, named).replace('|', '/')} |" for f in findings]
    table = ["| check | status | found |", "|---|---|---|", *rows]
    return "\n".join(["# edge-doctor", "", HOLDS, "", *_machine(), "", *_packages(), "", *table, ""])


def anonymous(text: str, named: Sequence[str]) -> str:
    """The text without what the user named, folders, the user and the machine."""
    text = re.sub(r"\b(camera|microphone) (['\"]).*?\2", r"\1 (as named)", text)
    for name in sorted(filter(None, named), key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "(as named)", text)
    own = {os.path.expanduser("~"), str(ROOT), sys.prefix, os.getcwd()} - {"/", "~"}  # "~": nobody knows the home
    for folder in sorted(own, key=len, reverse=True):
        text = text.replace(folder, "...")
    text = re.sub(rf"(?<![\w.:/])/(?!{SYSTEM_PATH})\S*/", ".../", text)
    text = re.sub(r"\w+://[^\s',;]+", "(an address)", text)
    for name in _persons():
        text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", "(left out)", text)
    return text


def _persons() -> list[str]:
    """The user's name, unless it is no person's, and the machine's."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container without a list of users
        user = ""
    return [name for name in (user, platform.node()) if name and name not in ("root", "localhost")]


def _machine() -> list[str]:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return [
        f"- {_distribution()}, kernel {platform.release()}, {platform.machine()}, {'-'.join(platform.libc_ver())}",
        f"- {_processor()}, {os.cpu_count()} cores, {pages / 1e9:.1f} GB memory",
        f"- Python {platform.python_version()}",
    ]


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def _processor() -> str:
    """As Linux names it; Arm's has no name there."""
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    return found[1] if found else platform.machine()


def _packages() -> list[str]:
    try:
        needed = [requirement for extra in ("", *SERVES) for requirement in requirements(extra)]
    except (PackageNotFoundError, ModuleNotFoundError):
        return ["- the packages' versions are not known: edge-emotion or packaging is not installed"]
    names = dict.fromkeys([PROJECT, *(requirement.name for requirement in needed)])
    return [f"- {name} {_version(name)}" for name in names]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
