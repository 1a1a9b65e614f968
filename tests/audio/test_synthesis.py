"""Notes as sound, and the embedded tunes and chorales."""

import numpy as np
import pytest

from genzoo.errors import UserError
from genzoo_audio.harmony import parallels
from genzoo_audio.melodies import LABELS, melodies, tunes
from genzoo_audio.synthesis import BAND, CHORALE, TIMBRES, Note, synthesise

RATE_HZ = 8000


def spectrum(x: np.ndarray, rate_hz: int) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies in Hz and power of a whole sound."""
    return np.fft.rfftfreq(len(x), 1 / rate_hz), np.abs(np.fft.rfft(x * np.hanning(len(x)))) ** 2


@pytest.fixture(scope="module")
def made() -> list[np.ndarray]:
    """Chorales."""
    return tunes(60, 0)


class TestSynthesise:
    @pytest.mark.parametrize("timbre", TIMBRES)
    @pytest.mark.parametrize("pitch", [36, 60, 69, 96])
    def test_band(self, timbre, pitch):
        """Nothing above 0.45 of the rate (but what a soft attack spreads), and the pitch is the one asked for."""
        x = synthesise([Note(0.1, 1.0, pitch, timbre)], RATE_HZ)
        hertz, power = spectrum(x, RATE_HZ)
        assert power[hertz > 1.02 * BAND * RATE_HZ].sum() < 1e-5 * power.sum()
        if timbre != "bell":
            base_hz = 440 * 2 ** ((pitch - 69) / 12)
            harmonic = np.abs(hertz / base_hz - np.rint(hertz / base_hz)) * base_hz < 12 + 0.04 * hertz
            assert power[harmonic].sum() > 0.98 * power.sum()
            near = np.abs(hertz - base_hz) < 0.03 * base_hz
            assert abs(hertz[near][power[near].argmax()] - base_hz) < 2 + 0.025 * base_hz
            assert power[near].sum() > 0.01 * power.sum()

    def test_too_high_for_the_rate(self):
        """A note whose every partial lies above the band is silent."""
        assert not synthesise([Note(0, 0.1, 127, "flute")], RATE_HZ).any()

    @pytest.mark.parametrize("timbre", TIMBRES)
    @pytest.mark.parametrize(("duration_s", "tail_s"), [(0.5, 0.3), (0.01, 0.3), (0.2, 0.0), (0.003, 0.0)])
    def test_no_clicks(self, timbre, duration_s, tail_s):
        """Begins and ends at silence, and leaves and comes back to it smoothly: a step would bend the wave, by its
        second difference, as much as it is high. Nowhere else does it bend more than in the middle of a long note."""
        rate_hz = 44100
        x = synthesise([Note(0.05, duration_s, 48, timbre, 1.0)], rate_hz, tail_s=tail_s).astype(float)
        assert len(x) == round((0.05 + duration_s + tail_s) * rate_hz)
        assert not x[: round(0.05 * rate_hz)].any()
        assert np.abs(x[[0, -1]]).max() < 1e-3
        start = round(0.05 * rate_hz)
        assert np.abs(np.diff(x[start - 2 : start + 9], n=2)).max() < 0.02
        assert np.abs(np.diff(x[-9:], n=2)).max(initial=0) < 0.02
        long = synthesise([Note(0, 0.6, 48, timbre, 1.0)], rate_hz).astype(float)
        assert np.abs(np.diff(x, n=2)).max() < 1.2 * np.abs(np.diff(long, n=2)).max()

    def test_level(self):
        """As loud as its velocity; a sum that is too loud is scaled as a whole."""
        soft, loud = (synthesise([Note(0, 0.5, 60, "organ", v)], RATE_HZ) for v in (0.25, 0.5))
        assert np.allclose(2 * soft, loud, atol=1e-6)
        many = [Note(0, 0.5, 60 + 12 * (i % 2), "organ", 1.0) for i in range(20)]
        x = synthesise(many, RATE_HZ)
        assert np.abs(x).max() == pytest.approx(0.9, abs=1e-5)
        assert np.abs(x).max() <= 0.9
        two = synthesise(many[:2], RATE_HZ)
        assert np.allclose(x / np.abs(x).max(), two / np.abs(two).max(), atol=1e-5)

    def test_sum(self):
        """Notes that sound together or apart are the sum of each alone, at its place."""
        notes = [Note(0, 0.3, 60, "flute", 0.3), Note(0.25, 0.3, 64, "voice", 0.3)]
        whole = synthesise(notes, RATE_HZ)
        one, two = synthesise(notes[:1], RATE_HZ), synthesise(notes[1:], RATE_HZ)
        total = two.copy()
        total[: len(one)] += one
        assert np.allclose(whole, total, atol=1e-6)

    def test_timbres_differ(self):
        """The four of a chorale and the labels of melodies are told apart by 6 dB somewhere: in one of the first eight
        partials against their sum (down to -40 dB), or in how much softer the note's second half is."""
        for names in (CHORALE, LABELS):
            shapes = []
            for name in names:
                x = synthesise([Note(0, 0.6, 57, name)], RATE_HZ)
                hertz, power = spectrum(x, RATE_HZ)
                bands = np.array([power[np.abs(hertz - 220 * k) < 60].sum() for k in range(1, 9)])
                halves = [np.square(x[half]).sum() for half in (slice(2400), slice(2400, 4800))]
                shapes.append(10 * np.log10([*(bands / bands.sum() + 1e-4), halves[1] / halves[0]]))
            shapes = np.stack(shapes)
            distances = np.abs(shapes[:, None] - shapes[None]).max(axis=-1) + 99 * np.eye(len(names))
            assert distances.min() > 6, (names, distances.round(1))

    def test_nothing(self):
        """No note: the tail of silence."""
        x = synthesise([], RATE_HZ, tail_s=0.1)
        assert (len(x), x.dtype, x.any()) == (800, np.float32, False)

    @pytest.mark.parametrize(
        ("note", "message"),
        [
            (Note(0, 1, 60, "kazoo"), "timbre 'kazoo' is none of flute, "),
            (Note(-1, 1, 60), "starts before 0 s"),
            (Note(0, 0, 60), "lasts no time"),
        ],
    )
    def test_refused(self, note, message):
        """By name."""
        with pytest.raises(UserError, match=message):
            synthesise([note], RATE_HZ)


class TestMelodies:
    def test_the_set(self):
        """1 to 2 s each, of one peak, labels in turn, the same every time and whatever is asked for beside."""
        made = melodies(60, RATE_HZ, 1)
        again = melodies(12, RATE_HZ, 1)
        other = melodies(12, RATE_HZ, 2)
        for x, y, z in zip(made.waves, again.waves, other.waves, strict=False):
            assert np.array_equal(x, y)
            assert not np.array_equal(x, z)
        assert made.notes[:12] == again.notes
        assert made.labels[:7] == [*LABELS, LABELS[0]]
        assert all(1 <= len(x) / RATE_HZ <= 2 for x in made.waves)
        assert np.allclose([np.abs(x).max() for x in made.waves], 0.8, atol=1e-4)
        assert len({tuple(note.pitch for note in notes) for notes in made.notes}) > 55
        assert {note.timbre for note in made.notes[1]} == {made.labels[1]}

    def test_the_notes_are_what_sounds(self):
        """The loudest partial below 1 kHz of a flute's notes is their pitch."""
        made = melodies(2, RATE_HZ)
        for note in made.notes[1]:
            first = round((note.start_s + 0.03) * RATE_HZ)
            x = made.waves[1][first : first + round((note.duration_s - 0.03) * RATE_HZ)]
            hertz, power = spectrum(np.pad(x * np.hanning(len(x)), (0, 8000)), RATE_HZ)
            assert 12 * abs(np.log2(hertz[power.argmax()] / 440) - (note.pitch - 69) / 12) < 0.6


class TestTunes:
    def test_form(self, made):
        """Whole beats, voices in their ranges and in their order."""
        for x in made:
            assert x.ndim == 2
            assert x.shape[1] == 4
            assert x.dtype == np.int64
            assert len(x) % 8 == 0
            assert 96 <= len(x) <= 192
            assert (x >= (60, 53, 48, 36)).all()
            assert (x <= (81, 74, 69, 62)).all()
            assert (np.diff(x, axis=1) < 0).all()

    def test_voice_leading(self, made):
        """No parallel unisons, fifths and octaves from tick to tick; upper voices leap at most a major sixth."""
        for x in made:
            assert not parallels(x[:-1], x[1:]).any()
            assert np.abs(np.diff(x[:, :3], axis=0)).max() <= 9

    def test_parallels(self):
        """By hand: fifths and octaves that both move are found, those that stay or change are not."""
        before = np.array([72, 67, 60, 48])
        for after, found in (
            ([74, 69, 62, 50], True),  # everything moves along
            ([72, 67, 60, 48], False),
            ([72, 69, 64, 53], False),  # fifths become thirds and sixths
            ([72, 67, 64, 52], True),  # tenor and bass in octaves
            ([72, 69, 62, 48], True),  # alto and tenor in fifths
            ([72, 67, 60, 36], False),  # only one voice moves
        ):
            assert bool(parallels(before, np.array(after))) is found, after

    def test_tonal(self, made):
        """Each ends on a triad in root position that its dominant comes before; seven tones make nearly all notes."""
        for x in made:
            root = x[-1, 3] % 12
            last, before = ({(p - root) % 12 for p in x[t]} for t in (-1, -12))
            assert last in ({0, 4, 7}, {0, 3, 7})
            assert {7, 11, 2} <= {int((p - root) % 12) for t in range(-12, -8) for p in x[t]} | before
            counts = np.sort(np.bincount(x.ravel() % 12, minlength=12))[::-1]
            assert counts[:7].sum() > 0.9 * counts.sum()

    def test_draws(self, made):
        """The same every time, whatever the count; each is another, in several keys."""
        assert all(np.array_equal(x, y) for x, y in zip(made, tunes(3, 0), strict=False))
        assert not np.array_equal(made[0], tunes(1, 1)[0])
        assert len({x.tobytes() for x in made}) == 60
        assert len({int(x[-1, 3]) % 12 for x in made}) >= 6
