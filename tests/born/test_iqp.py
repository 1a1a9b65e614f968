"""IQP circuits trained by expectation values, against their simulation.

Legend: n bits, N = 2^n strings, O operators (products of Z), G generators.
"""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from genzoo.contract import Batch, Spec
from genzoo.draws import GeneratorNoise, torch_generator
from genzoo_born.ansatz import iqp
from genzoo_born.data import BornData
from genzoo_born.hypercube import digits, draw, flip_rate, numbers, smooth, strings
from genzoo_born.iqp import IQPMachine
from genzoo_born.simulator import Simulator


def machine(bits: int, **options) -> IQPMachine:
    """An IQP machine with angles that correlate its bits."""
    return IQPMachine(Spec(shape=(bits,), vocab=2), **{"spread": 0.7, **options})


def data_of(x: Tensor) -> BornData:
    """A data set of these strings."""
    data = BornData(rows=1, columns=x.shape[1])
    data.x = {"train": x, "val": x}
    return data


def signs(bits: int) -> Tensor:
    """Of every operator and every string (-1)^(a x), [N, N] in double precision."""
    return 1 - 2 * ((strings(bits) @ strings(bits).T) % 2).double()


# ---- expectation values


@pytest.mark.parametrize(("order", "reach"), [(1, None), (2, None), (3, None), (2, 1), (3, 2), (6, None)])
def test_expectations(order, reach):
    """The mean of the cosines over all uniform strings is every operator's expectation in the simulated circuit."""
    model = machine(6, order=order, reach=reach)
    p = Simulator(iqp(6, order=order, reach=reach), double=True).probabilities(model.theta.detach().double())
    every = strings(6).float()
    cosines = model.expectations(every, every)
    assert cosines.shape == (64, 64)
    assert torch.allclose(cosines.mean(0).double(), signs(6) @ p, atol=1e-5)
    assert (cosines[:, 0] == 1).all(), "the operator of no Z is 1"


def test_single_wire_by_hand():
    """A Z meets its wire's rotation and the pair's; two Z meet the pair twice, which is not at all."""
    model = machine(2, order=2)
    with torch.no_grad():
        model.theta.copy_(torch.tensor([0.3, -0.8, 0.5]))
    every = strings(2).float()
    z_first, z_second, z_both = model.expectations(every[[2, 1, 3]], every).mean(0).tolist()
    assert z_first == pytest.approx(math.cos(0.3) * math.cos(0.5), abs=1e-6)
    assert z_second == pytest.approx(math.cos(0.8) * math.cos(0.5), abs=1e-6)
    assert z_both == pytest.approx(math.cos(0.3) * math.cos(0.8), abs=1e-6)


@pytest.mark.parametrize("bandwidths", [[0.6], [0.5, 1.0, 3.0]])
def test_operators_belong_to_the_kernel(bandwidths):
    """Over the drawn operators, the mean of (-1)^(a (x + y)) is the Gaussian kernel, at every distance."""
    model = machine(5, bandwidths=bandwidths, operators=60_000)
    a = model.draw_operators(torch_generator("operators"))
    assert a.shape == (60_000, 5)
    assert set(a.unique().tolist()) == {0.0, 1.0}
    for d in range(6):
        for wires in ([*range(d)], [*range(5 - d, 5)]):
            want = np.mean([math.exp(-d / (2 * b**2)) for b in bandwidths])
            found = (1 - 2 * (a[:, wires].sum(1) % 2)).mean().item()
            assert found == pytest.approx(want, abs=4 / math.sqrt(60_000))


@pytest.mark.parametrize("operators", [1, 3])
def test_bandwidths_have_equal_parts(operators):
    """However few operators are drawn, on average each bandwidth has its part."""
    model = machine(4, bandwidths=[0.4, 4.0], operators=operators)
    generator = torch_generator("operators")
    a = torch.cat([model.draw_operators(generator) for _ in range(12_000 // operators)])
    want = (1 - np.mean([flip_rate(b) for b in (0.4, 4.0)])) / 2
    assert a.mean().item() == pytest.approx(want, abs=5 * math.sqrt(want / 12_000))


# ---- the loss


def test_loss_is_unbiased():
    """Its mean over batches and all randomness is the exact squared MMD of the simulated law and the data's. So few
    strings, operators and examples a step that an estimate which pairs any of them with itself would be seen."""
    bits, size, s, repeats, bandwidths = 10, 4, 3, 4000, [1.0, 2.0]
    model = machine(bits, bandwidths=bandwidths, operators=4, strings=s, spread=0.4).requires_grad_(False)
    p = model.probabilities().double()
    q = torch.rand(2**bits, dtype=torch.float64, generator=torch_generator("law")).pow(40)
    q = q / q.sum()
    exact = ((p - q) @ smooth(p - q, bandwidths)).item()
    generator = torch_generator("loss")
    found = []
    for _ in range(repeats):
        value = model.loss(Batch(digits(draw(q, size, GeneratorNoise(generator)), bits)), generator).value
        found.append(value.mean().item())
    assert value.shape == (size,)
    error = np.std(found) / math.sqrt(repeats)
    assert abs(np.mean(found) - exact) < 4 * error

    a, every = strings(bits).float(), strings(bits).float()
    rates = torch.tensor([(1 - flip_rate(b)) / 2 for b in bandwidths])[:, None]
    weight = (rates ** a.sum(1) * (1 - rates) ** (bits - a.sum(1))).mean(0)  # of each operator
    cosines = model.expectations(a, every)
    of_model = (weight * cosines.var(0, correction=0)).sum().item() / s
    of_data = (1 - (q @ smooth(q, bandwidths)).item()) / size
    assert min(of_model, of_data) > 8 * error, "the test would not see a bias"


def test_loss_of_a_string_by_hand():
    """Each example's own value: the model's pairs, twice the model with the example, the example with the others."""
    model = machine(5, operators=6, strings=4, bandwidths=[1.0])
    x = strings(5)[[3, 30, 9]]
    loss = model.loss(Batch(x), torch_generator("loss")).value
    generator = torch_generator("loss")
    a = model.draw_operators(generator)
    z = torch.randint(2, (4, 5), generator=generator).float()
    c = model.expectations(a, z)
    d = 1 - 2 * ((x.float() @ a.T) % 2)
    want = torch.zeros(3)
    for b in range(3):
        for o in range(6):
            pairs = np.mean([(c[i, o] * c[j, o]).item() for i, j in itertools.permutations(range(4), 2)])
            others = np.mean([d[j, o].item() for j in range(3) if j != b])
            want[b] += (pairs - 2 * c[:, o].mean().item() * d[b, o] + d[b, o] * others) / 6
    assert torch.allclose(loss, want, atol=1e-5)


def test_loss_has_a_gradient():
    """A few steps of Adam lower the exact squared MMD."""
    data = BornData(path="cardinality", rows=1, columns=6, ones=2, strings=300)
    data.prepare()
    model = machine(6, order=2, bandwidths=[0.7, 1.5], operators=128, strings=64, spread=0.1, start="identity")
    q = data.law.table()

    def exact() -> float:
        r = model.probabilities().detach().double() - q
        return (r @ smooth(r, [0.7, 1.5])).item()

    before = exact()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for step in range(60):
        optimizer.zero_grad()
        model.loss(data.batch(step, 100, "train"), torch_generator("step", step)).value.mean().backward()
        optimizer.step()
    assert exact() < 0.3 * before


def test_a_batch_of_one():
    """Has no pair, and a finite loss."""
    assert machine(5).loss(Batch(strings(5)[:1]), torch_generator(0)).value.isfinite().all()


# ---- first angles


def test_covariance_start_of_independent_bits():
    """Where the bits' pairs are uncorrelated, the first law has every bit at its frequency, and no pair turned."""
    counts = [(0, 0, 0, 1), (0, 0, 1, 1), (0, 1, 1, 1), (0, 0, 0, 0), (1, 1, 1, 1)]
    x = torch.tensor(list(itertools.product(*counts)))
    assert 4096 % len(x) == 0
    model = machine(5, spread=0.0, start="covariance")
    model.initialise(data_of(x))
    p = model.probabilities().detach()
    assert torch.allclose((strings(5) * p[:, None]).sum(0), x.float().mean(0), atol=1e-3)
    assert model.theta[5:].abs().max() < 1e-4


def test_covariance_start_of_pairs():
    """Angles of pairs stand in proportion to the covariance of their spins, sign included; the first law is nearer to
    the data than without them."""
    x = torch.tensor([[0, 0, 1], [1, 1, 0], [0, 0, 1], [1, 1, 0], [0, 0, 0], [1, 1, 1], [0, 1, 1], [1, 0, 0]])
    model = machine(3, spread=0.0, start="covariance")
    model.initialise(data_of(x))
    spins = 1 - 2 * x.numpy()
    found = dict(zip(model.sets, model.theta.tolist(), strict=True))
    for pair in ((0, 1), (0, 2), (1, 2)):
        want = np.cov(spins[:, pair].T)[0, 1]
        assert found[pair] == pytest.approx(0.1 * want * 7 / 8 * 4096 / 4095, abs=1e-5)
    assert found[0, 1] > 0 > found[0, 2]


def test_identity_start():
    """Near zero, whatever the data: the law is all zeros' but for the spread, which adds to the other start too."""
    model = machine(4, spread=0.01, start="identity")
    before = model.theta.detach().clone()
    model.initialise(data_of(strings(4)))
    assert torch.equal(model.theta, before)
    assert model.probabilities()[0] > 0.99
    assert before.std() > 0


# ---- samples and likelihoods


@pytest.mark.parametrize(("order", "reach"), [(2, None), (3, 3)])
def test_law(order, reach):
    """On few wires probabilities, samples and likelihoods are the circuit's."""
    model = machine(8, order=order, reach=reach)
    p = Simulator(iqp(8, order=order, reach=reach), double=True).probabilities(model.theta.detach().double())
    assert model.circuit == iqp(8, order=order, reach=reach)
    assert torch.allclose(model.log_prob(strings(8), {}).exp().double(), p, atol=1e-5)
    x = model.sample(20_000, {}, GeneratorNoise(torch_generator("shots")))
    assert x.shape == (20_000, 8)
    frequency = torch.bincount(numbers(x), minlength=256) / 20_000
    error = (p * (1 - p) / 20_000).sqrt()
    assert ((frequency - p).abs() < 5 * error + 1e-4).all()
    assert 0.5 * (p - 1 / 256).abs().sum() > 0.2


def test_wide():
    """Beyond simulation it trains, and says why it gives neither samples nor likelihoods."""
    model = machine(25, order=2, reach=2, operators=8, strings=8)
    x = torch.randint(2, (6, 25), generator=torch_generator("wide"))
    loss = model.loss(Batch(x), torch_generator(0)).value
    loss.mean().backward()
    assert loss.shape == (6,)
    assert model.theta.grad.isfinite().all()
    assert model.theta.grad.abs().max() > 0
    assert model.log_prob(x, {}) is None
    with pytest.raises(ValueError, match=r"25 wires need a quantum computer \(at most 24.*n=0, or export it"):
        model.sample(2, {}, GeneratorNoise(torch_generator(0)))


def test_checkpoint_and_copy():
    """The angles alone are the weights; a copy is a model of its own."""
    model = machine(4)
    assert set(model.state_dict()) == {"theta"}
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.theta += 0.3
    assert not torch.allclose(twin.probabilities(), model.probabilities())
    twin.start_from(model.state_dict())
    assert torch.equal(twin.probabilities(), model.probabilities())


@pytest.mark.parametrize(
    ("spec", "options", "said"),
    [
        (Spec(shape=(4,), vocab=3), {}, "strings of bits"),
        (Spec(shape=(4,)), {}, "strings of bits"),
        (Spec(shape=(2, 2), vocab=2), {}, "strings of bits"),
        (Spec(shape=(4,), vocab=2), {"operators": 0}, "operators must be at least 1"),
        (Spec(shape=(4,), vocab=2), {"strings": 1}, "strings at least 2"),
        (Spec(shape=(4,), vocab=2), {"bandwidths": []}, "bandwidths not empty"),
        (Spec(shape=(4,), vocab=2), {"order": 5}, "order must lie between 1 and the number of wires 4, not 5"),
        (Spec(shape=(4,), vocab=2), {"order": 0}, "order must lie between 1"),
    ],
)
def test_refused(spec, options, said):
    """Said when the model is made."""
    with pytest.raises(ValueError, match=said):
        IQPMachine(spec, **options)


def test_what_cannot_be_sampled_cannot_be_scored():
    """Beyond simulation there is no likelihood, and an objective that needs one refuses before it begins."""
    from genzoo.objectives import Adversarial

    for wires, scored in ((8, True), (30, False)):
        model = IQPMachine(Spec((wires,), vocab=2))
        assert model.scored == scored
        objective = Adversarial(model.spec, critic=lambda spec: torch.nn.Linear(1, 1))
        if scored:
            objective.check(model)
        else:
            with pytest.raises(ValueError, match="cannot reach this model: choose objective=native"):
                objective.check(model)


def test_bandwidths_are_positive():
    """Refused when the model is made, not when it is trained."""
    with pytest.raises(ValueError, match="a bandwidth must be positive, not 0"):
        IQPMachine(Spec((4,), vocab=2), bandwidths=[0.0])
