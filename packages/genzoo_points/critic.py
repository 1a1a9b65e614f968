"""What tells true shapes from made ones, for adversarial training.

Legend: B clouds, N points, F channels, C cells, R numbers of a cell, D features.
"""

import torch
from torch import Tensor, nn

from genzoo.contract import Spec
from genzoo_points.cells import SUMMARY, THICKNESS, split
from genzoo_points.net import CellReader


class CellCritic(nn.Module):
    """Clouds [B, N, F] -> scores [B, 2 C]: of each cell (`cells.split`) among all others, by its mean, its size
    along each axis and how it leans (all smooth, where `cells.summary` has no gradient for round cells), and of its
    points in these units, by what stands out most in them.

    spec: of the points. cells: a power of two that divides N. dim, depth, heads, patch: of the transformer of cells.
    """

    def __init__(
        self, spec: Spec, *, cells: int = 64, dim: int = 96, depth: int = 3, heads: int = 4, patch: int = 2
    ) -> None:
        super().__init__()
        if spec.vocab or len(spec.shape) != 2:
            raise ValueError("this critic looks at clouds of points: choose objective=adversarial")
        self.cells, self.classes = cells, spec.classes
        self.reader = CellReader(Spec((cells, SUMMARY)), dim=dim, depth=depth, heads=heads, patch=patch, out=dim)
        self.label = nn.Embedding(spec.classes + 1, dim) if spec.classes else None
        self.points = nn.Sequential(nn.Linear(3, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.to_scores = nn.ModuleList(nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, 1)) for _ in "12")
        for head in self.to_scores:
            nn.init.zeros_(head[-1].weight)
            nn.init.zeros_(head[-1].bias)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """label: [B]; None, or `classes`: any."""
        points_bckf = split(x, self.cells)[..., :3]
        mean = points_bckf.mean(dim=2, keepdim=True)
        centred = points_bckf - mean
        size = (centred.square().mean(dim=2, keepdim=True) + THICKNESS**2).sqrt()
        own = centred / size
        lean = torch.stack([(own[..., i] * own[..., j]).mean(2) for i, j in ((0, 1), (0, 2), (1, 2))], dim=-1)
        among = self.reader(torch.cat((mean[:, :, 0], size[:, :, 0], lean), dim=-1))
        if self.label is not None:
            label = torch.full((len(x),), self.classes, device=x.device) if label is None else label
            among = among + self.label(label)[:, None]
        alone = among + self.points(own).amax(dim=2)
        return torch.cat([head(h)[..., 0] for head, h in zip(self.to_scores, (among, alone), strict=True)], dim=1)
