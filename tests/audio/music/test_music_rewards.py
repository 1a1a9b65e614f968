"""Rewards of music: pieces made by hand, whose faults, keys and lengths are counted by hand.

Legend: n samples, M ticks; chords are S A T B.
"""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from genzoo_audio.music import metrics, rewards
from genzoo_audio.music.tokens import END, HIGHEST, LOWEST, to_tokens

Chord = tuple[int, int, int, int]
SET = (72, 64, 55, 48)
"""C major: a fifth over the octave between tenor and bass, octaves between bass and soprano."""


class Pieces:
    """Data with ranges of the voices and real pieces."""

    def __init__(self, *real: np.ndarray, ranges: Sequence[Sequence[int]] = ((LOWEST, HIGHEST),) * 4) -> None:
        self.real, self.ranges = list(real), [list(pair) for pair in ranges]

    def reals(self, n: int, split: str) -> list[np.ndarray]:
        assert (n, split) == (rewards.REFERENCE, "val")
        return self.real


def voicing(*chords: Chord, ticks: int = 4) -> np.ndarray:
    return np.repeat(np.array(chords), ticks, axis=0)


def tokens(*pieces: np.ndarray) -> Tensor:
    """Pieces as samples: an end after each, and -1 after that."""
    rows = [torch.cat((to_tokens(piece).flatten(), torch.tensor([END]))) for piece in pieces]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)


def faults(*pieces: np.ndarray, **options: Sequence[Sequence[int]]) -> list[float]:
    return rewards.voice_leading(tokens(*pieces), Pieces(**options), {})


# Voice leading


def test_parallels_by_hand():
    """All voices a step up: a fifth and an octave stay, in one change of chord. Contrary motion has none. Over three
    changes, one of them in parallel, it is a third."""
    up, contrary = (74, 65, 57, 50), (71, 62, 55, 43)
    assert faults(voicing(SET, up), voicing(SET, contrary)) == pytest.approx([-200, 0])
    assert faults(voicing(SET, up, (74, 65, 58, 50), (74, 65, 57, 50))) == pytest.approx([-200 / 3])


def test_leaps_by_hand():
    """Of two moves of the soprano one is beyond a fifth: half. The fifth itself is none, nor what a rest parts."""
    rest = (72, 64, 0, 50)
    leap = voicing((72, 64, 57, 50), (80, 64, 57, 50), (79, 64, 57, 50))
    fifth = voicing((72, 64, 57, 50), (79, 64, 57, 50))
    parted = voicing((72, 64, 62, 50), rest, (72, 64, 52, 50))
    assert faults(leap, fifth, parted) == pytest.approx([-50, 0, 0])


def test_crossings_and_ranges_by_hand():
    """Alto above soprano for a quarter of the ticks. A bass too low for half of the piece: an eighth of all that
    sounds; within its range, nothing."""
    crossed = voicing((72, 64, 55, 48), (63, 64, 55, 48), (72, 64, 55, 48), (72, 64, 55, 48))
    leaps = 100 * 2 / 2  # the soprano comes and goes by 9 semitones
    assert faults(crossed) == pytest.approx([-25 - leaps])
    deep = voicing((72, 64, 55, 48), (72, 64, 55, 43))
    ranges = [[60, 81], [53, 74], [48, 69], [45, 62]]
    assert faults(deep, ranges=ranges) == pytest.approx([-100 / 8])
    assert faults(deep, ranges=[*ranges[:3], [43, 62]]) == [0]


def test_pieces_are_in_order():
    """From none to all faults at once."""
    pieces = [
        voicing(SET, (71, 62, 55, 43)),
        voicing(SET, (71, 62, 55, 43), (72, 64, 55, 48), (74, 65, 57, 50)),
        voicing(SET, (74, 65, 57, 50)),
        voicing(SET, (84, 76, 67, 60)),
    ]
    found = faults(*pieces)
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == len(found)


# Keys


def test_clear_keys():
    """Pitch classes in the proportion of the profile itself fit it wholly; all alike fit none. A triad and its scale
    are clearer than the scale with two notes that are not of it."""
    counts = np.round(metrics.MAJOR * 100).astype(int)
    whole = np.repeat(np.arange(60, 72), counts)[:, None].repeat(4, axis=1)
    alike = np.arange(60, 72)[:, None].repeat(4, axis=1)
    scale = [60, 62, 64, 65, 67, 69, 71, 60, 64, 67, 60, 67]
    strange = [60, 62, 64, 65, 67, 69, 71, 60, 64, 67, 61, 66]
    lines = [np.array(line)[:, None].repeat(4, axis=1) for line in (scale, strange)]
    found = rewards.clear_key(tokens(whole, *lines, alike), Pieces(), {})
    assert found[0] == pytest.approx(1, abs=1e-4)
    assert found == sorted(found, reverse=True)
    assert found[1] > 0.8
    assert found[3] == 0
    moved = [line + 5 for line in (whole, *lines)]
    assert rewards.clear_key(tokens(*moved), Pieces(), {}) == pytest.approx(found[:3])


# Rhythm


def test_lengths_of_notes():
    """Where real notes last 4 ticks: as they do, 0; as they do for a third of the notes, two thirds; held throughout,
    1; rests are no notes, and voices count alike."""
    quarters = voicing(SET, (74, 65, 57, 50), SET, (74, 65, 57, 50))
    data = Pieces(quarters, quarters + 1)
    eighths = voicing(SET, (74, 65, 57, 50), (76, 67, 59, 52), (77, 69, 60, 53), ticks=2)
    mixed = np.concatenate((voicing((79, 71, 62, 55)), eighths[:4], voicing((79, 71, 62, 55))[:2]))
    held = voicing(SET, SET, SET, SET)
    found = rewards.rhythm(tokens(quarters, mixed[:8], held, eighths), data, {})
    assert found == pytest.approx([0, -2 / 3, -1, -1])
    broken = quarters.copy()
    broken[4:8] = 0
    one_voice_held = quarters.copy()
    one_voice_held[:, 3] = 48
    assert rewards.rhythm(tokens(broken, one_voice_held), data, {}) == pytest.approx([0, -1 / 13])


def test_lengths_against_real_ones():
    """The share that differs, where real notes have two lengths: half of them too long."""
    real = np.concatenate((voicing(SET, (74, 65, 57, 50)), voicing(SET, (74, 65, 57, 50), ticks=2)))
    only_long = voicing(SET, (74, 65, 57, 50))
    assert rewards.rhythm(tokens(only_long, real), Pieces(real), {}) == pytest.approx([-0.5, 0])


# What is hardly a piece


@pytest.mark.parametrize(
    ("piece", "judged"),
    [
        (np.zeros((0, 4), int), False),
        (np.zeros((16, 4), int), False),
        (voicing(SET, ticks=rewards.SHORTEST - 1), False),
        (voicing(SET, ticks=rewards.SHORTEST), True),
        (np.eye(rewards.SHORTEST, 4, dtype=int) * 60, True),
    ],
    ids=["empty", "silent", "short", "one chord", "few notes"],
)
def test_hardly_a_piece(piece, judged):
    """What is empty, silent or short has the reward of nothing; the rest is finite. Among others as alone."""
    real = voicing(SET, (74, 65, 57, 50))
    data, both = Pieces(real), tokens(piece, real)
    for function, nothing in (
        (rewards.voice_leading, rewards.NOTHING),
        (rewards.clear_key, -1),
        (rewards.rhythm, -1),
    ):
        found = function(both, data, {})
        assert np.isfinite(found).all()
        assert found[1] == function(tokens(real), data, {})[0]
        if not judged:
            assert found[0] == nothing
    assert rewards.judged(piece) == judged


def test_what_follows_the_end_is_not_judged():
    """Nor a tick that is not whole."""
    good, bad = voicing(SET, (71, 62, 55, 43)), voicing(SET, (84, 76, 67, 60))
    ended = torch.cat((to_tokens(good).flatten(), torch.tensor([END, 5, 6, 7]), to_tokens(bad).flatten()))
    unfinished = torch.cat((to_tokens(good).flatten(), torch.tensor([40, 50, 60])))
    for row in (ended, unfinished):
        assert rewards.voice_leading(row[None], Pieces(), {}) == [0]
