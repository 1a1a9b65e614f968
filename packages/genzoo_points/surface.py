"""A closed surface around a cloud: its gaps are spanned, what it encloses is filled, and what is thin stays thin.

The steps: the cloud's alpha complex (Edelsbrunner and Mücke 1994) spans the gaps between neighbours with triangles and
edges; a flood on a grid finds what is enclosed; a ball that rolls outside, a morphological closing (Serra 1982), gives
the signed distance; sheets are given a thickness; then marching cubes (Lewiner et al. 2003), and a smoothing that does
not shrink (Taubin 1995).

Legend: N points, E edges, F triangles, M samples, [X, Y, Z] the grid. Inside, the unit is a voxel.
"""

import math
from typing import TYPE_CHECKING

import numpy as np

from genzoo_points.output import needed

if TYPE_CHECKING:
    from trimesh import Trimesh

NEIGHBOUR, GAP = 6, 1.6
"""Gaps up to GAP times the median distance to the sixth neighbour are spanned: of N points drawn uniformly from a
surface with density d, the widest empty disc has radius sqrt((ln N + ln ln N) / (pi d)), and the median distance to the
sixth neighbour is sqrt(5.67 / (pi d)); that is 1.3 of it for N = 2,048, and more where a second skin is near."""

STRAY = 8
"""Points whose sixth neighbour is farther than this times the median of those distances are left out."""

ACROSS = 0.4
"""Triangles that stand upright on the surface span only gaps of this part: between slats, fingers, two wings."""

SEAL = 1.25
"""What can be entered only through openings of less than this times the widest gap is enclosed too."""

SHELL, SHEET, FLOOR = 1.2, 1.0, 0.3
"""Half thicknesses in voxels: of the wall that stops the flood, of a sheet in the end, and of a solid's skin."""

CORE = 0.75
"""How deep in voxels a solid must be: what is thinner than twice that is a sheet."""

MARGIN = 4
"""Voxels of air around all."""

CRUMB = 0.005
"""Separate parts with less than this part of the points, or with fewer than four points, are left out."""

BLUR = 0.5
"""Voxels: a Gaussian over the field, which takes away what the grid cannot show."""

SMOOTHING = 10
"""Rounds of Taubin's filter."""


def surface(points: np.ndarray, *, resolution: int = 96) -> "Trimesh":
    """A watertight mesh around points [N, 3], in their units and their place, all normals outward.

    Gaps up to about four times the median distance between neighbours are closed, and what is then enclosed is filled:
    a shape sampled on its skin becomes a solid. Wider openings stay open. resolution: voxels along the longest side;
    what is thinner than about 1.5 voxels comes out 1.5 voxels thick. About a second for 2,048 points and 96.

    Raises ValueError where there are fewer than four different points or values that are not finite, UserError where
    trimesh or scikit-image is not installed.
    """
    measure, trimesh, smoothing = needed("skimage.measure"), needed("trimesh"), needed("trimesh.smoothing")
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise ValueError(f"a surface needs finite points [N, 3], not {list(points.shape)} or values like nan")
    if resolution < 8:
        raise ValueError(f"resolution={resolution} is too coarse for a surface: 8 or more")
    points = np.unique(points, axis=0)
    if len(points) < 4:
        raise ValueError(f"a surface needs at least 4 different points, not {len(points)}")
    points = without_strays(points)
    low = points.min(axis=0)
    unit = float(np.ptp(points, axis=0).max()) / resolution
    places = (points - low) / unit
    samples, gap = spanned(places)
    gap = min(max(gap, SHELL / ACROSS), resolution / 4)
    margin = MARGIN + math.ceil(ACROSS * gap)
    field = blurred(signed_field(samples + margin, gap, margin, places.max(axis=0)), BLUR)
    field = without_crumbs(field, places + margin)
    for _ in range(3):
        corners, faces, _, _ = measure.marching_cubes(away_from_zero(field), 0.0, gradient_direction="ascent")
        mesh = trimesh.Trimesh(corners.astype(np.float64), faces, process=False)
        if mesh.is_watertight and mesh.is_winding_consistent:
            break
        field = blurred(field, 0.5)
    smoothing.filter_taubin(mesh, iterations=SMOOTHING)
    mesh = trimesh.Trimesh((mesh.vertices - margin) * unit + low, mesh.faces, process=False)
    assert mesh.is_watertight
    assert mesh.volume > 0
    return mesh


def without_strays(points: np.ndarray) -> np.ndarray:
    """Those of points [N, 3] that have neighbours: one that flew far off would make the grid coarse."""
    from scipy.spatial import KDTree

    far = KDTree(points).query(points, min(NEIGHBOUR + 1, len(points)))[0][:, -1]
    kept = points[far <= STRAY * np.median(far)]
    return kept if len(kept) >= 4 else points


def spanned(places: np.ndarray) -> tuple[np.ndarray, float]:
    """Samples [M, 3], less than a voxel apart, of the alpha complex of places [N, 3]; and the widest gap it spans."""
    from scipy.spatial import Delaunay, KDTree

    tree = KDTree(places)
    distance, near = tree.query(places, min(NEIGHBOUR + 4, len(places)))
    gap = GAP * float(np.median(distance[:, min(NEIGHBOUR, distance.shape[1] - 1)]))
    normal = np.linalg.svd(places[near] - places[near].mean(axis=1, keepdims=True), full_matrices=False)[2][:, 2]
    # Points in one plane or on a grid have no unique triangulation until they are moved a little.
    moved = places + np.random.default_rng(0).uniform(-1e-4, 1e-4, places.shape)
    tetrahedra = Delaunay(moved, qhull_options="QJ Pp").simplices if len(places) > 4 else np.array([[0, 1, 2, 3]])
    faces = np.unique(np.sort(tetrahedra[:, [[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]]].reshape(-1, 3)), axis=0)
    edges = np.unique(faces[:, [[0, 1], [0, 2], [1, 2]]].reshape(-1, 2), axis=0)
    radius, upright = circumradius(places[faces], normal[faces])
    faces = faces[radius < np.where(upright, ACROSS, 1.0) * gap]
    begin, end = places[edges[:, 0]], places[edges[:, 1]]
    half = np.linalg.norm(end - begin, axis=1) / 2
    along = np.abs(((end - begin)[:, None] * normal[edges]).sum(axis=2)).max(axis=1) < 1.4 * half
    edges = edges[(half < np.where(along, 1.0, ACROSS) * gap) & (tree.query((begin + end) / 2)[0] > half * (1 - 1e-6))]
    return np.concatenate((places, filled_with_samples(places[edges]), filled_with_samples(places[faces]))), gap


def circumradius(corners: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of triangles [F, 3, 3], with the normals of the surface at their corners: radii [F], and [F] bool, whether they
    stand upright on the surface at every corner."""
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    across = np.cross(a, b)
    twice_area = np.linalg.norm(across, axis=1)
    sides = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1) * np.linalg.norm(a - b, axis=1)
    cosine = np.abs((across[:, None] * normals).sum(axis=2)).max(axis=1) / np.maximum(twice_area, 1e-9)
    return sides / np.maximum(2 * twice_area, 1e-9), cosine < 0.7


def filled_with_samples(corners: np.ndarray) -> np.ndarray:
    """Samples [M, 3] of edges [E, 2, 3] or triangles [F, 3, 3], less than a voxel apart."""
    sides = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)
    parts = np.ceil(sides / 0.8).astype(int)
    samples = [np.empty((0, 3))]
    for count in np.unique(parts):
        i = np.arange(count + 1)
        if corners.shape[1] == 2:
            weights = np.stack((i, count - i), axis=1)
        else:
            a, b = (grid.ravel() for grid in np.meshgrid(i, i))
            weights = np.stack((a, b, count - a - b), axis=1)[a + b <= count]
        samples.append(np.einsum("mk,fkd->fmd", weights / count, corners[parts == count]).reshape(-1, 3))
    return np.concatenate(samples)


def signed_field(samples: np.ndarray, gap: float, margin: int, size: np.ndarray) -> np.ndarray:
    """[X, Y, Z] float32: positive inside, about the distance to the surface in voxels where it is near.

    The solid is what no ball of radius `ACROSS * gap` reaches that rolls outside: a morphological closing.
    """
    from scipy.ndimage import distance_transform_edt

    distance = distance_to(samples, tuple(np.ceil(size).astype(int) + 2 * margin + 1))
    rolling = ~enclosed(distance, SEAL * gap) & (distance > ACROSS * gap)
    away, centre = distance_transform_edt(~rolling, return_indices=True)
    depth = (away - distance[tuple(centre)]).astype(np.float32)
    depth[rolling] = -distance[rolling]
    # What is beyond the skin of all that is deep is thin.
    core = depth > CORE
    beyond = np.inf
    if core.any():
        away, deep = distance_transform_edt(~core, return_indices=True)
        beyond = away - depth[tuple(deep)]
    half = SHEET * np.clip(beyond - 0.5, FLOOR, 1)
    return np.maximum(depth, half - distance).astype(np.float32)


def distance_to(samples: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """[X, Y, Z] float32: how far each voxel's middle is from the samples [M, 3], in voxels: exact to about a tenth."""
    from scipy.ndimage import distance_transform_edt

    cell = np.ravel_multi_index(tuple(np.rint(samples).astype(int).T), shape)
    count = np.bincount(cell, minlength=int(np.prod(shape)))
    there = np.maximum(count, 1)
    means = [(np.bincount(cell, axis, minlength=count.size) / there).reshape(shape) for axis in samples.T]
    nearest = tuple(distance_transform_edt((count == 0).reshape(shape), return_distances=False, return_indices=True))
    squares = (
        (mean[nearest] - middle) ** 2 for mean, middle in zip(means, np.indices(shape, sparse=True), strict=True)
    )
    return np.sqrt(sum(squares)).astype(np.float32)


def enclosed(distance: np.ndarray, seal: float) -> np.ndarray:
    """[X, Y, Z] bool: the air that a flood from outside does not reach, or reaches only through openings that a ball of
    radius `seal` cannot pass."""
    from scipy.ndimage import binary_fill_holes, label
    from skimage.segmentation import watershed

    wall = distance < SHELL
    filled = binary_fill_holes(wall)
    wide, _ = label((distance > seal) & ~filled)
    rim = np.ones(wall.shape, dtype=bool)
    rim[1:-1, 1:-1, 1:-1] = False
    pockets = (wide > 0) & ~np.isin(wide, np.unique(wide[rim]))
    if not pockets.any():
        return filled & ~wall
    seeds = np.where(pockets, 2, (rim | (wide > 0)).astype(np.int32))
    return (filled & ~wall) | (watershed(-distance, seeds, mask=~filled) == 2)


def without_crumbs(field: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The field without the parts that few points [N, 3] lie near, and without hollows."""
    from scipy.ndimage import binary_fill_holes, label

    part, count = label(field > 0)
    points = np.bincount(part[tuple(np.rint(places).astype(int).T)], minlength=count + 1)
    points[0] = 0
    kept = points >= min(max(4, CRUMB * len(places)), points.max())
    field = np.where((part == 0) | kept[part], field, np.minimum(-np.abs(field), -0.5))
    hollow = binary_fill_holes(field > 0) & (field <= 0)
    return np.where(hollow, np.maximum(-field, 0.5), field)


def away_from_zero(field: np.ndarray) -> np.ndarray:
    """Without values so near 0 that corners of the mesh would fall together."""
    return np.where(np.abs(field) < 1e-2, np.where(field > 0, 1e-2, -1e-2), field).astype(np.float32)


def blurred(field: np.ndarray, sigma: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(field, sigma)
