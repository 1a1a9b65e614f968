"""Chorales by rule: phrases of triads that end in cadences, set for four voices by dynamic programming.

Of all ways to spread each chord over the voices a path is chosen that moves little and breaks none of the rules of
voice leading that `transition` knows; passing notes, neighbours and suspensions are then put in where none is broken.

Legend: ticks are sixteenths, voices are S A T B. Pitches are MIDI numbers, pitch classes count from the tonic unless
said. V voicings of a chord, C chords of a tune.
"""

from functools import lru_cache
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np

from genzoo.draws import numpy_generator

RANGES = ((60, 81), (53, 74), (48, 69), (36, 62))
"""Lowest and highest pitch of S A T B."""

BEAT = 4
"""Ticks."""

MAJOR = {"I": (0, 4, 7), "ii": (2, 5, 9), "iii": (4, 7, 11), "IV": (5, 9, 0), "V": (7, 11, 2), "vi": (9, 0, 4)}
MINOR = {"I": (0, 3, 7), "ii": (2, 5, 8), "III": (3, 7, 10), "IV": (5, 8, 0), "V": (7, 11, 2), "vi": (8, 0, 3)}
MINOR |= {"VII": (10, 2, 5)}
"""Root, third and fifth. In minor the dominant has its leading tone, and vi is the chord on the lowered sixth."""

SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
CHORDS = {"major": MAJOR, "minor": MINOR}
TONICS = {"major": (0, 2, 3, 5, 7, 9, 10), "minor": (0, 2, 4, 5, 7, 9, 11)}

NEXT = {
    "major": {
        "I": ("IV", "V", "vi", "ii", "iii", "IV", "V", "I"),
        "ii": ("V", "V", "vi"),
        "iii": ("vi", "IV"),
        "IV": ("V", "I", "ii", "V"),
        "V": ("I", "I", "vi"),
        "vi": ("ii", "IV", "V", "iii"),
    },
    "minor": {
        "I": ("IV", "V", "vi", "VII", "IV", "V", "I"),
        "ii": ("V",),
        "III": ("vi", "IV"),
        "IV": ("V", "I", "ii", "V"),
        "V": ("I", "I", "vi"),
        "vi": ("IV", "ii", "V"),
        "VII": ("III",),
    },
}
"""What may follow a chord, as often as it is written."""

CADENCES = {"authentic": ("V", "I"), "half": ("V",), "deceptive": ("V", "vi"), "plagal": ("IV", "I")}
INNER = ("authentic", "half", "half", "authentic", "deceptive", "plagal")
"""Cadences of the phrases before the last, which is authentic."""

FORBIDDEN = 1e4
LEADING_TONE = 11


class Chord(NamedTuple):
    """pitches: pitch classes of root, third and fifth above C; leading: of the leading tone; cadence: whether it ends a
    phrase, where the root is in the bass."""

    pitches: tuple[int, int, int]
    leading: int
    cadence: bool


def chorale(number: int, seed: int) -> np.ndarray:
    """A tune for four voices, int64 [ticks, 4]: four to six phrases of six or eight beats."""
    generator = numpy_generator("chorale", seed, number)
    mode = "minor" if generator.random() < 0.4 else "major"
    tonic = int(generator.choice(TONICS[mode]))
    names, lengths = progression(mode, generator)
    chords = [
        Chord(tuple((tonic + p) % 12 for p in CHORDS[mode][name]), (tonic + LEADING_TONE) % 12, length > 1)
        for name, length in zip(names, lengths, strict=True)
    ]
    chosen = voiced(chords, generator)
    grid = np.repeat(chosen, BEAT * np.array(lengths), axis=0)
    scale = {(tonic + p) % 12 for p in SCALES[mode]}
    ornament(grid, np.cumsum([0, *lengths]) * BEAT, scale, generator)
    return grid


def progression(mode: str, generator: np.random.Generator) -> tuple[list[str], list[int]]:
    """The names of a tune's chords, and how many beats each lasts: one, or two at the end of a phrase."""
    names: list[str] = []
    lengths: list[int] = []
    phrases = int(generator.integers(4, 7))
    for phrase in range(phrases):
        last = phrase == phrases - 1
        cadence = CADENCES["authentic" if last else str(generator.choice(INNER))]
        beats = int(generator.choice((6, 8, 8)))
        walk = ["I" if not names or names[-1] == "V" else str(generator.choice(("I", "I", "vi")))]
        while len(walk) < beats - 1 - len(cadence):
            walk.append(str(generator.choice(NEXT[mode][walk[-1]])))
        if cadence[0] not in NEXT[mode][walk[-1]]:  # what leads to no cadence gives way
            instead = NEXT[mode][walk[-2]] if len(walk) > 1 else ()
            walk[-1] = str(generator.choice([name for name in instead if cadence[0] in NEXT[mode][name]] or ["I"]))
        names += [*walk, *cadence]
        lengths += [*[1] * (len(walk) + len(cadence) - 1), 2]
    return names, lengths


@lru_cache(maxsize=256)
def voicings(chord: Chord) -> tuple[np.ndarray, np.ndarray]:
    """All ways [V, 4] to spread a chord over S A T B, and what each costs [V]: all its notes are there, the voices do
    not cross, the upper ones lie within an octave of each other, and the leading tone is there once."""
    root, third, fifth = chord.pitches
    diminished = (fifth - root) % 12 == 6
    basses = (third,) if diminished else (root,) if chord.cadence else (root, third)
    choices = [[p for p in range(low, high + 1) if p % 12 in chord.pitches] for low, high in RANGES]
    choices[3] = [p for p in choices[3] if p % 12 in basses]
    all_ways = np.array([*product(*choices)])
    gaps = all_ways[:, :-1] - all_ways[:, 1:]
    classes = all_ways % 12
    counts = np.stack([(classes == p).sum(axis=1) for p in chord.pitches], axis=1)
    kept = (gaps > 0).all(axis=1) & (gaps[:, :2] <= 12).all(axis=1) & (gaps[:, 2] <= 19) & (counts > 0).all(axis=1)
    kept &= (classes == chord.leading).sum(axis=1) <= 1
    ways, counts, classes, gaps = all_ways[kept], counts[kept], classes[kept], gaps[kept]
    cost = 2.0 * (counts[:, 2] == 2) + (0 if diminished else 3.0) * (counts[:, 1] == 2)
    cost += 1.5 * (classes[:, 3] != root) + 0.3 * np.maximum(0, gaps[:, :2] - 7).sum(axis=1)
    middles = np.array([(low + high) / 2 for low, high in RANGES])
    cost += 0.06 * np.abs(ways - middles).sum(axis=1)
    if chord.cadence:
        cost += 2.0 * (classes[:, 0] != root)
    return ways, cost


def parallels(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Whether two voices that both move, from before [..., 4] to after [..., 4], keep a unison, fifth or octave."""
    found = np.zeros(np.broadcast_shapes(before.shape, after.shape)[:-1], bool)
    for upper in range(4):
        for lower in range(upper + 1, 4):
            was, becomes = (x[..., upper] - x[..., lower] for x in (before, after))
            move = (before[..., upper] != after[..., upper]) & (before[..., lower] != after[..., lower])
            found |= move & (was % 12 == becomes % 12) & np.isin(was % 12, (0, 7))
    return found


@lru_cache(maxsize=512)
def transition(first: Chord, second: Chord) -> np.ndarray:
    """What it costs [V, V] to go from each voicing of a chord to each of the next."""
    before, after = voicings(first)[0][:, None], voicings(second)[0][None]
    move = after - before
    size = np.abs(move)
    cost = (size * (0.5, 0.4, 0.4, 0.15)).sum(axis=-1)
    cost += 3.0 * (size[..., :3] > 5).sum(axis=-1)
    cost += FORBIDDEN * ((size[..., :3] > 9).any(axis=-1) | (size[..., 3] > 12) | parallels(before, after))
    cost += 1.5 * (np.abs(np.sign(move).sum(axis=-1)) == 4) + 5.0 * (size == 0).all(axis=-1)
    outer = (after[..., 0] - after[..., 3]) % 12
    cost += 4.0 * (np.isin(outer, (0, 7)) & (move[..., 0] * move[..., 3] > 0) & (size[..., 0] > 2))
    overlap = (after[..., 1:] > before[..., :-1]) | (after[..., :-1] < before[..., 1:])
    cost += 3.0 * overlap.sum(axis=-1)
    if first.pitches != second.pitches and (second.leading + 1) % 12 in second.pitches:
        unresolved = (before % 12 == first.leading) & (move != 1)
        cost += (unresolved * (8.0, 2.0, 2.0, 6.0)).sum(axis=-1)
    augmented = (size == 6) | (size == 10) | (size == 11)
    return cost + 4.0 * augmented.sum(axis=-1)


def voiced(chords: list[Chord], generator: np.random.Generator) -> np.ndarray:
    """The cheapest path through the voicings, [C, 4], under random preferences and a random arch of the soprano."""
    wishes = np.pad(generator.uniform(-8, 8, size=len(chords)), 2, mode="edge")
    height = 70 + np.convolve(wishes, np.ones(5) / 5, mode="valid")
    best: list[np.ndarray] = []
    total = np.zeros(1)
    for i, chord in enumerate(chords):
        ways, cost = voicings(chord)
        cost = cost + generator.uniform(0, 4, size=len(ways)) + 0.3 * np.abs(ways[:, 0] - height[i])
        if i:
            through = total[:, None] + transition(chords[i - 1], chord)
            best.append(through.argmin(axis=0))
            total = through.min(axis=0)
            cost = cost + total
        total = cost
    place = int(total.argmin())
    path = [place]
    for came_from in reversed(best):
        place = int(came_from[place])
        path.append(place)
    return np.stack([voicings(chord)[0][at] for chord, at in zip(chords, reversed(path), strict=True)])


def ornament(grid: np.ndarray, starts: np.ndarray, scale: set[int], generator: np.random.Generator) -> None:
    """Puts passing notes, neighbours and suspensions into [ticks, 4], whose chords begin at `starts`, where no rule is
    broken. Chords that end a phrase are left alone."""
    for start, end in pairwise(starts[:-1]):
        if end - start > BEAT:
            continue
        put: list[int] = []
        for voice in generator.permutation(4):
            here, there = int(grid[end - 1, voice]), int(grid[end, voice])
            between = [p for p in range(min(here, there) + 1, max(here, there)) if p % 12 in scale]
            chance = generator.random()
            half = slice(start + BEAT // 2, end)
            if len(between) == 1 and abs(here - there) in (3, 4) and chance < 0.55:
                note = between[0]
            elif here == there and chance < 0.08:
                note = here + next(step for step in (-1, -2) if (here + step) % 12 in scale)
            elif here - there in (1, 2) and chance > 0.85:
                half, note = slice(end, end + BEAT // 2), here
            else:
                continue
            if half.start >= end and end + BEAT not in starts:
                continue
            if all((note - other) % 12 in (0, 3, 4, 5, 8, 9) for other in put) and try_note(grid, half, voice, note):
                put.append(note)


def try_note(grid: np.ndarray, where: slice, voice: int, note: int) -> bool:
    """Writes a note where it crosses no other voice, leaves no range and makes no parallels."""
    old = grid[where, voice].copy()
    grid[where, voice] = note
    around = grid[max(0, where.start - 1) : where.stop + 1]
    low, high = RANGES[voice]
    legal = low <= note <= high and (np.diff(around, axis=1) < 0).all()
    if legal and not parallels(around[:-1], around[1:]).any():
        return True
    grid[where, voice] = old
    return False
