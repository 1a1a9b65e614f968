"""Recordings in every format that is read, broken ones, and what is written."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile

from genzoo.errors import UserError
from genzoo_audio.files import LONGEST_TERM, nearest, read_audio, resampled, to_int16, trim_silence, write_wav

RATE_HZ = 8000


def sine(hertz: float, rate_hz: int, seconds: float = 0.5, amplitude: float = 0.5) -> np.ndarray:
    """float32 [T]."""
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def written(file: Path, x: np.ndarray, rate_hz: int = RATE_HZ, **options: str) -> Path:
    soundfile.write(file, x, rate_hz, **options)
    return file


class TestRead:
    @pytest.mark.parametrize(
        ("suffix", "options", "error"),
        [
            (".wav", {}, 3.1e-5),
            (".wav", {"subtype": "PCM_U8"}, 8e-3),
            (".wav", {"subtype": "PCM_24"}, 2e-7),
            (".wav", {"subtype": "FLOAT"}, 0),
            (".wav", {"subtype": "ULAW"}, 0.02),
            (".WAV", {"format": "WAVEX"}, 3.1e-5),
            (".flac", {}, 2e-5),
            (".ogg", {}, 0.03),
            (".ogg", {"subtype": "OPUS"}, 0.1),
            (".mp3", {}, 0.05),
        ],
    )
    @pytest.mark.parametrize("channels", [1, 2])
    def test_formats(self, tmp_path, suffix, options, error, channels):
        """The same sine out of each."""
        rate_hz = 16000
        x = sine(440, rate_hz)
        read, found_hz = read_audio(written(tmp_path / f"a{suffix}", np.stack([x] * channels, 1), rate_hz, **options))
        assert found_hz == rate_hz
        assert read.dtype == np.float32
        assert read.ndim == 1
        assert abs(len(read) - len(x)) < 0.1 * rate_hz
        inner = slice(1000, 7000)  # lossy codecs blur the edges
        assert np.abs(read[inner] - x[inner]).max() <= error

    def test_channels_are_averaged(self, tmp_path):
        """A mean: of three, one silent, and of two that are opposite, which is silence."""
        x, y = sine(100, RATE_HZ), sine(700, RATE_HZ)
        three = written(tmp_path / "3.wav", np.stack((x, y, 0 * x), 1), subtype="FLOAT")
        assert np.allclose(read_audio(three)[0], (x + y) / 3, atol=1e-7)
        with pytest.raises(UserError, match="2.wav is silent"):
            read_audio(written(tmp_path / "2.wav", np.stack((x, -x), 1), subtype="FLOAT"))

    @pytest.mark.parametrize(("content", "message"), [(b"", "is empty"), (b"RIFF junk" * 9, "is not audio")])
    def test_not_audio(self, tmp_path, content, message):
        """Each in one line that names the file."""
        (tmp_path / "a.wav").write_bytes(content)
        with pytest.raises(UserError, match=f"a.wav {message}") as error:
            read_audio(tmp_path / "a.wav")
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        ("x", "message"),
        [
            ([], "has no sound: no sample"),
            ([0.5], "has no sound: one sample"),
            ([0.0] * 100, "is silent: all its samples are 0"),
            ([0.1, np.nan, 0.2], "has samples that are NaN or infinite"),
            ([0.1, np.inf, 0.2], "has samples that are NaN or infinite"),
            ([0.1] * (2 * RATE_HZ + 1), "lasts 2.0 s, and max_s is 2: cut it, or raise max_s"),
        ],
    )
    def test_of_no_use(self, tmp_path, x, message):
        """Each in one line that names the file."""
        file = written(tmp_path / "a.wav", np.array(x, np.float32), subtype="FLOAT")
        with pytest.raises(UserError, match=f"a.wav {message}"):
            read_audio(file, max_s=2)
        assert len(read_audio(written(file, np.full(2 * RATE_HZ, 0.1)), max_s=2)[0]) == 2 * RATE_HZ

    def test_missing(self, tmp_path):
        """By the key's name; a folder is no file either."""
        with pytest.raises(UserError, match=r"^clip=.*none.wav: there is no such file"):
            read_audio(tmp_path / "none.wav", key="clip")
        with pytest.raises(UserError, match=f"data.path={tmp_path} is not audio"):
            read_audio(tmp_path)

    def test_cut_short(self, tmp_path):
        """Of a WAV file that ends too early what is there is read; half a FLAC file is read or refused by name."""
        x = sine(440, RATE_HZ, 2.0)
        whole = written(tmp_path / "a.wav", x).read_bytes()
        (tmp_path / "a.wav").write_bytes(whole[: len(whole) // 2])
        read = read_audio(tmp_path / "a.wav")[0]
        assert np.allclose(read, x[: len(read)], atol=1e-4)
        assert len(read) > 7000
        whole = written(tmp_path / "a.flac", x).read_bytes()
        for share in (0.001, 0.2, 0.5, 0.9):
            (tmp_path / "a.flac").write_bytes(whole[: 4 + int(len(whole) * share)])
            with pytest.raises(UserError, match="a.flac is "):
                read_audio(tmp_path / "a.flac")


class TestResample:
    @pytest.mark.parametrize("to_hz", [8000, 11025, 16000, 22050, 44100, 48000])
    @pytest.mark.parametrize("from_hz", [8000, 16000, 44100])
    def test_a_sine_stays_one(self, tmp_path, from_hz, to_hz):
        """In phase, amplitude, pitch and duration, away from the edges."""
        x, rate_hz = read_audio(written(tmp_path / "a.wav", sine(1000, from_hz), from_hz, subtype="FLOAT"), to_hz)
        assert rate_hz == to_hz
        due = sine(1000, to_hz)
        assert abs(len(x) - len(due)) <= 1
        inner = slice(len(due) // 8, -len(due) // 8)
        assert np.abs(x[: len(due)][inner] - due[: len(x)][inner]).max() < 5e-4

    def test_no_aliases(self):
        """What lies above half the new rate is gone, not folded down."""
        x = resampled(sine(5000, 44100), 44100, RATE_HZ)
        assert np.abs(x[400:-400]).max() < 5e-4

    @pytest.mark.parametrize(("from_hz", "to_hz"), [(44099, 8000), (16001, 8000), (8000, 44099), (7999, 8000)])
    def test_odd_rates(self, from_hz, to_hz):
        """Coprime rates, too: pitch and duration to half a part in a thousand, most of them far better."""
        ratio = nearest(Fraction(to_hz, from_hz))
        assert max(ratio.numerator, ratio.denominator) <= LONGEST_TERM
        assert abs(float(ratio) * from_hz / to_hz - 1) <= 0.5 / LONGEST_TERM
        x, due = resampled(sine(500, from_hz), from_hz, to_hz), sine(500, to_hz)
        assert abs(len(x) - len(due)) <= 2
        inner = slice(len(due) // 8, len(due) // 4)
        assert np.abs(x[inner] - due[inner]).max() < 0.06

    def test_a_thousandfold(self, tmp_path):
        """No rate of sound: refused by name."""
        with pytest.raises(UserError, match="a.wav cannot be brought from 48001 Hz to 7 Hz"):
            read_audio(written(tmp_path / "a.wav", sine(1, 48001), 48001), 7)

    def test_same_rate(self, tmp_path):
        """Not a bit changes."""
        file = written(tmp_path / "a.wav", sine(440, RATE_HZ))
        assert np.array_equal(read_audio(file)[0], read_audio(file, RATE_HZ)[0])

    def test_too_short(self, tmp_path):
        """What would be one sample is refused."""
        with pytest.raises(UserError, match="a.wav is too short at 8000 Hz"):
            read_audio(written(tmp_path / "a.wav", np.array([0.1, 0.2]), 48000), RATE_HZ)


class TestTrim:
    def test_exactly_the_silence(self):
        """But 5 ms on either side, which are 40 samples here; nothing where there is less."""
        sound = np.ones(500, np.float32)
        for before, after in ((1000, 300), (0, 77), (40, 41), (10, 5)):
            x = np.pad(sound, (before, after))
            due = np.pad(sound, (min(before, 40), min(after, 40)))
            assert np.array_equal(trim_silence(x, RATE_HZ), due)
            assert np.array_equal(trim_silence(-0.001 * x, RATE_HZ), np.float32(-0.001) * due)

    def test_threshold(self):
        """Noise 41 dB below the peak is silence at 40 dB, and none at 42; silence inside stays."""
        x = np.full(3000, 10 ** (-41 / 20), np.float32)
        x[1000:1100] = x[1900:2000] = 1
        assert len(trim_silence(x, RATE_HZ, 40)) == 1080
        assert len(trim_silence(x, RATE_HZ, 42)) == 3000

    def test_all_silent(self):
        """Nothing to go by: left as it is."""
        assert len(trim_silence(np.zeros(10, np.float32), RATE_HZ)) == 10
        assert len(trim_silence(np.zeros(0, np.float32), RATE_HZ)) == 0


class TestWrite:
    def test_every_16_bit_value_comes_back(self, tmp_path):
        """Read and written again, the bits are the same, from -32768 to 32767."""
        steps = np.random.default_rng(0).permutation(np.arange(-32768, 32768)).astype(np.int16)
        first = written(tmp_path / "a.wav", steps, subtype="PCM_16")
        second = write_wav(*read_audio(first), tmp_path / "b.wav")
        assert np.array_equal(soundfile.read(second, dtype="int16")[0], steps)
        assert first.read_bytes() == second.read_bytes()

    def test_nearest_step(self):
        """Rounded, not cut; 1.0 is the last step."""
        assert to_int16(np.array([0.6, -0.6, 1.4, -1.4]) / 32768).tolist() == [1, -1, 1, -1]
        assert to_int16(np.array([1.0, -1.0])).tolist() == [32767, -32768]

    def test_too_loud(self, tmp_path):
        """The whole is scaled to fit: still a sine, neither wrapped nor cut."""
        x = sine(440, RATE_HZ, amplitude=3.7)
        read = read_audio(write_wav(x, RATE_HZ, tmp_path / "a.wav"))[0]
        assert np.allclose(read, x / np.abs(x).max(), atol=4e-5)
        quiet = read_audio(write_wav(x / 100, RATE_HZ, tmp_path / "b.wav"))[0]
        assert np.allclose(quiet, x / 100, atol=2e-5)

    def test_form(self, tmp_path):
        """16-bit mono WAV, whatever the file's ending."""
        file = write_wav(sine(440, RATE_HZ), RATE_HZ, tmp_path / "a.sound")
        assert file == tmp_path / "a.sound"
        about = soundfile.info(file)
        assert (about.format, about.subtype, about.channels, about.samplerate) == ("WAV", "PCM_16", 1, RATE_HZ)

    def test_not_finite(self, tmp_path):
        """Refused; nothing is written."""
        with pytest.raises(UserError, match="a.wav is not written: it has samples that are NaN or infinite"):
            write_wav(np.array([0.0, np.nan]), RATE_HZ, tmp_path / "a.wav")
        assert not [*tmp_path.iterdir()]
