"""Music of strangers: broken files are passed over whatever a library raises, sizes are judged, runs are tied."""

import json
import os
import shutil
import struct
import tracemalloc
from itertools import pairwise
from pathlib import Path

import mido
import numpy as np
import pytest

from genzoo.errors import UserError
from genzoo_audio.music import files, sources
from genzoo_audio.music.data import MusicData

CHORD = [[72, 67, 64, 48]]
NOTE = b"\x01\x3c\x40\x01\x3c\x00"
"""On and off again, under a running status."""


def midi(*tracks: bytes) -> bytes:
    """A file of tracks of events."""
    head = b"MThd" + struct.pack(">IHHH", 6, 1, len(tracks), 480)
    return head + b"".join(b"MTrk" + struct.pack(">I", len(t) + 4) + t + b"\0\xff\x2f\0" for t in tracks)


def load(path: Path, **options) -> list:
    return sources.load(str(path), **{"embedded": 20, "on_error": "stop", "max_ticks": 4096, "seed": 0, **options})


def refused(said: str, call, *words, **options) -> None:
    """Refused with these words, in one line, and at most 20 MB of memory."""
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=said) as error:
            call(*words, **options)
        assert tracemalloc.get_traced_memory()[1] < 20e6
        assert "\n" not in str(error.value)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("b.mid", midi(b"\0\xff\x59\x02\x14\x00"), "is not MIDI, or is damaged"),  # a key of 20 sharps
        ("b.json", b"[[[60, 60, 1e400, 60]]]", "is no list of ticks of four pitches .cannot convert float infinity"),
        ("b.json", b"[" * 100_000, "is not JSON .maximum recursion"),
        ("b.json", b"[[[" + b"9" * 5000 + b"]]]", "is not JSON .Exceeds the limit"),
        ("b.json", b"[[[60], 5]]", "is no list of ticks of four pitches"),
        ("b.json", b'{"\\u001b[2J": []}', r"has the keys \\x1b\[2J: known are"),
    ],
)
def test_broken_files(tmp_path, capsys, name, content, said):
    """Named, or passed over."""
    for good in ("a.mid", "c.mid"):
        files.write_midi(np.array(CHORD * 16), tmp_path / good)
    (tmp_path / name).write_bytes(content)
    refused(f"data.path={tmp_path / name} {said}.*on_error=skip", load, tmp_path)
    assert [piece.name for piece in load(tmp_path, on_error="skip")] == ["a.mid", "c.mid"]
    assert f"skipped {tmp_path / name} " in capsys.readouterr().err
    refused(f"melody={tmp_path / name} {said}", files.read_piece, tmp_path / name, key="melody")


@pytest.mark.parametrize("error", [MemoryError(), ZeroDivisionError("odd"), RecursionError("deep")])
def test_whatever_a_reader_raises(tmp_path, monkeypatch, error):
    """The file is named, or passed over."""
    for good in ("a.mid", "b.mid"):
        files.write_midi(np.array(CHORD * 16), tmp_path / good)
    voices = files.voices_of
    seen = []

    def fails(*words):
        seen.append(words)
        if len(seen) == 2:
            raise error
        return voices(*words)

    monkeypatch.setattr(files, "voices_of", fails)
    refused("b.mid cannot be read .*on_error=skip", load, tmp_path)
    seen.clear()
    assert [piece.name for piece in load(tmp_path, on_error="skip")] == ["a.mid"]


def test_pipes_and_devices(tmp_path):
    """Never opened."""
    os.mkfifo(tmp_path / "pipe.mid")
    for file in ("/dev/zero", tmp_path / "pipe.mid"):
        refused(f"data.path={file} is a pipe or a device, no file", load, file)
        refused(f"prompt={file} is a pipe or a device, no file", files.read_piece, file, key="prompt")


def test_large_files(tmp_path, monkeypatch):
    """By their bytes, before a note of them is read."""
    monkeypatch.setattr(mido, "MidiFile", lambda path: pytest.fail("was read"))
    (tmp_path / "a.mid").write_bytes(midi(b"\0\x90\x3c\x40" + NOTE * 400_000))
    refused("a.mid has 2,400,0.. bytes, above 362,144 for max_ticks=4096: cut it, or raise", load, tmp_path)
    for name in ("b.mid", "b.json"):
        with open(tmp_path / name, "wb") as out:
            out.truncate(10**10)
        refused("claims to hold 10,000 MB, and data.max_mb is 4", load, tmp_path / name)
    data = MusicData(path=str(tmp_path / "a.mid"), max_mb=1)
    refused("a.mid claims to hold 2 MB, and data.max_mb is 1", data.prepare)


def test_long_pieces(tmp_path, monkeypatch):
    """Of JSON a piece is judged before its pitches are read, and pieces are counted."""
    (tmp_path / "a.json").write_text(json.dumps([CHORD * 201]))
    (tmp_path / "b.json").write_text("[" + "[]," * files.MOST_PIECES + "[]]")
    with monkeypatch.context() as patch:
        patch.setattr(files, "whole", lambda pitch: pytest.fail("was read"))
        refused("a.json has 201 ticks, and max_ticks is 100", load, tmp_path / "a.json", max_ticks=100)
        refused("b.json holds 100,001 pieces, and at most 100,000", load, tmp_path / "b.json")
    (tmp_path / "a.json").write_text(json.dumps([CHORD * 60 + [[0] * 4] * 100]))
    assert len(load(tmp_path / "a.json", max_ticks=100)[0].notes) == 60


def test_many_tracks_and_long_notes(tmp_path):
    """A part costs nothing where there are too many to be voices; notes that all sound at once are counted first."""
    (tmp_path / "a.mid").write_bytes(
        midi(*[b"\0\x90\x3c\x40\x83\x60\x80\x3c\0"] * 1000, b"\0\x90\x48\x40\xff\x7f\x80\x48\0")
    )
    tracemalloc.start()
    try:
        piece = files.read_piece(tmp_path / "a.mid")
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()
    assert piece[0].tolist() == [72, 0, 0, 60]
    chords = [b"".join(b"\0" + bytes([0x90 | c, p, 64]) for p in range(21, 108)) for c in range(9)]
    track = b"".join(chords) + b"\x87\x80\x00\x80\x3c\0" + b"".join(chords).replace(b"\x40", b"\0")
    (tmp_path / "b.mid").write_bytes(midi(track))
    refused("b.mid has too many long notes at once, above 64", load, tmp_path / "b.mid", max_ticks=1100)


def test_fingerprints(tmp_path):
    """The same elsewhere, with the same examples; another where a note or a cut differs."""
    notes = np.random.default_rng(0).integers(50, 70, (256, 4)).tolist()

    def told(name: str, *cuts: int) -> tuple:
        bounds = [0, *cuts, 256]
        train = [notes[a:b] for a, b in pairwise(bounds)]
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps({"train": train, "valid": [notes[:32]]}))
        return found(tmp_path / name)

    def found(path: Path) -> tuple:
        data = MusicData(path=str(path), ticks=32, context=32)
        data.prepare()
        batches = data.batch(3, 4, "train")
        return data.fingerprint("train"), data.fingerprint("val"), batches.x.tolist(), batches.cond["prefix"].tolist()

    first = told("a.json", 64, 128)
    (tmp_path / "far").mkdir()
    shutil.copy(tmp_path / "a.json", tmp_path / "far" / "b.json")
    assert found(tmp_path / "far" / "b.json") == found(tmp_path / "far") == first
    assert told("c.json", 64, 160)[0] != first[0]
    assert told("c.json", 64, 160)[1] == first[1]
    notes[100][2] = 71
    assert told("d.json", 64, 128)[0] != first[0]
    with pytest.raises(UserError, match="split is train or val"):
        MusicData().fingerprint("train")
