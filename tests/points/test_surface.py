"""Surfaces are closed, lie where the points lie, and have the holes, walls and parts of what was sampled."""

import sys

import numpy as np
import pytest
from scipy.spatial import KDTree

from genzoo.errors import UserError
from genzoo_points import surface as subject
from genzoo_points.surface import surface

trimesh = pytest.importorskip("trimesh", reason="the extra 'points' is not installed")
pytest.importorskip("skimage", reason="the extra 'points' is not installed")

RESOLUTION = 48
NOISE = 0.005
CUP = trimesh.creation.revolve(np.array([(0, 0), (0.4, 0), (0.4, 1), (0.35, 1), (0.35, 0.05), (0, 0.05)]))
"""A mug without its handle, 0.05 thick."""

BOTTLE = trimesh.creation.revolve(np.array([(0, -0.5), (0.5, -0.5), (0.5, 0.5), (0.12, 0.5)]))
"""A skin with one opening, a little wider than the widest gap that is spanned between 2,048 points on it."""


def box(size, at=(0, 0, 0)):
    return trimesh.creation.box(size).apply_translation(at)


TWO = trimesh.util.concatenate((box((0.5, 0.5, 0.5)), box((0.5, 0.5, 0.5), (1, 0, 0))))


def sampled(mesh, n=2048, noise=NOISE):
    points, _ = trimesh.sample.sample_surface(mesh, n, seed=1)
    return points + np.random.default_rng(0).normal(0, noise, points.shape)


def closed(points, **options):
    mesh = surface(points, **{"resolution": RESOLUTION, **options})
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume > 0
    assert all(part.volume > 0 for part in mesh.split(only_watertight=False))
    return mesh


def distances(mesh, other):
    """How far the corners of `mesh` are from `other`, to 0.005 or so."""
    return KDTree(trimesh.sample.sample_surface(other, 50_000, seed=2)[0]).query(mesh.vertices)[0]


def is_inside(mesh, place):
    """By the solid angle of all triangles (van Oosterom and Strackee 1983): 4 pi inside, 0 outside."""
    a, b, c = np.moveaxis(mesh.triangles - np.asarray(place), 1, 0)
    la, lb, lc = (np.linalg.norm(x, axis=1) for x in (a, b, c))
    top = (a * np.cross(b, c)).sum(1)
    bottom = la * lb * lc + (a * b).sum(1) * lc + (b * c).sum(1) * la + (c * a).sum(1) * lb
    turns = np.arctan2(top, bottom).sum() / (2 * np.pi)
    assert abs(turns - round(turns)) < 1e-6
    return round(turns) == 1


def test_sphere():
    """A solid ball at the default resolution: its volume, its corners, no handle; the bias stays below half a voxel."""
    mesh = closed(sampled(trimesh.creation.icosphere(4)), resolution=96)
    assert abs(mesh.volume / (4 / 3 * np.pi) - 1) < 0.04
    radius = np.linalg.norm(mesh.vertices, axis=1)
    assert abs(radius.mean() - 1) < 0.5 * 2 / 96
    assert np.abs(radius - 1).max() < 0.05
    assert mesh.euler_number == 2


@pytest.mark.parametrize(
    ("shape", "bodies", "euler", "off"),
    [(box((1, 1, 0.6)), 1, 2, 0.15), (trimesh.creation.torus(0.7, 0.25), 1, 0, 0.15), (TWO, 2, 4, 0.15)],
    ids=["box", "torus", "two boxes"],
)
def test_solids(shape, bodies, euler, off):
    mesh = closed(sampled(shape))
    assert abs(mesh.volume / shape.volume - 1) < off
    assert distances(mesh, shape).mean() < 0.02
    assert (mesh.body_count, mesh.euler_number) == (bodies, euler)


def test_sheet_stays_a_sheet():
    """A plate thinner than a voxel becomes about two voxels thick; it has no hole and no missing corner."""
    mesh = closed(sampled(box((1, 1, 0.01))))
    assert (mesh.body_count, mesh.euler_number) == (1, 2)
    assert 0.01 < mesh.volume < 3.5 / RESOLUTION
    np.testing.assert_allclose(mesh.bounds, [(-0.5, -0.5, 0), (0.5, 0.5, 0)], atol=0.05)


def test_mug_is_open():
    """The wall is a wall, what it holds is air, and the bottom is closed."""
    mesh = closed(sampled(CUP), resolution=96)
    assert mesh.body_count == 1
    assert CUP.volume * 0.9 < mesh.volume < CUP.volume * 1.5
    assert not is_inside(mesh, (0, 0, 0.5))
    assert not is_inside(mesh, (0, 0.2, 0.9))
    for place in ((0.375, 0, 0.5), (0, -0.375, 0.7), (0, 0, 0.025)):
        assert is_inside(mesh, place), place


def test_a_leak_is_sealed():
    """A skin whose one opening is hardly wider than the gaps between points is no open vessel."""
    mesh = closed(sampled(BOTTLE, noise=0))
    assert is_inside(mesh, (0, 0, 0))
    assert abs(mesh.volume / (np.pi * 0.25) - 1) < 0.15


def test_narrow_gap_stays():
    """Two plates nearer to each other than the widest gap that is spanned within each are not joined."""
    plates = trimesh.util.concatenate((box((1, 1, 0.005)), box((1, 1, 0.005), (0, 0, 0.15))))
    points = sampled(plates, n=1024, noise=0)
    _, gap = subject.spanned((points - points.min(axis=0)) * RESOLUTION)
    assert 2 * gap > 0.15 * RESOLUTION
    assert closed(points).body_count == 2


def test_place_and_size_do_not_matter():
    """The same mesh at another place and in another unit; corners are as near to each other as the floats there are."""
    points = sampled(TWO, n=512)
    here = closed(points, resolution=32)
    there = closed(points * 3 + (1e4, -2e4, 5e3), resolution=32)
    assert abs(there.volume / here.volume - 27) < 1e-3
    back = (there.vertices - (1e4, -2e4, 5e3)) / 3
    assert KDTree(here.vertices).query(back)[0].max() < 1e-4
    small = closed(points * 1e-6, resolution=32)
    assert abs(small.volume / here.volume / 1e-18 - 1) < 1e-3


def test_order_does_not_matter():
    points = sampled(TWO, n=512)
    mesh, other = (surface(x, resolution=32) for x in (points, np.random.default_rng(1).permutation(points)))
    assert np.array_equal(mesh.vertices, other.vertices)
    assert np.array_equal(mesh.faces, other.faces)


def test_float16_and_resolution():
    """Half floats will do, and a finer grid is a finer mesh."""
    points = sampled(trimesh.creation.icosphere(3), n=512).astype(np.float16)
    coarse, fine = (closed(points, resolution=r) for r in (24, 48))
    assert len(fine.faces) > 3 * len(coarse.faces)


def test_dense_cloud():
    """Gaps narrower than a voxel: the inside is still inside."""
    mesh = closed(sampled(trimesh.creation.icosphere(4), n=5000, noise=0), resolution=16)
    assert abs(mesh.volume / (4 / 3 * np.pi) - 1) < 0.1


def test_few_points():
    """64 points of a ball are a ball; four points, and points in a line or a plane, are at least closed."""
    mesh = closed(sampled(trimesh.creation.icosphere(4), n=64))
    assert mesh.body_count == 1
    assert 0.6 < mesh.volume / (4 / 3 * np.pi) < 1.15
    grid = np.stack(np.meshgrid(np.arange(5.0), np.arange(5.0), (2.0,)), axis=-1).reshape(-1, 3)
    for points in (
        np.eye(4, 3),
        np.outer(np.arange(6), (1.0, 2, 3)),
        np.eye(4, 3) * (1, 1, 0) + np.eye(4, 3, -1),
        grid,
    ):
        closed(points, resolution=24)


def test_stray_points_do_not_count():
    """One point far off neither coarsens the grid nor becomes a body; a small cluster beside the shape goes too."""
    points = sampled(box((1, 1, 0.6)))
    with_strays = np.concatenate((points, [(30, 0, 0)], np.full((3, 3), 0.9) + np.eye(3) * 1e-3))
    mesh = closed(with_strays)
    assert mesh.body_count == 1
    assert abs(mesh.volume / 0.6 - 1) < 0.15


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (np.zeros((100, 3)), "4 different points, not 1"),
        (np.eye(3), "4 different points, not 3"),
        (np.zeros((0, 3)), "4 different points, not 0"),
        (np.full((8, 3), np.nan), "finite"),
        (np.zeros((8, 2)), r"\[8, 2\]"),
    ],
)
def test_refusals(points, said):
    with pytest.raises(ValueError, match=said) as error:
        surface(points)
    assert "\n" not in str(error.value)


def test_coarse_grid_is_refused():
    with pytest.raises(ValueError, match="resolution=4"):
        surface(np.eye(4, 3), resolution=4)


@pytest.mark.parametrize("name", ["trimesh", "skimage"])
def test_missing_library(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "skimage.measure", raising=False)
    with pytest.raises(UserError, match=rf"{name}.*pip install 'genzoo\[points\]'"):
        surface(np.eye(4, 3))
