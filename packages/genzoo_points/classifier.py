"""A small classifier of clouds, trained on the real shapes to read generated ones.

Legend: B clouds, N points, C width.
"""

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genzoo.checkpoint import replace
from genzoo.download import cache_folder
from genzoo.draws import seed_of, torch_generator

if TYPE_CHECKING:
    from genzoo_points.data import PointsData

VERSION = 1
"""Of the recipe: another one gives other scores."""

POINTS = 512
"""Points that it looks at."""

EPOCHS, BATCH = 30, 32


class PointClassifier(nn.Module):
    """Logits [B, classes] of clouds [B, N, 3], whatever their points' number and order: features of every point, and
    their largest values (Qi et al. 2017, PointNet, without its transforms)."""

    def __init__(self, classes: int, dim: int = 128) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Linear(3, 64), nn.ReLU(), nn.Linear(64, dim), nn.ReLU(), nn.Linear(dim, 2 * dim)
        )
        self.head = nn.Sequential(nn.LayerNorm(2 * dim), nn.Linear(2 * dim, dim), nn.ReLU(), nn.Linear(dim, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).amax(dim=1))


def classifier(data: "PointsData") -> PointClassifier:
    """Trained on the training split, or as it was kept in the cache folder for just this split."""
    from safetensors.torch import load_file, save

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = PointClassifier(len(data.classes))
    told = seed_of(data.fingerprint("train"), data.points, data.seed, *data.mirror)
    file = cache_folder() / f"points-classifier-{VERSION}-{told:016x}.safetensors"
    if file.is_file():
        with suppress(Exception):  # a damaged file is made anew
            net.load_state_dict(load_file(file))
            return net.eval()
    print(f"training a classifier of {len(data.classes)} classes, kept in {file}", file=sys.stderr)
    places = len(data.rows["train"])
    steps = max(200, EPOCHS * places // BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    with torch.enable_grad():
        for step in range(steps):
            batch = data.batch(step, BATCH, "train")
            x = thinned(batch.x, step)
            loss = F.cross_entropy(net(x), batch.cond["label"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    with suppress(OSError):  # where nothing can be kept, it is trained again
        file.parent.mkdir(parents=True, exist_ok=True)
        replace(file, save(net.state_dict()))
    return net.eval()


def thinned(x: Tensor, seed: int) -> Tensor:
    """At most `POINTS` points of clouds [B, N, 3 or more], the same places of each."""
    order = torch.randperm(x.shape[1], generator=torch_generator("classifier", seed))[:POINTS]
    return x[:, order, :3]


@torch.inference_mode()
def read(net: PointClassifier, x: Tensor) -> Tensor:
    """Labels [n] of clouds [n, N, 3 or more]."""
    return torch.cat([net(thinned(part, 0)).argmax(dim=1) for part in x.split(64)])
