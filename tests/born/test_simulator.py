"""The simulator against PennyLane, closed forms and itself run in other ways.

Legend: B parameter vectors at once, P parameters, N = 2^wires basis states.
"""

import copy
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from torch import Tensor

from genzoo.errors import UserError
from genzoo_born import simulator as simulator_module
from genzoo_born.ansatz import hardware_efficient, iqp, listed, matrix_product, qaoa
from genzoo_born.circuit import ANGLED, PAIRS, SINGLE, Circuit, Gate
from genzoo_born.simulator import Simulator

EVERY = sorted({*SINGLE, *PAIRS, "multirz"})
WAYS = ["stored", "reversible"]
PENNYLANE = {
    "id": "Identity",
    "x": "PauliX",
    "y": "PauliY",
    "z": "PauliZ",
    "h": "Hadamard",
    "s": "S",
    "t": "T",
    "sx": "SX",
    "rx": "RX",
    "ry": "RY",
    "rz": "RZ",
    "p": "PhaseShift",
    "cx": "CNOT",
    "cy": "CY",
    "cz": "CZ",
    "ch": "CH",
    "swap": "SWAP",
    "cp": "ControlledPhaseShift",
    "crx": "CRX",
    "cry": "CRY",
    "crz": "CRZ",
    "rxx": "IsingXX",
    "ryy": "IsingYY",
    "rzz": "IsingZZ",
    "multirz": "MultiRZ",
}


@pytest.fixture(scope="module")
def pennylane() -> Callable[[Circuit, Tensor], Tensor]:
    """(circuit, theta [P] in double): the state that PennyLane's default.qubit gives, differentiable."""
    qml = pytest.importorskip("pennylane")

    def run(circuit: Circuit, theta_p: Tensor) -> Tensor:
        @qml.qnode(qml.device("default.qubit", wires=circuit.wires), interface="torch", diff_method="backprop")
        def state(theta_p: Tensor) -> Any:
            for g in circuit.gates:
                angle = g.angle if g.parameter is None else g.angle + g.scale * theta_p[g.parameter]
                if g.name in ("sdg", "tdg"):
                    qml.adjoint(getattr(qml, g.name[0].upper()))(g.wires[0])
                else:
                    getattr(qml, PENNYLANE[g.name])(*[angle] * (g.name in ANGLED), wires=list(g.wires))
            return qml.state()

        return torch.as_tensor(state(theta_p))

    return run


def angles(*shape: int) -> Tensor:
    """Random angles in double precision that single precision holds exactly."""
    return torch.empty(shape).uniform_(-math.pi, math.pi).double()


def slope(run: Callable[[Tensor], Tensor], theta: Tensor, weights: Tensor) -> Tensor:
    """The gradient of a function of the probabilities that is linear in none of them."""
    theta = theta.clone().requires_grad_()
    probabilities = run(theta)
    value = (weights * probabilities).sum().sin() + (weights * probabilities.square()).sum()
    return torch.autograd.grad(value, theta)[0]


# ---- states against PennyLane


@pytest.mark.parametrize("name", EVERY)
def test_gate(name, pennylane):
    """Every gate, on a random product state, gives PennyLane's amplitudes, the global phase included."""
    on = (2,) if name in SINGLE else (2, 0) if name in PAIRS else (2, 0, 3)
    before = [(turn, w) for w in range(4) for turn in ("rx", "ry")]
    gates = [Gate(turn, (w,), parameter=i) for i, (turn, w) in enumerate(before)]
    gate = Gate(name, on, 0.4, 8, -1.7) if name in ANGLED else Gate(name, on)
    after = [Gate("sx", (w,)) for w in range(4)]
    circuit = Circuit(4, (*gates, gate, *after))
    theta_p = angles(circuit.parameters)
    want = pennylane(circuit, theta_p)
    torch.testing.assert_close(Simulator(circuit, double=True)(theta_p), want, rtol=0, atol=1e-12)
    torch.testing.assert_close(Simulator(circuit)(theta_p).to(want.dtype), want, rtol=0, atol=1e-6)


@pytest.mark.parametrize("wires", [1, 2, 3, 4, 5, 6, 8])
def test_random_circuits(wires, pennylane, random_circuit):
    """So do long circuits of all gates."""
    circuit = random_circuit(wires, 70, seed=wires)
    theta_p = angles(circuit.parameters)
    want = pennylane(circuit, theta_p)
    torch.testing.assert_close(Simulator(circuit, double=True)(theta_p), want, rtol=0, atol=1e-12)
    torch.testing.assert_close(Simulator(circuit)(theta_p).to(want.dtype), want, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "circuit",
    [
        hardware_efficient(5, depth=2),
        hardware_efficient(5, depth=2, gate="crz", entangler="ring"),
        iqp(5, order=3),
        qaoa(5, depth=2),
        matrix_product(5),
    ],
    ids=["hardware_efficient", "crz", "iqp", "qaoa", "matrix_product"],
)
def test_circuits_with_names(circuit, pennylane):
    """And the circuits that have names."""
    theta_p = angles(circuit.parameters)
    got = Simulator(circuit, double=True)(theta_p)
    torch.testing.assert_close(got, pennylane(circuit, theta_p), rtol=0, atol=1e-12)


@pytest.mark.parametrize("wires", [1, 2, 3, 5, 9])
def test_dense(wires, dense, random_circuit):
    """The state is the first column of the product of the gates' matrices, for groups of one size and of two."""
    circuit = random_circuit(wires, 15 if wires == 9 else 100, seed=7)
    theta_p = angles(circuit.parameters)
    want = torch.from_numpy(dense(circuit, theta_p.numpy())[:, 0])
    torch.testing.assert_close(Simulator(circuit, double=True)(theta_p), want, rtol=0, atol=1e-12)


# ---- gradients


@pytest.mark.parametrize("wires", [1, 3, 6])
def test_gradient_against_pennylane(wires, pennylane, random_circuit):
    """Stored and reversible, the gradient by a batch of angles is PennyLane's, one vector at a time."""
    circuit = random_circuit(wires, 60, seed=wires)
    theta_bp, weights_bn = angles(2, circuit.parameters), torch.randn(2, 2**wires).double()
    want = [
        slope(lambda theta_p: pennylane(circuit, theta_p).abs().square(), theta_p, weights_n)
        for theta_p, weights_n in zip(theta_bp, weights_bn, strict=True)
    ]
    for way in WAYS:
        simulator = Simulator(circuit, double=True, gradient=way)
        for row in range(2):
            got = slope(lambda t, row=row, s=simulator: s.probabilities(t)[row], theta_bp, weights_bn[row])
            torch.testing.assert_close(got[row], want[row], rtol=0, atol=1e-11)
            assert want[row].abs().max() > 1e-3
            assert not got[1 - row].any()


@pytest.mark.parametrize("wires", [1, 2, 3, 5, 9])
def test_stored_and_reversible(wires, random_circuit):
    """Undoing the circuit and keeping its states give the same gradient, for every size of groups and both widths."""
    circuit = random_circuit(wires, 80, seed=wires)
    theta_bp, weights_bn = angles(3, circuit.parameters), torch.randn(3, 2**wires).double()
    for double, close in [(True, 1e-12), (False, 2e-5)]:
        stored, back = (
            slope(Simulator(circuit, double=double, gradient=way).probabilities, theta_bp, weights_bn) for way in WAYS
        )
        torch.testing.assert_close(back, stored, rtol=close, atol=close)
        assert stored.abs().max() > 1e-3


@pytest.mark.parametrize("shape", [(), (2,)], ids=["P", "BP"])
@pytest.mark.parametrize("way", WAYS)
def test_gradcheck(way, shape, random_circuit):
    """The gradient of states, complex amplitudes and all, is their slope; of one vector of angles and of several."""
    circuit = random_circuit(3, 30)
    simulator = Simulator(circuit, double=True, gradient=way)
    theta = angles(*shape, circuit.parameters).requires_grad_()
    assert torch.autograd.gradcheck(simulator, (theta,))
    assert torch.autograd.gradcheck(simulator.probabilities, (theta,))


@pytest.mark.parametrize("way", WAYS)
def test_gradcheck_of_groups(way):
    """The same with two groups of wires, of which some stages use one and some both, and for a circuit that is real."""
    some = listed(5, gates=["ry 0", "ry 4", "cx 0 4", "rx 4", "rzz 3 4", "sx 0", "h 1", "ry 3", "cp 4 1", "rx[1] 2"])
    real = listed(5, gates=["ry 0", "ry 4", "cx 0 4", "ry 4", "cz 3 4", "ry 0", "h 1", "ry 3", "swap 4 1", "ry[1] 2"])
    for circuit in (some, real):
        theta_p = angles(circuit.parameters).requires_grad_()
        assert torch.autograd.gradcheck(Simulator(circuit, double=True, gradient=way), (theta_p,))


@pytest.mark.parametrize("way", WAYS)
def test_backward_twice(way):
    """With retain_graph a second backward pass gives the same gradient again."""
    circuit = hardware_efficient(3, depth=2)
    theta_p = angles(circuit.parameters).requires_grad_()
    value = Simulator(circuit, double=True, gradient=way).probabilities(theta_p)[1]
    first, second = (torch.autograd.grad(value, theta_p, retain_graph=True)[0] for _ in range(2))
    assert first.any()
    torch.testing.assert_close(second, first, rtol=0, atol=0)


def test_differentiable_once():
    """A second derivative is refused, not wrong."""
    circuit = hardware_efficient(2, depth=1)
    theta_p = angles(circuit.parameters).requires_grad_()
    value = Simulator(circuit, double=True).probabilities(theta_p)[0]
    (first,) = torch.autograd.grad(value, theta_p, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.square().sum().backward()


@pytest.mark.parametrize("way", WAYS)
def test_parameter_shift(way):
    """For rotations exp(-i theta/2 P), the slope of an expectation is half its difference at theta +- pi/2."""
    words = ["h 0", "h 1", "h 2", "rz 0", "rzz 0 1", "rx 1", "ry 2", "cx 0 2", "rzz 1 2", "rxx 0 1", "ryy 1 2"]
    circuit = listed(3, gates=[*words, "multirz 2 0 1", "p 0", "ry 0", "rx 1", "rz 2", "rx 2"])
    simulator = Simulator(circuit, double=True, gradient=way)
    theta_p, value_n = angles(circuit.parameters).requires_grad_(), torch.randn(8).double()
    (got,) = torch.autograd.grad(simulator.probabilities(theta_p) @ value_n, theta_p)
    shifts_pp = math.pi / 2 * torch.eye(circuit.parameters).double()
    with torch.no_grad():
        plus, minus = (simulator.probabilities(theta_p + sign * shifts_pp) @ value_n for sign in (1, -1))
    torch.testing.assert_close(got, (plus - minus) / 2, rtol=0, atol=1e-13)
    assert (got.abs() > 1e-3).sum() > circuit.parameters / 2


def test_which_way(monkeypatch):
    """gradient="auto" keeps states while they are small; what is no way is refused."""
    circuit = hardware_efficient(3)
    assert Simulator(circuit).stored
    assert Simulator(circuit, gradient="stored").bytes > Simulator(circuit, gradient="reversible").bytes
    monkeypatch.setattr(simulator_module, "STORED_GIB", 0)
    assert not Simulator(circuit).stored
    assert Simulator(circuit, gradient="stored").stored
    with pytest.raises(ValueError, match="gradient is auto, stored or reversible, not 'adjoint'"):
        Simulator(circuit, gradient="adjoint")


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradient(mode):
    """Where no gradient is wanted, the state is the same, needs none, and the next call may want one."""
    circuit = hardware_efficient(5, depth=2)
    simulator = Simulator(circuit)
    theta_p = angles(circuit.parameters).requires_grad_()
    with mode():
        free = simulator(theta_p)
    assert not free.requires_grad
    state = simulator(theta_p)
    torch.testing.assert_close(free.clone(), state.detach(), rtol=0, atol=0)
    assert torch.autograd.grad(state[0].abs(), theta_p)[0].any()


# ---- conservation


@pytest.mark.parametrize("gate", ["rzz", "cx"])
def test_norm(gate):
    """Over 100 layers the probabilities go on summing to one."""
    circuit = hardware_efficient(6, depth=100, entangler="ring", gate=gate)
    theta_bp = angles(2, circuit.parameters)
    one = torch.ones(2, dtype=torch.float64)
    torch.testing.assert_close(Simulator(circuit)(theta_bp).norm(dim=1).double(), one, rtol=0, atol=1e-5)
    torch.testing.assert_close(Simulator(circuit, double=True)(theta_bp).norm(dim=1), one, rtol=0, atol=1e-12)


def test_probabilities(random_circuit):
    """Squared sizes of amplitudes."""
    circuit = random_circuit(4, 40)
    simulator, theta_bp = Simulator(circuit, double=True), angles(2, circuit.parameters)
    torch.testing.assert_close(
        simulator.probabilities(theta_bp), simulator(theta_bp).abs().square(), rtol=0, atol=1e-15
    )


# ---- closed forms


def test_wire_0_is_the_most_significant_bit():
    """X on wire 0 of three reaches basis state 4, on wire 2 basis state 1; CX looks at its first wire."""
    for words, want in [
        (["x 0"], 4),
        (["x 2"], 1),
        (["x 0", "cx 0 2"], 5),
        (["x 0", "cx 2 0"], 4),
        (["x 0", "swap 0 1"], 2),
    ]:
        theta = torch.zeros(1)
        got = Simulator(listed(3, gates=[*words, "ry 1", "id 0"]))(theta)
        assert got.tolist() == [float(i == want) for i in range(8)]


@pytest.mark.parametrize("wires", [2, 3, 5, 9])
def test_bell_and_ghz(wires):
    """H and a staircase of CX: all wires 0 or all 1, with amplitude sqrt(1/2). Such a circuit has no angles."""
    circuit = listed(wires, gates=["h 0", *(f"cx {w} {w + 1}" for w in range(wires - 1))])
    want = torch.zeros(2**wires, dtype=torch.float64)
    want[0] = want[-1] = math.sqrt(0.5)
    torch.testing.assert_close(Simulator(circuit, double=True)(torch.zeros(0)), want, rtol=0, atol=1e-15)
    several = Simulator(circuit, double=True)(torch.zeros(3, 0))
    torch.testing.assert_close(several, want.expand(3, -1), rtol=0, atol=1e-15)


@pytest.mark.parametrize("wires", [1, 2, 3, 5, 9])
def test_product_state(wires):
    """RY on each wire: probabilities are products of cos^2(theta/2) and sin^2(theta/2)."""
    circuit = hardware_efficient(wires, depth=0, rotations=("ry",))
    theta_p = angles(wires).requires_grad_()
    got = Simulator(circuit, double=True).probabilities(theta_p)
    want = torch.ones(1, dtype=torch.float64)
    for theta in theta_p:
        want = (want[:, None] * torch.stack([(theta / 2).cos(), (theta / 2).sin()]).square()).flatten()
    torch.testing.assert_close(got, want, rtol=0, atol=1e-15)
    slopes = [torch.autograd.grad(p[0], theta_p)[0] for p in (got, want)]
    torch.testing.assert_close(slopes[0], slopes[1], rtol=0, atol=1e-15)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_iqp(order):
    """The amplitude of bits x is the mean over bits z of (-1)^(x.z) exp(-i/2 sum_S theta_S prod_{w in S} (-1)^z_w);
    with all angles zero that is |0...0>."""
    circuit, wires = iqp(5, order=order), 5
    simulator, theta_p = Simulator(circuit, double=True), angles(circuit.parameters)
    bits_nw = torch.tensor([[i >> (wires - 1 - w) & 1 for w in range(wires)] for i in range(2**wires)]).double()
    signs_nw = 1 - 2 * bits_nw
    sets = [g.wires for g in circuit.gates if g.name != "h"]
    phase_n = sum(-theta / 2 * signs_nw[:, list(s)].prod(1) for theta, s in zip(theta_p, sets, strict=True))
    want = (((-1) ** (bits_nw @ bits_nw.T)) * torch.polar(torch.ones(32).double(), phase_n)).mean(1)
    torch.testing.assert_close(simulator(theta_p), want, rtol=0, atol=1e-14)
    nothing = simulator.probabilities(torch.zeros(circuit.parameters))
    torch.testing.assert_close(nothing, torch.eye(32)[0].double(), rtol=0, atol=1e-14)


def test_qaoa_of_nothing():
    """With all angles zero QAOA leaves the uniform superposition."""
    circuit = qaoa(5)
    got = Simulator(circuit, double=True)(torch.zeros(circuit.parameters))
    torch.testing.assert_close(got, torch.full((32,), 32**-0.5, dtype=got.dtype), rtol=0, atol=1e-14)


def test_global_phase():
    """A learned phase on a wire that is 1 turns the whole state by it, and its gradient sees that."""
    simulator = Simulator(listed(2, gates=["x 0", "cx 0 1", "p 1"]), double=True)
    theta = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    state = simulator(theta)
    torch.testing.assert_close(state[3], torch.polar(torch.ones(1).double(), theta.detach())[0], rtol=0, atol=1e-15)
    (got,) = torch.autograd.grad(state[3].imag, theta)
    torch.testing.assert_close(got, theta.detach().cos(), rtol=0, atol=1e-15)


# ---- real circuits


@pytest.mark.parametrize("wires", [2, 5, 6])
def test_real(wires, random_circuit):
    """Circuits of real gates run in real numbers, and to the numbers of the same circuit run in complex ones."""
    kinds = ("ry", "cz", "cx", "h", "x", "z", "swap", "id")
    gates = [g for g in random_circuit(wires, 300, seed=wires).gates if g.name in kinds]
    real, forced = Circuit(wires, tuple(gates)), Circuit(wires, (*gates, Gate("rz", (0,), 0.0)))
    theta_bp = angles(2, max(g.parameter or 0 for g in gates) + 1)
    weights_bn = torch.randn(2, 2**wires).double()
    for double, kind, close in [(True, torch.float64, 1e-13), (False, torch.float32, 1e-5)]:
        ours, theirs = (Simulator(c, double=double) for c in (real, forced))
        assert ours.dtype == ours(theta_bp).dtype == kind
        assert theirs.dtype == theirs(theta_bp).dtype == torch.view_as_complex(torch.zeros(2, dtype=kind)).dtype
        torch.testing.assert_close(ours(theta_bp), theirs(theta_bp).real, rtol=0, atol=close)
        assert theirs(theta_bp).imag.abs().max() == 0
        for way in WAYS:
            slopes = [
                slope(Simulator(c, double=double, gradient=way).probabilities, theta_bp, weights_bn)
                for c in (real, forced)
            ]
            torch.testing.assert_close(slopes[0], slopes[1], rtol=close, atol=close)


@pytest.mark.parametrize("word", ["y 0", "s 0", "t 0", "sx 0", "rx 0", "rz(0) 0", "p 0", "cp 0 1", "cy 0 1", "rzz 0 1"])
def test_not_real(word):
    """One gate with an imaginary part, and states are complex."""
    assert Simulator(listed(2, gates=["ry 0", word])).dtype == torch.complex64
    assert Simulator(listed(2, gates=["ry 0", word]), double=True).dtype == torch.complex128


# ---- calls


@pytest.mark.parametrize("wires", [1, 2, 3, 5, 9])
def test_one_by_one(wires, random_circuit):
    """A batch of parameter vectors is the same as one after another."""
    circuit = random_circuit(wires, 50, seed=wires)
    simulator, theta_bp = Simulator(circuit, double=True), angles(4, circuit.parameters)
    together = simulator(theta_bp)
    assert together.shape == (4, 2**wires)
    torch.testing.assert_close(together, torch.stack([simulator(t) for t in theta_bp]), rtol=0, atol=1e-14)
    assert (together[0] - together[1]).abs().max() > 1e-3


def test_width():
    """The state is as wide as was asked for, whatever the angles are; the gradient is as wide as the angles."""
    circuit = hardware_efficient(2, depth=1)
    for double, kind in [(False, torch.complex64), (True, torch.complex128)]:
        simulator = Simulator(circuit, double=double)
        for given in (torch.float32, torch.float64):
            theta_p = angles(circuit.parameters).to(given).requires_grad_()
            state = simulator(theta_p)
            assert state.dtype == simulator.dtype == kind
            assert simulator.probabilities(theta_p).dtype == (torch.float64 if double else torch.float32)
            assert torch.autograd.grad(state[0].abs(), theta_p)[0].dtype == given


@pytest.mark.parametrize("gate", ["rzz", "cz"])
def test_autocast(gate):
    """Autocast takes no bits from complex states nor from real ones."""
    circuit = hardware_efficient(5, depth=3, rotations=("ry", "ry"), gate=gate)
    simulator, theta_p = Simulator(circuit), angles(circuit.parameters)
    weights_n = torch.randn(32).double()

    def under_autocast(theta_p: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return simulator.probabilities(theta_p)

    want, got = (slope(run, theta_p, weights_n) for run in (simulator.probabilities, under_autocast))
    torch.testing.assert_close(under_autocast(theta_p), simulator.probabilities(theta_p), rtol=0, atol=1e-6)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(4,), (6,), (0,), (2, 4)])
def test_refused_angles(shape):
    """A wrong number of angles."""
    simulator = Simulator(listed(2, gates=["ry 0", "ry 1", "rzz 0 1", "ry[4] 0", "h 1"]))
    with pytest.raises(ValueError, match=f"this circuit has 8 angles, not {shape[-1]}"):
        simulator(torch.zeros(shape))


def test_memory(monkeypatch):
    """States that do not fit into free memory are refused before they are made, with the wires and both sizes."""
    circuit = listed(12, gates=["ry 0", "cx 0 11"])
    simulator = Simulator(circuit, double=True, gradient="reversible")
    assert simulator.bytes == simulator_module.AT_ONCE * 8 * 2**12
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2**29))
    simulator(torch.zeros(1))
    batch = 2**12
    with pytest.raises(UserError, match=r"^12 wires need 3\.0 GiB for their states, and 0\.5 GiB are free: "):
        simulator(torch.zeros(batch, 1))


def test_memory_of_far_too_many_wires():
    """Neither the states nor the tables of such circuits are begun to be made."""
    with pytest.raises(UserError, match="50 wires cannot be simulated"):
        Simulator(listed(50, gates=["ry 0", "cx 0 49"]))
    with pytest.raises(UserError, match=r"38 wires need .* GiB"):
        Simulator(listed(38, gates=["ry 0", "cx 0 37"]))
    with pytest.raises(UserError, match=r"38 wires need .* GiB"):
        Simulator(listed(38, gates=["ry 0"]))(torch.zeros(1))


def test_copies_share():
    """A deep copy, as for an average of weights, is the simulator itself."""
    simulator = Simulator(hardware_efficient(3))
    assert copy.deepcopy(simulator) is simulator
    assert copy.deepcopy({"model": [simulator]})["model"][0] is simulator


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("wires", [1, 5, 9])
def test_cuda(wires, way, random_circuit):
    """A GPU gives the states and gradients of the CPU, also where its first call wanted no gradient; then the CPU can
    have the simulator back."""
    circuit = random_circuit(wires, 80, seed=wires)
    theta_bp, weights_bn = angles(3, circuit.parameters), torch.randn(3, 2**wires).double()
    for double, close in [(True, 1e-12), (False, 1e-4)]:
        simulator = Simulator(circuit, double=double, gradient=way)
        want = simulator(theta_bp), slope(simulator.probabilities, theta_bp, weights_bn)
        with torch.inference_mode():
            first = simulator(theta_bp.cuda())
        assert first.is_cuda
        torch.testing.assert_close(first.cpu(), want[0], rtol=0, atol=close)
        got = slope(simulator.probabilities, theta_bp.cuda(), weights_bn.cuda())
        torch.testing.assert_close(got.cpu(), want[1], rtol=close, atol=close)
        torch.testing.assert_close(simulator(theta_bp), want[0], rtol=0, atol=0)
