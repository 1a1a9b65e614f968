"""The known laws against enumeration by hand: tables, draws, supports, and sizes that cannot be enumerated."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import binom, chisquare

from genzoo.draws import torch_generator
from genzoo.errors import UserError
from genzoo_born.hypercube import numbers, strings
from genzoo_born.laws import BarsAndStripes, Blobs, Cardinality, Ising, Law, spread_peaks

DRAWS = 20_000
PEAKS = torch.tensor([[0, 0, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1]])
LAWS = {
    "wide bars and stripes": BarsAndStripes(2, 3),
    "tall bars and stripes": BarsAndStripes(4, 2),
    "one row": BarsAndStripes(1, 4),
    "one column": BarsAndStripes(3, 1),
    "cardinality": Cardinality(6, 2),
    "no ones": Cardinality(3, 0),
    "all ones": Cardinality(3, 3),
    "blobs": Blobs(PEAKS, 0.15),
    "ising": Ising(2, 3, temperature=1.0, seed=3),
}


@pytest.fixture(params=LAWS)
def law(request) -> Law:
    """Each law in turn."""
    return LAWS[request.param]


def grids(rows: int, columns: int) -> list[tuple[int, ...]]:
    """All bars and stripes, from the definition: every row is of one colour, or every column is."""
    found = []
    for x in itertools.product((0, 1), repeat=rows * columns):
        grid = np.array(x).reshape(rows, columns)
        if all(len(set(row)) == 1 for row in grid) or all(len(set(column)) == 1 for column in grid.T):
            found.append(x)
    return found


# ---- every law


def test_table_sums_to_one(law):
    """A table holds a probability for every string."""
    table = law.table()
    assert table.shape == (2**law.bits,)
    assert table.dtype == torch.float64
    assert (table >= 0).all()
    assert table.sum().item() == pytest.approx(1, abs=1e-12)


def test_draws_follow_the_table(law):
    """Frequencies of draws pass a chi-square test, and nothing impossible is drawn."""
    table, x = law.table(), law.draw(DRAWS, torch_generator("draws"))
    assert x.shape == (DRAWS, law.bits)
    assert x.dtype == torch.int64
    counts = torch.bincount(numbers(x), minlength=len(table))
    assert counts[table == 0].sum() == 0
    there = table > 0
    if there.sum() > 1:
        assert chisquare(counts[there].numpy(), DRAWS * table[there].numpy()).pvalue > 1e-3
    flat = np.full(len(table), 1 / len(table))
    if not torch.allclose(table, torch.from_numpy(flat)):
        assert chisquare(counts.numpy(), DRAWS * flat).pvalue < 1e-12, "the test would not tell this law from none"


def test_draws_are_the_generators(law):
    """The same generator gives the same strings, another one others."""
    one, two, other = (law.draw(64, torch_generator("draws", seed)) for seed in (0, 0, 1))
    assert torch.equal(one, two)
    if (law.table() > 0).sum() > 1:
        assert not torch.equal(one, other)


def test_support_is_where_the_table_is(law):
    """The support of a uniform law is each possible string once, each as likely, and `valid` knows them."""
    support, table, every = law.support(), law.table(), strings(law.bits)
    if support is None:
        assert law.valid(every) is None
        assert (table > 0).all()
        return
    assert len(support.unique(dim=0)) == len(support)
    assert torch.equal(numbers(support).sort().values, table.nonzero()[:, 0])
    assert torch.allclose(table[table > 0], torch.tensor(1 / len(support), dtype=torch.float64))
    assert torch.equal(law.valid(every), table > 0)


# ---- bars and stripes


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 4), (4, 1), (2, 2), (2, 3), (3, 2), (3, 3), (3, 4)])
def test_bars_and_stripes(rows, columns):
    """The support is what the definition gives: 2^rows + 2^columns - 2 pictures."""
    law, want = BarsAndStripes(rows, columns), grids(rows, columns)
    assert sorted(map(tuple, law.support().tolist())) == want
    assert len(want) == 2**rows + 2**columns - 2
    assert law.valid(strings(law.bits)).sum() == len(want)


def test_bars_and_stripes_of_sixteen():
    """As many where the strings themselves are far too many."""
    assert len(BarsAndStripes(10, 8).support()) == 2**10 + 2**8 - 2


@pytest.mark.parametrize(
    ("rows", "columns", "by_row"), [(20, 20, 0.5), (18, 20, 0.2), (20, 3, 1.0), (64, 2, 1.0), (2, 64, 0.0), (8, 64, 0)]
)
def test_large_bars_and_stripes(rows, columns, by_row):
    """Drawn without a list: all valid, all different sorts in their true shares, each row and column a fair coin."""
    law = BarsAndStripes(rows, columns)
    x = law.draw(2000, torch_generator("large"))
    assert law.valid(x).all()
    if max(rows, columns) > 16:
        assert law.support() is None
        assert law.table() is None
    grid = x.view(-1, rows, columns)
    rows_alike = (grid == grid[:, :, :1]).flatten(1).all(1)
    assert rows_alike.double().mean().item() == pytest.approx(by_row, abs=4 * math.sqrt(0.25 / 2000))
    assert (grid.double().mean(0) - 0.5).abs().max() < 5 * math.sqrt(0.25 / 2000)
    spoiled = x.clone()
    spoiled[:, rows * columns // 2] ^= 1
    assert not law.valid(spoiled).any() or min(rows, columns) == 1


# ---- cardinality


@pytest.mark.parametrize("ones", [0, 1, 2, 5])
def test_cardinality(ones):
    """All strings with so many ones, in the number that the binomial coefficient says."""
    support = Cardinality(5, ones).support()
    assert len(support) == math.comb(5, ones)
    assert (support.sum(1) == ones).all()


def test_large_cardinality():
    """Too many to list, they are drawn all the same, and every bit is as often one."""
    assert Cardinality(24, 12).support() is Cardinality(24, 12).table() is None
    law = Cardinality(128, 32)
    x = law.draw(4000, torch_generator("large"))
    assert law.support() is law.table() is None
    assert (x.sum(1) == 32).all()
    assert law.valid(x).all()
    assert not law.valid(1 - x).any()
    assert (x.double().mean(0) - 0.25).abs().max() < 5 * math.sqrt(0.25 * 0.75 / 4000)


@pytest.mark.parametrize("ones", [-1, 5])
def test_refused_cardinality(ones):
    """There cannot be more ones than bits, nor fewer than none."""
    with pytest.raises(UserError, match=rf"data\.ones must lie between 0 and the 4 bits, not {ones}"):
        Cardinality(4, ones)


# ---- blobs


def test_blobs_by_hand():
    """The mean over peaks of flip^d (1 - flip)^(n - d), d being the bits in which a string differs from the peak."""
    want = []
    for x in itertools.product((0, 1), repeat=4):
        distances = [sum(a != b for a, b in zip(x, peak, strict=True)) for peak in PEAKS.tolist()]
        want.append(sum(0.15**d * 0.85 ** (4 - d) for d in distances) / 3)
    assert torch.allclose(LAWS["blobs"].table(), torch.tensor(want, dtype=torch.float64), atol=1e-14)


def test_large_blobs():
    """128 bits: every draw is near one peak, at binomial distances, and each peak has its share."""
    peaks = spread_peaks(8, 128, seed=0)
    law = Blobs(peaks, 0.05)
    assert law.bits == 128
    assert law.table() is None
    assert law.support() is None
    distance = (law.draw(4000, torch_generator("large"))[:, None] != peaks).sum(2)
    nearest, peak = distance.min(1)
    assert chisquare(torch.bincount(peak, minlength=8).numpy()).pvalue > 1e-3
    assert nearest.double().mean().item() == pytest.approx(6.4, abs=4 * math.sqrt(128 * 0.05 * 0.95 / 4000))
    assert nearest.max() <= binom.isf(1e-7, 128, 0.05)


@pytest.mark.parametrize("flip", [0.0, 0.5, -0.1, 1.0, math.nan])
def test_refused_flip(flip):
    """Peaks without width, or without a place, are none."""
    with pytest.raises(UserError, match=r"data\.flip must lie between 0 and 0\.5"):
        Blobs(PEAKS, flip)


@pytest.mark.parametrize(("count", "bits"), [(8, 16), (3, 5), (1, 4), (2, 1)])
def test_peaks_are_spread(count, bits):
    """The nearest two of the peaks are farther apart than the nearest two of most random peaks."""
    peaks = spread_peaks(count, bits, seed=5)
    assert peaks.shape == (count, bits)
    assert set(peaks.flatten().tolist()) <= {0, 1}
    assert torch.equal(peaks, spread_peaks(count, bits, seed=5))

    def nearest(x: torch.Tensor) -> int:
        return min((int((a != b).sum()) for a, b in itertools.combinations(x, 2)), default=bits)

    generator = torch_generator("other peaks")
    others = sorted(nearest(torch.randint(2, (count, bits), generator=generator)) for _ in range(40))
    assert nearest(peaks) >= others[-2]


def test_peaks_depend_on_the_seed():
    """Another seed gives other peaks."""
    assert not torch.equal(spread_peaks(4, 16, seed=0), spread_peaks(4, 16, seed=1))


# ---- Ising


@pytest.mark.parametrize(("rows", "columns", "edges"), [(3, 3, 12), (2, 4, 10), (1, 5, 4), (4, 1, 3), (1, 1, 0)])
def test_ising_by_hand(rows, columns, edges):
    """exp(sum of J s s' / T) over the neighbours, found one pair of sites at a time; open edges."""
    law = Ising(rows, columns, temperature=1.7, seed=4)
    couplings = {tuple(sorted(e)): j for e, j in zip(law.edges.T.tolist(), law.couplings.tolist(), strict=True)}
    assert len(couplings) == law.edges.shape[1] == edges
    weights, sites = [], list(itertools.product(range(rows), range(columns)))
    for x in itertools.product((0, 1), repeat=rows * columns):
        energy = 0.0
        for (a, (r, c)), (b, (r2, c2)) in itertools.combinations(enumerate(sites), 2):
            if abs(r - r2) + abs(c - c2) == 1:
                energy -= couplings[a, b] * (2 * x[a] - 1) * (2 * x[b] - 1)
        weights.append(math.exp(-energy / 1.7))
    want = np.array(weights) / sum(weights)
    assert np.allclose(law.table().numpy(), want, atol=1e-14)


def test_ising_has_no_field():
    """All spins turned, a state is as likely."""
    table = LAWS["ising"].table()
    assert torch.allclose(table, table.flip(0), atol=1e-15)


def test_ising_couplings():
    """They are the seed's, and standard normal."""
    one, two = (Ising(4, 5, temperature=1.0, seed=s).couplings for s in (0, 1))
    assert torch.equal(one, Ising(4, 5, temperature=2.0, seed=0).couplings)
    assert not torch.equal(one, two)
    many = torch.cat([Ising(4, 5, temperature=1.0, seed=s).couplings for s in range(40)])
    assert abs(many.mean()) < 4 / math.sqrt(len(many))
    assert abs(many.std() - 1) < 4 / math.sqrt(2 * len(many))


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_refused_temperature(temperature):
    """There is none below zero, and zero has no law."""
    with pytest.raises(UserError, match=rf"data\.temperature must be positive, not {temperature}"):
        Ising(2, 2, temperature=temperature, seed=0)


def test_refused_lattice():
    """More strings than can be listed."""
    with pytest.raises(UserError, match=r"data\.rows \* data\.columns is at most 24, not 25"):
        Ising(5, 5, temperature=1.0, seed=0)
