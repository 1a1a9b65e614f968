"""A small autoencoder of clips, and its critic: for pictures of too many pixels to learn one by one.

Legend: B clips, C channels, T frames, H, W pixels, Z numbers of a latent place, F, R, S latent frames, rows, columns,
D width.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from attention_core import Attention, Block, FeedForward, Patches, Rotary, SpaceTime
from attention_core.norm import layer_norm
from attention_core.positions import grid_positions
from genzoo.contract import Batch, GenerativeModel, Loss, Spec
from genzoo.draws import Noise


class VideoAutoencoder(GenerativeModel):
    """Clips to a few numbers for each patch of space and time, and back.

    Both ways, convolutions of each frame stand outside and a transformer factorised over space and time inside, whose
    attention over time is causal: the latents of first frames do not depend on later ones, so a clip can be continued
    in latents. These have mean 0 and mean square 1 at each place, and noise is added to them while training, so that
    what a flow makes, near them, decodes as well (Zheng et al. 2025, RAE, sec. 4.3, in place of a KL penalty).

    spec: of `VideoData`. patch: frames, rows and columns of a latent place. latent: its numbers Z. dim, depth, heads:
    of each transformer. noise: standard deviation of the noise while training.
    """

    estimates = True

    def __init__(
        self,
        spec: Spec,
        *,
        patch: Sequence[int] = (2, 8, 8),
        latent: int = 16,
        dim: int = 128,
        depth: int = 2,
        heads: int = 4,
        noise: float = 0.1,
    ) -> None:
        super().__init__()
        if len(spec.shape) != 4:
            raise ValueError("this autoencoder is of clips: choose data=video")
        channels = spec.shape[0]
        self.spec, self.patch, self.latent, self.noise = spec, tuple(patch), latent, noise
        self.patches = Patches(patch)
        self.patches.grid(spec.shape[1:])
        size = channels * math.prod(patch)
        self.to_token, self.to_latent = nn.Linear(size, dim), nn.Linear(dim, latent)
        self.from_latent, self.to_pixels = nn.Linear(latent, dim), nn.Linear(dim, size)
        self.encoder = nn.ModuleList(_pair(dim, heads) for _ in range(depth))
        self.decoder = nn.ModuleList(_pair(dim, heads) for _ in range(depth))
        self.smooth = nn.Sequential(
            nn.Conv2d(channels, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, channels, 3, padding=1)
        )
        nn.init.zeros_(self.smooth[-1].weight)
        nn.init.zeros_(self.smooth[-1].bias)
        self.in_space, self.in_time = Rotary(dim // heads, axes=2, base=100.0), Rotary(dim // heads, base=100.0)

    def encode(self, x: Tensor) -> Tensor:
        """Clips [B, C, T, H, W] -> latents [B, Z, F, R, S]."""
        grid = self.patches.grid(x.shape[2:])
        tokens = self._through(self.encoder, self.to_token(self.patches(x)), grid)
        return layer_norm(self.to_latent(tokens)).transpose(1, 2).unflatten(2, grid)

    def decode(self, z: Tensor) -> Tensor:
        """Latents [B, Z, F, R, S] -> clips [B, C, T, H, W]."""
        grid = z.shape[2:]
        tokens = self._through(self.decoder, self.from_latent(z.flatten(2).transpose(1, 2)), grid)
        shape = [n * p for n, p in zip(grid, self.patch, strict=True)]
        x = self.patches.inverse(self.to_pixels(layer_norm(tokens)), shape)
        frames = x.transpose(1, 2).flatten(0, 1)
        return (frames + self.smooth(frames)).unflatten(0, (len(z), -1)).transpose(1, 2)

    def _through(self, blocks: nn.ModuleList, tokens: Tensor, grid: Sequence[int]) -> Tensor:
        frames, *places = grid
        in_space = self.in_space(grid_positions(places, device=tokens.device))
        in_time = self.in_time(grid_positions((frames,), device=tokens.device))
        x = tokens.unflatten(1, (frames, -1))
        for block in blocks:
            x = block(x, space_rotation=in_space, time_rotation=in_time)
        return x.flatten(1, 2)

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> Loss:
        """Mean absolute difference of pixels and, as much, of their differences to the next in both directions: edges.
        x_hat is what is decoded."""
        z = self.encode(batch.x)
        if self.training and self.noise:
            z = z + self.noise * torch.randn(z.shape, device=z.device, dtype=z.dtype, generator=generator)
        x_hat = self.decode(z).float()
        rest = x_hat - batch.x
        edges = sum(rest.diff(dim=axis).abs().flatten(1).mean(1) for axis in (-1, -2))
        psnr = -10 * (rest.detach() / 2).square().mean().clamp(min=1e-10).log10()
        return Loss(rest.abs().flatten(1).mean(1) + edges, x_hat=x_hat, logs={"psnr_db": psnr})

    def sample(self, n: int, cond: Mapping[str, Tensor], noise: Noise) -> Tensor:
        """cond["context"] [n, C, T, H, W] through the latents and back; without it, what random latents look like."""
        if "context" in cond and cond["context"].any():
            return self.decode(self.encode(cond["context"]))
        grid = self.patches.grid(self.spec.shape[1:])
        return self.decode(layer_norm(noise.normal(n, *grid, self.latent)).movedim(-1, 1))


def _pair(dim: int, heads: int) -> SpaceTime:
    space = Block(Attention(dim, heads=heads, qk_norm=True, out_bias=False), FeedForward(dim))
    time = Block(Attention(dim, heads=heads, qk_norm=True, causal=True, out_bias=False), FeedForward(dim))
    return SpaceTime(space, time)


class PatchCritic(nn.Module):
    """Convolutions over space and time that judge every neighbourhood by itself (Isola et al. 2017, PatchGAN): clips
    [B, C, T, H, W] in, scores [B, S] out. Labels are not looked at.

    dim: channels. depth: convolutions that halve the pictures.
    """

    def __init__(self, spec: Spec, *, dim: int = 24, depth: int = 3) -> None:
        super().__init__()
        if len(spec.shape) != 4:
            raise ValueError("this critic looks at clips: choose data=video")
        layers: list[nn.Module] = []
        widths = [spec.shape[0], *(dim * 2 ** min(i, 2) for i in range(depth))]
        for i in range(depth):
            layers += [nn.Conv3d(widths[i], widths[i + 1], (3, 4, 4), (1, 2, 2), padding=1), nn.LeakyReLU(0.2)]
        out = nn.Conv3d(widths[-1], 1, (3, 3, 3), padding=1)
        nn.init.zeros_(out.weight)
        nn.init.zeros_(out.bias)
        self.net = nn.Sequential(*layers, out)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        return self.net(x).flatten(1)
