"""Rewards of bit strings, and what is watched beside them. Functions (x [n, bits], data, cond) -> [n].

Legend: n strings, E edges.
"""

from collections.abc import Mapping, Sequence
from functools import cache

import torch
from torch import Tensor

from genzoo.contract import part
from genzoo.draws import numpy_generator
from genzoo.errors import UserError
from genzoo_born.data import BornData

MOST_ENDS = 100_000
"""Of the edges of a random graph, two an edge."""


@cache
def regular_graph(nodes: int, degree: int, seed: int) -> tuple[tuple[int, int], ...]:
    """Edges of a random graph with `degree` edges at each node and no pair of nodes joined twice, by pairing the ends
    of edges until that is so (Bollobas 1980). UserError where there is no such graph."""
    if not 0 < degree < nodes or nodes * degree % 2:
        raise UserError(f"reward.function.degree={degree}: there is no such graph of {nodes} nodes")
    if nodes * degree > MOST_ENDS:
        raise UserError(f"reward.function.degree={degree} is too many for {nodes} nodes: give reward.function.edges")
    generator = numpy_generator("regular graph", nodes, degree, seed)
    for _ in range(10_000):
        ends = generator.permutation(nodes * degree) // degree
        pairs = {(min(a, b), max(a, b)) for a, b in ends.reshape(-1, 2).tolist()}
        if len(pairs) == nodes * degree // 2 and all(a != b for a, b in pairs):
            return tuple(sorted(pairs))
    raise UserError(f"reward.function.degree={degree} is too many for {nodes} nodes: give reward.function.edges")


def edges_of(bits: int, degree: int, seed: int, edges: Sequence[Sequence[int]] | None) -> Tensor:
    """[E, 2]"""
    if edges is None:
        return torch.tensor(regular_graph(bits, degree, seed))
    if not edges or any(len(e) != 2 or not 0 <= min(e) < max(e) < bits for e in edges):
        raise UserError(f"reward.function.edges are pairs of different nodes from 0 to {bits - 1}, as in [[0, 1]]")
    return torch.tensor(edges)


@part
def cut(
    x: Tensor,
    data: BornData,
    cond: Mapping[str, Tensor],
    *,
    degree: int = 3,
    seed: int = 0,
    edges: list[list[int]] | None = None,
) -> Tensor:
    """MaxCut: the share of edges whose ends have different bits. The graph: `edges`, or a random one with `degree`
    edges at each node."""
    a, b = edges_of(x.shape[1], degree, seed, edges).to(x.device).unbind(dim=1)
    return (x[:, a] != x[:, b]).float().mean(dim=1)


@part
def no_better_neighbour(
    x: Tensor,
    data: BornData,
    cond: Mapping[str, Tensor],
    *,
    degree: int = 3,
    seed: int = 0,
    edges: list[list[int]] | None = None,
) -> Tensor:
    """1 where changing no one bit cuts more edges, else 0."""
    a, b = edges_of(x.shape[1], degree, seed, edges).to(x.device).unbind(dim=1)
    gain = torch.where(x[:, a] == x[:, b], 1.0, -1.0)  # of changing one end of an edge
    gains = torch.zeros(x.shape, device=x.device).index_add(1, a, gain).index_add(1, b, gain)
    return (gains <= 0).all(dim=1).float()


@part
def changes(x: Tensor, data: BornData, cond: Mapping[str, Tensor]) -> Tensor:
    """The share of neighbouring bits that differ; 0 of a single bit."""
    return (x[:, 1:] != x[:, :-1]).float().sum(dim=1) / max(1, x.shape[1] - 1)


@part
def lawful(x: Tensor, data: BornData, cond: Mapping[str, Tensor]) -> Tensor:
    """1 for strings of the law's support (bars and stripes, a cardinality), 0 for others; 1 for all where every string
    has a probability."""
    valid = data.law.valid(x) if data.law is not None else None
    return torch.ones(len(x), device=x.device) if valid is None else valid.float()
