"""Many files, decoded one after the other into one row of frames that is kept for the next time.

Legend: N clips, F frames of all clips, T frames of one, H x W pixels, C channels.
"""

import hashlib
import io
import json
import shutil
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from genzoo.download import cache_folder
from genzoo.errors import UserError
from genzoo.keeping import folder_beside, keep
from genzoo.progress import shown
from genzoo.reading import Broken, breaking, judge, unpacked_bytes
from genzoo_video.files import MAX_MB, Colour, Fit, Size, about, fitted, opened, pictures_of

if TYPE_CHECKING:
    from PIL.Image import Image

VERSION = 1
"""Of what is kept of files: raise it where the same files would give other frames."""

FRAMES, ABOUT = "frames.u8", "about.json"
"""The files of what is kept: frames, and a `Scan` without them."""

ARRAYS = (".npy", ".npz")

LEAST_BYTES = 1000
"""What each video of an array costs in memory, however small it is."""

LEAST_SIDE = 8
"""Sides are a multiple of this where no size is asked for."""


@dataclass
class Scan:
    """Clips read. size: (H, W) of all. ends: of each in `frames`, uint8 [F, H, W, C]. sources: of each, the place of
    its file in the list of files. names: of each. labels: what an NPZ file calls it, else "". rates: frames a second,
    None where nothing says so. broken: reasons by files' names."""

    size: Size
    ends: list[int]
    sources: list[int]
    names: list[str]
    labels: list[str]
    rates: list[float | None]
    broken: dict[str, str]
    frames: np.ndarray


@dataclass(frozen=True)
class Asked:
    """What is asked for: see `sources.find_videos`. frames_first: arrays are [T, N, H, W], as in Moving MNIST."""

    size: Size | None
    colour: Colour
    fit: Fit
    stride: int
    least: int
    max_frames: int
    max_mb: float = MAX_MB
    frames_first: bool = False


def scan(files: Sequence[tuple[str, Path]], asked: Asked) -> Scan:
    """The frames of files, given as (name, file or folder of pictures), of which there is one at least.

    They are kept in the cache folder until the files or what is asked for change; where that cannot be written, in
    memory.
    """
    told = [(name, state_of(file)) for name, file in files]
    key = repr((VERSION, asdict(asked), told)).encode()
    place = cache_folder() / f"videos-{hashlib.blake2b(key, digest_size=16).hexdigest()}"
    found = read_kept(place, asked)
    if found is None:
        shutil.rmtree(place, ignore_errors=True)  # damaged
        found = read_all(files, place, asked)
    return found


def state_of(file: Path) -> list[tuple[str | int, ...]]:
    """Of what belongs to a clip: what changes where a file is written anew, and stays where its folder is moved."""
    parts = [(part.name, part.stat()) for part in (pictures_of(file) if file.is_dir() else [file])]
    return [(name, s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in parts]


def read_all(files: Sequence[tuple[str, Path]], place: Path, asked: Asked) -> Scan:
    """As `scan`, from the files themselves: a frame is written as soon as it is decoded."""
    size = asked.size or most_common_size(files, asked)
    found = Scan(size, [], [], [], [], [], {}, np.empty(0))
    frame_bytes = size[0] * size[1] * channels(asked.colour)
    unfinished = folder_beside(place)
    try:
        with open(unfinished / FRAMES, "wb") if unfinished else io.BytesIO() as out:
            for source, (name, file) in enumerate(shown(files, "reading")):
                known = len(found.ends)
                try:
                    read_clips(name, file, source, size, asked, found, out)
                except Broken as reason:
                    found.broken[name] = str(reason)
                    for values in (found.ends, found.sources, found.names, found.labels, found.rates):
                        del values[known:]
                    out.seek(frame_bytes * (found.ends[-1] if found.ends else 0))
                    out.truncate()
            if not unfinished:
                found.frames = np.frombuffer(out.getvalue(), np.uint8).reshape(-1, *size, channels(asked.colour))
                return found
        values = asdict(found)
        del values["frames"]
        (unfinished / ABOUT).write_text(json.dumps(values), encoding="utf-8")
        keep(unfinished, place)
    except OSError as error:
        raise UserError(f"{place.parent} cannot hold the frames ({error}): free space, or set GENZOO_CACHE") from error
    finally:
        if unfinished:
            shutil.rmtree(unfinished, ignore_errors=True)
    kept = read_kept(place, asked)
    assert kept is not None, place
    return kept


def read_clips(name: str, file: Path, source: int, size: Size, asked: Asked, found: Scan, out: BinaryIO) -> None:
    """Adds the clips of a file to what was found, and their frames to `out`."""
    with clips_in(name, file, asked) as (rate, clips):
        for called, label, pictures in clips:
            frames = fitted(pictures, size, asked.colour, asked.fit, asked.stride, asked.max_frames)
            count = sum(bool(out.write(frame.tobytes())) for frame in frames)
            if count < asked.least:
                every = f" at stride {asked.stride}" if asked.stride > 1 else ""
                raise Broken(
                    f"has {count} frames{every}, and {asked.least} are needed: give longer clips, or ask for less"
                )
            found.ends.append((found.ends[-1] if found.ends else 0) + count)
            found.sources.append(source)
            found.names.append(called)
            found.labels.append(label)
            found.rates.append(rate and rate / asked.stride)


def read_kept(place: Path, asked: Asked) -> Scan | None:
    """What was kept, its frames as a np.memmap; None where there is nothing, or it is damaged."""
    try:
        kept = json.loads((place / ABOUT).read_text(encoding="utf-8"))
        kept["size"] = tuple(kept["size"])
        shape = ((kept["ends"] or [0])[-1], *kept["size"], channels(asked.colour))
        if (place / FRAMES).stat().st_size != np.prod(shape, dtype=np.int64):
            return None
        frames = np.memmap(place / FRAMES, np.uint8, "r", shape=shape) if shape[0] else np.empty(shape, np.uint8)
        return Scan(frames=frames, **kept)
    except Exception:  # a damaged file says all sorts
        return None


def channels(colour: Colour) -> int:
    return 1 if colour == "gray" else 3


def most_common_size(files: Sequence[tuple[str, Path]], asked: Asked) -> Size:
    """(H, W) of the first frames, of several the largest, rounded down to a multiple of 8. (8, 8) where all files are
    broken."""
    sizes: Counter[Size] = Counter()
    for _, file in shown(files, "looking"):
        try:
            sizes[array_of(file, asked)[0].shape[2:4] if is_array(file) else about(file, asked.max_mb)[0]] += 1
        except Broken:
            continue
    most = max(sizes, key=lambda size: (sizes[size], size[0] * size[1], size), default=(LEAST_SIDE, LEAST_SIDE))
    return tuple(max(LEAST_SIDE, side - side % LEAST_SIDE) for side in most)


# ---- clips of a file


@contextmanager
def clips_in(
    name: str, file: Path, asked: Asked
) -> Iterator[tuple[float | None, Iterator[tuple[str, str, Iterator["Image"]]]]]:
    """The rate of a file, and its clips as (name, label, frames)."""
    if is_array(file):
        videos, labels = array_of(file, asked)
        names = [f"{name}[{i}]" for i in range(len(videos))] if len(videos) > 1 else [name]
        yield None, zip(names, labels or [""] * len(videos), map(pictures_in, videos), strict=True)
    else:
        with opened(file, asked.max_mb) as (rate, pictures):
            yield rate, iter([(name, "", pictures)])


def is_array(file: Path) -> bool:
    return file.suffix.lower() in ARRAYS and file.is_file()


def pictures_in(video: np.ndarray) -> Iterator["Image"]:
    """Frames of a video [T, H, W, C]."""
    from PIL import Image

    for frame in video:
        yield Image.fromarray(np.ascontiguousarray(frame[..., 0] if frame.shape[-1] == 1 else frame))


def array_of(file: Path, asked: Asked) -> tuple[np.ndarray, list[str]]:
    """Videos in an array file as uint8 [N, T, H, W, C], and their labels where an NPZ has an array `labels` [N].

    [N, T, H, W] and [N, T, H, W, 1 or 3]; one video [T, H, W] or [T, H, W, 3]; [T, N, H, W] where frames come first.
    """
    with breaking("is not an array, or is damaged"):
        x, labels = (
            unpacked(file, asked.max_mb)
            if zipfile.is_zipfile(file)
            else (np.lib.format.open_memmap(file, mode="r"), [])
        )
    if x.dtype != np.uint8 or not 3 <= x.ndim <= 5 or (x.ndim == 5 and x.shape[-1] not in (1, 3)) or not x.size:
        raise Broken(f"is {x.dtype} {list(x.shape)}: give uint8 [N, T, H, W] or [N, T, H, W, 3], 0 to 255")
    if asked.frames_first:
        x = x.swapaxes(0, 1)
    if x.ndim == 3 or (x.ndim == 4 and x.shape[-1] == 3):
        x = x[None]
    x = x if x.ndim == 5 else x[..., None]
    if labels and len(labels) != len(x):
        raise Broken(f"has {len(labels)} labels for {len(x)} videos: give one each")
    return x, labels


def unpacked(file: Path, max_mb: float) -> tuple[np.ndarray, list[str]]:
    """The videos of an NPZ file, and what its array `labels` says. Broken where its arrays would be of more than
    max_mb."""
    judge(unpacked_bytes(file), max_mb)
    with open(file, "rb") as packed, np.load(packed, allow_pickle=False) as arrays:
        videos = [key for key in arrays.files if key != "labels"]
        if len(videos) != 1:
            raise Broken(f"holds the arrays {', '.join(arrays.files) or '(none)'}: give one of videos, and `labels`")
        x, labels = arrays[videos[0]], arrays["labels"].ravel() if "labels" in arrays.files else np.empty(0)
    judge(LEAST_BYTES * (len(labels) + len(x)), max_mb)
    return x, [str(label) for label in labels]
