"""A small classifier of clouds, trained on the real shapes to read generated ones.

Legend: B clouds, N points, F channels of a point, C width.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genzoo.draws import torch_generator
from genzoo.trained_once import trained_once
from genzoo_points.data import PointsData

VERSION = 1
"""Of the recipe: another one gives other scores."""

POINTS = 512
"""Points that it looks at."""

EPOCHS, BATCH = 30, 32


class PointClassifier(nn.Module):
    """Logits [B, classes] of clouds [B, N, F], whatever their points' number and order: features of every point, and
    their largest values (Qi et al. 2017, PointNet, without its transforms)."""

    def __init__(self, classes: int, dim: int = 128, *, channels: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Linear(channels, 64), nn.ReLU(), nn.Linear(64, dim), nn.ReLU(), nn.Linear(dim, 2 * dim)
        )
        self.head = nn.Sequential(nn.LayerNorm(2 * dim), nn.Linear(2 * dim, dim), nn.ReLU(), nn.Linear(dim, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).amax(dim=1))


def classifier(data: PointsData) -> PointClassifier:
    """Trained on the training split, or as it was kept in the cache folder for just this split."""
    told = (data.fingerprint("train"), data.points, data.seed, *data.mirror)

    def examples(step: int) -> tuple[Tensor, Tensor]:
        batch = data.batch(step, BATCH, "train")
        return thinned(batch.x, step), batch.cond["label"]

    return trained_once(
        f"points-classifier-{VERSION}",
        lambda: PointClassifier(len(data.classes)),
        lambda net: train(net, examples, max(200, EPOCHS * len(data.rows["train"]) // BATCH)),
        *told,
    )


def train(net: PointClassifier, examples: Callable[[int], tuple[Tensor, Tensor]], steps: int) -> None:
    """On examples(step): clouds [B, N, F] and labels [B]."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for step in range(steps):
        x, label = examples(step)
        loss = F.cross_entropy(net(x), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def thinned(x: Tensor, seed: int) -> Tensor:
    """At most `POINTS` points of clouds [B, N, 3 or more], the same places of each."""
    order = torch.randperm(x.shape[1], generator=torch_generator("classifier", seed))[:POINTS]
    return x[:, order, :3]


@torch.inference_mode()
def read(net: PointClassifier, x: Tensor) -> Tensor:
    """Labels [n] of clouds [n, N, 3 or more]."""
    return torch.cat([net(thinned(part, 0)).argmax(dim=1) for part in x.split(64)])
