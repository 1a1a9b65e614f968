"""The critic of any kind of data: what it sees of an example, and of its end.

Legend: B batch, T elements of an example, D numbers of an element.
"""

import itertools

import pytest
import torch
from torch import Tensor

from genzoo.contract import Spec
from genzoo.objectives import TransformerCritic, critics


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


SPECS = {
    "tokens": Spec((6,), vocab=5),
    "tokens on a grid": Spec((2, 3), vocab=5),
    "continuous": Spec((6, 3)),
    "continuous on a grid": Spec((2, 4, 3)),
    "one axis": Spec((6,)),
    "neighbours together": Spec((9, 3)),
}


def examples(spec: Spec, n: int = 4) -> Tensor:
    if spec.vocab:
        return torch.randint(spec.vocab, (n, *spec.shape), generator=seeded(3))
    return torch.randn(n, *spec.shape, generator=seeded(3))


def opinionated(critic: TransformerCritic) -> TransformerCritic:
    """Random weights everywhere, so that nothing starts at zero."""
    generator = seeded(4)
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.normal_(std=0.4, generator=generator)
    return critic


@pytest.mark.parametrize("depth", [0, 2])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_critic_shapes(spec, depth, monkeypatch):
    """One number an example, whatever the others in the batch; every element matters."""
    monkeypatch.setattr(critics, "MOST", 8)  # elements that attention looks at
    critic, x = opinionated(TransformerCritic(spec, dim=16, depth=depth, heads=2)), examples(spec)
    score = critic(x)
    assert score.shape == (4,)
    assert len(critic.blocks) == depth
    if spec == SPECS["neighbours together"]:
        assert critic.place.shape == (5, 16), "two by two, and the last alone"
    torch.testing.assert_close(torch.cat([critic(x[i : i + 1]) for i in range(4)]), score)
    for place in range(x[0].numel()):
        other = x.clone()
        flat = other.view(4, -1)
        flat[0, place] = (flat[0, place] + 1) % 5 if spec.vocab else -flat[0, place]
        changed = (critic(other) - score).abs()
        assert changed[0] > 1e-4
        assert changed[1:].max() < 1e-5


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_critic_begins_without_an_opinion(spec):
    """A new one says the same of every example, and its first gradient already tells data from samples."""
    torch.manual_seed(0)
    critic, x = TransformerCritic(spec, dim=16), examples(spec)
    score = critic(x)
    assert score.eq(score[0]).all()
    (critic(x[:2]).sum() - critic(x[2:]).sum()).backward()
    assert critic.out.weight.grad.abs().max() > 0


def test_critic_and_order():
    """It sees where an element stands; without places and blocks, an example is a bag of its elements."""
    x = torch.tensor([[0, 1, 2, 3, 4, 0]])
    for depth, places, sees in ((0, 0.0, False), (0, 1.0, True), (1, 1.0, True)):
        critic = opinionated(TransformerCritic(SPECS["tokens"], dim=16, depth=depth, heads=2))
        critic.place.data *= places
        assert ((critic(x) - critic(x.flip(1))).abs().item() > 1e-3) == sees


def test_critic_and_the_end_of_an_example():
    """-1, which follows it, is a token of its own: where an example ends matters, and no other token is like it."""
    critic = opinionated(TransformerCritic(SPECS["tokens"], dim=16, heads=2))
    ends = [torch.where(torch.arange(6) < n, 2, -1) for n in range(1, 7)]
    tokens = [torch.where(torch.arange(6) < 3, 2, token) for token in range(5)]
    scores = critic(torch.stack(ends + tokens)).tolist()
    assert min(abs(a - b) for a, b in itertools.combinations([*scores[:5], *scores[6:]], 2)) > 1e-3
    assert scores[5] == pytest.approx(scores[8], abs=1e-5), "six times the token 2"


def test_critic_labels():
    """A label changes the number; without one, or where the data has none, nothing is added."""
    labelled = Spec((6,), vocab=5, classes=3)
    critic, x = opinionated(TransformerCritic(labelled, dim=16, heads=2)), examples(labelled, 1).repeat(3, 1)
    scores = [*critic(x, torch.tensor([0, 1, 2])).tolist(), critic(x)[0].item()]
    assert min(abs(a - b) for a, b in itertools.combinations(scores, 2)) > 1e-3
    without = TransformerCritic(SPECS["tokens"], dim=16, heads=2)
    assert torch.equal(without(x, torch.tensor([0, 1, 2])), without(x))
