"""One clip in a file: films, moving pictures, folders of pictures, read frame by frame in the size that is asked for.

Legend: T frames, H x W pixels, C channels: 1 is gray (luma as in BT.601), 3 is red, green, blue.
"""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain, count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from genzoo.errors import UserError
from genzoo.reading import Broken, breaking, judge, reading

if TYPE_CHECKING:
    from PIL.Image import Image

FILMS = (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi")
FORMATS = "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,m4v,h264,hevc,mjpeg,gif"
"""What a film may be, to FFmpeg: none of the lists that name other files."""

MOVING = (".gif",)
PICTURES = (".png", ".apng", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
SUFFIXES = (*FILMS, *MOVING, *PICTURES)

Fit = Literal["crop", "pad", "stretch"]
Colour = Literal["gray", "rgb"]
Size = tuple[int, int]
"""(H, W)."""

MAX_FRAMES = 100_000
"""Longer clips are refused where nothing else is asked for."""

MAX_MB = 500.0
"""What a picture, or an array of them, may hold, unpacked, where nothing else is asked for."""

STILL_FPS = 10.0
"""Frames a second of what has no rate: pictures."""

FPS = (0.001, 1000.0)
"""Lowest and highest rate that is believed."""

EARLY = 1.5
"""Frames by which a film may end before the time that its header says."""


def read_video(
    file: str | Path,
    key: str = "context",
    *,
    size: Size | None = None,
    colour: Colour = "gray",
    fit: Fit = "crop",
    stride: int = 1,
    max_frames: int = MAX_FRAMES,
    max_mb: float = MAX_MB,
) -> tuple[np.ndarray, float]:
    """The frames, uint8 [T, H, W, C], and how many are shown a second (`STILL_FPS` where nothing says so).

    file: a film (mp4, mov, webm, mkv, avi), a moving or a still picture, or a folder of pictures, which are the frames
    in the order of the numbers in their names. size: (H, W) of the frames; None: of the first one.
    fit: what is done where the sides have another ratio: "crop" cuts what sticks out, as much on either side, "pad"
    adds black, "stretch" does neither. stride: every n-th frame is taken, from the first.
    Frames are turned as the file asks for, and laid on black where they are transparent.
    UserError, with the key and the file's name, where it is missing, empty, cannot be decoded, ends early, has more
    than max_frames frames, or one of more than max_mb, unpacked.
    """
    check_options(size, colour, fit, stride, "")
    with reading(file, key) as place, opened(place, max_mb) as (fps, pictures):
        frames = [*fitted(pictures, size, colour, fit, stride, max_frames)]
    return np.stack(frames), (fps or STILL_FPS) / stride


def check_options(size: Size | None, colour: str, fit: str, stride: int, prefix: str = "data.") -> None:
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise UserError(f"{prefix}size is height and width in pixels, [64, 64], not {list(size)}")
    if colour not in ("gray", "rgb"):
        raise UserError(f"{prefix}colour is gray or rgb, not {colour!r}")
    if fit not in ("crop", "pad", "stretch"):
        raise UserError(f"{prefix}fit is crop, pad or stretch, not {fit!r}")
    if stride < 1:
        raise UserError(f"{prefix}stride is at least 1, not {stride}")


def about(file: Path, max_mb: float = MAX_MB) -> tuple[Size, float | None]:
    """Size of the first frame, and frames a second where the file says so; Broken as in `read_video`."""
    with opened(file, max_mb) as (fps, pictures):
        first = next(pictures, None)
        if first is None:
            raise Broken("has no frames")
        return (first.height, first.width), fps


@contextmanager
def opened(file: Path, max_mb: float = MAX_MB) -> Iterator[tuple[float | None, Iterator["Image"]]]:
    """Frames a second, None where nothing says so, and the frames as pictures, of what is there. Broken, also from the
    frames, where they cannot be had."""
    film = file.suffix.lower() in FILMS
    with ExitStack() as stack:
        kind = opened_folder if file.is_dir() else opened_film if film else opened_picture
        with breaking(f"is not a {'video' if film else 'picture'}, or is damaged"):
            if not file.stat().st_size and not file.is_dir():
                raise Broken("is empty")
            fps, pictures = stack.enter_context(kind(file, max_mb))
        yield believed(fps), whole(pictures)


def believed(fps: float | None) -> float | None:
    """A rate, or None where there is none, or one that cannot be."""
    return fps if fps and FPS[0] <= fps <= FPS[1] else None


def whole(pictures: Iterator["Image"]) -> Iterator["Image"]:
    """The frames; Broken where one cannot be had."""
    for i in count():
        with breaking(f"is damaged or cut short after {i} frames"):
            picture = next(pictures, None)
        if picture is None:
            return
        yield picture


# ---- what becomes of a frame


def fitted(
    pictures: Iterator["Image"], size: Size | None, colour: Colour, fit: Fit, stride: int, max_frames: int
) -> Iterator[np.ndarray]:
    """Every n-th of the frames, uint8 [H, W, C]. Broken where there is none, or more than max_frames of them."""
    first = next(pictures, None)
    if first is None:
        raise Broken("has no frames")
    size = size or (first.height, first.width)
    for i, picture in enumerate(islice(chain((first,), pictures), 0, None, stride)):
        if i >= max_frames:
            raise Broken(
                f"has more than {max_frames} frames, which is max_frames: cut it, or raise stride or max_frames"
            )
        with breaking():
            frame = to_size(picture, size, colour, fit)
        yield frame


def to_size(picture: "Image", size: Size, colour: Colour, fit: Fit) -> np.ndarray:
    """A picture as uint8 [H, W, C]; of pixels that become fewer the mean over their area is taken."""
    from PIL import Image

    picture = picture.convert("L" if colour == "gray" else "RGB")
    high, wide = size
    (w, h), box, inner = picture.size, None, (wide, high)
    if fit == "crop":
        scale = max(high / h, wide / w)
        across, down = (w - wide / scale) / 2, (h - high / scale) / 2
        box = (max(0, across), max(0, down), min(w, w - across), min(h, h - down))
    elif fit == "pad":
        scale = min(high / h, wide / w)
        inner = (max(1, round(w * scale)), max(1, round(h * scale)))
    if inner != (w, h) or (box and box != (0, 0, w, h)):
        smaller = inner[0] <= w and inner[1] <= h
        picture = picture.resize(inner, Image.Resampling.BOX if smaller else Image.Resampling.BILINEAR, box)
    pixels = np.asarray(picture).reshape(inner[1], inner[0], -1)
    above, left = (high - inner[1]) // 2, (wide - inner[0]) // 2
    return np.pad(pixels, ((above, high - inner[1] - above), (left, wide - inner[0] - left), (0, 0)))


def on_black(picture: "Image") -> "Image":
    """In RGB, or gray where it is; what is transparent is black."""
    from PIL import Image

    if picture.mode.startswith(("I", "F")):
        raise Broken(f"has pixels of more than 8 bits ({picture.mode}): save it with 8")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, (0, 0, 0, 255)), picture).convert("RGB")
    return picture.convert("L" if picture.mode in ("1", "L") else "RGB")


# ---- films


@contextmanager
def opened_film(file: Path, max_mb: float) -> Iterator[tuple[float | None, Iterator["Image"]]]:
    """As `opened`, of a film, by PyAV. It opens no file and no address that the film names, and decodes no frame that
    is too large, also where the film's header says otherwise."""
    av = load_av()
    with av.open(str(file), options={"protocol_whitelist": "file", "format_whitelist": FORMATS}) as container:
        if not container.streams.video:
            raise Broken("holds no video: it has sound only" if container.streams.audio else "holds no video")
        stream = container.streams.video[0]
        judge(4 * stream.width * stream.height, max_mb)
        stream.codec_context.options = {"max_pixels": str(min(int(max_mb * 1e6 / 4), 2**31 - 1))}
        rate = stream.average_rate or stream.guessed_rate
        yield float(rate) if rate else None, film_frames(av, container, stream, float(rate or STILL_FPS))


def load_av() -> Any:
    """PyAV; UserError where it is not installed."""
    try:
        import av
    except ImportError as error:
        raise UserError("films need PyAV: pip install 'genzoo[video]'") from error
    av.logging.set_level(None)
    return av


def film_frames(av: Any, container: Any, stream: Any, fps: float) -> Iterator["Image"]:
    """The frames in the order in which they are shown. Broken where one is damaged, or the film ends before its time:
    the packets of all streams, sound among them, must reach what the header says, within `EARLY` frames."""
    frames, end_s = 0, 0.0
    for packet in container.demux():
        if packet.is_corrupt:
            raise Broken(f"is damaged or cut short after {frames} frames")
        if packet.pts is not None:
            end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        for frame in packet.decode() if packet.stream is stream else ():
            if frame.is_corrupt:
                raise Broken(f"is damaged or cut short after {frames} frames")
            frames += 1
            yield turned(frame.to_image(), frame.rotation)
    due_s = (container.duration or 0) / av.time_base
    if frames and end_s < due_s - EARLY / fps:
        raise Broken(f"ends after {end_s:.1f} s, and should last {due_s:.1f} s: it is cut short")


def turned(picture: "Image", degrees: int) -> "Image":
    """Counter-clockwise, by the nearest quarter."""
    from PIL import Image

    quarters = {1: Image.Transpose.ROTATE_90, 2: Image.Transpose.ROTATE_180, 3: Image.Transpose.ROTATE_270}
    quarter = round(degrees / 90) % 4
    return picture.transpose(quarters[quarter]) if quarter else picture


# ---- pictures


@contextmanager
def opened_picture(file: Path, max_mb: float) -> Iterator[tuple[float | None, Iterator["Image"]]]:
    """As `opened`, of a still or moving picture, by Pillow."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `sized` judges
        picture = Image.open(file)
    with picture:
        sized(picture, max_mb)
        frames = getattr(picture, "n_frames", 1)
        if picture.format == "GIF" and not file.read_bytes()[-1024:].rstrip(b"\0\r\n ").endswith(b";"):
            raise Broken("is cut short: its end is not that of a GIF")
        durations_ms = [duration_of(picture, i, max_mb) for i in range(frames)] if frames > 1 else [0]
        rate = 1000 * frames / sum(durations_ms) if min(durations_ms) > 0 else None
        yield rate, picture_frames(picture, frames, max_mb)


def sized(picture: "Image", max_mb: float) -> None:
    """Broken where a picture that is not decoded yet would be of more than max_mb."""
    judge(4 * picture.width * picture.height, max_mb)


def duration_of(picture: "Image", i: int, max_mb: float) -> float:
    """Of a frame, in ms; 0 where nothing says so."""
    picture.seek(i)
    sized(picture, max_mb)
    picture.load()  # WebP says it only then
    return picture.info.get("duration", 0)


def picture_frames(picture: "Image", frames: int, max_mb: float) -> Iterator["Image"]:
    from PIL import ImageOps

    for i in range(frames):
        picture.seek(i)
        sized(picture, max_mb)
        yield on_black(ImageOps.exif_transpose(picture))


@contextmanager
def opened_folder(folder: Path, max_mb: float) -> Iterator[tuple[float | None, Iterator["Image"]]]:
    """As `opened`, of the pictures right in a folder."""
    yield None, folder_frames(pictures_of(folder), max_mb)


def folder_frames(files: Sequence[Path], max_mb: float) -> Iterator["Image"]:
    for file in files:
        try:
            with opened(file, max_mb) as (_, pictures):
                yield next(pictures)
        except Broken as reason:
            raise Broken(f"has a frame, {file.name}, which {reason}") from reason


def pictures_of(folder: Path) -> list[Path]:
    """The pictures right in a folder in the order of their numbers, 2 before 10; hidden ones are passed over."""
    there = [file for file in folder.iterdir() if file.suffix.lower() in PICTURES and not file.name.startswith(".")]
    return sorted((file for file in there if file.is_file()), key=lambda file: natural(file.name))


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts the numbers in names by their value."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), part) if i % 2 else (0, part) for i, part in enumerate(parts)]
