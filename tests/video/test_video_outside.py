"""Clips that mean harm, or were damaged: named in one line before they take memory, or left out where that is wished;
and what is known again of the same clips elsewhere."""

import io
import os
import shutil
import struct
import tracemalloc
import zipfile
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from genzoo.errors import UserError
from genzoo_video import files
from genzoo_video.data import VideoData
from genzoo_video.files import read_video
from genzoo_video.sources import find_videos


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder of the test's own."""
    monkeypatch.setenv("GENZOO_CACHE", str(tmp_path / "cache"))


def gif(width: int, height: int, end: int | None = None) -> bytes:
    """Two frames of 8 x 8 on a screen of another size; the first `end` bytes of it."""
    made, (first, second) = io.BytesIO(), (Image.new("P", (8, 8), i) for i in range(2))
    first.save(made, "GIF", save_all=True, append_images=[second], duration=100)
    content = bytearray(made.getvalue())
    content[6:10] = struct.pack("<HH", width, height)
    return bytes(content[:end])


def png(width: int, height: int) -> bytes:
    """The header of a picture, and little behind it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def npy(shape: str) -> bytes:
    words = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}".encode()
    words += b" " * (-(len(words) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(words)) + words


def npz(content: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("x.npy", content)
    return made.getvalue()


def film(file: Path, size: int = 64) -> Path:
    with av.open(str(file), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(12))
        stream.height, stream.width, stream.pix_fmt = size, size, "yuv420p"
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((size, size, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file


BOMBS = {
    "wide.gif": (gif(4000, 4000), "claims to hold 64 MB, and data.max_mb is 4"),
    "wider.gif": (gif(60000, 60000), "is not a picture, or is damaged"),
    "cut.gif": (gif(8, 8, -40), "is (cut short|not a picture|damaged)"),
    "zeros.npz": (npz(npy("(1, 9, 1000, 1000)") + bytes(9_000_000)), "claims to hold 9 MB"),
    "zeros.npy": (npz(npy("(1, 9, 1000, 1000)") + bytes(9_000_000)), "claims to hold 9 MB"),
    "clips.npz": (npz(npy("(100000, 3, 2, 2)") + bytes(1_200_000)), "claims to hold 100 MB"),
    "shape.npy": (npy("(1000000, 20, 1000, 1000)"), "is not an array, or is damaged"),
    "header.npy": (b"\x93NUMPY\x01\x00\x0a\x00{'descr':(", "is not an array, or is damaged"),
    "list.mp4": (b"ffconcat version 1.0\nfile good.mp4\n", "is not a video, or is damaged"),
    "playlist.mp4": (b"#EXTM3U\n#EXTINF:1,\ngood.mp4\n#EXT-X-ENDLIST\n", "is not a video, or is damaged"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(tmp_path, name, capsys):
    """Refused by name, with a few MB of memory; left out, where that is wished, and the others are read."""
    folder = tmp_path / "x"
    folder.mkdir()
    content, said = BOMBS[name]
    (folder / name).write_bytes(content)
    film(folder / "good.mp4")
    np.save(folder / "whole.npy", np.zeros((3, 8, 8), np.uint8))
    tracemalloc.start()
    with pytest.raises(UserError, match=rf"{name} {said}") as error:
        find_videos(str(folder), max_mb=4, size=(8, 8))
    peak_mb = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    assert peak_mb < 4
    assert "\n" not in str(error.value)
    assert find_videos(str(folder), max_mb=4, size=(8, 8), on_error="skip").names == ["good.mp4", "whole.npy"]
    assert f"skipped: {name} " in capsys.readouterr().err
    with pytest.raises(UserError, match=f"context=.*{name}"):
        read_video(folder / name, max_mb=4)


@pytest.mark.parametrize(("side", "said"), [(4000, "claims to hold 64 MB"), (500, "is damaged or cut short after 0")])
def test_bombs_among_pictures(tmp_path, side, said):
    """The same of a folder of frames."""
    Image.new("L", (8, 8)).save(tmp_path / "1.png")
    (tmp_path / "2.png").write_bytes(png(side, side))
    with pytest.raises(UserError, match=f"has a frame, 2.png, which {said}"):
        read_video(tmp_path, max_mb=4)


def test_every_gif_that_was_cut(tmp_path):
    """Is read or named, wherever it ends."""
    whole = gif(8, 8)
    for end in range(len(whole) - 1, 0, -7):
        (tmp_path / "a.gif").write_bytes(whole[:end])
        try:
            assert read_video(tmp_path / "a.gif")[0].shape[1:] == (8, 8, 1)
        except UserError as error:
            assert str(error).startswith(f"context={tmp_path / 'a.gif'} is ")  # noqa: PT017


def test_frames_larger_than_their_film(tmp_path, monkeypatch):
    """The decoder itself stops, where a film's header says that its frames are small."""
    file = film(tmp_path / "a.mp4", 64)
    assert len(read_video(file, max_mb=0.02)[0]) == 3
    with pytest.raises(UserError, match=r"a.mp4 claims to hold"):
        read_video(file, max_mb=0.01)
    monkeypatch.setattr(files, "judge", lambda *_: None)
    with pytest.raises(UserError, match=r"a.mp4 is damaged or cut short after 0 frames"):
        read_video(file, max_mb=0.01)


@pytest.mark.parametrize("error", [IndexError("x"), RecursionError(), MemoryError(), struct.error("x"), KeyError("x")])
def test_whatever_is_raised(tmp_path, monkeypatch, error):
    """By any library, for any reason, at a frame of any number."""

    def fails(picture: object) -> None:
        raise error

    monkeypatch.setattr(files, "on_black", fails)
    (tmp_path / "a.gif").write_bytes(gif(8, 8))
    np.save(tmp_path / "whole.npy", np.zeros((2, 3, 8, 8), np.uint8))
    with pytest.raises(UserError, match=r"a.gif is damaged or cut short after 0 frames \(.+\) \(data.on_error=skip"):
        find_videos(str(tmp_path), size=(8, 8))
    assert find_videos(str(tmp_path), size=(8, 8), on_error="skip").names == ["whole.npy[0]", "whole.npy[1]"]


def test_what_is_no_file(tmp_path):
    """Pipes, devices, loops, names that no file can have: at once, in one line; in a folder they are passed over."""
    (tmp_path / "x").mkdir()
    os.mkfifo(tmp_path / "x" / "a.mp4")
    (tmp_path / "x" / "b.mp4").symlink_to("b.mp4")
    for path in (str(tmp_path / "x" / "a.mp4"), "/dev/zero"):
        with pytest.raises(UserError, match=f"data.path={path} is a pipe or a device"):
            find_videos(path)
        with pytest.raises(UserError, match=f"context={path} is a pipe or a device"):
            read_video(path)
    for path in (str(tmp_path / "x" / "b.mp4"), "x" * 5000, "~nobody-of-this-name/x", "a\0b"):
        with pytest.raises(UserError, match=r"data.path=(?s:.)*: there is no such file or folder"):
            find_videos(path)
        with pytest.raises(UserError, match="context="):
            read_video(path)
    with pytest.raises(UserError, match="the folder holds no"):
        find_videos(str(tmp_path / "x"))


def test_rates_that_cannot_be():
    """A film that says it shows 90,000 frames a second, or one in a month, says nothing."""
    assert files.believed(24.0) == 24.0
    assert [files.believed(rate) for rate in (None, 0.0, 1e-7, 90_000.0, float("nan"))] == [None] * 5


def prepared(path: Path) -> VideoData:
    data = VideoData(path=str(path), frames=3, known=1, size=[8, 8], val_fraction=0.4)
    data.prepare()
    return data


@pytest.mark.parametrize("lone", [False, True])
def test_known_again(tmp_path, lone):
    """Moved, copied, renamed and touched, clips give the same batches and are said to be the same; where one value of
    one frame is another they are not, also where its size and its time stay as they were."""
    folder = tmp_path / "first"
    for i, label in enumerate("aabb"):
        (folder / label).mkdir(parents=True, exist_ok=True)
        np.save(folder / label / f"{i}.npy", np.random.default_rng(i).integers(0, 255, (12, 8, 8), dtype=np.uint8))
    data = prepared(folder / "a" / "0.npy" if lone else folder)
    prints = [data.fingerprint(split) for split in ("train", "val")]
    assert prints[0] != prints[1]
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "a" / "0.npy").rename(tmp_path / "copy" / "a" / "00.npy")
    moved = folder.rename(tmp_path / "moved")
    for place, name in ((moved, "0.npy"), (tmp_path / "copy", "00.npy")):
        again = prepared(place / "a" / name if lone else place)
        assert [again.fingerprint(split) for split in ("train", "val")] == prints
        for split in ("train", "val"):
            one, two = data.batch(3, 5, split), again.batch(3, 5, split)
            assert torch.equal(one.x, two.x)
            assert all(torch.equal(one.cond[name], two.cond[name]) for name in one.cond)
    file, state = moved / "a" / "0.npy", (moved / "a" / "0.npy").stat()
    content = bytearray(file.read_bytes())
    content[-70] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    after = prepared(file if lone else moved)
    assert [after.fingerprint(split) for split in ("train", "val")] != prints


def test_states_of_strangers():
    """What is no state of clips is refused when it is loaded, not at the first sample."""
    state = {"size": [8, 8, 1], "frames": 4, "classes": ["a"], "fps": 8.0, "known": 2, "space": {"kind": "pixels"}}
    data = VideoData(frames=4)
    data.load_state_dict(state)
    assert data.state_dict() == state
    for key, values in {
        "size": ([8, 8], [8, 8, -1], "8x8", None),
        "classes": (None, "ab", [1]),
        "fps": (0.0, float("nan"), "8"),
        "known": (-1, 1.5),
    }.items():
        for value in values:
            with pytest.raises(ValueError, match=key):
                data.load_state_dict({**state, key: value})
    for odd in ({}, [], "fps", None):
        with pytest.raises(UserError, match="this checkpoint is not one of clips"):
            data.load_state_dict(odd)
