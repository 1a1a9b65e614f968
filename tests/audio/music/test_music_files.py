"""Music in files: what is written comes back, and what is no music is refused by name."""

import json

import mido
import numpy as np
import pytest

from genzoo.errors import UserError
from genzoo_audio.music import files, sources

CHORD = [[72, 67, 64, 48]]


def random_piece(ticks: int, seed: int) -> np.ndarray:
    """Voices that hold, move and rest, as long as asked for."""
    generator = np.random.default_rng(seed)
    lines = []
    for low, high in ((60, 80), (55, 74), (48, 69), (36, 62)):
        notes = generator.integers(low, high, ticks) * (generator.random(ticks) > 0.1)
        lines.append(np.repeat(notes, generator.integers(1, 7, ticks))[:ticks])
    piece = np.stack(lines, axis=1)
    piece[0], piece[-1] = CHORD[0], CHORD[0]
    return piece


@pytest.mark.parametrize("seed", range(4))
def test_midi_round_trip(tmp_path, seed):
    """Bit for bit, whatever the tempo; voices that cross keep their names."""
    piece = random_piece(97, seed)
    piece[20:60, 2] = 40
    file = files.write_midi(piece, tmp_path / "a.mid", beats_per_minute=77)
    assert np.array_equal(files.read_piece(file), piece)
    assert mido.MidiFile(file).length == pytest.approx(97 / 4 * 60 / 77, rel=1e-4)


def test_neighbours_are_one_note(tmp_path):
    """Four equal ticks are one note of a quarter; a rest between two notes keeps them apart."""
    piece = np.array(CHORD * 4 + [[72, 0, 65, 48]] * 4 + CHORD * 8)
    assert files.held_notes(piece) == [
        (0, 0, 16, 72),
        (1, 0, 4, 67),
        (1, 8, 16, 67),
        (2, 0, 4, 64),
        (2, 4, 8, 65),
        (2, 8, 16, 64),
        (3, 0, 16, 48),
    ]
    file = mido.MidiFile(files.write_midi(piece, tmp_path / "a.mid"))
    assert sum(message.type == "note_on" for track in file.tracks for message in track) == 7


def midi(path, *tracks: list[tuple[int, int, int, int]], beat: int = 96, **options) -> str:
    """A file of tracks of (channel, pitch, start, end) in sixteenths, sorted by start, one note at a time."""
    file = mido.MidiFile(ticks_per_beat=beat, **options)
    for notes in tracks:
        events = sorted([(s, 1, c, p) for c, p, s, e in notes] + [(e, 0, c, p) for c, p, s, e in notes])
        track, now = mido.MidiTrack(), 0
        for at, on, channel, pitch in events:
            kind = "note_on" if on else "note_off"
            track.append(mido.Message(kind, channel=channel, note=pitch, time=round((at - now) * beat / 4)))
            now = at
        file.tracks.append(track)
    file.save(path)
    return str(path)


def test_voices_by_pitch(tmp_path):
    """Parts without names are voices by their mean pitch, in whatever order and on whatever tracks they come."""
    parts = [[(0, 48, 0, 4)], [(1, 72, 0, 4), (2, 64, 0, 4)], [(0, 67, 0, 4)]]
    assert files.read_piece(midi(tmp_path / "four.mid", *parts)).tolist() == CHORD * 4
    assert files.read_piece(midi(tmp_path / "three.mid", *parts[:2])).tolist() == [[72, 64, 0, 48]] * 4
    assert files.read_piece(midi(tmp_path / "two.mid", parts[0], parts[2])).tolist() == [[67, 0, 0, 48]] * 4
    assert files.read_piece(midi(tmp_path / "one.mid", parts[2])).tolist() == [[67, 0, 0, 0]] * 4


def test_chords_are_spread(tmp_path):
    """One track that sounds several notes at once: from the top, and the lowest is the bass."""
    notes = [(0, p, 0, 4) for p in (48, 64, 67, 72)] + [(0, p, 4, 8) for p in (48, 52, 60, 64, 67, 72)]
    piece = files.read_piece(midi(tmp_path / "piano.mid", notes))
    assert piece.tolist() == CHORD * 8


def test_grid(tmp_path):
    """Played a little early and late, the notes lie where they are meant; silent bars before a piece are cut."""
    notes = [(0, 60, 32.2, 35.8), (0, 62, 36.3, 36.4), (0, 64, 37.1, 40)]
    piece = files.read_piece(midi(tmp_path / "played.mid", notes, beat=480))
    assert piece[:, 0].tolist() == [60, 60, 60, 60, 62, 64, 64, 64]


def test_drums_are_left_out(tmp_path):
    file = midi(tmp_path / "beat.mid", [(9, 38, 0, 64)], [(0, 60, 0, 4)])
    assert files.read_piece(file).tolist() == [[60, 0, 0, 0]] * 4


def test_json_forms(tmp_path):
    """A dictionary of splits, a list of pieces, one piece; rests are 0, -1, null or NaN; chords of other sizes."""
    file = tmp_path / "a.json"
    file.write_text(json.dumps({"train": [CHORD], "valid": [CHORD, CHORD], "test": []}))
    assert [(name, split) for name, split, _ in files.pieces_of(file, 4096, 8)] == [
        ("a.json train[0]", "train"),
        ("a.json valid[0]", "val"),
        ("a.json valid[1]", "val"),
    ]
    file.write_text("[[[72, 67, 64, 48.0], [72, null, -1, 0], [NaN, 60, 0, 48]]]")
    assert files.read_piece(file).tolist() == [[72, 67, 64, 48], [72, 0, 0, 0], [0, 60, 0, 48]]
    file.write_text("[[72, 67, 64, 48], [60, 72, 64], [], [40, 50, 60, 70, 80]]")
    assert files.read_piece(file).tolist() == [[72, 67, 64, 48], [72, 64, 0, 60], [0, 0, 0, 0], [80, 70, 60, 40]]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.mid", b"", "a.mid is empty"),
        ("a.mid", b"MThd\0\0\0\6\0\1", "a.mid is not MIDI, or is damaged"),
        ("a.mid", b"no music at all", "a.mid is not MIDI, or is damaged"),
        ("a.json", b"{", "a.json is not JSON"),
        ("a.json", b"\xff\xfe\x00", "a.json is not JSON"),
        ("a.json", b"[]", "a.json has no pieces"),
        ("a.json", b"3", "a.json is no list of pieces"),
        ("a.json", b'{"songs": []}', "a.json has the keys songs: known are train"),
        ("a.json", b"[[[0, 0, 0, 0]]]", r"a.json has no notes \(\[0\]\)"),
        ("a.json", b'[[["c", 60, 60, 60]]]', "a.json is no list of ticks of four pitches"),
        ("a.json", b"[[[60.5, 60, 60, 60]]]", r"60\.5 is no MIDI number"),
        ("a.json", b"[[[60, 60, 60, 12]]]", r"has the pitch 12 in bar 1, .* \(21 to 108\): transpose it"),
        ("a.json", json.dumps([CHORD * 101]).encode(), "has 101 ticks .* max_ticks is 100: cut it, or raise max_ticks"),
        ("a.txt", b"", r"a\.txt has none of the known endings \.mid"),
    ],
)
def test_no_music(tmp_path, name, content, said):
    """One line that names the file and the mend."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said) as error:
        files.read_piece(tmp_path / name, max_ticks=100)
    assert str(error.value).count("\n") == 0


def test_midi_without_use(tmp_path):
    drums = midi(tmp_path / "drums.mid", [(9, 38, 0, 4)])
    with pytest.raises(UserError, match=r"drums\.mid has drums only"):
        files.read_piece(drums)
    with pytest.raises(UserError, match=r"none\.mid has no notes"):
        files.read_piece(midi(tmp_path / "none.mid", []))
    with pytest.raises(UserError, match=r"long\.mid has 40000 ticks"):
        files.read_piece(midi(tmp_path / "long.mid", [(0, 60, 0, 40000)]))
    with pytest.raises(UserError, match=r"low\.mid has the pitch 20"):
        files.read_piece(midi(tmp_path / "low.mid", [(0, 20, 0, 4)]))
    with pytest.raises(UserError, match="its tracks are pieces of their own"):
        files.read_piece(midi(tmp_path / "two.mid", [(0, 60, 0, 4)], type=2))


def load(path, **options):
    return sources.load(str(path), **{"embedded": 20, "on_error": "stop", "max_ticks": 4096, "seed": 0, **options})


def test_folders(tmp_path, capsys):
    """Files below a folder; train, valid and test are splits; a broken file stops, or is passed over."""
    for place in ("train/a.mid", "train/b.MID", "valid/c.midi", "test/d.mid", ".hidden.mid"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        files.write_midi(np.array(CHORD * 16), tmp_path / place)
    assert [(piece.name, piece.split) for piece in load(tmp_path)] == [
        ("test/d.mid", "test"),
        ("train/a.mid", "train"),
        ("train/b.MID", "train"),
        ("valid/c.midi", "val"),
    ]
    (tmp_path / "train" / "broken.mid").write_bytes(b"MThd")
    with pytest.raises(UserError, match=r"broken\.mid .*on_error=skip"):
        load(tmp_path)
    assert len(load(tmp_path, on_error="skip")) == 4
    assert "skipped" in capsys.readouterr().err
    with pytest.raises(UserError, match="there is no such file or folder"):
        load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="the folder holds no"):
        load(tmp_path / "empty")


def test_embedded():
    """The last tenth are for testing; the same again."""
    pieces = load("chorales")
    assert [piece.split for piece in pieces] == [None] * 18 + ["test"] * 2
    assert all(np.array_equal(a.notes, b.notes) for a, b in zip(pieces, load("chorales"), strict=True))
