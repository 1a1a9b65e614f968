"""Functions on bit strings against dense sums written out by hand."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from genzoo.draws import GeneratorNoise
from genzoo_born.hypercube import digits, draw, flip_rate, kernel, mmd2, mmd2_to_law, numbers, smooth, strings

WIDTHS = [0.5, 1.3]


def gauss(x: Tensor, y: Tensor, bandwidths: list[float]) -> np.ndarray:
    """The mean of Gaussian kernels of vectors, in double precision and from their Euclidean distance."""
    square = ((x.double()[:, None] - y.double()[None]) ** 2).sum(-1).numpy()
    return np.mean([np.exp(-square / (2 * b**2)) for b in bandwidths], axis=0)


def some_law(bits: int, seed: int = 0) -> Tensor:
    """A law without symmetry."""
    return torch.rand(2**bits, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).square_().softmax(0)


# ---- strings and numbers


@pytest.mark.parametrize("bits", [1, 2, 5])
def test_strings(bits):
    """In the order of counting, the first bit the most significant."""
    assert strings(bits).tolist() == [list(x) for x in itertools.product((0, 1), repeat=bits)]
    assert torch.equal(numbers(strings(bits)), torch.arange(2**bits))


def test_digits_and_numbers():
    """They undo each other, in any shape, up to 62 bits."""
    assert digits(torch.tensor([[6], [1]]), 4).tolist() == [[[0, 1, 1, 0]], [[0, 0, 0, 1]]]
    number = torch.randint(2**62, (3, 4), generator=torch.Generator().manual_seed(0))
    assert torch.equal(numbers(digits(number, 62)), number)
    assert numbers(torch.tensor([[True, False, True]])).tolist() == [5]
    assert numbers(torch.tensor([1.0, 1.0, 0.0])).item() == 6


def test_draws_follow_the_probabilities():
    """Frequencies pass a chi-square test, also where the probabilities do not sum to one."""
    p = some_law(4)
    p[[0, 5, 15]] = 0  # first, middle and last
    n = 40_000
    counts = torch.bincount(draw(3 * p.float(), n, GeneratorNoise(torch.Generator().manual_seed(0))), minlength=16)
    assert counts[p == 0].sum() == 0
    there = p > 0
    assert chisquare(counts[there].numpy(), (n * p / p.sum())[there].numpy()).pvalue > 1e-3


def test_draws_of_one_string():
    """A certain string is always drawn."""
    for place in (0, 2, 3):
        p = torch.zeros(4).index_fill(0, torch.tensor(place), 1.0)
        assert (draw(p, 500, GeneratorNoise(torch.Generator().manual_seed(0))) == place).all()


# ---- kernels


def test_flip_rate():
    """The kernel of two strings that differ in one bit; no width is refused."""
    assert flip_rate(0.7) == pytest.approx(math.exp(-1 / (2 * 0.7**2)), rel=1e-14)
    for bandwidth in (0.0, -1.0):
        with pytest.raises(ValueError, match="a bandwidth must be positive"):
            flip_rate(bandwidth)


def test_kernel():
    """exp(-|x - y|^2 / 2 bandwidth^2), the mean over bandwidths."""
    x, y = (torch.randint(2, (n, 9), generator=torch.Generator().manual_seed(n)) for n in (6, 4))
    assert np.allclose(kernel(x, y, WIDTHS).numpy(), gauss(x, y, WIDTHS), atol=1e-6)


@pytest.mark.parametrize("bits", [1, 3, 4, 5, 9])
@pytest.mark.parametrize("bandwidths", [[0.4], [0.5, 1.0, 2.0]])
def test_smooth(bits, bandwidths):
    """The Kronecker product is the dense kernel matrix, for a function without symmetry."""
    f = some_law(bits) - 0.01
    want = gauss(strings(bits), strings(bits), bandwidths) @ f.numpy()
    assert np.allclose(smooth(f, bandwidths).numpy(), want, atol=1e-13)
    single = smooth(f.float(), bandwidths)
    assert single.dtype == torch.float32
    assert np.allclose(single.numpy(), want, atol=1e-5)


# ---- the squared MMD


def test_mmd2_by_hand():
    """The double sums of Gretton et al. 2012, eq. 3, pair by pair."""
    x, y = (torch.randint(2, (n, 3), generator=torch.Generator().manual_seed(n)) for n in (5, 7))
    k = [[gauss(a[i : i + 1], b[j : j + 1], WIDTHS).item() for i in range(len(a)) for j in range(len(b))
          if not (a is b and i == j)] for a, b in ((x, x), (y, y), (x, y))]  # fmt: skip
    want = sum(k[0]) / (5 * 4) + sum(k[1]) / (7 * 6) - 2 * sum(k[2]) / (5 * 7)
    assert mmd2(x, y, WIDTHS).item() == pytest.approx(want, abs=1e-6)


def test_mmd2_of_many():
    """Sets larger than a portion, against the same from their histograms."""
    generator = torch.Generator().manual_seed(1)
    x = digits(draw(some_law(3), 4500, GeneratorNoise(generator)), 3)
    y = digits(draw(some_law(3, 1), 60, GeneratorNoise(generator)), 3)
    k = gauss(strings(3), strings(3), WIDTHS)
    c, d = (np.bincount(numbers(s), minlength=8) for s in (x, y))
    within = [(n @ k @ n - n.sum()) / (n.sum() * (n.sum() - 1)) for n in (c, d)]
    want = within[0] + within[1] - 2 * (c @ k @ d) / (c.sum() * d.sum())
    assert mmd2(x, y, WIDTHS).item() == pytest.approx(want, abs=1e-5)


def test_mmd2_to_law_by_hand():
    """Dense: the strings' own pairs, the law's own kernel, and what lies between."""
    law = some_law(5)
    x = digits(draw(some_law(5, 2), 9, GeneratorNoise(torch.Generator().manual_seed(0))), 5)
    own = gauss(x, x, WIDTHS)
    every = gauss(strings(5), strings(5), WIDTHS)
    want = (own.sum() - 9) / 72 + law.numpy() @ every @ law.numpy()
    want -= 2 * (gauss(x, strings(5), WIDTHS) @ law.numpy()).mean()
    assert mmd2_to_law(x, law, WIDTHS).item() == pytest.approx(want, abs=1e-6)


def test_mmd2_is_unbiased():
    """Over many small samples of one law, both are zero on average; of two laws, the exact squared MMD."""
    generator, law, other = torch.Generator().manual_seed(0), some_law(3), some_law(3).flip(0) ** 2
    other = other / other.sum()
    every = gauss(strings(3), strings(3), WIDTHS)
    exact = ((law - other).numpy() @ every @ (law - other).numpy()).item()
    found: dict[str, list[float]] = {"same": [], "two": [], "law": [], "other law": []}
    for _ in range(1000):
        x, y, z = (digits(draw(p, 4, GeneratorNoise(generator)), 3) for p in (law, law, other))
        found["same"].append(mmd2(x, y, WIDTHS).item())
        found["two"].append(mmd2(x, z, WIDTHS).item())
        found["law"].append(mmd2_to_law(x, law, WIDTHS).item())
        found["other law"].append(mmd2_to_law(z, law, WIDTHS).item())
    bias = (1 - (law.numpy() @ every @ law.numpy()).item()) / 4  # what counting a string's pair with itself would add
    for name, want in (("same", 0.0), ("two", exact), ("law", 0.0), ("other law", exact)):
        error = np.std(found[name]) / math.sqrt(1000)
        assert abs(np.mean(found[name]) - want) < 4 * error, name
        assert bias > 8 * error, "the test would not see a bias"
    assert min(found["same"]) < 0


def test_mmd2_needs_two():
    """One string has no pair."""
    one, two = strings(2)[:1], strings(2)[:2]
    for x, y in ((one, two), (two, one)):
        with pytest.raises(ValueError, match="at least 2 strings"):
            mmd2(x, y, WIDTHS)
    with pytest.raises(ValueError, match="at least 2 strings"):
        mmd2_to_law(one, some_law(2), WIDTHS)
