"""Cells: a tree's boxes, whatever the order of the points; Gaussians in closed form; units that go there and back.

Legend: B clouds, N points, C cells, K points of a cell, F channels, R the nine numbers of a cell.
"""

import pytest
import torch
from torch import Tensor

from genzoo_points.cells import SUMMARY, THICKNESS, from_cells, split, spread, summary, to_cells


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cloud(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, 3, generator=seeded(seed), dtype=dtype)


def numbered(x: Tensor) -> Tensor:
    """With the place of each point as a channel more, so that it is known again."""
    places = torch.arange(x.shape[1], dtype=x.dtype).expand(x.shape[:2])
    return torch.cat((x, places[..., None]), dim=-1)


def shuffled(x: Tensor, seed: int) -> Tensor:
    return x[:, torch.randperm(x.shape[1], generator=seeded(seed))]


def uneven(seed: int = 0) -> Tensor:
    """Cells of every form: long, flat, and in odd places. float64 [B, C, K, 3]."""
    scale = torch.rand(3, 8, 1, 3, generator=seeded(seed), dtype=torch.float64) * 0.3
    return cloud(3, 8, 20, seed=seed) * scale + cloud(3, 8, 1, seed=seed + 1)


def covariance(x: Tensor) -> Tensor:
    """By loops, [B, C, 3, 3]."""
    out = torch.empty(*x.shape[:2], 3, 3, dtype=x.dtype)
    for b, cells in enumerate(x):
        for c, points in enumerate(cells):
            out[b, c] = torch.cov(points.T, correction=0)
    return out


# The tree


@pytest.mark.parametrize("cells", [1, 2, 8, 32, 64])
def test_cells_are_the_boxes_of_a_tree(cells):
    """At every level the one half lies below the other, along x, y, z in turn; each point keeps its channels and is in
    one cell."""
    x = numbered(cloud(3, 64))
    found = split(x, cells)
    assert found.shape == (3, cells, 64 // cells, 4)
    for level in range(cells.bit_length() - 1):
        low, high = found.reshape(3, 2**level, 2, -1, 4)[..., level % 3].unbind(2)
        assert (low.amax(-1) < high.amin(-1)).all()
    for given, kept in zip(x, found.flatten(1, 2), strict=True):
        assert torch.equal(given[kept[:, 3].long()], kept)
        assert len(kept[:, 3].unique()) == 64


def test_each_cloud_by_itself():
    x = cloud(5, 32)
    whole = split(x, 8)
    assert all(torch.equal(split(x[i : i + 1], 8)[0], whole[i]) for i in range(5))


@pytest.mark.parametrize("cells", [2, 16])
def test_order_of_the_points_does_not_matter(cells):
    """Not even for the last bit of the cells' numbers."""
    x = cloud(2, 64, dtype=torch.float32)
    want = split(x, cells)
    for seed in range(3):
        assert torch.equal(split(shuffled(x, seed), cells), want)


@pytest.mark.parametrize("axis", [0, None])
def test_order_of_points_with_equal_coordinates(axis):
    """A board has one x, and what the cache keeps has few digits: then the cut goes by the other axes."""
    x = cloud(2, 256, dtype=torch.float32)
    if axis is None:
        x = (8 * x).round() / 8
    else:
        x[..., axis] = 0.5
    want = summary(split(x, 32))
    for seed in range(3):
        torch.testing.assert_close(summary(split(shuffled(x, seed), 32)), want, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("points", "cells"), [(64, 3), (64, 0), (64, -2), (64, 128), (48, 32), (60, 8)])
def test_what_cannot_be_cut(points, cells):
    with pytest.raises(ValueError, match=rf"{points} points cannot be cut into {cells} equal cells"):
        split(cloud(1, points), cells)


# A cell's numbers


def test_mean_and_spread():
    """The spread is symmetric and positive, and its square is the covariance with the thickness squared on top."""
    x = uneven()
    numbers = summary(x)
    assert numbers.shape == (3, 8, SUMMARY)
    mean, root = spread(numbers)
    torch.testing.assert_close(mean, x.mean(2), rtol=0, atol=1e-12)
    torch.testing.assert_close(root @ root, covariance(x) + THICKNESS**2 * torch.eye(3), rtol=0, atol=1e-10)
    assert torch.equal(root, root.mT)
    assert torch.linalg.eigvalsh(root).min() >= THICKNESS * (1 - 1e-9)


def test_places_of_the_numbers():
    """Three of the mean, then the upper triangle row by row."""
    mean, root = spread(torch.arange(9.0).view(1, 1, 9))
    assert mean.tolist() == [[[0, 1, 2]]]
    assert root.tolist() == [[[[3, 4, 5], [4, 6, 7], [5, 7, 8]]]]


def test_moved_turned_and_scaled():
    """The mean goes along, the spread only turns and grows; the thickness stays as it is."""
    x = uneven()
    mean, root = spread(summary(x))
    turn = torch.linalg.qr(cloud(3, seed=5))[0]
    shift = torch.tensor([4.0, -7.0, 0.5], dtype=torch.float64)
    moved, same = spread(summary(x @ turn.T + shift))
    torch.testing.assert_close(moved, mean @ turn.T + shift, rtol=0, atol=1e-12)
    torch.testing.assert_close(same, turn @ root @ turn.T, rtol=0, atol=1e-10)
    larger = spread(summary(3 * x))[1]
    thick = THICKNESS**2 * torch.eye(3)
    torch.testing.assert_close(larger @ larger - thick, 9 * (root @ root - thick), rtol=0, atol=1e-10)


@pytest.mark.parametrize("axes", [0, 1, 2])
def test_flat_cells(axes):
    """Points at one place, on a line or in a plane: finite, as thick as the thickness where they are flat, and their
    units can be undone."""
    x = cloud(1, 4, 16, dtype=torch.float32)
    x[..., axes:] = 0.25
    numbers = summary(x)
    assert numbers.isfinite().all()
    values = torch.linalg.eigvalsh(spread(numbers)[1])
    torch.testing.assert_close(values[..., : 3 - axes], torch.full((1, 4, 3 - axes), THICKNESS), rtol=0, atol=1e-5)
    u = to_cells(x, numbers)
    assert u[..., axes:].abs().max() < 1e-3
    torch.testing.assert_close(from_cells(u, numbers), x, rtol=0, atol=1e-5)


def test_summary_of_mixed_precision():
    """Under autocast the numbers are those of float32."""
    x = uneven().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = summary(x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, summary(x), rtol=0, atol=1e-6)


# A cell's units


def test_there_and_back():
    """Either undoes the other; what follows x, y, z is left alone."""
    x, extra = uneven().float(), torch.randn(3, 8, 20, 3, generator=seeded(3))
    x, numbers = torch.cat((x, extra), dim=-1), summary(x)
    u = to_cells(x, numbers)
    torch.testing.assert_close(from_cells(u, numbers), x, rtol=0, atol=1e-5)
    torch.testing.assert_close(to_cells(from_cells(u, numbers), numbers), u, rtol=0, atol=1e-3)
    assert torch.equal(u[..., 3:], extra)
    assert torch.equal(from_cells(u, numbers)[..., 3:], extra)


def test_units_of_a_cell():
    """In them a cell has mean 0 and covariance 1 - (thickness / spread)^2."""
    x = uneven()
    numbers = summary(x)
    u, root = to_cells(x, numbers), spread(numbers)[1]
    torch.testing.assert_close(u.mean(2), torch.zeros(3, 8, 3, dtype=torch.float64), rtol=0, atol=1e-10)
    inverse = torch.linalg.inv(root)
    torch.testing.assert_close(
        covariance(u), torch.eye(3) - THICKNESS**2 * inverse @ inverse, rtol=0, atol=1e-9, check_dtype=False
    )


@pytest.mark.parametrize("drawn", [False, True])
def test_normal_points_get_the_cell(drawn):
    """Standard normal numbers become points of the cell's mean and covariance, also by a spread that no cell has and a
    network may draw."""
    numbers = summary(uneven())
    if drawn:
        numbers = numbers + 0.3 * torch.randn(numbers.shape, generator=seeded(4), dtype=torch.float64)
    mean, root = spread(numbers)
    x = from_cells(torch.randn(3, 8, 20_000, 3, generator=seeded(2), dtype=torch.float64), numbers)
    size = (root @ root).diagonal(dim1=-2, dim2=-1).sqrt()
    assert ((x.mean(2) - mean).abs() / size).max() < 0.04
    error = (covariance(x) - root @ root).abs() / (size[..., :, None] * size[..., None, :])
    assert error.max() < 0.06
