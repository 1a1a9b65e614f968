"""Files that mean harm, or were damaged: named in one line before they take memory, or left out where that is wished;
and what is known again of the same files elsewhere."""

import io
import json
import os
import shutil
import struct
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from genzoo.errors import UserError
from genzoo.reading import Broken
from genzoo_points import readers, sources
from genzoo_points.data import PointsData
from genzoo_points.files import WORTH_KEEPING, load_shapes, read_cloud
from genzoo_points.motion.data import MotionData
from genzoo_points.motion.sequences import at_rate, load_sequences
from genzoo_points.output import container

MAX_MB = 4.0
TRIANGLE = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("GENZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def npy(shape: str, kind: str = "<f4") -> bytes:
    """The header of an NPY file, and nothing behind it."""
    words = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}".encode()
    words += b" " * (-(len(words) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(words)) + words


def npz(**arrays: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in arrays.items():
            opened.writestr(f"{name}.npy", content)
    return made.getvalue()


def gltf(count: int, nodes: int = 1, uri: str | None = None) -> tuple[dict, bytes]:
    """Triangles of `count` points, shown by so many nodes; the buffer is of the first 3000 points."""
    buffer = np.random.default_rng(0).random((3000, 3), dtype=np.float32).tobytes()
    view = {"buffer": 0, "byteOffset": 0, "byteLength": len(buffer)}
    tree = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [*range(nodes)]}],
        "nodes": [{"mesh": 0}] * nodes,
        "meshes": [{"primitives": [{"mode": 4, "attributes": {"POSITION": 0}}]}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": count, "type": "VEC3"}],
        "bufferViews": [view],
        "buffers": [{"byteLength": len(buffer)} | ({"uri": uri} if uri else {})],
    }
    return tree, buffer


PLY = (
    "ply\nformat {} 1.0\nelement vertex 1000000000\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
)
CLOUD = npy("(40, 3)") + np.random.default_rng(0).random((40, 3), dtype=np.float32).tobytes()
BOMBS = {
    "zeros.npz": (npz(points=npy("(1, 5000000, 3)", "|i1") + bytes(15_000_000)), "claims to hold 15 MB"),
    "zeros.npy": (npz(points=npy("(1, 5000000, 3)", "|i1") + bytes(15_000_000)), "claims to hold 15 MB"),
    "shapes.npz": (npz(points=npy("(100000, 1, 3)", "|i1") + bytes(300_000)), "claims to hold 100 MB"),
    "words.npz": (npz(points=CLOUD, classes=npy("(10000000,)", "<U0")), r"`classes` \[10000000\]"),
    "shape.npy": (npy("(1000000000, 3)"), "cannot be read"),
    "header.npy": (b"\x93NUMPY\x01\x00\x0a\x00{'descr':(", "cannot be read"),
    "a.off": (b"OFF\n1000000000 1000000000 0\n0 0 0\n", "cannot be read"),
    "text.ply": (PLY.format("ascii").encode() + b"0 0 0\n", "has 1 points|cannot be read|no extent"),
    "binary.ply": (PLY.format("binary_little_endian").encode() + bytes(12), "cannot be read"),
    "a.stl": (bytes(80) + struct.pack("<I", 10**9) + bytes(50), "no faces and no points|cannot be read"),
    "claim.glb": (container(*gltf(10**9)), "claims to hold 12,000 MB"),
    "nodes.glb": (container(*gltf(3000, nodes=500)), "claims to hold 36 MB"),
    "first.obj": (b"v 0.1\n", "cannot be read"),
    "deep.gltf": (b'{"buffers":' + b"[" * 100_000, "cannot be read"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(tmp_path, name, capsys):
    """Refused by name, with a few MB of memory; left out, where that is wished, and the others are read."""
    content, said = BOMBS[name]
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / name).write_bytes(content)
    (tmp_path / "x" / "whole.npy").write_bytes(CLOUD)
    import trimesh.exchange.load  # noqa: F401  (what it takes is not the file's)

    tracemalloc.start()
    with pytest.raises(UserError, match=rf"{name} .*({said})") as error:
        load_shapes(str(tmp_path / "x"), points=20, max_mb=MAX_MB)
    peak_mb = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    assert peak_mb < 12
    assert "\n" not in str(error.value)
    assert load_shapes(str(tmp_path / "x"), points=20, max_mb=MAX_MB, on_error="skip").names == ["whole.npy"]
    assert f"skipped {name} " in capsys.readouterr().err
    with pytest.raises(UserError, match=f"between=.*{name} "):
        read_cloud(tmp_path / "x" / name, "between", points=20, normals=False, seed=0, max_mb=MAX_MB)


@pytest.mark.parametrize("name", ["zeros.npz", "shape.npy", "header.npy", "shapes.npz", "claim.glb"])
def test_bombs_that_move(tmp_path, name):
    """The same as sequences, and as frames of one."""
    (tmp_path / "x" / "frames").mkdir(parents=True)
    for place in ("x", "x/frames"):
        (tmp_path / place / name).write_bytes(BOMBS[name][0])
    np.save(tmp_path / "x" / "frames" / "0.npy", np.ones((40, 3)))
    np.save(tmp_path / "x" / "whole.npy", np.random.default_rng(0).normal(size=(5, 40, 3)))
    with pytest.raises(
        UserError, match=rf"{name} (claims|cannot|has)|frames has a frame, {name}, which (claims|cannot)"
    ):
        load_sequences(str(tmp_path / "x" / "frames"), points=20, dense=40, max_mb=MAX_MB)


def test_a_clock_that_stands_still(tmp_path):
    """A file that shows a frame in a month is not filled up to twelve a second."""
    with pytest.raises(UserError, match=r"5 frames, 1e-06 a second, would fill .* MB at rate_hz=12"):
        at_rate(np.zeros((5, 40, 3), np.float32), 1e-6, 12.0)


@pytest.mark.parametrize(
    "error", [IndexError("x"), RecursionError(), MemoryError(), struct.error("x"), SyntaxError("x")]
)
def test_whatever_is_raised(tmp_path, monkeypatch, error, capsys):
    """By any library, for any reason."""

    def fails(file: Path) -> None:
        raise error

    monkeypatch.setattr(readers, "read_text", fails)
    (tmp_path / "a.xyz").write_text("0 0 0\n")
    (tmp_path / "b.npy").write_bytes(CLOUD)
    with pytest.raises(UserError, match=r"a.xyz cannot be read \(.+\) \(data.on_error=skip leaves it out\)"):
        load_shapes(str(tmp_path), points=20)
    assert load_shapes(str(tmp_path), points=20, on_error="skip").names == ["b.npy"]


@pytest.mark.parametrize("byte", [0x80, 0xE9, 0xFF])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.obj", b"# \xe9\no caf\xe9\n" + TRIANGLE),
        ("b.obj", TRIANGLE + b"# \xe9\n"),
        ("a.off", b"OFF # \xe9\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"),
        (
            "a.stl",
            b"solid \xe9\nfacet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 1 0\nendloop\nendfacet\n"
            b"endsolid\n",
        ),
        (
            "a.ply",
            b"ply\nformat ascii 1.0\ncomment \xe9\nelement vertex 3\n"
            b"property float x\nproperty float y\nproperty float z\n"
            b"element face 1\nproperty list uchar int vertex_indices\nend_header\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n",
        ),
    ],
)
def test_names_in_any_encoding(tmp_path, monkeypatch, name, content, byte):
    """Are no harm to the numbers, and no further library is asked."""
    monkeypatch.setitem(sys.modules, "charset_normalizer", None)
    (tmp_path / name).write_bytes(content.replace(b"\xe9", bytes([byte])))
    raws, _ = readers.read_file(tmp_path / name)
    assert raws[0].triangles.tolist() == [[[0, 0, 0], [1, 0, 0], [0, 1, 0]]]


def test_binary_stl_is_left_alone(tmp_path):
    """Its bytes are numbers, whatever its header begins with."""
    made = trimesh.creation.icosphere()
    content = made.export(file_type="stl")
    (tmp_path / "a.stl").write_bytes(b"solid \xe9".ljust(80) + content[80:])
    found = readers.read_file(tmp_path / "a.stl")[0][0].triangles
    assert np.allclose(found, made.triangles, atol=1e-6)


def test_buffers_beside(tmp_path):
    """Of a glTF: a pipe would wait for ever, a huge file is not read."""
    uris = {"a": "a.bin", "b": "b .bin", "g": "gone.bin", "outside": "../x/a.bin", "root": "/a.bin"}
    for name, uri in uris.items():
        tree, buffer = gltf(3000, uri=uri)
        (tmp_path / f"{name}.gltf").write_text(json.dumps(tree))
    os.mkfifo(tmp_path / "a.bin")
    (tmp_path / "b .bin").write_bytes(buffer)
    with pytest.raises(Broken, match="is a pipe or a device"):
        readers.read_file(tmp_path / "a.gltf")
    assert readers.read_file(tmp_path / "b.gltf")[0][0].triangles.shape == (1000, 3, 3)
    os.truncate(tmp_path / "b .bin", 10**10)
    with pytest.raises(Broken, match="claims to hold 10,000 MB"):
        readers.read_file(tmp_path / "b.gltf")
    with pytest.raises(Broken, match="cannot be read"):
        readers.read_file(tmp_path / "g.gltf")
    for name in ("outside.gltf", "root.gltf"):
        with pytest.raises(Broken, match="outside of its folder"):
            readers.read_file(tmp_path / name)


@pytest.mark.parametrize("load", [sources.find, lambda path: load_sequences(path, points=4, dense=4)])
def test_what_is_no_file(tmp_path, load):
    """Pipes, devices, loops, names that no file can have: at once, in one line."""
    os.mkfifo(tmp_path / "a.obj")
    (tmp_path / "loop").symlink_to("loop")
    for path in (str(tmp_path / "a.obj"), "/dev/zero"):
        with pytest.raises(UserError, match=f"data.path={path} is a pipe or a device"):
            load(path)
    for path in (str(tmp_path / "loop"), "x" * 5000, "~nobody-of-this-name/x", "a\0b"):
        with pytest.raises(UserError, match=r"data.path=(?s:.)*: there is no such file or folder"):
            load(path)
    with pytest.raises(UserError, match="the folder holds no"):
        load(str(tmp_path))
    with pytest.raises(UserError, match="partial=.*a.obj is a pipe or a device"):
        read_cloud(tmp_path / "a.obj", points=None, normals=False, seed=0)


def test_a_public_set_that_swells(tmp_path, monkeypatch):
    """An archive that would fill the disk is not unpacked."""
    monkeypatch.setattr(sources, "UNPACKED_MB", 1)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("A/a.off", bytes(2_000_000))
    with pytest.raises(UserError, match=r"a.zip cannot be unpacked \(claims to hold 2 MB.*delete it"):
        sources.unpack(tmp_path / "a.zip", "A", to=tmp_path / "A")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


# What is known again


def meshes(folder: Path) -> Path:
    """As many as are kept, of two classes."""
    for i in range(WORTH_KEEPING + 2):
        file = folder / "ab"[i % 2] / f"{i}.ply"
        file.parent.mkdir(parents=True, exist_ok=True)
        trimesh.creation.box((1, 2, 3 + i)).export(file)
    return folder


def clouds(folder: Path) -> Path:
    """More points than are kept."""
    folder.mkdir()
    np.savez(folder / "x.npz", points=np.random.default_rng(0).normal(size=(6, 60, 3)).astype(np.float32))
    return folder


def clips(folder: Path) -> Path:
    """Sequences of frames."""
    for i in range(4):
        (folder / str(i)).mkdir(parents=True)
        for t in range(8):
            np.save(folder / str(i) / f"{t}.npy", np.random.default_rng(i).normal(size=(40, 3)) + t / 100)
    return folder


def shapes_of(path: Path) -> PointsData:
    data = PointsData(path=str(path), points=20, dense=32, partial=0.5, seen=8, val_fraction=0.3)
    data.prepare()
    return data


def sequences_of(path: Path) -> MotionData:
    data = MotionData(path=str(path), points=20, dense=40, frames=3, past=1, val_fraction=0.4)
    data.prepare()
    return data


CASES = {
    "meshes": (meshes, "", "a/0.ply", shapes_of),
    "lone": (clouds, "x.npz", "x.npz", shapes_of),
    "clips": (clips, "", "0/0.npy", sequences_of),
    "frames": (lambda folder: clips(folder.parent / "y").rename(folder), "0", "0/0.npy", sequences_of),
}


@pytest.mark.parametrize("kind", CASES)
def test_known_again(tmp_path, kind):
    """Moved, copied, renamed and touched, files give the same batches and are said to be the same; where one value of
    one file is another they are not, also where its size and its time stay as they were."""
    make, inner, changed, prepare = CASES[kind]
    first = make(tmp_path / "first")
    data = prepare(first / inner)
    splits = ("train", "val")
    prints = [data.fingerprint(split) for split in splits]
    assert prints[0] != prints[1]
    moved = first.rename(tmp_path / "moved")
    shutil.copytree(moved, tmp_path / "deep" / "copy")
    if inner:
        (tmp_path / "deep" / "copy" / inner).rename(tmp_path / "deep" / "copy" / f"renamed{Path(inner).suffix}")
    for place in (moved / inner, tmp_path / "deep" / "copy" / (f"renamed{Path(inner).suffix}" if inner else "")):
        again = prepare(place)
        assert [again.fingerprint(split) for split in splits] == prints
        for split in splits:
            one, two = data.batch(3, 5, split), again.batch(3, 5, split)
            assert torch.equal(one.x, two.x)
            assert all(torch.equal(one.cond[name], two.cond[name]) for name in one.cond)
    file, state = moved / changed, (moved / changed).stat()
    content = bytearray(file.read_bytes())
    place = content.index(b"end_header") + 40 if file.suffix == ".ply" else len(content) // 2
    if file.suffix == ".npz":
        with np.load(file) as arrays:
            x = arrays["points"].copy()
        x[:, :, 0] *= 1.5
        np.savez(file, points=x)
    else:
        content[-1 if file.suffix == ".npy" else place] ^= 1
        file.write_bytes(content)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    after = prepare(moved / inner)
    assert [after.fingerprint(split) for split in splits] != prints


def test_where_sequences_are_cut(tmp_path):
    """The same frames in sequences of other lengths are other data."""
    x = np.random.default_rng(0).normal(size=(40, 20, 3)).astype(np.float32)
    prints = set()
    for cut in (15, 20):
        folder = tmp_path / str(cut)
        for split, parts in (("train", (x[:cut], x[cut:30])), ("val", (x[30:],))):
            (folder / split).mkdir(parents=True)
            for i, part in enumerate(parts):
                np.save(folder / split / f"{i}.npy", part)
        data = MotionData(path=str(folder), points=20, dense=20, frames=3, past=1)
        data.prepare()
        prints.add(data.fingerprint("train"))
    assert len(prints) == 2


def test_how_many_shapes_there_are(tmp_path):
    """The same numbers as fewer shapes of more points are other data."""
    x = np.random.default_rng(0).normal(size=(5, 40, 3)).astype(np.float32)
    prints = set()
    for i, shaped in enumerate((x, np.resize(x, (3, 80, 3)))):
        np.savez(tmp_path / f"{i}.npz", points=shaped)
        data = PointsData(path=str(tmp_path / f"{i}.npz"), points=20, dense=80, val_last=1, normalise="none")
        data.prepare()
        prints.add(data.fingerprint("train"))
    assert len(prints) == 2


@pytest.mark.parametrize(
    ("data", "state"),
    [
        (
            PointsData(points=32),
            {"points": 32, "channels": 3, "seen": 0, "classes": [], "centre": [0.0] * 3, "scale": 1.0},
        ),
        (
            MotionData(points=32, frames=4, past=2),
            {"frames": 4, "past": 2, "points": 32, "rate_hz": 12.0, "normalise": "global", "classes": ["a"]},
        ),
    ],
)
def test_states_of_strangers(data, state):
    """What is no state of these data is refused when it is loaded, not at the first sample."""
    whole = {"centre": [0.0] * 3, "scale": 1.0, **state, "up": "z"}
    data.load_state_dict(json.loads(json.dumps(whole)))
    assert data.state_dict() == whole
    wrong = {"classes": (3, None, "ab", [1]), "centre": ([0.0], "xyz", [0.0, 0.0, "1"]), "scale": (0.0, "1", None)}
    wrong |= {"up": ("q", 2), "centre": ([float("nan"), 0.0, 0.0],)}
    for key, values in wrong.items():
        for value in values:
            with pytest.raises(ValueError, match=key):
                data.load_state_dict({**whole, key: value})
    for odd in ({}, [], "state", None):
        with pytest.raises(UserError, match="this checkpoint is not one of"):
            data.load_state_dict(odd)
