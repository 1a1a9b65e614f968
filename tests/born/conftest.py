"""What the tests of genzoo_born share: a seed, gates as dense matrices written out by hand, and random circuits."""

import math
import random
from collections.abc import Callable
from functools import reduce

import numpy as np
import pytest
import torch

from genzoo_born.circuit import ANGLED, PAIRS, SINGLE, Circuit, Gate

ONE, X, Y, Z = np.eye(2), np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]]), np.diag([1, -1])


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Every test starts from the same random numbers."""
    torch.manual_seed(0)


def turn(angle: float, axis: np.ndarray) -> np.ndarray:
    """exp(-i angle axis / 2) for an axis whose square is one."""
    return math.cos(angle / 2) * np.eye(len(axis)) - 1j * math.sin(angle / 2) * axis


def matrix(name: str, angle: float = 0.0, wires: int = 2) -> np.ndarray:
    """A gate's matrix on its own wires, the first wire most significant, from the textbook's definition."""
    if name == "multirz":
        return turn(angle, reduce(np.kron, [Z] * wires))
    if name == "swap":
        return sum(np.kron(axis, axis) for axis in (ONE, X, Y, Z)) / 2
    if name in ("rxx", "ryy", "rzz"):
        axis = {"x": X, "y": Y, "z": Z}[name[-1]]
        return turn(angle, np.kron(axis, axis))
    if name in PAIRS:  # what is left are controlled gates
        return np.kron(np.diag([1, 0]), ONE) + np.kron(np.diag([0, 1]), matrix(name[1:], angle))
    return {
        "id": ONE,
        "x": X,
        "y": Y,
        "z": Z,
        "h": (X + Z) / math.sqrt(2),
        "s": np.diag([1, 1j]),
        "sdg": np.diag([1, -1j]),
        "t": np.diag([1, np.exp(0.25j * math.pi)]),
        "tdg": np.diag([1, np.exp(-0.25j * math.pi)]),
        "sx": np.exp(0.25j * math.pi) * turn(math.pi / 2, X),
        "rx": turn(angle, X),
        "ry": turn(angle, Y),
        "rz": turn(angle, Z),
        "p": np.diag([1, np.exp(1j * angle)]),
    }[name]


def embed(u: np.ndarray, on: tuple[int, ...], wires: int) -> np.ndarray:
    """A matrix on some wires, among all of them."""
    order = [*on, *(w for w in range(wires) if w not in on)]
    place = [order.index(w) for w in range(wires)]
    full = np.kron(u, np.eye(2 ** (wires - len(on)))).reshape((2,) * (2 * wires))
    return full.transpose([*place, *(wires + p for p in place)]).reshape(2**wires, 2**wires)


@pytest.fixture
def dense_gate() -> Callable[..., np.ndarray]:
    """(gate, theta, wires): the gate among all wires, [N, N]."""

    def dense(gate: Gate, theta: np.ndarray, wires: int) -> np.ndarray:
        return embed(matrix(gate.name, gate.at(theta), len(gate.wires)), gate.wires, wires)

    return dense


@pytest.fixture
def dense(dense_gate) -> Callable[..., np.ndarray]:
    """(circuit, theta): the product of its gates, [N, N]."""

    def product(circuit: Circuit, theta: np.ndarray = ()) -> np.ndarray:
        u = np.eye(2**circuit.wires)
        for gate in circuit.gates:
            u = dense_gate(gate, theta, circuit.wires) @ u
        return u

    return product


@pytest.fixture
def random_circuit() -> Callable[..., Circuit]:
    """(wires, gates, seed): every gate that fits on so many wires in turn, in a random order; angles learned, shared
    with a scale and an offset, or fixed."""

    def made(wires: int, gates: int, seed: int = 0) -> Circuit:
        draw = random.Random(seed)
        kinds = sorted({*SINGLE, "multirz", *(PAIRS if wires > 1 else ())})
        chosen: list[Gate] = [Gate("ry", (w,), parameter=w) for w in range(wires)]
        used, bag = wires, []
        for _ in range(gates):
            bag = bag or draw.sample(kinds, len(kinds))
            name = bag.pop()
            size = draw.randint(1, wires) if name == "multirz" else 1 if name in SINGLE else 2
            on = tuple(draw.sample(range(wires), size))
            kind = draw.choice(["learned", "learned", "shared", "fixed"]) if name in ANGLED else "none"
            if kind == "learned":
                chosen.append(Gate(name, on, parameter=used))
                used += 1
            elif kind == "shared":
                chosen.append(Gate(name, on, draw.uniform(-3, 3), draw.randrange(used), draw.uniform(-2, 2)))
            else:
                chosen.append(Gate(name, on, draw.uniform(-3, 3) if kind == "fixed" else 0.0))
        return Circuit(wires, tuple(chosen))

    return made
