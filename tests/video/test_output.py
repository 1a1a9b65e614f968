"""Clips as MP4, GIF and sheets: what is written can be read again, is equal for equal frames, and is there whole."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from genzoo_video.files import read_video
from genzoo_video.output import contact_sheet, write_gif, write_mp4


def noise(count: int, high: int = 64, wide: int = 64, channels: int = 3) -> np.ndarray:
    """uint8 [T, H, W, C]: squares of 8 pixels that change with every frame."""
    squares = np.random.default_rng(0).integers(0, 256, (count, -(-high // 8), -(-wide // 8), channels), dtype=np.uint8)
    return squares.repeat(8, axis=1).repeat(8, axis=2)[:, :high, :wide]


class TestMp4:
    @pytest.mark.parametrize("channels", [1, 3])
    def test_read_again(self, tmp_path, channels):
        """The frames in their order, within what H.264 loses of them."""
        frames = noise(15, channels=channels)
        file = write_mp4(frames, tmp_path / "a.mp4", 12)
        x, fps = read_video(file, size=(64, 64), colour="rgb" if channels == 3 else "gray")
        assert (x.shape, fps) == (frames.shape, 12)
        assert abs(x.astype(int) - frames).mean() < 3
        assert abs(x.astype(int) - frames).max() < 40

    @pytest.mark.parametrize("fps", [5, 12.5, 24, 30000 / 1001])
    def test_what_players_need(self, tmp_path, fps):
        """H.264 in yuv420p, the index before the frames, the rate and the duration as asked for."""
        file = write_mp4(noise(10), tmp_path / "a.mp4", fps)
        with av.open(str(file)) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.pix_fmt, stream.frames) == ("h264", "yuv420p", 10)
            assert float(stream.average_rate) == pytest.approx(fps)
            assert container.duration / av.time_base == pytest.approx(10 / fps, abs=1e-3)
        content = file.read_bytes()
        assert content.index(b"moov") < content.index(b"mdat")

    @pytest.mark.parametrize(
        ("size", "scale", "shown"),
        [
            ((64, 64), None, (256, 256)),
            ((16, 32), None, (128, 256)),
            ((200, 100), None, (200, 100)),
            ((300, 260), None, (300, 260)),
            ((64, 48), 2, (128, 96)),
            ((33, 47), 1, (34, 48)),
            ((33, 47), 3, (100, 142)),
        ],
    )
    def test_size(self, tmp_path, size, scale, shown):
        """Small frames grow by a whole factor to about 256 pixels; odd sides by one pixel."""
        x, _ = read_video(write_mp4(noise(2, *size), tmp_path / "a.mp4", 12, scale=scale))
        assert x.shape[1:3] == shown

    def test_pixels_are_squares(self, tmp_path):
        """One white pixel of 8 x 8 becomes 32 x 32 of them with sharp edges."""
        frames = np.zeros((3, 8, 8, 1), np.uint8)
        frames[:, 2, 5] = 255
        x = read_video(write_mp4(frames, tmp_path / "a.mp4", 12))[0].astype(int)
        wanted = np.kron(frames[..., 0].astype(int), np.ones((1, 32, 32), int))
        assert abs(x[..., 0] - wanted).mean() < 1
        assert ((x[..., 0] > 128) == (wanted > 128)).all()

    def test_odd_sides(self, tmp_path):
        """What is added is the last row and column once more, so no dark edge is seen."""
        x, _ = read_video(write_mp4(np.full((3, 33, 47, 1), 200, np.uint8), tmp_path / "a.mp4", 12, scale=1))
        assert abs(x.astype(int) - 200).max() <= 3

    def test_equal(self, tmp_path):
        """Equal frames give equal files, every time."""
        frames = noise(20)
        files = {write_mp4(frames, tmp_path / f"{i}.mp4", 12, scale=1).read_bytes() for i in range(8)}
        assert len(files) == 1
        assert write_mp4(frames[::-1], tmp_path / "0.mp4", 12, scale=1).read_bytes() not in files

    def test_whole_or_not(self, tmp_path, monkeypatch):
        """A break leaves what was there, and nothing else."""
        file = write_mp4(noise(3), tmp_path / "a.mp4", 12)
        before = file.read_bytes()

        def broken(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("genzoo_video.output.np.pad", broken)
        with pytest.raises(KeyboardInterrupt):
            write_mp4(noise(4), file, 12)
        assert file.read_bytes() == before
        assert [*tmp_path.iterdir()] == [file]


class TestGif:
    def test_gray_is_exact(self, tmp_path):
        """Every bit of every frame, without end, each pixel a square of four."""
        frames = noise(10, channels=1)
        file = write_gif(frames, tmp_path / "a.gif", 10)
        x, fps = read_video(file)
        assert np.array_equal(x, frames.repeat(4, axis=1).repeat(4, axis=2))
        assert fps == 10
        with Image.open(file) as opened:
            assert opened.info["loop"] == 0

    def test_colours(self, tmp_path):
        """Of few colours about those."""
        colours = np.random.default_rng(0).integers(0, 256, (16, 3), dtype=np.uint8)
        frames = colours[np.random.default_rng(1).integers(0, 16, (6, 32, 32))]
        x, _ = read_video(write_gif(frames, tmp_path / "a.gif", 10, scale=1), colour="rgb")
        assert abs(x.astype(int) - frames).max() <= 8

    @pytest.mark.parametrize(("fps", "shown"), [(12, 24), (7, 24), (50, 24), (100, 12), (240, 5)])
    def test_durations(self, tmp_path, fps, shown):
        """In steps of 10 ms, never less than 20, and together as long as the clip."""
        file = write_gif(noise(24, channels=1), tmp_path / "a.gif", fps)
        with Image.open(file) as opened:
            assert opened.n_frames == shown
            durations_ms = []
            for i in range(opened.n_frames):
                opened.seek(i)
                durations_ms.append(opened.info["duration"])
        assert sum(durations_ms) == pytest.approx(24_000 / fps, abs=5)
        assert min(durations_ms[:-1]) >= 20
        assert max(durations_ms[:-1]) - min(durations_ms[:-1]) <= 10

    @pytest.mark.parametrize("channels", [1, 3])
    def test_equal(self, tmp_path, channels):
        """Equal frames give equal files."""
        files = {write_gif(noise(5, channels=channels), tmp_path / f"{i}.gif", 10).read_bytes() for i in range(3)}
        assert len(files) == 1


class TestSheet:
    def pixels(self, file: Path) -> np.ndarray:
        """uint8 [H, W, 3] of a sheet."""
        with Image.open(file) as opened:
            assert opened.mode == "RGB"
            return np.asarray(opened)

    def test_rows_and_columns(self, tmp_path):
        """A row for each clip, first and last frame and what lies evenly between, side by side: of 15 frames 0, 2, 4 …
        14, each enlarged three times and found where it belongs."""
        clips = [noise(15, 32, 32), noise(15, 32, 32, 1)]
        sheet = self.pixels(contact_sheet(clips, tmp_path / "a.png"))
        assert sheet.shape == (18 + 2 * 100, 4 + 8 * 100, 3)
        for row, clip in enumerate(clips):
            for column in range(8):
                y, x = 18 + 100 * row, 4 + 100 * column
                wanted = clip[2 * column].repeat(3, axis=0).repeat(3, axis=1)
                assert np.array_equal(sheet[y : y + 96, x : x + 96], np.broadcast_to(wanted, (96, 96, 3)))

    def test_titles(self, tmp_path):
        """At the left, in letters, of which a long one is cut; the frames move aside."""
        bare = self.pixels(contact_sheet([noise(8)] * 2, tmp_path / "a.png"))
        for title, most in (("a", 40), ("long " * 100, 260)):
            sheet = self.pixels(contact_sheet([noise(8)] * 2, tmp_path / "b.png", titles=[title, ""]))
            added = sheet.shape[1] - bare.shape[1]
            assert 0 < added <= most
            assert np.array_equal(sheet[18:, added + 4 :], bare[18:, 4:])
            assert (sheet[18:114, :added] < 128).any()
            assert (sheet[150:, :added] == 255).all()

    def test_of_any_length(self, tmp_path):
        """Clips shorter than the columns show each frame once; where rows differ no numbers stand above."""
        sheet = self.pixels(contact_sheet([noise(3, 32, 32), noise(9, 32, 32)], tmp_path / "a.png"))
        assert sheet.shape == (4 + 2 * 100, 4 + 8 * 100, 3)
        assert (sheet[4:100, 304:] == 255).all()
        assert not (sheet[4:100, 204:300] == 255).all()

    def test_large_frames(self, tmp_path):
        """Are shown smaller: the mean of 4 x 4 pixels each."""
        frames = np.random.default_rng(0).integers(0, 256, (2, 384, 192, 1), dtype=np.uint8)
        sheet = self.pixels(contact_sheet([frames], tmp_path / "a.png"))
        wanted = frames[0, ..., 0].reshape(96, 4, 48, 4).mean((1, 3))
        assert abs(sheet[18:114, 4:52, 0] - wanted).max() <= 1

    def test_equal(self, tmp_path):
        """Equal clips give equal files."""
        files = {contact_sheet([noise(8)], tmp_path / f"{i}.png", titles=["a"]).read_bytes() for i in range(3)}
        assert len(files) == 1

    @pytest.mark.parametrize(
        ("clips", "options", "message"),
        [
            ([], {}, "a sheet needs clips"),
            ([noise(2)], {"titles": []}, "a title for each"),
            ([noise(2)], {"frames": 0}, "and frames"),
            ([noise(2), noise(2, 32, 32)], {}, "clips of a sheet are of one size"),
        ],
    )
    def test_refused(self, tmp_path, clips, options, message):
        """ValueError, and no file."""
        with pytest.raises(ValueError, match=message):
            contact_sheet(clips, tmp_path / "a.png", **options)
        assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("write", [write_mp4, write_gif])
@pytest.mark.parametrize(
    ("frames", "fps", "options", "message"),
    [
        (np.zeros((2, 8, 8), np.uint8), 12, {}, r"a clip is uint8 \[T, H, W, 1 or 3\], not uint8 \[2, 8, 8\]"),
        (np.zeros((2, 8, 8, 1)), 12, {}, "not float64"),
        (np.zeros((0, 8, 8, 1), np.uint8), 12, {}, r"not uint8 \[0, 8, 8, 1\]"),
        (np.zeros((2, 8, 8, 2), np.uint8), 12, {}, r"not uint8 \[2, 8, 8, 2\]"),
        (np.zeros((2, 8, 8, 1), np.uint8), 0, {}, "frames a second lie above 0"),
        (np.zeros((2, 8, 8, 1), np.uint8), float("nan"), {}, "frames a second lie above 0"),
        (np.zeros((2, 8, 8, 1), np.uint8), 12, {"scale": 0}, "scale is at least 1"),
    ],
)
def test_refused(tmp_path, write, frames, fps, options, message):
    """ValueError, and no file."""
    with pytest.raises(ValueError, match=message):
        write(frames, tmp_path / "a", fps, **options)
    assert not [*tmp_path.iterdir()]
