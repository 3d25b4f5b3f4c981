"""The overlay, through COVESA's own tools."""

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
VSPEC = Path(sys.executable).parent / "vspec"


def test_shipped_export_is_what_vspec_makes_of_the_overlay(tmp_path: Path) -> None:
    made = tmp_path / "emotion.json"
    arguments = ["--vspec", HERE / "core/vehicle.vspec", "--overlays", HERE.parent / "emotion.vspec"]
    subprocess.run([VSPEC, "export", "json", *arguments, "--strict", "--pretty", "--output", made], check=True)
    assert json.loads(made.read_text()) == json.loads((HERE.parent / "emotion.json").read_text())


def test_vspec_refuses_an_overlay_that_breaks_the_rules(tmp_path: Path) -> None:
    broken = tmp_path / "broken.vspec"
    broken.write_text((HERE.parent / "emotion.vspec").read_text().replace("unit: ms", "unit: parsec"))
    arguments = ["--vspec", HERE / "core/vehicle.vspec", "--overlays", broken, "--output", tmp_path / "broken.json"]
    result = subprocess.run([VSPEC, "export", "json", *arguments], capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "parsec" in result.stdout + result.stderr
