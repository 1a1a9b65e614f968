"""Films, pictures and folders of pictures: their frames, sizes and rates, and what is wrong with them."""

import struct
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from genzoo.errors import UserError
from genzoo_video.files import STILL_FPS, about, natural, opened, pictures_of, read_video

RATE = Fraction(12)
CODECS = {
    ".mp4": "libx264",
    ".mov": "libx264",
    ".m4v": "libx264",
    ".mkv": "libx264",
    ".avi": "mpeg4",
    ".webm": "libvpx",
}
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def film(
    file: Path, frames: np.ndarray, *, codec: str | None = None, rate: Fraction = RATE, pix_fmt: str = "yuv420p"
) -> Path:
    """Frames uint8 [T, H, W, 3] as a film, the index first where there is one."""
    options = {"movflags": "faststart"} if file.suffix in (".mp4", ".mov", ".m4v") else {}
    with av.open(str(file), "w", options=options) as container:
        stream = container.add_stream(codec or CODECS[file.suffix], rate=rate)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pix_fmt
        stream.bit_rate = 4_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return file


def steps(count: int, high: int = 32, wide: int = 48) -> np.ndarray:
    """uint8 [T, H, W, 3]: frame i is all of gray 10 + 8 i."""
    return np.broadcast_to((10 + 8 * np.arange(count, dtype=np.uint8))[:, None, None, None], (count, high, wide, 3))


def noise(count: int, high: int = 32, wide: int = 48) -> np.ndarray:
    """uint8 [T, H, W, 3]: squares of 8 pixels that change with every frame."""
    squares = np.random.default_rng(0).integers(0, 256, (count, high // 8, wide // 8, 3), dtype=np.uint8)
    return squares.repeat(8, axis=1).repeat(8, axis=2)


def save(file: Path, pixels: np.ndarray) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)
    return file


class TestFilms:
    @pytest.mark.parametrize("suffix", CODECS)
    def test_frames_in_order(self, tmp_path, suffix):
        """Every frame once, in its order, of its gray within what the codec loses, at the film's rate."""
        x, fps = read_video(film(tmp_path / f"a{suffix}", steps(20)))
        assert (x.shape, x.dtype) == ((20, 32, 48, 1), np.uint8)
        assert abs(x - steps(20)[..., :1].astype(float)).max() <= 3
        assert fps == 12

    def test_without_loss(self, tmp_path):
        """Of a film that loses nothing every bit comes back."""
        frames = noise(5)
        x, _ = read_video(film(tmp_path / "a.avi", frames, codec="ffv1", pix_fmt="bgr0"), colour="rgb")
        assert np.array_equal(x, frames)

    @pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001)])
    def test_rate(self, tmp_path, rate):
        """Also one that is no whole number; with a stride it is divided."""
        file = film(tmp_path / "a.mp4", steps(10), rate=rate)
        assert read_video(file)[1] == pytest.approx(float(rate))
        x, fps = read_video(file, stride=4)
        assert fps == pytest.approx(float(rate) / 4)
        assert abs(x[:, 0, 0, 0].astype(int) - (10, 42, 74)).max() <= 3

    @pytest.mark.parametrize(
        ("matrix", "corner"),
        [
            ((1, 0, 0, 1), "top left"),
            ((0, 1, -1, 0), "top right"),
            ((-1, 0, 0, -1), "bottom right"),
            ((0, -1, 1, 0), "bottom left"),
        ],
    )
    def test_turned(self, tmp_path, matrix, corner):
        """A telephone held upright writes a matrix (a, b, c, d): x' = a x + c y, y' = b x + d y (ISO 14496-12). A spot
        in the upper left goes where it says, and the sides change with it."""
        frames = np.zeros((3, 32, 48, 3), np.uint8)
        frames[:, :8, :8] = 255
        content = film(tmp_path / "a.mp4", frames).read_bytes()
        was, a, b, c, d = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30), *(65536 * i for i in matrix)
        place = content.index(was, content.index(b"tkhd"))
        now = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
        (tmp_path / "a.mp4").write_bytes(content[:place] + now + content[place + len(was) :])
        x = read_video(tmp_path / "a.mp4")[0][0, ..., 0]
        assert x.shape == ((48, 32) if matrix[0] == 0 else (32, 48))
        rows, columns = {"top": slice(8), "bottom": slice(-8, None)}, {"left": slice(8), "right": slice(-8, None)}
        down, across = corner.split()
        assert x[rows[down], columns[across]].min() > 200
        assert (x > 128).mean() == pytest.approx(64 / (32 * 48), abs=0.02)

    def test_sound_beside(self, tmp_path):
        """A film with sound is read; one of sound alone is told apart from junk."""
        for video in (True, False):
            with av.open(str(tmp_path / "a.mkv"), "w") as container:
                sound = container.add_stream("pcm_s16le", rate=8000)
                if video:
                    stream = container.add_stream("mpeg4", rate=RATE)
                    stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
                    for frame in steps(6):
                        container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
                    container.mux(stream.encode(None))
                wave = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
                wave.sample_rate = 8000
                container.mux(sound.encode(wave))
                container.mux(sound.encode(None))
            if video:
                assert len(read_video(tmp_path / "a.mkv")[0]) == 6
        with pytest.raises(UserError, match=r"a.mkv holds no video: it has sound only"):
            read_video(tmp_path / "a.mkv")


class TestSize:
    @pytest.fixture
    def striped(self, tmp_path: Path) -> Path:
        """24 x 48: a red, a green and a blue third of the width."""
        pixels = np.concatenate([np.full((24, 16, 3), c, np.uint8) for c in (RED, GREEN, BLUE)], axis=1)
        return save(tmp_path / "a.png", pixels)

    def test_crop(self, striped):
        """The middle of the longer side is kept, the same on either side; here the green and 4 of 16 beside it."""
        x, _ = read_video(striped, size=(24, 24), colour="rgb")
        assert x.shape == (1, 24, 24, 3)
        wanted = [RED] * 4 + [GREEN] * 16 + [BLUE] * 4
        assert np.array_equal(x[0], np.broadcast_to(np.array(wanted, np.uint8), (24, 24, 3)))
        small, _ = read_video(striped, size=(12, 12), colour="rgb")
        assert np.array_equal(small, x[:, ::2, ::2]), "of 2 x 2 pixels of one colour the mean is that colour"

    def test_pad(self, striped):
        """Black above and below, nothing is lost."""
        x, _ = read_video(striped, size=(24, 24), colour="rgb", fit="pad")
        assert not x[0, :6].any()
        assert not x[0, 18:].any()
        wanted = [RED] * 8 + [GREEN] * 8 + [BLUE] * 8
        assert np.array_equal(x[0, 6:18], np.broadcast_to(np.array(wanted, np.uint8), (12, 24, 3)))

    def test_stretch(self, striped):
        """All is there and nothing else, the sides change their ratio."""
        x, _ = read_video(striped, size=(24, 24), colour="rgb", fit="stretch")
        wanted = [RED] * 8 + [GREEN] * 8 + [BLUE] * 8
        assert np.array_equal(x[0], np.broadcast_to(np.array(wanted, np.uint8), (24, 24, 3)))

    def test_area(self, tmp_path):
        """A pixel of fewer is the mean over its area, rounded, so that a fine chequer becomes gray, not black."""
        pixels = np.random.default_rng(0).integers(0, 256, (32, 48), dtype=np.uint8)
        x, _ = read_video(save(tmp_path / "a.png", pixels), size=(8, 12))
        assert abs(x[0, ..., 0] - pixels.reshape(8, 4, 12, 4).mean((1, 3))).max() <= 1
        chequer = (255 * (np.indices((32, 48)).sum(0) % 2)).astype(np.uint8)
        x, _ = read_video(save(tmp_path / "b.png", chequer), size=(16, 24))
        assert abs(x.astype(int) - 127.5).max() <= 1

    def test_enlarged(self, tmp_path):
        """Smoothly: between two neighbours lie their means, and nothing beyond them."""
        x, _ = read_video(save(tmp_path / "a.png", np.array([[0, 200]] * 2, np.uint8)), size=(8, 8))
        assert np.array_equal(x[0, :, :, 0], np.broadcast_to(x[0, 0, :, 0], (8, 8)))
        assert (np.diff(x[0, 0, :, 0].astype(int)) >= 0).all()
        assert (x.min(), x.max()) == (0, 200)

    def test_gray(self, tmp_path):
        """0.299 R + 0.587 G + 0.114 B, rounded."""
        pixels = np.array([[RED, GREEN, BLUE, (255, 255, 255), (10, 20, 30)]], np.uint8)
        x, _ = read_video(save(tmp_path / "a.png", pixels))
        assert x[0, 0, :, 0].tolist() == [76, 150, 29, 255, 18]

    def test_own_size(self, tmp_path):
        """That of the first frame, to which all others are brought."""
        save(tmp_path / "clip/1.png", np.full((8, 12, 3), 9, np.uint8))
        save(tmp_path / "clip/2.png", np.full((30, 30, 3), 7, np.uint8))
        x, _ = read_video(tmp_path / "clip")
        assert x.shape == (2, 8, 12, 1)
        assert (x[0].max(), x[1].min(), x[1].max()) == (9, 7, 7)
        assert about(tmp_path / "clip") == ((8, 12), None)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"size": (0, 8)}, "size is height and width in pixels"),
            ({"size": (8,)}, "size is height and width in pixels"),
            ({"colour": "grey"}, "colour is gray or rgb, not 'grey'"),
            ({"fit": "fill"}, "fit is crop, pad or stretch, not 'fill'"),
            ({"stride": 0}, "stride is at least 1, not 0"),
        ],
    )
    def test_refused(self, tmp_path, options, message):
        """In one line."""
        with pytest.raises(UserError, match=message):
            read_video(save(tmp_path / "a.png", np.zeros((8, 8), np.uint8)), **options)


class TestPictures:
    @pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
    def test_moving(self, tmp_path, suffix):
        """Frames in order, the rate from how long they are shown: 80 ms each are 12.5 a second."""
        first, *others = map(Image.fromarray, steps(6))
        exact = {"lossless": True} if suffix == "webp" else {}
        first.save(tmp_path / f"a.{suffix}", save_all=True, append_images=others, duration=80, **exact)
        x, fps = read_video(tmp_path / f"a.{suffix}")
        assert np.array_equal(x, steps(6)[..., :1])
        assert fps == 12.5

    @pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp"])
    def test_still(self, tmp_path, suffix):
        """One frame, at the rate of what has none."""
        file = tmp_path / f"a.{suffix}"
        Image.fromarray(noise(1)[0]).save(file, **({"lossless": True} if suffix == "webp" else {}))
        x, fps = read_video(file, colour="rgb")
        assert np.array_equal(x, noise(1))
        assert fps == STILL_FPS

    def test_camera(self, tmp_path):
        """A photo that says it lies on its side (EXIF orientation 6: turn it clockwise) is turned."""
        exif = Image.Exif()
        exif[0x0112] = 6
        pixels = np.zeros((16, 32), np.uint8)
        pixels[:8, :8] = 255
        Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif, quality=95)
        x = read_video(tmp_path / "a.jpg")[0][0, ..., 0]
        assert x.shape == (32, 16)
        assert x[:8, 8:].min() > 200

    def test_transparent(self, tmp_path):
        """Lies on black."""
        pixels = np.full((4, 4, 4), 200, np.uint8)
        pixels[:, :, 3] = (0, 255, 0, 255)
        x, _ = read_video(save(tmp_path / "a.png", pixels))
        assert x[0, 0, :, 0].tolist() == [0, 200, 0, 200]

    def test_folder(self, tmp_path):
        """One clip, 2 before 10 before 010b; hidden files and notes are no frames."""
        for i, frame in enumerate(steps(12)):
            save(tmp_path / f"clip/frame{i}.png", frame)
        save(tmp_path / "clip/.hidden.png", steps(1)[0])
        (tmp_path / "clip/notes.txt").write_text("notes")
        x, fps = read_video(tmp_path / "clip", stride=3)
        assert x[:, 0, 0, 0].tolist() == [10 + 8 * i for i in (0, 3, 6, 9)]
        assert fps == STILL_FPS / 3
        assert [file.name for file in pictures_of(tmp_path / "clip")] == [f"frame{i}.png" for i in range(12)]
        assert sorted(("10", "9", "a10", "a9", "", "a"), key=natural) == ["", "9", "10", "a", "a9", "a10"]


class TestBroken:
    @pytest.mark.parametrize("suffix", CODECS)
    @pytest.mark.parametrize("share", [0.4, 0.9])
    def test_cut_short(self, tmp_path, suffix, share):
        """A film that was copied in part is named, however its format tells what should be there."""
        content = film(tmp_path / f"a{suffix}", noise(40, 64, 64)).read_bytes()
        (tmp_path / f"a{suffix}").write_bytes(content[: int(share * len(content))])
        with pytest.raises(UserError, match=rf"a{suffix} .*cut short"):
            read_video(tmp_path / f"a{suffix}")

    def test_last_frame_cut(self, tmp_path):
        """Also where the decoder makes a picture of what is left of it, and says nothing."""
        content = film(tmp_path / "a.mov", noise(6, 64, 64), codec="mjpeg", pix_fmt="yuvj420p").read_bytes()
        (tmp_path / "a.mov").write_bytes(content[:-200])
        with pytest.raises(UserError, match=r"a.mov is damaged or cut short after 5 frames"):
            read_video(tmp_path / "a.mov")

    def test_damaged_inside(self, tmp_path):
        """All is there, and some of it is junk: the decoder hides that, and marks the frame."""
        content = bytearray(film(tmp_path / "a.avi", noise(20, 64, 64)).read_bytes())
        middle = len(content) // 2
        content[middle : middle + 200] = bytes(200)
        (tmp_path / "a.avi").write_bytes(content)
        with pytest.raises(UserError, match=r"a.avi is damaged or cut short after \d+ frames"):
            read_video(tmp_path / "a.avi")

    @pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
    @pytest.mark.parametrize("share", [0.4, 0.95])
    def test_picture_cut_short(self, tmp_path, suffix, share):
        """Likewise."""
        first, *others = map(Image.fromarray, noise(6))
        first.save(tmp_path / f"a.{suffix}", save_all=True, append_images=others, duration=80)
        content = (tmp_path / f"a.{suffix}").read_bytes()
        (tmp_path / f"a.{suffix}").write_bytes(content[: int(share * len(content))])
        with pytest.raises(UserError, match=rf"a.{suffix} is (cut short|not a picture, or is damaged)"):
            read_video(tmp_path / f"a.{suffix}")

    def test_index_last(self, tmp_path):
        """Without its end an MP4 whose index comes last is none."""
        with av.open(str(tmp_path / "a.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=RATE)
            stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
            for frame in steps(6):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode(None))
        content = (tmp_path / "a.mp4").read_bytes()
        (tmp_path / "a.mp4").write_bytes(content[: len(content) // 2])
        with pytest.raises(UserError, match=r"a.mp4 is not a video, or is damaged \(.*Invalid data"):
            read_video(tmp_path / "a.mp4")

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("a.mp4", b"", "a.mp4 is empty"),
            ("a.png", b"", "a.png is empty"),
            ("a.mp4", b"only words\n" * 50, r"a.mp4 is not a video, or is damaged \(.*Invalid data"),
            ("a.gif", b"only words\n" * 50, r"a.gif is not a picture, or is damaged \(cannot identify"),
            ("b/1.png", b"only words\n" * 50, r"b has a frame, 1.png, which is not a picture"),
            ("b/1.txt", b"only words\n" * 50, "b has no frames"),
        ],
    )
    def test_junk(self, tmp_path, name, content, message, capfd):
        """In one line with the name, and the decoder's own complaints are not heard."""
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=message) as error:
            read_video(tmp_path / Path(name).parts[0])
        assert "\n" not in str(error.value)
        assert capfd.readouterr().err == ""

    def test_sixteen_bits(self, tmp_path):
        """Would be cut at 255: refused."""
        Image.fromarray(np.full((4, 4), 40000, np.uint16)).save(tmp_path / "a.png")
        with pytest.raises(UserError, match=r"a.png has pixels of more than 8 bits \(I;16\): save it with 8"):
            read_video(tmp_path / "a.png")

    def test_missing(self, tmp_path):
        """By its name."""
        with pytest.raises(UserError, match=r"none.mp4: there is no such file"):
            read_video(tmp_path / "none.mp4")

    def test_long(self, tmp_path):
        """Refused with the mend; what the stride leaves is what counts."""
        file = film(tmp_path / "a.mp4", steps(9))
        assert len(read_video(file, max_frames=9)[0]) == 9
        with pytest.raises(UserError, match=r"a.mp4 has more than 8 frames, which is max_frames: cut it, or raise"):
            read_video(file, max_frames=8)
        assert len(read_video(file, max_frames=3, stride=3)[0]) == 3

    def test_frame_by_frame(self, tmp_path):
        """What comes before a break can be had, so frames are not gathered first; the error comes with its place."""
        content = film(tmp_path / "a.mp4", noise(40, 64, 64)).read_bytes()
        (tmp_path / "a.mp4").write_bytes(content[: len(content) * 9 // 10])
        with opened(tmp_path / "a.mp4") as (_, pictures):
            assert next(pictures).size == (64, 64)

    def test_without_av(self, tmp_path, monkeypatch):
        """The line names what to install; pictures need nothing."""
        film(tmp_path / "a.mp4", steps(2))
        monkeypatch.setitem(sys.modules, "av", None)
        with pytest.raises(UserError, match=r"films need PyAV: pip install 'genzoo\[video\]'"):
            read_video(tmp_path / "a.mp4")
        assert read_video(save(tmp_path / "a.png", steps(1)[0]))[0].shape == (1, 32, 48, 1)
