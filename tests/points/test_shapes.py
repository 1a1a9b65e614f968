"""The embedded shapes: parts in closed form, conventions, variety, classes that are told apart, and the cache.

Legend: S shapes, P points.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import genzoo_points.shapes
from genzoo.draws import numpy_generator
from genzoo.errors import UserError
from genzoo_points.shapes import KINDS, embedded_shapes, make_mesh, sampled
from genzoo_points.solids import Trimesh, box, mirrored, plate, tube, turned

EACH = 20
POINTS = 2048


@cache
def mesh_of(kind: str, i: int) -> Trimesh:
    """Shape i of a kind. Shared: it is not to be changed."""
    return make_mesh(kind, numpy_generator("shape", 0, kind, i))


@cache
def clouds_of(kind: str) -> NDArray[np.float64]:
    """[S, P, 6] of a kind."""
    return np.stack([sampled(kind, i, POINTS, 0) for i in range(EACH)])


def grid_of(cloud: NDArray[np.float64], cells: int = 5) -> NDArray[np.float64]:
    """How many of the points [P, 3 or more] lie in each cell of a cube around the shape."""
    return np.histogramdd(cloud[:, :3], cells, [(-0.5, 0.5), (-0.5, 0.5), (0, 1)])[0].ravel() / len(cloud)


@pytest.fixture
def cache_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("GENZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_parts_have_the_volume_of_their_form():
    """Prisms over a polygon of n corners, whichever way they point, and reflections of them; all face outwards."""

    def polygon(n: int) -> float:
        return n / 2 * np.sin(2 * np.pi / n)

    oval = turned([(2, 1), (2, 4)], y=0.5)
    assert oval.is_watertight
    assert oval.volume == pytest.approx(4 * 0.5 * 3 * polygon(40))
    path = np.array([(0, 0, 0), (1, 2, 2)])
    for sides in (4, 12):
        for line in (path, path[::-1], path - (0, 2, 0), path * (0, 1, 0)):
            rod = tube(line, 0.1, sides)
            assert rod.is_watertight
            assert rod.volume == pytest.approx(0.01 * polygon(sides) * np.linalg.norm(line[1] - line[0]))
    assert plate([(1, 0), (2, 3)], 0.5, y=7).volume == pytest.approx(0.5 * 3 * 3)
    assert plate([(1, 0), (2, 3)], 0.5, y=7).bounds.ravel() == pytest.approx([-2, 6.75, 0, 2, 7.25, 3])
    one, other = mirrored(box((1, 2, 3), (4, 5, 6)), axis=1)
    assert one.volume == pytest.approx(6)
    assert other.volume == pytest.approx(6)
    assert other.bounds.ravel() == pytest.approx([3.5, -6, 4.5, 4.5, -4, 7.5])


def test_a_bent_tube_keeps_its_radius():
    """Every ring of a handle is a circle around its point of the path, square to the path between its ends."""
    angle = np.linspace(0, np.pi, 9)
    path = np.stack((np.sin(angle), 0 * angle, np.cos(angle)), 1)
    rings = np.asarray(tube(path, 0.1).vertices).reshape(9, 12, 3)
    assert np.linalg.norm(rings - path[:, None], axis=-1) == pytest.approx(np.full((9, 12), 0.1))
    across = np.cross(path, (0, 1, 0))
    assert np.einsum("rkx,rx->rk", rings - path[:, None], across)[1:-1] == pytest.approx(np.zeros((7, 12)))


@pytest.mark.parametrize("kind", KINDS)
def test_every_shape_keeps_the_conventions(kind):
    """It stands on the floor over the origin, its longest side is 1 and none is a sheet, and all of it has area."""
    for i in range(EACH):
        mesh = mesh_of(kind, i)
        assert np.isfinite(mesh.vertices).all()
        low, high = mesh.bounds
        assert low[2] == pytest.approx(0, abs=1e-9)
        assert low[:2] + high[:2] == pytest.approx([0, 0], abs=1e-9)
        assert (high - low).max() == pytest.approx(1)
        assert (high - low).min() > 0.04
        assert 0.15 < mesh.area < 8
        assert (mesh.area_faces > 1e-12).mean() > 0.8
    normals = clouds_of(kind)[..., 3:]
    assert np.linalg.norm(normals, axis=-1) == pytest.approx(np.ones(normals.shape[:2]))


@pytest.mark.parametrize("kind", KINDS)
def test_no_two_shapes_are_alike(kind):
    """All areas differ, and in some direction the extents vary by much more than a sample's noise."""
    areas = [mesh_of(kind, i).area for i in range(EACH)]
    assert len(np.unique(np.round(areas, 6))) == EACH
    assert np.std([mesh_of(kind, i).extents for i in range(EACH)], axis=0).max() > 0.05


def test_the_nearest_other_shape_is_of_the_same_class():
    """By the L1 distance of coarse histograms: at least 95 in 100 of all, and 80 of each class."""
    x = np.stack([grid_of(cloud) for kind in KINDS for cloud in clouds_of(kind)])
    label = np.repeat(np.arange(len(KINDS)), EACH)
    apart = np.abs(x[:, None] - x).sum(-1)
    np.fill_diagonal(apart, np.inf)
    right = label[apart.argmin(1)] == label
    assert right.mean() >= 0.95
    assert right.reshape(len(KINDS), EACH).mean(1).min() >= 0.8


@pytest.mark.parametrize("kind", ["table", "chair", "aeroplane", "car"])
def test_left_and_right_are_alike(kind):
    """So nothing is turned about the vertical: reflected, a shape fills the same cells."""
    for i, cloud in enumerate(clouds_of(kind)):
        if kind != "aeroplane" and np.abs(mesh_of(kind, i).centroid[0]) > 1e-3:
            continue  # three or five feet
        assert np.abs(grid_of(cloud, 4) - grid_of(cloud * (-1, 1, 1, 1, 1, 1), 4)).sum() < 0.25


def test_fronts_point_the_same_way():
    """Chairs' backs, aeroplanes' fins, the boots of cars and the backs of guitars are at +y; mugs' handles at +x."""
    for cloud in clouds_of("chair"):
        assert cloud[cloud[:, 2] > 0.9, 1].min() > 0
    for cloud in clouds_of("aeroplane"):
        assert cloud[cloud[:, 2] > 0.97 * cloud[:, 2].max(), 1].mean() > 0.1
    for cloud in clouds_of("guitar"):
        body, neck = cloud[cloud[:, 2] < 0.3], cloud[(cloud[:, 2] > 0.6) & (cloud[:, 2] < 0.75)]
        assert neck[:, 1].mean() < body[:, 1].mean()
        assert np.ptp(neck[:, 0]) < np.ptp(body[:, 0]) / 3
    for cloud in clouds_of("car"):
        assert cloud[cloud[:, 1] < -0.45, 2].max() < 0.8 * cloud[:, 2].max()


def test_small_parts_receive_points():
    """A mug's handle stands out from its wall, a chair's legs from each other, a car on its wheels."""
    for cloud in clouds_of("mug"):
        x, y, _ = cloud.T[:3]
        wall = x.min() + 2 * np.abs(y).max()
        assert (x > wall + 0.004).sum() >= 40
    four = 0
    for cloud in clouds_of("chair"):
        x, y, z = cloud.T[:3]
        assert (z < 0.3).sum() >= 180
        corner = (np.abs(x) > 0.4 * np.abs(x).max()) & (np.abs(y) > 0.3 * np.abs(y).max())
        if corner[z < 0.08].all():
            four += 1
            for i in (-1, 1):
                assert min(((z < 0.35) & (i * x > 0) & (j * y > 0)).sum() for j in (-1, 1)) >= 60
    assert four >= EACH / 4
    for cloud in clouds_of("car"):
        assert ((cloud[:, 2] < 0.05) & (np.abs(cloud[:, 0]) > 0.5 * cloud[:, 0].max())).sum() >= 60


def test_shapes_are_a_function_of_their_generator():
    """The same twice, another one after that."""
    one, again, other = (make_mesh("lamp", numpy_generator("test", i)) for i in (0, 0, 1))
    assert np.array_equal(one.vertices, again.vertices)
    assert one.vertices.shape != other.vertices.shape or not np.allclose(one.vertices, other.vertices)


def test_embedded_shapes_are_made_once(cache_at, monkeypatch, capsys):
    """The second time nothing is built, nothing is said, and every bit is the same."""
    made = embedded_shapes(shapes=2, points=64)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert str(cache_at) in said
    assert made.points.shape == (2 * len(KINDS), 64, 3)
    assert made.points.dtype == torch.float32
    assert made.classes == list(KINDS)
    assert made.labels == [label for label in range(len(KINDS)) for _ in range(2)]
    assert made.names[:3] == ["table_0000", "table_0001", "chair_0000"]
    assert len(list(cache_at.iterdir())) == 1
    monkeypatch.setattr(genzoo_points.shapes, "make_mesh", None)
    again = embedded_shapes(shapes=2, points=64)
    assert capsys.readouterr().err == ""
    assert torch.equal(made.points, again.points)
    assert (made.names, made.labels, made.classes) == (again.names, again.labels, again.classes)


def test_embedded_shapes_do_not_depend_on_their_number(cache_at):
    """Shape i of a class is the same whatever else is made, and its points whether or not normals are wanted; another
    seed makes others. What comes back is what was sampled, to the precision that is promised."""
    few, many = embedded_shapes(shapes=1, points=64), embedded_shapes(shapes=3, points=64, normals=True)
    rows = [many.names.index(name) for name in few.names]
    assert torch.equal(few.points, many.points[rows][..., :3])
    assert [few.labels[i] for i in range(len(rows))] == [many.labels[row] for row in rows]
    assert not torch.equal(few.points, embedded_shapes(shapes=1, points=64, seed=1).points)
    exact = torch.from_numpy(np.stack([sampled(kind, i, 64, 0) for kind in KINDS for i in range(3)])).float()
    assert (many.points - exact)[..., :3].abs().max() < 0.0003
    assert (many.points - exact)[..., 3:].abs().max() < 0.001
    assert torch.allclose(many.points[..., 3:].norm(dim=-1), torch.ones(()), atol=1e-6)


@pytest.mark.parametrize("options", [{"shapes": 0}, {"points": 0}])
def test_nothing_is_refused(options, cache_at):
    """Fewer than one of either."""
    with pytest.raises(UserError, match="at least 1 shape of 1 point"):
        embedded_shapes(**options)
    assert not cache_at.exists()


def test_an_unknown_kind_is_refused():
    """And the known ones are listed."""
    with pytest.raises(UserError, match="table, chair, mug"):
        make_mesh("dragon", numpy_generator("test"))
