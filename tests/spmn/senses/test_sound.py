"""Sounds of all rates and formats, and those that are none."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spmn.errors import DataError, SettingsError
from spmn.senses import Sound, Waveform, read_sound
from spmn.senses.sound import RATE, heard, resampled


def tone(hertz: float, rate: int = RATE, seconds: float = 0.5, loud: float = 0.5) -> Waveform:
    return Waveform(loud * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate), rate)


def centre(sense: Sound, band: int) -> float:
    """Of a band, in Hz, by the formula of its docstring."""
    low, high = (2595 * np.log10(1 + f / 700) for f in (sense.low, sense.high))
    mel = low + (high - low) * (band + 1) / (sense.bands + 1)
    return float(700 * (10 ** (mel / 2595) - 1))


@given(band=st.integers(1, 22))
@settings(deadline=None, max_examples=25)
def test_a_tone_is_heard_in_its_band(band: int) -> None:
    sense = Sound()
    cells = sense.cells(tone(centre(sense, band)))
    assert (cells.argmax(1) == band).all()
    assert cells.max() == 1
    far = np.abs(np.arange(sense.bands) - band) > 4
    assert (cells[:, far] == 0).all()


@given(rate=st.sampled_from([8000, 11025, 22050, 44100, 48000]), hertz=st.floats(200, 2500))
@settings(deadline=None, max_examples=25)
def test_the_sampling_rate_does_not_matter(rate: int, hertz: float) -> None:
    """Up to 2.5 kHz: bands above reach beyond half of 8,000 Hz."""
    sense = Sound()
    assert np.abs(sense.cells(tone(hertz, rate)) - sense.cells(tone(hertz))).max() < 0.05


def test_resampling_against_the_sine_itself() -> None:
    for given_rate in (8000, 44100):
        found = resampled(tone(1000, given_rate).samples, given_rate, RATE)
        assert found == pytest.approx(tone(1000).samples, abs=1e-9)


def test_what_is_above_half_the_rate_is_cut_off() -> None:
    assert np.abs(resampled(tone(12_000, 44100).samples, 44100, RATE)).max() < 1e-9


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.float32])
def test_formats(kind: type) -> None:
    sound = tone(440).samples
    scale = {np.uint8: 127, np.int16: 2**15 - 1, np.int32: 2**31 - 1}.get(kind, 1)
    samples = (sound * scale + (128 if kind is np.uint8 else 0)).round(0 if scale > 1 else 9).astype(kind)
    assert heard(Waveform(samples, RATE)) == pytest.approx(sound, abs=0.01)
    stereo = np.stack((samples, samples), 1)
    assert heard(Waveform(stereo, RATE)) == pytest.approx(sound, abs=0.01)


def test_loudness_offset_and_clipping() -> None:
    sense, sound = Sound(), tone(440).samples
    cells = sense.cells(Waveform(sound, RATE))
    assert sense.cells(Waveform(0.01 * sound, RATE)) == pytest.approx(cells, abs=1e-4)
    assert sense.cells(Waveform(sound + 0.3, RATE)) == pytest.approx(cells, abs=1e-4)
    clipped = sense.cells(Waveform(np.clip(3 * sound, -1, 1), RATE))
    assert np.isfinite(clipped).all()
    assert (clipped.argmax(1) == cells.argmax(1)).all()


def test_silence_is_silent() -> None:
    for samples in (np.zeros(16000), np.full(16000, 128, np.uint8), np.full(9, 0.25)):
        assert not Sound()(Waveform(samples, RATE), 5).any()


def test_two_tones_come_one_after_the_other() -> None:
    both = np.concatenate((tone(300).samples, tone(3000).samples))
    strongest = Sound(frames=4).cells(Waveform(both, RATE)).argmax(1)
    assert strongest[0] == strongest[1] < strongest[2] == strongest[3]


def test_spikes() -> None:
    sense = Sound(frames=3, bands=10)
    spikes = sense(tone(440), 6)
    assert spikes.shape == (6, sense.lines) == (6, 30)
    assert spikes.sum(0).max() == 1


@pytest.mark.parametrize(
    ("sound", "said"),
    [
        (Waveform(np.zeros(0), RATE), r"shape \[0\].*not empty"),
        (Waveform(np.zeros((5, 5, 5)), RATE), r"shape \[5, 5, 5\]"),
        (Waveform(np.array([0.0, np.nan]), RATE), "not finite"),
        (Waveform(np.zeros(100), 0), "0 samples per second"),
        (Waveform(np.zeros(100, np.int64), RATE), "type int64"),
    ],
)
def test_what_is_no_sound_is_refused(sound: Waveform, said: str) -> None:
    with pytest.raises(DataError, match=said):
        Sound()(sound, 5)


def test_settings_out_of_range() -> None:
    with pytest.raises(SettingsError, match="bands is 0"):
        Sound(bands=0)
    with pytest.raises(SettingsError, match="to 9000 Hz"):
        Sound(high=9000)
    with pytest.raises(SettingsError, match="no code"):
        Sound(code="morse")


def test_files(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    sound = tone(440)
    for subtype in ("PCM_U8", "PCM_16", "PCM_24", "FLOAT"):
        soundfile.write(tmp_path / "a.wav", np.stack((sound.samples,) * 2, 1), RATE, subtype=subtype)
        found = read_sound(tmp_path / "a.wav")
        assert found.rate == RATE
        assert heard(found) == pytest.approx(sound.samples, abs=0.01)
    (tmp_path / "text.wav").write_text("no sound")
    for name in ("text.wav", "missing.wav"):
        with pytest.raises(DataError, match=f"{name}.* is no sound"):
            read_sound(tmp_path / name)
