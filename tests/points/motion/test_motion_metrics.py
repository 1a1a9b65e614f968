"""Scores of motions: closed forms, and sets of which it is known how like they are."""

import math

import pytest
import torch

from genzoo_points.distances import pairwise_chamfer
from genzoo_points.motion.data import MotionData
from genzoo_points.motion.metrics import (
    acceleration,
    acceleration_error,
    continuation,
    quantile_distance,
    score,
    to_nearest,
)

SMALL = {"frames": 8, "past": 4, "points": 64, "dense": 64, "embedded": {"sequences": 8, "frames": 24}}


@pytest.fixture(scope="module")
def data() -> MotionData:
    made = MotionData(**SMALL, val_fraction=0.25)
    made.prepare()
    return made


def falling(n: int, g: float, frames: int = 8) -> torch.Tensor:
    """Points that fall: accelerations are g everywhere."""
    t = torch.arange(frames, dtype=torch.float64)
    x = torch.randn(n, 1, 16, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x + 0.3 * t.view(1, -1, 1, 1) + 0.5 * g * (t**2).view(1, -1, 1, 1) * torch.tensor([0.0, 0, 1])


def test_acceleration_of_what_falls():
    x = falling(2, 0.25)
    assert acceleration(x).shape == (2, 6, 16)
    assert torch.allclose(acceleration(x), torch.full((2, 6, 16), 0.25, dtype=torch.float64))


def test_quantile_distance():
    """0 for equal laws in any order; the shift of a shifted law; 1/4 between the uniform and its middle."""
    x = torch.linspace(0, 1, 4001)
    assert quantile_distance(x, x.flip(0)) == 0
    assert quantile_distance(x, x + 0.3) == pytest.approx(0.3)
    assert quantile_distance(x, torch.full_like(x, 0.5)) == pytest.approx(0.25, abs=1e-3)


def test_acceleration_error():
    """0 for the same set; the difference of two that fall; the mean acceleration for what stands still; labels are
    compared each with its own, whatever the mean of all is."""
    slow, fast = falling(4, 0.1), falling(4, 0.3)
    assert acceleration_error(slow, slow) == 0
    assert acceleration_error(slow, fast) == pytest.approx(0.2)
    assert acceleration_error(slow[:, :1].expand_as(slow), fast) == pytest.approx(0.3)
    labels = torch.arange(2).repeat_interleave(4)
    right, wrong = torch.cat((slow, fast)), torch.cat((fast, slow))
    assert acceleration_error(wrong, right) == pytest.approx(0)
    assert acceleration_error(wrong, right, (labels, labels)) == pytest.approx(0.2)
    assert acceleration_error(wrong[:4], right, (labels[4:], labels)) == pytest.approx(0)


def test_all_alike_is_seen():
    """A set whose every point has the right mean acceleration is not a set with the right law."""
    fast = torch.cat([falling(1, g) for g in (0.1, 0.2, 0.3)])
    assert acceleration_error(falling(3, 0.2), fast) == pytest.approx(0.2 / 3, rel=0.02)


def test_real_sequences_score_as_real(data):
    """Training sequences as samples: as near as real ones are; frozen, jittering and torn ones are not."""
    samples, labels = data.reference(12, "train", turn=1)
    scores = score(data, samples, labels, "val", cd_frames=3, cd_train=36)
    assert 0.2 < scores["acceleration"]["samples_over_real"] < 3
    assert 0 < scores["chamfer"]["samples_over_real"] < 1.5
    assert scores["acceleration"]["frozen"] > 2 * scores["acceleration"]["real"]
    assert set(scores["acceleration"]["by_class"]) == set(data.classes)
    each = [error["samples"] for error in scores["acceleration"]["by_class"].values()]
    assert sum(each) / len(each) == pytest.approx(scores["acceleration"]["samples"])
    noise = 0.05 * torch.randn(samples.shape, generator=torch.Generator().manual_seed(1))
    shaken = score(data, samples + noise, labels, "val", cd_frames=3, cd_train=36)
    assert shaken["acceleration"]["samples_over_real"] > 3
    torn = samples + 5 * noise[:, :1]
    wrong = score(data, torn, labels, "val", cd_frames=3, cd_train=36)
    assert wrong["chamfer"]["samples_over_real"] > 3
    assert wrong["acceleration"]["samples"] == pytest.approx(scores["acceleration"]["samples"], rel=1e-3)
    still = score(data, samples[:, :1].expand_as(samples), labels, "val", cd_frames=0, cd_train=0)
    assert "chamfer" not in still
    assert still["acceleration"]["samples"] == pytest.approx(still["acceleration"]["frozen"])


def test_the_nearest_is_found(data):
    """The same as by all pairs, and 0 for a cloud that is among them."""
    pool = data.reference(40, "train")[0][:, 0]
    x = data.reference(12, "val")[0][:, 3]
    torch.testing.assert_close(to_nearest(x, pool), pairwise_chamfer(x, pool).amin(dim=1), rtol=0.02, atol=0)
    assert to_nearest(pool[3:4], pool) == 0


def test_continuation_beside_simple_guesses(data):
    """The truth scores 0; holding the last frame scores what "held" says; labels are not told."""
    told, seen = {}, []

    def held(cond, seed):
        told.update(cond if cond["known"].any() and not told else {})
        return cond["past"][:, -1:].expand(-1, 8, -1, -1)

    def true(cond, seed):
        found = [data.example(at, "val", "continuation", int(at)) for at in data.rows["val"]]
        seen.append(torch.equal(torch.stack([past for _, past in found]), cond["past"]))
        return torch.stack([x for x, _ in found])

    every = len(data.rows["val"])
    right = continuation(data, true, "val", every)["told"]
    assert seen == [True, False, False], "told, told nothing, told another's"
    assert (right["distance"], right["chamfer"], right["acceleration"]) == (0, 0, 0)
    scores = continuation(data, held, "val", 6)
    assert scores["told"] == scores["held"]
    assert scores["held"]["distance_at"]["1"] < scores["held"]["distance_at"]["4"]
    assert scores["constant_velocity"]["distance_at"]["1"] < scores["held"]["distance_at"]["1"]
    assert scores["told_over_best"] >= 1
    assert scores["swapped"]["distance"] > scores["told"]["distance"]
    assert (told["label"] == len(data.classes)).all()
    assert (told["known"] == 4).all()
    assert math.isfinite(scores["constant_velocity"]["chamfer"])
