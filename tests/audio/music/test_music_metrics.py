"""Scores of voicings made by hand, whose numbers are known."""

import numpy as np
import pytest

from genzoo_audio.music import metrics

C_MAJOR = [60, 62, 64, 65, 67, 69, 71]


def voicing(*chords: tuple[int, int, int, int], ticks: int = 4) -> np.ndarray:
    return np.repeat(np.array(chords), ticks, axis=0)


@pytest.mark.parametrize("tonic", range(12))
def test_key(tonic):
    """A scale with its tonic triad held longer, in every key; minor with its leading tone."""
    line = [p + tonic for p in [*C_MAJOR, 60, 64, 67, 60, 67]]
    key = metrics.key_of(np.array([line, line, line, line]).T)
    assert (key.tonic, key.mode) == (tonic, "major")
    assert str(key) == f"{metrics.NAMES[tonic]} major"
    line = [p + tonic for p in [60, 62, 63, 65, 67, 68, 71, 60, 63, 67, 60, 67]]
    key = metrics.key_of(np.array([line, line, line, line]).T)
    assert (key.tonic, key.mode) == (tonic, "minor")
    assert 0.8 < key.clarity <= 1


def test_profile_of_a_key_is_clear():
    """Pitch classes in the proportion of the profile itself: clarity 1. All alike: 0."""
    counts = np.round(metrics.MAJOR * 100).astype(int)
    line = np.repeat(np.arange(60, 72), counts)
    assert metrics.key_of(line[:, None]).clarity == pytest.approx(1)
    assert metrics.key_of(np.arange(60, 72)[:, None]).clarity == 0
    assert metrics.key_of(np.zeros((4, 4), int)).clarity == 0


def test_parallels():
    """C major to D minor, all voices up: a fifth between tenor and bass, an octave between soprano and bass."""
    piece = voicing((72, 64, 55, 48), (74, 65, 57, 50))
    assert metrics.parallels(piece) == (1, 1, 1)
    assert metrics.parallels(piece[::-1]) == metrics.parallels(piece)


def test_no_parallels():
    """Against each other, to another interval, by one voice alone, or after a rest."""
    contrary = voicing((72, 64, 55, 48), (71, 62, 55, 43))
    assert metrics.parallels(contrary)[:2] == (0, 0)
    held = voicing((72, 64, 55, 48), (72, 64, 55, 48))
    assert metrics.parallels(held) == (0, 0, 0)
    leap = voicing((79, 64, 57, 48), (67, 64, 57, 48))  # the fifth over the bass stays a fifth, by one voice
    assert metrics.parallels(leap) == (0, 0, 1)
    rest = np.concatenate((voicing((0, 0, 55, 48)), np.zeros((2, 4), int), voicing((0, 0, 57, 50))))
    assert metrics.parallels(rest)[:2] == (0, 0)


def test_crossings_ranges_and_leaps():
    piece = voicing((72, 64, 55, 48), (60, 64, 55, 48), (60, 0, 40, 48))
    assert metrics.crossings(piece) == (8, 12)
    assert metrics.out_of_range(piece, [(60, 70), (60, 70), (50, 60), (40, 50)]) == (8, 44)
    assert metrics.leaps(piece) == (2, 2)
    assert metrics.leaps(voicing((72, 64, 55, 48), (65, 65, 57, 41))) == (0, 4)  # a fifth is no leap yet


def test_durations():
    """Shares of notes by their length, the longest ones together."""
    piece = voicing((72, 64, 55, 48), (71, 64, 55, 48), ticks=20)
    shares = metrics.durations([piece])
    assert shares[20] == pytest.approx(2 / 5)
    assert shares[metrics.LONGEST] == pytest.approx(3 / 5)


def test_distance():
    assert metrics.distance(np.array([1.0, 0, 0]), np.array([0, 0.5, 0.5])) == 1
    assert metrics.distance(np.array([0.5, 0.5]), np.array([0.25, 0.75])) == pytest.approx(0.25)


def test_scores_do_not_know_the_key():
    """Transposed, a piece has the same scores and the distance 0 to itself."""
    piece = voicing((72, 64, 55, 48), (74, 65, 57, 50), (71, 62, 55, 43), (72, 64, 55, 48))
    ranges = [(40, 90)] * 4
    scores = metrics.score([piece], [piece], ranges)
    assert scores == pytest.approx(metrics.score([piece + 5], [piece], ranges))
    assert scores["pitch_class_distance"] == scores["duration_distance"] == 0
    assert scores["parallel_octaves_per_100_changes"] == pytest.approx(100 / 3)
    assert metrics.score([np.zeros((0, 4), int)], [piece], ranges) == {}


def test_chance():
    """Two notes of one pitch, apart: under each the chord of the other. One that stands alone is left out."""
    chords = ((72, 64, 55, 48), (71, 67, 62, 55), (72, 65, 57, 48), (74, 65, 58, 46))
    same = metrics.agreement([voicing(*chords)], [voicing(*chords)])
    assert (same["same_chord_chance"], same["same_bass_chance"]) == (0, 1)


def test_agreement():
    """With itself all; with another voicing of the same chords all but what it changes; the chance lies below."""
    real = voicing((72, 64, 55, 48), (72, 65, 57, 53), (72, 64, 57, 45), (71, 67, 62, 55))
    same = metrics.agreement([real], [real])
    assert (same["melody_kept"], same["same_chord"], same["same_bass"]) == (1, 1, 1)
    other = voicing((72, 67, 64, 48), (72, 69, 60, 41), (72, 64, 57, 48), (71, 67, 62, 43))
    found = metrics.agreement([other], [real])
    assert (found["melody_kept"], found["same_chord"], found["same_bass"]) == (1, 1, 0.75)
    short = metrics.agreement([real[:8]], [real])
    assert (short["melody_kept"], short["same_chord"]) == (0.5, 0.5)
    wrong = real.copy()
    wrong[:4, 0] = 74
    assert metrics.agreement([wrong], [real])["melody_kept"] == 0.75
