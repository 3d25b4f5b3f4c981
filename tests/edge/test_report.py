"""A session's report, by hand-computed figures of a drive."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from bundle.errors import InputError
from edge.message import Message
from edge.report import main
from edge.report_page import page_of
from edge.session_log import SessionLog, Span, session_from_lines

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "demo" / "driver.mp4"
Drive = Callable[[int], list[Message]]


def session_of(messages: Sequence[Message]) -> SessionLog:
    return session_from_lines((json.dumps(message) + "\n" for message in messages), "drive.jsonl")


class Parsed(HTMLParser):
    """Rows of each table by its texts; addresses that the page would load; tags that run code."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.loads: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        self.loads += [f"{tag} {name}" for name, _ in attrs if name in ("src", "href") or name.startswith("on")]
        self.loads += [tag] if tag in ("script", "link", "iframe") else []

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self.rows.append([])

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()


def test_states_cover_the_session_without_gaps(drive: Drive) -> None:
    session = session_of(drive(60))
    assert [span.value for span in session.states] == ["unknown", "joyful", "agitated"]
    assert session.length_s == pytest.approx(12.0)
    assert [span.start_s for span in session.states[1:]] == [span.end_s for span in session.states[:-1]]
    changes = [i for i, message in enumerate(drive(60)) if message["since_s"] == 0][1:]
    assert [span.start_s for span in session.states[1:]] == pytest.approx([0.2 * i for i in changes])


def test_outages_are_told_with_their_reasons(drive: Drive) -> None:
    outages = session_of(drive(60)).outages
    told = [(span.value, span.reason, round(span.start_s, 1), round(span.end_s, 1)) for span in outages]
    assert told == [
        ("no face", "no image from the camera", 0.0, 1.0),
        ("no sound", "no sound from the microphone", 0.0, 1.0),
        ("nothing to go by", "warming up", 0.0, 1.0),
        ("no face", "too dark", 8.0, 12.0),
    ]


def test_device_that_is_not_well_is_an_outage(drive: Drive) -> None:
    well, frozen = {"camera": "ok", "microphone": "ok", "load": "normal"}, {"camera": "frozen"}
    messages = [{**m, "health": {**well, **(frozen if 20 <= i < 30 else {})}} for i, m in enumerate(drive(40))]
    told = [(span.reason, span.start_s, span.end_s) for span in session_of(messages).outages if "camera" in span.value]
    assert told == [("frozen", pytest.approx(4.0), pytest.approx(6.0))]


def test_load_is_told_where_there_was_any(drive: Drive) -> None:
    messages = drive(40)
    assert "Under load" not in page_of(session_of(messages))
    slow = [{**m, "health": {**m["health"], "load": "reduced rate"}} if i >= 30 else m for i, m in enumerate(messages)]
    rows = Parsed(page_of(session_of(slow))).rows
    assert ["reduced rate", "25.0%", "2.0 s", "2.0 s", "1", ""] in rows


def test_short_outages_are_left_out(drive: Drive) -> None:
    messages = [{**m, "face": "lost" if 20 <= i < 24 else "ok", "voice": "speech"} for i, m in enumerate(drive(40))]
    assert [span.value for span in session_of(messages).outages] == ["nothing to go by"]


def test_time_in_which_the_run_stood_still_is_nothing_but_that(drive: Drive) -> None:
    before, after = drive(60)[:50], drive(60)[50:]
    session = session_of([*before, *({**m, "captured_ns": m["captured_ns"] + 28_800 * 10**9} for m in after)])
    for spans in (session.states, session.sources, session.loads):
        assert sum(span.length_s for span in spans) == pytest.approx(12.0)
    assert [span.value for span in session.outages if span.length_s > 10] == ["no messages"]


def test_loop_that_stood_still_is_an_outage(drive: Drive) -> None:
    messages = drive(60)
    outages = [span for span in session_of(messages[:20] + messages[30:]).outages if span.value == "no messages"]
    assert outages == [
        Span("no messages", pytest.approx(4.0), pytest.approx(6.0), "the run stood still, or its lines were left out")
    ]  # type: ignore[arg-type]


def test_figures_of_the_page_are_those_of_the_session(drive: Drive) -> None:
    messages = [{**m, "age_ms": 250.0} if i == 30 else m for i, m in enumerate(drive(60))]
    rows = Parsed(page_of(session_of(messages))).rows
    assert ["face and voice", "58.3%", "7.0 s", "7.0 s", "1", ""] in rows
    assert ["voice alone", "33.3%", "4.0 s", "4.0 s", "1", ""] in rows
    assert ["nothing", "8.3%", "1.0 s", "1.0 s", "1", ""] in rows
    assert ["0:08.0", "4.0 s", "no face", "too dark"] in rows
    assert ["0:06.0", "250 ms"] in rows
    shares = [float(row[1].rstrip("%")) for row in rows if row and row[0] in ("unknown", "joyful", "agitated")]
    assert sum(shares) == pytest.approx(100, abs=0.2)


def test_page_loads_and_runs_nothing(drive: Drive) -> None:
    assert Parsed(page_of(session_of(drive(60)))).loads == []


def test_text_of_the_session_is_not_taken_for_html(drive: Drive) -> None:
    evil = '"><script>alert(1)</script>'
    messages = [
        {**m, "reason": evil, "bundle": evil, "engine": evil, "state": evil, "source": evil,
         "probabilities": {evil: 0.5, "x": 0.5}, "face": "lost"}
        for m in drive(20)
    ]  # fmt: skip
    page = page_of(session_from_lines((json.dumps(message) + "\n" for message in messages), evil))
    assert "<script" not in page
    assert Parsed(page).loads == []


def test_session_without_any_data_has_a_page(drive: Drive) -> None:
    page = page_of(session_of(drive(5)))
    assert "No message had data to be late" in page
    assert "nan" not in page.lower()


def test_long_session_gives_a_page_of_bounded_size(drive: Drive) -> None:
    long = [{**m, "captured_ns": i * 2_000_000_000, "seq": i} for i, m in enumerate(drive(60) * 60)]
    page = page_of(session_of(long))
    assert len(page) < 1_000_000
    assert "1:50:00" in page


def test_line_that_is_cut_off_is_left_out_and_told(drive: Drive) -> None:
    text = "".join(json.dumps(message) + "\n" for message in drive(20))
    session = session_from_lines(iter(text[:-30].splitlines(keepends=True)), "cut.jsonl")
    assert len(session.times_s) == 19
    assert "The last line was cut off" in page_of(session)


@pytest.mark.parametrize(
    "line",
    ["", "[]", "3", "{}", "null", '{"seq": 1}', "no json", '{"captured_ns": 1e400}', "\x00", '"text"', "[" * 100_000],
)
def test_line_that_is_no_message_is_refused_by_its_number(drive: Drive, line: str) -> None:
    lines = [json.dumps(drive(1)[0]) + "\n", line + "\n", json.dumps(drive(1)[0]) + "\n"]
    with pytest.raises(InputError, match=r"drive\.jsonl, line 2 is no message"):
        session_from_lines(iter(lines), "drive.jsonl")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("state", 3), ("captured_ns", "1"), ("captured_ns", np.inf), ("probabilities", [1]), ("probabilities", [0]),
        ("probabilities", {"happy": np.nan}), ("dropped", {}), ("age_ms", "x"),
    ],
)  # fmt: skip
def test_field_of_another_type_is_refused(drive: Drive, field: str, value: object) -> None:
    with pytest.raises(InputError, match="line 6 is no message"):
        session_of([*drive(5), {**drive(6)[5], field: value}])


@pytest.mark.parametrize("later_ns", [0, 10**12])
def test_two_sessions_in_one_file_are_refused(drive: Drive, later_ns: int) -> None:
    second = [{**message, "captured_ns": message["captured_ns"] + later_ns} for message in drive(10)]
    with pytest.raises(InputError, match=r"line 11 is no message .* of another session"):
        session_of(drive(10) + second)


def test_empty_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.jsonl").touch()
    assert main([str(tmp_path / "empty.jsonl")]) == 1
    assert "empty.jsonl holds no message" in capsys.readouterr().err
    assert not (tmp_path / "empty.html").exists()


def test_folder_is_no_session(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["."]) == 1
    assert capsys.readouterr().err == "edge-report: . is a folder; expected a file that edge-run --output wrote.\n"


def test_name_that_is_no_utf_8_is_taken(tmp_path: Path, drive: Drive, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / os.fsdecode(b"fahrt-\xfc.jsonl")
    path.write_text("".join(json.dumps(message) + "\n" for message in drive(20)))
    assert main([str(path)]) == 0
    assert "fahrt-" in path.with_suffix(".html").read_text()
    assert capsys.readouterr().out.endswith(".html\n")


def test_session_is_not_overwritten(tmp_path: Path, drive: Drive) -> None:
    path = tmp_path / "drive.html"
    path.write_text("a session")
    assert main([str(path)]) == 1
    assert path.read_text() == "a session"


def test_session_of_edge_run_becomes_a_page_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "drive.jsonl"
    run = [sys.executable, "-m", "edge.run", "--clip", str(DEMO), "--output", str(path)]
    subprocess.run(run, cwd=ROOT, check=True, capture_output=True)
    report = [sys.executable, "-m", "edge.report", str(path)]
    result = subprocess.run(report, cwd=ROOT, check=True, capture_output=True, text=True)
    assert result.stdout == f"{tmp_path / 'drive.html'}\n"
    page = (tmp_path / "drive.html").read_text()
    assert "default on onnxruntime-cpu" in page
    assert np.isin(["joyful", "happy"], page.replace(">", " ").replace("<", " ").split()).all()
