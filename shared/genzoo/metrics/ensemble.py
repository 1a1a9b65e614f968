"""Is an ensemble sharp, and is it right about how sure it is?

Legend: M members, ... places and cases.
"""

import math

import torch
from torch import Tensor


def fair_crps(members: Tensor, truth: Tensor) -> Tensor:
    """Continuous ranked probability score of M members [M, ...] for the truth [...], in their unit, without the bias of
    a finite ensemble: E|X - y| - E|X - X'| / 2 over pairs of different members (Ferro 2014, eq. 7)."""
    count = len(members)
    if count < 2:
        raise ValueError(f"the fair CRPS needs at least 2 members, not {count}")
    ranks = torch.arange(1 - count, count, 2, device=members.device, dtype=members.dtype)
    pairs = (members.sort(dim=0).values * ranks.view(-1, *[1] * truth.ndim)).sum(0)  # of |x_i - x_j| over i < j
    return (members - truth).abs().mean(0) - pairs / (count * (count - 1))


def gaussian_crps(mean: Tensor, std: Tensor, truth: Tensor) -> Tensor:
    """The same score of a normal law, in closed form (Gneiting et al. 2005, eq. 5)."""
    z = (truth - mean) / std
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    return std * (z * torch.erf(z / math.sqrt(2)) + 2 * density - 1 / math.sqrt(math.pi))


def spread(members: Tensor) -> Tensor:
    """Variance of M members [M, ...] -> [...], times (M + 1) / M: where the truth is one more member, its mean is the
    mean squared error of the ensemble's mean (Fortin et al. 2014, eq. 15)."""
    return members.var(dim=0) * (len(members) + 1) / len(members)


def rank_counts(members: Tensor, truth: Tensor, weight: Tensor | None = None) -> Tensor:
    """How often the truth [...] has each rank among M members [M, ...]: [M + 1] in float64, flat where it is one of
    them (Hamill 2001). Ties are shared out evenly. weight: of each place, broadcast to [...]."""
    below = (members < truth).sum(0).flatten()
    equal = (members == truth).sum(0).flatten()
    share = torch.ones_like(truth) if weight is None else weight.expand_as(truth)
    share = share.flatten().double() / (equal + 1)
    counts = torch.zeros(len(members) + 2, dtype=torch.float64, device=truth.device)
    counts.index_add_(0, below, share)
    counts.index_add_(0, below + equal + 1, -share)
    return counts.cumsum(0)[:-1]
