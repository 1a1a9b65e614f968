"""A batched state vector that runs a circuit stage by stage.

Single-qubit gates of neighbouring wires become one matrix (their Kronecker product) and the state is multiplied by it;
all diagonal gates of a stage become one phase. The gradient goes back through the same stages.

Legend: B parameter vectors at once, P angles, G gates, N = 2^wires basis states, S stages, K = 2^(wires of a group).
"""

import ctypes
from collections.abc import Iterator
from functools import cache, reduce
from itertools import groupby
from typing import Any, Literal

import psutil
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from genzoo.errors import UserError
from genzoo_born.circuit import Circuit
from genzoo_born.fusion import stages
from genzoo_born.program import constant_bytes, group_sizes, translate

MOST_WIRES = 40
"""Beyond, not even a table of signs fits anywhere."""

AT_ONCE = 24
"""States' worth of memory that a gradient takes at its peak, beside the states it keeps; measured."""

STORED_GIB = 0.5
"""With gradient="auto", states are kept for the backward pass up to so much memory, and made again beyond it."""


class Simulator:
    """Runs a circuit: angles [B, P] or [P] in, states [B, N] or [N] out, differentiable once.

    circuit: what to run. States are real (float) where all its gates are, complex elsewhere.
    double: 64 bits a real number instead of 32.
    gradient: "stored" keeps the state before every operation for the backward pass; "reversible" undoes the circuit
        step by step instead, in constant memory (Jones & Gacon 2020, the adjoint method); "auto" stores what is small.

    Raises UserError where the states do not fit into free memory.
    """

    def __init__(
        self, circuit: Circuit, *, double: bool = False, gradient: Literal["auto", "stored", "reversible"] = "auto"
    ) -> None:
        check_wires(circuit.wires)
        if gradient not in ("auto", "stored", "reversible"):
            raise ValueError(f"gradient is auto, stored or reversible, not {gradient!r}")
        keep_freed_memory()
        self.circuit, self.wires = circuit, circuit.wires
        self.sizes = group_sizes(self.wires)
        plan = stages(circuit)
        check_memory(constant_bytes(plan, circuit.wires, double=double), circuit.wires, torch.device("cpu"))
        self.program, self.tables, self.dtype = translate(plan, circuit.wires, double=double)
        self.float = torch.float64 if double else torch.float32
        size = 2**self.wires * self.dtype.itemsize
        kept = size * sum(operation.needs_input for operation in self.program)
        self.stored = gradient == "stored" or (gradient == "auto" and kept <= STORED_GIB * 2**30)
        self.bytes = AT_ONCE * size + (kept if self.stored else 0)

    def __deepcopy__(self, memo: dict) -> "Simulator":
        return self  # nothing in it changes

    def __call__(self, theta: Tensor) -> Tensor:
        """theta: angles in radians, [P] or [B, P]."""
        if theta.ndim not in (1, 2) or theta.shape[-1] != self.circuit.parameters:
            given = theta.shape[-1] if theta.ndim else 0
            raise ValueError(f"this circuit has {self.circuit.parameters} angles, not {given}; give [P] or [B, P]")
        many = (theta if theta.ndim == 2 else theta[None]).to(self.float)
        check_memory(self.bytes * len(many), self.wires, theta.device)
        tables = self.on(theta.device)
        with torch.autocast(theta.device.type, enabled=False):  # amplitudes need all their bits
            angles_bg = tables["angle"] + tables["scale"] * pad(many, (0, 1))[:, tables["parameter"]]
            turned = tables["rate"] * angles_bg
            cos, sin = turned.cos()[..., None, None], turned.sin()[..., None, None]
            matrices = tables["constant"] + tables["cosine"] * cos + tables["sine"] * sin  # [B, G + 1, 2, 2]
            per_wire = matrices[:, tables["columns"]]  # [B, S, wires, gates of a wire, 2, 2]
            per_wire = reduce(lambda first, then: then @ first, per_wire.unbind(3))
            state = product_state(per_wire[:, 0, :, :, 0])
            state = Evolve.apply(self, state, angles_bg, *self.join(per_wire))
        return state if theta.ndim == 2 else state[0]

    def join(self, per_wire: Tensor) -> Iterator[Tensor]:
        """One matrix [B, S, K, K] a group, from those of its wires [B, S, wires, 2, 2]; groups of one size together."""
        start = 0
        for size, same in groupby(self.sizes):
            count = len(list(same))
            wires = per_wire[:, :, start : start + count * size].unflatten(2, (count, size))
            yield from reduce(kron, wires.unbind(3)).unbind(2)
            start += count * size

    def probabilities(self, theta: Tensor) -> Tensor:
        """Of every basis state, [B, N] or [N]."""
        state = self(theta)
        return torch.view_as_real(state).square().sum(-1) if state.is_complex() else state.square()

    @torch.inference_mode(False)  # else a first call for samples would leave tables that no training can use
    def on(self, device: torch.device) -> dict[str, Tensor]:
        """The constant tables on a device."""
        if self.tables["columns"].device != device:
            self.tables = {name: table.to(device) for name, table in self.tables.items()}
            for operation in self.program:
                operation.to(device)
        return self.tables


class Evolve(torch.autograd.Function):
    """The state after the program; the gradient by the reversed program."""

    @staticmethod
    def forward(ctx: Any, simulator: Simulator, state: Tensor, angles: Tensor, *groups: Tensor) -> Tensor:
        ctx.simulator, ctx.kept = simulator, []
        matrices = [g.unbind(1) for g in groups]
        keep = simulator.stored and any(ctx.needs_input_grad)
        for operation in simulator.program:
            if keep and operation.needs_input:
                ctx.kept.append(state)
            state = operation.run(state, angles, matrices)
        ctx.save_for_backward(angles, *groups, *([] if simulator.stored else [state]))
        return state

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        stored, program = ctx.simulator.stored, ctx.simulator.program
        angles, *groups = ctx.saved_tensors
        state = None if stored else groups.pop()
        d_angles = torch.zeros_like(angles)
        d_groups = [[torch.zeros_like(g[:, 0])] * g.shape[1] for g in groups]
        groups = [g.unbind(1) for g in groups]
        pulled = gradient.conj().resolve_conj().contiguous()
        kept = reversed(ctx.kept)
        with torch.autocast(gradient.device.type, enabled=False):
            for operation in reversed(program):
                before = operation.pull(pulled, angles, groups)
                if not stored:
                    state = operation.undo(state, angles, groups)
                if operation.needs_input:
                    source = next(kept) if stored else state
                    operation.differentiate(source, pulled, before, d_angles, d_groups)
                pulled = before
        return (
            None,
            pulled.conj().resolve_conj(),
            d_angles,
            *(torch.stack(g, 1).conj().resolve_conj() for g in d_groups),
        )


def kron(first: Tensor, second: Tensor) -> Tensor:
    """Kronecker product of matrices [..., K, K] and [..., 2, 2]."""
    joined = first[..., :, None, :, None] * second[..., None, :, None, :]
    return joined.reshape(*first.shape[:-2], first.shape[-1] * second.shape[-1], -1)


def product_state(columns_bwk: Tensor) -> Tensor:
    """The state of unentangled wires [B, wires, 2], [B, N]."""

    def outer(first: Tensor, second: Tensor) -> Tensor:
        return (first[:, :, None] * second[:, None]).flatten(1)

    wires = list(columns_bwk.unbind(1))
    while len(wires) > 1:  # in pairs: the last product alone is large
        wires = [outer(*wires[i : i + 2]) if i + 1 < len(wires) else wires[i] for i in range(0, len(wires), 2)]
    return wires[0]


@cache
def keep_freed_memory() -> None:
    """Asks the C library not to give freed megabytes back to the system after every step, only to fetch them again page
    by page: a fifth of the time of a gradient. Nothing happens where the library is not glibc."""
    trim_threshold, mmap_threshold = -1, -3  # malloc.h
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(trim_threshold, 2**30)
        libc.mallopt(mmap_threshold, 2**30)
    except (AttributeError, OSError, TypeError):
        pass


def check_wires(wires: int) -> None:
    """UserError where a state and its probabilities fit nowhere: asked before anything of their size is made."""
    if wires > MOST_WIRES:
        raise UserError(f"{wires} wires cannot be simulated: for IQP circuits of any width, model=born_iqp")
    devices = [torch.device("cuda", i) for i in range(torch.cuda.device_count())]
    largest = max(devices, key=lambda device: torch.cuda.mem_get_info(device)[1], default=torch.device("cpu"))
    check_memory(8 * 2**wires, wires, largest)


def check_memory(needed: int, wires: int, device: torch.device) -> None:
    """UserError where so many bytes are not free."""
    if needed < 2**28:
        return
    if device.type == "cuda":  # what torch holds and does not use is free too
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        free = torch.cuda.mem_get_info(device)[0] + held
    else:
        free = psutil.virtual_memory().available
    if needed > free:
        raise UserError(
            f"{wires} wires need {needed / 2**30:.1f} GiB for their states, and {free / 2**30:.1f} GiB are free: take "
            "fewer wires, or fewer states at once"
        )
