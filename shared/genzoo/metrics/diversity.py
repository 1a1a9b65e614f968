"""How much samples differ from each other, whatever they are."""

import torch
from torch import Tensor

MOST = 1024
"""Samples of numbers whose pairs are looked at."""


def pair_distance(x: Tensor, *, tokens: bool) -> Tensor:
    """Mean over pairs of samples [n, *shape]: of tokens, the share of places in which two differ; of numbers, the root
    of their mean squared difference. 0 where all are alike."""
    x = x.flatten(1)
    if tokens:
        n, width = len(x), int(x.max()) + 2  # -1 fills up, and differs from tokens
        place = torch.arange(x.shape[1], device=x.device) * width
        counts = torch.bincount((x + 1 + place).flatten(), minlength=width * x.shape[1]).double()
        alike = (counts * (counts - 1)).sum() / x.shape[1]
        return 1 - alike / (n * (n - 1))
    x = x[:MOST].double()
    return torch.pdist(x).mean() / x.shape[1] ** 0.5


def distinct(x: Tensor, n: int) -> Tensor:
    """Different n-grams of tokens over all n-grams of samples [m, T] (Li et al. 2016, distinct-n), of which -1 is none.
    Falls with the number of samples: compare only as many."""
    grams = x.unfold(1, n, 1).flatten(0, 1)
    grams = grams[(grams >= 0).all(dim=1)]
    return torch.tensor(len(grams.unique(dim=0)) / max(1, len(grams)), device=x.device)
