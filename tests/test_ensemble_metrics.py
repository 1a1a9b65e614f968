"""Scores of ensembles against brute force, against integrals, and against what they must be in expectation.

Legend: M members, N draws.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor

from genzoo.metrics.ensemble import fair_crps, gaussian_crps, rank_counts, spread


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# ---- CRPS


def crps_of_pairs(members: list[float], truth: float) -> float:
    """The definition, pair by pair."""
    pairs = [abs(a - b) for a, b in itertools.permutations(members, 2)]
    return sum(abs(x - truth) for x in members) / len(members) - sum(pairs) / len(pairs) / 2


@pytest.mark.parametrize("count", [2, 3, 4, 7, 12])
def test_fair_crps_over_all_pairs(count):
    """E|X - y| - E|X - X'| / 2 with every pair of different members, also where some are equal."""
    members, truth = draw(count, 3, 4), draw(3, 4, seed=1)
    members[1, 0] = members[0, 0]
    truth[0, 1] = members[0, 0, 1]
    found = fair_crps(members, truth)
    assert found.shape == truth.shape
    for place in itertools.product(range(3), range(4)):
        want = crps_of_pairs(members[(slice(None), *place)].tolist(), truth[place].item())
        assert found[place].item() == pytest.approx(want, abs=1e-12)


def test_fair_crps_of_one_case():
    """Members 0 and 2 about a truth of 1: 1 - 2 / 2; about 5: 4 - 1. Equal members: their distance."""
    members = torch.tensor([0.0, 2.0])
    assert fair_crps(members, torch.tensor(1.0)).item() == 0
    assert fair_crps(members, torch.tensor(5.0)).item() == 3
    assert fair_crps(torch.full((4, 2), 3.0), torch.tensor([3.0, 5.0])).tolist() == [0, 2]


def test_fair_crps_keeps_to_its_unit():
    """Order of the members and a common shift do not count; a factor comes out."""
    members, truth = draw(6, 50), draw(50, seed=1)
    want = fair_crps(members, truth)
    torch.testing.assert_close(fair_crps(members.flip(0), truth), want)
    torch.testing.assert_close(fair_crps(members + 1000, truth + 1000), want, rtol=0, atol=1e-10)
    torch.testing.assert_close(fair_crps(-3 * members, -3 * truth), 3 * want)


@pytest.mark.parametrize("count", [2, 3, 4, 5])
@pytest.mark.parametrize("truth", [-1.0, 0.3, 2.5])
def test_fair_crps_has_no_bias(count, truth):
    """However few members are drawn, the mean is the score of their law. The usual estimator, whose pairs include a
    member with itself, is off by std / (sqrt(pi) M), which this would see."""
    mean, std, n = 0.3, 1.2, 200_000
    scores = fair_crps(mean + std * draw(count, n, seed=count), torch.full((n,), truth, dtype=torch.float64))
    want = gaussian_crps(*(torch.tensor(x, dtype=torch.float64) for x in (mean, std, truth)))
    error = scores.std() / math.sqrt(n)
    assert abs(scores.mean() - want) < 4 * error
    assert 4 * error < std / math.sqrt(math.pi) / count / 4


@pytest.mark.parametrize("count", [0, 1])
def test_one_member_has_no_fair_score(count):
    """There is no pair."""
    with pytest.raises(ValueError, match=f"at least 2 members, not {count}"):
        fair_crps(torch.zeros(count, 3), torch.zeros(3))


@pytest.mark.parametrize("truth", [-4.0, -0.2, 0.7, 1.0, 6.0])
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.7, 0.25), (-2.0, 3.0)])
def test_gaussian_crps_by_integration(mean, std, truth):
    """The integral of (F(x) - [x >= y])^2."""
    law = stats.norm(mean, std)
    below = integrate.quad(lambda x: law.cdf(x) ** 2, min(mean - 12 * std, truth - 1), truth, limit=200)[0]
    above = integrate.quad(lambda x: law.sf(x) ** 2, truth, max(mean + 12 * std, truth + 1), limit=200)[0]
    found = gaussian_crps(*(torch.tensor(x, dtype=torch.float64) for x in (mean, std, truth)))
    assert found.item() == pytest.approx(below + above, rel=1e-7, abs=1e-9)


def test_gaussian_crps_is_that_of_many_draws():
    """The closed form against an ensemble of that law."""
    mean, std, truth = draw(4), draw(4, seed=1).exp(), draw(4, seed=2)
    members = mean + std * draw(100_000, 4, seed=3)
    torch.testing.assert_close(fair_crps(members, truth), gaussian_crps(mean, std, truth), rtol=0, atol=0.02)
    exact = gaussian_crps(mean, torch.full_like(mean, 1e-9), truth)
    torch.testing.assert_close(exact, (truth - mean).abs(), rtol=0, atol=1e-8)


@pytest.mark.parametrize(("shift", "factor"), [(0.5, 1.0), (-0.5, 1.0), (0.0, 0.5), (0.0, 1.6)])
def test_scores_are_best_for_the_law_itself(shift, factor):
    """A law that is shifted, too sure or not sure enough scores worse, in the mean over truths; so do its draws."""
    n = 50_000
    truth, other = draw(n), (torch.tensor(shift).double(), torch.tensor(factor).double())
    zero, one = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
    assert gaussian_crps(*other, truth).mean() > gaussian_crps(zero, one, truth).mean() + 0.01
    members = draw(3, n, seed=1)
    assert fair_crps(shift + factor * members, truth).mean() > fair_crps(members, truth).mean() + 0.01


# ---- spread and skill


@pytest.mark.parametrize("count", [2, 3, 10])
def test_spread_is_the_error_of_the_mean(count):
    """Members and truth are drawn from one law, another for every case: the mean spread is the mean squared error of
    the ensemble's mean. Without the factor (M + 1) / M it would be 1 / M too small."""
    n = 400_000
    centre, width = draw(n), draw(n, seed=1).abs()
    members, truth = centre + width * draw(count, n, seed=2), centre + width * draw(n, seed=3)
    ratio = spread(members).mean() / (members.mean(0) - truth).square().mean()
    assert ratio.item() == pytest.approx(1, abs=0.02)


def test_spread_in_one_case():
    """Members 1, 2 and 6: variance 7, times 4 / 3; the places stay."""
    members = torch.tensor([[1.0, 5.0], [2.0, 5.0], [6.0, 5.0]])
    torch.testing.assert_close(spread(members), torch.tensor([28 / 3, 0.0]))


# ---- ranks


def ranks_one_by_one(members: np.ndarray, truth: np.ndarray, weight: np.ndarray) -> list[float]:
    """Each place gives its weight in equal parts to all ranks that its truth may have."""
    counts = [0.0] * (len(members) + 1)
    for place in np.ndindex(truth.shape):
        values = members[(slice(None), *place)]
        possible = range(int((values < truth[place]).sum()), int((values <= truth[place]).sum()) + 1)
        for rank in possible:
            counts[rank] += weight[place] / len(possible)
    return counts


@pytest.mark.parametrize("count", [1, 2, 5])
def test_ranks_one_by_one(count):
    """Whole numbers, so that there are many ties, with weights of rows that broadcast."""
    members, truth = (2 * draw(count, 20, 7)).round(), (2 * draw(20, 7, seed=1)).round()
    weight = draw(20, 1, seed=2).abs()
    for given, full in ((None, torch.ones(20, 7)), (weight, weight.expand(20, 7))):
        found = rank_counts(members, truth, given)
        assert found.dtype == torch.float64
        assert found.shape == (count + 1,)
        assert found.tolist() == pytest.approx(ranks_one_by_one(members.numpy(), truth.numpy(), full.numpy()))
        assert found.sum().item() == pytest.approx(full.sum().item())


def test_ranks_at_both_ends():
    """A truth below all members has rank 0, above all rank M; equal to all, a share of every rank."""
    members = torch.tensor([1.0, 2.0, 3.0])[:, None]
    assert rank_counts(members, torch.tensor([0.0])).tolist() == [1, 0, 0, 0]
    assert rank_counts(members, torch.tensor([9.0])).tolist() == [0, 0, 0, 1]
    assert rank_counts(members, torch.tensor([2.5])).tolist() == [0, 0, 1, 0]
    assert rank_counts(members, torch.tensor([2.0])).tolist() == pytest.approx([0, 0.5, 0.5, 0])
    assert rank_counts(torch.zeros(3, 1), torch.zeros(1)).tolist() == pytest.approx([0.25] * 4)


@pytest.mark.parametrize("rounded", [False, True])
def test_ranks_are_flat_for_one_more_member(rounded):
    """A truth of the members' own law has every rank as often, ties or none (chi squared); of a wider one, the ends."""
    n = 40_000
    together = draw(6, n) if not rounded else (3 * draw(6, n)).round()
    found = rank_counts(together[:5], together[5])
    assert found.sum().item() == pytest.approx(n)
    assert stats.chisquare(found.numpy()).pvalue > 1e-3
    wide = rank_counts(together[:5], 2 * together[5])
    assert wide[[0, 5]].min() > 1.5 * wide[1:5].max()


def test_ranks_of_float32_maps_are_counted_exactly():
    """A million places of weight 1: float32 sums would lose some."""
    found = rank_counts(torch.zeros(1, 1000, 1000), torch.ones(1000, 1000), torch.ones(1000, 1))
    assert found.tolist() == [0, 1_000_000]
