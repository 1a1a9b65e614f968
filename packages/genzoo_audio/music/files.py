"""Music in files: MIDI and JSON to four voices on a grid of sixteenths, and back to MIDI.

In this grid a note that is struck again and one that goes on are the same: what is written holds equal neighbours as
one note, across bar lines too. Silent bars before a piece, and silence after it, are cut.

Legend: M ticks (sixteenths), V = 4 voices. Pieces are int64 [M, V], MIDI numbers of S A T B, 0 where a voice rests.
"""

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from genzoo.errors import UserError
from genzoo.folders import SPLITS
from genzoo.reading import Broken, breaking, judge, printable, reading
from genzoo_audio.music.tokens import HIGHEST, LOWEST, TICKS_PER_BAR, TICKS_PER_BEAT, VOICES

if TYPE_CHECKING:
    import mido

V = len(VOICES)
MIDI = (".mid", ".midi")
SUFFIXES = (*MIDI, ".json")
DRUMS = 9
"""The channel of percussion, counted from 0."""
PULSES = 480
"""Of a quarter, in the MIDI files that are written."""
PROGRAMS = (73, 68, 53, 42)
"""General MIDI of the four voices, counted from 0: flute, oboe, voice, cello."""
MONOPHONIC = 0.95
"""Share of its ticks on which a part sounds one note only, from which on it is a voice."""


MAX_MB = 4.0
"""Larger files are refused where nothing else is asked for: lists of JSON take 20 times their text."""
MIDI_BYTES, BYTES_PER_TICK = 100_000, 64
"""Of a MIDI file, at most: so many, and so many more for each tick that a piece may have."""
SOUNDING = 64
"""Notes at each tick, at most, on an average over the longest piece."""
MOST_PIECES = 100_000
"""Of a file."""


class Sung(NamedTuple):
    """A note: ticks [start, end), and the part it belongs to."""

    start: int
    end: int
    pitch: int
    part: tuple[int, int]


def read_piece(
    path: str | Path, *, max_ticks: int = 4096, max_mb: float = MAX_MB, key: str = "data.path"
) -> np.ndarray:
    """The one piece of a MIDI or JSON file that a key names; UserError, with the file's name, where there is none, or
    several."""
    with reading(path, key) as file:
        pieces = pieces_of(file, max_ticks, max_mb)
        if len(pieces) > 1:
            raise Broken(f"holds {len(pieces)} pieces: give a file of one")
        return pieces[0][2]


def pieces_of(path: Path, max_ticks: int, max_mb: float) -> list[tuple[str, str | None, np.ndarray]]:
    """(name, split or None, piece) of all pieces of a file; Broken where it has no notes, drums only, more than
    max_ticks ticks, or pitches that are not on a piano, and inside of a boundary whatever else it raises."""
    if path.suffix.lower() not in SUFFIXES:
        raise Broken(f"has none of the known endings {', '.join(SUFFIXES)}")
    judge(path.stat().st_size, max_mb)
    if path.suffix.lower() in MIDI:
        return [(path.name, None, checked(read_midi(path, max_ticks), max_ticks))]
    return read_json(path, max_ticks)


def checked(piece: np.ndarray, max_ticks: int) -> np.ndarray:
    """A piece without silence around it; Broken where it is of no use."""
    sounding = np.flatnonzero((piece > 0).any(axis=1))
    if not len(sounding):
        raise Broken("has no notes")
    piece = piece[sounding[0] // TICKS_PER_BAR * TICKS_PER_BAR : sounding[-1] + 1]
    if len(piece) > max_ticks:
        raise Broken(f"has {len(piece)} ticks (sixteenths), and max_ticks is {max_ticks}: cut it, or raise max_ticks")
    wrong = (piece > 0) & ((piece < LOWEST) | (piece > HIGHEST))
    if wrong.any():
        tick, voice = np.argwhere(wrong)[0]
        raise Broken(
            f"has the pitch {piece[tick, voice]} in bar {tick // TICKS_PER_BAR + 1}, which is not one of a piano "
            f"({LOWEST} to {HIGHEST}): transpose it"
        )
    return piece


# ---- MIDI


def read_midi(path: Path, max_ticks: int) -> np.ndarray:
    """Four parts (tracks, channels) of one note at a time are the voices, by their names where these are soprano, alto,
    tenor and bass, else by their mean pitch; one part is the soprano, two are soprano and bass, three leave out the
    tenor. In any other music the notes that sound at a tick are spread over the voices by `spread`."""
    try:
        import mido
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is not installed: pip install 'genzoo[audio]'") from error
    size, most = path.stat().st_size, MIDI_BYTES + BYTES_PER_TICK * max_ticks
    if not size:
        raise Broken("is empty")
    if size > most:
        raise Broken(f"has {size:,} bytes, above {most:,} for max_ticks={max_ticks}: cut it, or raise max_ticks")
    with breaking("is not MIDI, or is damaged"):
        file = mido.MidiFile(path)
    if file.type == 2 or not 0 < file.ticks_per_beat < 32768:
        raise Broken("counts time in frames, or its tracks are pieces of their own: save it as type 1, in quarters")
    notes, drums, names = notes_of(file)
    if not notes:
        raise Broken("has drums only" if drums else "has no notes")
    end = max(note.end for note in notes)
    first = min(note.start for note in notes) // TICKS_PER_BAR * TICKS_PER_BAR
    if end - first > max_ticks:
        raise Broken(f"has {end - first} ticks (sixteenths), and max_ticks is {max_ticks}: cut it, or raise max_ticks")
    if sum(note.end - note.start for note in notes) > SOUNDING * max_ticks:
        raise Broken(f"has too many long notes at once, above {SOUNDING} on an average: leave some out")
    notes = [note._replace(start=note.start - first, end=note.end - first) for note in notes]
    return voices_of(notes, names, end - first)


def notes_of(file: "mido.MidiFile") -> tuple[list[Sung], bool, dict[tuple[int, int], str]]:
    """All notes but those of drums, whether there were any of these, and the names of the parts."""
    step = file.ticks_per_beat / TICKS_PER_BEAT
    notes: list[Sung] = []
    names: dict[tuple[int, int], str] = {}
    drums = False

    def add(part: tuple[int, int], pitch: int, start: int, end: int) -> None:
        first = round(start / step)
        notes.append(Sung(first, max(first + 1, round(end / step)), pitch, part))

    for number, track in enumerate(file.tracks):
        now, on, name = 0, {}, ""
        for message in track:
            now += message.time
            if message.type == "track_name":
                name = message.name.strip().lower()
            if message.type not in ("note_on", "note_off"):
                continue
            if message.channel == DRUMS:
                drums = drums or (message.type == "note_on" and message.velocity > 0)
                continue
            part = (number, message.channel)
            names[part] = name
            key = (part, message.note)
            if key in on:
                add(part, message.note, on.pop(key), now)
            if message.type == "note_on" and message.velocity:
                on[key] = now
        for (part, pitch), start in on.items():
            add(part, pitch, start, now)
    return notes, drums, names


def voices_of(notes: Sequence[Sung], names: dict[tuple[int, int], str], ticks: int) -> np.ndarray:
    """Notes as a piece of so many ticks."""
    sounding: list[set[int]] = [set() for _ in range(ticks)]
    for note in notes:
        for tick in range(note.start, note.end):
            sounding[tick].add(note.pitch)
    parts = dict.fromkeys(note.part for note in notes)
    if len(parts) > V:
        return spread(sounding)
    lines = {part: np.zeros((ticks, 2), dtype=np.int64) for part in parts}
    for note in notes:
        line = lines[note.part][note.start : note.end]
        line[:, 0] = np.maximum(line[:, 0], note.pitch)
        line[:, 1] += 1
    named = {part: VOICES.index(names[part]) for part in lines if names[part] in VOICES}
    single = all((line[:, 1] > 1).sum() <= (1 - MONOPHONIC) * (line[:, 1] > 0).sum() for line in lines.values())
    if not single:
        return spread(sounding)
    if len(named) < len(lines) or len(set(named.values())) < len(lines):
        by_pitch = sorted(lines, key=lambda part: -lines[part][:, 0][lines[part][:, 0] > 0].mean())
        named = dict(zip(by_pitch, places(len(by_pitch)), strict=True))
    piece = np.zeros((ticks, V), dtype=np.int64)
    for part, line in lines.items():
        piece[:, named[part]] = line[:, 0]
    return piece


def places(count: int) -> tuple[int, ...]:
    """The voices of so many lines, from the top."""
    return ((), (0,), (0, 3), (0, 1, 3), (0, 1, 2, 3))[count]


def spread(chords: Iterable[Iterable[int]]) -> np.ndarray:
    """Pitches that sound at each tick, as voices: the highest is the soprano, the lowest the bass, those next below the
    highest are alto and tenor. One is the soprano, two are soprano and bass, three leave out the tenor."""
    rows = []
    for chord in chords:
        down = sorted(set(chord), reverse=True)
        down = down if len(down) <= V else [*down[: V - 1], down[-1]]
        row = [0] * V
        for place, pitch in zip(places(len(down)), down, strict=True):
            row[place] = pitch
        rows.append(row)
    return np.array(rows, dtype=np.int64).reshape(-1, V)


def held_notes(piece: np.ndarray) -> list[tuple[int, int, int, int]]:
    """(voice, start, end, pitch) of every note, in ticks; equal neighbours are one note."""
    notes = []
    for voice in range(V):
        line = piece[:, voice]
        bounds = [0, *(np.flatnonzero(np.diff(line)) + 1).tolist(), len(line)] if len(line) else [0]
        for start, end in pairwise(bounds):
            if line[start] > 0:
                notes.append((voice, start, end, int(line[start])))
    return notes


def write_midi(piece: np.ndarray, path: str | Path, *, beats_per_minute: float = 80.0) -> Path:
    """Writes a piece [M, V] as a MIDI file of type 1: the tempo, and a track and a channel for each voice."""
    import mido

    file = mido.MidiFile(type=1, ticks_per_beat=PULSES)
    head = mido.MidiTrack()
    head.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(beats_per_minute), time=0))
    head.append(mido.MetaMessage("time_signature", numerator=4, denominator=4, time=0))
    file.tracks.append(head)
    step = PULSES // TICKS_PER_BEAT
    notes = held_notes(piece)
    for voice, name in enumerate(VOICES):
        track, now = mido.MidiTrack(), 0
        track.append(mido.MetaMessage("track_name", name=name, time=0))
        track.append(mido.Message("program_change", channel=voice, program=PROGRAMS[voice], time=0))
        for _, start, end, pitch in (note for note in notes if note[0] == voice):
            track.append(mido.Message("note_on", channel=voice, note=pitch, velocity=80, time=start * step - now))
            track.append(mido.Message("note_off", channel=voice, note=pitch, velocity=0, time=(end - start) * step))
            now = end * step
        file.tracks.append(track)
    file.save(path)
    return Path(path)


# ---- JSON


def read_json(path: Path, max_ticks: int) -> list[tuple[str, str | None, np.ndarray]]:
    """{"train": [piece, …], "valid": …, "test": …}, a list of pieces, or one piece: a list of ticks [S, A, T, B], where
    0, -1, null and NaN are rests; a tick of another number of pitches is spread over the voices."""
    with breaking("is not JSON"):
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    if isinstance(content, dict):
        if not content or not set(content) <= set(SPLITS):
            keys = printable(", ".join(content)[:100]) or "(none)"
            raise Broken(f"has the keys {keys}: known are {', '.join(SPLITS)}")
        splits = [(SPLITS[name], f"{name}[{{}}]", pieces) for name, pieces in content.items()]
    else:
        one = isinstance(content, list) and content and isinstance(content[0], list)
        one = one and content[0] and not isinstance(content[0][0], list)
        splits = [(None, "[{}]", [content] if one else content)]
    found = []
    for split, name, pieces in splits:
        if not isinstance(pieces, list):
            raise Broken("is no list of pieces, each a list of ticks of four pitches")
        if len(pieces) > MOST_PIECES:
            raise Broken(f"holds {len(pieces):,} pieces, and at most {MOST_PIECES:,} are read: cut it")
        for i, piece in enumerate(pieces):
            where = name.format(i)
            try:
                found.append((f"{path.name} {where}", split, checked(ticks_of(piece, max_ticks), max_ticks)))
            except Broken as reason:
                raise Broken(f"{reason} ({where})") from reason
    if not found:
        raise Broken("has no pieces")
    return found


def ticks_of(piece: Any, max_ticks: int) -> np.ndarray:
    """A piece of JSON; what is more than twice too long is refused as it stands, with the silence around it."""
    with breaking("is no list of ticks of four pitches"):
        if len(piece) > 2 * max_ticks:
            raise Broken(f"has {len(piece)} ticks, and max_ticks is {max_ticks}: cut it, or raise max_ticks")
        rows = [[whole(pitch) for pitch in tick] for tick in piece]
    if all(len(row) == V for row in rows):
        return np.array(rows, dtype=np.int64).reshape(-1, V)
    return spread([pitch for pitch in row if pitch] for row in rows)


def whole(pitch: Any) -> int:
    """A MIDI number, 0 for a rest."""
    if pitch is None or pitch != pitch or pitch in (0, -1):
        return 0
    if isinstance(pitch, bool) or int(pitch) != pitch or not 0 < pitch < 128:
        raise ValueError(f"{pitch!r} is no MIDI number")
    return int(pitch)
