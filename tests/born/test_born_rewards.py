"""Rewards of bit strings: the largest cut of known graphs, cuts that one node betters, changes, and laws. Counts on
random graphs are in tests/test_reward.py."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from genzoo.errors import UserError
from genzoo_born import rewards
from genzoo_born.data import BornData
from genzoo_born.hypercube import strings


def edges(graph: str) -> list[list[int]]:
    """Of a ring of five nodes, of all pairs of six, of two sides of three each, and of Petersen's graph."""
    return {
        "ring": [[i, i + 1] for i in range(4)] + [[0, 4]],
        "complete": [[i, j] for i in range(6) for j in range(i + 1, 6)],
        "sides": [[i, j] for i in range(3) for j in range(3, 6)],
        "petersen": [[i, i + 1] for i in range(4)]
        + [[0, 4]]
        + [[i, i + 5] for i in range(5)]
        + [[5, 7], [7, 9], [6, 9], [6, 8], [5, 8]],
    }[graph]


@pytest.mark.parametrize(
    ("graph", "bits", "most", "of", "ways"),
    [("ring", 5, 4, 5, 10), ("complete", 6, 9, 15, 20), ("sides", 6, 9, 9, 2), ("petersen", 10, 12, 15, None)],
)
def test_largest_cuts(graph, bits, most, of, ways):
    """A ring of odd length is cut all but once, all pairs of n in two halves at n^2 / 4, two sides wholly, Petersen's
    graph at 12 of 15; no change of one node betters what is largest, and some smaller cuts neither."""
    assert len(edges(graph)) == of
    every = strings(bits)
    found = rewards.cut(every, None, {}, edges=edges(graph))
    assert found.max().item() == pytest.approx(most / of)
    assert found.min() == 0
    largest = found > found.max() - 1e-6
    assert ways is None or largest.sum() == ways
    assert torch.equal(found, found.flip(0)), "which side is called 1 does not matter"
    settled = rewards.no_better_neighbour(every, None, {}, edges=edges(graph))
    assert settled[largest].all()
    assert settled[0] == settled[-1] == 0
    assert found.mean().item() == pytest.approx(0.5), "of all strings, every edge is cut by half"


def test_a_cut_that_no_one_node_betters():
    """Two triangles held by one edge: one of each triangle is on the other side, and the edge is not cut; 4 of 7, one
    short of the largest, for which three nodes must change."""
    graph = [[0, 1], [1, 2], [0, 2], [3, 4], [4, 5], [3, 5], [0, 3]]
    x = torch.tensor([[1, 0, 0, 1, 0, 0], [1, 0, 0, 0, 1, 1], [1, 0, 0, 1, 1, 1]])
    assert rewards.cut(x, None, {}, edges=graph).tolist() == pytest.approx([4 / 7, 5 / 7, 2 / 7])
    assert rewards.no_better_neighbour(x, None, {}, edges=graph).tolist() == [1, 1, 0]
    assert rewards.cut(strings(6), None, {}, edges=graph).max().item() == pytest.approx(5 / 7)


def test_random_graphs():
    """Of a seed always the same one, for both rewards; of another seed another; what cannot be is refused."""
    x = strings(8)
    cuts = [rewards.cut(x, None, {}, degree=3, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(cuts[0], cuts[1])
    assert not torch.equal(cuts[0], cuts[2])
    listed = [list(edge) for edge in rewards.regular_graph(8, 3, 1)]
    assert torch.equal(cuts[2], rewards.cut(x, None, {}, edges=listed))
    settled = rewards.no_better_neighbour(x, None, {}, degree=3, seed=1)
    assert torch.equal(settled, rewards.no_better_neighbour(x, None, {}, edges=listed))
    assert rewards.cut(strings(4), None, {}).max().item() == pytest.approx(4 / 6), "all pairs of four nodes"
    assert torch.equal(rewards.cut(x, None, {}, edges=[[3, 1]]), rewards.cut(x, None, {}, edges=[[1, 3]]))
    for bits, degree in ((8, 0), (8, 8), (7, 3)):
        with pytest.raises(UserError, match=f"degree={degree}: there is no such graph of {bits} nodes"):
            rewards.cut(strings(bits), None, {}, degree=degree)
    for wrong in ([], [[0, 0]], [[0, 1, 2]], [[-1, 1]], [[0, 8]]):
        with pytest.raises(UserError, match="pairs of different nodes from 0 to 7"):
            rewards.cut(x, None, {}, edges=wrong)


def test_changes():
    """Neighbours that differ, over all: none, one, all but one, and all; reversed and turned round it is the same."""
    x = torch.tensor([[0, 0, 0, 0, 0], [0, 0, 1, 1, 1], [0, 1, 0, 1, 1], [1, 0, 1, 0, 1]])
    assert rewards.changes(x, None, {}).tolist() == [0, 0.25, 0.75, 1]
    for other in (1 - x, x.flip(1)):
        assert torch.equal(rewards.changes(other, None, {}), rewards.changes(x, None, {}))
    assert rewards.changes(strings(6), None, {}).mean().item() == pytest.approx(0.5)


def test_a_single_bit():
    """It has no neighbour and no pair."""
    x = torch.tensor([[0], [1]])
    assert rewards.changes(x, None, {}).tolist() == [0, 0]
    with pytest.raises(UserError, match="no such graph of 1 nodes"):
        rewards.cut(x, None, {})


def lawful(x: Tensor, **options: int | str) -> list[float]:
    data = BornData(**options)
    data.prepare()
    return rewards.lawful(x, data, {}).tolist()


def test_what_is_lawful():
    """Bars and stripes of 2 x 2: six of the sixteen. So many ones; where all is possible, and nothing is known, all."""
    every = strings(4)
    bars = lawful(every, path="bas", rows=2, columns=2)
    assert [i for i, yes in enumerate(bars) if yes] == [0b0000, 0b0011, 0b0101, 0b1010, 0b1100, 0b1111]
    two = lawful(every, path="cardinality", rows=2, columns=2, ones=2)
    assert two == [float(sum(row) == 2) for row in every.tolist()]
    assert lawful(every, path="ising", rows=2, columns=2) == [1] * 16
    assert rewards.lawful(every, SimpleNamespace(law=None), {}).tolist() == [1] * 16
