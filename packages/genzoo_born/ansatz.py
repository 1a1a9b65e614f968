"""Circuits by name. Each function gives a circuit for so many wires; keyword arguments are keys of `model.circuit`."""

import re
from collections.abc import Sequence
from itertools import combinations, islice
from typing import Literal

from genzoo.contract import part
from genzoo_born.circuit import ANGLED, Circuit, Gate

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
FORM = re.compile(rf"([a-z]+)\s*(?:\(\s*({NUMBER})\s*\)|\[(\d+)\])?\s+(\d+(?:[\s,]+\d+)*)")
"""Name, fixed angle, number of a shared angle, wires."""

DEEPEST = 10_000
"""Layers."""

MOST_GATES = 300_000
"""Of a circuit, and of the generators of one."""

Entangler = Literal["ring", "line", "brick", "all"]


def pairs(wires: int, entangler: Entangler, layer: int = 0) -> list[tuple[int, int]]:
    """Which wires are joined in a layer: ring (each with the next, the last with the first), line, brick (every other
    pair, in turns), all."""
    line = [(w, w + 1) for w in range(wires - 1)]
    if entangler == "ring":
        return [*line, (wires - 1, 0)] if wires > 2 else line
    if entangler == "line":
        return line
    if entangler == "brick":
        return line[layer % 2 :: 2]
    if entangler == "all":
        return list(combinations(range(wires), 2))
    raise ValueError(f"entangler is ring, line, brick or all, not {entangler!r}")


class Builder:
    """Collects gates and numbers their angles."""

    def __init__(self, wires: int) -> None:
        self.wires, self.gates, self.used = wires, [], 0

    def add(self, name: str, *wires: int) -> None:
        """A gate; where it has an angle, that is a new parameter. ValueError where they are too many."""
        if len(self.gates) >= MOST_GATES:
            raise ValueError(f"a circuit of more than {MOST_GATES} gates: give less depth, or fewer wires")
        if name in ANGLED:
            self.gates.append(Gate(name, wires, parameter=self.used))
            self.used += 1
        else:
            self.gates.append(Gate(name, wires))

    @property
    def circuit(self) -> Circuit:
        return Circuit(self.wires, tuple(self.gates))


def layers(depth: int) -> range:
    """0 to depth - 1; ValueError for a negative depth, or one too large."""
    if depth < 0:
        raise ValueError(f"depth must not be negative, but is {depth}")
    if depth > DEEPEST:
        raise ValueError(f"depth is at most {DEEPEST}, not {depth}")
    return range(depth)


@part
def hardware_efficient(
    wires: int,
    *,
    depth: int = 3,
    rotations: Sequence[str] = ("ry", "rz"),
    entangler: Entangler = "all",
    gate: Literal["rzz", "cz", "cx", "cp", "crz", "rxx", "ryy"] = "rzz",
) -> Circuit:
    """Layers of single-qubit rotations and entanglers, and rotations at the end (Kandala et al. 2017).

    depth: layers. rotations: gates on every wire, in this order. entangler: which wires are joined. gate: by what.
    """
    made = Builder(wires)
    for layer in [*layers(depth), depth]:
        for wire in range(wires):
            for name in rotations:
                made.add(name, wire)
        for pair in pairs(wires, entangler, layer) if layer < depth else ():
            made.add(gate, *pair)
    return made.circuit


@part
def iqp(wires: int, *, order: int = 2, reach: int | None = None) -> Circuit:
    """H on all wires, a Z rotation for each set of at most `order` wires, H on all wires (Shepherd & Bremner 2009).

    reach: only sets whose first and last wire are at most so far apart; default any.
    """
    made = Builder(wires)
    for wire in range(wires):
        made.add("h", wire)
    for chosen in generators(wires, order, reach):
        made.add("rz" if len(chosen) == 1 else "rzz" if len(chosen) == 2 else "multirz", *chosen)
    for wire in range(wires):
        made.add("h", wire)
    return made.circuit


def generators(wires: int, order: int, reach: int | None = None) -> list[tuple[int, ...]]:
    """The sets of wires of an IQP circuit."""
    if not 1 <= order <= wires:
        raise ValueError(f"order must lie between 1 and the number of wires {wires}, not {order}")
    reach = wires if reach is None else max(0, reach)
    sets = (
        (first, *others)
        for k in range(min(order, reach + 1))
        for first in range(wires)
        for others in combinations(range(first + 1, min(wires, first + reach + 1) if k else 0), k)
    )
    found = list(islice(sets, MOST_GATES + 1))
    if len(found) > MOST_GATES:
        raise ValueError(f"more than {MOST_GATES} sets of up to {order} of {wires} wires: lower order, or set reach")
    return found


@part
def qaoa(wires: int, *, depth: int = 4, entangler: Entangler = "all") -> Circuit:
    """H on all wires, then layers of a cost of Z and ZZ terms and an X mixer, as in Farhi et al. 2014, but with an
    angle for each term, since here the cost is what is learned."""
    made = Builder(wires)
    for wire in range(wires):
        made.add("h", wire)
    for layer in layers(depth):
        for wire in range(wires):
            made.add("rz", wire)
        for pair in pairs(wires, entangler, layer):
            made.add("rzz", *pair)
        for wire in range(wires):
            made.add("rx", wire)
    return made.circuit


@part
def matrix_product(wires: int, *, depth: int = 1) -> Circuit:
    """Staircases of general two-qubit gates on neighbouring wires. One staircase prepares any matrix-product state of
    bond dimension 2 (Ran 2020), and its angles are started from one that was fitted to the data: see `genzoo_born.mps`.
    """
    made = Builder(wires)
    for _ in layers(depth):
        for pair in pairs(wires, "line"):
            two_qubit(made, *pair)
    if wires == 1:
        for name in ("rz", "ry", "rz"):
            made.add(name, 0)
    return made.circuit


def two_qubit(made: Builder, a: int, b: int) -> None:
    """Any gate on two wires, with 15 angles (Khaneja et al. 2001)."""
    for wire in (a, b):
        for name in ("rz", "ry", "rz"):
            made.add(name, wire)
    for name in ("rxx", "ryy", "rzz"):
        made.add(name, a, b)
    for wire in (a, b):
        for name in ("rz", "ry", "rz"):
            made.add(name, wire)


@part
def listed(wires: int, *, gates: Sequence[str]) -> Circuit:
    """A circuit of your own, gate by gate: "h 0", "ry 1" (a learned angle), "cx 0 1", "rz(0.5) 2" (a fixed one, in
    radians), "rzz[3] 0 1" (the learned angle of number 3, which other gates may share)."""
    made = []
    free = 1 + max((int(n) for text in gates for n in re.findall(r"\[(\d+)\]", text)), default=-1)
    for text in gates:
        parts = FORM.fullmatch(text.strip())
        if not parts:
            raise ValueError(f"the gate {text!r} is not of the form 'name wire', 'name(angle) wire' or 'name[3] wire'")
        name, angle, shared, on = parts.groups()
        gate_wires = tuple(int(w) for w in re.split(r"[\s,]+", on.strip()))
        if angle is not None:
            made.append(Gate(name, gate_wires, float(angle)))
        elif name in ANGLED:
            made.append(Gate(name, gate_wires, parameter=free if shared is None else int(shared)))
            free += shared is None
        elif shared is not None:
            raise ValueError(f"the gate {text!r} has no angle to share")
        else:
            made.append(Gate(name, gate_wires))
    return Circuit(wires, tuple(made))
