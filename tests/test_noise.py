"""Noise of samples: a function of seed, row and place, whatever is made beside it."""

import numpy as np
import pytest
import torch
from scipy import stats

from genzoo.draws import GeneratorNoise, RowNoise, philox

FULL = 2**32 - 1
PI = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((FULL,) * 4, (FULL, FULL), "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (PI, (0xA4093822, 0x299F31D0), "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_against_its_authors(counter, key, words):
    """The known answers of Random123 1.14 (Salmon et al. 2011)."""
    found = philox(*(np.array([c], np.uint64) for c in counter), key=key)
    assert " ".join(f"{int(word[0]):08x}" for word in found) == words


def drawn(rows: range, *seed: int | str) -> list[torch.Tensor]:
    """A bit of everything, in an order as samplers ask."""
    noise, n = RowNoise(rows, *seed), len(rows)
    law = torch.arange(1.0, 8).expand(n, -1)
    chosen = torch.stack([noise.choose(law) for _ in range(300)], dim=1)
    return [noise.normal(n, 3, 5), noise.uniform(n, 7, dtype=torch.float64), chosen, noise.normal(4 * n, 3).view(n, -1)]


@pytest.mark.parametrize("n", [1, 2, 3, 7, 16])
def test_rows_do_not_know_of_each_other(n):
    """Bit-equal, however many there are and wherever a batch begins."""
    whole = drawn(range(33), "s", 5)
    for first in (0, 1, 33 - n):
        some = drawn(range(first, first + n), "s", 5)
        assert all(torch.equal(a[first : first + n], b) for a, b in zip(whole, some, strict=True))


def test_nothing_is_shared():
    """Neither by rows, nor by draws, nor by seeds that follow one another."""
    one, next_one = RowNoise(range(50), 0), RowNoise(range(50), 1)
    numbers = torch.cat([noise.normal(50, 40, dtype=torch.float64) for noise in (one, one, next_one)]).flatten()
    assert len(numbers.unique()) == len(numbers)
    seeds = torch.stack([RowNoise(range(4), seed).normal(4, 5000) for seed in range(4)])
    assert torch.corrcoef(seeds.view(16, -1)).triu(1).abs().max() < 5 / 5000**0.5
    assert not torch.equal(drawn(range(2), 0)[0][1], drawn(range(2), 1)[0][0])


def test_laws():
    """Normal, uniform and chosen numbers are distributed as they say: Kolmogorov-Smirnov and chi-squared."""
    noise = RowNoise(range(20), "laws")
    assert stats.kstest(noise.normal(20, 5001).flatten().numpy(), "norm").pvalue > 0.01
    x = noise.uniform(20, 5000).flatten()
    assert x.min() >= 0
    assert x.max() < 1
    assert stats.kstest(x.numpy(), "uniform").pvalue > 0.01
    law = torch.tensor([0.5, 0.0, 0.3, 0.2, 0.0])
    counts = torch.stack([noise.choose(law.expand(20, -1)) for _ in range(1000)]).flatten().bincount(minlength=5)
    assert counts[1] == counts[4] == 0
    assert stats.chisquare(counts[[0, 2, 3]], 20_000 * law[[0, 2, 3]]).pvalue > 0.01
    assert len(noise.integers(6, 20, 500).flatten().bincount()) == 6


def test_what_a_generator_draws_is_torchs_own():
    """Losses that sample keep their numbers to the bit."""
    seeded = torch.Generator().manual_seed(3)
    noise, law = GeneratorNoise(torch.Generator().manual_seed(3)), torch.rand(4, 6)
    assert torch.equal(noise.normal(4, 2), torch.randn(4, 2, generator=seeded))
    assert torch.equal(noise.uniform(3, dtype=torch.float64), torch.rand(3, generator=seeded, dtype=torch.float64))
    assert torch.equal(noise.choose(law), torch.multinomial(law, 1, generator=seeded)[:, 0])
    assert torch.equal(noise.integers(9, 2, 3), torch.randint(9, (2, 3), generator=seeded))
