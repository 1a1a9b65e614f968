"""From stages to operations: the program and the constant tables of a simulator.

Legend: N = 2^wires basis states, T terms of a phase, H and W basis states of the first and second half of the wires.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.functional import pad

from genzoo_born.circuit import ANGLED, ONE, SINGLE, Gate, Matrix
from genzoo_born.fusion import Stage, Term
from genzoo_born.hypercube import strings
from genzoo_born.operations import Apply, Multiply, Operation, Permute, Phase, Turn

GROUP = 4
"""Most wires whose gates become one matrix: 16 x 16 is where the multiplication costs least a wire."""


def translate(plan: list[Stage], wires: int, *, double: bool) -> tuple[list[Operation], dict[str, Tensor], torch.dtype]:
    """The operations after the first stage's single-qubit gates (which only make a product state), the tables from
    which all gates' matrices are made at once, and the type of the states: real where all gates are."""
    gates = list(dict.fromkeys(g for stage in plan for g in stage_gates(stage)))
    number = {gate: i for i, gate in enumerate(gates)}
    real = torch.float64 if double else torch.float32
    dtype = real if all(map(is_real, plan)) else torch.complex128 if double else torch.complex64
    sizes = group_sizes(wires)
    operations: list[Operation] = []
    moves: dict[tuple[Gate, ...], Permute] = {}  # equal layers share their tables
    for s, stage in enumerate(plan):
        if s and stage.single:
            operations += rotations(stage, s, sizes)
        operations += diagonals(stage, number, wires, real, dtype)
        if stage.moves:
            key = tuple(stage.moves)
            moves[key] = moves.get(key) or Permute(*permutation(key, wires))
            operations.append(moves[key])
    tables = gate_tables(gates, real, dtype)
    columns = [single_table(stage, number, wires) for stage in plan]
    longest = max(c.shape[1] for c in columns)
    tables["columns"] = torch.stack([pad(c, (0, longest - c.shape[1]), value=len(gates)) for c in columns])
    return operations, tables, dtype


def stage_gates(stage: Stage) -> Iterable[Gate]:
    for wire in stage.single.values():
        yield from wire
    yield from (term.gate for term in stage.terms)


def is_real(stage: Stage) -> bool:
    """Whether nothing in the stage is complex: real matrices, and phases that are signs."""
    kinds = [SINGLE[g.name] for wire in stage.single.values() for g in wire]
    values = [v for kind in kinds for rows in (kind.constant, kind.cosine, kind.sine) for row in rows for v in row]
    signs = all(
        t.gate.parameter is None and t.gate.name in ("cp", "p") and math.remainder(t.gate.angle, math.pi) == 0
        for t in stage.terms
    )
    return signs and not any(complex(v).imag for v in values)


def gate_tables(gates: list[Gate], real: torch.dtype, dtype: torch.dtype) -> dict[str, Tensor]:
    """Constants from which all matrices are made at once; the last row is the identity."""
    kinds = [SINGLE.get(g.name, Matrix(ONE)) for g in gates] + [Matrix(ONE)]
    table = {name: [getattr(kind, name) for kind in kinds] for name in ("constant", "cosine", "sine")}
    made = {name: torch.tensor(rows, dtype=torch.complex128) for name, rows in table.items()}
    if not dtype.is_complex:
        made = {name: rows.real for name, rows in made.items()}
    tables = {name: rows.to(dtype) for name, rows in made.items()}
    gates = [*gates, Gate("id", (0,))]
    learned = [g.parameter is not None and g.name in ANGLED for g in gates]
    tables["angle"] = torch.tensor([g.angle for g in gates], dtype=real)
    tables["scale"] = torch.tensor([g.scale * on for g, on in zip(gates, learned, strict=True)], dtype=real)
    tables["parameter"] = torch.tensor([g.parameter if on else -1 for g, on in zip(gates, learned, strict=True)])
    tables["rate"] = torch.tensor([kind.rate for kind in kinds], dtype=real)
    return tables


def group_sizes(wires: int) -> list[int]:
    """Wires in groups of nearly equal size."""
    count = math.ceil(wires / GROUP)
    return [wires // count + (i < wires % count) for i in range(count)]


def single_table(stage: Stage, number: dict[Gate, int], wires: int) -> Tensor:
    """Numbers of each wire's gates in order, [wires, longest], filled up with the identity's."""
    rows = [[number[g] for g in stage.single.get(w, [])] for w in range(wires)]
    longest = max(1, *map(len, rows))
    return torch.tensor([row + [len(number)] * (longest - len(row)) for row in rows])


def rotations(stage: Stage, s: int, sizes: list[int]) -> list[Operation]:
    """The single-qubit gates of a stage: of all groups in turn, or of those alone where something happens."""
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    active = [i for i, end in enumerate(ends) if any(end - sizes[i] <= w < end for w in stage.single)]
    if len(active) == len(sizes):
        return [Turn(i, s) for i in active]
    return [Apply(i, s, 2 ** (ends[i] - sizes[i])) for i in active]


def diagonals(
    stage: Stage, number: dict[Gate, int], wires: int, real: torch.dtype, dtype: torch.dtype
) -> list[Operation]:
    """The stage's diagonal: learned terms as a phase, fixed ones as numbers."""
    learned = [t for t in stage.terms if t.gate.parameter is not None]
    fixed = [t for t in stage.terms if t.gate.parameter is None]
    half = wires // 2
    made: list[Operation] = []
    if fixed:
        diagonal = fixed_diagonal(tuple(fixed), wires)
        if bool((diagonal.imag.abs() < 1e-12).all()):
            made.append(Multiply(diagonal.real.round().to(real).repeat_interleave(2 if dtype.is_complex else 1)))
        else:
            made.append(Multiply(diagonal.to(dtype)))
    if learned:
        gates = torch.tensor([number[t.gate] for t in learned])
        factor = torch.tensor([t.factor for t in learned], dtype=real)
        made.append(Phase(gates, factor, *halves(learned, half, wires, real)))
    return made


def fixed_diagonal(terms: tuple[Term, ...], wires: int) -> Tensor:
    """The numbers of a diagonal without learned angles, complex128 [N]."""
    high, low = halves(list(terms), wires // 2, wires, torch.float64)
    c = torch.tensor([t.factor * t.gate.angle for t in terms], dtype=torch.float64)
    phase = ((high * c) @ low).flatten()
    return torch.complex(phase.cos(), phase.sin())


def constant_bytes(plan: list[Stage], wires: int, *, double: bool) -> int:
    """Memory that the tables of a program take: two permutations for each kind of moves, a diagonal for each stage with
    fixed phases, and what making the largest of them takes."""
    moves = {tuple(stage.moves) for stage in plan if stage.moves}
    fixed = [stage for stage in plan if any(term.gate.parameter is None for term in stage.terms)]
    making = 40 if fixed else 16 if moves else 0
    return 2**wires * (16 * len(moves) + (16 if double else 8) * len(fixed) + making)


def halves(terms: list[Term], half: int, wires: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Signs of the terms on the first `half` wires [H, T] and on the others [T, W]."""

    def signs(first: int, count: int) -> Tensor:
        bits = strings(count)
        mask = torch.tensor([[w in t.wires for w in range(first, first + count)] for t in terms]).view(
            len(terms), count
        )
        return 1 - 2 * ((bits @ mask.long().T) % 2).to(dtype)

    return signs(0, half), signs(half, wires - half).T.contiguous()


def permutation(moves: tuple[Gate, ...], wires: int) -> tuple[Tensor, Tensor]:
    """Where each amplitude comes from after `cx` and `swap` gates, and the inverse."""
    target = torch.arange(2**wires)  # where basis state i goes
    for gate in moves:
        a, b = (wires - 1 - w for w in gate.wires)
        on_a, on_b = (target >> a) & 1, (target >> b) & 1
        target = target ^ (on_a << b) if gate.name == "cx" else target ^ ((on_a ^ on_b) << a) ^ ((on_a ^ on_b) << b)
    return torch.argsort(target), target
