"""Damaged inputs of every format: a few hundred of the ten thousand that `tests/fuzz.py` tries, and whether it sees."""

import random
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ALIKE = {".jpeg", ".tiff", ".midi", ".nc4", ".cdf", ".grb", ".grib2", ".grb2", ".zarr"}
"""Other endings of what has a seed."""
PLANTED = """
import os
from types import SimpleNamespace
from genzoo.errors import UserError

SEED = b'{"a": [1, 2.5, "text"]}'

def planted(act, sealed=()):
    def read(path):
        if path.read_bytes() != SEED:
            act(path)
    return SimpleNamespace(make=lambda folder: (folder / "zq.json").write_bytes(SEED), read=read, sealed=sealed)

def loop(path):
    while True:
        pass

def refuse(words):
    def act(path):
        raise UserError(words.format(path))
    return act

def eat(path):
    bytearray(b"x") * 200_000_000

FORMATS = {
    "accepting": planted(lambda path: None),
    "refusing": planted(refuse("data.path={} is damaged")),
    "raising": planted(lambda path: [][0]),
    "leaving": planted(lambda path: os._exit(3)),
    "exiting": planted(lambda path: exit(0)),
    "aborting": planted(lambda path: os.abort()),
    "looping": planted(loop),
    "eating": planted(eat),
    "talking": planted(refuse("data.path={}\\nis damaged")),
    "nameless": planted(refuse("it is damaged")),
    "trusting": planted(lambda path: None, sealed=("zq.json",)),
}
"""


@pytest.fixture
def fuzz(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The module, where workers find it too."""
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.syspath_prepend(tmp_path)
    import fuzz

    yield fuzz
    for name in ("fuzz", "fuzz_mutations", "fuzz_formats", "fuzz_runs"):
        sys.modules.pop(name, None)


def test_what_fails_is_seen(fuzz, tmp_path):
    """Planted loaders: each kind of failure is told apart, names its case, and ends no other."""
    (tmp_path / "planted.py").write_text(PLANTED)
    kinds = {
        "accepting": "accepted",
        "refusing": "refused",
        "raising": "traceback",
        "exiting": "traceback",
        "leaving": "abort",
        "aborting": "abort",
        "looping": "slow",
        "eating": "fat",
        "talking": "traceback",
        "nameless": "traceback",
        "trusting": "traceback",
    }
    runner = fuzz.Runner("planted", kinds, limit_s=0.5, limit_bytes=5e7)
    runner.run(len(kinds), 7, tmp_path / "scratch", told=lambda failure: None)
    assert {name: dict(counts.kinds) for name, counts in runner.counts.items()} == {n: {k: 1} for n, k in kinds.items()}
    words = {failure.format: str(failure) for failure in runner.failures}
    assert words.keys() == {name for name, kind in kinds.items() if kind not in ("accepted", "refused")}
    assert words["raising"].startswith("traceback: raising 0 (seed 7): IndexError: 'list index out of range'")
    assert "exit code 3" in words["leaving"]
    assert words["looping"].startswith("slow: looping 0 (seed 7): ended")


def test_mutations_can_be_had_again(fuzz):
    """The same generator gives the same bytes, another gives others, and none gives back what it was given."""
    seed = {"zq.json": b'{"a": [1, 2.5, "text"], "b": {"c": null}}', "zq.bin": bytes(range(256)), "note.txt": b"stays"}
    first, again = ([fuzz.case(seed, random.Random(f"{i}"))[0] for i in range(200)] for _ in range(2))
    assert first == again
    assert all(files != seed and files["note.txt"] == b"stays" for files in first)
    assert len({repr(sorted(files.items())) for files in first}) > 150


def test_damaged_inputs_are_refused_or_read(fuzz, tmp_path):
    """Five mutations of each format, in one process: no traceback, no abort, none slow, none of 2 GB; and there is a
    format for every ending that is read."""
    import fuzz_formats

    runner = fuzz.Runner("fuzz_formats", fuzz_formats.FORMATS)
    runner.run(5 * len(runner.names), 0, tmp_path, jobs=1, told=lambda failure: None)
    assert not runner.failures, "\n".join(map(str, runner.failures))
    kinds = sum((counts.kinds for counts in runner.counts.values()), start=type(runner.counts["wav"].kinds)())
    assert kinds.total() == 5 * len(runner.names)
    assert min(kinds["accepted"], kinds["refused"]) > 30, kinds
    from genzoo_audio import files as audio
    from genzoo_audio.music import files as music
    from genzoo_points import sources as points
    from genzoo_text import sources as text
    from genzoo_video import sources as video
    from genzoo_weather import files as weather

    read = {ending for module in (text, audio, music, points, video) for ending in module.SUFFIXES} | {*weather.ENGINES}
    assert read - ALIKE <= {file.suffix for file in (tmp_path / "seeds").rglob("*")}
