"""Where shapes lie: public sets, and what the names of folders say of classes and splits."""

import os
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from genzoo.download import cache_folder, download
from genzoo.errors import UserError
from genzoo.folders import SPLITS, files_below, official, splits_first
from genzoo.reading import judge, reading, reason, unpacked_bytes

GLTF = (".glb", ".gltf")
MESHES = (".off", ".obj", ".ply", ".stl", *GLTF)
TEXTS = (".xyz", ".txt")
ARRAYS = (".npz", ".npy")
SUFFIXES = (*MESHES, *TEXTS, *ARRAYS)

PUBLIC = {
    "modelnet10": (
        "http://3dvision.princeton.edu/projects/2014/3DShapeNets/ModelNet10.zip",
        "9d8679435fc07d1d26f13009878db164a7aa8ea5e7ea3c8880e42794b7307d51",
        "ModelNet10",
        0.5,
    ),
    "modelnet40": (
        "http://modelnet.cs.princeton.edu/ModelNet40.zip",
        "42dc3e656932e387f554e25a4eb2cc0e1a1bd3ab54606e2a9eae444c60e536ac",
        "ModelNet40",
        2.0,
    ),
}
"""Address, SHA-256 (as TensorFlow Datasets publishes it), folder in the ZIP, GB. For academic research only."""

UNPACKED_MB = 30_000
"""More than any of them holds."""

SYNSETS = {
    "02691156": "airplane",
    "02747177": "trash_bin",
    "02773838": "bag",
    "02801938": "basket",
    "02808440": "bathtub",
    "02818832": "bed",
    "02828884": "bench",
    "02843684": "birdhouse",
    "02871439": "bookshelf",
    "02876657": "bottle",
    "02880940": "bowl",
    "02924116": "bus",
    "02933112": "cabinet",
    "02942699": "camera",
    "02946921": "can",
    "02954340": "cap",
    "02958343": "car",
    "02992529": "cellphone",
    "03001627": "chair",
    "03046257": "clock",
    "03085013": "keyboard",
    "03207941": "dishwasher",
    "03211117": "display",
    "03261776": "earphone",
    "03325088": "faucet",
    "03337140": "file_cabinet",
    "03467517": "guitar",
    "03513137": "helmet",
    "03593526": "jar",
    "03624134": "knife",
    "03636649": "lamp",
    "03642806": "laptop",
    "03691459": "loudspeaker",
    "03710193": "mailbox",
    "03759954": "microphone",
    "03761084": "microwave",
    "03790512": "motorbike",
    "03797390": "mug",
    "03928116": "piano",
    "03938244": "pillow",
    "03948459": "pistol",
    "03991062": "flowerpot",
    "04004475": "printer",
    "04074963": "remote",
    "04090263": "rifle",
    "04099429": "rocket",
    "04225987": "skateboard",
    "04256520": "sofa",
    "04330267": "stove",
    "04379243": "table",
    "04401088": "telephone",
    "04460130": "tower",
    "04468005": "train",
    "04530566": "watercraft",
    "04554684": "washer",
}
"""The classes of ShapeNetCore."""


@dataclass(frozen=True)
class Found:
    """A file of shapes. name: its path below `data.path`. label: its class; split: train or val; where folders say.
    seed: what its points are drawn by: its name, but of a lone file nothing, so that it may be renamed."""

    file: Path
    name: str
    label: str | None = None
    split: str | None = None
    seed: str = ""


def find(path: str) -> list[Found]:
    """The files that `data.path` names, in the order of their names; UserError where there is none.

    The class is the first folder: `chair/a.off`, `chair/train/a.off` (ModelNet), `02691156/train/x.npy` (PointFlow's
    ShapeNet), `02691156/<model>/models/model_normalized.obj` (ShapeNetCore: one file of each model; the number gets its
    name, also where `path` is such a folder). Where the first folders are splits it is the second: `train/chair/a.off`.
    Splits: see `genzoo.folders.official`. Hidden files and files with other endings are passed over.
    """
    if path.lower() in PUBLIC:
        place = public(path.lower())
    elif not path:
        raise UserError("data.path is empty: give a file, a folder, modelnet10 or modelnet40")
    else:
        place = given(path, f"public sets: {', '.join(PUBLIC)}")
    if not place.is_dir():
        if place.suffix.lower() not in SUFFIXES:
            raise UserError(f"data.path={path}: known endings are {', '.join(SUFFIXES)}")
        return [Found(place, place.name)]
    files = files_below(place, SUFFIXES)
    if not files:
        raise UserError(f"data.path={path}: the folder holds no {', '.join(SUFFIXES)} file")
    above = [place.resolve().name] if place.resolve().name in SYNSETS else []
    split_first = not above and splits_first(files)
    chosen: dict[tuple[str, ...], Found] = {}
    for parts in sorted(files, key=lambda parts: not parts[-1].startswith("model_normalized.")):
        first, second = ([*above, *parts[:-1], None, None])[:2]
        label, split = (second, first) if split_first else (first, second)
        split = SPLITS.get((split or "").lower())
        is_model = first in SYNSETS and second is not None and split is None
        name = "/".join(parts)
        found_here = Found(place.joinpath(*parts), name, SYNSETS.get(label or "", label), split, name)
        chosen.setdefault((first, second) if is_model else parts, found_here)
    return official(sorted(chosen.values(), key=lambda found: found.name.split("/")))


def given(path: str, known: str) -> Path:
    """The file or folder that `data.path` names; UserError where there is none, or a pipe or a device."""
    place = Path(os.path.expanduser(path))
    if not os.path.exists(place):
        raise UserError(f"data.path={path}: there is no such file or folder ({known})")
    with reading(place):
        return place


def public(name: str) -> Path:
    """The folder of a public set; downloaded and unpacked the first time."""
    url, sha256, folder, gigabytes = PUBLIC[name]
    place = cache_folder() / folder
    if not place.is_dir():
        print(f"{folder}: {gigabytes} GB from {url}, for academic research only", file=sys.stderr)
        unpack(download(url, sha256, name=f"{folder}.zip"), folder, to=place)
    return place


def unpack(archive: Path, folder: str, *, to: Path) -> None:
    """One folder of a ZIP file, whole or not at all; UserError where the archive reaches outside of it."""
    try:
        judge(unpacked_bytes(archive), UNPACKED_MB, "the most that is unpacked")
        with tempfile.TemporaryDirectory(dir=to.parent) as kept, zipfile.ZipFile(archive) as opened:
            for name in opened.namelist():
                if not (Path(kept) / name).resolve().is_relative_to(Path(kept).resolve()):
                    raise UserError(f"{archive} holds {name!r}, which lies outside of it: delete it")
            opened.extractall(kept, [name for name in opened.namelist() if name.startswith(f"{folder}/")])
            os.replace(Path(kept) / folder, to)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{archive} cannot be unpacked ({reason(error)}): delete it, and it is fetched again"
        ) from error
