"""Rewards of clouds and of clouds that move, and what is watched beside them: functions (x, data, cond) -> [n].

Legend: n samples, N points, T frames, F channels (x, y, z and what follows). Lengths are in the model's units, in which
a shape fills the unit sphere.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from genzoo.contract import part
from genzoo.errors import UserError
from genzoo_points.data import PointsData
from genzoo_points.distances import nearest, pairwise_chamfer
from genzoo_points.motion.data import MotionData

LOOKED_AT = 512
"""Points of a cloud, at most."""

REFERENCE = 48
"""Real shapes that a sample is compared with."""

FEET = 0.05
"""Share of the points that a shape stands on: the lowest."""

NEIGHBOURS = 4


def some(x: Tensor) -> Tensor:
    """At most `LOOKED_AT` points of clouds [n, N, F], evenly from the whole: [n, N', 3]."""
    return x[:, :: -(-x.shape[1] // LOOKED_AT), :3]


@part
def symmetric(x: Tensor, data: PointsData, cond: Mapping[str, Tensor], *, axis: str = "y") -> Tensor:
    """Minus the mean distance from the mirror image of each point to the nearest point, mirrored along an axis through
    the middle of the cloud."""
    if axis not in ("x", "y", "z"):
        raise UserError(f"reward.function.axis is x, y or z, not {axis!r}")
    x = some(x)
    centred = x - x.mean(dim=1, keepdim=True)
    turn = torch.ones(3, device=x.device).index_fill(0, torch.tensor("xyz".index(axis), device=x.device), -1)
    squared = nearest(centred * turn, centred)[0][..., 0]
    return -(squared + 1e-8).sqrt().mean(dim=1)


@part
def balanced(x: Tensor, data: PointsData, cond: Mapping[str, Tensor]) -> Tensor:
    """Minus the horizontal distance of the middle of a shape from that of what it stands on, its lowest points."""
    flat, up = planes(x, data)
    feet = up.topk(standing(x.shape[1]), dim=1, largest=False).indices
    stands_on = flat.gather(1, feet[..., None].expand(-1, -1, 2)).mean(dim=1)
    return -((flat.mean(dim=1) - stands_on).square().sum(dim=1) + 1e-8).sqrt()


@part
def stands(x: Tensor, data: PointsData, cond: Mapping[str, Tensor]) -> Tensor:
    """1 where the middle of a shape lies above the convex hull of its lowest points, so that it does not fall, else
    0."""
    from scipy.spatial import ConvexHull, QhullError

    flat, up = planes(x, data)
    found = []
    for places, heights in zip(flat.cpu().double(), up.cpu(), strict=True):
        feet = places[heights.topk(standing(len(heights)), largest=False).indices].numpy()
        try:
            hull = ConvexHull(feet).equations
        except QhullError:  # they lie on a line, or are fewer than three
            found.append(0.0)
            continue
        found.append(float((hull[:, :2] @ places.mean(dim=0).numpy() + hull[:, 2] <= 0).all()))
    return torch.tensor(found, device=x.device)


def standing(points: int) -> int:
    """How many of the points of a shape it stands on."""
    return min(points, max(4, round(FEET * points)))


def planes(x: Tensor, data: PointsData) -> tuple[Tensor, Tensor]:
    """Horizontal places [n, N, 2] and heights [n, N]."""
    up = "xyz".index(data.fitted["up"])
    return x[..., [i for i in range(3) if i != up]], x[..., up]


@part
def near_real(x: Tensor, data: PointsData, cond: Mapping[str, Tensor]) -> Tensor:
    """Minus the Chamfer distance to the nearest of some shapes of the validation split."""
    reference = data.reference(REFERENCE, "val")
    return -pairwise_chamfer(some(x.detach()).cpu(), some(reference)).amin(dim=1).float().to(x.device)


@part
def speed(x: Tensor, data: MotionData, cond: Mapping[str, Tensor]) -> Tensor:
    """Mean speed of the points of [n, T, N, 3], in the model's units a second."""
    moved = (x[:, 1:] - x[:, :-1]).square().sum(dim=-1)
    return (moved + 1e-12).sqrt().mean(dim=(1, 2)) * data.fitted["rate_hz"]


@part
def rise(x: Tensor, data: MotionData, cond: Mapping[str, Tensor]) -> Tensor:
    """How much higher the middle of a body is in its highest frame than in the first."""
    height = x[..., "xyz".index(data.fitted["up"])].mean(dim=2)
    return height.amax(dim=1) - height[:, 0]


@part
def holds_together(x: Tensor, data: MotionData, cond: Mapping[str, Tensor]) -> Tensor:
    """Minus how much the distances of points from their neighbours of the first frame change in time: their standard
    deviation over their mean."""
    index = nearest(x[:, 0].detach(), x[:, 0].detach(), k=min(NEIGHBOURS + 1, x.shape[2]))[1][..., 1:]
    rows = torch.arange(len(x), device=x.device).view(-1, 1, 1)
    lengths = torch.stack([(frame[:, :, None] - frame[rows, index]).norm(dim=-1) for frame in x.unbind(1)], dim=1)
    return -(lengths.std(dim=1) / lengths.mean(dim=1).clamp(min=1e-6)).mean(dim=(1, 2))
