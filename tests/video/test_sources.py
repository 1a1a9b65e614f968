"""Videos from folders, arrays and lone films: labels and splits, broken ones, and what is kept for the next time."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import genzoo_video.scan
from genzoo.errors import UserError
from genzoo_video.files import STILL_FPS
from genzoo_video.scan import FRAMES
from genzoo_video.sources import Videos, find_videos

SIZE = (16, 24)


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


def noise(name: str, count: int, size: tuple[int, int] = SIZE, channels: int = 1) -> np.ndarray:
    """uint8 [T, H, W, C] that depends on the name."""
    rng = np.random.default_rng(list(name.encode()))
    return rng.integers(0, 256, (count, *size, channels), dtype=np.uint8)


def clip(file: Path, count: int = 5, size: tuple[int, int] = SIZE, rate: int = 12) -> np.ndarray:
    """Writes frames without loss: an AVI file, a GIF of gray frames, or a folder of pictures; returns them."""
    frames = noise(file.name, count, size)
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".avi":
        with av.open(str(file), "w") as container:
            stream = container.add_stream("ffv1", rate=Fraction(rate))
            stream.height, stream.width, stream.pix_fmt = *size, "gray"
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame[..., 0], format="gray")))
            container.mux(stream.encode(None))
    elif file.suffix == ".gif":
        first, *others = (Image.fromarray(frame[..., 0]) for frame in frames)
        first.save(file, save_all=True, append_images=others, duration=1000 // rate)
    else:
        file.mkdir()
        for i, frame in enumerate(frames):
            Image.fromarray(frame[..., 0]).save(file / f"{i}.png")
    return frames


def val_names(videos: Videos) -> list[str]:
    return [name for name, val in zip(videos.names, (videos.split == "val"), strict=True) if val]


class TestFind:
    def test_folder(self, folder, cache, capsys):
        """Films, moving pictures, folders of frames and arrays, in the order of names, every bit as in the files; what
        is hidden, notes, and a picture beside them are none."""
        due = {name: clip(folder / name, 3 + i) for i, name in enumerate(("d", "b.avi", "a.gif"))}
        np.save(folder / "c.npy", noise("c", 3)[..., 0][None])
        clip(folder / ".hidden.avi")
        clip(folder / ".folder/a.avi")
        (folder / "notes.txt").write_text("notes")
        Image.new("L", (8, 8)).save(folder / "cover.jpg")
        videos = find_videos(str(folder), val_match="b.*")
        assert "1 pictures beside clips are passed over; the first: cover.jpg" in capsys.readouterr().err
        assert videos.names == ["a.gif", "b.avi", "c.npy", "d"]
        assert (len(videos), videos.labels, videos.classes) == (4, [""] * 4, [])
        assert (videos.split == "val").tolist() == [False, True, False, False]
        assert videos.starts.tolist() == [0, 5, 9, 12, 15]
        assert isinstance(videos.frames, np.memmap)
        assert (videos.frames.shape, videos.frames.dtype) == ((15, *SIZE, 1), np.uint8)
        due["c.npy"] = noise("c", 3)
        for i, name in enumerate(videos.names):
            assert np.array_equal(videos.clip(i), due[name]), name
        assert [path.parent for path in cache.rglob(FRAMES)] == [*cache.iterdir()]

    def test_order_of_frames(self, folder):
        """Of ten and more pictures in a folder, 2 comes before 10."""
        frames = clip(folder / "a", 12)
        clip(folder / "b", 12)
        assert np.array_equal(find_videos(str(folder)).clip(0), frames)

    def test_pictures_of_pictures(self, folder, capsys):
        """Pictures above folders of frames are no frames."""
        for name in ("walk/a", "walk/b", "run/c"):
            clip(folder / name)
        for name in ("all.png", "walk/thumb.png"):
            Image.new("L", (8, 8)).save(folder / name)
        videos = find_videos(str(folder))
        assert (videos.names, videos.classes) == (["run/c", "walk/a", "walk/b"], ["run", "walk"])
        assert "2 pictures beside clips are passed over; the first: all.png" in capsys.readouterr().err

    def test_sizes(self, folder):
        """That of most files, of several the largest, sides rounded down to a multiple of 8, or what is asked for."""
        for name, size in (("a.avi", (16, 24)), ("b.avi", (35, 47)), ("c", (35, 47)), ("d.gif", (64, 64))):
            clip(folder / name, size=size)
        assert find_videos(str(folder)).frames.shape == (20, 32, 40, 1)
        assert find_videos(str(folder), size=[10, 14], colour="rgb").frames.shape == (20, 10, 14, 3)
        for file in (folder / "c").iterdir():
            file.unlink()
        assert find_videos(str(folder)).frames.shape[1:3] == (64, 64)

    def test_rates(self, folder, capsys):
        """That of most; others are told once, and read frame by frame. A stride divides it; pictures have none."""
        for name, rate in (("a.avi", 25), ("b.avi", 10), ("c.avi", 25), ("d", 0)):
            clip(folder / name, 6, rate=rate)
        videos = find_videos(str(folder), least=3, stride=2)
        assert videos.fps == 12.5
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "1 of 4 clips do not have 12.5 frames a second but 5: taken frame by frame" in said
        assert np.diff(videos.starts).tolist() == [3] * 4
        assert np.array_equal(videos.clip(0), noise("a.avi", 6)[::2])
        for name in "abc":
            (folder / f"{name}.avi").unlink()
        clip(folder / "e")
        assert find_videos(str(folder)).fps == STILL_FPS
        assert capsys.readouterr().err == ""

    @pytest.mark.parametrize(
        ("path", "options", "message"),
        [
            ("", {}, "data.path is empty: give a file, a folder, or moving_mnist"),
            ("nowhere", {}, "there is no such file or folder .*moving_mnist"),
            (".", {}, "the folder holds no .mp4, "),
            ("a.txt", {}, "known endings are .mp4"),
            (".", {"on_error": "ignore"}, "data.on_error is stop or skip, not 'ignore'"),
            (".", {"val_fraction": 0}, "data.val_fraction lies above 0"),
            (".", {"val_frames": 0}, "data.val_frames is at least 1"),
            (".", {"size": [0, 8]}, "data.size is height and width"),
            (".", {"colour": "grey"}, "data.colour is gray or rgb"),
            (".", {"fit": "fill"}, "data.fit is crop, pad or stretch"),
            (".", {"stride": 0}, "data.stride is at least 1"),
        ],
    )
    def test_refused(self, folder, monkeypatch, path, options, message):
        """In one line."""
        (folder / "a.txt").write_text("text")
        monkeypatch.chdir(folder)
        with pytest.raises(UserError, match=message) as error:
            find_videos(path, **options)
        assert "\n" not in str(error.value)


class TestLoneClip:
    @pytest.mark.parametrize("form", ["file", "folder", "frames"])
    def test_cut_in_time(self, folder, form):
        """Its end validates, whatever form it has: a share of it, or so many frames."""
        name = "rain" if form == "frames" else "rain.avi"
        frames = clip(folder / name, 92)
        path = str(folder if form == "folder" else folder / name)
        videos = find_videos(path, val_frames=22)
        assert (videos.names, (videos.split == "val").tolist()) == ([f"{name}[0:70]", f"{name}[70:92]"], [False, True])
        assert videos.starts.tolist() == [0, 70, 92]
        assert np.array_equal(videos.frames, frames)
        assert np.array_equal(videos.clip(1), frames[70:])
        assert find_videos(path, val_fraction=0.25).names == [f"{name}[0:69]", f"{name}[69:92]"]
        assert (find_videos(path, val_fraction=0.25, val_match="*.gif").split == "val").tolist() == [False, True]
        whole = find_videos(path, val_fraction=1)
        assert (whole.names, (whole.split == "val").tolist()) == ([name], [True])

    def test_too_short(self, folder):
        """Each part must be as long as an example; the line says how long they are."""
        clip(folder / "a.avi", 20)
        assert find_videos(str(folder), least=10, val_frames=10).starts.tolist() == [0, 10, 20]
        with pytest.raises(
            UserError, match="one clip of 20 frames, cut into 9 to train and 11 to validate, and 10 of each are needed"
        ):
            find_videos(str(folder), least=10, val_frames=11)

    def test_of_several(self, folder):
        """Frames of which clip? Refused."""
        clip(folder / "a.avi")
        clip(folder / "b.avi")
        with pytest.raises(UserError, match=r"data.val_frames=2 cuts a lone clip, and data.path=.* holds 2"):
            find_videos(str(folder), val_frames=2)


class TestLabels:
    @pytest.mark.parametrize("suffix", [".avi", ""])
    def test_folders(self, folder, suffix):
        """The first folder, of films and of folders of frames; numbers in their order. Beside one, a clip without a
        folder is broken."""
        for name in ("10/a", "10/b", "9/deep/er/c", "9/d"):
            clip(folder / f"{name}{suffix}")
        videos = find_videos(str(folder))
        assert videos.names == [f"{name}{suffix}" for name in ("10/a", "10/b", "9/d", "9/deep/er/c")]
        assert (videos.labels, videos.classes) == (["10", "10", "9", "9"], ["9", "10"])
        assert sorted(Path(name).parts[0] for name in val_names(videos)) == ["10", "9"]
        clip(folder / f"e{suffix}")
        with pytest.raises(UserError, match=rf"e{suffix} lies in no folder.*on_error=skip"):
            find_videos(str(folder))
        assert find_videos(str(folder), on_error="skip").names == videos.names

    @pytest.mark.parametrize("suffix", [".avi", ""])
    @pytest.mark.parametrize("form", ["{label}/{split}/{name}", "{split}/{label}/{name}"])
    def test_splits(self, folder, form, suffix):
        """Below the labels or above them; where there are three, they are what they say."""
        for i, (label, split) in enumerate((a, b) for a in ("yes", "no") for b in ("train", "valid", "test")):
            clip(folder / form.format(label=label, split=split, name=f"{i}{suffix}"))
        videos = find_videos(str(folder))
        told = zip(videos.names, videos.labels, videos.split, strict=True)
        assert {Path(name).stem: (label, split) for name, label, split in told} == {
            "0": ("yes", "train"),
            "1": ("yes", "val"),
            "2": ("yes", "test"),
            "3": ("no", "train"),
            "4": ("no", "val"),
            "5": ("no", "test"),
        }
        with pytest.raises(UserError, match="has a split of its own: data.val_match=.* must be null"):
            find_videos(str(folder), val_match="0*")

    @pytest.mark.parametrize("name", ["{}/a.avi", "{}/a", "{}"])
    def test_splits_without_labels(self, folder, name):
        """train/ and val/ alone, also where each is one clip of frames."""
        for split in ("train", "val"):
            clip(folder / name.format(split))
        videos = find_videos(str(folder))
        assert (videos.labels, videos.classes, (videos.split == "val").tolist()) == (["", ""], [], [False, True])

    def test_match(self, folder):
        """By the names of files; all or none is refused."""
        for name in ("a_0.avi", "a_1.avi", "b_0", "b_1"):
            clip(folder / name)
        assert val_names(find_videos(str(folder), val_match="*_0*")) == ["a_0.avi", "b_0"]
        for val_match in ("*.mp4", "*"):
            with pytest.raises(UserError, match=r"none is for (train|val): set data.val_match so that it matches some"):
                find_videos(str(folder), val_match=val_match)

    def test_share(self, folder):
        """As many of each label, others by another seed."""
        for label in "ab":
            for i in range(8):
                clip(folder / f"{label}/{i}.avi", 2, (8, 8))
        videos = find_videos(str(folder), val_fraction=0.25)
        assert [name[0] for name in val_names(videos)] == ["a", "a", "b", "b"]
        assert val_names(find_videos(str(folder), val_fraction=0.25)) == val_names(videos)
        assert any(val_names(find_videos(str(folder), val_fraction=0.25, seed=s)) != val_names(videos) for s in (1, 2))


class TestArrays:
    @pytest.mark.parametrize("suffix", ["npy", "npz"])
    @pytest.mark.parametrize("channels", [0, 1, 3])
    def test_many(self, folder, suffix, channels):
        """[N, T, H, W] and [N, T, H, W, C]: a clip each, every bit as it was, gray ones as RGB too."""
        x = np.stack([noise(str(i), 4, (8, 16), channels or 1) for i in range(5)])
        given = x if channels else x[..., 0]
        np.save(folder / "x.npy", given) if suffix == "npy" else np.savez(folder / "x.npz", given)
        videos = find_videos(str(folder / f"x.{suffix}"), colour="rgb" if channels == 3 else "gray")
        assert videos.names == [f"x.{suffix}[{i}]" for i in range(5)]
        assert np.array_equal(videos.frames.reshape(x.shape), x)
        assert (videos.fps, (videos.split == "val").sum()) == (STILL_FPS, 1)
        if channels != 3:
            rgb = find_videos(str(folder / f"x.{suffix}"), colour="rgb")
            assert np.array_equal(rgb.frames, x.reshape(-1, 8, 16, 1).repeat(3, axis=-1))

    def test_one(self, folder):
        """[T, H, W] and [T, H, W, 3] are one clip."""
        for name, x in (("a", noise("a", 9)[..., 0]), ("b", noise("b", 9, channels=3))):
            np.save(folder / f"{name}.npy", x)
        assert find_videos(str(folder)).starts.tolist() == [0, 9, 18]

    def test_labels(self, folder):
        """Beside the videos in an NPZ."""
        x = np.stack([noise(str(i), 4, (8, 8))[..., 0] for i in range(4)])
        np.savez(folder / "x.npz", frames=x, labels=np.array([10, 2, 10, 2]))
        videos = find_videos(str(folder))
        assert (videos.labels, videos.classes) == (["10", "2", "10", "2"], ["2", "10"])

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"x": np.zeros((2, 3, 8, 8), np.float32)}, r"is float32 \[2, 3, 8, 8\]: give uint8 \[N, T, H, W\]"),
            ({"x": np.zeros((8, 8), np.uint8)}, r"is uint8 \[8, 8\]"),
            ({"x": np.zeros((2, 3, 8, 8, 4), np.uint8)}, r"is uint8 \[2, 3, 8, 8, 4\]"),
            ({"x": np.zeros((0, 3, 8, 8), np.uint8)}, r"is uint8 \[0, 3, 8, 8\]"),
            ({"x": np.zeros((2, 3, 8, 8), np.uint8), "y": np.zeros(2)}, "holds the arrays x, y: give one of videos"),
            ({"x": np.zeros((2, 3, 8, 8), np.uint8), "labels": np.zeros(3)}, "has 3 labels for 2 videos"),
            ({"x": np.array([{}])}, "is not an array, or is damaged"),
        ],
    )
    def test_refused(self, folder, arrays, message):
        """By name and shape; what would have to be unpickled is no array."""
        np.savez(folder / "x.npz", **arrays)
        with pytest.raises(UserError, match=rf"x.npz {message}"):
            find_videos(str(folder))

    def test_moving_mnist(self, cache, capsys):
        """Frames come first in it; here a small one in place of a download."""
        x = np.stack([noise(str(i), 20, (64, 64))[..., 0] for i in range(10)])
        cache.mkdir()
        np.save(cache / "moving_mnist.npy", x.swapaxes(0, 1))
        videos = find_videos("moving_mnist")
        assert (len(videos), videos.names[3], (videos.split == "val").sum()) == (10, "moving_mnist[3]", 1)
        assert np.array_equal(videos.clip(3)[..., 0], x[3])
        assert find_videos("Moving_MNIST", val_fraction=1, stride=2).starts.tolist() == [*range(0, 101, 10)]
        assert capsys.readouterr().err == ""


class TestBroken:
    def junk(self, folder: Path) -> None:
        for name in ("a.avi", "b.avi", "c"):
            clip(folder / name)
        (folder / "empty.mp4").write_bytes(b"")
        (folder / "text.mp4").write_bytes(b"only words\n" * 50)
        clip(folder / "short.avi", 2)
        whole = clip(folder / "torn.avi", 9)
        assert len(whole) == 9
        content = (folder / "torn.avi").read_bytes()
        (folder / "torn.avi").write_bytes(content[: len(content) * 2 // 3])

    def test_stop(self, folder, cache):
        """At the first, by name, with the mend; nothing is kept half done."""
        self.junk(folder)
        with pytest.raises(UserError, match=r"empty.mp4 is empty \(data.on_error=skip leaves it out\)"):
            find_videos(str(folder))
        assert not [path for path in cache.iterdir() if path.name.startswith(".")]

    def test_skip(self, folder, capsys):
        """Each is told with its reason, and how many they are; the second time as well. Of what could be read of them
        nothing is left."""
        self.junk(folder)
        for _ in range(2):
            videos = find_videos(str(folder), on_error="skip", least=3, size=SIZE)
            assert videos.names == ["a.avi", "b.avi", "c"]
            assert np.array_equal(videos.frames, np.concatenate([noise(name, 5) for name in videos.names]))
            said = capsys.readouterr().err.splitlines()
            assert [line.split(" ")[:2] for line in said[:-1]] == [
                ["skipped:", name] for name in ("empty.mp4", "short.avi", "text.mp4", "torn.avi")
            ]
            assert "short.avi has 2 frames, and 3 are needed: give longer clips, or ask for less" in said[1]
            assert said[-1] == "4 of 7 files are left out"

    def test_short_by_stride(self, folder):
        """Frames that are left out do not count."""
        clip(folder / "a.avi", 9)
        clip(folder / "b.avi", 8)
        with pytest.raises(UserError, match="b.avi has 2 frames at stride 4, and 3 are needed"):
            find_videos(str(folder), least=3, stride=4)

    def test_long(self, folder):
        """Longer than max_frames."""
        clip(folder / "a.avi", 5)
        clip(folder / "b.avi", 6)
        with pytest.raises(UserError, match="b.avi has more than 5 frames, which is max_frames"):
            find_videos(str(folder), max_frames=5)

    def test_nothing_left(self, folder):
        """Where all are broken, skipping is no way out."""
        (folder / "a.mp4").write_bytes(b"")
        with pytest.raises(UserError, match="no clip can be used, 1 are broken; the first: a.mp4 is empty"):
            find_videos(str(folder), on_error="skip")


class TestKept:
    @pytest.fixture
    def clips(self, folder: Path) -> str:
        for name in ("a.avi", "b.gif", "c", "d.avi"):
            clip(folder / name)
        return str(folder)

    def same(self, a: Videos, b: Videos) -> bool:
        arrays = all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("frames", "starts", "split"))
        return arrays and all(getattr(a, name) == getattr(b, name) for name in ("names", "labels", "classes", "fps"))

    def test_second_time(self, clips, cache, monkeypatch):
        """Equal in every bit, and nothing is decoded, not for another split either; damaged, it is made anew."""
        first = find_videos(clips)
        (kept,) = cache.iterdir()
        with monkeypatch.context() as patch:
            patch.setattr(genzoo_video.scan, "opened", lambda file, *_: pytest.fail(f"{file} was read"))
            patch.setattr(genzoo_video.scan, "about", lambda file, *_: pytest.fail(f"{file} was read"))
            assert self.same(first, find_videos(clips))
            assert (find_videos(clips, val_match="a*").split == "val").sum() == 1
        for file in kept.iterdir():
            whole = file.read_bytes()
            for damaged in (b"", whole[: len(whole) // 2]):
                file.write_bytes(damaged)
                assert self.same(first, find_videos(clips))
                assert [*cache.iterdir()] == [kept]
                assert file.read_bytes() == whole

    @pytest.mark.parametrize(
        "options", [{"size": (8, 8)}, {"colour": "rgb"}, {"fit": "pad"}, {"stride": 2}, {"least": 3}, {"max_frames": 9}]
    )
    def test_what_else_is_asked_for(self, clips, cache, options):
        """Is decoded for itself."""
        find_videos(clips)
        find_videos(clips, **options)
        assert len([*cache.iterdir()]) == 2

    def test_other_files(self, clips, folder):
        """A film that was written anew is read again, and a folder of frames to which one was added."""
        before = find_videos(clips)
        due = clip(folder / "a.avi", 7)
        Image.fromarray(noise("new", 1)[0, ..., 0]).save(folder / "c/5.png")
        after = find_videos(clips)
        assert np.array_equal(after.clip(0), due)
        assert np.array_equal(after.clip(1), before.clip(1))
        assert np.array_equal(after.clip(2), np.concatenate((before.clip(2), noise("new", 1))))

    def test_no_place_to_keep(self, clips, cache):
        """A cache folder that cannot be made is no error: the frames are held in memory."""
        kept = find_videos(clips)
        cache.rename(cache.with_name("elsewhere"))
        cache.write_text("a file where the folder should be")
        assert self.same(kept, find_videos(clips))

    def test_full_disk(self, clips, cache, monkeypatch):
        """One line with the mend, and nothing stays behind."""

        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("genzoo_video.scan.json.dumps", full)
        with pytest.raises(UserError, match=r"cannot hold the frames .*No space left.*set GENZOO_CACHE"):
            find_videos(clips)
        assert not [*cache.iterdir()]

    def test_one_frame_at_a_time(self, folder, cache, monkeypatch):
        """A frame is on the disk, but for what the file buffers, before the next one is decoded."""
        frames, on_disk, real = clip(folder / "a.avi", 20, (128, 256)), [], genzoo_video.scan.fitted

        def watched(*words: object) -> Iterator[np.ndarray]:
            for frame in real(*words):
                yield frame
                on_disk.extend(file.stat().st_size for file in cache.rglob(FRAMES))

        monkeypatch.setattr(genzoo_video.scan, "fitted", watched)
        assert np.array_equal(find_videos(str(folder)).frames, frames)
        assert on_disk == [(i + 1) * 128 * 256 for i in range(20)]
