"""What a page shows of a model and its samples, by kind. No modality is known here.

Legend: T frames, N points, F triangles, H x W pixels.
"""

import base64
import io
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from genzoo.errors import UserError

STEPS = 32767
"""Of a coordinate, from the middle of a cloud to its farthest point."""

NEARLY_ALL = 0.995

CRF = "24"
"""VP9's constant rate factor: 0 is without loss, 63 the worst."""


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """title: a few words below it, "" for none. alt: what is there, for those who cannot see it. columns: of a page of
    four."""

    kind: ClassVar[str]
    columns = 1
    title: str = ""
    alt: str = ""


@dataclass(frozen=True, kw_only=True)
class Words(Exhibit):
    """given: what the text goes on from."""

    kind = "words"
    columns = 2
    text: str
    given: str = ""


@dataclass(frozen=True, kw_only=True)
class File(Exhibit):
    """data: a file of the type `mime`."""

    data: bytes
    mime: str


@dataclass(frozen=True, kw_only=True)
class Framed(File):
    """width, height: in pixels."""

    width: int
    height: int

    @property
    def columns(self) -> int:
        return columns(self.width, self.height)


@dataclass(frozen=True, kw_only=True)
class Picture(Framed):
    """A picture that a browser shows."""

    kind = "picture"


@dataclass(frozen=True, kw_only=True)
class Sound(File):
    """picture: of the sound."""

    kind = "sound"
    picture: Picture

    @property
    def columns(self) -> int:
        return self.picture.columns


@dataclass(frozen=True, kw_only=True)
class Clip(Framed):
    """A film. sharp: whether pixels are to be seen as squares."""

    kind = "clip"
    sharp: bool = False


@dataclass(frozen=True, kw_only=True)
class Cloud(Exhibit):
    """Points [T, N, 3] with z up, T = 1 for what stands still.

    colours: uint8 [N, 3]. ball: radius of what stands for a point. faces: int [F, 3], of a surface whose corners the
    points are. rate_hz: frames a second.
    """

    kind = "cloud"
    points: np.ndarray
    colours: np.ndarray
    ball: float = 0.0
    faces: np.ndarray | None = None
    rate_hz: float = 0.0

    def packed(self) -> dict[str, Any]:
        """Plain values for the page's viewer: coordinates in `STEPS` about the middle, of which the farthest has all,
        and lengths in its unit; little-endian numbers in base64. reach: what nearly all points lie within."""
        points = np.asarray(self.points, dtype=np.float64)
        middle = (points.max(axis=(0, 1)) + points.min(axis=(0, 1))) / 2
        reach = float(np.abs(points - middle).max()) or 1.0
        packed = {
            "frames": len(points),
            "rate": self.rate_hz,
            "ball": self.ball / reach,
            "reach": float(np.quantile(np.linalg.norm(points - middle, axis=-1), NEARLY_ALL)) / reach,
            "points": encoded(np.rint((points - middle) / reach * STEPS).astype("<i2")),
            "colours": encoded(np.asarray(self.colours, dtype=np.uint8)),
        }
        return packed if self.faces is None else packed | {"faces": encoded(np.asarray(self.faces, dtype="<u4"))}


def columns(width: int, height: int) -> int:
    """How many of a page's four a picture of so many pixels needs for its letters to be read."""
    return 4 if width > 2.2 * height or width > 1250 else 2 if width > 600 else 1


def encoded(data: bytes | np.ndarray) -> str:
    """Base64."""
    return base64.b64encode(data if isinstance(data, bytes) else data.tobytes()).decode("ascii")


def still(file: Path, *, title: str = "", alt: str = "") -> Picture:
    """A picture that PIL reads, as WebP: without loss where that is small, else with a loss that is not seen."""
    from PIL import Image

    with Image.open(file) as opened:
        image = opened.convert("RGB")
    files = []
    for how in ({"lossless": True, "method": 4}, {"quality": 88, "method": 4}):
        out = io.BytesIO()
        image.save(out, "WEBP", **how)
        files.append(out.getvalue())
    data = min(files, key=len)
    return Picture(title=title, alt=alt, data=data, mime="image/webp", width=image.width, height=image.height)


def film(frames: np.ndarray, fps: float, *, title: str = "", alt: str = "", sharp: bool = False) -> Clip:
    """Frames uint8 [T, H, W, 3] as a film without sound, WebM with VP9, which all browsers of today play.

    UserError where PyAV is not installed or has no VP9.
    """
    try:
        import av
    except ModuleNotFoundError as error:
        raise UserError("av is not installed, and films on a page need it: pip install 'genzoo[gallery]'") from error
    frames = np.pad(frames, ((0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)), mode="edge")
    out, (high, wide) = io.BytesIO(), frames.shape[1:3]
    with av.open(out, "w", format="webm") as container:
        try:
            stream = container.add_stream("libvpx-vp9", rate=Fraction(fps).limit_denominator(1001))
        except (av.FFmpegError, ValueError) as error:
            raise UserError("this PyAV has no VP9: pip install --force-reinstall 'genzoo[gallery]'") from error
        stream.width, stream.height, stream.pix_fmt = wide, high, "yuv420p"
        stream.options = {"crf": CRF, "b": "0", "threads": "1", "cpu-used": "4"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode(None))
    data = out.getvalue()
    return Clip(title=title, alt=alt, data=data, mime="video/webm", width=wide, height=high, sharp=sharp)
