"""A small network that reads clips, trained on the real ones, to score generated ones.

Legend: B, n clips, C channels, T frames, H, W pixels, D features, K classes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genzoo.draws import numpy_generator, torch_generator
from genzoo.trained_once import trained_once
from genzoo_video.data import VideoData

VERSION = 1
"""Of the recipe: another one gives other scores."""

EPOCHS, BATCH, STEPS = 8, 32, (60, 600)
"""Steps are as many as the epochs take, but at least and at most so many."""

FEATURES = 64

CHANGES = ("none", "frames out of order", "still", "of two clips", "shaken")
"""What may have been done to a clip: to tell them apart, features must know how things move."""


class ClipReader(nn.Module):
    """Clips [B, C, T, H, W] in [-1, 1] -> features [B, D]: convolutions over space and time, their means and largest
    values. `labels` and `changes` read the features."""

    def __init__(self, channels: int, classes: int, dim: int = 16) -> None:
        super().__init__()

        def stage(inputs: int, outputs: int, stride: tuple[int, int, int]) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv3d(inputs, outputs, 3, stride, padding=1), nn.GroupNorm(4, outputs), nn.ReLU(inplace=True)
            )

        self.stages = nn.Sequential(
            nn.Conv3d(channels, dim, (1, 4, 4), (1, 2, 2), padding=(0, 1, 1)),
            nn.ReLU(inplace=True),
            stage(dim, 2 * dim, (1, 2, 2)),
            stage(2 * dim, 4 * dim, (2, 2, 2)),
            stage(4 * dim, 4 * dim, (2, 1, 1)),
        )
        self.to_features = nn.Sequential(nn.Linear(8 * dim, FEATURES), nn.LayerNorm(FEATURES, elementwise_affine=False))
        self.labels = nn.Linear(FEATURES, classes) if classes else None
        self.changes = nn.Linear(FEATURES, len(CHANGES))

    def forward(self, x: Tensor) -> Tensor:
        h = self.stages(x).flatten(2)
        return self.to_features(torch.cat((h.mean(-1), h.amax(-1)), dim=1))


def clip_reader(data: VideoData) -> ClipReader:
    """Trained on the training split to read labels, and what was done to a clip; kept in the cache folder."""
    channels = data.fitted["size"][2]
    return trained_once(
        f"video-classifier-{VERSION}",
        lambda: ClipReader(channels, len(data.classes)),
        lambda net: train(net, data),
        data.fingerprint("train"),
        data.seed,
    )


def train(net: ClipReader, data: VideoData) -> None:
    steps = min(max(STEPS[0], EPOCHS * len(data.windows["train"]) // BATCH), STEPS[1])
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for step in range(steps):
        batch = data.batch(step, BATCH, "train")
        change = torch.from_numpy(numpy_generator("changes", step).integers(len(CHANGES), size=BATCH))
        features = net(changed(data.pixels(batch.x), change, step))
        loss = F.cross_entropy(net.changes(features), change)
        if net.labels is not None:
            whole = change != CHANGES.index("of two clips")
            loss = loss + F.cross_entropy(net.labels(features[whole]), batch.cond["label"][whole])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def changed(x: Tensor, change: Tensor, seed: int) -> Tensor:
    """Clips [B, C, T, H, W] after what `change` [B] says was done to each (places in `CHANGES`), in faint noise."""
    draw = torch_generator("changed", seed)
    frames, out = x.shape[2], []
    for i, (clip, what) in enumerate(zip(x, change.tolist(), strict=True)):
        if what == 1:
            clip = clip[:, torch.randperm(frames, generator=draw)]
        elif what == 2:
            clip = clip[:, :1].expand_as(clip)
        elif what == 3:
            other, cut = x[(i + 1) % len(x)], frames // 4 + int(torch.randint(frames // 2, (), generator=draw))
            clip = torch.cat((clip[:, :cut], other[:, cut:]), dim=1)
        elif what == 4:
            by = torch.randint(-2, 3, (frames, 2), generator=draw).tolist()
            clip = torch.stack([clip[:, t].roll(shift, (-2, -1)) for t, shift in enumerate(by)], dim=1)
        out.append(clip)
    return torch.stack(out) + 0.02 * torch.randn(x.shape, generator=draw)


@torch.inference_mode()
def features_of(net: nn.Module, x: Tensor) -> Tensor:
    """[n, D] of clips [n, C, T, H, W]."""
    return torch.cat([net(part) for part in x.split(BATCH)]).float().cpu()


@torch.inference_mode()
def labels_of(net: ClipReader, x: Tensor) -> Tensor:
    """Labels [n] that are read in clips [n, C, T, H, W]."""
    return net.labels(features_of(net, x)).argmax(dim=1)
