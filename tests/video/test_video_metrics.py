"""Scores of clips, against closed forms and second implementations."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from genzoo.errors import UserError
from genzoo_video import classifier, metrics
from genzoo_video.classifier import CHANGES, changed, clip_reader
from genzoo_video.data import VideoData


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Small embedded clips, and a classifier of them trained for a few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(classifier, "STEPS", (150, 150))
        data = VideoData(size=[16, 16], frames=8, known=4, embedded={"clips": 1000})
        data.prepare()
        yield data


def ssim_of(x: np.ndarray, y: np.ndarray) -> float:
    """By SciPy's Gaussian filter, cut off where ours is, with what touches the edge left out."""

    def local(z: np.ndarray) -> np.ndarray:
        return gaussian_filter(z, 1.5, truncate=5 / 1.5)[5:-5, 5:-5]

    mx, my = local(x), local(y)
    vx, vy, cov = local(x * x) - mx**2, local(y * y) - my**2, local(x * y) - mx * my
    top = (2 * mx * my + 1e-4) * (2 * cov + 9e-4)
    return float((top / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))).mean())


def test_ssim():
    """1 of itself, as a second implementation has it of others, and less the more noise there is."""
    rng = np.random.default_rng(0)
    x = gaussian_filter(rng.random((24, 20)), 1)
    x = (x - x.min()) / np.ptp(x)
    previous = 1.0
    for noise in (0.0, 0.02, 0.1, 0.4):
        y = (x + noise * rng.standard_normal(x.shape)).clip(0, 1)
        found = metrics.ssim(torch.from_numpy(x)[None, None], torch.from_numpy(y)[None, None]).item()
        assert found == pytest.approx(ssim_of(x, y), abs=1e-9)
        assert found <= previous
        previous = found
    assert previous < 0.5


def test_errors():
    """Of clips that are everywhere 0.1 too light: 20 dB; in [-1, 1] that is 0.2."""
    truth = torch.rand(3, 1, 5, 12, 12, generator=torch.Generator().manual_seed(0)) * 1.6 - 1
    found = metrics.errors(truth + 0.2, truth)
    assert found["mse"] == pytest.approx(0.01, rel=1e-5)
    assert found["psnr_db"] == pytest.approx(20, abs=1e-4)
    assert len(found["mse_by_frame"]) == 5
    worse = truth.clone()
    worse[:, :, 3] += 0.2
    found = metrics.errors(worse, truth)
    assert found["mse_by_frame"] == pytest.approx([0, 0, 0, 0.01, 0], abs=1e-8)
    assert found["psnr_db_by_frame"][0] == 100
    assert found["ssim_by_frame"][0] == pytest.approx(1)


def test_real_clips_are_nearer_than_others(data):
    """The distance of real clips from real clips is small; of still ones, shuffled ones and noise it is larger."""
    real = data.real("train", 100).x
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    found = {
        name: metrics.video_distance(data, x, "val")["frechet"]["samples"]
        for name, x in {
            "real": real,
            "still": real[:, :, :1].expand_as(real),
            "shuffled": real[:, :, order],
            "noise": torch.randn(real.shape, generator=torch.Generator().manual_seed(2)),
        }.items()
    }
    assert found["real"] == pytest.approx(metrics.video_distance(data, real, "val")["frechet"]["real"])
    assert found["real"] < min(found["still"], found["shuffled"], found["noise"])


def test_a_network_of_the_users(data, tmp_path):
    """TorchScript: the distance is then that of its features, here of means of frames."""

    class Means(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean(dim=(1, 3, 4))

    with pytest.warns(DeprecationWarning, match="jit"):
        torch.jit.script(Means()).save(str(tmp_path / "net.pt"))
    samples = data.real("train", 20).x
    found = metrics.video_distance(data, samples, "val", features=str(tmp_path / "net.pt"))
    from genzoo.metrics import frechet_distance

    means = [x.mean((1, 3, 4)) for x in (samples, data.real("val", 20).x)]
    assert found["frechet"]["samples"] == pytest.approx(frechet_distance(*means), rel=1e-4)
    assert found["protocol"]["frechet"]["features"].startswith("net.pt, sha256 ")


def test_wrong_networks(data, tmp_path):
    (tmp_path / "text.pt").write_text("no network")
    with pytest.raises(UserError, match=r"text\.pt cannot be read"):
        metrics.video_distance(data, data.real("val", 4).x, "val", features=str(tmp_path / "text.pt"))
    with pytest.raises(UserError, match=r"scoring\.features=nowhere\.pt: there is no such file"):
        metrics.video_distance(data, data.real("val", 4).x, "val", features="nowhere.pt")
    with pytest.raises(UserError, match="needs 2 clips on each side"):
        metrics.video_distance(data, data.real("val", 1).x, "val")


def test_the_reader_is_kept(data):
    one, two = clip_reader(data), clip_reader(data)
    x = data.real("val", 4).x
    with torch.no_grad():
        assert torch.equal(one(x), two(x))


def test_changes():
    """What is done to clips but for faint noise: nothing, another order, one frame, two clips, shifts."""
    x = torch.randn(5, 1, 8, 16, 16, generator=torch.Generator().manual_seed(0))
    out = changed(x, torch.arange(5), 0)
    assert out.shape == x.shape
    near = {"atol": 0.12, "rtol": 0}
    torch.testing.assert_close(out[0], x[0], **near)
    order = [int((out[1, 0, t] - x[1, 0]).square().mean((1, 2)).argmin()) for t in range(8)]
    assert sorted(order) == list(range(8))
    assert order != list(range(8))
    torch.testing.assert_close(out[2], x[2, :, :1].expand_as(x[2]), **near)
    torch.testing.assert_close(out[3, :, :2], x[3, :, :2], **near)
    torch.testing.assert_close(out[3, :, -1], x[4, :, -1], **near)
    for t in range(8):
        shifts = [x[4, :, t].roll((i, j), (-2, -1)) for i in range(-2, 3) for j in range(-2, 3)]
        assert min((out[4, :, t] - shift).square().mean().item() for shift in shifts) < 0.001
    assert len(CHANGES) == 5


def test_continuation(data):
    """The truth has no error, standing still costs what copying the last frame costs, and a mean of a truth and its
    opposite is halfway."""
    options = {"clips": 6, "context_frames": 3, "ahead": 4}
    x = data.real("val", 6).x
    found = metrics.continuation(data, lambda cond, seed: x, "val", members=1, **options)["continuation"]
    assert found["told"]["mse"] == pytest.approx(0, abs=1e-12)
    assert found["mse_over_copy"]["told"] == pytest.approx(0, abs=1e-9)
    still = torch.cat((x[:, :, :3], x[:, :, 2:3].expand(-1, -1, 5, -1, -1)), dim=2)
    found = metrics.continuation(data, lambda cond, seed: still, "val", members=1, **options)["continuation"]
    assert found["mse_over_copy"]["told"] == pytest.approx(1)
    assert found["told"] == found["copy_last_frame"]
    both = [x + 0.2, x - 0.2]
    found = metrics.continuation(data, lambda cond, seed: both[seed % 2], "val", members=2, **options)["continuation"]
    assert found["mean_of_samples"]["mse"] < 1e-10
    assert found["told"]["mse"] > 0.003
    assert set(found["label_kept"]) == {"told", "withheld", "swapped", "real"}


def test_continuation_is_told_its_first_frames_alone(data):
    calls = []

    def sample(cond, seed):
        calls.append((seed, cond))
        return data.real("val", 6).x

    metrics.continuation(data, sample, "val", clips=6, context_frames=3, ahead=4, members=1)
    (told, withheld, swapped) = (cond for _, cond in calls)
    assert len({seed for seed, _ in calls}) == 1, "equal noise"
    assert told["known"].tolist() == swapped["known"].tolist() == [[1, 1, 1, 0, 0, 0, 0, 0]] * 6
    assert told["context"][:, :, 3:].abs().max() == withheld["context"].abs().max() == withheld["known"].max() == 0
    assert not (told["context"] == swapped["context"]).flatten(1).all(1).any()
    assert all((cond["label"] == len(data.classes)).all() for _, cond in calls), "nor by the command"


def test_agreement(data):
    """Real clips of the labels that were asked for agree as the classifier does on real clips; others do not."""
    whole = data.real("train", 1000)

    def sample(cond, seed):
        asked = cond["label"] % len(data.classes)  # what is told none shows the first
        rows = [int((whole.cond["label"] == label).nonzero()[i % 5]) for i, label in enumerate(asked)]
        return whole.x[rows]

    found = metrics.agreement(data, sample, "val", 3)
    assert found["label_agreement"]["tracked_label"] > 0.9  # glyphs of seven pixels
    assert found["physics"]["samples"]["identity_kept"] > 0.8
    assert found["physics"]["samples"]["residual_px"] < 0.1
    wrong = metrics.agreement(data, lambda cond, seed: sample({"label": (cond["label"] + 1) % 10}, seed), "val", 3)
    assert wrong["label_agreement"]["tracked_label"] < 0.1


def test_long_rollout(data):
    """A sampler that goes on truly is found to: each piece begins with the last frames of the one before."""
    from genzoo_video.glyphs import embedded_glyphs

    x, _, _ = embedded_glyphs(clips=3, frames=24, size=16, seed=9)
    film = torch.from_numpy(x).float()[:, None] / 127.5 - 1
    asked = []

    def sample(cond, seed):
        start = 4 * len(asked)
        asked.append(cond)
        return film[:, :, start : start + 8]

    found = metrics.long_rollout(data, sample, "val", clips=3, frames=24)["rollout"]
    assert len(asked) == 5
    for i, cond in enumerate(asked[1:], start=1):
        torch.testing.assert_close(cond["context"][:, :, :4], film[:, :, 4 * i : 4 * i + 4])
    assert found["identity_kept"] == 1
    assert found["residual_px"] < 0.1
    assert math.isfinite(found["speed_variation"])
