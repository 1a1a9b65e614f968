"""Recordings of strangers: broken ones are passed over whatever a library raises, sizes are judged, runs are tied."""

import io
import os
import shutil
import struct
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from genzoo.errors import UserError
from genzoo_audio import public, scan
from genzoo_audio.data import WaveData
from genzoo_audio.files import read_audio
from genzoo_audio.sources import find_clips

RATE_HZ = 8000


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GENZOO_CACHE", str(tmp_path / "cache"))


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-9000, 9000, samples, dtype=np.int16)


def header(*, rate_hz: int = RATE_HZ, channels: int = 1, claimed: int = 0x7FFFFFF0) -> bytes:
    """Of a WAV file, with 4,000 bytes of sound."""
    form = struct.pack("<HHIIHH", 1, channels, rate_hz, rate_hz, 2 * channels % 65536, 16)
    head = b"RIFF" + struct.pack("<I", claimed) + b"WAVEfmt " + struct.pack("<I", 16) + form
    return head + b"data" + struct.pack("<I", claimed) + noise(2000).tobytes()


def flac(file: Path, claimed: int) -> None:
    """A second of sound whose header claims so many samples."""
    soundfile.write(file, noise(RATE_HZ), RATE_HZ)
    content = bytearray(file.read_bytes())
    content[21] = content[21] & 0xF0 | claimed >> 32
    content[22:26] = struct.pack(">I", claimed & 0xFFFFFFFF)
    file.write_bytes(content)


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


@pytest.mark.parametrize("error", [MemoryError(), ZeroDivisionError("odd"), AttributeError(), RecursionError("deep")])
def test_whatever_a_reader_raises(tmp_path, monkeypatch, capsys, error):
    """The file is named, or passed over."""
    for name in ("a.wav", "b.wav", "c.wav"):
        soundfile.write(tmp_path / name, noise(500), RATE_HZ)

    def read(file: Path, *others):
        if file.name == "b.wav":
            raise error
        return whole(file, *others)

    whole = scan.read
    monkeypatch.setattr(scan, "read", read)
    with pytest.raises(UserError, match="b.wav cannot be read .*on_error=skip"):
        find_clips(str(tmp_path))
    assert find_clips(str(tmp_path), on_error="skip").names == ["a.wav", "c.wav"]
    assert "skipped: b.wav cannot be read (" in capsys.readouterr().err


def test_headers(tmp_path):
    """What they claim is judged, and never believed."""
    (tmp_path / "a.wav").write_bytes(header())
    assert len(read_audio(tmp_path / "a.wav", max_s=1e6)[0]) == 2000
    (tmp_path / "rate.wav").write_bytes(header(rate_hz=2**31 - 1))
    refused("rate.wav claims 2147483647 samples a second", read_audio, tmp_path / "rate.wav")
    (tmp_path / "many.wav").write_bytes(header(channels=65535))
    refused("many.wav is not audio, or is damaged", read_audio, tmp_path / "many.wav")
    flac(tmp_path / "long.flac", 2**36 - 1)
    refused("long.flac lasts 8589934.6 s, and max_s is 600", read_audio, tmp_path / "long.flac")
    flac(tmp_path / "more.flac", 500 * RATE_HZ * 8)
    refused("more.flac is not audio, or is damaged", read_audio, tmp_path / "more.flac", max_s=1e4)  # claims 128 MB


def test_rates():
    """No rate of sound, on the command line or in a checkpoint."""
    with pytest.raises(UserError, match=r"data\.rate_hz is at least 1 and at most 1000000, not 2000000"):
        find_clips("melodies", rate_hz=2_000_000)
    for rate_hz in (0, 10**9, 8000.0, "8000"):
        with pytest.raises(UserError, match=f"says {rate_hz} samples a second"):
            WaveData().load_state_dict({"rate_hz": rate_hz, "classes": [], "fields": []})


def test_pipes_and_devices(tmp_path):
    """Never opened."""
    os.mkfifo(tmp_path / "pipe.wav")
    for file in ("/dev/zero", tmp_path / "pipe.wav"):
        refused(f"data.path={file} is a pipe or a device, no file", find_clips, str(file))
        refused(f"clip={file} is a pipe or a device, no file", read_audio, file, key="clip")


def test_large_lists(tmp_path):
    """Of labels and of splits."""
    for name in ("labels.csv", "testing_list.txt"):
        soundfile.write(tmp_path / "a.wav", noise(500), RATE_HZ)
        with open(tmp_path / name, "wb") as out:
            out.truncate(10**10)
        refused(f"{name} claims to hold 10,000 MB, and the most is 50", find_clips, str(tmp_path), labels="labels.csv")
        (tmp_path / name).write_bytes(b"file,label\na.wav," + b"x" * 10**6)
    refused("data.labels=.*labels.csv cannot be read .field larger", find_clips, str(tmp_path), labels="labels.csv")


@pytest.mark.parametrize("sizes", [[50_000], [0] * 90])
def test_archives(tmp_path, sizes):
    """A bomb, large or of many files, is unpacked no further than its size is judged, and nothing of it stays."""
    with tarfile.open(tmp_path / "bomb.tar.gz", "w:gz", compresslevel=1) as archive:
        for i, size in enumerate(sizes):
            part = tarfile.TarInfo(f"inside/{i}.wav")
            part.size = size
            archive.addfile(part, io.BytesIO(bytes(size)))
    with pytest.raises(UserError, match=r"bomb.tar.gz cannot be unpacked \(claims to hold 0 MB, and the most is 0.04"):
        public.unpack(tmp_path / "bomb.tar.gz", "inside", to=tmp_path / "out", max_mb=0.04)
    assert [file.name for file in tmp_path.iterdir()] == ["bomb.tar.gz"]
    public.unpack(tmp_path / "bomb.tar.gz", "inside", to=tmp_path / "out", max_mb=0.06)
    assert len([*(tmp_path / "out").iterdir()]) == len(sizes)


def test_fingerprints(tmp_path):
    """Of rate, labels, samples and cuts: the same elsewhere, with the same examples; not if one of them differs."""

    def told(place: Path, **options) -> tuple:
        data = WaveData(path=str(place), seconds=0.02, val_match="*_v.wav", **options)
        data.prepare()
        return data.fingerprint("train"), data.fingerprint("val"), data.batch(5, 4, "train").x.tolist()

    def made(name: str, **files: np.ndarray) -> Path:
        for file, x in files.items():
            (tmp_path / name).mkdir(exist_ok=True)
            soundfile.write(tmp_path / name / f"{file}.wav", x, RATE_HZ)
        return tmp_path / name

    x, zero = noise(600), np.zeros(2, np.int16)
    first = told(made("one", a=x, b=x[::-1], c_v=x))
    shutil.copytree(tmp_path / "one", tmp_path / "far" / "away")
    os.utime(tmp_path / "far" / "away" / "a.wav", (1, 1))
    assert told(tmp_path / "far" / "away") == first
    assert told(made("two", a=x, b=x[::-1], c_v=np.append(x, x[0])))[:2] != first[:2]
    assert told(made("two", a=x, b=x[::-1], c_v=x), rate_hz=4000)[0] != first[0]
    whole, parts = np.concatenate((x, zero, x)), {"a": x, "b": np.concatenate((zero, x))}
    cuts = [told(made("whole", a=whole, c_v=x))[0], told(made("parts", **parts, c_v=x))[0]]
    cuts.append(told(made("others", a=np.append(x, zero), b=x, c_v=x))[0])
    assert len(set(cuts)) == 3


def test_fingerprints_of_labels(tmp_path):
    """The same recordings under other labels are other data."""
    told = []
    for i, labels in enumerate((("x", "y"), ("y", "x"), ("x", "z"))):
        for j, label in enumerate(labels):
            (tmp_path / f"{i}" / label).mkdir(parents=True)
            for k in range(3):
                soundfile.write(tmp_path / f"{i}" / label / f"{k}.wav", noise(300, 3 * j + k), RATE_HZ)
        data = WaveData(path=str(tmp_path / f"{i}"))
        data.prepare()
        told.append(data.fingerprint("train"))
    assert len(set(told)) == 3
