"""What a circuit does to a batch of states, step by step, and how gradients go back through each step.

Legend: B states, N = 2^wires basis states, K = 2^(wires of a group), R = N / K, L basis states of the wires before a
group, T terms of a phase, H and W basis states of the first and second half of the wires.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Matrices = Sequence[Sequence[Tensor]]
"""Of each group, of each stage, [B, K, K]."""


class Operation:
    """A unitary step y = u x.

    run: u x. undo: its inverse. pull: the transpose of u, which carries the conjugate of the gradient back, so that no
    large array need be conjugated. differentiate: from x, and the conjugate gradients `dy` and `dx` on both sides, adds
    to the gradients of angles and (conjugated) of matrices.
    """

    needs_input = False

    def to(self, device: torch.device) -> None:
        """Moves its constants."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value.to(device))


@dataclass
class Turn(Operation):
    """A group's matrix on the first wires, which then become the last: after all groups the wires stand as before."""

    group: int
    stage: int
    needs_input = True

    def run(self, x: Tensor, angles: Tensor, groups: Matrices) -> Tensor:
        u = groups[self.group][self.stage]
        return torch.bmm(x.view(len(x), u.shape[-1], -1).mT, u.mT).view(len(x), -1)

    def undo(self, y: Tensor, angles: Tensor, groups: Matrices) -> Tensor:
        u = groups[self.group][self.stage].conj().resolve_conj()
        return torch.bmm(u.mT, y.view(len(y), -1, u.shape[-1]).mT).view(len(y), -1)

    def pull(self, dy: Tensor, angles: Tensor, groups: Matrices) -> Tensor:
        u = groups[self.group][self.stage]
        return torch.bmm(u.mT, dy.view(len(dy), -1, u.shape[-1]).mT).view(len(dy), -1)

    def differentiate(self, x: Tensor, dy: Tensor, dx: Tensor, d_angles: Tensor, d_groups: list[list[Tensor]]) -> None:
        k = d_groups[self.group][self.stage].shape[-1]
        d_groups[self.group][self.stage] = torch.bmm(dy.view(len(x), -1, k).mT, x.view(len(x), k, -1).mT)


@dataclass
class Apply(Operation):
    """A group's matrix on wires that stay where they are; `before` is L."""

    group: int
    stage: int
    before: int
    needs_input = True

    def run(self, x: Tensor, angles: Tensor, groups: Matrices) -> Tensor:
        return self._multiply(groups[self.group][self.stage], x)

    def undo(self, y: Tensor, angles: Tensor, groups: Matrices) -> Tensor:
        return self._multiply(groups[self.group][self.stage].mH.resolve_conj(), y)

    def pull(self, dy: Tensor, angles: Tensor, groups: Matrices) -> Tensor:
        return self._multiply(groups[self.group][self.stage].mT, dy)

    def _multiply(self, u: Tensor, x: Tensor) -> Tensor:
        return torch.matmul(u[:, None], x.view(len(x), self.before, u.shape[-1], -1)).view(len(x), -1)

    def differentiate(self, x: Tensor, dy: Tensor, dx: Tensor, d_angles: Tensor, d_groups: list[list[Tensor]]) -> None:
        shape = (len(x), self.before, d_groups[self.group][self.stage].shape[-1], -1)
        d_groups[self.group][self.stage] = (dy.view(shape) @ x.view(shape).mT).sum(1)


@dataclass
class Phase(Operation):
    """exp(i sum_t factor_t angle_t Z_t): signs of each term on the two halves of the wires."""

    gates: Tensor
    factor: Tensor
    high_ht: Tensor
    low_tw: Tensor
    needs_input = True

    def run(self, x: Tensor, angles: Tensor, groups: Matrices, sign: float = 1.0) -> Tensor:
        c_bt = sign * self.factor * angles[:, self.gates]
        phase = ((self.high_ht * c_bt[:, None]) @ self.low_tw).view(len(angles), -1)
        return x * torch.complex(phase.cos(), phase.sin())

    def undo(self, y: Tensor, angles: Tensor, groups: Matrices) -> Tensor:
        return self.run(y, angles, groups, -1.0)

    pull = run

    def differentiate(self, x: Tensor, dy: Tensor, dx: Tensor, d_angles: Tensor, d_groups: list[list[Tensor]]) -> None:
        d_phase = -(dx * x).imag.view(len(x), len(self.high_ht), -1)
        d_c = ((self.high_ht.mT @ d_phase) * self.low_tw).sum(-1)
        d_angles.index_add_(1, self.gates, self.factor * d_c)


@dataclass
class Multiply(Operation):
    """A fixed diagonal [N], or one of signs, each twice [2 N], for the real and imaginary parts of a complex state."""

    diagonal: Tensor

    def run(self, x: Tensor, angles: Tensor, groups: Matrices) -> Tensor:
        if x.is_complex() and not self.diagonal.is_complex():
            parts = torch.view_as_real(x).flatten(1) * self.diagonal
            return torch.view_as_complex(parts.view(*x.shape, 2))
        return x * self.diagonal

    def undo(self, y: Tensor, angles: Tensor, groups: Matrices) -> Tensor:
        if self.diagonal.is_complex():
            return y * self.diagonal.conj()
        return self.run(y, angles, groups)

    pull = run


@dataclass
class Permute(Operation):
    """Basis state i takes the amplitude of `source[i]`; `back` is the inverse."""

    source: Tensor
    back: Tensor

    def run(self, x: Tensor, angles: Tensor, groups: Matrices) -> Tensor:
        return x.index_select(1, self.source)

    def undo(self, y: Tensor, angles: Tensor, groups: Matrices) -> Tensor:
        return y.index_select(1, self.back)

    pull = undo
