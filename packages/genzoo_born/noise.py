"""What a device would add: depolarising gates and misread bits."""

from collections.abc import Iterator

import torch
from torch import Tensor

from genzoo_born.circuit import Circuit, Gate


def noisy(circuit: Circuit) -> Circuit:
    """The circuit with room for a Pauli error on each wire after each gate: two more parameters a place, for X (an `rx`
    of pi) and Z (an `rz` of pi); Y is both, up to a phase."""
    gates: list[Gate] = []
    free = circuit.parameters
    for gate in circuit.gates:
        gates.append(gate)
        for wire in gate.wires:
            gates += [Gate("rx", (wire,), parameter=free), Gate("rz", (wire,), parameter=free + 1)]
            free += 2
    return Circuit(circuit.wires, tuple(gates))


def errors(places: int, shots: int, probability: float, generator: torch.Generator) -> Tensor:
    """Angles of the errors, [shots, 2 places]: at each place X, Y or Z with a third of the probability each (the
    depolarising channel; Nielsen & Chuang, sec. 8.3.4)."""
    size = (shots, places)
    device = generator.device
    kind = torch.randint(1, 4, size, generator=generator, device=device)  # 1: X, 2: Z, 3: both
    kind = kind * (torch.rand(size, generator=generator, device=device) < probability)
    return torch.stack((kind & 1, kind >> 1), dim=-1).flatten(1) * torch.pi


def trajectories(errors: Tensor, at_once: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Different rows of errors, with how often each occurs, in portions."""
    rows, count = torch.unique(errors, dim=0, return_counts=True)
    yield from zip(rows.split(at_once), count.split(at_once), strict=True)


def misread(x: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Bits, each flipped with this probability."""
    flips = torch.rand(x.shape, generator=generator, device=x.device) < probability
    return x ^ flips.to(x)
