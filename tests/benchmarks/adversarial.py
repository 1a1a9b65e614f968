"""Does adversarial training lose modes? A generator of one or two steps against a critic, on a grid of 25 Gaussians.

    python tests/benchmarks/adversarial.py --steps 1 --seed 0

Prints how many of the 25 are drawn from (Metz et al. 2017: a mode counts where a sample lies within three standard
deviations), the share of samples that lie so near to one, and how far the shares of the modes are from equal, each
beside that of as many true samples.
"""

import argparse
import math
import time
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from genzoo.contract import Batch, Spec
from genzoo.draws import GeneratorNoise, torch_generator
from genzoo.families import Flow
from genzoo.objectives import Adversarial

SIDE, GAP, WIDTH = 5, 2.0, 0.1
CENTRES = GAP * torch.cartesian_prod(*[torch.arange(SIDE) - (SIDE - 1) / 2] * 2)


def draw(n: int, *purpose: int | str) -> Tensor:
    """True samples [n, 2], scaled to unit variance."""
    generator = torch_generator("grid", *purpose)
    mode = torch.randint(len(CENTRES), (n,), generator=generator)
    return (CENTRES[mode] + WIDTH * torch.randn(n, 2, generator=generator)) / GAP / math.sqrt(2)


class Net(nn.Module):
    """(x_t [B, 2], t [B]) -> [B, 2]."""

    def __init__(self, spec: Spec, *, dim: int = 256) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(3, dim),
            nn.SiLU(),
            nn.Linear(dim, dim),
            nn.SiLU(),
            nn.Linear(dim, dim),
            nn.SiLU(),
            nn.Linear(dim, 2),
        )

    def forward(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        return self.layers(torch.cat((x, t[:, None]), dim=1))


class Critic(nn.Module):
    """[B, 2] -> [B]."""

    def __init__(self, spec: Spec, *, dim: int = 256) -> None:
        super().__init__()
        self.frequencies = nn.Parameter(2 * torch.randn(2, 32), requires_grad=False)
        self.layers = nn.Sequential(
            nn.Linear(66, dim),
            nn.SiLU(),
            nn.Linear(dim, dim),
            nn.SiLU(),
            nn.Linear(dim, dim),
            nn.SiLU(),
            nn.Linear(dim, 1),
        )

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        phase = x @ self.frequencies
        return self.layers(torch.cat((x, phase.cos(), phase.sin()), dim=1))[:, 0]


def scores(x: Tensor) -> dict[str, float]:
    """Of samples [n, 2]."""
    distance, mode = torch.cdist(x * GAP * math.sqrt(2), CENTRES).min(dim=1)
    near = mode[distance < 3 * WIDTH]
    shares = near.bincount(minlength=len(CENTRES)).double() / max(1, len(near))
    return {
        "modes": int((shares > 0).sum()),
        "near": len(near) / len(x),
        "least_share_times_25": shares.min().item() * len(CENTRES),
        "total_variation": (shares - 1 / len(CENTRES)).abs().sum().item() / 2,
    }


def train(*, steps: int, updates: int, batch: int, seed: int, penalty: float) -> Flow:
    torch.manual_seed(seed)
    model = Flow(Spec((2,)), Net)
    game = Adversarial(
        Spec((2,)),
        critic=partial(Critic),
        native=0.0,
        through="sample",
        penalty=penalty,
        sampler={"steps": steps, "solver": "euler"},
    )
    modules = {"model": model, "critic": game.critic}
    makers = {name: torch.optim.Adam(module.parameters(), 1e-3, betas=(0.0, 0.99)) for name, module in modules.items()}
    averaged = Flow(Spec((2,)), Net)
    averaged.load_state_dict(model.state_dict())
    for update in range(updates):
        for maker in makers.values():
            maker.param_groups[0]["lr"] = 1e-3 * min(1.0, 2 * (1 - update / updates))
        for turn in game.turns:
            total, _ = game.loss(turn, modules, Batch(draw(batch, update, seed)), torch_generator(turn, update, seed))
            makers[turn].zero_grad()
            total.backward()
            makers[turn].step()
        with torch.no_grad():
            for mean, value in zip(averaged.parameters(), model.parameters(), strict=True):
                mean.lerp_(value, 0.005)
    return averaged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1, help="of the generator")
    parser.add_argument("--updates", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--penalty", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    torch.set_num_threads(1)
    began = time.process_time()
    model = train(steps=words.steps, updates=words.updates, batch=words.batch, seed=words.seed, penalty=words.penalty)
    with torch.inference_mode():
        made = model.sample(
            10_000, {}, GeneratorNoise(torch_generator("made", words.seed)), steps=words.steps, solver="euler"
        )
    print(f"{time.process_time() - began:.0f} CPU-seconds, {words.updates} updates of {words.batch}")
    for name, x in (("generated", made), ("true", draw(10_000, "true"))):
        print(name, {key: round(value, 4) for key, value in scores(x).items()})


if __name__ == "__main__":
    main()
