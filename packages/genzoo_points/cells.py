"""A cloud as a fixed number of cells: a balanced tree of it, and a Gaussian for each leaf.

Legend: B clouds, N points, C cells, K points of a cell, F channels (x, y, z, and whatever follows: normals), R the nine
numbers of a cell.
"""

import torch
from torch import Tensor

THICKNESS = 0.01
"""Of a cell that is flat, in the cloud's units: without it a cell could not be brought to unit size."""

SUMMARY = 9
"""Numbers that describe a cell: its mean, and the upper triangle of its spread."""

UPPER = ((0, 0, 0, 1, 1, 2), (0, 1, 2, 1, 2, 2))


def split(x_bnf: Tensor, cells: int) -> Tensor:
    """[B, N, F] -> [B, C, K, F]: halved at the median along x, each half along y, then z, x, … (a balanced k-d tree;
    Bentley 1975). The cells come in the tree's order, so that the same cell of two shapes lies at like places, and the
    order of the points that come in does not matter. ValueError where N points do not make C equal cells."""
    batch, n, channels = x_bnf.shape
    if cells < 1 or cells & (cells - 1) or n % cells:
        raise ValueError(f"{n} points cannot be cut into {cells} equal cells: take a power of two that divides {n}")
    for axis in (2, 1, 0):  # so that points which are level later lie in an order of their own
        x_bnf = sorted_along(x_bnf, axis)
    for level in range(cells.bit_length() - 1):
        x_bnf = sorted_along(x_bnf.view(batch << level, -1, channels), level % 3)
    return x_bnf.view(batch, cells, -1, channels)


def sorted_along(x_bnf: Tensor, axis: int) -> Tensor:
    """The points of each row [B, N, F] in the order of one coordinate; those that are level keep theirs."""
    order = x_bnf[..., axis].argsort(dim=1, stable=True)
    return x_bnf.gather(1, order[..., None].expand(-1, -1, x_bnf.shape[2]))


def summary(x_bck3: Tensor) -> Tensor:
    """[B, C, K, 3] -> [B, C, R]: each cell's mean, and its spread, the symmetric square root of its covariance with
    `THICKNESS` added. The spread is as smooth and as large as the cell; a flat cell has no small logarithms."""
    mean = x_bck3.mean(dim=2)
    centred = x_bck3 - mean.unsqueeze(2)
    with torch.autocast(x_bck3.device.type, enabled=False):  # what is learned is measured from here
        values, vectors = eigen(centred.mT @ centred / x_bck3.shape[2])
        root = (vectors * (values.clamp(min=0) + THICKNESS**2).sqrt().unsqueeze(-2)) @ vectors.mT
    return torch.cat((mean, root[..., UPPER[0], UPPER[1]]), dim=-1)


def eigen(symmetric: Tensor) -> tuple[Tensor, Tensor]:
    """`torch.linalg.eigh` of [B, C, 3, 3] in pieces that CUDA takes, and on the CPU for a device without one."""
    device = symmetric.device
    there = symmetric.cpu() if device.type == "mps" else symmetric
    parts = [torch.linalg.eigh(part) for part in there.flatten(0, 1).split(2**14)]
    values, vectors = (torch.cat(part).to(device) for part in zip(*parts, strict=True))
    return values.view(symmetric.shape[:3]), vectors.view_as(symmetric)


def spread(cells_bcr: Tensor) -> tuple[Tensor, Tensor]:
    """[B, C, R] -> mean [B, C, 3] and spread [B, C, 3, 3]."""
    mean, upper = cells_bcr.split((3, 6), dim=-1)
    root = torch.zeros(*upper.shape[:-1], 3, 3, device=upper.device, dtype=upper.dtype)
    root[..., UPPER[0], UPPER[1]] = upper
    root[..., UPPER[1], UPPER[0]] = upper
    return mean, root


def to_cells(x_bckf: Tensor, cells_bcr: Tensor) -> Tensor:
    """Points [B, C, K, F] in the units of their cells: spread^-1 (x - mean), about a standard Gaussian's. Further
    channels are as they were."""
    mean, root = spread(cells_bcr)
    u = torch.linalg.solve(root, (x_bckf[..., :3] - mean.unsqueeze(2)).mT).mT
    return torch.cat((u, x_bckf[..., 3:]), dim=-1)


def from_cells(u_bckf: Tensor, cells_bcr: Tensor) -> Tensor:
    """What `to_cells` took: mean + spread u. Any spread will do, also one that a network has drawn."""
    mean, root = spread(cells_bcr)
    x = mean.unsqueeze(2) + u_bckf[..., :3] @ root
    return torch.cat((x, u_bckf[..., 3:]), dim=-1)
