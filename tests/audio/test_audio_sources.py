"""Clips from folders: their labels and splits, broken ones, and what is kept for the next time."""

import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile

from genzoo.errors import UserError
from genzoo_audio.melodies import LABELS
from genzoo_audio.public import PUBLIC
from genzoo_audio.scan import SAMPLES
from genzoo_audio.sources import MELODIES, Clips, find_clips

RATE_HZ = 8000


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("GENZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the test's clips lie."""
    (tmp_path / "clips").mkdir()
    return tmp_path / "clips"


def clip(file: Path, samples: int = 50, rate_hz: int = RATE_HZ) -> np.ndarray:
    """Writes noise that depends on the file's name; its samples, int16."""
    file.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(list(file.name.encode())).integers(-9000, 9000, samples, dtype=np.int16)
    soundfile.write(file, noise, rate_hz, subtype="PCM_16")
    return noise


def digits(folder: Path) -> None:
    """Files named as those of Free Spoken Digits: 3 digits, 2 speakers, 4 takes."""
    for digit in range(3):
        for speaker in ("ann", "bob"):
            for take in range(4):
                clip(folder / f"{digit}_{speaker}_{take}.wav", 50 + digit)


def val_names(clips: Clips) -> list[str]:
    return [name for name, val in zip(clips.names, (clips.split == "val"), strict=True) if val]


class TestFind:
    def test_flat_folder(self, folder, cache):
        """In the order of names, without labels, every bit as in the files; hidden files and other endings are none."""
        due = {name: clip(folder / name, 50 + i) for i, name in enumerate(("c.wav", "a.flac", "B.WAV"))}
        clip(folder / ".hidden.wav")
        clip(folder / ".folder/a.wav")
        (folder / "notes.txt").write_text("notes")
        clips = find_clips(str(folder), val_match="a.*")
        assert clips.names == ["B.WAV", "a.flac", "c.wav"]
        assert len(clips) == 3
        assert (clips.rate_hz, clips.fields, clips.labels) == (RATE_HZ, (), ["", "", ""])
        assert (clips.split == "val").tolist() == [False, True, False]
        assert clips.starts.tolist() == [0, 52, 103, 153]
        assert clips.samples.dtype == np.int16
        assert isinstance(clips.samples, np.memmap)
        for i, name in enumerate(clips.names):
            assert clips.wave(i).dtype == np.float32
            assert np.array_equal(clips.wave(i) * 32768, due[name])
        assert [path.parent for path in cache.rglob(SAMPLES)] == [*cache.iterdir()]

    def test_rates(self, folder):
        """All at the most common one, of several the highest, or at the one that is asked for."""
        for name, rate_hz in (("a", 8000), ("b", 16000), ("c", 16000), ("d", 44100)):
            clip(folder / f"{name}.wav", rate_hz // 10, rate_hz)
        assert np.diff(find_clips(str(folder)).starts).tolist() == [1600] * 4
        assert np.diff(find_clips(str(folder), rate_hz=8000).starts).tolist() == [800] * 4
        (folder / "c.wav").unlink()
        assert find_clips(str(folder)).rate_hz == 44100

    def test_trim(self, folder):
        """Only where it is asked for."""
        for name in "ab":
            soundfile.write(folder / f"{name}.wav", np.pad(np.full(200, 0.5), 1000), RATE_HZ)
        assert np.diff(find_clips(str(folder)).starts).tolist() == [2200] * 2
        assert np.diff(find_clips(str(folder), trim_db=30).starts).tolist() == [280] * 2

    def test_one_file(self, folder):
        """Is cut in two: its end validates."""
        due = clip(folder / "long.wav", 1000)
        clips = find_clips(str(folder / "long.wav"), val_fraction=0.2)
        assert (clips.names, (clips.split == "val").tolist()) == (["long.wav[0]", "long.wav[1]"], [False, True])
        assert clips.starts.tolist() == [0, 800, 1000]
        assert np.array_equal(clips.samples, due)
        assert np.array_equal(find_clips(str(folder), val_fraction=0.2).starts, clips.starts)
        whole = find_clips(str(folder / "long.wav"), val_fraction=1)
        assert (whole.names, (whole.split == "val").tolist()) == (["long.wav"], [True])
        clip(folder / "long.wav", 3)
        with pytest.raises(UserError, match="one file, too short to be cut"):
            find_clips(str(folder))

    @pytest.mark.parametrize(
        ("path", "options", "message"),
        [
            ("", {}, "data.path is empty"),
            ("nowhere", {}, "there is no such file or folder .*melodies, fsdd, speech_commands"),
            (".", {}, "the folder holds no .wav, .flac, .ogg, .mp3 file"),
            ("a.txt", {}, "known endings are .wav"),
            (".", {"on_error": "ignore"}, "data.on_error is stop or skip, not 'ignore'"),
            (".", {"val_fraction": 0}, "data.val_fraction lies above 0"),
            (".", {"rate_hz": 0}, "data.rate_hz is at least 1"),
        ],
    )
    def test_refused(self, folder, monkeypatch, path, options, message):
        """In one line."""
        (folder / "a.txt").write_text("text")
        monkeypatch.chdir(folder)
        with pytest.raises(UserError, match=message):
            find_clips(path, **options)


class TestLabels:
    def test_folders(self, folder):
        """The first folder, however deep the file lies; beside one, a file without a folder is broken."""
        for name in ("yes/a.wav", "yes/b.wav", "no/deep/er/c.wav", "no/d.wav"):
            clip(folder / name)
        clips = find_clips(str(folder))
        assert clips.names == ["no/d.wav", "no/deep/er/c.wav", "yes/a.wav", "yes/b.wav"]
        assert (clips.labels, clips.fields) == (["no", "no", "yes", "yes"], ("label",))
        clip(folder / "e.wav")
        with pytest.raises(UserError, match=r"e.wav lies in no folder.*on_error=skip"):
            find_clips(str(folder))
        assert find_clips(str(folder), on_error="skip").names == clips.names

    def test_template(self, folder, capsys):
        """A field in braces for each label; a name that does not match is broken."""
        digits(folder)
        clips = find_clips(str(folder), labels="{digit}_{speaker}_{}")
        assert clips.fields == ("digit", "speaker")
        assert clips.labels == [name.rpartition("_")[0] for name in clips.names]
        one = find_clips(str(folder), labels="{}_{speaker}_{}")
        assert (one.fields, set(one.labels)) == (("speaker",), {"ann", "bob"})
        clip(folder / "odd.wav")
        with pytest.raises(UserError, match=r"odd.wav does not match data.labels=\{digit\}_\{speaker\}_\{\}"):
            find_clips(str(folder), labels="{digit}_{speaker}_{}")
        capsys.readouterr()
        assert find_clips(str(folder), labels="{digit}_{speaker}_{}", on_error="skip").names == clips.names
        said = capsys.readouterr().err.splitlines()
        assert said[0].startswith("skipped: odd.wav does not match")
        assert said[1] == "1 of 25 files are left out"

    @pytest.mark.parametrize("labels", ["{}", "{a}_{a}", "{a", "{a b}_{c}"])
    def test_no_template(self, folder, labels):
        """Without a named field, with one twice, with braces that do not close."""
        clip(folder / "a.wav")
        with pytest.raises(UserError, match="needs fields in braces"):
            find_clips(str(folder), labels=labels)

    @pytest.mark.parametrize("beside", [True, False])
    def test_csv(self, folder, tmp_path, beside, capsys):
        """In any order, from the clips' folder or elsewhere, with what a spreadsheet adds."""
        for name in ("x/a.wav", "b.wav", "c.wav"):
            clip(folder / name)
        place = (folder if beside else tmp_path) / "labels.csv"
        place.write_bytes(
            "\ufeffspeaker,file,mood\r\nzoë,b.wav,glad\r\nann,x\\a.wav, sad\r\nbob,no.wav,sad\r\n".encode()
        )
        labels = "labels.csv" if beside else str(place)
        with pytest.raises(UserError, match="c.wav is not in data.labels="):
            find_clips(str(folder), labels=labels)
        clips = find_clips(str(folder), labels=labels, on_error="skip", val_match="b.wav")
        assert clips.names == ["b.wav", "x/a.wav"]
        assert (clips.labels, clips.fields) == (["zoë_glad", "ann_sad"], ("speaker", "mood"))
        assert "1 files in it are not in data.path; the first: no.wav" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "the first line names the columns"),
            (b"name,label\na.wav,x\n", "the first line names the columns"),
            (b"file\na.wav\n", "the first line names the columns"),
            (b"file,label\nother.wav,x\n", "no file in it is in data.path"),
            (b"file,label\na.wav,\n", "a.wav is not in data.labels"),
            (b"file,label\na.wav\n", "a.wav is not in data.labels"),
            (b"file,label\na.wav,\xff\n", "data.labels=.*labels.csv cannot be read .*'utf-8' codec"),
            (None, "there is no such CSV file"),
        ],
    )
    def test_csv_refused(self, folder, content, message):
        """In one line."""
        clip(folder / "a.wav")
        if content is not None:
            (folder / "labels.csv").write_bytes(content)
        with pytest.raises(UserError, match=message) as error:
            find_clips(str(folder), labels="labels.csv")
        assert "\n" not in str(error.value)


class TestSplit:
    @pytest.mark.parametrize("form", ["{label}/{split}/{name}", "{split}/{label}/{name}"])
    def test_folders(self, folder, form):
        """Below the labels or above them; they are no labels. Where there are three, they are what they say."""
        for i, (label, split) in enumerate((a, b) for a in ("yes", "no") for b in ("train", "valid", "test")):
            clip(folder / form.format(label=label, split=split, name=f"{i}.wav"))
        clips = find_clips(str(folder))
        told = zip(clips.names, clips.labels, clips.split, strict=True)
        assert {Path(name).stem: (label, split) for name, label, split in told} == {
            "0": ("yes", "train"),
            "1": ("yes", "val"),
            "2": ("yes", "test"),
            "3": ("no", "train"),
            "4": ("no", "val"),
            "5": ("no", "test"),
        }
        with pytest.raises(UserError, match="has a split of its own: data.val_match=.* must be null"):
            find_clips(str(folder), val_match="0.wav")

    def test_folders_without_labels(self, folder):
        """train/ and val/ alone."""
        clip(folder / "train/a.wav")
        clip(folder / "val/b.wav")
        clips = find_clips(str(folder))
        assert (clips.labels, clips.fields, (clips.split == "val").tolist()) == (["", ""], (), [False, True])

    def test_partly(self, folder):
        """A file outside of the split is refused by name."""
        for name in ("yes/train/a.wav", "yes/test/b.wav", "yes/c.wav"):
            clip(folder / name)
        with pytest.raises(UserError, match=r"yes/c.wav is in no train/, val/ or test/ folder"):
            find_clips(str(folder))

    def test_match(self, folder):
        """By the names of the files; all or none is refused."""
        digits(folder)
        assert val_names(find_clips(str(folder), val_match="*_[0-1].wav")) == sorted(
            f"{digit}_{speaker}_{take}.wav" for digit in range(3) for speaker in ("ann", "bob") for take in (0, 1)
        )
        for val_match in ("*.flac", "*.wav"):
            with pytest.raises(UserError, match=r"none is for (train|val): set data.val_match so that it matches some"):
                find_clips(str(folder), val_match=val_match)

    def test_fraction(self, folder):
        """As many of each label, others by another seed, the same whatever other labels there are."""
        digits(folder)
        options = {"labels": "{digit}_{}", "val_fraction": 0.25}
        clips = find_clips(str(folder), **options)
        assert [sum(name.startswith(digit) for name in val_names(clips)) for digit in "012"] == [2, 2, 2]
        assert val_names(clips) == val_names(find_clips(str(folder), **options))
        assert val_names(clips) != val_names(find_clips(str(folder), **options, seed=1))
        for file in folder.glob("1_*"):
            file.unlink()
        assert val_names(find_clips(str(folder), **options)) == [n for n in val_names(clips) if n[0] != "1"]

    def test_at_least_one(self, folder):
        """Of each label, however small the fraction; a lone clip of a label trains; all of them by 1."""
        digits(folder)
        assert len(val_names(find_clips(str(folder), labels="{digit}_{}", val_fraction=1e-3))) == 3
        assert (find_clips(str(folder), val_fraction=1).split == "val").all()
        assert not (find_clips(str(folder), val_fraction=0.99).split == "val").all()
        with pytest.raises(
            UserError,
            match="of 24 examples none is for val: each folder holds one, and is a label: set data.labels=none",
        ):
            find_clips(str(folder), labels="{all}")


class TestBroken:
    def junk(self, folder: Path) -> None:
        digits(folder)
        (folder / "empty.wav").write_bytes(b"")
        (folder / "junk.mp3").write_bytes(b"junk" * 100)
        clip(folder / "long.wav", 2 * RATE_HZ + 1)
        soundfile.write(folder / "silent.wav", np.zeros(100), RATE_HZ)
        soundfile.write(folder / "faint.wav", np.full(100, 1e-6), RATE_HZ, subtype="FLOAT")

    def test_stop(self, folder, cache):
        """At the first, by name, with the mend; nothing is kept half done."""
        self.junk(folder)
        with pytest.raises(UserError, match=r"empty.wav is empty \(data.on_error=skip leaves it out\)"):
            find_clips(str(folder), max_s=2)
        assert not [path for path in cache.iterdir() if path.name.startswith(".")]

    def test_skip(self, folder, capsys):
        """Each is told with its reason, and how many they are; the second time as well."""
        self.junk(folder)
        for _ in range(2):
            clips = find_clips(str(folder), max_s=2, on_error="skip")
            assert len(clips) == 24
            assert len(clips.starts) == 25
            assert np.diff(clips.starts).min() >= 50
            said = capsys.readouterr().err.splitlines()
            assert [line.split(" ")[:2] for line in said[:-1]] == [
                ["skipped:", f"{name}"] for name in ("empty.wav", "faint.wav", "junk.mp3", "long.wav", "silent.wav")
            ]
            assert "is silent in 16 bits" in said[1]
            assert "lasts 2.0 s, and max_s is 2" in said[3]
            assert said[-1] == "5 of 29 files are left out"
        with pytest.raises(UserError, match=r"empty.wav is empty"):
            find_clips(str(folder), max_s=2)

    def test_nothing_left(self, folder):
        """Where all are broken, skipping is no way out."""
        (folder / "a.wav").write_bytes(b"")
        with pytest.raises(UserError, match="no clip can be used, 1 are broken; the first: a.wav is empty"):
            find_clips(str(folder), on_error="skip")


class TestKept:
    def same(self, a: Clips, b: Clips) -> bool:
        arrays = all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("samples", "starts", "split"))
        return arrays and all(getattr(a, name) == getattr(b, name) for name in ("rate_hz", "names", "labels", "fields"))

    def test_second_time(self, folder, cache, monkeypatch):
        """Equal in every bit, and no file is read, not for other labels or another split; damaged, it is made anew."""
        digits(folder)
        first = find_clips(str(folder), labels="{digit}_{}")
        (kept,) = cache.iterdir()
        with monkeypatch.context() as patch:
            patch.setattr("genzoo_audio.scan.read", lambda file, *_: pytest.fail(f"{file} was read"))
            assert self.same(first, find_clips(str(folder), labels="{digit}_{}"))
            assert (find_clips(str(folder), val_match="0_*").split == "val").sum() == 8
        for file in kept.iterdir():
            whole = file.read_bytes()
            for damaged in (b"", whole[: len(whole) // 2]):
                file.write_bytes(damaged)
                assert self.same(first, find_clips(str(folder), labels="{digit}_{}"))
                assert [*cache.iterdir()] == [kept]
                assert file.read_bytes() == whole

    def test_what_was_kept_of_other_files(self, folder):
        """A file that was written anew is read again, as is anything when something else is asked for."""
        digits(folder)
        before = find_clips(str(folder))
        due = clip(folder / "0_ann_0.wav", 70)
        after = find_clips(str(folder))
        assert np.array_equal(after.wave(0) * 32768, due)
        assert np.array_equal(after.wave(1), before.wave(1))
        assert find_clips(str(folder), rate_hz=16000).starts[-1] == 2 * after.starts[-1]

    def test_no_place_to_keep(self, folder, cache):
        """A cache folder that cannot be made is no error: the samples are held in memory."""
        digits(folder)
        kept = find_clips(str(folder), labels="{digit}_{}")
        cache.rename(cache.with_name("elsewhere"))
        cache.write_text("a file where the folder should be")
        assert self.same(kept, find_clips(str(folder), labels="{digit}_{}"))

    def test_full_disk(self, folder, cache, monkeypatch):
        """One line with the mend, and nothing stays behind."""
        digits(folder)

        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("genzoo_audio.scan.json.dumps", full)
        with pytest.raises(UserError, match=r"cannot hold the samples .*No space left.*set GENZOO_CACHE"):
            find_clips(str(folder))
        assert not [*cache.iterdir()]


class TestPublic:
    def packed(self, file: Path, folder: Path, prefix: str, extra: dict[str, bytes]) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(file, "w:gz") as opened:
            if folder.is_dir():
                opened.add(folder, prefix)
            for name, content in extra.items():
                about = tarfile.TarInfo(name)
                about.size = len(content)
                opened.addfile(about, BytesIO(content))

    def test_fsdd(self, folder, cache, capsys):
        """The archive, here in place of a download, is unpacked once; labels and the official split by themselves."""
        digits(folder)
        clip(folder / "2_bob_7.wav")
        inside = PUBLIC["fsdd"].inside
        self.packed(cache / "fsdd.tar.gz", folder, inside, {"free-spoken-digit-dataset-1.0.10/README.md": b"FSDD"})
        clips = find_clips("fsdd")
        assert "CC BY-SA 4.0" in capsys.readouterr().err
        assert (clips.fields, clips.labels[0], len(clips)) == (("digit", "speaker"), "0_ann", 25)
        assert np.flatnonzero(~(clips.split == "val")).tolist() == [clips.names.index("2_bob_7.wav")]
        (cache / "fsdd.tar.gz").unlink()
        other = find_clips("FSDD", labels="{digit}_{}", val_match="0_*")
        assert (other.fields, (other.split == "val").sum()) == (("digit",), 8)

    def test_speech_commands(self, folder, cache, capsys):
        """Words are labels, the testing list is scored, the validation list left out, the long noises are no clips."""
        for name in ("yes/a.wav", "yes/b.wav", "no/c.wav", "no/d.wav", "no/e.wav"):
            clip(folder / name)
        clip(folder / "_background_noise_/pink.wav", 9 * RATE_HZ)
        (folder / "validation_list.txt").write_text("no/d.wav\n")
        (folder / "testing_list.txt").write_text("yes/b.wav\nno/e.wav\n")
        self.packed(cache / "speech_commands.tar.gz", folder, ".", {})
        for path in ("speech_commands", str(folder)):
            clips = find_clips(path, max_s=2)
            assert clips.names == ["no/c.wav", "no/d.wav", "no/e.wav", "yes/a.wav", "yes/b.wav"]
            assert clips.labels == ["no", "no", "no", "yes", "yes"]
            assert clips.split.tolist() == ["train", "val", "test", "train", "test"]

    @pytest.mark.parametrize("name", ["../evil.wav", "a/../../evil.wav"])
    def test_nothing_is_written_outside(self, folder, cache, name):
        """An archive that reaches outside of its folder is refused as a whole."""
        self.packed(cache / "fsdd.tar.gz", folder, PUBLIC["fsdd"].inside, {name: b"evil"})
        with pytest.raises(UserError, match=r"fsdd.tar.gz holds .*evil.wav', which lies outside of it"):
            find_clips("fsdd")
        assert [path.name for path in cache.iterdir()] == ["fsdd.tar.gz"]
        assert not [*cache.parent.rglob("evil.wav")]

    @pytest.mark.parametrize("content", [b"junk", None])
    def test_damaged(self, cache, folder, content):
        """No archive, or one of something else: the line says what to do."""
        self.packed(cache / "fsdd.tar.gz", folder / "none", "", {"other/a.wav": b"junk"})
        if content:
            (cache / "fsdd.tar.gz").write_bytes(content)
        with pytest.raises(UserError, match=r"fsdd.tar.gz cannot be unpacked .*delete it") as error:
            find_clips("fsdd")
        assert "\n" not in str(error.value)
        assert [path.name for path in cache.iterdir()] == ["fsdd.tar.gz"]


def test_melodies(cache):
    """The embedded set: labels by timbre, as many of each validate, the same every time; nothing is written."""
    clips = find_clips("melodies", val_fraction=0.1)
    assert (len(clips), clips.rate_hz, clips.fields) == (MELODIES, RATE_HZ, ("timbre",))
    assert len(clips.names) == len(clips.labels) == len(clips.split == "val") == len(clips.starts) - 1 == MELODIES
    assert {label: clips.labels.count(label) for label in LABELS} == dict.fromkeys(LABELS, MELODIES // len(LABELS))
    assert sorted(np.array(clips.labels)[(clips.split == "val")].tolist()) == sorted(
        LABELS * (MELODIES // len(LABELS) // 10)
    )
    assert np.abs(clips.wave(5)).max() == pytest.approx(0.8, abs=1e-3)
    assert not np.array_equal((find_clips("melodies", seed=1).split == "val"), (clips.split == "val"))
    assert (find_clips("melodies", val_match="bell_*").split == "val").sum() == MELODIES // len(LABELS)
    assert not cache.exists()


def test_progress_without_a_terminal(folder, monkeypatch, capsys):
    """A line now and then, on stderr."""
    for i in range(3):
        clip(folder / f"{i}.wav")
    now = iter(range(0, 1000, 8))
    monkeypatch.setattr("genzoo.progress.time.monotonic", lambda: next(now))
    find_clips(str(folder), rate_hz=RATE_HZ)
    assert capsys.readouterr().err == "reading 1/3\n"
