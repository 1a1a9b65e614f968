"""Bits per sample at equal CPU time beside SaShiMi (Goel et al. 2022, state-spaces/s4), by one protocol.

    git clone https://github.com/state-spaces/s4 FOLDER
    pip install einops
    OMP_NUM_THREADS=1 MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 \\
        python tests/benchmarks/audio.py sashimi --peer FOLDER --data FOLDER_OF_WAVS --minutes 45

The data are {label}_{speaker}_{take}.wav, 16 bits and one channel, as in the Free Spoken Digit Dataset: takes 0 to 4
are the test split, the others are trained on. Samples become 256 levels by mu-law (mu 255). The score is the mean of
-log2 p(sample | those before it in the clip) over every sample of every test clip, each clip from its own start, the
first sample from a start symbol; one line of JSON on stdout, how it goes on stderr.

The peer is trained from its own modules, an embedding of the levels before it and a linear layer behind it as in its
configurations, for so many CPU minutes of this process (all threads; what was spent before a break counts, if `--out`
keeps the state; the scoring does not count). Whole clips make up the steps, those of like length together, and padding
has no part in the loss. Adam has the peer's two rates, one for A, B and dt of its SSMs and one for the rest; both rise
for the first 2 % of the time and then follow a cosine to zero.

Three things are better for the peer on a CPU than what it would do by itself, and change none of its equations. Its
diagonal SSM (S4D, `--kernel diag`) takes the place of S4's Cauchy kernel, which without CUDA costs more than all the
rest of a step. The powers that make up its convolution's kernel, sum_n v_n x_n^l for every l < L, come from sqrt(L)
powers of each of two sorts and one product of matrices in place of L exponentials. And the convolution's gradient goes
through real transforms, half the size of the complex ones that autograd takes. `--bfloat16` has its products of
matrices in bfloat16, in training only.
"""

import argparse
import json
import logging
import math
import sys
import time
import types
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS = 256
START = LEVELS  # what stands before a clip's first sample
TEST_TAKES = 5
WARM_UP = 0.02  # of the budget
CLIP = 1.0
MULTIPLE = 64  # lengths are padded to a multiple of this; the peer pools by 16
SAVE_EVERY = 180.0  # CPU seconds
SAID = ("kernel", "init", "width", "layers", "pool", "expand", "ff", "batch", "longest", "lr", "ssm_lr", "bfloat16")
SAID += ("minutes", "seed")


def mu_law(x: Tensor) -> Tensor:
    """Levels 0 to 255 of samples in [-1, 1], as torchaudio's mu_law_encoding has them."""
    mu = torch.tensor(LEVELS - 1.0)
    return ((x.sign() * torch.log1p(mu * x.abs()) / torch.log1p(mu) + 1) / 2 * mu + 0.5).to(torch.long)


def read(folder: Path) -> tuple[list[Tensor], list[Tensor]]:
    """(training clips, test clips), each clip [L] of levels."""
    training, test = [], []
    for path in sorted(folder.glob("*.wav")):
        with wave.open(str(path)) as file:
            if file.getsampwidth() != 2 or file.getnchannels() != 1:
                raise SystemExit(f"{path} is not of 16 bits and one channel")
            samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
        clips = test if int(path.stem.split("_")[-1]) < TEST_TAKES else training
        clips.append(mu_law(torch.from_numpy(samples.astype(np.float32) / 32768)))
    if not training or not test:
        raise SystemExit(f"{folder} has {len(training)} training clips and {len(test)} test clips")
    return training, test


def pad(clips: list[Tensor]) -> Tensor:
    """Clips as [B, L] of levels, -100 behind each one's end, L a multiple of what the peer pools."""
    length = -(-max(len(clip) for clip in clips) // MULTIPLE) * MULTIPLE
    return torch.stack([F.pad(clip, (0, length - len(clip)), value=-100) for clip in clips])


def parts(clips: list[Tensor], size: int) -> Iterator[list[Tensor]]:
    """Neighbours together, as many as padded to one length have at most `size` samples."""
    part: list[Tensor] = []
    longest = 0
    for clip in clips:
        longest = max(longest, len(clip))
        if part and (len(part) + 1) * longest > size:
            yield part
            part, longest = [], len(clip)
        part.append(clip)
    yield part


def batches(clips: list[Tensor], size: int, longest: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Without end: [B, L] of some `size` samples, clips of like length together, in a fresh order every epoch."""
    while True:
        order = [clips[i][:longest] for i in torch.randperm(len(clips), generator=generator)]
        epoch = []
        for rows in range(0, len(order), 300):
            epoch += parts(sorted(order[rows : rows + 300], key=len), size)
        for i in torch.randperm(len(epoch), generator=generator):
            yield pad(epoch[i])


def exponential(x: Tensor) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of e^x; a complex exp is several times slower."""
    size = x.real.exp()
    return size * x.imag.cos(), size * x.imag.sin()


def powers(v: Tensor, x: Tensor, length: int, conj: bool = True) -> Tensor:
    """The peer's log_vandermonde: 2 Re sum_n v_n exp(x_n l), [..., N] twice to [..., length] real.

    With l = a M + b, the sum is a product of v_n exp(x_n M a), [..., length / M, N], and exp(x_n b), [..., N, M].
    """
    inner = 2 ** round(math.log2(length) / 2)
    outer = -(-length // inner)
    steps = torch.arange(max(inner, outer), dtype=x.real.dtype)
    left_real, left_imag = exponential(x.unsqueeze(-2) * (inner * steps[:outer, None]))
    right_real, right_imag = exponential(x.unsqueeze(-1) * steps[:inner])
    real, imag = v.real.unsqueeze(-2), v.imag.unsqueeze(-2)
    left = torch.cat([left_real * real - left_imag * imag, -left_real * imag - left_imag * real], dim=-1)
    with torch.autocast("cpu", enabled=False):
        both = left @ torch.cat([right_real, right_imag], dim=-2)
    return 2 * both.flatten(-2)[..., :length]


class Convolution(torch.autograd.Function):
    """Causal convolution of x [B, H, L] and k [H, L], with real transforms in both directions."""

    @staticmethod
    def forward(ctx, x_bhl: Tensor, k_hl: Tensor) -> Tensor:
        length = x_bhl.shape[-1]
        x, k = torch.fft.rfft(x_bhl, n=2 * length), torch.fft.rfft(k_hl, n=2 * length)
        ctx.save_for_backward(x, k)
        return torch.fft.irfft(x * k, n=2 * length)[..., :length]

    @staticmethod
    def backward(ctx, g_bhl: Tensor) -> tuple[Tensor, Tensor]:
        x, k = ctx.saved_tensors
        length = g_bhl.shape[-1]
        g = torch.fft.rfft(g_bhl, n=2 * length)
        x_bhl = torch.fft.irfft(g * k.conj(), n=2 * length)[..., :length]
        k_hl = torch.fft.irfft((g * x.conj()).sum(dim=0), n=2 * length)[..., :length]
        return x_bhl, k_hl


def convolve(layer: nn.Module, x_blh: Tensor, **unused: object) -> tuple[Tensor, None]:
    """The forward pass of the peer's FFTConv as Sashimi calls it: one channel, features last, no state."""
    x_bhl = x_blh.transpose(1, 2).float()
    k_chl, _ = layer.kernel(L=x_bhl.shape[-1])
    y_bhl = Convolution.apply(x_bhl, k_chl[0]) + x_bhl * layer.D[0, :, None]
    return layer.activation(y_bhl.transpose(1, 2).contiguous()), None


class Model(nn.Module):
    """Levels [B, L] to logits [B, L, 256] of each one, given those before it."""

    def __init__(self, backbone: nn.Module, width: int) -> None:
        super().__init__()
        self.encoder = nn.Embedding(LEVELS + 1, width)
        self.backbone = backbone
        self.decoder = nn.Linear(width, LEVELS)

    def forward(self, levels_bl: Tensor) -> Tensor:
        before_bl = F.pad(levels_bl.clamp(min=0)[:, :-1], (1, 0), value=START)
        return self.decoder(self.backbone(self.encoder(before_bl))[0])


def build(words: argparse.Namespace) -> Model:
    """The peer out of its clone, which needs of pytorch_lightning nothing but a decorator."""
    try:
        import pytorch_lightning.utilities  # noqa: F401
    except ImportError:
        sys.modules["pytorch_lightning"] = types.ModuleType("pytorch_lightning")
        sys.modules["pytorch_lightning.utilities"] = utilities = types.ModuleType("pytorch_lightning.utilities")
        utilities.rank_zero_only = lambda function: function
    sys.path.insert(0, str(words.peer))
    logging.disable(logging.WARNING)
    from models.s4 import s4
    from models.sashimi.sashimi import Sashimi

    logging.disable(logging.NOTSET)
    s4.log_vandermonde_naive = powers
    s4.FFTConv.forward = convolve
    rate = words.ssm_lr
    init = words.init or ("diag-lin" if words.kernel == "diag" else "legs")
    ssm = dict(mode=words.kernel, init=init, lr=dict(dt=rate, A=rate, B=rate), verbose=False)
    if words.kernel == "diag":
        ssm |= dict(backend="naive")
    backbone = Sashimi(
        d_model=words.width, n_layers=words.layers, pool=words.pool, expand=words.expand, ff=words.ff, **ssm
    )
    return Model(backbone, words.width)


def loss_sum(logits: Tensor, levels_bl: Tensor) -> Tensor:
    """Nats of all samples that are not padding."""
    return F.cross_entropy(logits.float().flatten(0, 1), levels_bl.flatten(), ignore_index=-100, reduction="sum")


@torch.no_grad()
def bits(model: nn.Module, clips: list[Tensor], size: int = 32768) -> float:
    """Bits per sample over all samples of all clips."""
    model.eval()
    nats = sum(float(loss_sum(model(x), x)) for x in map(pad, parts(sorted(clips, key=len), size)))
    model.train()
    return nats / math.log(2) / sum(map(len, clips))


def sashimi(words: argparse.Namespace) -> None:
    torch.set_num_threads(words.threads)
    budget = words.minutes * 60
    training, test = read(words.data)
    torch.manual_seed(words.seed)
    model = build(words)
    groups: dict[float, list[nn.Parameter]] = {}
    for parameter in model.parameters():
        groups.setdefault(getattr(parameter, "_optim", {}).get("lr", words.lr), []).append(parameter)
    optimizer = torch.optim.Adam([dict(params=p, lr=rate, rate=rate) for rate, p in groups.items()])
    said = {name: getattr(words, name) for name in SAID}
    step, before, checkpoint = 0, 0.0, None
    if words.out:
        words.out.mkdir(parents=True, exist_ok=True)
        checkpoint = words.out / "checkpoint.pt"
    if checkpoint and checkpoint.exists():
        kept = torch.load(checkpoint, weights_only=True)
        if kept["said"] != said:
            raise SystemExit(f"{checkpoint} is of a run with {kept['said']}, not {said}: choose another --out")
        model.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        step, before = kept["step"], kept["seconds"]
        print(f"goes on from {checkpoint}: step {step}, {before:.0f} CPU s", file=sys.stderr, flush=True)

    began = time.process_time()

    def spent() -> float:
        return before + time.process_time() - began

    def save() -> None:
        if checkpoint:
            kept = dict(said=said, model=model.state_dict(), optimizer=optimizer.state_dict())
            torch.save(kept | dict(step=step, seconds=spent()), checkpoint.with_suffix(".part"))
            checkpoint.with_suffix(".part").replace(checkpoint)

    nats, samples, saved, told = 0.0, 0, spent(), spent()
    for x_bl in batches(training, words.batch, words.longest, torch.Generator().manual_seed(words.seed + step)):
        if (done := spent() / budget) >= 1:
            break
        factor = min(done / WARM_UP, 1) * (1 + math.cos(math.pi * done)) / 2
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * factor
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=words.bfloat16):
            logits = model(x_bl)
        total, count = loss_sum(logits, x_bl), int((x_bl >= 0).sum())
        (total / count).backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        step, nats, samples = step + 1, nats + float(total.detach()), samples + count
        if spent() - told > min(60, budget / 10):
            rate = samples / (spent() - told)
            heard = f"{nats / samples / math.log(2):.4f} bits, {rate:.0f} samples/s"
            print(f"step {step}, {spent():.0f} CPU s, {heard}", file=sys.stderr, flush=True)
            nats, samples, told = 0.0, 0, spent()
        if spent() - saved > SAVE_EVERY:
            save()
            saved = spent()
    trained = spent()
    save()
    facts = dict(
        bits_a_sample=round(bits(model, test), 4),
        test_samples=sum(map(len, test)),
        parameters=sum(p.numel() for p in model.parameters()),
        steps=step,
        cpu_minutes=round(trained / 60, 2),
        **said,
    )
    print(json.dumps(facts), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    verb = verbs.add_parser("sashimi", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verb.set_defaults(run=sashimi)
    verb.add_argument("--peer", type=Path, required=True, help="a clone of state-spaces/s4")
    verb.add_argument("--data", type=Path, required=True, help="a folder of {label}_{speaker}_{take}.wav")
    verb.add_argument("--minutes", type=float, default=45, help="CPU time of training in this process, all threads")
    verb.add_argument("--out", type=Path, help="keeps the state, so that the same command goes on after a break")
    verb.add_argument("--threads", type=int, default=1)
    verb.add_argument("--seed", type=int, default=0)
    verb.add_argument("--kernel", choices=("diag", "nplr"), default="diag", help="S4D or S4")
    verb.add_argument("--init", help="the peer's name for the SSMs' first values")
    verb.add_argument("--width", type=int, default=64)
    verb.add_argument("--layers", type=int, default=4, help="at each of the levels")
    verb.add_argument("--pool", type=int, nargs="*", default=[4, 4])
    verb.add_argument("--expand", type=int, default=2)
    verb.add_argument("--ff", type=int, default=2)
    verb.add_argument("--batch", type=int, default=16384, help="samples a step, padding included")
    verb.add_argument("--longest", type=int, default=8192, help="longer clips are cut here in training")
    verb.add_argument("--lr", type=float, default=4e-3)
    verb.add_argument("--ssm-lr", type=float, default=1e-3)
    verb.add_argument("--bfloat16", action="store_true", help="autocast in training")
    words = parser.parse_args()
    words.run(words)


if __name__ == "__main__":
    main()
