"""From gates to stages, against products of dense matrices."""

import math
from functools import reduce

import numpy as np
import pytest

from genzoo_born.ansatz import hardware_efficient, iqp, listed, matrix_product, qaoa
from genzoo_born.circuit import ANGLED, Circuit, Gate
from genzoo_born.fusion import Stage, Term, stages, z_terms

SIGNS = np.array([1, -1])


def words(stage: Stage) -> tuple[list[str], list[tuple[int, ...]], list[str]]:
    """A stage in short: its single-qubit gates, the wires of its terms (global phases left out), and its moves."""
    singles = [f"{g.name} {g.wires[0]}" for wire in sorted(stage.single) for g in stage.single[wire]]
    moves = [f"{g.name} {' '.join(map(str, g.wires))}" for g in stage.moves]
    return singles, [t.wires for t in stage.terms if t.wires], moves


def diagonal(terms: list[Term], theta: np.ndarray, wires: int) -> np.ndarray:
    """exp(i sum of factor * angle * product of Z), [N]."""
    phase = np.zeros(2**wires)
    for term in terms:
        signs = reduce(np.kron, [SIGNS if w in term.wires else np.ones(2) for w in range(wires)])
        phase = phase + term.factor * term.gate.at(theta) * signs
    return np.exp(1j * phase)


# ---- what shares a stage


@pytest.mark.parametrize(
    ("gates", "want"),
    [
        ([], [([], [], [])]),
        (["h 0", "x 0", "ry 1"], [(["h 0", "x 0", "ry 1"], [], [])]),
        (["h 0", "cz 0 1", "cx 1 2"], [(["h 0"], [(0,), (1,), (0, 1)], ["cx 1 2"])]),
        # other wires do not wait
        (["rzz 0 1", "h 2"], [(["h 2"], [(0, 1)], [])]),
        (["cx 0 1", "h 2", "rzz 2 3"], [(["h 2"], [(2, 3)], ["cx 0 1"])]),
        (["cx 0 1", "rzz 2 3", "ry 4"], [(["ry 4"], [(2, 3)], ["cx 0 1"])]),
        # the same wires do
        (["rzz 0 1", "h 1"], [([], [(0, 1)], []), (["h 1"], [], [])]),
        (["cx 0 1", "h 0"], [([], [], ["cx 0 1"]), (["h 0"], [], [])]),
        (["swap 0 1", "z 1"], [([], [], ["swap 0 1"]), (["z 1"], [], [])]),
        (["cx 0 1", "rzz 1 2"], [([], [], ["cx 0 1"]), ([], [(1, 2)], [])]),
        (["cx 0 1", "multirz 2 3 1"], [([], [], ["cx 0 1"]), ([], [(2, 3, 1)], [])]),
        # diagonal gates commute with each other, not with what moves or turns
        (["rzz 0 1", "rz 0", "rzz 1 2"], [([], [(0, 1), (0,), (1, 2)], [])]),
        (["rz 0", "rzz 0 1"], [(["rz 0"], [(0, 1)], [])]),
        (["multirz 0", "rz 0", "rx 0"], [([], [(0,), (0,)], []), (["rx 0"], [], [])]),
        (["rzz 0 1", "id 0"], [([], [(0, 1), (0,)], [])]),
        # moves keep their order in one stage
        (["cx 0 1", "cx 1 2", "swap 0 2"], [([], [], ["cx 0 1", "cx 1 2", "swap 0 2"])]),
        (["h 0", "rzz 0 1", "cx 0 1", "cx 1 0"], [(["h 0"], [(0, 1)], ["cx 0 1", "cx 1 0"])]),
        # a gate that waits holds up those after it on its wires only
        (["cx 0 1", "h 0", "h 2", "h 1"], [([], [], ["cx 0 1"]), (["h 0", "h 1", "h 2"], [], [])]),
    ],
)
def test_sharing(gates, want):
    """What commutes shares a stage, what does not waits for the next."""
    assert [words(stage) for stage in stages(listed(5, gates=gates))] == want


@pytest.mark.parametrize("depth", [0, 1, 4])
@pytest.mark.parametrize("gate", ["rzz", "cz", "cp", "cx"])
@pytest.mark.parametrize("entangler", ["ring", "line", "brick", "all"])
def test_a_stage_a_layer(entangler, gate, depth):
    """Rotations and their entanglers are one stage, whatever the entangler joins."""
    circuit = hardware_efficient(6, depth=depth, entangler=entangler, gate=gate)
    assert len(stages(circuit)) == depth + 1


def test_stages_of_circuits_with_names():
    """An IQP circuit is two stages; QAOA is one more than its layers."""
    assert [len(stages(iqp(5, order=order))) for order in (1, 2, 5)] == [1, 2, 2]
    assert [len(stages(qaoa(5, depth=depth))) for depth in (0, 1, 4)] == [1, 2, 5]


def test_every_gate_once():
    """No learned gate is lost or doubled on the way into the stages."""
    circuit = hardware_efficient(5, depth=3, entangler="all")
    found = [g for stage in stages(circuit) for wire in stage.single.values() for g in wire]
    found += [t.gate for stage in stages(circuit) for t in stage.terms]
    assert sorted(g.parameter for g in found) == list(range(circuit.parameters))


# ---- that they are the same unitary


@pytest.mark.parametrize("name", ["id", "z", "s", "sdg", "t", "tdg", "rz", "p", "cz", "cp", "rzz", "multirz"])
def test_terms(name, dense):
    """A diagonal gate as Z rotations has its diagonal, the global phase included."""
    wires = (
        (2,) if name in ("id", "z", "s", "sdg", "t", "tdg", "rz", "p") else (0, 2, 1) if name == "multirz" else (2, 0)
    )
    gate = Gate(name, wires, 0.4, 1, -1.7) if name in ANGLED else Gate(name, wires)
    theta = np.array([5.0, 0.9])
    want = dense(Circuit(3, (gate,)), theta)
    np.testing.assert_allclose(np.diag(diagonal(z_terms(gate), theta, 3)), want, rtol=0, atol=1e-15)


@pytest.mark.parametrize("wires", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("seed", range(4))
def test_product(wires, seed, dense, dense_gate, random_circuit):
    """The product of the stages' matrices is the product of the gates'."""
    circuit = random_circuit(wires, 80, seed)
    theta = np.random.default_rng(seed).uniform(-math.pi, math.pi, circuit.parameters)
    u = np.eye(2**wires)
    for stage in stages(circuit):
        for wire, gates in stage.single.items():
            assert {g.wires for g in gates} == {(wire,)}
            for gate in gates:
                u = dense_gate(gate, theta, wires) @ u
        u = diagonal(stage.terms, theta, wires)[:, None] * u
        for gate in stage.moves:
            assert gate.name in ("cx", "swap")
            u = dense_gate(gate, theta, wires) @ u
    np.testing.assert_allclose(u, dense(circuit, theta), rtol=0, atol=1e-13)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("wires", [2, 3, 5])
def test_stages_of_a_staircase(wires, depth):
    """A general two-qubit gate is three stages, one an axis, and its last rotations join the next gate's first."""
    assert len(stages(matrix_product(wires, depth=depth))) == 3 * (wires - 1) * depth + 1
