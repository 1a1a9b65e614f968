"""Points as cells that move and deform, and those as coefficients: waves of time, and a tree of space.

Neighbours move alike and smoothly, so that most coefficients of a motion are small: what starts from noise of their
sizes is whole and smooth from the first.

Legend: B sequences, T frames, N points, C cells, K points of a cell, R the twelve numbers of a cell at a time.
"""

import math

import torch
from torch import Tensor

from genzoo_points.cells import SUMMARY, UPPER, split, spread, summary, to_cells

STATE = 12
"""Numbers of a cell at a time: its middle, and the nine of the map that takes its points' own places there."""

RIDGE = 1e-3
"""Share of the map at the reference in the fit of a map: what points in a plane or on a line leave open."""


def cosines(n: int) -> Tensor:
    """[n, n] float64: rows are the cosines of the DCT-II (Ahmed et al. 1974), the first of them constant."""
    i = torch.arange(n, dtype=torch.float64)
    rows = (math.pi / n * i[:, None] * (i + 0.5)).cos() * math.sqrt(2 / n)
    rows[0] /= math.sqrt(2)
    return rows


def sines(n: int) -> Tensor:
    """[n, n] float64: rows are sines that are 0 one place before the first, slowest first (DST-VII): the axes of a
    random walk that begins there (Karhunen-Loève of Brownian motion)."""
    i = torch.arange(n, dtype=torch.float64)
    rows = (math.pi / (2 * n + 1) * (2 * i[:, None] + 1) * (i + 1)).sin()
    return rows * (2 / math.sqrt(2 * n + 1))


def haar(n: int) -> Tensor:
    """[n, n] float64 for n a power of two: the constant, then at each level of a binary tree from the root down, what
    the first half of a node has more than the second (Haar 1910)."""
    rows = [torch.full((n,), n**-0.5, dtype=torch.float64)]
    size = n
    while size > 1:
        wave = torch.ones(size, dtype=torch.float64) / math.sqrt(size)
        wave[size // 2 :] *= -1
        rows += torch.block_diag(*[wave[None]] * (n // size)).unbind()
        size //= 2
    return torch.stack(rows)


def order_of(reference_bn3: Tensor, cells: int) -> Tensor:
    """Places [B, N] that bring points into the order of a balanced tree of `cells` (`genzoo_points.cells.split`), and
    within each cell along the axis which would be halved next. ValueError where they make no equal cells."""
    batch, n, _ = reference_bn3.shape
    index = torch.arange(n, device=reference_bn3.device, dtype=torch.float64).expand(batch, n)
    leaves = split(torch.cat((reference_bn3.double(), index[..., None]), dim=-1), cells)
    axis = (cells.bit_length() - 1) % 3
    order = leaves[..., axis].argsort(dim=2, stable=True)
    return leaves[..., 3].gather(2, order).flatten(1).long()


def reordered(x: Tensor, order_bn: Tensor) -> Tensor:
    """Points of [B, T, N, 3] in an order [B, N] of their own for each row."""
    return x.gather(2, order_bn[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[3]))


def own_places(reference_bck3: Tensor) -> tuple[Tensor, Tensor]:
    """Of points [B, C, K, 3] in one frame: where each lies in its cell, in the cell's units (mean 0, covariance about
    1), [B, C, K, 3]; and the cells' `summary` [B, C, 9]. These places stay while the cell moves."""
    with torch.autocast(reference_bck3.device.type, enabled=False):
        cells = summary(reference_bck3.float())
        return to_cells(reference_bck3.float(), cells), cells


def states(x_btck3: Tensor, places_bck3: Tensor, cells_bcs: Tensor) -> Tensor:
    """[B, T, C, K, 3] -> [B, T, C, R]: each cell's middle, and the linear map from its points' own places to where they
    lie about it (least squares, with `RIDGE`): turned, stretched and sheared, as a solid that deforms evenly does."""
    with torch.autocast(x_btck3.device.type, enabled=False):
        x, root = x_btck3.float(), spread(cells_bcs)[1]
        middle = x.mean(dim=3)
        about = (x - middle.unsqueeze(3)).mT @ places_bck3[:, None] / x.shape[3]
        square = places_bck3.mT @ places_bck3 / x.shape[3] + RIDGE * torch.eye(3, device=x.device)
        turned = torch.linalg.solve(square[:, None], about + RIDGE * root[:, None], left=False)
        return torch.cat((middle, turned.flatten(3)), dim=-1)


def placed(states_btcr: Tensor, places_bck3: Tensor) -> Tensor:
    """Where points with places of their own [B, C, K, 3] are: [B, T, C, K, 3]."""
    middle, turned = states_btcr.split((3, 9), dim=-1)
    return middle.unsqueeze(3) + places_bck3[:, None] @ turned.unflatten(-1, (3, 3)).mT


def summary_of(states_bcr: Tensor) -> Tensor:
    """[B, C, R] -> [B, C, 9]: the `summary` of cells whose maps are symmetric, as they are at the reference."""
    middle, turned = states_bcr.split((3, 9), dim=-1)
    turned = turned.unflatten(-1, (3, 3))
    found = torch.cat((middle, ((turned + turned.mT) / 2)[..., UPPER[0], UPPER[1]]), dim=-1)
    assert found.shape[-1] == SUMMARY
    return found


class Basis(torch.nn.Module):
    """What cells do, [B, T, C, R] in the order of the tree, to coefficients of the same shape and back.

    In time they are cosines, but where a past is `known` [B] (above 0) sines, which begin at its last frame: what
    follows can lie far from it only late.
    """

    def __init__(self, frames: int, cells: int) -> None:
        super().__init__()
        self.register_buffer("time", torch.stack((cosines(frames), sines(frames))).float(), persistent=False)
        self.register_buffer("cell", haar(cells).float(), persistent=False)

    def forward(self, x: Tensor, known: Tensor) -> Tensor:
        return changed(x, self.time[(known > 0).long()], self.cell)

    def inverse(self, coefficients: Tensor, known: Tensor) -> Tensor:
        return changed(coefficients, self.time[(known > 0).long()].mT, self.cell.T)


def changed(x: Tensor, time_btt: Tensor, cell: Tensor) -> Tensor:
    """Both axes times their matrices, in float32 whatever the precision: small coefficients must stay."""
    with torch.autocast(x.device.type, enabled=False):
        return cell @ (time_btt @ x.float().flatten(2)).view_as(x)
