"""Scores of clips: do they look and move like the real ones, show what was asked, and go on as the real ones do?

Legend: n clips, C channels, T frames, H, W pixels, D features. Clips are pixels in [-1, 1]; errors are of brightness
from 0 to 1.
"""

import os
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from genzoo.contract import Sampler
from genzoo.errors import UserError
from genzoo.metrics import class_coverage, frechet_distance
from genzoo.metrics.controls import another, by_label, three_ways
from genzoo.reading import reading
from genzoo_video.classifier import VERSION as READER
from genzoo_video.classifier import clip_reader, features_of, labels_of
from genzoo_video.data import VideoData

VERSION = 1
"""Of these scores: another one gives other numbers."""


# Against the real clips


def video_distance(data: VideoData, samples: Tensor, split: str, *, features: str | None = None) -> dict[str, Any]:
    """Fréchet distance of samples (in model space) from as many clips of the split (Unterthiner et al. 2018), on the
    features of `clip_reader` in place of I3D's, or on those of a network that the user names: a TorchScript file,
    called with float [B, 3, T, H, W] in [-1, 1], which gives [B, D]. Compare it only with those of the same network and
    number of clips. Beside it "real": that of as many training clips from the same reference."""
    samples = data.pixels(samples)
    real, other = (data.pixels(data.real(name, len(samples)).x) for name in (split, "train"))
    few = min(len(samples), len(real), len(other))
    if few < 2:
        raise UserError(f"a Fréchet distance needs 2 clips on each side, not {few}: set n, or give more data")
    if features is None:
        net, kind = clip_reader(data), f"convolutions over space and time, version {READER}, trained on the train split"
    else:
        net, kind = script_of(features), f"{Path(features).name}, sha256 {hash_of(features)}"
        samples, real, other = (x.expand(-1, 3, -1, -1, -1) for x in (samples, real, other))
    ours, theirs, floor = (features_of(net, x[:few]) for x in (samples, real, other))
    made, known = frechet_distance(ours, theirs), frechet_distance(floor, theirs)
    return {
        "frechet": {"samples": made, "real": known, "ratio": made / max(known, 1e-12)},
        "protocol": {"frechet": {"clips": few, "features": kind, "dimensions": ours.shape[1], "version": VERSION}},
    }


def script_of(file: str) -> torch.nn.Module:
    """A network that the user names; UserError where it is no TorchScript file."""
    with reading(os.path.expanduser(file), "scoring.features") as place, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # towards torch.export; the field's networks have not moved
        return torch.jit.load(str(place), map_location="cpu").eval()


def hash_of(file: str) -> str:
    from genzoo.download import sha256_of

    return sha256_of(Path(file).expanduser())


# Against what was asked


def agreement(data: VideoData, sample: Sampler, split: str, a_class: int) -> dict[str, Any]:
    """Share of samples, `a_class` of each class, in which a classifier reads the label that was asked for, and beside
    it on real clips of the split; of embedded clips, also the label that is tracked, and how they move."""
    net = clip_reader(data)
    label = torch.arange(len(data.classes)).repeat_interleave(a_class)
    nothing = torch.zeros(len(label), *data.spec.shape)
    cond = data.told(nothing, [0] * len(label)) | {"label": label}
    made = {name: data.pixels(x) for name, x in by_label(sample, cond, 1, classes=len(data.classes)).items()}
    real = data.real(split, len(label))
    real.x = data.pixels(real.x)
    right = {name: labels_of(net, x) == label for name, x in made.items()}
    scores: dict[str, Any] = {
        "label_agreement": {
            "asked_label": {name: found.double().mean().item() for name, found in right.items()},
            "worst_class": right["told"].double().view(-1, a_class).mean(1).min().item(),
            "real": (labels_of(net, real.x) == real.cond["label"]).double().mean().item(),
            "samples": len(label),
        }
    }
    if data.path == "glyphs":
        from genzoo_video.tracking import physics, track

        glyphs = data.embedded["glyphs"]
        tracked = track(brightness(made["told"]), glyphs).labels(glyphs) == label
        scores["label_agreement"]["tracked_label"] = tracked.double().mean().item()
        scores["physics"] = {
            "samples": physics(brightness(made["told"]), glyphs),
            "real": physics(brightness(real.x), glyphs),
        }
    return scores


def coverage_of_classes(data: VideoData, sample: Sampler, n: int) -> dict[str, Any]:
    """Which classes are read in n samples that were drawn without a label."""
    nothing = torch.zeros(n, *data.spec.shape)
    made = sample(data.told(nothing, [0] * n) | {"label": torch.full((n,), len(data.classes))}, 3)
    return {"coverage": class_coverage(labels_of(clip_reader(data), data.pixels(made)), len(data.classes))}


def brightness(x: Tensor) -> Tensor:
    """Clips [n, 1, T, H, W] in [-1, 1] -> [n, T, H, W] in [0, 1]."""
    return x[:, 0].float().add(1).div(2).clamp(0, 1)


# Against how the real clips go on


def continuation(
    data: VideoData, sample: Sampler, split: str, *, clips: int, context_frames: int, ahead: int, members: int
) -> dict[str, Any]:
    """Real clips of the split from their first frames on, without their label, as `genzoo sample context=` goes on:
    errors of a sample (told the frames, told none, told another clip's), of the mean of several, and of the last given
    frame standing still, over the next `ahead` frames; and whether a classifier still reads the clip's label."""
    real, n = data.real(split, clips), len(data.classes)
    cond, kinds = data.told(real.x, [context_frames] * len(real)), real.cond.get("label")
    if kinds is not None:
        cond["label"] = torch.full_like(kinds, n)
    ways = {"nothing": data.told(torch.zeros_like(real.x), [0] * len(real)), "others": another(len(real), kinds)}
    controls = {name: data.pixels(x) for name, x in three_ways(sample, cond, 2, **ways).items()}
    made = [controls["told"], *(data.pixels(sample(cond, 2 + member)) for member in range(1, members))]
    last, x = context_frames + ahead, data.pixels(real.x)
    truth, still = x[:, :, context_frames:last], x[:, :, context_frames - 1 : context_frames]
    guesses = {name: x_made[:, :, context_frames:last] for name, x_made in controls.items()}
    guesses["copy_last_frame"] = still.expand_as(truth)
    if members > 1:
        guesses["mean_of_samples"] = torch.stack(made).mean(0)[:, :, context_frames:last]
    scores: dict[str, Any] = {name: errors(guess, truth) for name, guess in guesses.items()}
    floor = scores["copy_last_frame"]["mse"]
    scores["mse_over_copy"] = {
        name: scores[name]["mse"] / max(floor, 1e-12) for name in guesses if name != "copy_last_frame"
    }
    if kinds is not None:
        net = clip_reader(data)
        kept = {name: (labels_of(net, x_made) == kinds).double().mean().item() for name, x_made in controls.items()}
        scores["label_kept"] = kept | {"real": (labels_of(net, x) == kinds).double().mean().item()}
    scores["protocol"] = {"clips": len(real), "context_frames": context_frames, "ahead": ahead, "members": members}
    scores["protocol"]["label"] = "not told"
    return {"continuation": scores}


def errors(guess: Tensor, truth: Tensor) -> dict[str, Any]:
    """Of clips [n, C, T, H, W]: MSE of brightness, PSNR in dB and SSIM; means over clips, and over frames or by frame.
    PSNR is of each frame's own MSE, at most 100 dB."""
    guess, truth = guess.double().add(1).div(2).clamp(0, 1), truth.double().add(1).div(2)
    mse_nt = (guess - truth).square().mean((1, 3, 4))
    psnr_nt = -10 * mse_nt.clamp(min=1e-10).log10()
    ssim_nt = ssim(guess.transpose(1, 2).flatten(0, 1), truth.transpose(1, 2).flatten(0, 1)).view_as(mse_nt)
    return {
        "mse": mse_nt.mean().item(),
        "psnr_db": psnr_nt.mean().item(),
        "ssim": ssim_nt.mean().item(),
        "mse_by_frame": mse_nt.mean(0).tolist(),
        "psnr_db_by_frame": psnr_nt.mean(0).tolist(),
        "ssim_by_frame": ssim_nt.mean(0).tolist(),
    }


WINDOW, SIGMA = 11, 1.5
"""Of the Gaussian window of SSIM, in pixels."""


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity of pictures [n, C, H, W] in [0, 1] (Wang et al. 2004, eq. 13, with their window and
    constants), mean over pixels whose window lies inside and over channels: [n]."""
    window = min(WINDOW, *x.shape[-2:])
    offset = torch.arange(window, dtype=x.dtype, device=x.device) - (window - 1) / 2
    weight = (-offset.square() / (2 * SIGMA**2)).exp()
    kernel = (weight[:, None] * weight / weight.sum() ** 2)[None, None]

    def local(z: Tensor) -> Tensor:
        return F.conv2d(z.flatten(0, 1)[:, None], kernel).view(*z.shape[:2], -1)

    mean_x, mean_y = local(x), local(y)
    var_x, var_y = local(x * x) - mean_x**2, local(y * y) - mean_y**2
    both = local(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    found = (2 * mean_x * mean_y + c1) * (2 * both + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return found.mean((1, 2))


def long_rollout(data: VideoData, sample: Sampler, split: str, *, clips: int, frames: int) -> dict[str, Any]:
    """Clips of `frames` frames, each piece from the end of the one before, the first from real frames: how glyphs move
    in them, beside real clips of the training length."""
    from genzoo_video.tracking import physics

    real = data.real(split, clips)
    known = data.fitted["known"]
    cond = data.told(real.x, [known] * len(real)) | {k: v for k, v in real.cond.items() if k == "label"}
    pieces: list[tuple[Tensor, dict[str, Tensor]]] = []
    while data.frames + (len(pieces) - 1) * (data.frames - known) < frames:
        x = sample(cond, 100 + len(pieces))
        pieces.append((x, cond))
        cond = data.follow(x, cond)
    made = data.joined(iter(pieces))[:, :, :frames]
    glyphs = data.embedded["glyphs"]
    return {"rollout": {"frames": frames, "clips": len(real), **physics(brightness(made), glyphs)}}
