"""A small classifier of clips, trained on the real ones to read generated ones.

Legend: B clips, T samples, L frames, M mels, C width, D features, F label fields.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genzoo.draws import items_in_epochs, seed_of, torch_generator
from genzoo.errors import UserError
from genzoo.trained_once import trained_once
from genzoo_audio.spectra import mel_filters

VERSION = 1
"""Of the recipe: another one gives other scores."""

MELS = 64
WINDOW_S, HOP_S = 0.025, 0.01
FLOOR = 1e-6
"""Silence: 60 dB below the mean power of a clip's active frames, which are those within 40 dB of its loudest."""

READ_S, CROP_S = 10.0, 3.0
"""Seconds of a clip that are looked at, from its beginning; and in training at once, from anywhere."""

EPOCHS, BATCH, STEPS = 10, 32, (150, 3000)
"""Steps are as many as the epochs take, but at least and at most so many."""

Wave = np.ndarray | Tensor


class AudioClassifier(nn.Module):
    """Reads clips by their log-mel spectra, levelled so that loudness does not decide: convolutions over mels and time,
    then mean and maximum over time, D features, and from them logits of each field.

    counts: classes of each label field; rate_hz: of the waves; dim: features D. `features` and `logits` take waves [T]
    of any lengths, on any device, and read their first `READ_S` seconds; ValueError for what is no such wave.
    """

    def __init__(self, counts: tuple[int, ...], rate_hz: int, dim: int = 32) -> None:
        super().__init__()
        self.counts, self.rate_hz = tuple(counts), rate_hz
        self.hop, self.window = max(1, round(HOP_S * rate_hz)), max(4, round(WINDOW_S * rate_hz))
        self.fft = 1 << (2 * self.window - 1).bit_length()
        widths = (1, 24, 48, 96, 96)
        strides = ((2, 1), (2, 2), (2, 2), (2, 1))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, d, 3, stride, 1, bias=False), nn.BatchNorm2d(d), nn.ReLU())
            for c, d, stride in zip(widths, widths[1:], strides, strict=False)
        )
        self.to_features = nn.Linear(2 * widths[-1] * MELS // 2 ** len(strides), dim)
        self.whitened = nn.BatchNorm1d(dim, affine=False)  # each feature's variance over the training clips is 1
        self.heads = nn.ModuleList(nn.Sequential(nn.ReLU(), nn.Dropout(0.2), nn.Linear(dim, c)) for c in self.counts)

    def forward(self, x_blm: Tensor, frames_b: Tensor) -> Tensor:
        """Features [B, D] of levelled log-mels, of which the first `frames_b` of each clip count."""
        x = x_blm.transpose(1, 2).unsqueeze(1)
        for block in self.blocks:
            x = block(x)
            if block[0].stride[1] == 2:
                frames_b = (frames_b + 1) // 2
            inside = torch.arange(x.shape[-1], device=x.device) < frames_b[:, None]
            x = x * inside[:, None, None]
        x_bcl = x.flatten(1, 2)
        mean = x_bcl.sum(-1) / frames_b[:, None]
        return self.whitened(self.to_features(torch.cat((mean, x_bcl.amax(-1)), dim=1)))

    def spectra(self, waves: Sequence[Tensor], jitter: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Levelled log-mels [B, L, M] of waves [T], 0 at the floor and below, and how many frames each has."""
        x_bt = nn.utils.rnn.pad_sequence(list(waves), batch_first=True)
        x_bt = F.pad(x_bt, (self.fft // 2, self.fft // 2))
        window = torch.hann_window(self.window, device=x_bt.device)
        stft = torch.stft(x_bt, self.fft, self.hop, self.window, window, center=False, return_complex=True)
        mel_blm = stft.abs().square().transpose(1, 2) @ mel_filters(self.fft, MELS, self.rate_hz).T.to(x_bt.device)
        frames_b = torch.tensor([len(wave) // self.hop + 1 for wave in waves], device=x_bt.device)
        inside_bl = torch.arange(mel_blm.shape[1], device=x_bt.device) < frames_b[:, None]
        mel_blm = mel_blm * inside_bl[:, :, None]  # what stands beside a clip in its batch changes nothing
        power_bl = mel_blm.mean(-1)
        active_bl = power_bl > power_bl.amax(1, keepdim=True) * 1e-4
        level_b = (power_bl * active_bl).sum(1) / active_bl.sum(1).clamp(min=1)
        x_blm = mel_blm / level_b.clamp(min=1e-10)[:, None, None]
        if jitter is not None:
            x_blm = x_blm * jitter[:, None, None]
        return (x_blm / FLOOR).clamp(min=1).log() / 6, frames_b

    def checked(self, wave: Wave) -> Tensor:
        """A wave as the network takes it."""
        x_t = torch.as_tensor(wave)
        if x_t.ndim != 1 or not len(x_t) or not torch.is_floating_point(x_t) or not x_t.isfinite().all():
            raise ValueError(f"clips are waves [T] of finite floats, not {x_t.dtype} {list(x_t.shape)}")
        x_t = x_t[: int(READ_S * self.rate_hz)]
        return x_t.to(device=self.to_features.weight.device, dtype=torch.float32)

    @torch.no_grad()
    def features(self, waves: Sequence[Wave]) -> Tensor:
        """[n, D] of n waves, for the Fréchet distance. Clips of like length are read together."""
        found = torch.empty(len(waves), self.to_features.out_features)
        for rows in self.alike([len(wave) for wave in waves]):
            found[rows] = self(*self.spectra([self.checked(waves[i]) for i in rows])).cpu()
        return found

    def alike(self, lengths: list[int]) -> Iterator[list[int]]:
        """Clips in batches of like length, each of at most `BATCH` clips and the samples of as many crops."""
        rows: list[int] = []
        for i in sorted(range(len(lengths)), key=lengths.__getitem__):
            longest = min(lengths[i], READ_S * self.rate_hz)
            if rows and (len(rows) == BATCH or (len(rows) + 1) * longest > BATCH * CROP_S * self.rate_hz):
                yield rows
                rows = []
            rows.append(i)
        if rows:
            yield rows

    @torch.no_grad()
    def logits(self, waves: Sequence[Wave]) -> tuple[Tensor, ...]:
        """[n, classes] of each field."""
        features = self.features(waves).to(self.to_features.weight.device)
        return tuple(head(features).cpu() for head in self.heads)


def fit_classifier(
    waves: Sequence[Wave], labels: np.ndarray, counts: tuple[int, ...], rate_hz: int, *, key: str, seed: int = 0
) -> AudioClassifier:
    """Trained on waves [T] with labels [N, F], or as it was kept in the cache folder for `key`, which stands for them:
    a hash of the training split. counts: classes of each of the F fields. A damaged file is made anew.
    UserError where there are no labels; ValueError where they do not fit."""
    if not counts or not len(waves):
        raise UserError("without labels there is no classifier: name the clips' labels, or leave its scores out")
    labels = np.asarray(labels)
    if labels.shape != (len(waves), len(counts)) or (labels < 0).any() or (labels >= np.array(counts)).any():
        raise ValueError(f"labels of {len(waves)} clips are [N, F] from 0 to below {counts}, not {list(labels.shape)}")
    return trained_once(
        f"audio-classifier-{VERSION}",
        lambda: AudioClassifier(counts, rate_hz),
        lambda net: train(net, waves, torch.from_numpy(labels.astype(np.int64)), seed),
        *(key, len(waves), rate_hz, seed, *counts),
        seed=seed_of("audio classifier", seed),
    )


def train(net: AudioClassifier, waves: Sequence[Wave], labels: Tensor, seed: int) -> None:
    """Cross entropy of all fields, on clips shifted, cut, in noise, and with mels and frames left out."""
    steps = min(max(STEPS[0], EPOCHS * len(waves) // BATCH), STEPS[1])
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    net.train()
    for step in range(steps):
        rows = items_in_epochs(range(step * BATCH, (step + 1) * BATCH), len(waves), "audio classifier", seed)
        generator = torch_generator("audio classifier", step, seed)
        x_blm, frames_b = augmented(net, [net.checked(waves[i]) for i in rows], generator)
        features = net(x_blm, frames_b)
        label_bf = labels[torch.from_numpy(rows)]
        loss = sum(F.cross_entropy(head(features), label_bf[:, f]) for f, head in enumerate(net.heads))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def augmented(net: AudioClassifier, waves: list[Tensor], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Spectra of waves up to 80 ms later, at most `CROP_S` long, every other one in white noise 10 to 60 dB below, up
    to 6 dB louder or softer, and of each a band of mels and a stretch of frames left out (Park et al. 2019)."""
    count, most = len(waves), int(CROP_S * net.rate_hz)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    moved = []
    late, start = uniform(0, 0.08), uniform(0, 1)
    depth = 10 ** (uniform(-60, -10) / 20) * (uniform(0, 1) < 0.5)
    for i, wave in enumerate(waves):
        x_t = F.pad(wave, (int(late[i] * net.rate_hz), 0))
        first = int(start[i] * max(0, len(x_t) - most))
        x_t = x_t[first : first + most]
        noise = torch.randn(len(x_t), generator=generator)
        moved.append(x_t + depth[i] * wave.square().mean().sqrt() * noise)
    x_blm, frames_b = net.spectra(moved, jitter=10 ** uniform(-0.6, 0.6))
    for axis, size, widest in ((2, torch.full((count,), MELS), 8), (1, frames_b, 0.15)):
        width = uniform(0, 1) * (widest if axis == 2 else widest * size)
        begin = uniform(0, 1) * (size - width)
        place = torch.arange(x_blm.shape[axis])
        out = (place >= begin[:, None]) & (place < (begin + width)[:, None])
        x_blm = x_blm.masked_fill(out.unsqueeze(1 if axis == 2 else 2), 0)
    return x_blm, frames_b
