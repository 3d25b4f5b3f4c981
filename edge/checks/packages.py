"""Python, the packages that the project needs, and those that stand in its way."""

import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distributions, metadata, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from edge.checks.finding import INSTALL, PIP, ROOT, Finding

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PROJECT = "edge-emotion"
OLDEST, TOO_NEW = (3, 10), (3, 13)

OURS = (
    "bundle", "kernels", "perception", "edge", "corpora", "networks", "training", "calibration", "export", "benchmarks",
)  # fmt: skip
"""Import names that others use as well."""

APART = "python3 -m venv --clear .venv && .venv/bin/pip install -e ."
"""A virtual environment of the project's own, made in its folder."""

SERVES = {
    "dashboard": "edge-run --dashboard",
    "view": "edge-run --view",
    "metrics": "edge-run --metrics",
    "mqtt": "edge-run --mqtt",
    "tensorrt": "edge-export engine",
    "pycuda": "edge-run --engine tensorrt",
    "openvino": "edge-run --engine openvino",
    "train": "edge-train, edge-evaluate and edge-calibrate",
}
"""What needs an extra; the others serve development."""


def check_python() -> Iterator[Finding]:
    """Whether this Python is one that all needed packages have wheels for."""
    found = ".".join(map(str, sys.version_info[:3]))
    if OLDEST <= sys.version_info < TOO_NEW:
        yield Finding("python", "ok", found)
    else:
        text = f"{found}, for which MediaPipe has no wheel; expected 3.10 to 3.12"
        yield Finding("python", "failure", text, APART.replace("python3", "python3.12"))


def check_packages() -> Iterator[Finding]:
    """Whether what the project asks for is installed; what it can do besides, and what that needs."""
    try:
        extras = metadata(PROJECT).get_all("Provides-Extra") or []
    except PackageNotFoundError:
        text = "edge-emotion is not installed in this Python, so its packages were not compared"
        yield Finding("packages", "warning", text, INSTALL)
        return
    needed = requirements()
    faults = [*filter(None, map(_fault, needed))]
    for text, mend in faults:
        yield Finding("packages", "failure", text, mend)
    if not faults:
        yield Finding("packages", "ok", f"edge-emotion {version(PROJECT)} and the {len(needed)} that it needs")
    absent = [extra for extra in SERVES if extra in extras and any(map(_fault, requirements(extra)))]
    if absent:
        told = ", ".join(f"{extra} (needed for {SERVES[extra]})" for extra in absent)
        text = f"not there: {told}: {PIP} install 'edge-emotion[{','.join(absent)}]'"
        yield Finding("extras", "ok", text)
    else:
        yield Finding("extras", "ok", "all that programs can use besides is there")


def requirements(extra: str = "") -> list["Requirement"]:
    """What the project needs on this machine, or what one of its extras adds to that."""
    from packaging.requirements import Requirement

    every = map(Requirement, requires(PROJECT) or [])
    return [
        requirement
        for requirement in every
        if (requirement.marker.evaluate({"extra": extra}) if requirement.marker else not extra)
    ]


def _fault(requirement: "Requirement") -> tuple[str, str] | None:
    """What is wrong with an installed package, and the command that mends it."""
    wanted = f"{requirement.name}{requirement.specifier}"
    mend = f"{PIP} install '{wanted}'"
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return f"{requirement.name} is not installed; expected {wanted}", mend
    if requirement.specifier.contains(found, prereleases=True):
        return None
    return f"{requirement.name} {found} is installed; expected {wanted}", mend


def check_clashes() -> Iterator[Finding]:
    """Packages that overwrite or hide one another: two that bring OpenCV; others named as ours."""
    providers = _providers()
    found = [*_rival_opencvs(sorted(providers["cv2"]))]
    for name in OURS:
        found += _stranger(name, sorted(providers[name] - {PROJECT}))
    yield from found or [Finding("clashes", "ok", "no package overwrites or hides another that is needed")]


def _rival_opencvs(distributions_of_cv2: list[str]) -> Iterator[Finding]:
    if len(distributions_of_cv2) > 1:
        kept = "opencv-contrib-python"  # it holds all of the others, and MediaPipe needs it
        text = f"{' and '.join(distributions_of_cv2)} bring the same cv2, and overwrite each other's files"
        mend = f"{PIP} uninstall -y {' '.join(distributions_of_cv2)} && {PIP} install {kept}"
        yield Finding("clashes", "warning", text, mend)


def _stranger(name: str, foreign: list[str]) -> Iterator[Finding]:
    """A package that has the name of one of ours."""
    spec = find_spec(name)
    places = [Path(place) for place in (spec.submodule_search_locations or [spec.origin or "?"])] if spec else []
    if ROOT / name not in places:
        found = f"another one, {', '.join(map(str, places))}" if places else "missing"
        mend = f"{PIP} uninstall {' '.join(foreign)}" if foreign else APART
        yield Finding("clashes", "failure", f"the package {name} is {found}; expected {ROOT / name}", mend)
    elif foreign:
        text = f"{' and '.join(foreign)} brings a package {name} too, which hides ours or is hidden by it"
        yield Finding("clashes", "failure", text, f"{PIP} uninstall {' '.join(foreign)}, or apart: {APART}")


def _providers() -> dict[str, set[str]]:
    """Which installed distributions bring a top-level package."""
    found: dict[str, set[str]] = defaultdict(set)
    for distribution in distributions():
        files, names = (distribution.read_text(name) or "" for name in ("RECORD", "top_level.txt"))
        top = {*re.findall(r"^([^/,\n]+)/", files, re.M), *names.split()}
        name = distribution.metadata["Name"]
        for package in top if name else ():
            found[package].add(re.sub(r"[-_.]+", "-", name).lower())
    return found
