"""A learned codec: a waveform as a few tokens a frame, and back.

Legend: B clips, T samples, F code frames, S spectral frames (`fine` a code frame), C width, Q stages, L levels.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_core import Attention, Block, FeedForward, Rotary, layer_norm
from genzoo.contract import Batch, GenerativeModel, Loss, Spec
from genzoo.draws import Noise
from genzoo_audio.spectra import log_mel_distance, stft_distance


class Codec(GenerativeModel):
    """Transformers at the pace of frames around a residual quantiser. The encoder sees windows of the wave, as they
    are and as log spectra; the decoder gives each spectral frame as magnitude and phase, which the inverse STFT turns
    into sound (Siuzdak 2023, Vocos, sec. 3). The decoder is causal: sound can be played while codes are still written.

    spec: waves (T,) at a rate that the data says; `rate_hz` must be that rate.
    hop: samples of a code frame. fine: spectral frames in one; their windows are four of their hops long.
    stages: quantisers one after another, each on what the ones before left: tokens of a frame.
    levels: of each number of a stage's code; their product is the number of tokens (finite scalar quantisation).
    dim, heads, encoder_depth, decoder_depth: width, heads and blocks of the transformers.
    window: spectral frames that a block of the decoder looks back, and one of the encoder looks both ways.
    stage_dropout: share of training examples that only some first stages code, so that a file may be cut to fewer.
    wave: weight of the mean absolute difference of waves, beside the log-mel and STFT distances.
    """

    estimates = True

    def __init__(
        self,
        spec: Spec,
        *,
        rate_hz: int,
        hop: int = 160,
        fine: int = 2,
        stages: int = 4,
        levels: Sequence[int] = (8, 5, 5, 5),
        dim: int = 192,
        heads: int = 6,
        encoder_depth: int = 3,
        decoder_depth: int = 4,
        window: int = 16,
        stage_dropout: float = 0.3,
        wave: float = 2.0,
    ) -> None:
        super().__init__()
        if spec.vocab or len(spec.shape) != 1:
            raise ValueError("a codec needs waves: choose data=audio_wave")
        if hop % (4 * fine):
            raise ValueError(f"hop={hop} must be a multiple of 4 fine = {4 * fine}")
        self.spec, self.rate_hz, self.hop, self.fine = spec, rate_hz, hop, fine
        self.step = hop // fine
        self.size = 4 * self.step
        self.stage_dropout, self.wave = stage_dropout, wave
        bins = self.size // 2 + 1
        self.from_window = nn.Linear(self.size + bins, dim)
        self.encoder = nn.ModuleList(_block(dim, heads, window, causal=False) for _ in range(encoder_depth))
        self.to_frame = nn.Linear(fine * dim, dim)
        self.quantiser = ResidualQuantiser(dim, stages, levels)
        self.from_frame = nn.Linear(dim, fine * dim)
        self.decoder = nn.ModuleList(_block(dim, heads, window, causal=True) for _ in range(decoder_depth))
        self.to_spectrum = nn.Linear(dim, 2 * bins)
        nn.init.normal_(self.to_spectrum.weight, std=0.02)
        nn.init.constant_(self.to_spectrum.bias[:bins], -4.0)  # soft at first: e^-4 a bin
        self.rotary = Rotary(dim // heads)
        self.register_buffer("hann", torch.hann_window(self.size), persistent=False)
        # What `decode` needs of the past, in code frames: windows of all its blocks, the taps of their convolutions,
        # and the overlap of the inverse transform.
        self.late = 2 * self.step  # samples at the end of a wave that the next frame would change
        self.reach = math.ceil(decoder_depth * (window + 2 * (TAPS - 1)) / fine) + 4

    @property
    def frames_per_second(self) -> float:
        return self.rate_hz / self.hop

    @property
    def bits_per_second(self) -> float:
        return self.frames_per_second * self.quantiser.stages * math.log2(self.quantiser.tokens)

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> Loss:
        """Log-mel distance (three windows) + STFT distance + `wave` times the mean absolute difference; x_hat is what
        the decoder makes of the codes."""
        x = batch.x
        kept = None
        if self.training and generator is not None and self.stage_dropout:
            stages = self.quantiser.stages
            some = torch.randint(1, stages + 1, (len(x),), device=x.device, generator=generator)
            few = torch.rand(len(x), device=x.device, generator=generator) < self.stage_dropout
            kept = torch.where(few, some, stages)
        latent = self._encoded(x)
        coded, codes = self.quantiser(latent, kept)
        x_hat = self._decoded(coded)[:, : x.shape[1]]
        with torch.autocast(x.device.type, enabled=False):
            x_hat = x_hat.float()
            mel = torch.stack([log_mel_distance(x, x_hat, self.rate_hz, window=w) for w in self._windows()]).mean(0)
            stft = stft_distance(x, x_hat, self.rate_hz)
            wave = (x - x_hat).abs().mean(dim=1)
        used = torch.stack([code.unique().numel() / code.new_tensor(self.quantiser.tokens) for code in codes.unbind(2)])
        logs = {"mel": mel.mean().detach(), "stft": stft.mean().detach(), "codes_used": used.mean()}
        logs["kbit_per_second"] = x.new_tensor(self.bits_per_second / 1000)
        return Loss(mel + stft + self.wave * wave, x_hat=x_hat, logs=logs)

    def _windows(self) -> list[int]:
        return [2 ** round(math.log2(self.rate_hz * s)) for s in (0.016, 0.032, 0.064)]

    def sample(self, n: int, cond: Mapping[str, Tensor], noise: Noise, *, stages: int | None = None) -> Tensor:
        """cond["clip"] [n, T] through codes and back [n, T], with the first `stages` of each frame; without a clip,
        what random codes sound like [n, *shape]."""
        clip = cond.get("clip")
        if stages is not None and not 1 <= stages <= self.quantiser.stages:
            raise ValueError(f"stages must lie between 1 and {self.quantiser.stages}, not {stages}")
        if clip is not None:
            return self.decode(self.encode(clip)[..., :stages])[:, : clip.shape[1]]
        frames = -(-self.spec.shape[0] // self.hop)
        codes = noise.integers(self.quantiser.tokens, n, frames, stages or self.quantiser.stages)
        return self.decode(codes)[:, : self.spec.shape[0]]

    def encode(self, x: Tensor) -> Tensor:
        """Waves [B, T] -> codes [B, F, Q], F = T / hop rounded up."""
        return self.quantiser(self._encoded(x))[1]

    def decode(self, codes: Tensor) -> Tensor:
        """Codes [B, F, up to Q] -> waves [B, F hop]."""
        return self._decoded(self.quantiser.lookup(codes))

    def _encoded(self, x: Tensor) -> Tensor:
        """[B, T] -> [B, F, C]"""
        frames = -(-x.shape[1] // self.hop)
        side = self.size // 2
        padded = F.pad(x, (side, frames * self.hop - x.shape[1] + side))
        windows_bsn = padded.unfold(1, self.size, self.step)[:, : frames * self.fine] * self.hann
        with torch.autocast(x.device.type, enabled=False):
            logs = torch.fft.rfft(windows_bsn.float()).abs().clamp(min=1e-4).log() / 4
        x_bsc = self.from_window(torch.cat((4 * windows_bsn, logs), dim=-1))
        x_bsc = self._run(self.encoder, x_bsc)
        return self.to_frame(layer_norm(x_bsc).unflatten(1, (frames, self.fine)).flatten(2))

    def _decoded(self, coded_bfc: Tensor) -> Tensor:
        """[B, F, C] -> [B, F hop]"""
        x_bsc = self.from_frame(coded_bfc).unflatten(2, (self.fine, -1)).flatten(1, 2)
        x_bsc = self._run(self.decoder, x_bsc)
        logs, phase = self.to_spectrum(layer_norm(x_bsc)).float().chunk(2, dim=-1)
        with torch.autocast(logs.device.type, enabled=False):
            spectrum = torch.polar(logs.clamp(max=6.0).exp(), phase)
            pieces = torch.fft.irfft(spectrum, n=self.size) * self.hann
            return self._overlapped(pieces)

    def _overlapped(self, pieces_bsn: Tensor) -> Tensor:
        """Windows [B, S, N] added where they lie and divided by the sum of their squares: [B, S step]. Window s begins
        three steps before the samples that it completes, so that no sample waits for a later window."""
        count = pieces_bsn.shape[1]
        length = (count + 3) * self.step
        fold = dict(output_size=(1, length), kernel_size=(1, self.size), stride=(1, self.step))
        total = F.fold(pieces_bsn.transpose(1, 2), **fold)[:, 0, 0]
        weight = F.fold(self.hann.square()[None, :, None].expand(1, -1, count), **fold)[:, 0, 0]
        side = self.size // 2
        return (total / weight.clamp(min=1e-3))[:, side : side + count * self.step]

    def _run(self, blocks: nn.ModuleList, x: Tensor) -> Tensor:
        rotation = self.rotary(torch.arange(x.shape[1], device=x.device))
        for block in blocks:
            x = block(x, rotation=rotation)
        return x


TAPS = 4


def _block(dim: int, heads: int, window: int, *, causal: bool) -> Block:
    attention = Attention(dim, heads, causal=causal, window=window, qk_norm=True, out_bias=False)
    return Block(attention, FeedForward(dim), taps=TAPS)


class ResidualQuantiser(nn.Module):
    """Stages that each code what the ones before have left over (residual quantisation; Zeghidour et al. 2021, alg. 1),
    by rounding a few bounded numbers (finite scalar quantisation; Mentzer et al. 2024, sec. 3): no codebook to learn,
    none to collapse.

    dim: width C. stages: Q. levels: of each number; a code is one of their product (`tokens`).
    """

    def __init__(self, dim: int, stages: int, levels: Sequence[int]) -> None:
        super().__init__()
        if stages < 1 or not levels or min(levels) < 2:
            raise ValueError(f"stages must be at least 1 and levels at least 2 each, not {stages} and {list(levels)}")
        self.stages, self.tokens = stages, math.prod(levels)
        self.down = nn.ModuleList(nn.Linear(dim, len(levels)) for _ in range(stages))
        self.up = nn.ModuleList(nn.Linear(len(levels), dim, bias=False) for _ in range(stages))
        count = torch.tensor(levels, dtype=torch.float32)
        self.register_buffer("count", count, persistent=False)
        self.register_buffer("unit", torch.cumprod(torch.cat((torch.ones(1), count[:-1])), 0).long(), persistent=False)

    def forward(self, x: Tensor, kept: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x: [B, F, C] -> (what the codes say of it [B, F, C], codes [B, F, Q]). Gradients pass through the rounding.

        kept: [B], how many first stages of an example count; default all.
        """
        with torch.autocast(x.device.type, enabled=False):
            rest, total, codes = x.float(), torch.zeros_like(x, dtype=torch.float32), []
            for stage, (down, up) in enumerate(zip(self.down, self.up, strict=True)):
                place = self._place(down(layer_norm(rest) if stage == 0 else rest))
                said = up(self._centred(place))
                if kept is not None:
                    said = said * (stage < kept)[:, None, None]
                rest, total = rest - said, total + said
                codes.append((place.detach().round().long() * self.unit).sum(-1))
        return total, torch.stack(codes, dim=-1)

    def lookup(self, codes: Tensor) -> Tensor:
        """Codes [B, F, up to Q] -> [B, F, C]."""
        total = torch.zeros((), device=codes.device)
        for code, up in zip(codes.unbind(-1), self.up, strict=False):
            place = (code[..., None] // self.unit) % self.count.long()
            total = total + up(self._centred(place.float()))
        return total

    def _place(self, z: Tensor) -> Tensor:
        """Real numbers to whole levels 0 .. L - 1, straight through."""
        scaled = torch.sigmoid(2 * z) * self.count - 0.5
        whole = scaled.round().clamp(min=torch.zeros_like(self.count), max=self.count - 1)
        return scaled + (whole - scaled).detach()

    def _centred(self, place: Tensor) -> Tensor:
        """Levels to [-1, 1]."""
        return place / (self.count - 1) * 2 - 1
