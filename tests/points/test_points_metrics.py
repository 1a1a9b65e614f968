"""Scores of shapes: explicit loops, SciPy's divergence, and sets of which it is known how like they are.

Legend: n samples, m reference shapes, N points.
"""

import json

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from torch import Tensor

from genzoo.metrics import nearest_neighbour_accuracy, nearest_neighbour_accuracy_of
from genzoo_points import metrics
from genzoo_points.distances import pairwise_chamfer, pairwise_emd
from genzoo_points.metrics import coverage, jsd, mmd, novelty, score_sets


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ellipsoids(n: int, seed: int = 0, points: int = 64) -> Tensor:
    """Random axes between 0.2 and 0.9, random points on the surface: one law of shapes."""
    g = seeded(seed)
    ball = torch.nn.functional.normalize(torch.randn(n, points, 3, generator=g), dim=-1)
    return ball * (0.2 + 0.7 * torch.rand(n, 1, 3, generator=g))


def noise(n: int, points: int = 64) -> Tensor:
    return (torch.rand(n, points, 3, generator=seeded(99)) * 2 - 1) * 0.9


# From distances


def loop_accuracy(aa: Tensor, ab: Tensor, bb: Tensor) -> float:
    """Leave one out, by loops."""
    n, right = len(aa), 0
    for i in range(n):
        right += min(aa[i, j] for j in range(n) if j != i) <= min(ab[i])
        right += min(bb[i, j] for j in range(n) if j != i) < min(ab[:, i])
    return right / (2 * n)


def test_matrices_against_loops():
    """Random distances, with a few clouds more on one side for those that allow it."""
    a, b = ellipsoids(9), ellipsoids(9, seed=1)
    aa, ab, bb = (pairwise_chamfer(*pair) for pair in ((a, a), (a, b), (b, b)))
    assert nearest_neighbour_accuracy_of(aa, ab, bb) == pytest.approx(loop_accuracy(aa, ab, bb))
    assert nearest_neighbour_accuracy_of(bb, ab.T, aa) == pytest.approx(loop_accuracy(aa, ab, bb))
    for table in (ab, ab[:, :4], ab[:4]):
        hit = {min(range(table.shape[1]), key=lambda j, row=row: row[j]) for row in table.tolist()}
        assert coverage(table) == len(hit) / table.shape[1]
        assert mmd(table) == pytest.approx(sum(min(column) for column in table.T.tolist()) / table.shape[1])


def test_accuracy_by_rows_is_the_same():
    """Of rows of numbers, as of their distances."""
    a, b = (torch.randn(20, 4, dtype=torch.float64, generator=seeded(s)) for s in (0, 1))
    tables = (torch.cdist(a, a), torch.cdist(a, b), torch.cdist(b, b))
    assert nearest_neighbour_accuracy(a, b) == nearest_neighbour_accuracy_of(*tables)
    assert (tables[0].diagonal() == 0).all(), "left as it was"


def test_known_scores():
    """By hand: two samples at the same reference shape of two; then one each."""
    assert coverage(torch.tensor([[1.0, 2.0], [1.0, 2.0]])) == 0.5
    assert mmd(torch.tensor([[1.0, 2.0], [3.0, 5.0]])) == 1.5
    assert coverage(torch.tensor([[1.0, 2.0], [2.0, 1.0]])) == 1


def test_ties():
    """Equal clouds: a copy of the other set is always nearer than one's own, and sets of one shape are no obstacle."""
    a = ellipsoids(6)
    copied = score_sets(a, a.clone(), emd_points=64)
    assert copied["1-nna"]["cd"] == 0
    assert copied["coverage"]["cd"] == 1
    assert copied["mmd"]["cd"] == copied["jsd"] == 0
    same = a[:1].expand(5, -1, -1)
    assert score_sets(same, same)["1-nna"] == {"cd": 0.5, "emd": pytest.approx(0.5, abs=0.5)}
    assert score_sets(a[:1], a[1:2])["1-nna"]["cd"] == 0


@pytest.mark.parametrize("shapes", [((3, 3), (3, 4), (4, 4)), ((3, 4), (3, 4), (3, 4)), ((0, 0), (0, 0), (0, 0))])
def test_matrices_that_do_not_belong_together(shapes):
    """Sets of unequal size have no such accuracy."""
    with pytest.raises(ValueError, match=r"\[n, n\] thrice"):
        nearest_neighbour_accuracy_of(*(torch.zeros(shape) for shape in shapes))


# Where points lie


def test_jsd_against_scipy():
    """Counted by loops, and SciPy's distance squared; the border takes what lies outside."""
    a, b = ellipsoids(4, points=20) * 1.3, noise(3, points=20)

    def counts(x: Tensor) -> np.ndarray:
        found = np.zeros((metrics.GRID,) * 3)
        for point in x.flatten(0, 1).double().tolist():
            found[tuple(min(27, max(0, int((v + 1.2) / 2.4 * 28 // 1))) for v in point)] += 1
        return found.ravel()

    want = jensenshannon(counts(a), counts(b), base=2) ** 2
    assert 0 < want < 1
    assert jsd(a, b, extent=1.2) == pytest.approx(want, abs=1e-12)
    assert jsd(b, a, extent=1.2) == pytest.approx(want, abs=1e-12)


def test_jsd_at_its_ends():
    """0 for equal sets in any order, 1 for sets in different places; chunks of clouds add up."""
    a = ellipsoids(600, points=4)
    assert jsd(a, a.flip(0, 1)) == pytest.approx(0, abs=1e-12)
    assert jsd(a.clamp(min=0.01), a.clamp(max=-0.01)) == pytest.approx(1, abs=1e-12)
    assert metrics.occupancy(a, 1.0).sum().item() == pytest.approx(1)
    halves = (metrics.occupancy(a[:300], 1.0) + metrics.occupancy(a[300:], 1.0)) / 2
    torch.testing.assert_close(metrics.occupancy(a, 1.0), halves)


# The whole


def test_halves_of_one_law_and_noise():
    """1-NNA is 0.5 for two halves of one law within 4 standard errors (of 80 dependent draws: 0.07) and 1 for noise;
    every other score is worse for noise than for shapes."""
    reference, good = ellipsoids(40), ellipsoids(40, seed=1)
    ours, bad = (score_sets(x, reference, emd_points=64, emd_shapes=40) for x in (good, noise(40)))
    for name in ("cd", "emd"):
        assert ours["1-nna"][name] == pytest.approx(0.5, abs=0.28)
        assert bad["1-nna"][name] == 1
        assert ours["coverage"][name] > 0.3 > bad["coverage"][name]
        assert ours["mmd"][name] < bad["mmd"][name] / 1.5
    assert ours["jsd"] < bad["jsd"]


def test_scores_are_those_of_the_parts():
    """With more samples than reference shapes: what is cut, and what the protocol says of it."""
    samples, reference = ellipsoids(11), ellipsoids(7, seed=1)
    found = score_sets(samples, reference, cd_shapes=9, emd_points=20, emd_shapes=5)
    ab = pairwise_chamfer(samples[:9], reference)
    assert found["coverage"]["cd"] == coverage(ab)
    assert found["mmd"]["cd"] == pytest.approx(mmd(ab))
    first = samples[:7]
    tables = pairwise_chamfer(first, first), ab[:7], pairwise_chamfer(reference, reference)
    assert found["1-nna"]["cd"] == nearest_neighbour_accuracy_of(*tables)
    assert found["jsd"] == jsd(samples, reference)
    cd, emd = found["protocol"]["cd"], found["protocol"]["emd"]
    assert (cd["samples"], cd["reference"], cd["1-nna"], cd["points"]) == (9, 7, 7, 64)
    assert (emd["samples"], emd["reference"], emd["1-nna"], emd["points"], emd["seed"]) == (5, 5, 5, 20, 0)
    assert json.loads(json.dumps(found)) == found


def test_emd_takes_all_points_where_they_are_few():
    """Then it is that of the whole clouds, whatever the draw."""
    samples, reference = ellipsoids(4, points=16), ellipsoids(4, seed=1, points=16)
    for seed in (0, 1):
        found = score_sets(samples, reference, seed=seed)
        assert found["mmd"]["emd"] == pytest.approx(mmd(pairwise_emd(samples, reference)), rel=1e-6)
        assert found["protocol"]["emd"]["points"] == 16


def test_draws_of_points():
    """The same for the same seed, another for another; each cloud's are its own, without repetition."""
    samples, reference = ellipsoids(4), ellipsoids(4, seed=1)
    first, again, other = (score_sets(samples, reference, emd_points=8, seed=seed)["mmd"]["emd"] for seed in (3, 3, 4))
    assert first == again != other
    cloud = torch.arange(64.0).view(1, 64, 1).expand(2, 64, 3)
    one, two = metrics.thin(cloud, 40, seeded())[..., 0]
    assert len(one.unique()) == len(two.unique()) == 40
    assert set(one.tolist()) != set(two.tolist())


def test_order_does_not_matter():
    """Of shapes in their sets: every score; of points in their clouds: those by CD and JSD."""
    samples, reference = ellipsoids(8), ellipsoids(8, seed=1)
    want = score_sets(samples, reference, emd_points=64)
    for found in (
        score_sets(samples.flip(0), reference.flip(0), emd_points=64),
        score_sets(samples.flip(1), reference.flip(1), emd_points=64),
    ):
        for name in ("1-nna", "coverage", "mmd"):
            assert found[name] == pytest.approx(want[name], rel=1e-5)
        assert found["jsd"] == pytest.approx(want["jsd"], rel=1e-9)


def test_novelty():
    """About 1 for new shapes of the law, far below 1 for training shapes with a little noise, above for noise."""
    train, test = ellipsoids(40), ellipsoids(20, seed=1)
    fresh = novelty(ellipsoids(20, seed=2), train, test)
    assert fresh["ratio"] == pytest.approx(1, abs=0.25)
    learnt = novelty(train[:15] + 0.01 * torch.randn(15, 64, 3, generator=seeded()), train, test)
    assert learnt["ratio"] < 0.1
    assert learnt["test_to_train"] == fresh["test_to_train"]
    assert novelty(noise(10), train, test)["ratio"] > 2
    want = pairwise_chamfer(test, train).min(dim=1).values.median().item()
    assert fresh["test_to_train"] == pytest.approx(want)
    assert novelty(train[:3], train, train[:3])["ratio"] == 0, "0 / 0 is no crash"


@pytest.mark.parametrize(
    ("samples", "match"),
    [
        (ellipsoids(3, points=32), "clouds of 32 and 64 points differ by that alone"),
        (ellipsoids(3)[:0], "shapes on both sides, not 0 and 3"),
        (ellipsoids(3) * torch.nan, "NaN or infinity"),
        (ellipsoids(3)[..., :2], r"clouds are \[B, N, 3\]"),
    ],
)
def test_refused(samples, match):
    """Sets that no score can compare."""
    with pytest.raises(ValueError, match=match):
        score_sets(samples, ellipsoids(3))
    if samples.shape[1] == 64:  # novelty cuts clouds to the smallest
        with pytest.raises(ValueError, match=match):
            novelty(samples, ellipsoids(3), ellipsoids(3))


def test_novelty_of_smaller_clouds():
    """Samples of fewer points than the training shapes have are compared by as many of each."""
    train, test = ellipsoids(40), ellipsoids(20, seed=1)
    fewer = novelty(ellipsoids(20, points=32, seed=2), train, test)
    assert fewer == novelty(ellipsoids(20, points=32, seed=2), train, test, points=32)
    assert fewer["ratio"] == pytest.approx(1, abs=0.3)


def test_zero_shapes_leave_a_distance_out():
    """So that the quick scores come without the slow ones."""
    scores = score_sets(ellipsoids(4), ellipsoids(4, seed=1), emd_shapes=0)
    assert set(scores["1-nna"]) == {"cd"}
    assert "emd" not in scores["protocol"]
    with pytest.raises(ValueError, match="0 or more"):
        score_sets(ellipsoids(4), ellipsoids(4), cd_shapes=-1)


def test_sinkhorn_in_place_of_the_assignment():
    """Close to the exact scores, and named in the protocol."""
    a, b = ellipsoids(6), ellipsoids(6, seed=1)
    exact, soft = (score_sets(a, b, emd=how, cd_shapes=0) for how in ("exact", "sinkhorn"))
    assert soft["mmd"]["emd"] == pytest.approx(exact["mmd"]["emd"], rel=0.05)
    assert soft["mmd"]["emd"] >= exact["mmd"]["emd"] - 1e-6
    assert soft["protocol"]["emd"]["distance"].startswith("sinkhorn")
