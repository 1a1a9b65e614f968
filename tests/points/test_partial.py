"""Parts of shapes: the right side of a cut, the near side of a body, and no more points twice than must be."""

import numpy as np
import pytest

from genzoo_points.partial import KEPT, cut, random_part, resampled, seen_from


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def sphere(n: int, seed: int = 0) -> np.ndarray:
    x = rng(seed).normal(size=(n, 3))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def plate(n: int, half: float, z: float, seed: int) -> np.ndarray:
    return np.column_stack((rng(seed).uniform(-half, half, (n, 2)), np.full(n, z)))


DIRECTIONS = [(0, 0, 1), (-1, 0, 0), (0.6, 0, -0.8), (3**-0.5, -(3**-0.5), 3**-0.5)]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("share", [0.25, 0.5, 0.7])
def test_cut(direction, share):
    """As many as were asked for, and none that is left lies farther along."""
    x, direction = rng().normal(size=(200, 3)), np.array(direction)
    kept = cut(x, direction, share)
    assert abs(len(kept) - share * 200) <= 1
    left = np.setdiff1d(np.arange(200), kept)
    assert (x[kept] @ direction).min() > (x[left] @ direction).max()


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_near_side_of_a_sphere(direction):
    """All but the rim of the near half is seen, nothing of the far one; wherever the sphere is and however large."""
    x, direction = sphere(1000), np.array(direction)
    toward = x @ direction
    seen = np.zeros(1000, bool)
    seen[seen_from(x, direction)] = True
    assert seen[toward > 0.3].mean() > 0.99
    assert seen[toward < 0].mean() < 0.01
    moved = np.zeros(1000, bool)
    moved[seen_from(50 * x + (7, -300, 20), direction)] = True
    assert (seen == moved).mean() > 0.99


def test_what_stands_before_hides_what_is_behind():
    """Of a large plate behind a small one only what is aside is seen; from the other side all of it, and not the small
    one."""
    small, large = plate(800, 0.6, 0.5, 0), plate(800, 1.5, -0.5, 1)
    x = np.concatenate((small, large))
    reach = abs(large[:, :2]).max(axis=1)
    for direction, front, hidden in (
        (np.array((0, 0, 1.0)), np.arange(800), 800 + np.flatnonzero(reach < 0.5)),
        (np.array((0, 0, -1.0)), np.arange(800, 1600), np.arange(800)),
    ):
        seen = set(seen_from(x, direction).tolist())
        assert len(seen & set(front.tolist())) > 0.98 * len(front)
        assert len(hidden) > 50
        assert not seen & set(hidden.tolist())
    aside = 800 + np.flatnonzero(reach > 1.0)
    assert len(set(aside.tolist()) & set(seen_from(x, np.array((0, 0, 1.0))).tolist())) > 0.4 * len(aside)


@pytest.mark.parametrize(("there", "wanted"), [(10, 4), (10, 10), (10, 25), (1, 3)])
def test_points_are_repeated_only_where_they_must_be(there, wanted):
    """Each as often as any other, give or take one."""
    x = rng().normal(size=(there, 3))
    found = resampled(x, wanted, rng(1))
    assert found.shape == (wanted, 3)
    rows, counts = np.unique(found, axis=0, return_counts=True)
    assert {*map(tuple, rows)} <= {*map(tuple, x)}
    assert len(rows) == min(there, wanted)
    assert np.ptp(counts) <= 1
    others = [resampled(x, wanted, rng(seed)).tobytes() for seed in range(8)]
    assert there == 1 or len(set(others)) > 1


def test_a_random_part():
    """A subset of the points, decided by the generator; both ways of seeing occur, and many directions."""
    x = sphere(400)
    rows = {*map(tuple, x)}
    parts = [random_part(x, 400, rng(seed)) for seed in range(40)]
    sizes = []
    for seed, part in enumerate(parts):
        assert part.shape == (400, 3)
        mine = {*map(tuple, part)}
        assert mine <= rows
        sizes.append(len(mine) / 400)
        assert np.array_equal(part, random_part(x, 400, rng(seed)))
    assert KEPT[0] - 0.01 <= min(sizes)
    assert max(sizes) <= KEPT[1] + 0.01
    assert max(sizes) > 0.6, "that much only a cut leaves of a sphere"
    means = np.array([part.mean(axis=0) for part in parts])
    assert (means.min(axis=0) < -0.2).all()
    assert (means.max(axis=0) > 0.2).all()


@pytest.mark.parametrize("flat", [1, 2])
def test_parts_of_flat_clouds(flat):
    """Points of a line or a plane have no hull of their own, and parts all the same."""
    x = rng().normal(size=(50, 3)).astype(np.float32)
    x[:, flat:] = 0.5
    for seed in range(8):
        part = random_part(x, 16, rng(seed))
        assert part.dtype == np.float32
        assert {*map(tuple, part)} <= {*map(tuple, x)}
