"""The fleet profile: what of a driver at work leaves the process, and what does not."""

import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from bundle.labels import RAVDESS_LABELS, STATE_OF_EMOTION, STATES, VALENCE_AROUSAL
from bundle.manifest import DEFAULT_BUNDLE, manifest_sha256
from edge.fleet import OTHER, SAFETY_STATES, FleetProfile
from edge.message import Dropped, Message, message_from_state
from edge.options import parse_options
from edge.report_page import page_of
from edge.session_log import session_from_lines
from perception.chunks import Estimate
from perception.state import StateMachine
from tests.edge.test_run import DEMO, ROOT, SCHEMA, assert_clear_error, edge_run, messages

Drive = Callable[[int], list[Message]]
AGITATED = ["--profile", "fleet", "--approved-states", "agitated"]


def drive_through(emotions: list[str]) -> list[Message]:
    """Two seconds of each emotion, at five messages a second."""
    state, got = StateMachine(RAVDESS_LABELS), []
    for seq in range(10 * len(emotions)):
        probs = np.full(len(RAVDESS_LABELS), 0.02, np.float32)
        probs[RAVDESS_LABELS.index(emotions[seq // 10])] = 0.86
        now_ns = 200_000_000 * seq
        estimate = Estimate(now_ns, now_ns - 90_000_000, probs, "audio+video", "", "ok", "speech")
        got.append(message_from_state(seq, state.update(estimate), now_ns, Dropped(), "default", "onnxruntime-cpu"))
    return got


class TestMessages:
    def test_only_approved_states_pass_and_all_others_are_one_word(self) -> None:
        plain = drive_through(["happy", "angry", "sad", "surprised", "neutral"])
        assert {message["state"] for message in plain} == set(STATES)
        profile = FleetProfile(["agitated"])
        reduced = [profile.reduce(message)["state"] for message in plain]
        assert reduced == [m["state"] if m["state"] == "agitated" else "other" for m in plain]
        assert set(reduced) == {"agitated", "other"}

    def test_no_number_and_no_word_of_an_emotion_passes(self, drive: Drive) -> None:
        profile = FleetProfile(["startled"])
        for message in [*drive(60), *drive_through(["happy", "angry", "sad", "disgust"])]:
            reduced = profile.reduce(message)
            assert {reduced[name] for name in ("emotion", "confidence", "probabilities", "valence", "arousal")} == {
                None
            }
            words = set(re.findall(r"[a-z]+", json.dumps([v for k, v in reduced.items() if k != "health"])))
            assert not words & ({*VALENCE_AROUSAL, *STATE_OF_EMOTION.values(), "unknown"} - {"startled"})

    def test_hidden_changes_of_state_do_not_show_in_the_time_since(self) -> None:
        profile = FleetProfile(["agitated"])
        reduced = [profile.reduce(m) for m in drive_through(["happy", "sad", "angry", "neutral", "surprised"])]
        since_ns = 0
        for last, message in zip([reduced[0], *reduced], reduced, strict=False):
            since_ns = since_ns if message["state"] == last["state"] else message["captured_ns"]
            assert message["since_s"] == pytest.approx((message["captured_ns"] - since_ns) / 1e9)
        assert sum(message["since_s"] == 0 for message in reduced) == 3  # the start, agitated, other again

    def test_messages_that_differ_in_what_is_withheld_alone_become_the_same(self) -> None:
        happy, sad = (drive_through([emotion]) for emotion in ("happy", "sad"))
        assert happy != sad
        profiles = FleetProfile(["agitated"]), FleetProfile(["agitated"])
        assert [profiles[0].reduce(m) for m in happy] == [profiles[1].reduce(m) for m in sad]

    def test_field_that_the_profile_does_not_know_stays_within(self, drive: Drive) -> None:
        assert "gaze" not in FleetProfile(["agitated"]).reduce({**drive(1)[0], "gaze": "mirror"})

    def test_reduced_messages_are_valid_and_others_are_no_reduced_ones(self, drive: Drive) -> None:
        profile, valid = FleetProfile(SAFETY_STATES), jsonschema.Draft202012Validator(SCHEMA).is_valid
        plain = drive(60)
        reduced = [profile.reduce(message) for message in plain]
        assert all(map(valid, reduced))
        for leak in ({"state": "calm"}, {"emotion": "happy"}, {"confidence": 0.9}, {"reason": "joyful 0.9"}):
            assert not valid({**reduced[-1], **leak})
        assert valid(plain[-1])
        assert not valid({**plain[-1], "state": OTHER})

    def test_safety_states_are_states(self) -> None:
        assert set(SAFETY_STATES) < set(STATES) - {"unknown"}
        assert OTHER not in STATES

    def test_report_of_reduced_messages_shows_their_states(self, drive: Drive) -> None:
        profile = FleetProfile(["agitated"])
        page = page_of(session_from_lines((json.dumps(profile.reduce(m)) + "\n" for m in drive(60)), "drive.jsonl"))
        assert "agitated" in page
        assert "other" in page
        assert not re.search("joyful|calm", page)


class TestRun:
    def test_run_lets_out_reduced_messages_alone_and_is_audited(self, tmp_path: Path) -> None:
        audit = tmp_path / "audit.jsonl"
        audit.write_text('{"event": "start"')  # cut off by a power failure
        result = edge_run("--clip", DEMO, "--duration", 2, "--no-camera", *AGITATED, "--audit", audit)
        assert result.returncode == 0, result.stderr
        got = messages(result.stdout)
        assert {message["profile"] for message in got} == {"fleet"}
        assert not re.search("|".join({*STATES, *RAVDESS_LABELS} - {"agitated"}), result.stdout + result.stderr)
        kept, start, stop = audit.read_text().splitlines()
        assert kept == '{"event": "start"'
        told = json.loads(start)
        assert told["bundle_sha256"] == manifest_sha256(DEFAULT_BUNDLE)
        assert (told["event"], told["profile"], told["approved_states"]) == ("start", "fleet", ["agitated"])
        assert told["outputs"] == {"output": "stdout"}
        assert {"time", "version", "bundle"} < set(told)
        ended = json.loads(stop)
        assert (ended["event"], ended["messages"]) == ("stop", {"other": len(got)})

    def test_run_that_is_stopped_says_so_in_its_audit(self, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "edge.run", "--clip", str(DEMO), "--realtime", "--no-camera", *AGITATED]
        command += ["--metrics", "0", "--audit", str(tmp_path / "audit.jsonl")]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            assert process.stdout is not None
            url = process.stderr.readline().split()[-1]
            process.stdout.readline()
            with urllib.request.urlopen(url, timeout=10) as response:
                metrics = response.read().decode()
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=10)
        states = re.findall(r'edge_emotion_state_seconds_total{state="(\w+)"}', metrics)
        assert sorted(states) == ["agitated", "other"]
        start, stop = map(json.loads, (tmp_path / "audit.jsonl").read_text().splitlines())
        assert start["outputs"] == {"output": "stdout", "metrics": "127.0.0.1:0"}
        assert stop["event"] == "stop"

    @pytest.mark.parametrize("audit", ["/dev/full", "no/such/folder.jsonl"])
    def test_run_without_an_audit_does_not_start(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], audit: str
    ) -> None:
        import edge.run

        def opened(*_: Any) -> None:
            raise AssertionError("an output was opened")

        monkeypatch.setattr(edge.run, "open_publishers", opened)
        assert edge.run.main(["--clip", str(DEMO), *AGITATED, "--audit", audit]) == 1
        told = capsys.readouterr()
        assert re.fullmatch(rf"edge-run: --audit {audit} cannot be written: .*\n", told.err)
        assert told.out == ""

    def test_audit_that_is_the_output_is_refused(self, tmp_path: Path) -> None:
        same = tmp_path / "audit.jsonl"
        result = edge_run("--clip", DEMO, *AGITATED, "--audit", same, "--output", same)
        assert_clear_error(result, status=1, tells="--audit too")
        assert not same.exists()


class TestUsage:
    @pytest.mark.parametrize(
        ("arguments", "tells"),
        [
            (["--profile", "fleet", "--audit", "a"], "needs --approved-states, one or more of agitated, startled"),
            (AGITATED, "needs --audit FILE"),
            ([*AGITATED, "--audit", "a", "--dashboard", "0"], "--dashboard does not go with --profile fleet: it shows"),
            ([*AGITATED, "--audit", "a", "--view", "terminal"], "--view does not go with --profile fleet: it shows"),
            ([*AGITATED, "--audit", "a", "--record", "x"], "--record does not go with --profile fleet: it holds"),
            ([*AGITATED, "--audit", "a", "--record", "x", "--record-media"], "--record does not go with --profile"),
            (
                [*AGITATED, "--audit", "a", "--replay", "x"],
                "--replay does not go with --profile fleet: it was recorded",
            ),
            (
                ["--profile", "fleet", "--approved-states", "calm", "--audit", "a"],
                "no other state can be one of safety",
            ),
            (["--approved-states", "agitated"], "go with --profile fleet"),
            (["--audit", "a"], "go with --profile fleet"),
        ],
    )
    def test_wrong_usage_is_told_in_one_line(
        self, capsys: pytest.CaptureFixture[str], arguments: list[str], tells: str
    ) -> None:
        with pytest.raises(SystemExit) as stopped:
            parse_options(arguments)
        assert stopped.value.code == 2
        assert tells in capsys.readouterr().err.splitlines()[-1]

    def test_approved_states_are_those_that_are_named(self) -> None:
        arguments = ["--profile", "fleet", "--audit", "a", "--approved-states", "startled, agitated,startled"]
        assert parse_options(arguments).approved_states == ("startled", "agitated")
