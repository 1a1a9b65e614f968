"""Circuits as data: gates on wires, with angles that are learned, shared or fixed.

Wire 0 is the most significant bit of a basis state's index, as in PennyLane.
"""

import cmath
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

Rows = tuple[tuple[complex, complex], tuple[complex, complex]]
ZERO: Rows = ((0, 0), (0, 0))
ONE: Rows = ((1, 0), (0, 1))
X: Rows = ((0, 1), (1, 0))
Z: Rows = ((1, 0), (0, -1))


@dataclass(frozen=True)
class Gate:
    """One gate. Its angle, for gates that have one, is `angle + scale * theta[parameter]` in radians; `angle` alone
    where `parameter` is None."""

    name: str
    wires: tuple[int, ...]
    angle: float = 0.0
    parameter: int | None = None
    scale: float = 1.0

    def at(self, theta: Sequence[float]) -> float:
        """The angle in radians."""
        return self.angle if self.parameter is None else self.angle + self.scale * float(theta[self.parameter])


class Matrix(NamedTuple):
    """constant + cosine * cos(rate * t) + sine * sin(rate * t), rows of 2 x 2 matrices, for the angle t."""

    constant: Rows
    cosine: Rows = ZERO
    sine: Rows = ZERO
    rate: float = 0.5


SINGLE = {
    "id": Matrix(ONE),
    "x": Matrix(X),
    "y": Matrix(((0, -1j), (1j, 0))),
    "z": Matrix(Z),
    "h": Matrix(((math.sqrt(0.5), math.sqrt(0.5)), (math.sqrt(0.5), -math.sqrt(0.5)))),
    "s": Matrix(((1, 0), (0, 1j))),
    "sdg": Matrix(((1, 0), (0, -1j))),
    "t": Matrix(((1, 0), (0, cmath.exp(0.25j * math.pi)))),
    "tdg": Matrix(((1, 0), (0, cmath.exp(-0.25j * math.pi)))),
    "sx": Matrix(((0.5 + 0.5j, 0.5 - 0.5j), (0.5 - 0.5j, 0.5 + 0.5j))),
    "rx": Matrix(ZERO, ONE, ((0, -1j), (-1j, 0))),
    "ry": Matrix(ZERO, ONE, ((0, -1), (1, 0))),
    "rz": Matrix(ZERO, ONE, ((-1j, 0), (0, 1j))),
    "p": Matrix(((1, 0), (0, 0)), ((0, 0), (0, 1)), ((0, 0), (0, 1j)), rate=1.0),
}
"""Single-qubit gates."""

ANGLED = {"rx", "ry", "rz", "p", "cp", "crx", "cry", "crz", "rxx", "ryy", "rzz", "multirz"}
"""Gates that have an angle."""

PAIRS = {"cx", "cy", "cz", "ch", "swap", "cp", "crx", "cry", "crz", "rxx", "ryy", "rzz"}
"""Gates on two wires; the first is the control where there is one. `multirz` is exp(-i theta/2 Z...Z) on any wires."""


@dataclass(frozen=True)
class Circuit:
    """Gates in the order they act on |0...0>, on so many wires."""

    wires: int
    gates: tuple[Gate, ...]

    def __post_init__(self) -> None:
        if self.wires < 1:
            raise ValueError(f"a circuit needs at least 1 wire, not {self.wires}")
        for gate in self.gates:
            where = f"gate {gate.name} on wires {list(gate.wires)}"
            if gate.name not in SINGLE and gate.name not in PAIRS and gate.name != "multirz":
                raise ValueError(f"unknown {where}; there are: {', '.join(sorted({*SINGLE, *PAIRS, 'multirz'}))}")
            if any(not 0 <= wire < self.wires for wire in gate.wires):
                raise ValueError(f"{where}: the wires of this circuit are 0 to {self.wires - 1}")
            if len(set(gate.wires)) != len(gate.wires):
                raise ValueError(f"{where}: a wire is named twice")
            wanted = 1 if gate.name in SINGLE else 2 if gate.name in PAIRS else max(1, len(gate.wires))
            if len(gate.wires) != wanted:
                raise ValueError(f"{where}: it acts on {wanted} wire{'s' * (wanted > 1)}")
            if gate.parameter is not None and gate.parameter < 0:
                raise ValueError(f"{where}: parameters are counted from 0, not {gate.parameter}")
            if not math.isfinite(gate.angle + gate.scale):
                raise ValueError(f"{where}: its angle is not a finite number")
            if gate.name not in ANGLED and (gate.parameter is not None or gate.angle):
                raise ValueError(f"{where} has no angle")

    @property
    def parameters(self) -> int:
        """How many angles are learned."""
        return 1 + max((g.parameter for g in self.gates if g.parameter is not None), default=-1)

    def then(self, other: "Circuit") -> "Circuit":
        """This circuit, then another on the same wires with parameters of its own."""
        assert self.wires == other.wires
        first = self.parameters
        moved = (g if g.parameter is None else replace(g, parameter=g.parameter + first) for g in other.gates)
        return Circuit(self.wires, (*self.gates, *moved))

    def bound(self, theta: Sequence[float]) -> "Circuit":
        """The same circuit with its learned angles put in as numbers."""
        if len(theta) != self.parameters:
            raise ValueError(f"this circuit has {self.parameters} angles, not {len(theta)}")
        return Circuit(
            self.wires, tuple(Gate(g.name, g.wires, g.at(theta) if g.name in ANGLED else 0.0) for g in self.gates)
        )

    @property
    def depth(self) -> int:
        """Gates on the longest path from start to end."""
        level = [0] * self.wires
        for gate in self.gates:
            reached = 1 + max(level[w] for w in gate.wires)
            for w in gate.wires:
                level[w] = reached
        return max(level)


def simple(gates: Iterable[Gate]) -> Iterable[Gate]:
    """The same unitary from fewer kinds of gates: single-qubit ones, `cx`, `swap`, and Z rotations (`cz`, `cp`, `rzz`,
    `multirz`)."""
    half = math.pi / 2
    for g in gates:
        a, b = g.wires if len(g.wires) == 2 else (g.wires[0], g.wires[0])
        zz = replace(g, name="rzz")
        halved = replace(g, angle=g.angle / 2, scale=g.scale / 2)
        minus = replace(halved, angle=-halved.angle, scale=-halved.scale)
        if g.name == "cy":
            yield from (Gate("sdg", (b,)), Gate("cx", (a, b)), Gate("s", (b,)))
        elif g.name == "ch":
            yield from (Gate("ry", (b,), -math.pi / 4), Gate("cz", (a, b)), Gate("ry", (b,), math.pi / 4))
        elif g.name == "rxx":
            yield from (Gate("h", (a,)), Gate("h", (b,)), zz, Gate("h", (a,)), Gate("h", (b,)))
        elif g.name == "ryy":
            yield from (Gate("rx", (a,), half), Gate("rx", (b,), half), zz)
            yield from (Gate("rx", (a,), -half), Gate("rx", (b,), -half))
        elif g.name == "crz":
            yield from (replace(halved, name="rz", wires=(b,)), replace(minus, name="rzz"))
        elif g.name == "cry":
            yield replace(halved, name="ry", wires=(b,))
            yield Gate("cx", (a, b))
            yield replace(minus, name="ry", wires=(b,))
            yield Gate("cx", (a, b))
        elif g.name == "crx":
            yield Gate("h", (b,))
            yield from simple([replace(g, name="crz")])
            yield Gate("h", (b,))
        else:
            yield g
