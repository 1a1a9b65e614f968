"""The critic of shapes: order does not matter, where and how points lie does."""

import pytest
import torch

from genzoo.contract import Batch, Spec
from genzoo.draws import GeneratorNoise
from genzoo.families import Flow
from genzoo.objectives import Adversarial
from genzoo_points.critic import CellCritic
from genzoo_points.net import SetNet

SPEC = Spec((64, 3), classes=3)


@pytest.fixture
def critic() -> CellCritic:
    torch.manual_seed(0)
    made = CellCritic(SPEC, cells=8, dim=16, depth=1, heads=2)
    for head in made.to_scores:
        torch.nn.init.normal_(head[-1].weight)
    return made


def clouds(n: int = 4) -> torch.Tensor:
    return torch.randn(n, 64, 3, generator=torch.Generator().manual_seed(1))


def test_scores(critic):
    """Two of each cell, whatever the order of the points; another label, another place, another score."""
    x, label = clouds(), torch.tensor([0, 1, 2, 0])
    scores = critic(x, label)
    assert scores.shape == (4, 16)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(critic(x[:, order], label), scores)
    assert not torch.allclose(critic(x, (label + 1) % 3), scores)
    assert not torch.allclose(critic(x + 0.5, label), scores)
    assert torch.equal(critic(x), critic(x, torch.full((4,), 3)))
    assert CellCritic(SPEC, cells=8)(x).abs().max() == 0


def test_gradients_of_flat_and_round_cells(critic):
    """Cells without extent, and all alike: the gradient is finite."""
    flat = torch.zeros(2, 64, 3)
    flat[..., 0] = torch.arange(64) / 64
    for x in (flat, torch.zeros(2, 64, 3), clouds(2)):
        x.requires_grad_()
        (grad,) = torch.autograd.grad(critic(x).sum(), x)
        assert torch.isfinite(grad).all()


def test_a_flow_learns_from_it():
    """A few turns of the game move a flow's samples towards a smaller shape."""
    torch.manual_seed(0)
    model = Flow(Spec((64, 3)), lambda spec: SetNet(spec, dim=16, depth=1, heads=2, inducing=4))
    critic = CellCritic(Spec((64, 3)), cells=8, dim=16, depth=1, heads=2)
    game = Adversarial(
        Spec((64, 3)),
        critic=lambda spec: critic,
        native=0.0,
        through="sample",
        sampler={"steps": 2, "solver": "euler"},
    )
    game.check(model)
    modules = {"model": model, "critic": game.critic}
    optimizers = {
        name: torch.optim.Adam(module.parameters(), 0.003, betas=(0.0, 0.99)) for name, module in modules.items()
    }
    generator = torch.Generator().manual_seed(3)
    for _ in range(60):
        batch = Batch(0.4 * torch.randn(16, 64, 3, generator=generator))
        for turn in game.turns:
            total, _ = game.loss(turn, modules, batch, generator)
            optimizers[turn].zero_grad()
            total.backward()
            optimizers[turn].step()
    with torch.no_grad():
        made = model.sample(16, {}, GeneratorNoise(generator), steps=2, solver="euler")
    assert 0.2 < made.std().item() < 0.75, "noise has 1, the shapes 0.4"
