"""Are two sets of examples from one law? Scores on plain Euclidean distance.

Legend: n, m rows; d columns.
"""

import torch
from torch import Tensor


def nearest_neighbour_accuracy(first: Tensor, second: Tensor) -> float:
    """Share of rows whose nearest other row, in the union of [n, d] and [n, d], is of their own set: 0.5 where the
    laws are equal, 1 where the sets lie apart (Lopez-Paz & Oquab 2017, 1-NN accuracy; leave-one-out)."""
    if len(first) != len(second):
        raise ValueError(f"the sets must be of equal size, not {len(first)} and {len(second)}")
    both = torch.cat((first, second)).flatten(1).double()
    distance, n = torch.cdist(both, both), len(first)
    return nearest_neighbour_accuracy_of(distance[:n, :n], distance[:n, n:], distance[n:, n:])


def nearest_neighbour_accuracy_of(aa: Tensor, ab: Tensor, bb: Tensor) -> float:
    """The same from distances of any kind, all [n, n]: within the first set, from the first (rows) to the second, and
    within the second. Of equal distances that of the first set counts. ValueError for other shapes."""
    n = len(aa)
    if not aa.shape == ab.shape == bb.shape == (n, n) or not n:
        raise ValueError(
            f"distances of two sets of n are [n, n] thrice, not {list(aa.shape)}, {list(ab.shape)}, {list(bb.shape)}"
        )
    distance = torch.cat((torch.cat((aa, ab), dim=1), torch.cat((ab.T, bb), dim=1))).fill_diagonal_(torch.inf)
    label = torch.arange(2 * n, device=distance.device) < n
    return (label[distance.argmin(dim=1)] == label).double().mean().item()


def energy_distance(first: Tensor, second: Tensor) -> float:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'|, unbiased, from rows [n, d] and [m, d] (Székely & Rizzo 2013, eq. 5): 0 where
    the laws are equal, and only there. The estimate of zero scatters around zero, so it can be negative."""
    if len(first) < 2 or len(second) < 2:
        raise ValueError(f"the energy distance needs at least 2 rows on each side, got {len(first)} and {len(second)}")
    a, b = first.flatten(1).double(), second.flatten(1).double()
    within_a = torch.cdist(a, a).sum() / (len(a) * (len(a) - 1))
    within_b = torch.cdist(b, b).sum() / (len(b) * (len(b) - 1))
    return (2 * torch.cdist(a, b).mean() - within_a - within_b).item()
