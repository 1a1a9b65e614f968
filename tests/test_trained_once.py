"""Networks that scores need: trained once, and never where they are at hand."""

import pytest
import torch
from torch import nn

from genzoo import sealed
from genzoo import trained_once as module
from genzoo.draws import seed_of


@pytest.fixture
def places(tmp_path, monkeypatch):
    """An empty cache folder, and the folder of weights that come with a package."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "weights").mkdir()
    monkeypatch.setattr(module, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(module, "shipped", lambda: {"shapes": tmp_path / "weights"})
    return tmp_path


def made(trainings: list[int], value: float = 7.0, told: str = "this split") -> nn.Linear:
    def train(net: nn.Linear) -> None:
        trainings.append(1)
        nn.init.constant_(net.weight, value)

    return module.trained_once("reader-1", lambda: nn.Linear(2, 2), train, told)


def test_it_is_trained_once(places):
    """A second time it is read; what it depends on, or a damaged file, asks for another training."""
    trainings: list[int] = []
    assert torch.equal(made(trainings).weight, made(trainings, value=8.0).weight)
    assert len(trainings) == 1
    made(trainings, told="another split")
    assert len(trainings) == 2
    file = next(
        path for path in (places / "cache").iterdir() if path.name.endswith(f"{seed_of('this split'):016x}.safetensors")
    )
    file.write_bytes(file.read_bytes()[:40])
    assert made(trainings, value=9.0).weight.eq(9).all()
    assert len(trainings) == 3


def test_it_may_come_with_the_weights(places):
    """Beside weights of a package it is found too, and nothing is written."""
    there = {"weight": torch.full((2, 2), 5.0), "bias": torch.zeros(2)}
    kept = places / "weights" / f"reader-1-{seed_of('this split'):016x}.safetensors"
    kept.write_bytes(sealed.seal(there))
    trainings: list[int] = []
    assert torch.equal(made(trainings).weight, there["weight"])
    assert not trainings
    assert not any((places / "cache").iterdir())
