"""A small valid input of every format that is read, and what reads it: the functions that the commands use.

What a seed holds is read as a lone file, if it is one, else as a folder; `fuzz_mutations.TARGET` says which of its
files are mutated.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import fuzz_runs as runs
import numpy as np
import torch
from fuzz_runs import TEXT, ZQ

from genzoo.contract import Data
from genzoo.errors import UserError


@dataclass(frozen=True)
class Format:
    """make(folder) writes the seed, read(path) reads it. sealed: files of which no other bytes may be read."""

    make: Callable[[Path], Any]
    read: Callable[[Path], Any]
    sealed: tuple[str, ...] = ()


def look(data: Data) -> None:
    """A batch of each split, of the shape and the numbers that the data promise."""
    data.prepare()
    for split in ("train", "val"):
        batch = data.batch(0, 2, split)
        most = data.spec.shape  # a batch of short pieces of music is as long as the longest of them
        assert len(batch.x.shape) == 1 + len(most), (batch.x.shape, most)
        assert all(a == b or (data.spec.vocab and a < b) for a, b in zip(batch.x.shape[1:], most, strict=True)), most
        for x in (batch.x, *batch.cond.values()):
            assert torch.isfinite(x.float()).all(), "numbers that are not finite come through"


# ---- text, bits, circuits


def text_file(name: str, folder: Path) -> None:
    rows = (json.dumps({"text": line, "n": i}) for i, line in enumerate(TEXT.splitlines()))
    (folder / name).write_text("\n".join(rows) if name.endswith("jsonl") else TEXT, encoding="utf-8")


def texts(folder: Path) -> None:
    for name in ("a.txt", "b.md", "deep/c.jsonl"):
        (folder / name).parent.mkdir(exist_ok=True)
        text_file(name, folder)


def read_text(path: Path, kind: str = "char") -> None:
    from genzoo_text.data import TextData

    look(TextData(path=str(path), context=8, tokenizer=kind, vocab_size=260, val_fraction=0.3))


def bits(text: str, name: str, folder: Path) -> None:
    (folder / name).write_text(text)


def read_born(path: Path) -> None:
    from genzoo_born.data import BornData

    look(BornData(path=str(path)))


def qasm(version: int, folder: Path) -> None:
    from genzoo_born.ansatz import hardware_efficient
    from genzoo_born.qasm import to_qasm

    old = """OPENQASM 2.0;
include "qelib1.inc";
gate two(a, b) x, y { rx(a) x; cx x, y; ry(2 * b + pi / 4) y; }
qreg q[3]; creg c[3];
h q; two(0.5, -1.25e-1) q[0], q[2]; u3(pi, 0, pi) q[1];
barrier q;
measure q -> c;
"""
    new = to_qasm(hardware_efficient(3, depth=1, entangler="ring"))
    (folder / "circuit.qasm").write_text(old if version == 2 else new)


def read_qasm(path: Path) -> None:
    from genzoo_born.qasm import main

    if main([str(path)]):  # prints its line, and gives the status
        raise UserError(f"{path}: refused")


# ---- sound and music


def tone(seconds: float = 0.5) -> np.ndarray:
    t = np.arange(int(4000 * seconds)) / 4000
    return (0.5 * np.sin(2 * np.pi * 440 * t) * np.exp(-3 * t)).astype(np.float32)


def sound(name: str, folder: Path, subtype: str | None = None) -> None:
    import soundfile

    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / name, tone(), 8000 if name.endswith(("mp3", "opus")) else 4000, subtype=subtype)


def labelled(folder: Path) -> None:
    for i in range(4):
        sound(f"{i}.wav", folder)
    (folder / f"{ZQ}.csv").write_text("file,word,who\n" + "".join(f"{i}.wav,w{i % 2},me\n" for i in range(4)))


def listed(folder: Path) -> None:
    for i in range(3):
        sound(f"yes/{i}.wav", folder)
    (folder / "validation_list.txt").write_text("yes/0.wav\n")
    (folder / "testing_list.txt").write_text("yes/1.wav\n")


def read_sound(path: Path, labels: str | None = None) -> None:
    from genzoo_audio.data import WaveData

    look(WaveData(path=str(path), seconds=0.01, labels=labels, val_fraction=0.3))


def piece(seed: int) -> np.ndarray:
    steps = np.random.default_rng(seed).integers(-1, 2, (16, 4)).cumsum(axis=0)
    return np.repeat(np.array([72, 65, 58, 48]) + steps, 4, axis=0)


def midi(folder: Path) -> None:
    from genzoo_audio.music.files import write_midi

    for i, name in enumerate((f"train/{ZQ}.mid", "val/good.mid")):
        (folder / name).parent.mkdir()
        write_midi(piece(i), folder / name)


def chorales(folder: Path) -> None:
    songs = {"train": [piece(0).tolist(), piece(1).tolist()], "valid": [[[60, -1, None, 48.0], *piece(2).tolist()]]}
    (folder / "chorales.json").write_text(json.dumps(songs))


def read_music(path: Path) -> None:
    from genzoo_audio.music.data import MusicData

    look(MusicData(path=str(path), ticks=32, context=64))


# ---- shapes and motion


def cloud(count: int = 24, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(count, 3))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def shape(name: str, folder: Path, **how: Any) -> None:
    """A mesh or a cloud that trains, and a cloud that validates."""
    import trimesh

    (folder / "train").mkdir(), (folder / "val").mkdir()
    np.save(folder / "val" / "good.npy", cloud())
    file = folder / "train" / name
    if name.endswith((".xyz", ".txt")):
        np.savetxt(file, np.concatenate((cloud(), cloud()), axis=1), fmt="%.5f", header="x y z nx ny nz")
    elif name.endswith(".npy"):
        np.save(file, cloud())
    elif name.endswith(".npz"):
        two = np.stack((cloud(), cloud(seed=1)))
        np.savez_compressed(file, points=two, normals=two, names=np.array(["a", "b"]))
    elif how.get("cloud"):
        trimesh.PointCloud(cloud()).export(file)
    else:
        trimesh.creation.icosahedron().export(file, **how)


def obj(folder: Path) -> None:
    shape(f"{ZQ}.obj", folder)
    file = folder / "train" / f"{ZQ}.obj"
    more = "g two\nusemtl red\nf 1/1/1 2/2/2 3/3/3 4/4/4\nf -1 -2 -3\n"
    file.write_text(f"mtllib a.mtl\no one\n{file.read_text()}{more}")


def gltf(folder: Path) -> None:
    """With its numbers in files beside it, which are mutated too."""
    import trimesh

    for split in ("train", "val"):
        (folder / split).mkdir()
        for name, content in trimesh.exchange.gltf.export_gltf(trimesh.Scene(trimesh.creation.box())).items():
            (folder / split / name).write_bytes(content)


def classes(folder: Path) -> None:
    for kind in ("ball", "box"):
        for i in range(2):
            (folder / kind).mkdir(exist_ok=True)
            about = {"label": np.array([kind]), "classes": np.array(["ball", "box"])}
            np.savez(folder / kind / f"{i}.npz", points=cloud(seed=i), **about)


def read_points(path: Path, normals: bool = False) -> None:
    from genzoo_points.data import PointsData

    look(PointsData(path=str(path), points=8, dense=16, normals=normals))


def trajectory(frames: int = 6, seed: int = 0) -> np.ndarray:
    return cloud(12, seed) + np.linspace(0, 1, frames, dtype=np.float32)[:, None, None]


def motion(name: str, folder: Path) -> None:
    x = np.stack([trajectory(seed=i) for i in range(3)])
    about = {"lengths": [6, 5, 6], "names": ["a", "b", "c"], "labels": [0, 1, 0], "classes": ["up", "down"]}
    if name.endswith("npy"):
        np.save(folder / name, x)
    else:
        np.savez(folder / name, points=x, rate_hz=12.0, **about)


def frames(ending: str, folder: Path) -> None:
    import trimesh

    for split in ("train", "val"):
        for t, x in enumerate(trajectory()):
            file = folder / split / "walk" / f"frame{t}{ending}"
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, x) if ending == ".npy" else trimesh.PointCloud(x).export(file)


def read_motion(path: Path) -> None:
    from genzoo_points.motion.data import MotionData

    look(MotionData(path=str(path), frames=3, past=1, points=8, dense=10, val_fraction=0.4))


# ---- films and pictures


def clip(count: int = 8) -> np.ndarray:
    """uint8 [T, H, W, 3]."""
    t, y, x = np.mgrid[:count, :32, :32]
    return np.stack((8 * x + 20 * t, 8 * y, 255 * ((x + t) // 4 % 2)), axis=-1).astype(np.uint8)


def film(name: str, codec: str, folder: Path) -> None:
    import av

    with av.open(str(folder / name), "w") as out:
        stream = out.add_stream(codec, rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for x in clip():
            out.mux(stream.encode(av.VideoFrame.from_ndarray(x, format="rgb24")))
        out.mux(stream.encode(None))


def moving(name: str, folder: Path) -> None:
    from PIL import Image

    first, *rest = [Image.fromarray(x) for x in clip()]
    first.save(folder / name, save_all=True, append_images=rest, duration=100)


def pictures(ending: str, folder: Path) -> None:
    from PIL import Image

    for i in range(2):
        (folder / f"clip{i}").mkdir()
        for t, x in enumerate(clip(3)):
            Image.fromarray(x).save(folder / f"clip{i}" / f"{ZQ if not (i or t) else 'good'}{t}{ending}")


def arrays(name: str, folder: Path) -> None:
    x = np.stack([clip(4)[..., 0]] * 3)
    if name.endswith("npy"):
        np.save(folder / name, x)
    else:
        np.savez(folder / name, x=x, labels=np.array(["a", "b", "a"]))


def read_video(path: Path) -> None:
    from genzoo_video.data import VideoData

    look(VideoData(path=str(path), frames=2, known=1, val_fraction=0.4))


# ---- weather


def maps() -> Any:
    import xarray

    time = np.datetime64("2001-01-01", "ns") + np.arange(6) * np.timedelta64(6, "h")
    latitude, longitude = np.linspace(60, -60, 4), np.arange(0, 360, 60.0)
    x = 101000 + 500 * np.random.default_rng(0).normal(size=(6, 4, 6)).astype(np.float32)
    axes = {"time": time, "latitude": latitude, "longitude": longitude}
    return xarray.Dataset({"msl": (tuple(axes), x, {"units": "Pa"})}, axes)


def netcdf(form: str, folder: Path) -> None:
    maps().to_netcdf(folder / "maps.nc", engine="netcdf4", format=form)


def zarr(version: int, folder: Path) -> None:
    maps().to_zarr(folder, mode="w", zarr_format=version, consolidated=version == 2)


def grib(sample: str, folder: Path) -> None:
    import eccodes

    with open(folder / "maps.grib", "wb") as file:
        for i, x in enumerate(maps().msl.values):
            handle = eccodes.codes_grib_new_from_samples(sample)
            grid = {"Ni": 6, "Nj": 4, "latitudeOfFirstGridPointInDegrees": 60, "latitudeOfLastGridPointInDegrees": -60}
            grid |= {"longitudeOfFirstGridPointInDegrees": 0, "longitudeOfLastGridPointInDegrees": 300}
            grid |= {"iDirectionIncrementInDegrees": 60, "jDirectionIncrementInDegrees": 40}
            when = {"dataDate": 20010101 + i // 4, "dataTime": 600 * (i % 4)}
            what = {"typeOfLevel": "meanSea", "level": 0, "shortName": "prmsl" if sample.endswith("2") else "msl"}
            for key, value in {**grid, **when, **what, "bitsPerValue": 16}.items():
                eccodes.codes_set(handle, key, value)
            eccodes.codes_set_values(handle, x.astype(float).ravel())
            eccodes.codes_write(handle, file)
            eccodes.codes_release(handle)


def read_weather(path: Path) -> None:
    from genzoo_weather.data import WeatherData

    look(WeatherData(path=str(path), val_fraction=0.3))


FORMATS: dict[str, Format] = {
    "txt": Format(partial(text_file, "a.txt"), read_text),
    "md": Format(partial(text_file, "a.md"), partial(read_text, kind="bpe")),
    "jsonl": Format(partial(text_file, "a.jsonl"), read_text),
    "texts": Format(texts, partial(read_text, kind="byte")),
    "bits_csv": Format(partial(bits, "0,1,1\n1,0,0\n" * 8, "bits.csv"), read_born),
    "bits_txt": Format(partial(bits, "-1 +1 1\n1 -1 -1\n" * 8, "bits.txt"), read_born),
    "qasm2": Format(partial(qasm, 2), read_qasm),
    "qasm3": Format(partial(qasm, 3), read_qasm),
    "wav": Format(partial(sound, "a.wav"), read_sound),
    "wav_float": Format(partial(sound, "a.wav", subtype="FLOAT"), read_sound),
    "flac": Format(partial(sound, "a.flac"), read_sound),
    "ogg": Format(partial(sound, "a.ogg"), read_sound),
    "mp3": Format(partial(sound, "a.mp3"), read_sound),
    "labels_csv": Format(labelled, partial(read_sound, labels=f"{ZQ}.csv")),
    "sound_lists": Format(listed, read_sound),
    "midi": Format(midi, read_music),
    "chorales": Format(chorales, read_music),
    "obj": Format(obj, read_points),
    **{kind: Format(partial(shape, f"{ZQ}.{kind}"), read_points) for kind in ("off", "glb", "xyz", "npy", "npz")},
    "points_txt": Format(partial(shape, f"{ZQ}.txt"), read_points),
    "ply": Format(partial(shape, f"{ZQ}.ply"), read_points),
    "ply_ascii": Format(partial(shape, f"{ZQ}.ply", encoding="ascii"), read_points),
    "ply_cloud": Format(partial(shape, f"{ZQ}.ply", cloud=True), read_points),
    "stl": Format(partial(shape, f"{ZQ}.stl"), read_points),
    "stl_ascii": Format(partial(shape, f"{ZQ}.stl", file_type="stl_ascii"), read_points),
    "gltf": Format(gltf, read_points),
    "classes": Format(classes, read_points),
    "motion_npz": Format(partial(motion, "m.npz"), read_motion),
    "motion_npy": Format(partial(motion, "m.npy"), read_motion),
    "frames_ply": Format(partial(frames, ".ply"), read_motion),
    "frames_npy": Format(partial(frames, ".npy"), read_motion),
    "mp4": Format(partial(film, "a.mp4", "libx264"), read_video),
    "mkv": Format(partial(film, "a.mkv", "libx264"), read_video),
    "webm": Format(partial(film, "a.webm", "libvpx"), read_video),
    **{kind: Format(partial(film, f"a.{kind}", "mpeg4"), read_video) for kind in ("mov", "avi", "m4v")},
    **{kind: Format(partial(moving, f"a.{kind}"), read_video) for kind in ("gif", "apng", "webp")},
    **{kind: Format(partial(pictures, f".{kind}"), read_video) for kind in ("png", "jpg", "bmp", "tif")},
    "video_npy": Format(partial(arrays, "a.npy"), read_video),
    "video_npz": Format(partial(arrays, "a.npz"), read_video),
    "netcdf3": Format(partial(netcdf, "NETCDF3_CLASSIC"), read_weather),
    "netcdf4": Format(partial(netcdf, "NETCDF4"), read_weather),
    "zarr2": Format(partial(zarr, 2), read_weather),
    "zarr3": Format(partial(zarr, 3), read_weather),
    "grib1": Format(partial(grib, "regular_ll_sfc_grib1"), read_weather),
    "grib2": Format(partial(grib, "regular_ll_pl_grib2"), read_weather),
    "weights": Format(runs.weights, runs.sample, ("model.safetensors",)),
    "checkpoint": Format(runs.checkpoint_folder, runs.sample_state, ("model.safetensors", "state.pt")),
    "resealed": Format(runs.weights, runs.sample_resealed),
    "sealed": Format(partial(runs.opened, make=runs.weights), runs.sample_sealed),
    "sealed_born": Format(partial(runs.opened, make=runs.born), runs.sample_sealed),
    "run": Format(runs.run, runs.resume),
    "run_resealed": Format(runs.run, runs.resume_resealed),
    "preset": Format(runs.preset, runs.compose),
    "card": Format(runs.card, runs.read_card),
}
