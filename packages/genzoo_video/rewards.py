"""Rewards of clips, and what is watched beside them: functions (x [n, Z, F, R, S] in model space, data, cond) -> [n].

Legend: n samples, C channels, T frames, H, W pixels, of -1 to 1.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from genzoo.contract import part
from genzoo_video.data import VideoData

REFERENCE = 64
"""Real clips that a sample is compared with."""


@part
def motion(x: Tensor, data: VideoData, cond: Mapping[str, Tensor]) -> Tensor:
    """Mean change of a pixel from frame to frame."""
    pixels = data.pixels(x)
    return (pixels[:, :, 1:] - pixels[:, :, :-1]).abs().mean(dim=(1, 2, 3, 4))


@part
def centred(x: Tensor, data: VideoData, cond: Mapping[str, Tensor]) -> Tensor:
    """Minus the mean distance of the middle of what is bright from the middle of the picture, over half its height."""
    light = (data.pixels(x) + 1).clamp(min=0).mean(dim=1) + 1e-4
    high, wide = light.shape[2:]
    rows = torch.linspace(-1, 1, high, device=x.device)
    columns = torch.linspace(-1, 1, wide, device=x.device) * ((wide - 1) / (high - 1))
    total = light.sum(dim=(2, 3))
    down, right = (light.sum(3) @ rows) / total, (light.sum(2) @ columns) / total
    return -(down.square() + right.square() + 1e-8).sqrt().mean(dim=1)


@part
def plausible(x: Tensor, data: VideoData, cond: Mapping[str, Tensor]) -> Tensor:
    """Of glyphs, how well a tracker finds them in every frame: the mean cosine of the frames with glyphs painted where
    it found them. Of other clips, minus the root mean squared difference from the nearest of some real ones."""
    pixels = data.pixels(x.detach()).cpu().float()
    if data.path == "glyphs":
        from genzoo_video.tracking import track

        fit = track(((pixels[:, 0] + 1) / 2).clamp(0, 1), data.embedded["glyphs"]).fit.mean(dim=1)
        return fit.to(x.device)
    real = data.pixels(data.real("val", REFERENCE).x).flatten(1)
    return -torch.cdist(pixels.flatten(1), real).amin(dim=1).to(x.device) / real.shape[1] ** 0.5
