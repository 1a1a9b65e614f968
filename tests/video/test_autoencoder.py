"""The autoencoder of clips: causal latents of a known size, and a critic for it."""

import pytest
import torch

from genzoo.contract import Batch, Spec
from genzoo.errors import UserError
from genzoo_video.autoencoder import PatchCritic, VideoAutoencoder
from genzoo_video.latents import Latents, Pixels, load_space

SPEC = Spec((1, 8, 16, 24))
CONFIG = {
    "_target_": "genzoo_video.VideoAutoencoder",
    "_partial_": True,
    "latent": 4,
    "dim": 16,
    "depth": 1,
    "heads": 2,
}


@pytest.fixture
def model() -> VideoAutoencoder:
    torch.manual_seed(0)
    made = VideoAutoencoder(SPEC, latent=4, dim=16, depth=1, heads=2)
    for p in made.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return made.eval()


def clips(n: int = 2, frames: int = 8) -> torch.Tensor:
    return torch.randn(n, 1, frames, 16, 24, generator=torch.Generator().manual_seed(1))


def test_latents(model):
    """A place of each is a patch of two frames and eight by eight pixels; there they have mean 0 and mean square 1."""
    z = model.encode(clips())
    assert z.shape == (2, 4, 4, 2, 3)
    torch.testing.assert_close(z.mean(1), torch.zeros(2, 4, 2, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.square().mean(1), torch.ones(2, 4, 2, 3), atol=1e-3, rtol=0)
    assert model.decode(z).shape == (2, 1, 8, 16, 24)


def test_first_latents_do_not_know_what_follows(model):
    """Those of the first frames are the same whatever comes after; and of a clip cut there."""
    x = clips()
    other = torch.cat((x[:, :, :4], torch.randn(2, 1, 4, 16, 24)), dim=2)
    assert torch.equal(model.encode(x)[:, :, :2], model.encode(other)[:, :, :2])
    assert not torch.allclose(model.encode(x)[:, :, 2:], model.encode(other)[:, :, 2:])
    torch.testing.assert_close(model.encode(x[:, :, :4]), model.encode(x)[:, :, :2], atol=1e-5, rtol=1e-5)


def test_loss(model):
    """Of a constant shift: its size, for edges do not change; x_hat is what is decoded."""
    x = clips()
    out = model.loss(Batch(x))
    assert torch.equal(out.x_hat, model.decode(model.encode(x)))
    shifted = model.loss(Batch(out.x_hat.detach()))
    assert shifted.value.shape == (2,)
    rest = out.x_hat - x
    edges = (rest[..., 1:] - rest[..., :-1]).abs().flatten(1).mean(1) + rest.diff(dim=3).abs().flatten(1).mean(1)
    torch.testing.assert_close(out.value, rest.abs().flatten(1).mean(1) + edges)


def test_noise_is_for_training(model):
    model.train()
    generator = torch.Generator().manual_seed(0)
    noisy = model.loss(Batch(clips()), generator).x_hat
    model.eval()
    assert not torch.equal(noisy, model.loss(Batch(clips())).x_hat)


def test_it_learns_with_its_critic():
    """Twenty steps of the game: the clip is nearer than before, the critic looks at every neighbourhood."""
    from genzoo.objectives import Adversarial

    torch.manual_seed(0)
    model = VideoAutoencoder(SPEC, latent=8, dim=32, depth=1, heads=2)
    game = Adversarial(SPEC, critic=lambda spec: PatchCritic(spec, dim=4, depth=2), weight=0.05, through="x_hat")
    modules = {"model": model, "critic": game.critic}
    optimizers = {name: torch.optim.Adam(module.parameters(), 3e-3) for name, module in modules.items()}
    batch, generator = Batch(clips().clamp(-1, 1)), torch.Generator().manual_seed(0)
    before = model.loss(batch).value.mean().item()
    for _ in range(20):
        for turn in game.turns:
            total, logs = game.loss(turn, modules, batch, generator)
            optimizers[turn].zero_grad()
            total.backward()
            optimizers[turn].step()
            assert torch.isfinite(total)
    assert model.loss(batch).value.mean().item() < 0.95 * before
    assert {"native", "psnr_db", "fooled"} <= set(logs)
    scores = game.critic(batch.x)
    assert scores.ndim == 2
    assert scores.shape[1] > 8


def test_space_travels(model):
    """What the checkpoint holds makes the same autoencoder again."""
    space = Latents(model, CONFIG)
    again = load_space(space.state_dict())
    x = clips()
    assert torch.equal(again.encode(x), space.encode(x))
    assert torch.equal(again.decode(again.encode(x)), model.decode(model.encode(x)))
    assert space.shape((1, 8, 16, 24)) == (4, 4, 2, 3)
    assert space.pace == 2
    assert load_space(Pixels().state_dict()).shape((1, 8, 16, 24)) == (1, 8, 16, 24)


@pytest.mark.parametrize(
    ("shape", "message"), [((3, 8, 16, 24), r"data\.colour"), ((1, 7, 16, 24), r"data\.size and data\.frames")]
)
def test_what_does_not_fit(model, shape, message):
    with pytest.raises(UserError, match=message):
        Latents(model, CONFIG).shape(shape)


@pytest.mark.parametrize("make", [VideoAutoencoder, PatchCritic])
def test_only_of_clips(make):
    with pytest.raises(ValueError, match="choose data=video"):
        make(Spec((16, 3)))
