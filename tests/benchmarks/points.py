"""Quality at equal CPU time beside DPM (Luo and Hu 2021, luost26/diffusion-point-cloud), by one scorer.

    git clone https://github.com/luost26/diffusion-point-cloud FOLDER
    OMP_NUM_THREADS=1 MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 \\
        python tests/benchmarks/points.py train --peer FOLDER --data airplanes.npz --out RUN --batch 32 --points 256
    python tests/benchmarks/points.py score --data airplanes.npz --samples RUN/samples.npz OURS.npz [--real] [--bbox]

`train` trains the peer's flow model from its own modules, in float32, for so many CPU minutes of this process (all
threads; what was spent before a break counts), with the peer's defaults: Adam, its weights of the loss, its clipping,
its learning rate in its schedule's proportions (constant for the first half, linear to the last value over the second),
each shape to zero mean and unit deviation. Its batch of 128 whole clouds makes some 240 steps in an hour of a core;
`--batch` and `--points` (so many of a cloud's, fresh at every step) make thousands of them, and the loss falls further.
The two MALLOC words keep freed memory with the process, which saves the peer 40 % of a step of 32 whole clouds.

Its samples have lost place and size with the normalisation, which its own test cures by normalising both sets anew.
Here a sample takes those of the training shape nearest to it by chamfer distance, which is neutral: a hundred training
shapes that are normalised and brought back so, by the others, cannot be told from the reference (1-NNA 48.5 %, as
before; by the mean place and size it would be 86.5 %). `score --bbox` scores as the peer's test does, every shape's
bounding box brought to unit size.
`--data` holds `points` [S, N, 3] in the order of the shapes' names, and the last `--test` are the reference.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

# What train_gen.py of the peer trains with unless told otherwise.
MODEL = dict(
    latent_dim=256,
    num_steps=100,
    beta_1=1e-4,
    beta_T=0.02,
    sched_mode="linear",
    residual=True,
    latent_flow_depth=14,
    latent_flow_hidden_dim=256,
)
FLEXIBILITY = 0.0
KL_WEIGHT = 0.001
CLIP = 10.0
END_LR = 1e-4
SAVE_EVERY = 300.0  # CPU seconds


class Losses:
    """The peer's `writer`: collects the parts of its loss."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}

    def add_scalar(self, name: str, value: Tensor, step: int) -> None:
        self.sums[name] = self.sums.get(name, 0.0) + float(value.detach())

    def means(self, steps: int) -> dict[str, float]:
        found = {name.removeprefix("train/"): round(total / steps, 4) for name, total in self.sums.items()}
        self.sums = {}
        return found


def read(path: Path, test: int) -> tuple[Tensor, Tensor]:
    """(training shapes, reference shapes), each [S, N, 3] float32 and in the file's units."""
    x_snd = torch.from_numpy(np.load(path)["points"].astype(np.float32))
    return x_snd[:-test], x_snd[-test:]


def shape_unit(x_snd: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The peer's default normalisation, and each shape's place [S, 1, 3] and size [S, 1, 1]."""
    place = x_snd.mean(dim=1, keepdim=True)
    size = (x_snd - place).flatten(1).std(dim=1)[:, None, None]
    return (x_snd - place) / size, place, size


def shape_bbox(x_snd: Tensor) -> Tensor:
    """Each shape with the middle of its bounding box at the origin, and the box's longest side 2."""
    low, high = x_snd.amin(dim=1, keepdim=True), x_snd.amax(dim=1, keepdim=True)
    return (x_snd - (low + high) / 2) / ((high - low).amax(dim=2, keepdim=True) / 2)


def nearest(x_snd: Tensor, among_snd: Tensor, points: int = 256) -> Tensor:
    """For each shape, the index of the one with the least chamfer distance, by so many points of each."""
    x_snd, among_snd = (s[:, torch.linspace(0, s.shape[1] - 1, points).long()] for s in (x_snd, among_snd))
    found = []
    for x_nd in x_snd:
        squared = torch.cdist(x_nd.expand(len(among_snd), -1, -1), among_snd).square()
        found.append((squared.amin(dim=1).mean(dim=1) + squared.amin(dim=2).mean(dim=1)).argmin())
    return torch.stack(found)


def seed_all(seed: int) -> torch.Generator:
    """The peer draws from torch's and numpy's global generators; the order of the data has its own."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    return torch.Generator().manual_seed(seed)


def batches(x_snd: Tensor, size: int, points: int, generator: torch.Generator):
    """Without end: batches of a fresh order of the shapes every epoch, of each `points` of its points."""
    while True:
        for rows in torch.randperm(len(x_snd), generator=generator).split(size):
            if len(rows) > 1:  # the peer has batch normalisation
                x_bnd = x_snd[rows]
                yield x_bnd if points >= x_bnd.shape[1] else x_bnd[:, torch.randperm(x_bnd.shape[1])[:points]]


def train(words: argparse.Namespace) -> None:
    torch.set_num_threads(words.threads)
    sys.path.insert(0, str(words.peer))
    from models.common import get_linear_scheduler
    from models.vae_flow import FlowVAE

    words.out.mkdir(parents=True, exist_ok=True)
    budget = words.minutes * 60
    training, reference = read(words.data, words.test)
    x_snd, place, size = shape_unit(training)
    torch.manual_seed(words.seed)
    model = FlowVAE(SimpleNamespace(**MODEL))
    optimizer = torch.optim.Adam(model.parameters(), lr=words.lr)
    factor = get_linear_scheduler(optimizer, 0.5, 1.0, words.lr, END_LR).lr_lambdas[0]  # of the fraction of the budget
    said = dict(batch=words.batch, points=words.points, lr=words.lr, minutes=words.minutes, seed=words.seed)
    step, before = 0, 0.0
    checkpoint = words.out / "checkpoint.pt"
    if checkpoint.exists():
        kept = torch.load(checkpoint, weights_only=True)
        if kept["said"] != said:
            raise SystemExit(f"{checkpoint} is of a run with {kept['said']}, not {said}: choose another --out")
        model.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        step, before = kept["step"], kept["seconds"]
        print(f"goes on from {checkpoint}: step {step}, {before:.0f} CPU s", flush=True)

    began = time.process_time()

    def spent() -> float:
        return before + time.process_time() - began

    def save() -> None:
        part = checkpoint.with_suffix(".part")
        kept = dict(said=said, model=model.state_dict(), optimizer=optimizer.state_dict(), step=step, seconds=spent())
        torch.save(kept, part)
        part.replace(checkpoint)

    losses, since, saved, told = Losses(), 0, spent(), spent()
    model.train()
    for x_bnd in batches(x_snd, words.batch, words.points, seed_all(words.seed + step)):
        if spent() >= budget:
            break
        for group in optimizer.param_groups:
            group["lr"] = words.lr * factor(spent() / budget)
        optimizer.zero_grad()
        loss = model.get_loss(x_bnd, KL_WEIGHT, writer=losses, it=step)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        step, since = step + 1, since + 1
        losses.add_scalar("loss", loss, step)
        if spent() - told > min(60, budget / 10):
            rate = optimizer.param_groups[0]["lr"]
            print(f"step {step}, {spent():.0f} CPU s, lr {rate:.2g}, {losses.means(since)}", flush=True)
            since, told = 0, spent()
        if spent() - saved > SAVE_EVERY:
            save()
            saved = spent()
    trained = spent()
    save()

    model.eval()
    generator = seed_all(words.seed)
    w_sl = torch.randn(words.samples, MODEL["latent_dim"], generator=generator)
    began = time.process_time()
    with torch.no_grad():
        u_snd = torch.cat([model.sample(w, training.shape[1], FLEXIBILITY) for w in w_sl.split(10)])
    each = (time.process_time() - began) / words.samples
    rows = nearest(u_snd, x_snd)
    samples = u_snd * size[rows] + place[rows]
    np.savez_compressed(words.out / "samples.npz", points=samples.numpy(), normalised=u_snd.numpy())
    facts = dict(
        parameters=sum(p.numel() for p in model.parameters()),
        steps=step,
        cpu_seconds=round(trained, 1),
        cpu_seconds_a_step=round(trained / max(step, 1), 4),
        cpu_seconds_a_sample=round(each, 3),
        **said,
    )
    (words.out / "train.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(json.dumps(facts), flush=True)
    if not words.no_score:
        table({"DPM": samples}, reference)
        table({"DPM": shape_bbox(samples)}, shape_bbox(reference), "bounding boxes of unit size")


def table(sets: dict[str, Tensor], reference: Tensor, how: str = "the file's units", *, emd_shapes: int = 100) -> None:
    """Prints every score of every set, and its ratio to the first set's."""
    from genzoo_points.metrics import score_sets

    first: dict[str, float] = {}
    for name, samples in sets.items():
        scores = flat(
            {
                key: value
                for key, value in score_sets(samples, reference, emd_shapes=emd_shapes).items()
                if key != "protocol"
            }
        )
        first = first or scores
        print(f"{name}: {len(samples)} samples against {len(reference)} shapes, {how}")
        for key, value in scores.items():
            ratio = f"{value / first[key]:.2f} x" if first.get(key) else ""
            print(f"  {key:24}{value:12.5g}  {ratio}", flush=True)


def flat(scores: dict, above: str = "") -> dict[str, float]:
    """{"mmd": {"cd": 1}} -> {"mmd cd": 1}"""
    found: dict[str, float] = {}
    for key, value in scores.items():
        found |= flat(value, f"{above}{key} ") if isinstance(value, dict) else {above + key: float(value)}
    return found


def score(words: argparse.Namespace) -> None:
    torch.set_num_threads(words.threads)
    training, reference = read(words.data, words.test)
    sets = {str(path): torch.from_numpy(np.load(path)["points"].astype(np.float32)) for path in words.samples}
    generator = torch.Generator().manual_seed(words.seed)
    some = training[torch.randperm(len(training), generator=generator)[: len(reference)]]
    if words.real:
        sets["training shapes"] = some
    for cells in words.cells:
        sets[f"training shapes as {cells} Gaussians"] = as_gaussians(some, cells, generator)
    if words.bbox:
        sets, reference = {k: shape_bbox(x) for k, x in sets.items()}, shape_bbox(reference)
    how = "bounding boxes of unit size" if words.bbox else "the file's units"
    table(sets, reference, how, emd_shapes=words.emd_shapes)


def as_gaussians(x_snd: Tensor, cells: int, generator: torch.Generator) -> Tensor:
    """What is left of shapes if only the mean and the spread of their cells are known."""
    from genzoo_points.cells import from_cells, split, summary

    points = split(x_snd, cells)
    return from_cells(torch.randn(points.shape, generator=generator), summary(points)).flatten(1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    for name, run in (("train", train), ("score", score)):
        verb = verbs.add_parser(name, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
        verb.set_defaults(run=run)
        verb.add_argument("--data", type=Path, required=True)
        verb.add_argument("--test", type=int, default=100, help="so many shapes at the file's end are the reference")
        verb.add_argument("--threads", type=int, default=1)
        verb.add_argument("--seed", type=int, default=0)
        if run is train:
            verb.add_argument("--peer", type=Path, required=True, help="a clone of luost26/diffusion-point-cloud")
            verb.add_argument("--out", type=Path, required=True)
            verb.add_argument("--minutes", type=float, default=60, help="CPU time of this process, all threads")
            verb.add_argument("--batch", type=int, default=128, help="clouds a step")
            verb.add_argument("--points", type=int, default=2048, help="points of a cloud in a step")
            verb.add_argument("--lr", type=float, default=2e-3)
            verb.add_argument("--samples", type=int, default=100)
            verb.add_argument("--no-score", action="store_true", help="write the samples and stop")
        else:
            verb.add_argument("--samples", type=Path, nargs="*", default=[], help="npz files with `points`")
            verb.add_argument("--emd-shapes", type=int, default=100, help="shapes that EMD compares; 0 for none")
            verb.add_argument("--real", action="store_true", help="score as many training shapes too")
            verb.add_argument("--cells", type=int, nargs="*", default=[], help="and as so many Gaussian cells each")
            verb.add_argument("--bbox", action="store_true", help="as the peer's test: bounding boxes of unit size")
    words = parser.parse_args()
    words.run(words)


if __name__ == "__main__":
    main()
