"""From gates to stages: what a simulator runs in one go.

A stage is a product of single-qubit gates on all wires, then one diagonal, then one permutation of basis states. Gates
on other wires commute, so most circuits need as many stages as they have layers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from genzoo_born.circuit import Circuit, Gate, simple

DIAGONAL = {"id", "z", "s", "sdg", "t", "tdg", "rz", "p"}
"""Single-qubit gates that are Z rotations up to a phase."""

FIXED_PHASE = {"id": 0.0, "z": math.pi, "s": math.pi / 2, "sdg": -math.pi / 2, "t": math.pi / 4, "tdg": -math.pi / 4}


@dataclass(frozen=True)
class Term:
    """exp(i * factor * angle * product of Z over the wires), the angle being that of `gate`."""

    wires: tuple[int, ...]
    factor: float
    gate: Gate


@dataclass
class Stage:
    """single: the gates of each wire in their order; terms: of the diagonal; moves: `cx` and `swap` in their order."""

    single: dict[int, list[Gate]] = field(default_factory=dict)
    terms: list[Term] = field(default_factory=list)
    moves: list[Gate] = field(default_factory=list)

    def busy(self, wires: Sequence[int], *, diagonal: bool) -> bool:
        """Whether a gate on these wires must wait for what this stage does after its single-qubit gates (for a diagonal
        gate: after its diagonal)."""
        later = {w for gate in self.moves for w in gate.wires}
        if not diagonal:
            later |= {w for term in self.terms for w in term.wires}
        return not later.isdisjoint(wires)


def z_terms(gate: Gate) -> list[Term]:
    """A diagonal gate as Z rotations, its global phase included."""
    if gate.name in ("rzz", "multirz", "rz"):
        return [Term(gate.wires, -0.5, gate)]
    if gate.name in FIXED_PHASE:
        gate = Gate("p", gate.wires, FIXED_PHASE[gate.name])
    elif gate.name == "cz":
        gate = Gate("cp", gate.wires, math.pi)
    if gate.name == "p":  # exp(i angle (1 - Z) / 2)
        return [Term((), 0.5, gate), Term(gate.wires, -0.5, gate)]
    a, b = gate.wires  # cp: exp(i angle (1 - Za)(1 - Zb) / 4)
    return [Term((), 0.25, gate), Term((a,), -0.25, gate), Term((b,), -0.25, gate), Term((a, b), 0.25, gate)]


def stages(circuit: Circuit) -> list[Stage]:
    """The circuit as stages; each gate joins the last stage unless it must wait."""
    done = [Stage()]
    for gate in simple(circuit.gates):
        single = len(gate.wires) == 1 and gate.name != "multirz"
        diagonal = gate.name in DIAGONAL if single else gate.name not in ("cx", "swap")
        if gate.name in ("cx", "swap"):
            done[-1].moves.append(gate)
            continue
        if done[-1].busy(gate.wires, diagonal=diagonal):
            done.append(Stage())
        if single and not done[-1].busy(gate.wires, diagonal=False):
            done[-1].single.setdefault(gate.wires[0], []).append(gate)
        else:
            done[-1].terms += z_terms(gate)
    return done
