"""Losses of a Born machine: closed forms, and expectations over all that could be drawn.

Legend: N = 2^n strings, p the circuit's probabilities, q the law of the data.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from genzoo_born import losses
from genzoo_born.ansatz import hardware_efficient
from genzoo_born.hypercube import digits, mmd2_to_law, strings
from genzoo_born.losses import TINY, Likelihood, MaximumMeanDiscrepancy
from genzoo_born.simulator import Simulator

P = torch.tensor([0.1, 0.45, 0.15, 0.3], dtype=torch.float64)
Q = torch.tensor([0.4, 0.05, 0.35, 0.2], dtype=torch.float64)


def dense_kernel(bits: int, bandwidths: tuple[float, ...]) -> Tensor:
    """[N, N]"""
    distance = (strings(bits)[:, None] != strings(bits)[None]).sum(-1).double()
    return torch.stack([(-distance / (2 * b**2)).exp() for b in bandwidths]).mean(0)


def gradient(loss: MaximumMeanDiscrepancy, p: Tensor, batch: Tensor, generator=None) -> tuple[float, Tensor]:
    """Mean loss and its gradient along laws: what a change that keeps the sum of probabilities meets."""
    p = p.clone().requires_grad_()
    value = loss(p, batch, generator).mean()
    slope = torch.autograd.grad(value, p)[0]
    return value.item(), slope - slope @ p.detach()


# ---- likelihood


def test_likelihood():
    """-log p(x) of each string; an impossible string costs 28 nats and no infinity."""
    p = torch.tensor([0.5, 0.25, 0.0, 0.25], dtype=torch.float64)
    loss = Likelihood()(p, torch.tensor([3, 0, 2]))
    assert loss.tolist() == pytest.approx([math.log(4), math.log(2), -math.log(TINY)], rel=1e-9)


def test_likelihood_is_least_where_the_laws_agree():
    """Its expectation is the entropy plus the Kullback-Leibler divergence (Gibbs' inequality)."""
    every = torch.arange(4)
    at_q, at_p = ((Q * Likelihood()(law, every)).sum().item() for law in (Q, P))
    assert at_q == pytest.approx(-(Q * Q.log()).sum().item(), abs=1e-9)
    assert at_p - at_q == pytest.approx((Q * (Q / P).log()).sum().item(), abs=1e-9)


# ---- MMD with exact probabilities


@pytest.mark.parametrize("bandwidths", [(0.7,), (0.5, 1.0, 2.0)])
def test_exact_mmd_by_hand(bandwidths):
    """The mean over the batch is the dense formula, in which no string of the batch meets itself."""
    p = torch.rand(32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    p, k = p / p.sum(), dense_kernel(5, bandwidths)
    batch = torch.tensor([3, 17, 3, 30, 8, 0])
    loss = MaximumMeanDiscrepancy(bandwidths=bandwidths)(p, batch)
    assert loss.shape == (6,)
    pairs = sum(k[batch[i], batch[j]].item() for i, j in itertools.permutations(range(6), 2)) / 30
    want = (p @ k @ p - 2 * (k @ p)[batch].mean()).item() + pairs
    assert loss.mean().item() == pytest.approx(want, abs=1e-12)
    assert want == pytest.approx(mmd2_to_law(digits(batch, 5), p, bandwidths).item(), abs=1e-6)


def test_exact_mmd_is_unbiased():
    """Over all batches of two strings that q can give, its mean is the squared MMD of p and q."""
    loss, k = MaximumMeanDiscrepancy(), dense_kernel(2, (0.5, 1.0, 2.0))
    mean = sum(Q[i] * Q[j] * loss(P, torch.tensor([i, j])).mean() for i, j in itertools.product(range(4), repeat=2))
    assert mean.item() == pytest.approx(((P - Q) @ k @ (P - Q)).item(), abs=1e-12)
    assert loss(P, torch.tensor([2])).isfinite().all()


# ---- MMD by shots


@pytest.mark.parametrize("shots", [2, 3, 4])
def test_shots_expect_the_exact_loss(shots, monkeypatch):
    """Over all outcomes of the shots, each with its probability, the loss of every string is the exact one."""
    batch, exact = torch.tensor([0, 1, 1, 3]), torch.zeros(4, dtype=torch.float64)
    loss = MaximumMeanDiscrepancy(shots=shots)
    for outcome in itertools.product(range(4), repeat=shots):
        monkeypatch.setattr(losses, "draw", lambda *_, outcome=outcome: torch.tensor(outcome))
        exact += P[list(outcome)].prod() * loss(P, batch)
    want = MaximumMeanDiscrepancy()(P, batch)
    assert exact.mean().item() == pytest.approx(want.mean().item(), abs=1e-6)
    assert torch.allclose(exact, want, atol=1e-6)


@pytest.mark.parametrize("shots", [2, 3, 4])
def test_shots_expect_the_exact_gradient(shots, monkeypatch):
    """Over all outcomes of the shots, each with its probability, the gradient is the exact one: the baseline that is
    taken off moves no expectation."""
    batch, slope = torch.tensor([0, 1, 1, 3]), torch.zeros(4, dtype=torch.float64)
    loss = MaximumMeanDiscrepancy(shots=shots)
    for outcome in itertools.product(range(4), repeat=shots):
        monkeypatch.setattr(losses, "draw", lambda *_, outcome=outcome: torch.tensor(outcome))
        slope += P[list(outcome)].prod() * gradient(loss, P, batch)[1]
    assert torch.allclose(slope, gradient(MaximumMeanDiscrepancy(), P, batch)[1], atol=1e-6)


def test_shots_of_a_circuit():
    """Drawn many times, value and gradient of a circuit's angles agree with the exact ones within their errors."""
    simulator = Simulator(hardware_efficient(3, depth=1), double=True)
    theta = torch.rand(simulator.circuit.parameters, dtype=torch.float64).requires_grad_()
    batch, generator = torch.tensor([0, 5, 5, 6, 3]), torch.Generator().manual_seed(0)
    p = simulator.probabilities(theta)
    leaf = p.detach().requires_grad_()
    jacobian = torch.stack([torch.autograd.grad(p[i], theta, retain_graph=True)[0] for i in range(8)])

    def run(loss: MaximumMeanDiscrepancy) -> tuple[float, Tensor]:
        value = loss(leaf, batch, generator).mean()
        return value.item(), torch.autograd.grad(value, leaf)[0] @ jacobian

    want, slope = run(MaximumMeanDiscrepancy())
    values, slopes = zip(*(run(MaximumMeanDiscrepancy(shots=4)) for _ in range(1500)), strict=True)
    assert abs(np.mean(values) - want) < 4 * np.std(values) / math.sqrt(1500)
    slopes = torch.stack(slopes)
    error = slopes.std(0) / math.sqrt(1500)
    assert ((slopes.mean(0) - slope).abs() < 4 * error + 1e-9).all()
    assert slope.norm() > 8 * error.norm(), "the test would not see a gradient of zero"


def test_shots_are_the_generators():
    """The same generator gives the same loss and gradient, another one others."""
    loss, batch = MaximumMeanDiscrepancy(shots=8), torch.tensor([0, 1, 3])
    one, two, other = (gradient(loss, P, batch, torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert one[0] == two[0]
    assert torch.equal(one[1], two[1])
    assert one[0] != other[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bandwidths": []}, "bandwidths is empty"),
        ({"shots": 1}, "shots must be at least 2, not 1; null takes exact probabilities"),
        ({"shots": 0}, "shots must be at least 2"),
    ],
)
def test_refused(options, said):
    """Said when the loss is made."""
    with pytest.raises(ValueError, match=said):
        MaximumMeanDiscrepancy(**options)


def test_refused_bandwidth():
    """A kernel without a width is named when it is used."""
    with pytest.raises(ValueError, match="a bandwidth must be positive, not 0"):
        MaximumMeanDiscrepancy(bandwidths=[0.0])(P, torch.tensor([0, 1]))
