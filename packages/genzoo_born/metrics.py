"""Scores of bit strings.

Legend: N = 2^n strings, B samples.
"""

import torch
from torch import Tensor

from genzoo.draws import GeneratorNoise
from genzoo_born.hypercube import draw


def total_variation(first: Tensor, second: Tensor) -> float:
    """Half the sum of |p - q| over all strings [N]."""
    return 0.5 * (first.double() - second.double()).abs().sum().item()


def sample_total_variation(numbers: Tensor, law: Tensor) -> float:
    """Total variation of the frequencies of samples (numbers of strings [B]) to a law [N]. It grows as B shrinks:
    compare it with `total_variation_floor` at the same B alone."""
    return total_variation(torch.bincount(numbers, minlength=len(law)).double() / len(numbers), law)


def total_variation_floor(law: Tensor, n: int, generator: torch.Generator, *, repeats: int = 4) -> float:
    """What n samples of the law itself reach, on average."""
    return sum(sample_total_variation(draw(law, n, GeneratorNoise(generator)), law) for _ in range(repeats)) / repeats


def kl_divergence(law: Tensor, log_prob: Tensor) -> float:
    """sum p log(p / q) in nats, from the law p and log q [N]."""
    p = law.double()
    return (torch.special.xlogy(p, p) - p * log_prob.double()).sum().item()


def generalisation(samples: Tensor, valid: Tensor, train: Tensor, solutions: int | None) -> dict[str, float]:
    """Gili et al. 2022 (arXiv 2201.08770, eqs. 3-5), from numbers of strings.

    samples: [B]; valid: which of them are [B]; train: the strings trained on; solutions: how many valid ones there are.
    fidelity: of the samples not trained on, the share that is valid (0 where there are none). rate: valid samples not
    trained on over all samples. coverage: different valid strings not trained on that were found, over all there are;
    only where `solutions` is known and something was held back.
    """
    new = ~torch.isin(samples, train)
    good = new & valid
    scores = {
        "fidelity": good.sum().item() / max(1, new.sum().item()),
        "rate": good.sum().item() / max(1, len(samples)),
    }
    left = (solutions or 0) - len(train.unique())
    if left > 0:
        scores["coverage"] = len(samples[good].unique()) / left
    return scores
