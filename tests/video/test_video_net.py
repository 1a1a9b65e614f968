"""What the network of a flow of clips knows, and what it gives back."""

from functools import partial

import pytest
import torch

from genzoo.contract import Batch, Spec
from genzoo.draws import GeneratorNoise
from genzoo.families import Flow
from genzoo_video.net import VideoCritic, VideoNet

SHAPE = (3, 8, 16, 24)


def spec(classes: int = 4) -> Spec:
    return Spec(SHAPE, classes=classes, context={"context": SHAPE, "known": (8,)})


def net(classes: int = 4, **options) -> VideoNet:
    """A network whose weights are all at work (new blocks are the identity)."""
    torch.manual_seed(0)
    made = VideoNet(spec(classes), **{"dim": 16, "depth": 2, "heads": 2, "patch": (2, 8, 8)} | options)
    for p in made.parameters():
        torch.nn.init.normal_(p, std=0.2)
    return made.eval()


def told(x: torch.Tensor, known: int, label: int = 1) -> dict[str, torch.Tensor]:
    mask = (torch.arange(x.shape[2]) < known).float().expand(len(x), -1)
    return {"context": x * mask[:, None, :, None, None], "known": mask, "label": torch.full((len(x),), label)}


def test_known_frames_are_given_back():
    """Whatever is asked at them, they are the context's, and the noise there changes nothing of the others."""
    model, x = net(), torch.randn(2, *SHAPE)
    noisy, t = torch.randn(2, *SHAPE), torch.rand(2)
    out = model(noisy, t, told(x, 3))
    assert torch.equal(out[:, :, :3], x[:, :, :3])
    other = torch.cat((torch.randn(2, 3, 3, 16, 24), noisy[:, :, 3:]), dim=2)
    assert torch.equal(model(other, t, told(x, 3)), out)
    assert not torch.allclose(model(noisy, t, told(x + 1, 3))[:, :, 3:], out[:, :, 3:])


def test_what_is_known_and_what_happens_to_look_so():
    """That a frame is known is told: the same pictures as noise give another answer."""
    model, x = net(), torch.randn(2, *SHAPE)
    t = torch.rand(2)
    assert not torch.allclose(model(x, t, told(x, 4))[:, :, 4:], model(x, t, told(x, 0))[:, :, 4:])


@pytest.mark.parametrize("what", ["label", "time"])
def test_conditions_count(what):
    model, x, t = net(), torch.randn(2, *SHAPE), torch.full((2,), 0.3)
    other = model(x, t, told(x, 0, label=2)) if what == "label" else model(x, t + 0.2, told(x, 0))
    assert not torch.allclose(model(x, t, told(x, 0)), other)


def test_every_pixel_reaches_every_other():
    """Two pairs of blocks join any two places of a clip."""
    model, x = net(), torch.randn(1, *SHAPE, requires_grad=True)
    out = model(x, torch.full((1,), 0.5), told(x.detach(), 0))
    (grad,) = torch.autograd.grad(out[0, 0, 7, 15, 23], x)
    assert (grad[0].abs().amax(0) > 0).all()


def test_longer_clips_and_other_patches():
    """Rotary positions in time take any number of frames that the patch divides."""
    x = torch.randn(1, 3, 12, 16, 24)
    assert net()(x, torch.rand(1), told(x, 2)).shape == x.shape
    with pytest.raises(ValueError, match="cannot be cut into patches"):
        net(patch=(3, 8, 8))


def test_a_sample_goes_on_from_its_first_frames_exactly():
    model = Flow(spec(), partial(VideoNet, dim=16, depth=1, heads=2, patch=(2, 8, 8)), estimate="data", shift=4.0)
    x = torch.randn(3, *SHAPE)
    for solver in ("euler", "midpoint"):
        made = model.sample(3, told(x, 5), GeneratorNoise(torch.Generator().manual_seed(0)), steps=3, solver=solver)
        torch.testing.assert_close(made[:, :, :5], x[:, :, :5], rtol=0, atol=1e-5)


def test_known_frames_cost_nothing():
    """A clip that is told but for its last frame loses only there."""
    model = Flow(spec(), partial(VideoNet, dim=16, depth=1, heads=2, patch=(2, 8, 8)), estimate="data")
    x = torch.randn(2, *SHAPE)
    losses = []
    for known in (0, 4, 7):
        batch = Batch(x, told(x, known))
        losses.append(model.loss(batch, torch.Generator().manual_seed(1)).value)
    torch.testing.assert_close(losses[1] / losses[0], torch.full((2,), 0.5), rtol=0.1, atol=0)
    torch.testing.assert_close(losses[2] / losses[0], torch.full((2,), 1 / 8), rtol=0.1, atol=0)


def test_what_moves_on():
    """A new network with moved=true repeats the last frame it knows, and without any gives nothing, as without. Told
    that all goes four pixels a frame to the right, it moves it so, further in each frame; and up."""
    torch.manual_seed(0)
    model, x = VideoNet(spec(), dim=16, depth=1, heads=2, patch=(2, 8, 8), moved=True), torch.randn(2, *SHAPE)
    out = model(torch.randn_like(x), torch.rand(2), told(x, 3))
    last = x[:, :, 2]
    torch.testing.assert_close(out[:, :, 3:], last[:, :, None].expand(-1, -1, 5, -1, -1), atol=1e-5, rtol=1e-5)
    assert model(x, torch.rand(2), told(x, 0)).abs().max() == 0
    with torch.no_grad():
        model.to_motion.bias.copy_(torch.tensor([4.0, 0.0]))  # columns, rows
    out = model(torch.randn_like(x), torch.rand(2), told(x, 3))
    for age in (1, 2, 3):
        torch.testing.assert_close(out[:, :, 2 + age, :, 4 * age :], last[..., : -4 * age], atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        model.to_motion.bias.copy_(torch.tensor([0.0, -1.0]))
    out = model(torch.randn_like(x), torch.rand(2), told(x, 3))
    torch.testing.assert_close(out[:, :, 7, :-5], last[..., 5:, :], atol=1e-4, rtol=1e-4)


def test_a_critic_begins_as_the_network_that_it_judges():
    """With its weights where they fit, without an opinion; it scores every token."""
    options = {"dim": 16, "depth": 1, "heads": 2, "patch": (2, 8, 8), "registers": 3}
    flow = Flow(spec(), partial(VideoNet, **options), estimate="data")
    for p in flow.parameters():
        torch.nn.init.normal_(p, std=0.2)
    x, label = torch.randn(2, *SHAPE), torch.tensor([0, 3])
    critic, other = VideoCritic(spec(), **options), VideoCritic(spec(), **(options | {"dim": 32}))
    critic.adopt(flow), other.adopt(flow)
    assert torch.equal(critic.net.to_token.weight, flow.net.to_token.weight)
    assert critic(x, label).shape == (2, 4 * (6 + 3))
    assert critic(x, label).abs().max() == 0
    torch.nn.init.normal_(critic.to_score.weight)
    assert not torch.allclose(critic(x, label), critic(x, label.flip(0)))
    assert torch.equal(critic(x), critic(x, torch.tensor([4, 4])))
    assert other(x, label).shape == (2, 36)
