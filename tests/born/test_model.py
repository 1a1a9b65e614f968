"""Born machines: their law, first angles, growth, and noise.

Legend: N = 2^wires strings.
"""

import copy
import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from genzoo.config import scores_of
from genzoo.contract import Batch, Loss, Spec
from genzoo.draws import GeneratorNoise, torch_generator
from genzoo_born import mps, noise
from genzoo_born.ansatz import hardware_efficient, iqp, listed, matrix_product, qaoa
from genzoo_born.circuit import Circuit
from genzoo_born.data import BornData
from genzoo_born.hypercube import numbers, strings
from genzoo_born.losses import MaximumMeanDiscrepancy
from genzoo_born.model import BornMachine
from genzoo_born.simulator import Simulator

SHOTS = 20_000
TWO_LAYERS = partial(hardware_efficient, depth=2)


def machine(wires: int = 4, circuit=TWO_LAYERS, **options) -> BornMachine:
    """A Born machine on so many wires, with angles that make every string likely enough."""
    return BornMachine(Spec(shape=(wires,), vocab=2), circuit=circuit, **{"start": "random", **options})


def data_of(x: Tensor) -> BornData:
    """A data set of these strings."""
    data = BornData(rows=1, columns=x.shape[1])
    data.x = {"train": x, "val": x}
    return data


def agrees(numbers_of_samples: Tensor, law: Tensor) -> float:
    """p-value of a chi-square test of samples against a law [N], with strings that are expected less than 8 times put
    together."""
    count = torch.bincount(numbers_of_samples, minlength=len(law)).double()
    expected = law.double() / law.double().sum() * len(numbers_of_samples)
    rare = expected < 8
    if rare.any():
        count = torch.cat((count[~rare], count[rare].sum()[None]))
        expected = torch.cat((expected[~rare], expected[rare].sum()[None]))
    return chisquare(count.numpy(), expected.numpy()).pvalue


# ---- the law of a circuit


@pytest.mark.parametrize(
    "circuit",
    [partial(hardware_efficient, depth=1), partial(iqp, order=2), partial(qaoa, depth=1), matrix_product],
    ids=["hardware_efficient", "iqp", "qaoa", "matrix_product"],
)
def test_law(circuit):
    """The probabilities of all strings sum to one, and samples come as often as they say."""
    model = machine(circuit=circuit, double=True)
    every = strings(4)
    p = model.log_prob(every, {}).exp()
    assert p.shape == (16,)
    assert p.sum().item() == pytest.approx(1, abs=1e-9)
    assert torch.allclose(p.detach(), model.probabilities().detach(), atol=1e-10)
    x = model.sample(SHOTS, {}, GeneratorNoise(torch_generator("shots")))
    assert x.shape == (SHOTS, 4)
    assert x.dtype == torch.int64
    assert agrees(numbers(x), p.detach()) > 1e-3
    assert agrees(numbers(x), torch.ones(16)) < 1e-12, "the test would not tell this law from none"


def test_wire_of_a_bit():
    """The first bit of a string is wire 0."""
    model = machine(3, partial(listed, gates=["x 0", "id 1", "x 2"]))
    assert model.log_prob(torch.tensor([[1, 0, 1]]), {}).item() == pytest.approx(0, abs=1e-6)
    assert model.sample(5, {}, GeneratorNoise(torch_generator("shots"))).tolist() == [[1, 0, 1]] * 5


def test_samples_are_the_generators():
    """The same generator, the same samples; another one, others."""
    model = machine()
    one, two, other = (model.sample(50, {}, GeneratorNoise(torch_generator(s)), readout_error=0.1) for s in (0, 0, 1))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_loss_is_the_criterion():
    """The loss of each string of a batch; the negative log-likelihood by default, another where asked for."""
    model = machine()
    x = strings(4)[[3, 9, 9]]
    loss = model.loss(Batch(x))
    assert isinstance(loss, Loss)
    assert torch.allclose(loss.value, -model.log_prob(x, {}))
    other = machine(loss=MaximumMeanDiscrepancy())
    with torch.no_grad():
        other.theta.copy_(model.theta)
    want = MaximumMeanDiscrepancy()(model.probabilities(), numbers(x))
    assert torch.allclose(other.loss(Batch(x), torch_generator(0)).value, want)


@pytest.mark.parametrize("loss", [None, MaximumMeanDiscrepancy(), MaximumMeanDiscrepancy(shots=256)])
def test_training_lowers_the_loss(loss):
    """A few steps of Adam bring bars and stripes nearer."""
    data = BornData(path="bas", rows=2, columns=2, strings=None)
    data.prepare()
    model = machine(loss=loss, start="identity")
    before = scores_of(data).law_metrics(lambda x: model.log_prob(x, {}).detach(), "train")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for step in range(40):
        optimizer.zero_grad()
        model.loss(data.batch(step, 6, "train"), torch_generator("step", step)).value.mean().backward()
        optimizer.step()
    after = scores_of(data).law_metrics(lambda x: model.log_prob(x, {}).detach(), "train")
    assert after["total_variation_to_law"] < 0.5 * before["total_variation_to_law"]


def test_deepcopy():
    """A copy has angles of its own and the same law."""
    model = machine()
    twin = copy.deepcopy(model)
    assert torch.equal(twin.probabilities(), model.probabilities())
    with torch.no_grad():
        twin.theta += 0.3
    assert not torch.allclose(twin.probabilities(), model.probabilities())
    assert set(model.state_dict()) == {"theta"}


@pytest.mark.parametrize("spec", [Spec(shape=(4,), vocab=3), Spec(shape=(4,)), Spec(shape=(2, 2), vocab=2)])
def test_wrong_data(spec):
    """What is no string of bits is refused."""
    with pytest.raises(ValueError, match="strings of bits"):
        BornMachine(spec, circuit=hardware_efficient)


# ---- first angles


def test_identity():
    """Near |0...0>, the nearer the smaller the spread."""
    x = BornData(rows=1, columns=4, strings=10)
    x.prepare()
    for spread, least in ((0.0, 1 - 1e-6), (0.05, 0.9)):
        model = machine(start="identity", spread=spread)
        model.initialise(x)
        p = model.probabilities()[0].item()
        assert p > least
        assert (p > 1 - 1e-5) == (spread == 0)


def test_random():
    """Angles over the whole circle."""
    theta = machine(6, partial(hardware_efficient, depth=6), start="random").theta
    assert theta.abs().max() <= math.pi
    assert theta.std().item() == pytest.approx(math.pi / math.sqrt(3), rel=0.15)


@pytest.mark.parametrize("depth", [0, 2])
@pytest.mark.parametrize("gate", ["rzz", "cz", "cx"])
def test_marginals(depth, gate):
    """Each bit has its frequency in the data, and the bits are independent; also of a bit that never changes."""
    x = torch.zeros(64, 4, dtype=torch.long)
    for wire, ones in enumerate((16, 40, 0, 64)):
        x[:ones, wire] = 1
    model = machine(circuit=partial(hardware_efficient, depth=depth, gate=gate), start="marginals", spread=0.0)
    model.initialise(data_of(x))
    frequency = x.double().mean(0)
    want = (strings(4) * frequency + (1 - strings(4)) * (1 - frequency)).prod(1)
    assert torch.allclose(model.probabilities().double(), want, atol=1e-5)


def test_marginals_with_spread():
    """A spread moves the law a little, and no two angles in the same way."""
    x = strings(4)[torch.tensor([1, 3, 3, 7])]
    model = machine(start="marginals", spread=0.05)
    first = model.theta.detach().clone()
    model.initialise(data_of(x))
    p = model.probabilities()
    bits = (strings(4) * p[:, None]).sum(0)
    assert torch.allclose(bits, torch.tensor([0.0, 0.25, 0.75, 1.0]), atol=0.15)
    assert len(first.unique()) == len(first)


@pytest.mark.parametrize("start", ["marginals", "staircase"])
def test_starts_that_need_a_circuit(start):
    """Refused with the mend where the circuit is another."""
    mend = {"marginals": "choose start=identity", "staircase": "matrix_product on 2 wires or more"}[start]
    data = data_of(strings(4))
    with pytest.raises(ValueError, match=f"start={start} needs.*{mend}"):
        machine(circuit=partial(iqp, order=1), start=start).initialise(data)
    with pytest.raises(ValueError, match=f"start={start} needs"):
        machine(1, matrix_product if start == "staircase" else partial(iqp, order=1), start=start).initialise(
            data_of(strings(1))
        )


# ---- the staircase


@pytest.mark.parametrize("wires", [2, 4, 5])
def test_amplitudes(wires):
    """Bond by bond, the amplitudes of all strings are those of the simulated staircase, phases included."""
    theta = torch.randn(wires - 1, mps.ANGLES, generator=torch_generator("angles"))
    want = Simulator(matrix_product(wires), double=True)(theta.flatten().double())
    found = mps.amplitudes(theta, strings(wires))
    assert torch.allclose(found.to(want), want, atol=1e-5)
    some = torch.tensor([2, 0, 2])
    assert torch.allclose(mps.amplitudes(theta, strings(wires)[some]).to(want), want[some], atol=1e-5)


def correlated() -> Tensor:
    """Strings of 5 bits in which a bit mostly repeats the one before."""
    generator = torch_generator("chain")
    flips = (torch.rand(600, 5, generator=generator) < torch.tensor([0.5, 0.1, 0.1, 0.1, 0.1])).long()
    return flips.cumsum(1) % 2


def test_fit_staircase():
    """A fitted staircase makes correlated strings likelier than any product of bits can, nearly as their entropy
    allows; the same generator gives the same angles."""
    x = correlated()
    frequency = x.double().mean(0)
    product = -(frequency * frequency.log() + (1 - frequency) * (1 - frequency).log()).sum().item()
    entropy = math.log(2) - 4 * (0.1 * math.log(0.1) + 0.9 * math.log(0.9))  # of the chain
    theta = mps.fit_staircase(x, steps=120, generator=torch_generator("fit"))
    assert theta.shape == (4, 15)
    assert not theta.requires_grad
    nats = -2 * mps.amplitudes(theta, x).abs().log().mean().item()
    assert nats < entropy + 0.15
    assert entropy + 0.15 < product - 1
    one, two = (mps.fit_staircase(x, steps=2, generator=torch_generator("fit")) for _ in range(2))
    assert torch.equal(one, two)


def test_staircase_start(monkeypatch):
    """The model begins with the fitted law; a second staircase near the identity moves it a little; the angles are a
    function of the first ones."""
    fit, x, found = mps.fit_staircase, correlated(), []
    monkeypatch.setattr(mps, "fit_staircase", lambda x, *, steps, generator: fit(x, steps=60, generator=generator))
    for depth in (1, 2, 1):
        torch.manual_seed(1)
        model = machine(5, partial(matrix_product, depth=depth), start="staircase", spread=0.01)
        model.initialise(data_of(x))
        found.append(model)
    with torch.no_grad():
        p, deeper, again = (m.log_prob(x, {}).mean().item() for m in found)
    assert p > -(math.log(2) - 4 * (0.1 * math.log(0.1) + 0.9 * math.log(0.9))) - 0.15
    assert deeper == pytest.approx(p, abs=0.1)
    assert again == p
    assert found[1].theta[60:].abs().max() < 0.05


# ---- growing


@pytest.mark.parametrize("entangler", ["all", "ring", "brick"])
def test_growing(entangler):
    """A deeper circuit takes the angles of a shallower one; with no spread it begins with the same law."""
    small = machine(circuit=partial(hardware_efficient, depth=1, entangler=entangler))
    large = machine(circuit=partial(hardware_efficient, depth=3, entangler=entangler), start="identity", spread=0.0)
    assert not torch.allclose(large.probabilities(), small.probabilities(), atol=1e-2)
    large.start_from(small.state_dict())
    assert torch.allclose(large.probabilities(), small.probabilities(), atol=1e-5)
    assert large.theta.requires_grad
    same = machine(circuit=partial(hardware_efficient, depth=1, entangler=entangler))
    same.start_from(small.state_dict())
    assert torch.equal(same.theta, small.theta)


def test_growing_keeps_what_is_new():
    """Angles that the shallower circuit has not stay near zero, each its own."""
    large = machine(circuit=partial(hardware_efficient, depth=3), start="identity")
    before = large.theta.detach().clone()
    small = machine(circuit=partial(hardware_efficient, depth=1))
    large.start_from(small.state_dict())
    count = len(small.theta)
    assert torch.equal(large.theta[count:], before[count:])
    assert before.std().item() == pytest.approx(0.1, rel=0.3)


def test_shrinking():
    """A circuit with fewer angles cannot take them."""
    with pytest.raises(RuntimeError, match="theta has 36 angles there and 22 here"):
        machine(circuit=partial(hardware_efficient, depth=1)).start_from(machine().state_dict())


def test_weights_of_another_family():
    """What has no angles does not fit, as the contract says."""
    with pytest.raises(RuntimeError):
        machine().start_from({"net.weight": torch.zeros(3)})


# ---- noise


@pytest.mark.parametrize("rate", [0.0, 0.1, 1.0])
def test_readout_error(rate):
    """Each measured bit is read as the other at its rate, independently."""
    model = machine(3, partial(listed, gates=["x 0", "id 1", "x 2"]))
    x = model.sample(SHOTS, {}, GeneratorNoise(torch_generator("shots")), readout_error=rate)
    flips = x ^ torch.tensor([1, 0, 1])
    law = torch.tensor([rate**k * (1 - rate) ** (3 - k) for k in strings(3).sum(1).tolist()])
    if rate in (0, 1):
        assert (flips == rate).all()
    else:
        assert agrees(numbers(flips), law) > 1e-3
        assert agrees(numbers(flips), torch.tensor([0.91, 0.09]).repeat_interleave(4)) < 1e-12


MIXED = Circuit(3, (*hardware_efficient(3, depth=1, entangler="line").gates, *listed(3, gates=["h 1", "cx 1 2"]).gates))


@pytest.mark.parametrize(
    ("wires", "circuit"),
    [
        (2, partial(listed, gates=["ry 0", "cx 0 1", "h 0", "rzz 0 1", "rx 1"])),
        (3, lambda wires: MIXED),
        (2, partial(listed, gates=["h 0", "crx 0 1", "ry[0] 1", "sdg 0", "swap 0 1", "sx 1"])),
    ],
    ids=["two wires", "three wires", "complex gates"],
)
def test_depolarizing_against_pennylane(wires, circuit):
    """Frequencies agree with the density matrix of PennyLane, a depolarising channel after each gate on each wire."""
    qml = pytest.importorskip("pennylane")
    names = {"rx": "RX", "ry": "RY", "rz": "RZ", "rzz": "IsingZZ", "crx": "CRX", "cx": "CNOT", "h": "Hadamard",
             "swap": "SWAP", "sx": "SX"}  # fmt: skip
    model, p = machine(wires, circuit), 0.12

    @qml.qnode(qml.device("default.mixed", wires=wires))
    def run():
        for g in model.circuit.gates:
            angle = [g.at(model.theta.tolist())] if g.name[0] in "rc" and g.name != "cx" else []
            if g.name == "sdg":
                qml.adjoint(qml.S)(g.wires[0])
            else:
                getattr(qml, names[g.name])(*angle, wires=list(g.wires))
            for wire in g.wires:
                qml.DepolarizingChannel(p, wires=wire)
        return qml.probs(wires=range(wires))

    want = torch.from_numpy(np.asarray(run()))
    found = numbers(model.sample(3000, {}, GeneratorNoise(torch_generator("shots")), depolarizing=p))
    assert agrees(found, want) > 1e-3
    assert agrees(found, model.probabilities().detach()) < 1e-9, "the noise would not be seen"


def test_errors_of_a_place():
    """X, Y and Z as often as one another; none, and always one, at the ends."""
    kind = noise.errors(2, SHOTS, 0.3, GeneratorNoise(torch_generator("errors"))).flatten()
    assert agrees(kind, torch.tensor([0.7, 0.1, 0.1, 0.1])) > 1e-3
    assert (noise.errors(5, 50, 0.0, GeneratorNoise(torch_generator("errors"))) == 0).all()
    assert (noise.errors(5, 50, 1.0, GeneratorNoise(torch_generator("errors"))) > 0).all()


def test_errors_stand_after_their_gate():
    """A place is a wire of a gate, in order; what is not an error leaves the circuit as it is."""
    circuit = listed(2, gates=["h 0", "cx 0 1", "ry 1"])
    assert noise.places(circuit) == 4
    assert noise.with_errors(circuit, [0, 0, 0, 0]) == circuit
    found = [(g.name, g.wires) for g in noise.with_errors(circuit, [3, 0, 1, 2]).gates]
    assert found == [("h", (0,)), ("z", (0,)), ("cx", (0, 1)), ("x", (1,)), ("ry", (1,)), ("y", (1,))]


def test_no_noise():
    """With probability 0 nothing changes, bit for bit; shots come in no order that tells their trajectory."""
    model = machine(3)
    plain, none = (
        model.sample(200, {}, GeneratorNoise(torch_generator(1))),
        model.sample(200, {}, GeneratorNoise(torch_generator(1)), depolarizing=0.0),
    )
    assert torch.equal(plain, none)
    noisy = numbers(model.sample(4000, {}, GeneratorNoise(torch_generator(1)), depolarizing=0.01))
    first, last = (torch.bincount(part, minlength=8).double() for part in noisy.split(2000))
    assert (first - last).abs().max() < 5 * math.sqrt(2 * 2000 * 0.25)
    assert chisquare((first + 1).numpy(), ((first + last + 2) / 2).numpy()).pvalue > 1e-3


def test_noise_of_the_worst():
    """One certain error after the only gate: X, Y and Z in equal parts."""
    model = machine(1, partial(listed, gates=["x 0"]))
    ones = model.sample(SHOTS, {}, GeneratorNoise(torch_generator("shots")), depolarizing=1.0).double().mean().item()
    assert ones == pytest.approx(1 / 3, abs=4 * math.sqrt(2 / 9 / SHOTS))


@pytest.mark.parametrize("name", ["depolarizing", "readout_error"])
@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_refused_noise(name, value):
    """A probability lies between 0 and 1."""
    with pytest.raises(ValueError, match=f"{name} must lie between 0 and 1, not {value}"):
        machine().sample(2, {}, GeneratorNoise(torch_generator(0)), **{name: value})


def test_remembered_probabilities_follow_the_angles():
    """What is remembered without a gradient is forgotten after any step, also a fused optimizer's, which leaves no
    trace in the tensor's version."""
    born = BornMachine(Spec((3,), vocab=2), circuit=TWO_LAYERS)
    optimizer = torch.optim.AdamW(born.parameters(), lr=0.3, fused=True)
    for _ in range(3):
        born.log_prob(torch.tensor([[1, 0, 1]]), {}).sum().backward()
        optimizer.step()
        with torch.no_grad():
            known = born.probabilities()
            assert known is born.probabilities()
        torch.testing.assert_close(known, born.simulator.probabilities(born.theta).detach())
