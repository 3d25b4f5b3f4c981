"""Each message of ours that docs/faq.md quotes is still in the code."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FAQ = (ROOT / "docs" / "faq.md").read_text(encoding="utf-8")
PROGRAMS = "edge", "perception", "bundle", "export", "calibration", "training"

ENTRIES = re.findall(r"^### (.+)$", FAQ, re.M)
OURS = [quoted for entry in ENTRIES if entry.startswith("`") for quoted in re.findall(r"`([^`]+)`", entry)]


@pytest.fixture(scope="module")
def texts() -> str:
    """All literal texts, those in f-strings up to the next value."""
    files = (path for program in PROGRAMS for path in (ROOT / program).rglob("*.py"))
    nodes = (node for path in files for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    return "\n".join(
        node.value if isinstance(node.value, str) else node.value.decode(errors="replace")
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
    )


@pytest.mark.parametrize("message", OURS)
def test_quoted_message_is_in_the_code(message: str, texts: str) -> None:
    fixed = [part.strip() for part in message.split("…") if part.strip(" .,;:")]
    assert fixed
    assert [part for part in fixed if part not in texts] == []


def test_every_entry_has_a_command_and_there_are_few() -> None:
    answers = FAQ.split("\n### ")[1:]
    assert [answer.partition("\n")[0] for answer in answers if "```sh" not in answer] == []
    assert len(OURS) >= 15
    assert len(ENTRIES) <= 25
