"""The microphone: what arrives, when it was captured, and what happens when the input falters."""

import threading
import time
import wave
from itertools import pairwise

import numpy as np
import pytest

from bundle.errors import InputError
from edge.clock import now_ns
from edge.sources import microphone as microphone_module
from edge.sources.microphone import Microphone, mono_from_bytes
from tests.virtual_devices import wait_until

SAMPLE_NS = 62_500  # at 16 kHz
CHIRP_S = 0.3


def chirp(rate_hz, *, from_hz, to_hz):
    """Half of full scale, -1..1."""
    time_s = np.arange(round(CHIRP_S * rate_hz)) / rate_hz
    phase = 2 * np.pi * (from_hz * time_s + (to_hz - from_hz) / (2 * CHIRP_S) * time_s**2)
    return 0.5 * np.hanning(len(time_s)) * np.sin(phase)


def rising(rate_hz):
    return chirp(rate_hz, from_hz=300, to_hz=3_000)


def falling(rate_hz):
    return chirp(rate_hz, from_hz=5_000, to_hz=1_000)


@pytest.fixture(scope="module")
def stereo_wav(tmp_path_factory):
    """A rising chirp on the left, a falling one on the right."""
    path = tmp_path_factory.mktemp("sound") / "stereo.wav"
    frames = np.stack([rising(48_000), falling(48_000)], axis=1)
    with wave.open(str(path), "wb") as wav:
        wav.setparams((2, 2, 48_000, 0, "NONE", ""))
        wav.writeframes(np.rint(frames * 32_767).astype("<i2").tobytes())
    return path


def record(microphone, until):
    """Chunks taken until `until(chunks)` holds."""
    chunks = []
    wait_until(lambda: chunks.extend(microphone.take()) or until(chunks))
    return chunks


def gaps_ns(chunks):
    """Time between the end of each chunk and the start of the next."""
    return [later.captured_ns - earlier.end_ns() for earlier, later in pairwise(chunks)]


def seconds(chunks):
    return sum(len(chunk.samples) for chunk in chunks) / 16_000


def record_chirps(virtual_microphone, microphone, wav):
    """Chunks that hold the file, and when it began to play."""
    microphone.take()
    start_ns = now_ns()
    player = virtual_microphone.play(wav)
    chunks = record(microphone, lambda chunks: chunks and chunks[-1].end_ns() > start_ns + 0.6e9)
    player.wait()
    return chunks, start_ns


def find(chunks, sound):
    """Where the sound lies best, and how loud and how alike: (captured_ns, gain, correlation)."""
    samples = np.concatenate([chunk.samples for chunk in chunks]) / 32_768
    start = int(np.argmax(np.correlate(samples, sound)))
    heard = samples[start : start + len(sound)]
    gain = heard @ sound / (sound @ sound)
    alike = max(np.corrcoef(heard, moved)[0, 1] for moved in moved_by_parts_of_a_sample(sound))
    return chunks[0].captured_ns + start * SAMPLE_NS, gain, alike


def moved_by_parts_of_a_sample(sound):
    """The sound, half a sample early to half a sample late: the device's samples lie anywhere between ours."""
    spectrum, cycles = np.fft.rfft(sound), np.fft.rfftfreq(len(sound))
    for part in np.linspace(-0.5, 0.5, 11):
        yield np.fft.irfft(spectrum * np.exp(-2j * np.pi * cycles * part), len(sound))


def test_sound_arrives_at_16_khz_undistorted_and_at_its_time(virtual_microphone, stereo_wav):
    with Microphone(channel=0) as microphone:
        chunks, start_ns = record_chirps(virtual_microphone, microphone, stereo_wav)
        assert microphone.dropped == 0
    captured_ns, gain, correlation = find(chunks, rising(16_000))
    assert all(chunk.samples.dtype == np.int16 for chunk in chunks)
    assert set(gaps_ns(chunks)) == {0}
    assert captured_ns == pytest.approx(start_ns, abs=100e6)
    assert gain == pytest.approx(1, abs=0.05)
    assert correlation > 0.998


@pytest.mark.parametrize(("channel", "rising_gain", "falling_gain"), [(0, 1, 0), (1, 0, 1), (None, 0.5, 0.5)])
def test_channel_is_the_one_asked_for_or_the_mean(virtual_microphone, stereo_wav, channel, rising_gain, falling_gain):
    with Microphone(channel=channel) as microphone:
        chunks, _ = record_chirps(virtual_microphone, microphone, stereo_wav)
    assert find(chunks, rising(16_000))[1] == pytest.approx(rising_gain, abs=0.1)
    assert find(chunks, falling(16_000))[1] == pytest.approx(falling_gain, abs=0.1)


def test_waker_is_called_when_samples_come(virtual_microphone):
    wake = threading.Event()
    with Microphone(wake=wake.set) as microphone:
        microphone.take()
        wake.clear()
        assert wake.wait(1)


@pytest.mark.parametrize("device", ["cabin_mic", "Cabin_Mi", 0, "0"])
def test_input_is_found_by_name_part_or_index(virtual_microphone, device):
    with Microphone(device) as microphone:
        assert record(microphone, lambda chunks: chunks)


def test_unknown_input_is_refused_with_those_present(virtual_microphone):
    with pytest.raises(InputError, match="'roof' is no input; expected one of: 0: cabin_mic, 1: cabin_monitor, 2: def"):
        Microphone("roof")


def test_ambiguous_name_is_refused_with_the_candidates(virtual_microphone):
    with pytest.raises(
        InputError, match=r"'CABIN' is several inputs; expected one of: 0: cabin_mic, 1: cabin_monitor\."
    ):
        Microphone("CABIN")


@pytest.mark.parametrize(
    ("device", "index"),
    [
        ("USB Audio: - (hw:1,0)", 7),
        ("usb audio: - (HW:3,0)", 7),
        ("USB Audio: - (hw:1,1)", 8),
        ("HDA: Mic (hw:0,0)", 5),
    ],
)
def test_name_is_known_whatever_number_its_card_has_now(device, index):
    names = {5: "HDA: Mic (hw:0,0)", 6: "HDA: HDMI (hw:0,3)", 7: "USB Audio: - (hw:2,0)", 8: "USB Audio: - (hw:2,1)"}

    class Cards:
        def get_device_count(self):
            return 9

        def get_device_info_by_index(self, index):
            return {"index": index, "name": names.get(index, "a loudspeaker"), "maxInputChannels": index // 5}

    assert microphone_module._input_from_name(Cards(), device)["index"] == index


def test_missing_channel_is_refused(virtual_microphone):
    with pytest.raises(InputError, match=r"channel is 32; microphone 'default' has 32, expected 0\.\.31"):
        Microphone(channel=32)


def test_machine_without_inputs_is_refused(monkeypatch, tmp_path):
    config = tmp_path / "asound.conf"
    config.write_text("pcm.default { type hw card 31 }")
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(config))
    with pytest.raises(InputError, match="'default' is not there, nor any other"):
        Microphone()


def test_halt_shows_as_a_jump_in_time_and_in_dropped(virtual_microphone):
    with Microphone() as microphone:
        record(microphone, lambda chunks: seconds(chunks) > 0.2)
        before_ns = now_ns()
        virtual_microphone.suspend(True)
        halted_ns = now_ns()
        time.sleep(0.4)
        resuming_ns = now_ns()
        virtual_microphone.suspend(False)
        resumed_ns = now_ns()
        chunks = record(microphone, lambda chunks: any(gaps_ns(chunks)))
        (gap_ns,) = filter(None, gaps_ns(chunks))
        assert resuming_ns - halted_ns - 0.15e9 < gap_ns < resumed_ns - before_ns + 0.15e9
        assert microphone.dropped == gap_ns // SAMPLE_NS
        assert microphone.connected


def test_audio_that_nobody_takes_is_dropped_and_counted(virtual_microphone, monkeypatch):
    monkeypatch.setattr(microphone_module, "QUEUED_BLOCKS", 20)
    with Microphone() as microphone:
        first = record(microphone, lambda chunks: chunks)[-1]
        time.sleep(0.9)
        chunks = [first, *record(microphone, lambda chunks: any(gaps_ns([first, *chunks])))]
        assert 0.3 < seconds(chunks[1:]) < 0.6  # the newest 0.4 s are kept
        assert microphone.dropped == sum(gaps_ns(chunks)) // SAMPLE_NS > 4_000


def test_removed_input_is_lost_and_goes_on_when_it_is_back(virtual_microphone, stereo_wav):
    wake = threading.Event()
    with Microphone("cabin_mic", channel=0, wake=wake.set) as microphone:
        before = record(microphone, lambda chunks: chunks)
        virtual_microphone.remove()
        removed_ns = now_ns()
        time.sleep(0.2)  # for the last blocks
        wake.clear()
        assert wake.wait(3)
        assert not microphone.connected
        virtual_microphone.restore()
        wait_until(lambda: microphone.connected)
        chunks, _ = record_chirps(virtual_microphone, microphone, stereo_wav)
    assert before[-1].captured_ns < removed_ns < chunks[0].captured_ns
    assert find(chunks, rising(16_000))[2] > 0.998


def test_input_that_cannot_be_opened_is_refused(virtual_microphone):
    virtual_microphone.remove()
    with pytest.raises(InputError, match="opened with 2 channels at 44100 Hz, answers"):
        Microphone("cabin_mic")


def test_sound_server_that_hangs_is_left_behind(virtual_microphone):
    with Microphone() as microphone:
        virtual_microphone.hang(True)
        wait_until(lambda: not microphone.connected, within_s=3)
        start_s = time.monotonic()
    assert time.monotonic() - start_s < 2.5
    virtual_microphone.hang(False)
    wait_until(lambda: not any(thread.name.startswith("microphone") for thread in threading.enumerate()))


def test_mean_of_the_channels_is_rounded():
    data = np.array([[100, 200], [-32_768, -32_768], [1, 2]], np.int16).tobytes()
    assert mono_from_bytes(data, 2, None).tolist() == [150, -32_768, 2]
    assert mono_from_bytes(data, 2, 1).tolist() == [200, -32_768, 2]


def test_digital_silence_is_told_and_the_input_reopened(virtual_microphone, monkeypatch):
    monkeypatch.setattr(microphone_module, "MUTE_REOPEN_S", 2.5)
    with Microphone() as microphone:
        first = microphone._stream
        record(microphone, lambda chunks: microphone.health == "silent")
        record(microphone, lambda chunks: microphone._stream is not first)
        assert microphone.connected
        record(microphone, lambda chunks: seconds(chunks) > 1)


class CountedInput:
    """An input at 48 kHz whose blocks come as they are called for."""

    name, rate_hz, channels = "counted", 48_000, 1

    def __init__(self, _device, _channel, on_block):
        self.on_block = on_block
        on_block(bytes(1_920), 0.02)

    def close(self):
        pass


@pytest.mark.parametrize("age_s", [-3_600, 3_600])
def test_wall_clock_that_is_set_between_two_readings_moves_nothing(monkeypatch, age_s):
    inputs, clock = [], {"ns": 10**12}
    monkeypatch.setattr(microphone_module, "now_ns", lambda: clock["ns"])
    with Microphone(open_input=lambda *arguments: inputs.append(CountedInput(*arguments)) or inputs[-1]) as microphone:
        for number in range(1, 60):
            clock["ns"] += 20_000_000
            inputs[0].on_block(bytes(1_920), age_s if number == 40 else 0.02)
        chunks = microphone.take()
    assert set(gaps_ns(chunks)) == {0}
    assert microphone.dropped == 0


class SilentInput:
    """Gives one block and no more."""

    name, rate_hz, channels = "USB", 16_000, 1

    def __init__(self, on_block):
        on_block(bytes(640), 0.0)

    def close(self):
        pass


def test_an_input_that_stays_away_is_tried_seldom_and_at_once_when_sound_cards_change(tmp_path, monkeypatch):
    changes = {"LOOK_S": 0.01, "REOPEN_S": 0.01, "REOPEN_OFTEN": 5, "REOPEN_SELDOM": 200}
    changes["SOUND_CARDS"] = tmp_path / "cards"
    for name, value in changes.items():
        monkeypatch.setattr(microphone_module, name, value)
    tries = []

    def open_input(device, channel, on_block):
        tries.append(device)
        if len(tries) == 1 or (tmp_path / "cards").exists():
            return SilentInput(on_block)
        raise ValueError("whatever PyAudio may say")

    with Microphone("USB", open_input=open_input) as microphone:
        wait_until(lambda: not microphone.connected)
        wait_until(lambda: len(tries) == 1 + 5)
        time.sleep(0.5)
        assert len(tries) == 1 + 5
        (tmp_path / "cards").write_text("0 [USB]")
        wait_until(lambda: len(tries) > 1 + 5, within_s=0.5)


@pytest.mark.parametrize("device", ["usb", "Caf\ufffd", "default", 1])
def test_a_name_in_bytes_does_not_hide_the_inputs(device):
    class Audio:
        """Of two inputs and an output, with a name that PyAudio could not decode."""

        def get_device_count(self):
            return 3

        def get_device_info_by_index(self, index):
            name = ("Out", "USB", b"Caf\xe9")[index]
            return {"index": index, "name": name, "maxInputChannels": min(index, 1)}

        def get_default_input_device_info(self):
            return self.get_device_info_by_index(2)

    found = microphone_module._input_from_name(Audio(), device)
    assert found["name"] == {"usb": "USB", 1: "USB"}.get(device, "Caf\ufffd")
