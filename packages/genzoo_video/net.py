"""The network of a flow of clips: a transformer over patches of space and time, factorised.

Legend: B clips, C channels, T frames, H, W pixels, F frames of patches, S patches of a frame, D width.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_core import (
    AdaptiveNorm,
    Attention,
    Block,
    FeedForward,
    FourierFeatures,
    Patches,
    Rotary,
    SpaceTime,
)
from attention_core.norm import layer_norm
from attention_core.positions import grid_positions
from genzoo.contract import Spec

BANDS = 16
"""Frequencies of the flow's time."""

BASE = 100.0
"""Of the rotary frequencies: the slowest turns once in about 600 patches."""


class VideoNet(nn.Module):
    """(x_t [B, C, T, H, W], t [B], cond) -> clean clip [B, C, T, H, W]; for `Flow` with estimate=data.

    Blocks look over the places of each frame and over the frames of each place in turn (Bertasius et al. 2021,
    TimeSformer), with rotary phases in all three axes. Where cond["known"] [B, T] is 1, the frame is that of
    cond["context"] [B, C, T, H, W]: the network sees it as it is, and gives it back untouched.

    Each frame has a few tokens beside those of its patches, in which it can say what it shows to other frames, wherever
    in them that is (registers; Darcet et al. 2024).

    spec: of `VideoData`. dim, depth, heads: width, pairs of blocks, heads. patch: frames, rows and columns of a patch.
    registers: tokens of a frame beside its patches. moved: of later frames, the estimate begins as the last known one,
    each place moved on at the speed that the network says (after Liu et al. 2017, Deep Voxel Flow): for films in which
    what is seen drifts.
    dropout: share of each branch dropped while training.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        dim: int = 128,
        depth: int = 4,
        heads: int = 4,
        patch: Sequence[int] = (4, 4, 4),
        registers: int = 4,
        moved: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        channels, *shape = spec.shape
        self.patches, self.moved = Patches(patch), moved
        self.grid = self.patches.grid(shape)
        size = channels * math.prod(patch)
        self.to_token = nn.Linear(size, dim)
        self.to_known = nn.Linear(patch[0], dim)
        self.place = nn.Parameter(0.02 * torch.randn(math.prod(self.grid[1:]), dim))
        self.registers = nn.Parameter(0.5 * torch.randn(registers, dim))
        self.time = FourierFeatures(1, bands=BANDS, min_frequency=0.5, max_frequency=64.0)
        self.to_cond = nn.Sequential(nn.Linear(self.time.out_dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.label = nn.Embedding(spec.classes + 1, dim) if spec.classes else None

        def block() -> Block:
            attention = Attention(dim, heads=heads, qk_norm=True)
            return Block(attention, FeedForward(dim), cond_dim=dim, dropout=dropout)

        self.blocks = nn.ModuleList(SpaceTime(block(), block()) for _ in range(depth))
        self.in_space, self.in_time = Rotary(dim // heads, axes=2, base=BASE), Rotary(dim // heads, base=BASE)
        self.norm = AdaptiveNorm(dim, dim)
        self.to_pixels = nn.Linear(dim, size)
        self.to_motion = nn.Linear(dim, 2) if moved else None
        for layer in filter(None, (self.to_pixels, self.to_motion)):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        known = cond["known"].to(x)
        given = known[:, None, :, None, None] > 0
        x = torch.where(given, cond["context"].to(x), x)
        tokens, told = self.tokens(x, t, known, cond.get("label"))
        own = tokens[:, :, : tokens.shape[2] - len(self.registers)].flatten(1, 2)
        own = self.norm(own, told)[0]
        out = self.patches.inverse(self.to_pixels(own), x.shape[2:]).to(x)
        if self.to_motion is not None:
            out = out + self._moved(x, known, self.to_motion(own))
        return torch.where(given, x, out)

    def _moved(self, x: Tensor, known: Tensor, motion: Tensor) -> Tensor:
        """The last known frame of each clip, 0 where none is, moved [B, C, T, H, W] at the speed that is said for each
        patch: [B, P, 2], columns and rows in pixels a frame."""
        frames, rows, columns = self.patches.grid(x.shape[2:])
        batch, _, count, height, width = x.shape
        speed = motion.view(batch * frames, rows, columns, 2).permute(0, 3, 1, 2).float()
        speed = F.interpolate(speed, (height, width), mode="bilinear", align_corners=False).permute(0, 2, 3, 1)
        speed = speed.repeat_interleave(count // frames, dim=0)
        last = (known.sum(1).long() - 1).clamp(min=0)
        age = torch.arange(count, device=x.device) - last[:, None]
        by = speed * age.view(-1, 1, 1, 1) * speed.new_tensor((2 / width, 2 / height))  # of pictures from -1 to 1
        y, z = ((torch.arange(n, device=x.device) * 2 + 1) / n - 1 for n in (height, width))
        place = torch.stack(torch.meshgrid(z, y, indexing="xy"), dim=-1)
        frame = x[torch.arange(batch, device=x.device), :, last].repeat_interleave(count, dim=0)
        moved = F.grid_sample(frame.float(), place - by, padding_mode="border", align_corners=False)
        told = (known[:, 0] > 0).to(x).view(-1, 1, 1, 1, 1)
        return told * moved.unflatten(0, (batch, count)).transpose(1, 2).to(x)

    def tokens(self, x: Tensor, t: Tensor, known: Tensor, label: Tensor | None) -> tuple[Tensor, Tensor]:
        """What the blocks make of clips [B, C, T, H, W] at times [B]: [B, F, S and registers, D]; and what they were
        told, [B, D]."""
        told = self.to_cond(self.time(t[:, None]))
        if self.label is not None:
            told = told + self.label(label)
        frames, rows, columns = self.patches.grid(x.shape[2:])
        known_bfp = known.unflatten(1, (frames, -1))
        tokens = self.to_token(self.patches(x)).unflatten(1, (frames, -1))
        tokens = tokens + self.place + self.to_known(known_bfp)[:, :, None]
        registers = self.registers.expand(*tokens.shape[:2], -1, -1)
        tokens = torch.cat((tokens, registers.to(tokens)), dim=2)
        in_space = self.in_space(grid_positions((rows, columns), device=x.device))
        in_space = torch.cat((in_space, torch.ones_like(in_space[:1]).expand(len(self.registers), -1)))
        in_time = self.in_time(grid_positions((frames,), device=x.device))
        for block in self.blocks:
            tokens = block(tokens, cond=told, space_rotation=in_space, time_rotation=in_time)
        return tokens, told


class VideoCritic(nn.Module):
    """Clips [B, C, T, H, W] -> scores [B, S], one of every token of a `VideoNet`. Where it judges a flow whose network
    has the same measures, it begins with its weights: what is needed to clean a clip tells a true one (Lin et al. 2025,
    Seaweed-APT, sec. 3.2).

    spec: of `VideoData`. dim, depth, heads, patch, registers: as of `VideoNet`.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        dim: int = 128,
        depth: int = 4,
        heads: int = 4,
        patch: Sequence[int] = (4, 4, 4),
        registers: int = 4,
    ) -> None:
        super().__init__()
        self.classes = spec.classes
        self.net = VideoNet(spec, dim=dim, depth=depth, heads=heads, patch=patch, registers=registers)
        del self.net.to_pixels, self.net.norm
        self.to_score = nn.Linear(dim, 1)
        nn.init.zeros_(self.to_score.weight)
        nn.init.zeros_(self.to_score.bias)

    def adopt(self, model: nn.Module) -> None:
        """Takes the weights of the model's network where they fit."""
        theirs = model.net.state_dict() if isinstance(getattr(model, "net", None), VideoNet) else {}
        ours = self.net.state_dict()
        if all(name in theirs and theirs[name].shape == value.shape for name, value in ours.items()):
            self.net.load_state_dict({name: theirs[name] for name in ours})

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """label: [B]; None, or `classes`: any."""
        if label is None:
            label = torch.full((len(x),), self.classes, device=x.device)
        time, nothing = x.new_ones(len(x)), x.new_zeros(len(x), x.shape[2])
        tokens, _ = self.net.tokens(x, time, nothing, label)
        return self.to_score(layer_norm(tokens)).flatten(1)
