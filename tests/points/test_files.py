"""Shapes from files of every form that is read, broken ones, and the folders they lie in."""

import json
import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

import genzoo_points.files
from genzoo.errors import UserError
from genzoo_points.files import WORTH_KEEPING, load_shapes, normalise, read_cloud
from genzoo_points.sources import SYNSETS

SIDES = np.array((1.0, 2.0, 3.0))
"""Of the box that most tests sample."""

TRIANGLE = "3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("GENZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the test's shapes lie."""
    (tmp_path / "shapes").mkdir()
    return tmp_path / "shapes"


def box(file: Path, sides: np.ndarray = SIDES, at: tuple[float, float, float] = (0, 0, 0)) -> Path:
    """A box around `at`, in the format of the file's ending."""
    file.parent.mkdir(parents=True, exist_ok=True)
    made = trimesh.creation.box(sides)
    made.apply_translation(at)
    if file.suffix == ".gltf":
        for name, content in trimesh.Scene(made).export(file_type="gltf").items():
            (file if name == "model.gltf" else file.with_name(name)).write_bytes(content)
    else:
        made.export(file)
    return file


def cloud(n: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """float32 [n, channels]: random points, and unit normals."""
    x = np.random.default_rng(seed).normal(size=(n, channels))
    x[:, 3:] /= np.linalg.norm(x[:, 3:], axis=1, keepdims=True)
    return x.astype(np.float32)


def rows(x: torch.Tensor | np.ndarray) -> set[tuple[float, ...]]:
    """Points as a set."""
    return {tuple(row) for row in np.asarray(x).tolist()}


def write_ply(file: Path, x: np.ndarray) -> Path:
    """A PLY file of points, binary, with normals where x has six channels."""
    axes = ("x", "y", "z", "nx", "ny", "nz")[: x.shape[1]]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(x)}"]
    header += [*(f"property float {axis}" for axis in axes), "end_header", ""]
    file.write_bytes("\n".join(header).encode() + x.astype("<f4").tobytes())
    return file


def on_faces_of_a_box(x: np.ndarray) -> np.ndarray:
    """[P, 3]: whether a point lies on the faces across x, y, z of the box."""
    return np.isclose(abs(x), SIDES / 2, atol=1e-5)


class TestMeshes:
    @pytest.mark.parametrize("suffix", ["off", "obj", "ply", "stl", "glb", "gltf", "OFF"])
    def test_every_format_is_sampled_by_area(self, folder, suffix):
        """All points lie on the box, a share of them on each of its six faces that is as large as its area, and as many
        on the one half of a face as on the other: what binomial laws allow, with four deviations."""
        n = 6000
        if suffix == "OFF":
            box(folder / "box.off").rename(folder / "box.OFF")
        else:
            box(folder / f"box.{suffix}")
        x = load_shapes(str(folder), points=n).points[0].numpy()
        assert x.shape == (n, 3)
        assert x.dtype == np.float32
        on = on_faces_of_a_box(x)
        assert on.any(1).all()
        assert (abs(x) <= SIDES / 2 + 1e-5).all()
        area = np.prod(SIDES) / SIDES  # of one of the two faces across each axis
        share = area / (2 * area.sum())
        for axis in range(3):
            for sign in (-1, 1):
                here = on[:, axis] & (np.sign(x[:, axis]) == sign)
                assert abs(here.sum() - n * share[axis]) < 4 * np.sqrt(n * share[axis])
                for across in {0, 1, 2} - {axis}:
                    half = (x[here, across] > 0).sum()
                    assert abs(half - here.sum() / 2) < 4 * np.sqrt(here.sum() / 4)

    def test_normals_are_those_of_the_faces(self, folder):
        """Of unit length, and out of the face that the point lies on."""
        x = load_shapes(str(box(folder / "box.off")), points=500, normals=True).points[0].numpy()
        points, normals = x[:, :3], x[:, 3:]
        assert np.allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)
        axis = abs(normals).argmax(axis=1)
        assert np.allclose(abs(normals).max(axis=1), 1, atol=1e-6)
        assert np.take_along_axis(on_faces_of_a_box(points), axis[:, None], 1).all()
        assert ((points * normals).sum(1) > 0).all()

    def test_normals_of_a_tiny_mesh(self, folder):
        """Normals do not depend on the unit: those of micrometres are of unit length too."""
        x = load_shapes(str(box(folder / "box.off", SIDES * 1e-6)), points=100, normals=True).points[0]
        assert torch.allclose(x[:, 3:].norm(dim=1), torch.ones(100), atol=1e-6)

    @pytest.mark.parametrize("suffix", ["glb", "obj"])
    def test_scenes_are_flattened(self, folder, suffix):
        """Of two boxes, one placed by a transform in the scene, each gets its share where it stands."""
        if suffix == "glb":
            scene = trimesh.Scene(trimesh.creation.box(SIDES))
            scene.add_geometry(
                trimesh.creation.box(SIDES), transform=trimesh.transformations.translation_matrix((10, 0, 0))
            )
            scene.export(folder / "two.glb")
        else:
            text = "".join(f"o part{k}\n" + quads(offset=8 * k, at=10.0 * k) for k in range(2))
            (folder / "two.obj").write_text(text)
        x = load_shapes(str(folder), points=1000).points[0].numpy()
        far = x[:, 0] > 5
        assert abs(far.sum() - 500) < 4 * np.sqrt(250)
        x[far] -= (10, 0, 0)
        assert on_faces_of_a_box(x).any(1).all()

    def test_scene_of_clouds(self, folder):
        """Points of a scene are moved to their places as well, and read whole."""
        scene = trimesh.Scene(trimesh.PointCloud(cloud(20)))
        scene.add_geometry(
            trimesh.PointCloud(cloud(30, seed=1)), transform=trimesh.transformations.translation_matrix((10, 0, 0))
        )
        scene.export(folder / "two.glb")
        x = read_cloud(folder / "two.glb", points=None, normals=False, seed=0).numpy()
        x = x[np.lexsort(x.T[::-1])]
        expected = np.concatenate((cloud(20), cloud(30, seed=1) + np.array((10, 0, 0))))
        assert np.allclose(x, expected[np.lexsort(expected.T[::-1])], atol=1e-5)

    @pytest.mark.parametrize("header", ["OFF\n", "OFF", "OFF ", "# made by hand\nOFF\n\n# counts\n"])
    def test_header_of_modelnet(self, folder, header):
        """Files of ModelNet with the counts on the line of the magic word."""
        (folder / "a.off").write_text(header + TRIANGLE)
        x = load_shapes(str(folder), points=50).points[0]
        assert (x[:, 2] == 0).all()
        assert (x[:, 0] + x[:, 1] <= 1 + 1e-6).all()
        assert (x >= 0).all()

    def test_some_degenerate_faces(self, folder):
        """Faces without area are never sampled and do no harm."""
        (folder / "a.off").write_text("OFF\n4 3 0\n0 0 0\n1 0 0\n0 1 0\n5 5 5\n3 3 3 3\n3 0 1 2\n3 0 3 3\n")
        x = load_shapes(str(folder), points=200, normals=True).points[0]
        assert torch.equal(x[:, 2:].unique(dim=0), torch.tensor([[0.0, 0, 0, 1]]))

    def test_materials_are_not_needed(self, folder):
        """An OBJ whose materials and textures are not there."""
        (folder / "a.obj").write_text("mtllib gone.mtl\nusemtl m\n" + quads())
        assert load_shapes(str(folder), points=10).points.shape == (1, 10, 3)

    def test_trimesh_is_missing(self, folder, monkeypatch):
        """The line says what to install; arrays are read without it."""
        box(folder / "box.off")
        np.save(folder / "x.npy", cloud(10))
        monkeypatch.setitem(sys.modules, "trimesh", None)
        for on_error in ("stop", "skip"):
            with pytest.raises(UserError, match=r"box.off needs trimesh: pip install 'genzoo\[points\]'"):
                load_shapes(str(folder), points=10, on_error=on_error)
        assert load_shapes(str(folder / "x.npy"), points=10).names == ["x.npy"]


def quads(offset: int = 0, at: float = 0.0) -> str:
    """The box in OBJ, of quadrilaterals, moved along x."""
    corners = [(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]
    faces = ((1, 2, 4, 3), (5, 7, 8, 6), (1, 5, 6, 2), (3, 4, 8, 7), (1, 3, 7, 5), (2, 6, 8, 4))
    text = "".join(f"v {x * SIDES[0] + at} {y * SIDES[1]} {z * SIDES[2]}\n" for x, y, z in corners)
    return text + "".join("f " + " ".join(str(i + offset) for i in face) + "\n" for face in faces)


class TestClouds:
    @pytest.mark.parametrize("channels", [3, 6])
    def test_ply_round_trip(self, folder, channels):
        """What was written comes back, bit by bit, in its order."""
        x = cloud(100, channels)
        back = read_cloud(write_ply(folder / "a.ply", x), points=None, normals=channels == 6, seed=0)
        assert np.array_equal(back[:, :3], x[:, :3])
        assert np.allclose(back[:, 3:], x[:, 3:], atol=1e-6)

    def test_trimesh_ply_round_trip(self, folder):
        """The same with a file of trimesh."""
        trimesh.PointCloud(cloud(100)).export(folder / "a.ply")
        assert np.array_equal(read_cloud(folder / "a.ply", points=None, normals=False, seed=0), cloud(100))

    def test_a_part_is_drawn_without_replacement(self, folder):
        """Distinct rows of the file, other ones for another seed or name."""
        x = cloud(100, 6)
        np.save(folder / "a.npy", x)
        np.save(folder / "b.npy", x)
        shapes = load_shapes(str(folder), points=50, normals=True)
        other = load_shapes(str(folder), points=50, seed=1)
        assert shapes.points.shape == (2, 50, 6)
        for drawn in (shapes.points[0, :, :3], shapes.points[1, :, :3], other.points[0]):
            assert rows(drawn) <= rows(x[:, :3])
            assert len(rows(drawn)) == 50
        assert not torch.equal(shapes.points[0], shapes.points[1])
        assert not torch.equal(shapes.points[0, :, :3], other.points[0])
        whole = {tuple(row[:3]): row[3:] for row in x.tolist()}
        assert all(np.allclose(whole[tuple(row[:3])], row[3:], atol=1e-6) for row in shapes.points[0].tolist())

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("a.xyz", "{0} {1} {2}\n"),
            ("a.txt", "{0},{1},{2},{3},{4},{5}\n"),
            ("a.txt", "x, y, z\n{0}, {1}, {2}\n"),
            ("a.xyz", "# a scan\n\n3\n{0}\t{1}\t{2}  # here\n"),
            ("a.XYZ", "\ufeff{0};{1};{2}\r\n"),
        ],
    )
    def test_text(self, folder, name, text):
        """Blanks, commas or semicolons, a header, comments, a count; ModelNet40's six columns."""
        x = cloud(40, 6).astype(float)
        head, last = text.rsplit("{0}", 1)
        lines = "".join(("{0}" + last).format(*row) for row in x)
        (folder / name).write_bytes((head + lines).encode())
        normals = "{5}" in text
        back = read_cloud(folder / name, points=None, normals=normals, seed=0)
        assert np.allclose(back, x[:, : 6 if normals else 3], atol=1e-6)

    def test_notes_are_passed_over(self, folder):
        """A README beside the shapes is no shape and no error; alone it is one."""
        (folder / "README.txt").write_text("Shapes of 1 kind.\nPlease cite us.\n")
        box(folder / "box.off")
        assert load_shapes(str(folder), points=10).names == ["box.off"]
        with pytest.raises(UserError, match=r"README.txt holds no rows of numbers x y z"):
            load_shapes(str(folder / "README.txt"), points=10)


class TestArrays:
    def test_many_in_one_file(self, folder):
        """Names, labels by number, classes in their order, half precision: as the file says."""
        x = np.stack([cloud(10, seed=i) for i in range(3)]).astype(np.float16)
        np.savez(folder / "a.npz", points=x, names=["p", "q", "r"], labels=[1, 0, 1], classes=["lamp", "chair"])
        shapes = load_shapes(str(folder / "a.npz"), points=10)
        assert np.array_equal(shapes.points, x.astype(np.float32))
        assert shapes.names == ["p", "q", "r"]
        assert shapes.labels == [1, 0, 1]
        assert shapes.classes == ["lamp", "chair"]
        assert shapes.splits is None

    @pytest.mark.parametrize(
        ("labels", "expected", "classes"),
        [
            (["sofa", "bed", "sofa"], [1, 0, 1], ["bed", "sofa"]),
            ([10, 2, 10], [1, 0, 1], ["2", "10"]),
            ([[4], [4], [5]], [0, 0, 1], ["4", "5"]),
            ([b"sofa", b"bed", b"sofa"], [1, 0, 1], ["bed", "sofa"]),
        ],
    )
    def test_labels_without_classes(self, folder, labels, expected, classes):
        """Classes are the words, or the numbers in their order; the array has any name."""
        x = np.stack([cloud(10, seed=i) for i in range(3)])
        np.savez(folder / "a.npz", arr_0=x, label=np.array(labels))
        shapes = load_shapes(str(folder), points=10)
        assert (shapes.labels, shapes.classes) == (expected, classes)
        assert shapes.names == ["a.npz[0]", "a.npz[1]", "a.npz[2]"]

    def test_normals_of_their_own(self, folder):
        """`normals` beside `points`, or channels four to six."""
        x = cloud(10, 6)
        np.savez(folder / "a.npz", points=x[:, :3], normals=x[:, 3:])
        np.save(folder / "b.npy", x[None])
        shapes = load_shapes(str(folder), points=10, normals=True)
        assert np.allclose(shapes.points[0], x, atol=1e-6)
        assert torch.equal(shapes.points[0], shapes.points[1])
        assert shapes.names == ["a.npz", "b.npy"]

    @pytest.mark.parametrize(
        ("arrays", "reason"),
        [
            ({"points": np.array([cloud(3), None], dtype=object)}, "nothing is unpickled"),
            ({"points": cloud(10), "names": np.array(["a"], dtype=object)}, "nothing is unpickled"),
            ({"a": cloud(10), "b": cloud(10)}, "no array `points`.*a, b"),
            ({"points": cloud(10)[:, :2]}, r"points \[10, 2\]"),
            ({"points": cloud(10).astype(str)}, "numbers are needed"),
            ({"points": cloud(10), "normals": cloud(9)}, r"normals \[9, 3\]"),
            ({"points": cloud(0)}, "empty"),
            ({"points": cloud(10)[None], "names": ["a", "b"]}, r"`names` \[2\]"),
            ({"points": cloud(10)[None], "labels": [0, 1]}, r"`labels` \[2\]"),
            ({"points": cloud(10)[None], "labels": [2], "classes": ["a", "b"]}, "label 2, and 2 classes"),
            ({"points": cloud(10)[None], "labels": ["c"], "classes": ["a", "b"]}, "label 'c'"),
        ],
    )
    def test_refused(self, folder, arrays, reason):
        """What the file has in place of what it needs is named."""
        np.savez(folder / "a.npz", **arrays)
        with pytest.raises(UserError, match=f"a.npz .*{reason}"):
            load_shapes(str(folder), points=5)

    def test_damaged(self, folder):
        """A packed file with a stretch of other bytes in it."""
        np.savez_compressed(folder / "a.npz", points=cloud(1000))
        content = bytearray((folder / "a.npz").read_bytes())
        content[500:600] = bytes(100)
        (folder / "a.npz").write_bytes(content)
        with pytest.raises(UserError, match="a.npz cannot be read"):
            load_shapes(str(folder), points=5)

    def test_no_pickle_in_npy(self, folder):
        """Nor in the other format."""
        np.save(folder / "a.npy", np.array([{"a": 1}], dtype=object))
        with pytest.raises(UserError, match="a.npy .*nothing is unpickled"):
            load_shapes(str(folder), points=5)


TEXTS: dict[str, tuple[str, str]] = {
    "empty.off": ("", "empty"),
    "junk.off": ("hello", "cannot be read"),
    "cut.off": ("OFF\n3 1 0\n0 0 0\n", "cannot be read"),
    "away.off": ("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n", "cannot be read"),
    "nan.off": ("OFF\n3 1 0\n0 0 nan\n1 0 0\n0 1 0\n3 0 1 2\n", "NaN"),
    "line.off": ("OFF\n3 1 0\n0 0 0\n.1 .1 .1\n.3 .3 .3\n3 0 1 2\n", "no area"),
    "spot.off": ("OFF\n3 1 0\n1 1 1\n1 1 1\n1 1 1\n3 0 1 2\n", "no extent"),
    "few.off": ("OFF\n3 0 0\n0 0 0\n1 0 0\n0 1 0\n", "has 3 points and data.points asks for 20: lower data.points"),
    "junk.obj": ("hello\n", "no faces and no points"),
    "junk.ply": ("ply\nnope", "cannot be read"),
    "junk.glb": ("glTF....", "cannot be read"),
    "junk.gltf": ("{}", "cannot be read|no faces and no points"),
    "junk.stl": ("\0" * 100, "no faces and no points|cannot be read"),
    "empty.xyz": ("", "empty"),
    "junk.xyz": ("hello\n", "no rows of numbers"),
    "ragged.xyz": ("0 0 0\n1 1\n", "cannot be read"),
    "four.xyz": ("0 0 0 1\n" * 30, "has 4 columns"),
    "same.xyz": ("1 2 3\n" * 30, "no extent"),
    "inf.xyz": ("0 0 0\n" * 30 + "inf 0 0\n", "infinite"),
    "far.xyz": ("0 0 0\n" * 30 + "1e300 0 0\n", "beyond 32 bits"),
    "junk.npz": ("hello", "nothing is unpickled|cannot be read"),
    "cut.npz": ("PK\3\4 and no more", "cannot be read"),
    "empty.npy": ("", "empty"),
}


class TestBroken:
    @pytest.mark.parametrize("name", TEXTS)
    def test_refused_by_name(self, folder, name, capsys):
        """stop: an error that names it. skip: the others are read, and one line says so. One file: an error as well."""
        content, reason = TEXTS[name]
        (folder / name).write_bytes(content.encode())
        np.save(folder / "good.npy", cloud(30))
        with pytest.raises(UserError, match=rf"{name} .*({reason})") as stopped:
            load_shapes(str(folder), points=20)
        assert "\n" not in str(stopped.value)
        shapes = load_shapes(str(folder), points=20, on_error="skip")
        assert shapes.names == ["good.npy"]
        assert len(shapes.skipped) == 1
        assert shapes.skipped[0].startswith(f"{name} ")
        assert capsys.readouterr().err == f"skipped {shapes.skipped[0]}\n"
        with pytest.raises(UserError, match=rf"no shape can be used.*{name} .*({reason})"):
            load_shapes(str(folder / name), points=20, on_error="skip")
        with pytest.raises(UserError, match=rf"{name} .*({reason})"):
            read_cloud(folder / name, points=20, normals=False, seed=0)

    def test_huge_files(self, folder):
        """Are not opened at all: 3 MB of nothing."""
        (folder / "a.off").touch()
        os.truncate(folder / "a.off", 3_000_000)
        with pytest.raises(UserError, match="a.off claims to hold 3 MB, and data.max_mb is 2"):
            load_shapes(str(folder), points=20, max_mb=2)

    def test_one_shape_of_many(self, folder):
        """Only the shape that is broken is left out, and the names and labels of the others stay theirs."""
        x = np.stack([cloud(30, seed=i) for i in range(3)])
        x[1, 4, 2] = np.nan
        np.savez(folder / "a.npz", points=x, labels=["p", "q", "r"])
        with pytest.raises(UserError, match=r"a.npz\[1\] .*NaN"):
            load_shapes(str(folder), points=30)
        shapes = load_shapes(str(folder), points=30, on_error="skip")
        assert shapes.names == ["a.npz[0]", "a.npz[2]"]
        assert shapes.classes == ["p", "r"]
        assert shapes.labels == [0, 1]
        assert torch.equal(shapes.points, torch.from_numpy(x[[0, 2]]))

    @pytest.mark.parametrize("name", ["a.ply", "a.npy", "a.xyz"])
    def test_normals_that_are_not_there(self, folder, name):
        """The line says what to set."""
        x = cloud(30)
        {".ply": write_ply, ".npy": np.save, ".xyz": np.savetxt}[Path(name).suffix](folder / name, x)
        with pytest.raises(UserError, match=f"{name} has no normals.*: set data.normals=false"):
            load_shapes(str(folder), points=20, normals=True)

    def test_colours_are_no_normals(self, folder):
        """Six columns are often colours."""
        x = cloud(30, 6)
        x[:, 3:] = np.random.default_rng(0).integers(0, 255, (30, 3))
        np.save(folder / "a.npy", x)
        with pytest.raises(UserError, match="not of unit length"):
            load_shapes(str(folder), points=20, normals=True)
        assert load_shapes(str(folder), points=20).points.shape == (1, 20, 3)

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"path": ""}, "data.path is empty"),
            ({"path": "nowhere"}, "data.path=nowhere: there is no such file or folder .*modelnet10"),
            ({"points": 0}, "data.points is at least 1"),
            ({"on_error": "ignore"}, "data.on_error is skip or stop"),
        ],
    )
    def test_options(self, folder, options, reason):
        """Mistakes in what is asked for."""
        with pytest.raises(UserError, match=reason):
            load_shapes(options.pop("path", str(folder)), **{"points": 5, **options})

    def test_nothing_to_read(self, folder):
        """Folders and files of other things."""
        (folder / "a.step").write_text("solid")
        with pytest.raises(UserError, match="the folder holds no .off, .obj"):
            load_shapes(str(folder), points=5)
        for reads in (load_shapes, read_cloud):
            with pytest.raises(UserError, match="a.step(: known endings are| is none of) .off, .obj"):
                call(reads, folder / "a.step")

    def test_read_cloud_wants_one_shape(self, folder):
        """Not several, nor none."""
        np.save(folder / "a.npy", cloud(20)[None].repeat(2, 0))
        with pytest.raises(UserError, match=r"a.npy holds 2 shapes"):
            call(read_cloud, folder / "a.npy")
        with pytest.raises(UserError, match=r"b.npy: there is no such file"):
            call(read_cloud, folder / "b.npy")

    def test_read_cloud_of_a_mesh(self, folder):
        """As many points as asked for, or 2048; the same each time."""
        box(folder / "a.off")
        drawn = [read_cloud(folder / "a.off", points=n, normals=True, seed=0) for n in (None, 10, 10)]
        assert [len(x) for x in drawn] == [2048, 10, 10]
        assert torch.equal(drawn[1], drawn[2])
        assert drawn[0].dtype == torch.float32


def call(reads: Callable[..., object], file: Path) -> None:
    """`load_shapes` or `read_cloud` of a file."""
    if reads is load_shapes:
        load_shapes(str(file), points=5)
    else:
        read_cloud(file, points=5, normals=False, seed=0)


class TestLayouts:
    def test_flat_folder(self, folder):
        """In the order of names, without classes; hidden files and other endings are no shapes."""
        for name in ("c.npy", "a.npy", "B.NPY", ".hidden.npy", ".folder/a.npy"):
            (folder / name).parent.mkdir(exist_ok=True)
            with open(folder / name, "wb") as opened:
                np.save(opened, cloud(10))
        (folder / "notes.md").write_text("notes")
        shapes = load_shapes(str(folder), points=10)
        assert shapes.names == ["B.NPY", "a.npy", "c.npy"]
        assert shapes.labels is None
        assert shapes.classes == []
        assert shapes.splits is None

    def test_class_folders(self, folder):
        """The first folder is the class, however deep the file lies."""
        for name in ("chair/a.off", "chair/deep/er/b.ply", "apple/c.stl"):
            box(folder / name)
        shapes = load_shapes(str(folder), points=10)
        assert shapes.names == ["apple/c.stl", "chair/a.off", "chair/deep/er/b.ply"]
        assert shapes.classes == ["apple", "chair"]
        assert shapes.labels == [0, 1, 1]

    def test_a_shape_beside_the_classes(self, folder):
        """It has no class: refused by name."""
        box(folder / "chair/a.off")
        box(folder / "b.off")
        with pytest.raises(UserError, match="b.off has no class, and chair/a.off has one"):
            load_shapes(str(folder), points=10)

    @pytest.mark.parametrize("form", ["{label}/{split}/{name}", "{split}/{label}/{name}"])
    def test_modelnet(self, folder, form):
        """An official split, below the classes or above them; test is what is scored; the note beside is none of it."""
        (folder / "README.txt").write_text("ModelNet")
        for label, split, name in (
            ("chair", "train", "chair_1.off"),
            ("chair", "test", "chair_2.off"),
            ("night_stand", "train", "night_stand_1.off"),
            ("night_stand", "test", "night_stand_2.off"),
        ):
            box(folder / form.format(label=label, split=split, name=name))
        shapes = load_shapes(str(folder), points=10)
        found = {
            Path(name).stem: (shapes.classes[label], split)
            for name, label, split in zip(shapes.names, shapes.labels, shapes.splits, strict=True)
        }
        assert found == {
            "chair_1": ("chair", "train"),
            "chair_2": ("chair", "val"),
            "night_stand_1": ("night_stand", "train"),
            "night_stand_2": ("night_stand", "val"),
        }

    def test_pointflow(self, folder):
        """Numbers get names, and three splits are what they say; the same from within one class."""
        for label in ("02691156", "03001627"):
            for split in ("train", "val", "test"):
                (folder / label / split).mkdir(parents=True)
                np.save(folder / label / split / "x.npy", cloud(20))
        shapes = load_shapes(str(folder), points=10)
        assert shapes.classes == ["airplane", "chair"]
        assert shapes.labels == [0, 0, 0, 1, 1, 1]
        assert shapes.splits == ["test", "train", "val"] * 2
        one = load_shapes(str(folder / "03001627"), points=10)
        assert one.names == ["test/x.npy", "train/x.npy", "val/x.npy"]
        assert (one.classes, one.labels, one.splits) == (["chair"], [0, 0, 0], ["test", "train", "val"])

    def test_train_and_val(self, folder):
        """Without a test/, val/ is what is scored; without either there is no split."""
        for split in ("train", "val"):
            (folder / "chair" / split).mkdir(parents=True)
            np.save(folder / "chair" / split / "x.npy", cloud(20))
        assert load_shapes(str(folder), points=10).splits == ["train", "val"]
        assert load_shapes(str(folder / "chair"), points=10).splits == ["train", "val"]
        assert load_shapes(str(folder / "chair"), points=10).labels is None
        (folder / "chair/val/x.npy").unlink()
        assert load_shapes(str(folder), points=10).splits is None

    def test_shapenet(self, folder):
        """One shape of each model, the normalised one; what else lies in its folder is not read."""
        for synset, model in (("03001627", "abc"), ("03001627", "def"), ("02691156", "abc"), ("99999999", "xyz")):
            models = folder / synset / model / "models"
            box(models / "model_normalized.obj")
            for name in ("model_normalized.mtl", "model_normalized.json", "model_normalized.solid.binvox"):
                (models / name).write_text("no shape")
            if synset != "99999999":
                box(models / "another.ply")
                box(folder / synset / model / "images" / "a.obj")
        (folder / "taxonomy.json").write_text(json.dumps([]))
        shapes = load_shapes(str(folder), points=10)
        assert shapes.names == [
            "02691156/abc/models/model_normalized.obj",
            "03001627/abc/models/model_normalized.obj",
            "03001627/def/models/model_normalized.obj",
            "99999999/xyz/models/model_normalized.obj",
        ]
        assert shapes.classes == ["99999999", "airplane", "chair"]
        assert shapes.labels == [1, 2, 2, 0]
        one = load_shapes(str(folder / "03001627"), points=10)
        assert one.names == ["abc/models/model_normalized.obj", "def/models/model_normalized.obj"]
        assert one.classes == ["chair"]

    def test_synsets(self):
        """55 classes, each once."""
        assert len(SYNSETS) == len(set(SYNSETS.values())) == 55

    def test_whatever_else_lies_there(self, folder, tmp_path):
        """A shape's points depend on its place below data.path and the seed, not on the other files or their order."""
        for name in ("chair/a.off", "chair/b.off", "lamp/a.off"):
            box(folder / name)
        box(tmp_path / "alone/chair/b.off")
        shapes = load_shapes(str(folder), points=50)
        again = load_shapes(str(folder), points=50)
        alone = load_shapes(str(tmp_path / "alone"), points=50)
        other = load_shapes(str(folder), points=50, seed=1)
        assert torch.equal(shapes.points, again.points)
        assert torch.equal(shapes.points[1], alone.points[0])
        assert len({x.numpy().tobytes() for x in (*shapes.points, *other.points)}) == 6


class TestKept:
    @pytest.fixture
    def many(self, folder: Path) -> Path:
        """As many meshes as it takes, with classes, a split, and one that is broken."""
        for i in range(WORTH_KEEPING):
            box(folder / "chair" / ("train" if i % 2 else "test") / f"{i}.off", SIDES + i)
        (folder / "chair/train/junk.off").write_text("junk")
        return folder

    def load(self, many: Path, **options: object) -> genzoo_points.files.Shapes:
        return load_shapes(str(many), **{"points": 20, "normals": True, "on_error": "skip", **options})

    def test_second_time(self, many, cache, monkeypatch, capsys):
        """Equal in every bit, said again, and no file is read; a damaged one is made anew."""
        first = self.load(many)
        said = capsys.readouterr().err
        (kept,) = cache.iterdir()
        with monkeypatch.context() as patch:
            patch.setattr("genzoo_points.files.read_file", lambda file, *_: pytest.fail(f"{file} was read"))
            second = self.load(many)
        assert capsys.readouterr().err == said
        assert said.startswith("skipped chair/train/junk.off ")
        self.assert_same(first, second)
        whole = kept.read_bytes()
        for damaged in (b"", b"junk", whole[: len(whole) // 2]):
            kept.write_bytes(damaged)
            self.assert_same(first, self.load(many))
            assert [*cache.iterdir()] == [kept]
            assert kept.read_bytes() != damaged

    def assert_same(self, first: genzoo_points.files.Shapes, second: genzoo_points.files.Shapes) -> None:
        assert torch.equal(first.points, second.points)
        assert first.points.dtype == second.points.dtype
        for name in ("names", "labels", "classes", "splits", "skipped"):
            assert getattr(first, name) == getattr(second, name), name

    def test_what_was_kept_of_other_files(self, many):
        """A file that was written anew is read again, as is anything when something else is asked for."""
        before = self.load(many)
        box(many / "chair/test/0.off", SIDES + 50)
        after = self.load(many)
        assert not torch.equal(before.points[0], after.points[0])
        assert torch.equal(before.points[1:], after.points[1:])
        assert self.load(many, points=21).points.shape[1] == 21
        assert self.load(many, normals=False).points.shape[2] == 3
        assert not torch.equal(self.load(many, seed=1).points, after.points)
        with pytest.raises(UserError, match="junk.off"):
            self.load(many, on_error="stop")

    def test_without_classes(self, folder):
        """None comes back as None."""
        for i in range(WORTH_KEEPING):
            box(folder / f"{i}.off")
        self.assert_same(self.load(folder), self.load(folder))
        assert self.load(folder).labels is None

    def test_arrays_are_not_kept(self, folder, cache):
        """They are read as quickly."""
        for i in range(WORTH_KEEPING):
            np.save(folder / f"{i}.npy", cloud(20))
        load_shapes(str(folder), points=20)
        assert not cache.exists()

    def test_no_place_to_keep(self, many, cache, monkeypatch):
        """A cache folder that cannot be written is no error."""
        cache.write_text("a file where the folder should be")
        assert len(self.load(many).names) == WORTH_KEEPING


class TestPublic:
    def zipped(self, file: Path, names: dict[str, str]) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(file, "w") as opened:
            for name, content in names.items():
                opened.writestr(name, content)

    def test_modelnet10(self, cache, capsys):
        """The ZIP file, here in place of a download, is unpacked once, and then read as its folder."""
        self.zipped(
            cache / "ModelNet10.zip",
            {
                "ModelNet10/README.txt": "ModelNet",
                "ModelNet10/bed/train/bed_1.off": "OFF" + TRIANGLE,
                "ModelNet10/bed/test/bed_2.off": "OFF\n" + TRIANGLE,
                "__MACOSX/ModelNet10/bed/train/._bed_1.off": "junk",
            },
        )
        shapes = load_shapes("modelnet10", points=10)
        assert "academic research only" in capsys.readouterr().err
        assert shapes.names == ["bed/test/bed_2.off", "bed/train/bed_1.off"]
        assert (shapes.classes, shapes.labels, shapes.splits) == (["bed"], [0, 0], ["val", "train"])
        (cache / "ModelNet10.zip").unlink()
        assert torch.equal(load_shapes("ModelNet10", points=10).points, shapes.points)
        assert sorted(path.name for path in cache.iterdir()) == ["ModelNet10"]

    @pytest.mark.parametrize("name", ["../evil.off", "/tmp/evil.off", "ModelNet40/../../evil.off"])
    def test_nothing_is_written_outside(self, cache, name):
        """A ZIP file that reaches outside of its folder is refused as a whole."""
        self.zipped(cache / "ModelNet40.zip", {"ModelNet40/bed/train/a.off": "OFF" + TRIANGLE, name: "evil"})
        with pytest.raises(UserError, match=r"ModelNet40.zip holds .*evil.off', which lies outside of it"):
            load_shapes("modelnet40", points=10)
        assert [path.name for path in cache.iterdir()] == ["ModelNet40.zip"]
        assert not [*cache.parent.rglob("evil.off")]

    @pytest.mark.parametrize("content", [b"junk", None])
    def test_damaged(self, cache, content):
        """No ZIP file, or one of something else: the line says what to do."""
        if content:
            cache.mkdir()
            (cache / "ModelNet10.zip").write_bytes(content)
        else:
            self.zipped(cache / "ModelNet10.zip", {"other/a.off": "OFF" + TRIANGLE})
        with pytest.raises(UserError, match=r"ModelNet10.zip cannot be unpacked .*delete it"):
            load_shapes("modelnet10", points=10)
        assert [path.name for path in cache.iterdir()] == ["ModelNet10.zip"]


class TestNormalise:
    @pytest.fixture
    def x(self) -> torch.Tensor:
        """[S, P, 6]: shapes of several sizes and places."""
        x = torch.from_numpy(np.stack([cloud(200, 6, seed=i) for i in range(4)]))
        x[..., :3] = x[..., :3] * torch.tensor([1.0, 3.0, 0.1, 20.0])[:, None, None] + torch.arange(3.0)
        return x

    @pytest.mark.parametrize("mode", ["shape", "global", "none"])
    def test_inverse(self, x, mode):
        """What was moved and divided comes back, and the channels of normals were never touched."""
        before = x.clone()
        y, centre, scale = normalise(x, mode)
        assert torch.equal(x, before)
        assert torch.equal(y[..., 3:], x[..., 3:])
        assert centre.shape == ((4, 3) if mode == "shape" else (3,))
        assert scale.shape == ((4,) if mode == "shape" else ())
        back = y[..., :3] * scale[..., None, None] + centre.unsqueeze(-2)
        assert torch.allclose(back, x[..., :3], atol=1e-5)

    def test_shape(self, x):
        """Each fills the unit sphere about the middle of its bounding box."""
        y = normalise(x, "shape")[0][..., :3]
        assert torch.allclose(y.norm(dim=-1).amax(dim=1), torch.ones(4), atol=1e-6)
        assert torch.allclose(y.amin(dim=1), -y.amax(dim=1), atol=1e-5)

    def test_global(self, x):
        """All fit into the unit sphere, about the mean of all, in their places and sizes to each other."""
        y = normalise(x, "global")[0][..., :3]
        assert y.norm(dim=-1).max().item() == pytest.approx(1, abs=1e-6)
        assert torch.allclose(y.mean(dim=(0, 1)), torch.zeros(3), atol=1e-5)
        sizes = x[..., :3].std(dim=1).norm(dim=-1), y.std(dim=1).norm(dim=-1)
        assert torch.allclose(sizes[0] / sizes[0][0], sizes[1] / sizes[1][0], rtol=1e-4)

    def test_none(self, x):
        """Nothing is changed."""
        assert torch.equal(normalise(x, "none")[0], x)

    def test_one_point(self):
        """No division by zero."""
        y, _, scale = normalise(torch.full((2, 5, 3), 7.0), "shape")
        assert torch.equal(y, torch.zeros(2, 5, 3))
        assert torch.equal(scale, torch.ones(2))

    def test_unknown(self, x):
        """The line names the modes."""
        with pytest.raises(UserError, match="shape, global or none"):
            normalise(x, "sphere")


def test_progress_without_a_terminal(folder, monkeypatch, capsys):
    """A line now and then, on stderr."""
    for i in range(3):
        np.save(folder / f"{i}.npy", cloud(20))
    now = iter(range(0, 1000, 8))
    monkeypatch.setattr("genzoo.progress.time.monotonic", lambda: next(now))
    load_shapes(str(folder), points=20)
    assert capsys.readouterr().err == "shapes 1/3\n"
