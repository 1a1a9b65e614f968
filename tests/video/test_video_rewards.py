"""Rewards of clips: bars and dots that move by known pixels, glyphs that are there and glyphs that are not.

Legend: n samples, C channels, T frames, H, W pixels, of -1 (dark) to 1 (bright).
"""

import math
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from genzoo_video import rewards
from genzoo_video.data import VideoData
from genzoo_video.latents import Pixels

PLAIN = SimpleNamespace(pixels=lambda x: x)
"""All that motion and centred ask of their data."""


def bar(*, step: int, wide: int = 4, frames: int = 4, size: int = 16, light: float = 1.0) -> Tensor:
    """[C, T, H, W]: a column of `wide` pixels that moves `step` to the right each frame."""
    x = torch.full((1, frames, size, size), -1.0)
    for t in range(frames):
        x[:, t, :, 1 + t * step : 1 + t * step + wide] = light
    return x


def dot(*places: tuple[int, int], high: int = 17, wide: int = 17, light: float = 1e6) -> Tensor:
    """[C, T, H, W]: a pixel at a place (row, column) of each frame, so bright that there is nothing beside it."""
    x = torch.full((1, len(places), high, wide), -1.0)
    for t, (row, column) in enumerate(places):
        x[:, t, row, column] = light
    return x


# Motion


@pytest.mark.parametrize(("step", "wide"), [(0, 4), (1, 4), (3, 4), (2, 2), (4, 2)])
def test_motion_of_a_bar(step, wide):
    """Each step turns as many columns bright as it goes, at most the bar's own, and as many dark: each by 2."""
    want = 2 * 2 * min(step, wide) / 16
    assert rewards.motion(bar(step=step, wide=wide)[None], PLAIN, {}).item() == pytest.approx(want)


def test_motion_is_in_order():
    """Half as bright, half as much; a mean over channels; a clip that stands for half its time, half."""
    x = bar(step=2)
    still = torch.cat((x[:, :3], x[:, 2:3], x[:, 2:3]), dim=1)
    clips = [x[:, [0, 1, 2, 3, 3]], still, still * 0 + 0.3]
    assert rewards.motion(torch.stack(clips), PLAIN, {}).tolist() == pytest.approx([3 / 8, 1 / 4, 0], abs=1e-6)
    dim = bar(step=2, light=0.0)
    assert rewards.motion(dim[None], PLAIN, {}).item() == pytest.approx(0.25)
    coloured = torch.cat((x, x[:, :1].expand_as(x), x), dim=0)
    assert rewards.motion(coloured[None], PLAIN, {}).item() == pytest.approx(2 / 3 * 0.5)


def test_gradient_of_motion():
    """Of a pixel that brightens: more at the end, less at the beginning, by one over all differences; and what stands
    is finite."""
    x = torch.zeros(1, 1, 3, 4, 4)
    x[:, :, :, 1, 2] = torch.tensor([0.0, 0.2, 0.5])
    x.requires_grad_()
    (slope,) = torch.autograd.grad(rewards.motion(x, PLAIN, {}).sum(), x)
    assert slope[0, 0, :, 1, 2].tolist() == pytest.approx([-1 / 32, 0, 1 / 32])
    assert slope.isfinite().all()
    assert slope.count_nonzero() == 2


# The middle


def test_distance_from_the_middle():
    """Of a dot: rows and columns from the middle over half a side; its mean over the frames."""
    clips = [dot((8, 8)), dot((0, 8)), dot((8, 16)), dot((4, 5)), dot((0, 0))]
    want = [0, 1, 1, math.hypot(4, 3) / 8, math.sqrt(2)]
    found = rewards.centred(torch.stack(clips), PLAIN, {})
    assert found.tolist() == pytest.approx([-x for x in want], abs=1e-3)
    assert rewards.centred(dot((8, 8), (0, 8), (4, 8))[None], PLAIN, {}).item() == pytest.approx(-0.5, abs=1e-3)


def test_distance_in_an_oblong_picture():
    """In halves of the height, down and to the right alike: 4 pixels are 4 pixels."""
    clips = torch.stack([dot((8, 20), high=17, wide=33), dot((4, 16), high=17, wide=33)])
    assert rewards.centred(clips, PLAIN, {}).tolist() == pytest.approx([-0.5, -0.5], abs=1e-3)


def test_middle_of_two():
    """Two dots are where their middle is, each as much as it is bright."""
    both = (dot((8, 0)) + dot((8, 16)) + 1)[None]
    assert rewards.centred(both, PLAIN, {}).item() == pytest.approx(0, abs=1e-3)
    uneven = (dot((8, 0), light=1e6) + dot((8, 16), light=3e6) + 1)[None]
    assert rewards.centred(uneven, PLAIN, {}).item() == pytest.approx(-0.5, abs=1e-3)


def test_gradient_of_centred():
    """A dot in the upper left: brightness below and to the right of it is worth something, above and to the left less
    than nothing; along the gradient the reward rises."""
    x = dot((4, 4), light=1.0)[None].clamp(max=1).requires_grad_()
    found = rewards.centred(x, PLAIN, {})
    (slope,) = torch.autograd.grad(found.sum(), x)
    assert slope.isfinite().all()
    assert slope[0, 0, 0, 12, 12] > 0 > slope[0, 0, 0, 0, 0]
    with torch.no_grad():
        assert rewards.centred(x + 0.01 * slope / slope.norm(), PLAIN, {}) > found


@pytest.mark.parametrize("light", [-1.0, -3.0, 0.0, 1.0])
def test_clips_of_one_colour(light):
    """Nothing moves, all is in the middle; finite slopes, and darker than dark is dark."""
    x = torch.full((2, 1, 2, 16, 16), light, requires_grad=True)
    assert rewards.motion(x, PLAIN, {}).tolist() == [0, 0]
    found = rewards.centred(x, PLAIN, {})
    assert found.tolist() == pytest.approx([0, 0], abs=1e-3)
    for reward in (rewards.motion(x, PLAIN, {}), found):
        assert torch.autograd.grad(reward.sum(), x)[0].isfinite().all()


# What is plausible


@cache
def glyphs() -> VideoData:
    data = VideoData(size=[32, 32], frames=4, embedded={"clips": 20})
    data.prepare()
    return data


def test_plausible_glyphs():
    """Real ones are found in every frame; in noise there are less; gone in half of the frames is half; nothing is
    none."""
    real = glyphs().real("val", 2).x
    half = real.clone()
    half[:, :, :2] = -1
    noise = torch.rand(real.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    dark = torch.full_like(real, -1)
    found = [rewards.plausible(x, glyphs(), {}) for x in (real, half, noise, dark)]
    assert found[0].min() > 0.99
    torch.testing.assert_close(found[1], found[0] / 2, atol=0.01, rtol=0)
    assert 0.1 < found[2].mean() < 0.9
    assert found[3].tolist() == [0, 0]
    assert rewards.plausible(torch.ones_like(real), glyphs(), {}).isfinite().all()


def test_plausible_clips():
    """Of other clips: the root mean square from the nearest real one; d where each pixel is d off."""
    rng = np.random.default_rng(0)
    real = torch.from_numpy(rng.uniform(-0.5, 0.5, (3, 1, 4, 8, 8)).astype(np.float32))
    asked = []

    def some(split: str, n: int) -> SimpleNamespace:
        asked.append((split, n))
        return SimpleNamespace(x=real)

    data = SimpleNamespace(path="films/", pixels=Pixels().decode, real=some)
    clips = torch.stack((real[1], real[2] + 0.01, real[0] - 0.1, torch.full_like(real[0], 5.0)))
    found = rewards.plausible(clips, data, {}).tolist()
    assert found[:3] == pytest.approx([0, -0.01, -0.1], abs=1e-4)
    assert found[3] == pytest.approx(-min((5 - x).square().mean().sqrt().item() for x in real), rel=1e-4)
    assert asked == [("val", rewards.REFERENCE)]


def test_an_autoencoder_is_refused(refused, smoke_run_of):
    """It gives back what it is given: there is nothing to reward."""
    words = ["objective=reward", "reward=motion", f"init={smoke_run_of('video_autoencoder')}", "data.size=[16,16]"]
    words += ["data.frames=4", "data.known=4", "data.embedded={glyphs: 1, clips: 100}", "model.patch=[2,4,4]"]
    line = refused(
        "train", "video_autoencoder", *words, "model.latent=4", "model.dim=32", "model.depth=1", "model.heads=2"
    )
    assert "objective=reward needs a model with a likelihood, or a flow; this one only gives back what it is" in line
    assert line.endswith("choose objective=native")
