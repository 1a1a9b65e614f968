"""What a device would add: depolarising gates and misread bits.

Legend: P places of a circuit where an error may happen: after each gate, on each of its wires.
"""

from collections.abc import Sequence

from torch import Tensor

from genzoo.draws import Noise
from genzoo_born.circuit import Circuit, Gate

PAULIS = ("id", "x", "y", "z")


def places(circuit: Circuit) -> int:
    """P."""
    return sum(len(gate.wires) for gate in circuit.gates)


def errors(places: int, shots: int, probability: float, noise: Noise) -> Tensor:
    """What happens at each place of each shot, numbers of PAULIS [shots, P]: X, Y or Z with a third of the probability
    each (the depolarising channel; Nielsen & Chuang, sec. 8.3.4)."""
    return (1 + noise.integers(3, shots, places)) * (noise.uniform(shots, places) < probability)


def with_errors(circuit: Circuit, kinds: Sequence[int]) -> Circuit:
    """The circuit with these errors [P] put in as gates: one trajectory of the noisy circuit."""
    gates: list[Gate] = []
    place = 0
    for gate in circuit.gates:
        gates.append(gate)
        for wire in gate.wires:
            if kinds[place]:
                gates.append(Gate(PAULIS[kinds[place]], (wire,)))
            place += 1
    return Circuit(circuit.wires, tuple(gates))


def misread(x: Tensor, probability: float, noise: Noise) -> Tensor:
    """Bits, each flipped with this probability."""
    return x ^ (noise.uniform(*x.shape) < probability).to(x)
