"""Scores of music in four voices: key, voice leading, rhythm, and how a harmonisation agrees with another.

Legend: M ticks, V = 4 voices. Pieces are int64 [M, V], MIDI numbers of S A T B, 0 where a voice rests.
"""

from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Any, NamedTuple

import numpy as np

from genzoo.draws import numpy_generator
from genzoo_audio.music.files import held_notes

MAJOR = np.array((6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88))
MINOR = np.array((6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17))
"""How well each semitone above the tonic fits (Krumhansl & Kessler 1982)."""
NAMES = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
LONGEST = 32
"""Ticks; longer notes count as these."""
FIFTH, OCTAVE = 7, 12


class Key(NamedTuple):
    """tonic: pitch class. clarity: correlation of the piece's pitch classes with the key's profile, up to 1."""

    tonic: int
    mode: str
    clarity: float

    def __str__(self) -> str:
        return f"{NAMES[self.tonic]} {self.mode}"


def pitch_classes(piece: np.ndarray) -> np.ndarray:
    """Share of each pitch class in all that sounds, [12]; zeros of silence."""
    sounding = piece[piece > 0] % 12
    return np.bincount(sounding, minlength=12) / max(1, len(sounding))


def key_of(piece: np.ndarray) -> Key:
    """The key whose profile fits best (Krumhansl 1990, the algorithm of Krumhansl and Schmuckler)."""
    shares = pitch_classes(piece)
    if not shares.std():
        return Key(0, "major", 0.0)
    fits = [
        Key(tonic, mode, float(np.corrcoef(shares, np.roll(profile, tonic))[0, 1]))
        for mode, profile in (("major", MAJOR), ("minor", MINOR))
        for tonic in range(12)
    ]
    return max(fits, key=lambda key: key.clarity)


def scale_degrees(pieces: Sequence[np.ndarray]) -> np.ndarray:
    """Mean share of each semitone above the tonic, [12]."""
    return np.mean([np.roll(pitch_classes(piece), -key_of(piece).tonic) for piece in pieces], axis=0)


def durations(pieces: Sequence[np.ndarray]) -> np.ndarray:
    """Share of the notes that are held for so many ticks, [LONGEST + 1]."""
    lengths = [min(LONGEST, end - start) for piece in pieces for _, start, end, _ in held_notes(piece)]
    return np.bincount(lengths, minlength=LONGEST + 1) / max(1, len(lengths))


def distance(p: np.ndarray, q: np.ndarray) -> float:
    """Total variation: half the sum of absolute differences, 0 to 1 for shares."""
    return float(np.abs(p - q).sum() / 2)


def parallels(piece: np.ndarray) -> tuple[int, int, int]:
    """(parallel fifths, parallel unisons and octaves, chord changes): two voices that go the same way from one perfect
    fifth (or twelfth …), or octave, to another, between neighbouring ticks."""
    before, after = piece[:-1], piece[1:]
    fifths = octaves = 0
    for high, low in combinations(range(piece.shape[1]), 2):
        sung = (before[:, [high, low]] > 0).all(axis=1) & (after[:, [high, low]] > 0).all(axis=1)
        way = np.sign(after - before)
        together = sung & (way[:, high] != 0) & (way[:, high] == way[:, low])
        old = (before[:, high] - before[:, low]) % OCTAVE
        new = (after[:, high] - after[:, low]) % OCTAVE
        fifths += int((together & (old == FIFTH) & (new == FIFTH)).sum())
        octaves += int((together & (old == 0) & (new == 0)).sum())
    return fifths, octaves, int((before != after).any(axis=1).sum())


def crossings(piece: np.ndarray) -> tuple[int, int]:
    """(ticks where a voice lies below its lower neighbour, ticks)."""
    crossed = np.zeros(len(piece), dtype=bool)
    for high, low in pairwise(range(piece.shape[1])):
        crossed |= (piece[:, high] > 0) & (piece[:, low] > 0) & (piece[:, high] < piece[:, low])
    return int(crossed.sum()), len(piece)


def out_of_range(piece: np.ndarray, ranges: Sequence[Sequence[int]]) -> tuple[int, int]:
    """(sounding ticks of voices that lie outside of [lowest, highest] of the voice, sounding ticks)."""
    lowest, highest = np.array(ranges).T
    sung = piece > 0
    return int((sung & ((piece < lowest) | (piece > highest))).sum()), int(sung.sum())


def leaps(piece: np.ndarray) -> tuple[int, int]:
    """(moves of a voice by more than a fifth, moves)."""
    moves = np.abs(np.diff(piece, axis=0))[(piece[1:] > 0) & (piece[:-1] > 0)]
    return int((moves > FIFTH).sum()), int((moves > 0).sum())


def score(pieces: Sequence[np.ndarray], reference: Sequence[np.ndarray], ranges: Sequence[Any]) -> dict[str, float]:
    """Scores of pieces; distances are to the reference."""
    pieces = [piece for piece in pieces if len(piece) and (piece > 0).any()]
    if not pieces:
        return {}
    fifths, octaves, changes = np.sum([parallels(piece) for piece in pieces], axis=0).tolist()
    crossed, ticks = np.sum([crossings(piece) for piece in pieces], axis=0).tolist()
    outside, sung = np.sum([out_of_range(piece, ranges) for piece in pieces], axis=0).tolist()
    wide, moves = np.sum([leaps(piece) for piece in pieces], axis=0).tolist()
    return {
        "key_clarity": float(np.mean([key_of(piece).clarity for piece in pieces])),
        "pitch_class_distance": distance(scale_degrees(pieces), scale_degrees(reference)),
        "duration_distance": distance(durations(pieces), durations(reference)),
        "parallel_fifths_per_100_changes": 100 * fifths / max(1, changes),
        "parallel_octaves_per_100_changes": 100 * octaves / max(1, changes),
        "crossed_ticks": crossed / ticks,
        "out_of_range": outside / max(1, sung),
        "leaps": wide / max(1, moves),
        "length_in_ticks": ticks / len(pieces),
    }


def chord(tick: np.ndarray) -> frozenset[int]:
    """The pitch classes that sound."""
    return frozenset((tick[tick > 0] % 12).tolist())


def agreement(made: Sequence[np.ndarray], real: Sequence[np.ndarray], seed: int = 0) -> dict[str, float]:
    """How made harmonisations agree with real ones of the same melodies, tick by tick.

    melody_kept: share of the ticks whose soprano is the given one. same_chord: whose pitch classes are the same set;
    same_bass: whose bass is the same pitch class. …_chance: of the real chord under another note of the same melody
    that has the same pitch, where there is one: what knows key and style, but not the place.
    """
    counts, chances = np.zeros(4), np.zeros(3)
    for number, (ours, theirs) in enumerate(zip(made, real, strict=True)):
        generator = numpy_generator("chance", seed, number)
        counts[0] += len(theirs)
        counts[1] += int((ours[: len(theirs), 0] == theirs[: len(ours), 0]).sum())
        for here, there in zip(ours, theirs, strict=False):
            counts[2] += chord(here) == chord(there)
            counts[3] += here[-1] % 12 == there[-1] % 12
        sung = np.cumsum(np.diff(theirs[:, 0], prepend=-1) != 0)  # which note of the melody
        for tick, there in enumerate(theirs):
            places = np.flatnonzero((theirs[:, 0] == there[0]) & (sung != sung[tick]))
            if len(places):
                other = theirs[generator.choice(places)]
                chances += (1, chord(other) == chord(there), other[-1] % 12 == there[-1] % 12)
    scores = {"melody_kept": counts[1], "same_chord": counts[2], "same_bass": counts[3]}
    scores = {name: float(count / max(1, counts[0])) for name, count in scores.items()}
    for name, count in (("same_chord_chance", chances[1]), ("same_bass_chance", chances[2])):
        scores[name] = float(count / max(1, chances[0]))
    return scores
