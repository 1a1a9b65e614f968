"""Shapes as examples: pure batches, splits that share nothing, the data's own units, parts, files, and scores whose
answer is known.

Legend: S shapes, N points of an example, P points of a part.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from genzoo.config import scores_of
from genzoo.contract import Batch, Data
from genzoo.errors import UserError
from genzoo_points import classifier, metrics
from genzoo_points.data import PointsData
from genzoo_points.files import load_shapes

trimesh = pytest.importorskip("trimesh", reason="the extra 'points' is not installed")

DENSE = 96
"""Points of each shape in the files."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("GENZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def forms(kinds: list[str], points: int = DENSE, seed: int = 0) -> np.ndarray:
    """float32 [S, P, 6], in millimetres, somewhere: ellipsoids that are flat ("disc") or long ("rod"), and normals."""
    rng = np.random.default_rng(seed)
    ball = rng.normal(size=(len(kinds), points, 3))
    ball /= np.linalg.norm(ball, axis=2, keepdims=True)
    axes = np.array([{"disc": (1, 1, 0.1), "rod": (0.1, 0.1, 1), "ball": (0.8, 0.8, 0.8)}[kind] for kind in kinds])
    axes = (axes * rng.uniform(0.6, 1, (len(kinds), 3)))[:, None]
    normals = ball / axes
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    shift = np.array((100, -40, 7)) + rng.normal(size=(len(kinds), 1, 3))
    return np.concatenate((50 * axes * ball + shift, normals), axis=2).astype(np.float32)


MIXED = ["rod", "disc"] * 6


@pytest.fixture
def npz(tmp_path: Path) -> Callable[..., str]:
    """Writes shapes into a file and gives its path."""

    def write(
        kinds: list[str] = MIXED, *, name: str = "forms.npz", labels: bool = True, normals: bool = False, seed: int = 0
    ) -> str:
        x = forms(kinds, seed=seed)
        file, named = tmp_path / name, {"labels": np.array(kinds)} if labels else {}
        np.savez(file, points=x if normals else x[..., :3], **named)
        return str(file)

    return write


def prepared(path: str, **options) -> PointsData:
    data = PointsData(path=path, **{"points": 32, "dense": DENSE, "seen": 16, **options})
    data.prepare()
    return data


def travelled(data: PointsData, **options) -> PointsData:
    """Another that only has the first one's state, as JSON."""
    other = PointsData(**{"points": data.points, "normals": data.normals, "dense": DENSE, "seen": data.seen, **options})
    other.load_state_dict(json.loads(json.dumps(data.state_dict())))
    return other


def points_of(x: Tensor | np.ndarray) -> set[tuple[float, ...]]:
    return {tuple(row) for row in np.asarray(x).tolist()}


def gap(made: Tensor, true: Tensor) -> float:
    """How far the farthest of the points [N, 3] is from all of the others [M, 3]."""
    return (made[:, None] - true).norm(dim=-1).amin(1).max().item()


def shapes_of(data: PointsData, split: str) -> list[frozenset]:
    """What shapes a split sweeps through, as sets of points: with all points of each."""
    return [frozenset(points_of(x)) for batch in data.sweep(split, 5) for x in batch.x]


def same(a: Batch, b: Batch) -> bool:
    return (
        torch.equal(a.x, b.x)
        and a.cond.keys() == b.cond.keys()
        and all(torch.equal(a.cond[name], b.cond[name]) for name in a.cond)
    )


# What there is before, and after


@pytest.mark.parametrize("normals", [False, True])
def test_spec(npz, normals):
    """An example is N points, with a label and a part where there are such; a score is counted in coordinates."""
    data, channels = prepared(npz(normals=True), normals=normals, partial=0.5), 6 if normals else 3
    assert isinstance(data, Data)
    assert data.classes == ["disc", "rod"]
    context = {"partial": (16, 3), "known": ()}
    assert data.spec.to_dict() == {"shape": (32, channels), "vocab": 0, "classes": 2, "context": context}
    batch = data.batch(0, 3, "train")
    assert batch.x.shape == (3, 32, channels)
    assert {name: tuple(value.shape) for name, value in batch.cond.items()} == {
        "partial": (3, 16, 3),
        "known": (3,),
        "label": (3,),
    }
    assert batch.x.dtype == batch.cond["partial"].dtype == torch.float32
    assert batch.cond["label"].dtype == torch.int64
    assert (data.units("val"), data.unit) == (2 * 32 * channels, "coordinate")
    bare = prepared(npz(labels=False, name="bare.npz"))
    assert bare.spec.to_dict() == {"shape": (32, 3), "vocab": 0, "classes": 0, "context": {}}
    assert bare.batch(0, 3, "train").cond == {}


def test_constructor_opens_nothing(tmp_path):
    data = PointsData(path=str(tmp_path / "nowhere.npz"))
    with pytest.raises(UserError, match=r"nowhere\.npz"):
        data.prepare()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"points": 0}, r"data\.points and data\.seen must be at least 1"),
        ({"seen": 0}, r"data\.points and data\.seen must be at least 1"),
        ({"normalise": "unit"}, r"data\.normalise is shape, global or none, not 'unit'"),
        ({"val_fraction": 0.0}, r"data\.val_fraction must lie above 0, up to 1"),
        ({"val_fraction": 1.1}, r"data\.val_fraction must lie above 0, up to 1"),
        ({"partial": -0.1}, r"data\.partial from 0 to 1"),
        ({"partial": 1.1}, r"data\.partial from 0 to 1"),
        ({"mirror": "xw"}, r"data\.mirror is of x, y and z.*'xw'"),
        ({"up": "w"}, r"data\.up is one of them.*'w'"),
    ],
)
def test_arguments_out_of_range(options, said):
    """Refused by key, before anything is opened."""
    with pytest.raises(UserError, match=said) as error:
        PointsData(**options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"points": 200}, r"data\.points asks for 200"),
        ({"normals": True}, r"data\.normals asks for"),
        ({"val_last": 0}, "none is left for val"),
        ({"val_last": 12}, "none is left for train"),
        ({"val_fraction": 1.0}, "none is left for train"),
        ({"path": ""}, r"data\.path is empty"),
        ({"path": "shapes", "embedded": {"shape": 3}}, r"data\.embedded\.shape, did you mean"),
        ({"path": "shapes", "embedded": {"shapes": "many"}}, r"data\.embedded\.shapes=many"),
    ],
)
def test_choices_that_leave_nothing(npz, options, said):
    """Refused in one line, by key."""
    with pytest.raises(UserError, match=said) as error:
        prepared(**{"path": npz(), **options})
    assert "\n" not in str(error.value)


def test_splits_by_name(npz):
    with pytest.raises(UserError, match="split is train or val for this data, not 'test'"):
        prepared(npz()).batch(0, 1, "test")


# Batches


@pytest.mark.parametrize("split", ["train", "val"])
def test_batch_is_pure(npz, split):
    """A batch depends on its arguments alone, not on what was asked before, nor on which object is asked; another seed
    gives others."""
    options = {"path": npz(normals=True), "normals": True, "partial": 0.5, "mirror": "x", "val_last": 5}
    one, two, other = prepared(**options), prepared(**options), prepared(**options, seed=1)
    want = [one.batch(step, 5, split) for step in range(4)]
    for step in (3, 1, 1, 0):
        assert same(two.batch(step, 5, split), want[step])
    assert not any(torch.equal(other.batch(step, 5, split).x, want[step].x) for step in range(4))


@pytest.mark.parametrize("rows", [range(0, 8), range(0, 3), range(5, 8), range(7, 8), range(1, 8, 3)])
@pytest.mark.parametrize("split", ["train", "val"])
def test_rows_are_a_part_of_the_batch(npz, rows, split):
    """Each process makes its own rows of the one whole batch, also where an epoch ends within it."""
    data = prepared(npz(), partial=0.5, mirror="xy")
    for step in (0, 1, 6):
        whole, part = data.batch(step, 8, split), data.batch(step, 8, split, rows)
        rows_of_it = Batch(whole.x[list(rows)], {name: value[list(rows)] for name, value in whole.cond.items()})
        assert same(part, rows_of_it)


def test_an_epoch_visits_each_shape_once(npz):
    """Ten shapes are trained on, in a new order each epoch."""
    data = prepared(npz(), points=DENSE)
    want = sorted(map(sorted, shapes_of(data, "train")))
    orders = []
    for epoch in (0, 1, 5):
        batches = [data.batch(2 * epoch + half, 5, "train") for half in (0, 1)]
        orders.append([sorted(points_of(x)) for batch in batches for x in batch.x])
    assert all(sorted(order) == want for order in orders)
    assert orders[0] != orders[1] != orders[2]


def test_points_are_drawn_anew(npz):
    """Each time other points of the same shape, none twice; once through the split always the same ones."""
    data, whole = prepared(npz(), val_last=1), prepared(npz(), val_last=1, points=DENSE)
    (shape,) = shapes_of(whole, "val")
    drawn = [frozenset(points_of(data.batch(step, 1, "val").x[0])) for step in range(5)]
    assert all(len(points) == 32 and points <= shape for points in drawn)
    assert len(set(drawn)) == 5
    assert len(frozenset().union(*drawn)) > 75, "96 (1 - (2/3)^5) = 83 of all points"
    assert shapes_of(data, "val") == shapes_of(prepared(npz(), val_last=1), "val")


@pytest.mark.parametrize("size", [1, 4, 10, 64])
def test_sweep(npz, size):
    """Every shape once, in an order of its own, the same in batches of any size; as it is, never mirrored."""
    data = prepared(npz(), partial=0.5, mirror="xyz")
    batches, (whole,) = [*data.sweep("train", size)], data.sweep("train", 64)
    assert all(len(batch) <= size for batch in batches)
    found = {name: torch.cat([batch.cond[name] for batch in batches]) for name in whole.cond}
    assert same(Batch(torch.cat([batch.x for batch in batches]), found), whole)
    assert whole.cond["label"].bincount().tolist() == [5, 5]
    assert 0 < whole.cond["known"].sum() < 10
    for x, place in zip(whole.x, data.rows["train"], strict=True):
        assert points_of(x) <= points_of(data.x[place])


def test_labels_go_with_their_shapes(npz):
    """A disc is flat and a rod is long, in training, too."""
    data = prepared(npz(), partial=0.5)
    for batch in [*data.sweep("train", 64), *data.sweep("val", 64), data.batch(3, 16, "train")]:
        flat = batch.x.std(dim=1)[:, 2] < batch.x.std(dim=1)[:, 0]
        assert torch.equal(flat, batch.cond["label"] == data.classes.index("disc"))


# Splits


@pytest.mark.parametrize(("fraction", "each"), [(0.01, 1), (0.1, 1), (0.5, 3)])
def test_splits_share_nothing(npz, fraction, each):
    """Each class has its part in both; another seed draws others."""
    data = prepared(npz(), points=DENSE, val_fraction=fraction)
    train, val = shapes_of(data, "train"), shapes_of(data, "val")
    assert not set(train) & set(val)
    assert len({*train, *val}) == 12
    for split, count in (("train", 6 - each), ("val", each)):
        assert data.labels[data.rows[split]].tolist().count(0) == count
        assert data.labels[data.rows[split]].tolist().count(1) == count
    others = {tuple(prepared(npz(), val_fraction=fraction, seed=seed).rows["val"]) for seed in range(4)}
    assert len(others) > 1


def test_the_last_shapes(npz):
    data = prepared(npz(), val_last=3)
    assert data.rows["val"].tolist() == [9, 10, 11]
    assert data.rows["train"].tolist() == [*range(9)]


def test_official_splits(tmp_path):
    """train/ and test/ of the folders are the splits, whatever val_fraction says."""
    x = forms(["disc", "rod"] * 4)[..., :3]
    for i, points in enumerate(x):
        file = tmp_path / "set" / ("disc", "rod")[i % 2] / ("train" if i < 6 else "test") / f"{i}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, points)
    data = prepared(str(tmp_path / "set"), points=DENSE, normalise="none", val_fraction=0.9)
    assert set(shapes_of(data, "val")) == {frozenset(points_of(points)) for points in x[6:]}
    assert set(shapes_of(data, "train")) == {frozenset(points_of(points)) for points in x[:6]}


# Units


@pytest.mark.parametrize("mode", ["shape", "global", "none"])
@pytest.mark.parametrize("normals", [False, True])
def test_units(npz, mode, normals):
    """One undoes the other; normals stay what they are. Shapes are in the unit sphere, each or all together, or as they
    are in the file; the state brings samples back to the file's size and place."""
    path = npz(normals=True)
    data = prepared(path, points=DENSE, normalise=mode, normals=normals)
    raw = load_shapes(path, points=DENSE, normals=normals).points
    model = data.encode(raw)
    torch.testing.assert_close(data.decode(model), raw, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(data.decode(model[0, 0]), raw[0, 0], rtol=1e-5, atol=1e-4)
    assert torch.equal(model[..., 3:], raw[..., 3:])
    assert torch.equal(data.x[..., 3:], raw[..., 3:])
    reach = data.x[..., :3].norm(dim=-1).amax(1)
    xyz = raw[..., :3]
    if mode == "none":
        assert torch.equal(data.x, raw)
        assert torch.equal(model, raw)
    elif mode == "global":
        torch.testing.assert_close(data.x, model)
        assert reach.max().item() == pytest.approx(1)
        assert reach.min() < 0.9
        assert data.x[..., :3].mean((0, 1)).abs().max() < 1e-5
    else:
        torch.testing.assert_close(reach, torch.ones(12))
        middle, made = (xyz.amin(1) + xyz.amax(1)) / 2, data.decode(data.x)[..., :3]
        torch.testing.assert_close(data.x[..., :3].amin(1), -data.x[..., :3].amax(1))
        scale = (xyz - middle[:, None]).norm(dim=-1).amax(1)
        torch.testing.assert_close((made.amin(1) + made.amax(1)) / 2, middle.median(0).values.expand(12, 3))
        found = (made - middle.median(0).values).norm(dim=-1).amax(1)
        torch.testing.assert_close(found, scale.median().expand(12))


def test_normals_of_samples_are_of_unit_length(npz):
    """A model's are not."""
    data = prepared(npz(normals=True), normals=True)
    x = torch.randn(5, 32, 6, generator=torch.Generator().manual_seed(0))
    made = data.decode(x)[..., 3:]
    torch.testing.assert_close(made.norm(dim=-1), torch.ones(5, 32))
    torch.testing.assert_close(made * x[..., 3:].norm(dim=-1, keepdim=True), x[..., 3:])


@pytest.mark.parametrize("axes", ["x", "zy"])
def test_mirror(npz, axes):
    """Training shapes are turned over along these axes, each by itself and half of the time; normals go with them."""
    options = {"path": npz(normals=True), "normals": True, "points": DENSE}
    plain, data, mirrored = prepared(**options), prepared(**options, mirror=axes), set()
    for step in range(8):
        was, now = plain.batch(step, 5, "train").x, data.batch(step, 5, "train").x
        for a, b in zip(was, now, strict=True):
            sign = (b / a).sign().mean(0).round()
            assert torch.equal(b, a * sign)
            assert torch.equal(sign[:3], sign[3:])
            mirrored.add(tuple(sign[:3].tolist()))
        assert same(plain.batch(step, 5, "val"), data.batch(step, 5, "val"))
    assert len(mirrored) == 2 ** len(axes)
    assert all(sign["xyz".index(axis)] == 1 for sign in mirrored for axis in set("xyz") - set(axes))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("split", ["train", "val"])
def test_some_are_told_a_part(npz, share, split):
    """So many of those that are trained on and validated, a part of just the points that they have."""
    data, counted = prepared(npz(), partial=share, mirror="x"), 0
    for step in range(10):
        batch = data.batch(step, 20, split)
        if not share:
            assert set(batch.cond) == {"label"}
            continue
        known = batch.cond["known"]
        assert set(known.tolist()) <= {0.0, 1.0}
        counted += int(known.sum())
        for x, part, told in zip(batch.x, batch.cond["partial"], known, strict=True):
            assert points_of(part) <= points_of(x) if told else not part.any()
    assert abs(counted / 200 - share) < 0.12


# Wishes


def test_labels_that_are_wished(npz):
    """Each class in turn, or one; others are refused, with what there is."""
    data = prepared(npz())
    assert data.request(5).cond["label"].tolist() == [0, 1, 0, 1, 0]
    assert data.request(3, label="rod").cond["label"].tolist() == [1, 1, 1]
    with pytest.raises(UserError, match="label=chair: the classes of this model are disc, rod"):
        data.request(1, label="chair")
    bare = prepared(npz(labels=False, name="bare.npz"))
    assert (bare.request(2).cond, bare.request(2).options, bare.request(2).titles) == ({}, {}, ())
    with pytest.raises(UserError, match="label=disc: .* none, it was trained without"):
        bare.request(1, label="disc")


@pytest.mark.parametrize("mode", ["shape", "global", "none"])
def test_part_from_a_file(npz, tmp_path, mode):
    """In the data's units, in any number of points; every sample is told the same."""
    data, x = prepared(npz(), partial=0.5, normalise=mode), forms(["rod"], seed=3)[0, :, :3]
    if mode == "none":  # data that fit the unit sphere already
        x = (x - (100, -40, 7)).astype(np.float32) / 60
    for n in (10, 60):
        np.save(tmp_path / f"scan{n}.npy", x[:n])
        request = data.request(3, partial=str(tmp_path / f"scan{n}.npy"), label="rod")
        cond, more = request.cond, request.options
        assert more == {}
        assert cond["partial"].shape == (3, 16, 3)
        assert cond["known"].tolist() == [1, 1, 1]
        assert cond["label"].tolist() == [1, 1, 1]
        assert all(torch.equal(part, cond["partial"][0]) for part in cond["partial"])
        assert gap(data.decode(cond["partial"][0]), torch.from_numpy(x[:n])) < 1e-3
        assert len(points_of(cond["partial"][0])) == min(n, 16)
    assert not data.request(3).cond["known"].any(), "no wish, no part"


@pytest.mark.parametrize(
    "mode",
    [
        "shape",
        "global",
        "none",
    ],
)
def test_part_of_what_is_trained_on(tmp_path, mode):
    """Always fits, also where the data's own units are kept and shapes have a standard deviation of 1 in them."""
    x = forms(["rod"] * 8)[..., :3]
    x -= x.mean((0, 1))
    np.save(tmp_path / "forms.npy", x / x.std())
    data = prepared(str(tmp_path / "forms.npy"), partial=0.5, normalise=mode)
    for i, shape in enumerate(data.decode(data.x).numpy()):
        np.save(tmp_path / f"{i}.npy", shape)
        assert data.request(1, partial=str(tmp_path / f"{i}.npy")).cond["known"].item() == 1


def test_part_without_normals_or_a_label(npz, tmp_path):
    """A scan seldom has the ones, and nobody looks at them; of the other it is none unless it is given."""
    data = prepared(npz(normals=True), normals=True, partial=0.5)
    np.save(tmp_path / "scan.npy", forms(["rod"])[0, :40, :3])
    cond = data.request(2, partial=str(tmp_path / "scan.npy")).cond
    assert cond["partial"].shape == (2, 16, 3)
    assert cond["label"].tolist() == [2, 2]


@pytest.mark.parametrize("change", [lambda x: 1000 * x, lambda x: x + 500])
def test_part_in_another_unit_or_place(npz, tmp_path, change):
    """Is refused, with what would fit."""
    data = prepared(npz(), partial=0.5)
    np.save(tmp_path / "scan.npy", change(forms(["rod"])[0, :40, :3]))
    with pytest.raises(UserError, match=r"partial=.*scan\.npy reaches .* times .* within 4\d.* of \(99\.\d.*\): scale"):
        data.request(2, partial=str(tmp_path / "scan.npy"))


@pytest.mark.parametrize("mode", ["shape", "global"])
@pytest.mark.parametrize("normals", [False, True])
def test_ends_from_files(npz, tmp_path, mode, normals):
    """Two shapes as the model would have them in training; all samples on the way have one label, or none, and their
    places on it."""
    data, x = prepared(npz(normals=True), normals=normals, normalise=mode), forms(["rod", "disc"], seed=3)[..., :3]
    files = [str(tmp_path / "a.npy"), str(tmp_path / "b.npy")]
    for file, points in zip(files, x, strict=True):
        np.save(file, points)
    request = data.request(5, between=files)
    cond, more = request.cond, request.options
    assert set(more) == {"between"}
    ends = torch.stack(more["between"])
    assert ends.shape == (2, 32, 3)
    assert cond["way"].tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert cond["label"].tolist() == [2] * 5
    assert data.request(5, between=files, label="rod").cond["label"].tolist() == [1] * 5
    if mode == "shape":
        assert torch.allclose(ends.norm(dim=-1).amax(1), torch.ones(2))
    else:
        for made, points in zip(data.decode(ends), torch.from_numpy(x), strict=True):
            assert gap(made, points) < 1e-3


@pytest.mark.parametrize("up", ["x", "y", "z"])
def test_samples_are_parts_and_ends(npz, tmp_path, up):
    """What was written as a file, upright as its format has it, is read again as it was."""
    data = prepared(npz(), partial=0.5, normalise="global", up=up)
    x = data.batch(0, 2, "val").x[..., :3]
    for kind in ("ply", "glb", "npz"):
        request = data.request(1, format=kind)
        files = [str(data.write(each, tmp_path / f"{up}{i}", request)) for i, each in enumerate(x)]
        request = data.request(1, between=files, partial=files[0])
        cond, more = request.cond, request.options
        for made, true in zip((*more["between"], cond["partial"][0]), (*x, x[0]), strict=True):
            assert gap(made, true) < 1e-5


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"format": "obj"}, r"format is ply, glb or npz, not 'obj'"),
        ({"format": "npz", "mesh": True}, r"a mesh is written as ply or glb"),
        ({"partial": "nowhere.npy"}, r"partial=nowhere\.npy: there is no such file"),
        ({"partial": "two.npy"}, r"partial=two\.npy holds 2 shapes"),
        ({"between": ["one.npy"]}, r"between is two files, as in between=\[a\.ply,b\.ply\], not 1"),
        ({"between": ["one.npy", "nowhere.npy"]}, r"between=nowhere\.npy: there is no such file"),
        ({"between": ["one.npy", "few.npy"]}, r"between=few\.npy has 5 points"),
    ],
)
def test_wishes_that_cannot_be(npz, tmp_path, monkeypatch, wish, said):
    """One line that names the key and the file."""
    monkeypatch.chdir(tmp_path)
    x = forms(["rod", "disc"])[..., :3]
    for name, points in (("one", x[0]), ("two", x), ("few", x[0, :5])):
        np.save(f"{name}.npy", points)
    with pytest.raises(UserError, match=said) as error:
        prepared(npz(), partial=0.5).request(2, **wish)
    assert "\n" not in str(error.value)


def test_a_part_without_having_learned_it(npz, tmp_path):
    with pytest.raises(UserError, match=r"partial: this model was trained without parts: .*data\.partial=0\.3"):
        prepared(npz()).request(1, partial=str(tmp_path / "scan.npy"))


# A state that travels


@pytest.mark.parametrize("mode", ["shape", "global", "none"])
def test_state_travels(npz, tmp_path, mode):
    """What was fitted is all that sampling needs: no file is opened; training and scoring go on as they were."""
    options = {"path": npz(normals=True), "normalise": mode, "partial": 0.5, "up": "y", "normals": True, "val_last": 4}
    data = prepared(**options)
    other = travelled(data, path=str(tmp_path / "nowhere.npz"), normalise=mode)
    assert other.spec == data.spec
    assert same(Batch(torch.zeros(3), other.request(3).cond), Batch(torch.zeros(3), data.request(3).cond))
    x = torch.randn(32, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(other.decode(x), data.decode(x))
    assert torch.equal(other.encode(x), data.encode(x))
    files = [d.write(x, tmp_path / name, d.request(1)) for d, name in ((data, "a"), (other, "b"))]
    assert files[0].read_bytes() == files[1].read_bytes()
    again = travelled(data, **options)
    again.prepare()
    assert again.state_dict() == data.state_dict()
    assert again.fingerprint("train") == data.fingerprint("train")
    assert same(again.batch(2, 6, "train"), data.batch(2, 6, "train"))


def test_other_data_in_the_units_of_the_first(npz):
    """Scoring a model on another file: in the units and with the labels that it was trained with."""
    data = prepared(npz(MIXED, name="a.npz"), normalise="global")
    path = npz(["rod"] * 6, name="b.npz", seed=1)
    other = travelled(data, path=path, normalise="global", val_fraction=1.0)
    other.prepare()
    raw = load_shapes(path, points=32, dense=DENSE).points
    assert torch.equal(other.x, data.encode(raw))
    assert set(other.labels.tolist()) == {1}, "rods, though they are the only class here"
    assert len(next(other.sweep("val", 9)).x) == 6, "all are scored"


def test_data_that_the_model_does_not_know(npz):
    """Another class is refused by name."""
    data = prepared(npz())
    other = travelled(data, path=npz(["rod", "ball"] * 4, name="b.npz"))
    with pytest.raises(UserError, match=r"b\.npz has classes the model does not know: ball"):
        other.prepare()
    with pytest.raises(UserError, match="this checkpoint is not one of points"):
        PointsData().load_state_dict({"vocab": ["a"]})


def test_data_without_the_labels_that_the_model_knows(npz):
    """Is refused, with the classes."""
    other = travelled(prepared(npz()), path=npz(name="bare.npz", labels=False))
    with pytest.raises(UserError, match=r"bare\.npz has no classes; .*: disc, rod"):
        other.prepare()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"points": 64}, r"data\.points: .* trained with points=32, not 64"),
        ({"normals": True}, r"data\.normals: .* trained with channels=3, not 6"),
        ({"partial": 0.5, "seen": 20}, r"data\.seen: .* trained with seen=16, not 20"),
    ],
)
def test_what_the_weights_have_fixed(npz, options, said):
    """Cannot be wished otherwise, and is not passed over in silence."""
    with pytest.raises(UserError, match=said):
        travelled(prepared(npz(), partial=0.5), **options)


def test_fingerprint(npz):
    """Of all points of a split and their labels: of two runs the same; other points, labels or splits have others."""
    data = prepared(npz())
    assert data.fingerprint("val") == prepared(npz()).fingerprint("val")
    found = {data.fingerprint(split) for split in ("train", "val")}
    found |= {prepared(npz(), val_last=2).fingerprint(split) for split in ("train", "val")}
    found |= {prepared(npz(seed=1, name="b.npz")).fingerprint(split) for split in ("train", "val")}
    found |= {prepared(npz(MIXED[::-1], seed=1, name="c.npz")).fingerprint(split) for split in ("train", "val")}
    path = Path(npz(name="d.npz"))
    with np.load(path) as arrays:  # the same points in classes of other names
        np.savez(path, points=arrays["points"], labels=np.array([f"a {kind}" for kind in MIXED]))
    found |= {prepared(str(path)).fingerprint(split) for split in ("train", "val")}
    assert len(found) == 10
    assert all(len(digest) == 64 for digest in found)


# Files


@pytest.mark.parametrize("kind", ["ply", "glb", "npz"])
@pytest.mark.parametrize("normals", [False, True])
def test_files_of_points(npz, tmp_path, kind, normals):
    """Hold the sample in the data's units, with normals where it has some."""
    data = prepared(npz(normals=True), normals=normals, normalise="global")
    request = data.request(2, format=kind)
    x = torch.randn(2, 50, 6 if normals else 3, generator=torch.Generator().manual_seed(0))
    files = data.write_all(x, tmp_path, request)
    assert [file.name for file in files] == [f"000.{kind}", f"001.{kind}"]
    for file, made in zip(files, data.decode(x).numpy(), strict=True):
        if kind == "npz":
            with np.load(file) as arrays:
                assert set(arrays.files) == ({"points", "normals"} if normals else {"points"})
                found = np.concatenate([arrays[name] for name in ("points", "normals") if name in arrays.files], axis=1)
            assert np.array_equal(found, made)
        else:
            loaded = trimesh.load_scene(file).geometry.popitem()[1]
            assert np.allclose(loaded.vertices, made[:, :3], rtol=1e-6)
        assert not normals or kind != "ply" or b"property float nz" in file.read_bytes()[:400]


@pytest.mark.parametrize("kind", ["ply", "glb"])
def test_files_of_surfaces(npz, tmp_path, kind):
    """Closed, around the points, in the data's units."""
    data = prepared(npz(), normalise="global")
    request = data.request(1, mesh=True, format=kind)
    x = data.encode(torch.from_numpy(forms(["ball"], points=400)[0, :, :3]))
    file = data.write(x, tmp_path / "ball", request)
    mesh = trimesh.load(file, force="mesh")
    assert mesh.is_watertight
    made = data.decode(x).numpy()
    if kind == "ply":  # GLB is turned upright
        assert np.allclose(mesh.bounds, (made.min(axis=0), made.max(axis=0)), atol=5)


def test_pictures(npz, tmp_path):
    """A sheet with all samples; on a wish, each of them turning, beside its file."""
    data = prepared(npz())
    request = data.request(3, turntable=True)
    x = data.batch(0, 3, "val").x
    files = data.write_all(x[:1], tmp_path, request)
    assert [file.name for file in files] == ["000.ply", "000.gif"]
    with Image.open(files[1]) as gif:
        assert gif.n_frames > 10
    with Image.open(data.preview(x, tmp_path / "preview", request)) as sheet:
        assert sheet.format == "PNG"
        assert np.asarray(sheet.convert("L")).min() < 200
    assert travelled(data).preview(x, tmp_path / "untold", request).suffix == ".png"


# Scores


def test_reference_takes_each_class_in_turn(npz):
    """As samples are drawn, until there are no more; x, y, z of each."""
    data = prepared(npz(["rod"] * 6 + ["disc"] * 4, normals=True), normals=True, val_fraction=0.5)
    x = data.reference(99, "val")
    assert x.shape == (5, 32, 3)
    flat = (x.std(1)[:, 2] < x.std(1)[:, 0]).tolist()
    assert flat == [True, False, True, False, False]
    assert torch.equal(data.reference(3, "val"), x[:3])
    assert {frozenset(points_of(c)) for c in x} == {
        frozenset(points_of(c[:, :3])) for batch in data.sweep("val", 9) for c in batch.x
    }
    bare = prepared(npz(labels=False, name="bare.npz"), val_last=3)
    assert torch.equal(bare.reference(9, "val"), next(bare.sweep("val", 9)).x)


QUICK = {"cd_shapes": 24, "emd_points": 16, "emd_shapes": 16}


def test_metrics_of_real_shapes(npz):
    """One half of the shapes beside the other: not to be told apart. Noise is."""
    data = prepared(npz(["rod", "disc"] * 24), val_fraction=0.5)
    real = next(data.sweep("train", 24)).x
    scores = scores_of(data).metrics(real, "val", data.request(1), **QUICK)
    assert set(scores) == {"1-nna", "coverage", "mmd", "jsd", "protocol", "novelty"}
    assert 0.25 < scores["1-nna"]["cd"] < 0.75
    assert 0.25 < scores["1-nna"]["emd"] < 0.75
    assert scores["coverage"]["cd"] > 0.4
    assert scores["novelty"]["samples_to_train"] < scores["novelty"]["test_to_train"], "they are the training shapes"
    assert scores["protocol"]["emd"]["samples"] == 16
    far = torch.rand(24, 32, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    noise = scores_of(data).metrics(far, "val", data.request(1), **QUICK)
    assert noise["1-nna"]["cd"] == 1
    assert noise["jsd"] > 1.5 * scores["jsd"]
    assert noise["novelty"]["ratio"] > 3


@pytest.mark.parametrize("points", [16, 64])
def test_metrics_of_another_number_of_points(npz, points):
    """Fewer or more than the model was trained on, in any order: shapes are compared whole."""
    data = prepared(npz(["rod", "disc"] * 24), val_fraction=0.5)
    whole = data.x[data.rows["train"]][:24, :points]
    order = whole[..., 2].argsort(1)
    scores = scores_of(data).metrics(
        whole.gather(1, order[..., None].expand(-1, -1, 3)), "val", data.request(1), **QUICK
    )
    assert 0.25 < scores["1-nna"]["cd"] < 0.75


def oracle(data: PointsData, split: str, noise: float = 0.0) -> Callable[[dict[str, Tensor], int], Tensor]:
    """Gives shapes that have the label they should, and the part if one is told."""
    x, label = data.x[data.rows[split]][..., :3], data.labels[data.rows[split]]

    def sample(cond: dict[str, Tensor], seed: int) -> Tensor:
        generator, made = torch.Generator().manual_seed(seed), []
        for i in range(len(cond["label"])):
            fits = [shape for shape, kind in zip(x, label, strict=True) if kind == cond["label"][i]] or list(x)
            if cond["known"][i]:
                fits = [shape for shape in fits if points_of(cond["partial"][i]) <= points_of(shape)]
                assert len(fits) == 1, "a part is of one shape of the split"
            made.append(fits[i % len(fits)][torch.randperm(DENSE, generator=generator)[: data.points]])
        made = torch.stack(made)
        return made + noise * torch.randn(made.shape, generator=generator)

    return sample


def test_completion(npz):
    """The truth is nearest, then the most like of the training shapes; noise is far. Means over as many shapes as there
    are."""
    data = prepared(npz(["rod", "disc", "ball"] * 6), partial=0.5, val_fraction=0.3)
    right = metrics.completion(data, oracle(data, "val"), "val", 99)
    wrong = metrics.completion(data, oracle(data, "val", noise=1.0), "val", 99)
    assert right["shapes"] == wrong["shapes"] == 6
    assert right["cd"]["told"] < 0.7 * right["cd"]["nearest_training_shape"]
    assert right["cd"]["told"] < 0.7 * right["cd"]["part"]
    assert right["over_part"]["told"] == pytest.approx(right["cd"]["told"] / right["cd"]["part"])
    assert right["cd"]["swapped"] > 3 * right["cd"]["told"], "of the part alone"
    assert wrong["cd"]["told"] > 10 * right["cd"]["told"]
    assert wrong["cd"]["part"] == right["cd"]["part"]
    assert wrong["cd"]["nearest_training_shape"] == right["cd"]["nearest_training_shape"]
    assert metrics.completion(data, oracle(data, "val"), "val", 2)["shapes"] == 2


def test_agreement_and_its_classifier(npz, cache):
    """Real shapes are seen as what they are, noise is seen as one thing whatever was asked for. The classifier is kept
    for these training shapes, and made anew it is the same bit for bit."""
    data = prepared(npz(["rod", "disc", "ball"] * 6), partial=0.01, val_fraction=0.3)
    right = metrics.agreement(data, oracle(data, "train"), "val", 4)
    assert right["asked_label"]["told"] > 0.9
    assert right["asked_label"]["swapped"] < 0.1
    assert right["real"] > 0.8
    assert set(right["by_class"]) == {"rod", "disc", "ball"}
    assert right["samples"] == 12
    noise = lambda cond, seed: torch.rand(len(cond["label"]), 32, 3) * 2 - 1  # noqa: E731
    wrong = metrics.agreement(data, noise, "val", 4)
    assert wrong["asked_label"]["told"] < 0.6
    assert np.mean([*wrong["by_class"].values()]) == pytest.approx(wrong["asked_label"]["told"])
    assert wrong["real"] == right["real"]
    (file,) = cache.iterdir()
    kept = file.read_bytes()
    stamp = file.stat().st_mtime_ns
    classifier.classifier(data)
    assert file.stat().st_mtime_ns == stamp, "no second training"
    file.unlink()
    torch.manual_seed(7)
    classifier.classifier(data)
    assert file.read_bytes() == kept


def test_classifier_does_not_mind_order_or_number():
    """Of the points."""
    net = classifier.PointClassifier(3)
    x = torch.randn(4, 50, 3)
    torch.testing.assert_close(net(x[:, torch.randperm(50)]), net(x), rtol=0, atol=1e-5)
    torch.testing.assert_close(net(torch.cat((x, x), 1)), net(x), rtol=0, atol=1e-5)
    assert classifier.thinned(torch.randn(2, 2000, 6), 0).shape == (2, classifier.POINTS, 3)


def test_scores_that_are_not_asked_for(npz):
    """Or that the model has not learned: none, and no sample drawn."""

    def never(cond: dict[str, Tensor], seed: int) -> Tensor:
        raise AssertionError

    data = prepared(npz(), partial=0.5)
    assert scores_of(data).conditional_metrics(never, "val", completions=0, a_class=0) == {}
    assert scores_of(prepared(npz(labels=False, name="bare.npz"))).conditional_metrics(never, "val") == {}
    told = scores_of(data).conditional_metrics(oracle(data, "val"), "val", completions=1, a_class=0)
    assert set(told) == {"completion"}
