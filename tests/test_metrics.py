"""Scores: closed forms, second implementations by plain loops, and text counted by hand."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import linalg
from torch import Tensor, nn

import genzoo
from genzoo.contract import Batch, Data, GenerativeModel, Loss, Request, Spec
from genzoo.draws import Noise
from genzoo.families import Autoregressive
from genzoo.metrics import energy_distance, frechet_distance, likelihood, mean_loss, nearest_neighbour_accuracy
from genzoo_text.metrics import copied, distinct, word_ngrams, words


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(n, d, dtype=torch.float64, generator=seeded(seed))


# Fréchet distance


def cloud(mean: list[float], cov: list[list[float]], n: int = 200, seed: int = 0) -> Tensor:
    """n rows whose sample mean and (unbiased) sample covariance are exactly these."""
    x = normal(n, len(mean), seed)
    x = x - x.mean(dim=0)
    white = x @ torch.linalg.inv(torch.linalg.cholesky(x.T.cov())).T
    root = torch.linalg.cholesky(torch.tensor(cov, dtype=torch.float64))
    return white @ root.T + torch.tensor(mean, dtype=torch.float64)


def test_frechet_of_axis_parallel_gaussians():
    """Covariances that commute: the squared distance of the means plus that of the standard deviations."""
    first = cloud([1.0, -2.0, 0.0], [[4.0, 0, 0], [0, 1.0, 0], [0, 0, 0.25]])
    second = cloud([0.0, 1.0, 0.5], [[1.0, 0, 0], [0, 9.0, 0], [0, 0, 0.25]], n=150, seed=1)
    want = (1 + 9 + 0.25) + (2 - 1) ** 2 + (1 - 3) ** 2
    assert frechet_distance(first, second) == pytest.approx(want, abs=1e-9)
    assert frechet_distance(second, first) == pytest.approx(want, abs=1e-9)


def test_frechet_of_tilted_gaussians():
    """Covariances that do not commute: in two dimensions tr (A B)^(1/2) = (tr A B + 2 (det A B)^(1/2))^(1/2)."""
    a, b = [[2.0, 0.9], [0.9, 1.0]], [[1.0, -0.6], [-0.6, 3.0]]
    product = np.array(a) @ np.array(b)
    root = math.sqrt(np.trace(product) + 2 * math.sqrt(np.linalg.det(product)))
    want = 0.25 + np.trace(a) + np.trace(b) - 2 * root
    assert frechet_distance(cloud([0.0, 0.0], a), cloud([0.5, 0.0], b, seed=1)) == pytest.approx(want, abs=1e-9)


@pytest.mark.parametrize("d", [1, 3, 12])
def test_frechet_against_sqrtm(d):
    """Against the formula with SciPy's matrix square root, in one, a few and many dimensions."""
    first, second = normal(60, d) @ normal(d, d, 5), normal(80, d, 1) @ normal(d, d, 6) + 0.3
    a, b = (np.atleast_2d(np.cov(x.numpy().T)) for x in (first, second))
    gap = (first.mean(dim=0) - second.mean(dim=0)).numpy()
    want = gap @ gap + np.trace(a + b) - 2 * linalg.sqrtm(a @ b).real.trace()
    assert frechet_distance(first, second) == pytest.approx(want, rel=1e-7)
    assert frechet_distance(first.float(), second.float()) == pytest.approx(want, rel=1e-4)


def test_frechet_of_equals():
    """0 for a set and itself in any order; unchanged where both sets move; the square of the way where one does."""
    x, y = normal(50, 4), normal(70, 4, 1) * 2
    assert frechet_distance(x, x.flip(0)) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(x + 100, y + 100) == pytest.approx(frechet_distance(x, y), rel=1e-9)
    assert frechet_distance(x, x + 3) == pytest.approx(4 * 9, rel=1e-9)


def test_frechet_with_a_dead_column():
    """A feature that never changes, on one side or on both, is no obstacle."""
    x, y = normal(50, 3), normal(60, 3, 1)
    x[:, 2] = y[:, 2] = 7.0
    assert frechet_distance(x, y) == pytest.approx(frechet_distance(x[:, :2], y[:, :2]), abs=1e-7)


def test_frechet_of_one_row_is_refused():
    """One row has no covariance."""
    with pytest.raises(ValueError, match="at least 2 rows on each side, got 1 and 5"):
        frechet_distance(normal(1, 3), normal(5, 3))


# Two sets of examples


def loop_accuracy(first: Tensor, second: Tensor) -> float:
    """Second implementation: one row after another."""
    rows = [(x, 0) for x in first.tolist()] + [(x, 1) for x in second.tolist()]
    right = 0
    for i, (x, label) in enumerate(rows):
        others = [(math.dist(x, y), other) for j, (y, other) in enumerate(rows) if j != i]
        right += min(others)[1] == label
    return right / len(rows)


def loop_energy(first: Tensor, second: Tensor) -> float:
    """Second implementation: the three means over pairs, no row with itself."""

    def mean(a: list, b: list, *, same: bool) -> float:
        pairs = [math.dist(x, y) for i, x in enumerate(a) for j, y in enumerate(b) if not (same and i == j)]
        return sum(pairs) / len(pairs)

    a, b = first.tolist(), second.tolist()
    return 2 * mean(a, b, same=False) - mean(a, a, same=True) - mean(b, b, same=True)


@pytest.mark.parametrize("n", [2, 5, 40])
def test_nearest_neighbour_against_loops(n):
    """Small and larger sets: torch changes its way of computing distances at 25 rows."""
    for seed in range(4):
        first, second = normal(n, 3, seed), normal(n, 3, seed + 50) + 0.5
        assert nearest_neighbour_accuracy(first, second) == pytest.approx(loop_accuracy(first, second), abs=1e-12)


def test_nearest_neighbour_of_known_sets():
    """A half for one law, 1 for sets apart, 0 where one set was copied from the other."""
    first, second = normal(800, 2), normal(800, 2, 1)
    assert nearest_neighbour_accuracy(first, second) == pytest.approx(0.5, abs=0.05)
    assert nearest_neighbour_accuracy(first, second + 20) == 1
    assert nearest_neighbour_accuracy(first, first + 1e-9) == 0
    assert nearest_neighbour_accuracy(first, 3 * second) > 0.6


def test_examples_of_several_axes():
    """Both scores take examples of any shape as flat rows, and sets wherever they lie."""
    first, second = normal(30, 6), normal(30, 6, 1) + 0.4
    shaped = first.view(30, 2, 3), second.view(30, 2, 3)
    for score in (nearest_neighbour_accuracy, energy_distance):
        want = score(first, second)
        assert score(*shaped) == want
        assert score(first + 1000, second + 1000) == pytest.approx(want, abs=1e-6)
        assert score(second, first) == pytest.approx(want, abs=1e-12)


def test_unequal_sets_are_refused():
    """With more rows on one side, a half would not mean one law."""
    with pytest.raises(ValueError, match="of equal size, not 3 and 4"):
        nearest_neighbour_accuracy(normal(3, 2), normal(4, 2))


@pytest.mark.parametrize(("n", "m"), [(2, 2), (5, 9), (40, 30)])
def test_energy_against_loops(n, m):
    """Sets of different sizes, small and larger."""
    first, second = normal(n, 3), normal(m, 3, 1) * 1.5 + 0.5
    assert energy_distance(first, second) == pytest.approx(loop_energy(first, second), abs=1e-8)
    assert energy_distance(5 * first, 5 * second) == pytest.approx(5 * loop_energy(first, second), abs=1e-7)


def test_energy_is_unbiased():
    """Over many small draws of one law the mean is 0 within 4 standard errors, with values on both sides; a biased
    mean over all pairs would be off by the mean distance / n."""
    scores = torch.tensor([energy_distance(normal(10, 2, i), normal(10, 2, 10_000 + i)) for i in range(400)])
    assert scores.mean().abs() < 4 * scores.std() / 20
    assert scores.min() < 0 < scores.max()
    assert scores.std() / 20 < 0.02, "the bias would be seen: 2 * 1.77 / 10"


def test_energy_of_two_gaussians():
    """N(0, 1) and N(m, 1): 2 E|N(m, 2)| - 2 E|N(0, 2)|, with E|N(m, s^2)| = s (2/pi)^(1/2) e^(-m^2/2s^2) + m erf(m/2)
    for s^2 = 2."""
    m = 1.5
    apart = 2 / math.sqrt(math.pi) * math.exp(-(m**2) / 4) + m * math.erf(m / 2)
    want = 2 * apart - 2 * 2 / math.sqrt(math.pi)
    assert energy_distance(normal(1500, 1), normal(1500, 1, 1) + m) == pytest.approx(want, rel=0.12)


@pytest.mark.parametrize(("n", "m"), [(1, 5), (5, 1)])
def test_energy_of_one_row_is_refused(n, m):
    """One row has no distance within its set."""
    with pytest.raises(ValueError, match=f"at least 2 rows on each side, got {n} and {m}"):
        energy_distance(normal(n, 3), normal(m, 3))


# Likelihood of a split


class Letters(Data):
    """23 examples of 4 tokens; two tokens make a letter."""

    unit = "letter"
    spec = Spec((4,), vocab=3)

    def __init__(self) -> None:
        self.x = torch.randint(3, (23, 4), generator=seeded())
        self.sizes: list[int] = []

    def prepare(self) -> None:
        pass

    def batch(self, step: int, size: int, split: str, rows: range | None = None) -> Batch:
        raise NotImplementedError

    def sweep(self, split: str, size: int) -> Iterator[Batch]:
        assert split == "val"
        for x in self.x.split(size):
            self.sizes.append(len(x))
            yield Batch(x, {"label": torch.full((len(x),), 7)})

    def units(self, split: str) -> int:
        return self.x.numel() // 2

    def write(self, x: Tensor, path: Path, request: Request) -> Path:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        pass


class Unigram(GenerativeModel):
    """Tokens drawn by themselves, with the probabilities 1/2, 1/4, 1/4."""

    def __init__(self, *, known: bool = True) -> None:
        super().__init__()
        self.probability, self.known, self.scale = nn.Parameter(torch.tensor([0.5, 0.25, 0.25])), known, 1.0

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> Loss:
        raise NotImplementedError

    def sample(self, n: int, cond: Mapping[str, Tensor], noise: Noise, **options: Any) -> Tensor:
        raise NotImplementedError

    def log_prob(self, x: Tensor, cond: Mapping[str, Tensor]) -> Tensor | None:
        assert (cond["label"] == 7).all()
        return self.scale * self.probability.log()[x].sum(dim=1) if self.known else None


@pytest.mark.parametrize("batch_size", [5, 64])
def test_likelihood_counts_bits(batch_size):
    """A 0 costs one bit, a 1 or 2 two; per letter that is twice as much as per token, whatever the batches."""
    data = Letters()
    bits = (1 + (data.x > 0).double()).sum().item()
    scores = likelihood(Unigram(), data, "val", batch_size=batch_size)
    assert max(data.sizes) == min(batch_size, 23)
    assert scores == {
        "bits_per_letter": pytest.approx(bits / 46, rel=1e-6),
        "nats_per_letter": pytest.approx(bits * math.log(2) / 46, rel=1e-6),
        "nats_per_token": pytest.approx(bits * math.log(2) / 92, rel=1e-6),
        "perplexity_per_token": pytest.approx(2 ** (bits / 92), rel=1e-6),
        "letters": 46,
        "tokens": 92,
    }


def test_no_likelihood_no_scores():
    """A model without a likelihood has no score, rather than a wrong one."""
    assert likelihood(Unigram(known=False), Letters(), "val") == {}


@pytest.mark.parametrize("scale", [1e5, math.inf])
def test_hopeless_models(scale):
    """Data that the model calls next to impossible cost many bits, or infinitely many; perplexity does not overflow."""
    model = Unigram()
    model.scale = scale
    scores = likelihood(model, Letters(), "val")
    assert scores["bits_per_letter"] >= scale
    assert scores["perplexity_per_token"] > 1e300


# Text


def test_words():
    """Lower case, and each punctuation mark by itself; letters and digits of any script."""
    assert words("Don't stop -- it's 3.5 Größe!") == [
        *("don", "'", "t", "stop", "-", "-", "it", "'", "s", "3", ".", "5", "größe", "!"),
    ]


@pytest.mark.parametrize(
    ("texts", "n", "want"),
    [
        (["a b a b a"], 1, 2 / 5),
        (["a b a b a"], 2, 2 / 4),  # ab ba ab ba
        (["a b c", "a b d"], 2, 3 / 4),  # ab bc ab bd: no bigram reaches over to the next text
        (["A b", "a B"], 2, 1 / 2),
        (["a b"], 3, 0.0),
        ([], 1, 0.0),
        (["", "a"], 1, 1.0),
    ],
)
def test_distinct(texts, n, want):
    """Counted by hand."""
    assert distinct(texts, n) == want


@pytest.mark.parametrize(
    ("texts", "n", "want"),
    [
        (["the cat sat"], 2, 1.0),
        (["the cat ran"], 2, 1 / 2),
        (["The CAT", "a dog", "the cat"], 2, 2 / 3),  # repeated ones count each time
        (["mat the"], 2, 0.0),
        (["cat"], 2, 0.0),
        ([], 2, 0.0),
    ],
)
def test_copied(texts, n, want):
    """Counted by hand against "The cat sat on the mat"."""
    known = word_ngrams("The cat sat on the mat", n)
    assert known == {("the", "cat"), ("cat", "sat"), ("sat", "on"), ("on", "the"), ("the", "mat")}
    assert copied(texts, known, n) == pytest.approx(want)


# The model's own loss on a split


class Costly(Unigram):
    """An example costs the square of its sum, plus noise; there is no likelihood."""

    def __init__(self, noise: float = 0.0) -> None:
        super().__init__(known=False)
        self.noise, self.seen = noise, []

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> Loss:
        assert (batch.cond["label"] == 7).all()
        assert not torch.is_grad_enabled()
        noise = self.noise * torch.randn(len(batch), generator=generator)
        self.seen.append(noise)
        return Loss(batch.x.sum(dim=1).float().square() + noise)


@pytest.mark.parametrize("batch_size", [1, 5, 20, 64])
def test_mean_loss_is_over_examples(batch_size):
    """Each of the 23 examples counts the same, though the last batch is smaller."""
    data = Letters()
    squares = data.x.sum(dim=1).double().square()
    scores = mean_loss(Costly(), data, "val", batch_size=batch_size)
    assert scores == {"loss": pytest.approx(squares.mean().item(), rel=1e-6), "examples": 23}
    batches = torch.stack([part.mean() for part in squares.split(20)]).mean().item()
    assert abs(batches - squares.mean().item()) > 0.5, "a mean over batches would be seen"


def test_mean_loss_is_the_same_every_time():
    """The noise is that of the score, not of the moment; each batch has its own, and the world's is left alone."""
    model = Costly(noise=3.0)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = mean_loss(model, Letters(), "val", batch_size=5)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert mean_loss(model, Letters(), "val", batch_size=5) == first
    assert first["loss"] != mean_loss(Costly(), Letters(), "val")["loss"]
    assert len({tuple(noise[:3].tolist()) for noise in model.seen[:5]}) == 5


def test_evaluate_without_a_likelihood(run_copy, monkeypatch):
    """The verb then reports the mean of the model's own loss, in place of bits, and writes it down."""
    with_likelihood = genzoo.evaluate(run_copy, ["n=0"])
    assert not with_likelihood.keys() & {"loss", "examples"}
    monkeypatch.setattr(Autoregressive, "log_prob", lambda self, x, cond: None)
    report = genzoo.evaluate(run_copy, ["n=0", "batch_size=7"])
    assert report.keys() == {"loss", "examples", "protocol"}
    trained = genzoo.load(run_copy)
    trained.data.prepare()
    values = torch.cat([trained.model.loss(batch).value for batch in trained.data.sweep("val", 32)])
    assert report["examples"] == len(values)
    assert report["loss"] == pytest.approx(values.double().mean().item(), rel=1e-4)
    assert json.loads((run_copy / "metrics.json").read_text())["evaluate_val"]["loss"] == report["loss"]
