"""Reading what people bring: every file is taken, or passed over in words; keys are of contents."""

import os
import time
from pathlib import Path

import pytest

from genzoo.errors import UserError
from genzoo.reading import Broken
from genzoo.sources import Faults, Report, content_key, gather, hashes, listing, of_classes, splits_of

WAV = (".wav", ".nii.gz")


def fill(place: Path, *names: str, content: str = "x") -> None:
    for name in names:
        file = place / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)


def test_every_file_is_accounted_for(tmp_path):
    """Taken, or counted by its kind: hidden, of another ending, a link to nothing."""
    fill(tmp_path, "a.WAV", "b/c.wav", "b/d.nii.gz", "x.csv", "y.csv", "README", ".git/x.wav", "b/._c.wav", "Thumbs.db")
    (tmp_path / "f.wav").symlink_to(tmp_path / "nowhere.wav")
    found = listing(str(tmp_path), WAV)
    assert found.files == [("a.WAV",), ("b", "c.wav"), ("b", "d.nii.gz")]
    assert Report(passed=found.passed).lines() == [
        "      passed over: 2 .csv, 2 hidden, 1 links to nothing, 1 without an ending"
    ]


def test_a_circle_of_links_is_walked_once(tmp_path):
    fill(tmp_path, "a/b.wav")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    assert listing(str(tmp_path), WAV).files == [("a", "b.wav")]


def test_what_is_there_instead(tmp_path):
    """A folder without one says what it holds; a file of another kind says what is known."""
    fill(tmp_path, "a.csv", "b.csv")
    with pytest.raises(UserError, match=r"holds no .nii.gz, .wav file, but 2 .csv"):
        listing(str(tmp_path), WAV)
    with pytest.raises(UserError, match=r"\.csv is not read here; known endings: .nii.gz, .wav"):
        listing(str(tmp_path / "a.csv"), WAV)
    with pytest.raises(UserError, match=r"no such file or folder \(it may also be melodies\)"):
        listing(str(tmp_path / "nowhere"), WAV, known="melodies")


@pytest.mark.parametrize(
    ("labels", "expected", "fields"),
    [
        (None, ["cat", "dog"], ("label",)),
        ("folders", ["cat", "dog"], ("label",)),
        ("none", ["", ""], ()),
        ("{kind}_{}", ["x", "y"], ("kind",)),
        ("told.csv", ["one_low", "two_high"], ("Digit", "Voice")),
    ],
)
def test_labels(tmp_path, labels, expected, fields):
    """Of folders, of nothing, of names, of a table with another delimiter and capitals."""
    fill(tmp_path, "cat/x_1.wav", "dog/y_2.wav")
    (tmp_path / "told.csv").write_text(
        "File;Digit;Voice\n.\\cat\\x_1.wav;one;low\ndog/y_2.wav;two;high\ndog/y_2.wav;two;high\n"
    )
    found = gather(str(tmp_path), WAV, labels=labels)
    assert [source.label for source in found.found] == expected
    assert found.fields == fields


def test_tables_that_contradict_themselves(tmp_path):
    fill(tmp_path, "x.wav", "y.wav")
    (tmp_path / "told.csv").write_text("file,digit\nx.wav,1\nx.wav,2\n")
    with pytest.raises(UserError, match=r"x.wav is there twice, with other labels"):
        gather(str(tmp_path), WAV, labels="told.csv")
    (tmp_path / "told.csv").write_text("file,digit\nx.wav,1\nz.wav,2\n")
    found = gather(str(tmp_path), WAV, labels="told.csv")
    assert found.notes == ("1 files of told.csv are not there, the first: z.wav",)
    assert [source.broken for source in found.found] == ["", "is not in data.labels=told.csv"]


def test_a_folder_for_each_object(tmp_path):
    """Is said, and has a way out."""
    fill(tmp_path, "chair1/a.wav", "chair2/a.wav", "chair3/a.wav")
    found = gather(str(tmp_path), WAV)
    assert "data.labels=none" in found.notes[0]
    names, labels = [s.name for s in found.found], [s.label for s in found.found]
    options = {"val_match": None, "val_fraction": 0.3, "seed": 0}
    with pytest.raises(
        UserError, match=r"none is for val: each folder holds one, and is a label: set data.labels=none"
    ):
        splits_of("here", names, labels, [None] * 3, **options)
    assert sorted(splits_of("here", names, [""] * 3, [None] * 3, **options)) == ["train", "train", "val"]


def test_another_folder_is_val(tmp_path):
    fill(tmp_path, "one/a.wav", "one/b.wav", "two/a.wav")
    found = gather(str(tmp_path / "one"), WAV, val_path=str(tmp_path / "two")).found
    assert [(source.name, source.split) for source in found] == [
        ("a.wav", "train"),
        ("b.wav", "train"),
        ("two/a.wav", "val"),
    ]


def test_faults(capsys):
    """Reading and every check after it obey on_error alike."""
    faults = Faults("here", "skip")
    with faults.of("a.wav"):
        raise ValueError("no header\nmore")
    with faults.of("b.wav"):
        raise Broken("is silent")
    assert faults.broken == [("a.wav", "cannot be read (no header)"), ("b.wav", "is silent")]
    assert capsys.readouterr().err == "skipped: a.wav cannot be read (no header)\nskipped: b.wav is silent\n"
    with pytest.raises(UserError, match=r"nothing can be used, 2 are broken; the first: a.wav cannot"):
        faults.close(0)
    with (
        pytest.raises(UserError, match=r"^data.path=here: c.wav is silent \(data.on_error=skip"),
        Faults("here").of("c.wav"),
    ):
        raise Broken("is silent")
    with pytest.raises(UserError, match="data.on_error is stop or skip, not 'go'"):
        Faults("here", "go")


def test_keys_are_of_contents(tmp_path, monkeypatch):
    """Equal names, sizes and dates, other bytes: another key. A copy elsewhere: the same."""
    monkeypatch.setenv("GENZOO_CACHE", str(tmp_path / "cache"))
    for name, content in (("one", "abc"), ("two", "abd"), ("three", "abc")):
        fill(tmp_path, f"{name}/a.wav", content=content)
        os.utime(tmp_path / name / "a.wav", (10**9, 10**9))
    keys = [content_key(1, files=[("a.wav", tmp_path / name / "a.wav")]) for name in ("one", "two", "three")]
    assert keys[0] == keys[2] != keys[1]
    assert content_key(2, files=[("a.wav", tmp_path / "one" / "a.wav")]) != keys[0]


def test_a_file_that_stays_is_hashed_once(tmp_path, monkeypatch):
    """And one that has just been written is hashed again: it may change within the tick of its clock."""
    monkeypatch.setenv("GENZOO_CACHE", str(tmp_path / "cache"))
    fill(tmp_path, "a.wav")
    read = []
    hash_of = hashes.__globals__["hash_of"]
    monkeypatch.setitem(hashes.__globals__, "hash_of", lambda file: read.append(file) or hash_of(file))
    first = hashes([tmp_path / "a.wav"])
    assert hashes([tmp_path / "a.wav"]) == first
    assert len(read) == 2
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + 10**10)
    assert [hashes([tmp_path / "a.wav"]) for _ in range(3)] == [first] * 3
    assert len(read) == 3
    fill(tmp_path, "a.wav", content="y")
    assert hashes([tmp_path / "a.wav"]) != first


def test_words_of_a_report():
    report = Report(took=["5 clips" + of_classes(["a", "b", "a", "a", "b"]), "8 kHz"], notes=["2 clips cut at 10 s"])
    assert report.lines() == ["data  5 clips of 2 classes (a 3, b 2); 8 kHz", "      2 clips cut at 10 s"]
