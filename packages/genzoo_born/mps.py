"""A staircase of two-qubit gates as a matrix-product state: amplitudes of single strings, at any number of wires.

Each gate meets one entangled wire and a fresh |0>, measures the first and hands the second on: a matrix-product state
of bond dimension 2 in canonical form (Schön et al. 2005; Ran 2020). Its likelihood costs no state vector.

Legend: B strings, W = wires - 1 gates, 15 angles of a gate, c and d the bond before and after.
"""

from functools import cache

import torch
from torch import Tensor

from genzoo_born.ansatz import Builder, two_qubit
from genzoo_born.circuit import Circuit
from genzoo_born.simulator import Simulator

ANGLES = 15


def block(*before: str) -> Circuit:
    """One two-qubit gate of a staircase, after single-qubit gates on its first wire."""
    made = Builder(2)
    for name in before:
        made.add(name, 0)
    two_qubit(made, 0, 1)
    return made.circuit


@cache
def column_simulators() -> tuple[Simulator, Simulator]:
    """They give a two-qubit gate's columns |00> and |10>."""
    return Simulator(block()), Simulator(block("x"))


def amplitudes(theta_wa: Tensor, x: Tensor) -> Tensor:
    """<x| staircase |0...0> for strings [B, wires], complex [B]."""
    columns = [simulator(theta_wa).view(-1, 2, 2) for simulator in column_simulators()]  # bit, bond after
    gates_wcxd = torch.stack(columns, dim=1)
    carried = torch.zeros(len(x), 2, dtype=gates_wcxd.dtype, device=x.device)
    carried[:, 0] = 1
    for w, gate_cxd in enumerate(gates_wcxd):
        carried = torch.einsum("bc,bcd->bd", carried, gate_cxd[:, x[:, w]].transpose(0, 1))
    return carried.gather(1, x[:, -1:])[:, 0]


def fit_staircase(x: Tensor, *, steps: int, generator: torch.Generator) -> Tensor:
    """Angles [wires - 1, 15] of the staircase that makes strings [B, wires] likely, by Adam from small angles."""
    theta = 0.3 * torch.randn(x.shape[1] - 1, ANGLES, generator=generator, device=x.device)
    theta.requires_grad_()
    optimizer = torch.optim.Adam([theta], lr=0.05)
    with torch.enable_grad():
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = 0.05 * min(1.0, 2 * (1 - step / steps))
            loss = -(torch.view_as_real(amplitudes(theta, x)).square().sum(-1) + 1e-12).log().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return theta.detach()
