"""The weights that come with the package do what their card says."""

from pathlib import Path

import torch

import genzoo
import genzoo_video
from genzoo_video.tracking import physics, track

FILE = Path(genzoo_video.__file__).parent / "weights" / "video" / "model.safetensors"


def test_glyphs():
    """Twenty samples, two of each glyph: the one that was asked for is tracked, and moves as glyphs do."""
    assert FILE.stat().st_size < 8e6
    model = genzoo.load(FILE)
    with torch.inference_mode():
        x = (model.sample(20, seed=5).x[:, 0] + 1).div(2).clamp(0, 1)
    assert (track(x).labels(1) == torch.arange(20) % 10).double().mean() >= 0.9
    found = physics(x)
    assert found["identity_kept"] >= 0.85
    assert found["residual_px"] <= 1.5
    assert found["fit"] > 0.95
