"""Rectified flow: the loss, the coupling and the sampler against closed forms, and a small flow that is trained.

Legend: B batch, n samples; x_0 is noise, x_1 is data, t runs from 0 to 1.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy import stats
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from genzoo.contract import Batch, Data, Request, Spec
from genzoo.draws import GeneratorNoise, torch_generator
from genzoo.families import Flow
from genzoo.families.flow import match
from genzoo.families.solvers import SOLVERS
from genzoo.metrics import energy_distance, nearest_neighbour_accuracy
from genzoo.objectives import Native
from genzoo.trainer import Options, fit


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(seed: int = 0) -> GeneratorNoise:
    return GeneratorNoise(seeded(seed))


class Field(nn.Module):
    """A velocity given as a function of (x, t, cond); it writes down what it is asked."""

    def __init__(self, function: Callable[[Tensor, Tensor, Mapping[str, Tensor]], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.asked: list[tuple[Tensor, Tensor, dict[str, Tensor]]] = []

    def forward(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        self.asked.append((x, t, dict(cond)))
        return self.function(x, t, cond)


def flow(function: Callable, shape: tuple[int, ...] = (2,), *, classes: int = 0, **options: Any) -> Flow:
    return Flow(Spec(shape, classes=classes), lambda spec: Field(function), **options)


def still(x: Tensor, t: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
    """No velocity at all."""
    return torch.zeros_like(x)


def parts(model: Flow, x_1: Tensor, seed: int = 0, **cond: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(value, x_0, t) of a loss, x_0 recovered from the point x_t at which the network was asked."""
    value = model.loss(Batch(x_1, cond), seeded(seed)).value
    x_t, t, _ = model.net.asked[-1]
    t_full = t.view(-1, *[1] * (x_1.ndim - 1))
    return value, (x_t - t_full * x_1) / (1 - t_full), t


# The loss


def test_true_velocity_has_no_loss():
    """A network that is told the data, and so knows the velocity (x_1 - x_t) / (1 - t), loses nothing and sees x_1."""
    model = flow(lambda x, t, cond: (cond["goal"] - x) / (1 - t).view(-1, 1, 1), (3, 2))
    x_1 = torch.randn(16, 3, 2, dtype=torch.float64, generator=seeded())
    out = model.loss(Batch(x_1, {"goal": x_1}), seeded())
    torch.testing.assert_close(out.value, torch.zeros(16, dtype=torch.float64), rtol=0, atol=1e-20)
    torch.testing.assert_close(out.x_hat, x_1, rtol=0, atol=1e-12)


def test_loss_of_any_velocity():
    """Each example's loss is the mean of (v - (x_1 - x_0))^2 over its own elements, and x_hat is x_t + (1 - t) v."""
    model = flow(lambda x, t, cond: torch.sin(3 * x) + t.view(-1, 1, 1), (3, 2))
    x_1 = torch.randn(16, 3, 2, dtype=torch.float64, generator=seeded(1)) * 2 + 1
    value, x_0, t = parts(model, x_1)
    x_hat = model.loss(Batch(x_1), seeded()).x_hat
    for i in range(16):
        x_t = (1 - t[i]) * x_0[i] + t[i] * x_1[i]
        v = torch.sin(3 * x_t) + t[i]
        torch.testing.assert_close(value[i], ((v - (x_1[i] - x_0[i])) ** 2).sum() / 6, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(x_hat[i], x_t + (1 - t[i]) * v, rtol=1e-9, atol=1e-9)
    assert torch.equal(model(Batch(x_1), seeded()).value, value), "forward is the loss"


@pytest.mark.parametrize(("times", "law"), [("uniform", "uniform"), ("logit_normal", "norm")])
def test_noise_and_times_of_training(times, law):
    """x_0 is standard normal and t of the law that was asked for (Kolmogorov-Smirnov), and both are independent."""
    model = flow(still, (2,), times=times)
    _, x_0, t = parts(model, torch.full((4000, 2), 3.0, dtype=torch.float64))
    assert stats.kstest(x_0.flatten().numpy(), "norm").pvalue > 0.01
    assert stats.kstest((t if times == "uniform" else t.logit()).numpy(), law).pvalue > 0.01
    together = torch.corrcoef(torch.cat((x_0, t[:, None]), dim=1).T)
    assert (together - torch.eye(3)).abs().max() < 0.06
    again = parts(model, torch.full((4000, 2), 3.0, dtype=torch.float64))[2]
    assert torch.equal(t, again), "the generator decides"
    assert not torch.equal(t, parts(model, torch.full((4000, 2), 3.0, dtype=torch.float64), seed=1)[2])


@pytest.mark.parametrize("shift", [0.5, 6.0])
def test_shift(shift):
    """Training sees the times that data `shift` times smaller would see at the same noise: t / (1 - t), data over
    noise, is `shift` times less. So do samples, at whose ends it changes nothing."""
    x_1 = torch.full((4000, 2), 3.0, dtype=torch.float64)
    plain = parts(flow(still, (2,), times="logit_normal"), x_1)[2]
    _, x_0, t = parts(flow(still, (2,), times="logit_normal", shift=shift), x_1)
    torch.testing.assert_close(t / (1 - t), plain / (1 - plain) / shift, rtol=1e-9, atol=1e-12)
    assert stats.kstest(x_0.flatten().numpy(), "norm").pvalue > 0.01
    model = flow(still, (2,), shift=shift)
    model.sample(1, {}, drawn(), steps=4, solver="euler")
    asked = torch.tensor([t.item() for _, t, _ in model.net.asked])
    torch.testing.assert_close(asked, torch.tensor([0, 1 / (1 + 3 * shift), 1 / (1 + shift), 3 / (3 + shift)]))
    errors = []
    noise = torch.randn(200, 2, dtype=torch.float64, generator=seeded())
    for steps in (50, 100):
        samples = flow(to_gaussian, shift=shift).sample(200, {}, drawn(), steps=steps, start=noise)
        errors.append((samples - MU - SIGMA * noise).square().mean().sqrt().item())
    assert errors[1] < 1e-2
    assert errors[0] / errors[1] > 3.5


def test_noise_of_a_loss():
    """Paths start at the noise that is given; of the field that leads from it to the data, the loss is 0."""
    x_1, x_0 = torch.randn(64, 2), 3 + torch.randn(64, 2)
    model = flow(lambda x, t, cond: x_1 - x_0)
    assert model.loss(Batch(x_1), seeded(), noise=x_0).value.abs().max() == 0
    x_t, t, _ = model.net.asked[0]
    torch.testing.assert_close(x_t, torch.lerp(x_0, x_1, t[:, None]))


def test_label_dropout():
    """While training, the generator decides which labels become `classes`, in the given share; otherwise none does."""
    model = flow(still, classes=2, label_dropout=0.25)
    batch = Batch(torch.zeros(4000, 2), {"label": torch.arange(4000) % 2})

    def seen(seed: int) -> Tensor:
        model.loss(batch, seeded(seed))
        return model.net.asked[-1][2]["label"]

    given, first = batch.cond["label"].clone(), seen(1)
    assert torch.equal(first, seen(1))
    assert not torch.equal(first, seen(2))
    assert torch.equal(first[first != 2], given[first != 2])
    for label in (0, 1):
        assert (first[given == label] == 2).double().mean().item() == pytest.approx(0.25, abs=0.04)
    assert torch.equal(batch.cond["label"], given), "the batch itself is left alone"
    model.eval()
    assert torch.equal(seen(1), given)


def test_conditions_reach_the_network():
    """What the data gives besides a label goes to the network as it is, in training and in sampling."""
    model = flow(still)
    context = torch.randn(5, 4, generator=seeded())
    model.loss(Batch(torch.zeros(5, 2), {"context": context}), seeded())
    model.sample(5, {"context": context}, drawn(), steps=1)
    assert len(model.net.asked) == 3
    assert all(torch.equal(cond["context"], context) for _, _, cond in model.net.asked)


# The coupling


@pytest.mark.parametrize("seed", range(5))
def test_match_is_the_best_of_all_orders(seed):
    """For five points, no permutation has a smaller sum of squared distances."""
    noise, data = torch.randn(5, 2, 2, generator=seeded(seed)), torch.randn(5, 2, 2, generator=seeded(seed + 10)) + 1

    def cost(order: tuple[int, ...]) -> float:
        return (noise[list(order)].double() - data.double()).square().sum().item()

    best = min(itertools.permutations(range(5)), key=cost)
    assert tuple(match(noise, data).tolist()) == best


@pytest.mark.parametrize("offset", [0.0, 10.0, 1000.0, 1e4])
def test_match_is_exact_wherever_the_data_lie(offset):
    """All rows in an order whose sum of squared distances is the least, and so never above that of the order as they
    came, however far from the origin the data lie. Checked in float64 about the data's own place."""
    for seed in range(10):
        noise = torch.randn(32, 2, generator=seeded(seed))
        data = torch.randn(32, 2, generator=seeded(seed + 100)) + offset
        order = match(noise, data)
        assert order.dtype == torch.int64
        assert sorted(order.tolist()) == list(range(32))
        cost = ((data.double() - offset)[:, None] - noise.double()).square().sum(dim=2)  # shifted: same differences
        least = cost[linear_sum_assignment(cost)].sum()
        found = cost[torch.arange(32), order].sum()
        torch.testing.assert_close(found, least, rtol=0, atol=1e-2)
        assert found <= cost.diagonal().sum()


def test_coupling_is_used():
    """With optimal transport the noise of a batch is matched to its data; the noise itself is that of the generator."""
    x_1 = torch.randn(64, 2, dtype=torch.float64, generator=seeded(5))
    _, free, t_free = parts(flow(still), x_1)
    _, tied, t_tied = parts(flow(still, coupling="optimal_transport"), x_1)
    torch.testing.assert_close(free.sort(dim=0).values, tied.sort(dim=0).values, rtol=0, atol=1e-9)
    assert torch.equal(match(tied, x_1), torch.arange(64)), "nothing is left to improve"
    assert not torch.equal(match(free, x_1), torch.arange(64))
    assert torch.equal(t_free, t_tied)


@pytest.mark.parametrize("spec", [Spec((2,), classes=3), Spec((2,), context={"context": (4,)})], ids=str)
def test_transport_across_conditions_is_refused(spec):
    """Matching would tie the noise to the condition."""
    with pytest.raises(ValueError, match="without labels and context: choose independent"):
        Flow(spec, lambda spec: Field(still), coupling="optimal_transport")


# The sampler

MU, SIGMA = torch.tensor([3.0, -1.0], dtype=torch.float64), torch.tensor([0.5, 2.0], dtype=torch.float64)


def to_gaussian(x: Tensor, t: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
    """The exact velocity E[x_1 - x_0 | x_t = x] of straight paths from N(0, 1) to N(mu, sigma^2), independent:
    mu + cov(x_1 - x_0, x_t) / var(x_t) (x - t mu), with cov = t sigma^2 - (1 - t), var = (1 - t)^2 + t^2 sigma^2."""
    t = t[:, None]
    return MU + (t * SIGMA**2 - (1 - t)) / ((1 - t) ** 2 + t**2 * SIGMA**2) * (x - t * MU)


@pytest.mark.parametrize("solver", SOLVERS)
def test_flow_to_a_gaussian(solver):
    """That velocity carries each x_0 to mu + sigma x_0: so says the limit of small steps, point by point."""
    model, noise = flow(to_gaussian), torch.randn(500, 2, dtype=torch.float64, generator=seeded())
    want, errors = MU + SIGMA * noise, []
    for steps in (50, 100):
        samples = model.sample(500, {}, drawn(), steps=steps, solver=solver, start=noise)
        errors.append((samples - want).square().mean().sqrt().item())
    assert errors[1] < (0.05 if solver == "euler" else 1e-3)
    assert errors[0] / errors[1] > (1.8 if solver == "euler" else 3.6)


def test_moments_of_a_gaussian():
    """The sampler's own noise, carried along, has the mean and the standard deviation of the target."""
    model, n = flow(lambda x, t, cond: to_gaussian(x.double(), t.double(), cond).float()), 20_000
    samples = model.sample(n, {}, drawn())
    assert samples.shape == (n, 2)
    assert samples.dtype == torch.float32
    torch.testing.assert_close(samples.mean(dim=0).double(), MU, rtol=0, atol=4 * 2 / math.sqrt(n))
    torch.testing.assert_close(samples.std(dim=0).double(), SIGMA, rtol=0.03, atol=0)
    assert torch.corrcoef(samples.T)[0, 1].abs() < 0.03


def test_gaussian_velocity_is_what_training_looks_for():
    """The closed form has a lower loss than the same field a little faster, slower or shifted."""
    x_1 = MU + SIGMA * torch.randn(20_000, 2, dtype=torch.float64, generator=seeded(1))

    def loss(scale: float, shift: float) -> Tensor:
        model = flow(lambda x, t, cond: scale * to_gaussian(x, t, cond) + shift)
        return model.loss(Batch(x_1), seeded()).value.mean()

    assert loss(1, 0) < min(loss(1.1, 0), loss(0.9, 0), loss(1, 0.15), loss(1, -0.15))


@pytest.mark.parametrize("solver", ["euler", "midpoint"])
def test_an_estimate_of_data_is_the_velocity_it_implies(solver):
    """The same field, said as clean data, gives the same samples; its loss is the same until the end of the path, and
    x_hat is what it says."""

    def clean(x: Tensor, t: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        return x + (1 - t[:, None]) * to_gaussian(x, t, cond)

    plain, data = flow(to_gaussian), flow(clean, estimate="data")
    noise = torch.randn(50, 2, dtype=torch.float64, generator=seeded())
    both = [model.sample(50, {}, drawn(), steps=5, solver=solver, start=noise) for model in (plain, data)]
    torch.testing.assert_close(*both, rtol=0, atol=1e-12)
    x_1 = torch.randn(400, 2, dtype=torch.float64, generator=seeded(1))
    losses = [model.loss(Batch(x_1), seeded(2)) for model in (plain, data)]
    early = data.net.asked[-1][1] < 0.95
    torch.testing.assert_close(losses[0].value[early], losses[1].value[early], rtol=1e-9, atol=1e-9)
    assert (losses[1].value <= losses[0].value + 1e-9).all()
    torch.testing.assert_close(losses[0].x_hat, losses[1].x_hat, rtol=0, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 4, 40])
@pytest.mark.parametrize("solver", ["euler", "midpoint"])
def test_what_an_estimate_of_data_knows_samples_have(solver, steps):
    goal = torch.randn(7, 2, generator=seeded(1))
    model = flow(lambda x, t, cond: goal, estimate="data")
    torch.testing.assert_close(model.sample(7, {}, drawn(), steps=steps, solver=solver), goal, rtol=0, atol=2e-5)


@pytest.mark.parametrize("guidance", [0.0, 0.5, 1.0, 4.0])
@pytest.mark.parametrize("solver", SOLVERS)
def test_guidance_formula(solver, guidance):
    """A constant velocity for each label makes the sample x_0 + u + guidance (l - u); other conditions go to both."""
    speed = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.5]])  # the last: no label
    model = flow(lambda x, t, cond: speed[cond["label"]] + cond["wind"], classes=2)
    label, wind = torch.tensor([0, 1, 1, 0]), torch.randn(4, 2, generator=seeded(1))
    noise = torch.randn(4, 2, generator=seeded())
    options = {"steps": 3, "solver": solver, "start": noise}
    samples = model.sample(4, {"label": label, "wind": wind}, drawn(), guidance=guidance, **options)
    want = noise + wind + speed[2] + guidance * (speed[label] - speed[2])
    torch.testing.assert_close(samples, want, rtol=0, atol=1e-5)
    unlabelled = model.sample(4, {"wind": wind}, drawn(), guidance=guidance, **options)
    torch.testing.assert_close(unlabelled, noise + wind + speed[2], rtol=0, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 7])
def test_gradient_through_the_sampler(steps):
    """With dx/dt = a x, Euler's n steps give x_0 (1 + a/n)^n, whose derivative by a is x_0 (1 + a/n)^(n-1)."""
    model = flow(lambda x, t, cond: model.net.rate * x)
    model.net.rate = nn.Parameter(torch.tensor(0.8, dtype=torch.float64))
    noise = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    end = model.sample(1, {}, drawn(), steps=steps, solver="euler", start=noise)
    torch.testing.assert_close(end, noise * (1 + 0.8 / steps) ** steps)
    end.sum().backward()
    torch.testing.assert_close(model.net.rate.grad, noise.sum() * (1 + 0.8 / steps) ** (steps - 1))
    assert model.pathwise


def test_noise_option():
    """Given noise is where the path begins; without it the generator's is, and nothing else decides."""
    model, noise = flow(still, (3, 2)), torch.randn(4, 3, 2, generator=seeded(7))
    assert torch.equal(model.sample(4, {}, drawn(), start=noise), noise)
    first = model.sample(4, {}, drawn())
    torch.manual_seed(99)
    assert torch.equal(model.sample(4, {}, drawn()), first)
    assert not torch.equal(model.sample(4, {}, drawn(1)), first)
    assert first.shape == (4, 3, 2)


@pytest.mark.parametrize("shape", [(1, 3, 2), (4, 3), (4, 1, 2), (5, 3, 2)], ids=str)
def test_noise_of_another_shape_is_refused(shape):
    """It would be stretched to n rows, or fail far inside."""
    with pytest.raises(ValueError, match=r"start must have the shape \(4, 3, 2\)"):
        flow(still, (3, 2)).sample(4, {}, drawn(), start=torch.zeros(shape))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Flow(Spec((2,), vocab=5), lambda spec: Field(still)), "model=autoregressive"),
        (lambda: flow(still, times="cosine"), "times is uniform or logit_normal, not 'cosine'"),
        (lambda: flow(still, coupling="sinkhorn"), "coupling is independent or optimal_transport, not 'sinkhorn'"),
        (lambda: flow(still).sample(2, {}, drawn(), steps=0), "steps must be at least 1, not 0"),
        (lambda: flow(still).sample(2, {}, drawn(), solver="rk4"), "solver is one of .*heun, not 'rk4'"),
        (lambda: flow(still, shift=0.0), "shift must be more than 0, not 0"),
        (lambda: flow(still, estimate="noise"), "estimate is velocity or data, not 'noise'"),
        (lambda: flow(still, estimate="data").sample(2, {}, drawn(), solver="heun"), "choose midpoint"),
        (lambda: flow(still, estimate="data").noise_of(torch.zeros(2, 2), {}), "train with estimate=velocity"),
    ],
)
def test_wrong_options(make, message):
    """Each is refused by a line that names it."""
    with pytest.raises(ValueError, match=message):
        make()


# Training

RADIUS, WIDTH, MODES = 1.6, 0.25, 8
CENTRES = RADIUS * torch.tensor([[math.cos(k * math.pi / 4), math.sin(k * math.pi / 4)] for k in range(MODES)])


class Ring(Data):
    """Eight Gaussians on a circle: per axis, mean 0 and variance radius^2 / 2 + width^2."""

    def __init__(self, *, labelled: bool = False) -> None:
        self.labelled = labelled

    def prepare(self) -> None:
        pass

    @property
    def spec(self) -> Spec:
        return Spec((2,), classes=MODES if self.labelled else 0)

    def batch(self, step: int, size: int, split: str, rows: range | None = None) -> Batch:
        rows, generator = rows or range(size), torch_generator("ring", split, step)
        label = torch.randint(MODES, (size,), generator=generator)
        x = CENTRES[label] + WIDTH * torch.randn(size, 2, generator=generator)
        return Batch(x, {"label": label} if self.labelled else {})[rows.start : rows.stop]

    def sweep(self, split: str, size: int) -> Iterator[Batch]:
        yield self.batch(0, size, split)

    def write(self, x: Tensor, path: Path, request: Request) -> Path:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        pass


class Perceptron(nn.Module):
    """Three hidden layers over x, sin and cos of pi t, and an embedded label."""

    def __init__(self, spec: Spec, width: int = 96) -> None:
        super().__init__()
        self.label = nn.Embedding(spec.classes + 1, 8)
        sizes = [2 + 2 + 8, width, width, width]
        hidden = [layer for pair in itertools.pairwise(sizes) for layer in (nn.Linear(*pair), nn.SiLU())]
        self.layers = nn.Sequential(*hidden, nn.Linear(width, 2))

    def forward(self, x: Tensor, t: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        angle = math.pi * t[:, None]
        label = self.label(cond.get("label", torch.zeros(len(x), dtype=torch.long)))
        return self.layers(torch.cat((x, angle.sin(), angle.cos(), label), dim=1))


def trained(data: Ring, steps: int, batch_size: int, **options: Any) -> tuple[Flow, Flow]:
    """A flow before and after training."""
    torch.manual_seed(0)
    before, after = (Flow(data.spec, Perceptron, **options) for _ in range(2))
    before.load_state_dict(after.state_dict())
    how = Options(
        steps=steps,
        batch_size=batch_size,
        optimizer="adamw",
        lr=0.006,
        device="cpu",
        precision="float32",
        val_every=0,
        save_every=0,
    )
    return before.eval(), fit(after, data, Native(), how).averaged.eval()


@pytest.fixture(scope="module")
def independent() -> tuple[Flow, Flow]:
    return trained(Ring(), 900, 256)


@pytest.fixture(scope="module")
def transported() -> tuple[Flow, Flow]:
    return trained(Ring(), 900, 128, coupling="optimal_transport")


@pytest.fixture(scope="module")
def labelled() -> tuple[Flow, Flow]:
    return trained(Ring(labelled=True), 500, 256, label_dropout=0.2)


@torch.no_grad()
def draw(model: Flow, n: int = 1000, seed: int = 1, **options: Any) -> Tensor:
    return model.sample(n, {}, drawn(seed), **options)


@pytest.mark.parametrize("coupling", ["independent", "transported"])
def test_trained_flow_draws_from_the_data(coupling, request):
    """Moments are those of eight Gaussians on a circle, every one is visited alike, and two-sample scores against
    fresh data are near those of data against data, far from those of the untrained flow."""
    before, after = request.getfixturevalue(coupling)
    fresh, other = (Ring().batch(step, 1000, "test").x for step in (0, 1))
    samples, untrained = draw(after), draw(before)

    torch.testing.assert_close(samples.mean(dim=0), torch.zeros(2), rtol=0, atol=0.12)
    torch.testing.assert_close(samples.T.cov(), torch.eye(2) * (RADIUS**2 / 2 + WIDTH**2), rtol=0, atol=0.12)
    distance, mode = torch.cdist(samples, CENTRES).min(dim=1)
    share = mode.bincount(minlength=MODES) / 1000
    assert share.min() > 0.08
    assert share.max() < 0.18
    assert (distance.square().mean() / 2).sqrt().item() == pytest.approx(WIDTH, rel=0.4)

    real, found, naive = (nearest_neighbour_accuracy(x, fresh) for x in (other, samples, untrained))
    assert abs(real - 0.5) < 0.04
    assert found < 0.59
    assert naive > found + 0.08
    real, found, naive = (energy_distance(x, fresh) for x in (other, samples, untrained))
    assert abs(real) < 0.005
    assert found < 0.016
    assert naive > 4 * found


def test_transport_straightens_the_paths(independent, transported):
    """Two Euler steps suffice along the nearly straight paths of optimal transport, and do not along the others."""
    fresh = Ring().batch(0, 1000, "test").x
    curved, straight = (
        energy_distance(draw(model, steps=2, solver="euler"), fresh) for model in (independent[1], transported[1])
    )
    assert straight < 0.02
    assert curved > 4 * straight


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_trained_labels(labelled, guidance):
    """The samples of a label lie at its Gaussian, also with guidance; without a label all are visited."""
    before, after = labelled
    label = torch.arange(MODES).repeat_interleave(60)
    with torch.no_grad():
        naive, samples = (m.sample(480, {"label": label}, drawn(), guidance=guidance) for m in (before, after))
    hits = (torch.cdist(samples, CENTRES).argmin(dim=1) == label).double().mean()
    assert hits > 0.93
    assert (torch.cdist(naive, CENTRES).argmin(dim=1) == label).double().mean() < 0.4
    means = samples.view(MODES, 60, 2).mean(dim=1)
    torch.testing.assert_close(means, CENTRES, rtol=0, atol=0.15 * guidance)
    if guidance == 1.0:
        spread = samples.view(MODES, 60, 2).std(dim=1).mean().item()
        assert spread == pytest.approx(WIDTH, rel=0.3)
        share = torch.cdist(draw(after), CENTRES).argmin(dim=1).bincount(minlength=MODES) / 1000
        assert share.min() > 0.05


# A base in place of the standard normal


class Law(nn.Module):
    """A base given as functions of the conditions; `weight` where there is one."""

    def __init__(self, mean: Callable, std: Callable, weight: Tensor | None = None) -> None:
        super().__init__()
        self.mean, self.std = mean, std
        if weight is not None:
            self.register_buffer("weight", weight)

    def forward(self, cond: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        return self.mean(cond), self.std(cond)


def based(function: Callable, mean: Callable, std: Callable, weight: Tensor | None = None, **options: Any) -> Flow:
    return flow(function, base=lambda spec: Law(mean, std, weight), **options)


def test_base_is_where_paths_start():
    """Without a velocity, samples are the base's: mean + std x_0, example by example; the network is told the mean."""
    at = torch.randn(6, 1, dtype=torch.float64, generator=seeded(1))
    model = based(still, lambda cond: cond["at"].expand(-1, 2), lambda cond: torch.tensor([0.1, 5.0]).double())
    noise = torch.randn(6, 2, dtype=torch.float64, generator=seeded())
    samples = model.sample(6, {"at": at}, drawn(), start=noise, steps=2)
    torch.testing.assert_close(samples, at + torch.tensor([0.1, 5.0]).double() * noise)
    model.loss(Batch(samples, {"at": at}), seeded())
    assert len(model.net.asked) == 5
    assert all(torch.equal(cond["base"], at.expand(-1, 2)) for *_, cond in model.net.asked)


@pytest.mark.parametrize("solver", SOLVERS)
def test_flow_from_a_base_to_a_gaussian(solver):
    """The exact velocity in the base's units carries each x_0 to mu + sigma x_0, wherever the base is."""
    shift, scale = torch.tensor([2.5, 1.0], dtype=torch.float64), torch.tensor([3.0, 0.5], dtype=torch.float64)
    mu, sigma = (MU - shift) / scale, SIGMA / scale

    def velocity(x: Tensor, t: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        t = t[:, None]
        return mu + (t * sigma**2 - (1 - t)) / ((1 - t) ** 2 + t**2 * sigma**2) * (x - t * mu)

    model = based(velocity, lambda cond: shift, lambda cond: scale)
    noise = torch.randn(2000, 2, dtype=torch.float64, generator=seeded())
    samples = model.sample(2000, {}, drawn(), steps=100, solver=solver, start=noise)
    torch.testing.assert_close(samples, MU + SIGMA * noise, rtol=0, atol=0.3 if solver == "euler" else 0.01)
    torch.testing.assert_close(samples.mean(0), MU, rtol=0, atol=0.15)
    torch.testing.assert_close(samples.std(0), SIGMA, rtol=0.05, atol=0)


def test_loss_with_a_base_is_that_of_standardised_data():
    """A flow from N(mean, std) sees (x - mean) / std, noise and times the same; its estimate is in data's units."""
    x_1 = 3 + 2 * torch.randn(16, 3, 2, dtype=torch.float64, generator=seeded(1))
    mean, std = torch.randn(16, 3, 2, dtype=torch.float64, generator=seeded(2)), torch.tensor(0.7).double()

    def velocity(x: Tensor, t: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        return torch.sin(2 * x) - t.view(-1, 1, 1)

    model = based(velocity, lambda cond: cond["mean"], lambda cond: std, shape=(3, 2))
    found = model.loss(Batch(x_1, {"mean": mean}), seeded())
    want = flow(velocity, (3, 2)).loss(Batch((x_1 - mean) / std), seeded())
    torch.testing.assert_close(found.value, want.value)
    torch.testing.assert_close(found.x_hat, mean + std * want.x_hat)


def test_standard_base_is_none():
    """A base of mean 0 and standard deviation 1 gives the loss and the samples of a plain flow, bit for bit."""
    model, plain = (
        make(lambda x, t, cond: torch.cos(x) * t[:, None])
        for make in (
            lambda function: based(function, lambda cond: torch.zeros(2), lambda cond: torch.ones(2)),
            flow,
        )
    )
    x_1 = torch.randn(8, 2, generator=seeded(3))
    for one, other in zip(model.loss(Batch(x_1), seeded())[:2], plain.loss(Batch(x_1), seeded())[:2], strict=True):
        assert torch.equal(one, other)
    assert torch.equal(model.sample(8, {}, drawn()), plain.sample(8, {}, drawn()))


def test_weight_of_a_base():
    """An example's loss is the mean of weight times squared error; weights of 1 change nothing."""
    weight = torch.tensor([0.5, 1.0, 1.5], dtype=torch.float64).view(3, 1)
    x_1 = torch.randn(16, 3, 2, dtype=torch.float64, generator=seeded(1))
    zero, one = (lambda cond: torch.zeros(())), (lambda cond: torch.ones(()))
    model = based(still, zero, one, weight, shape=(3, 2))
    value, x_0, _ = parts(model, x_1)
    want = [sum(weight[i].item() * (row[i] ** 2).sum() for i in range(3)) / 6 for row in x_1 - x_0]
    torch.testing.assert_close(value, torch.stack(want))
    even, none = (
        parts(based(still, zero, one, w, shape=(3, 2)), x_1)[0] for w in (torch.ones(3, 1, dtype=torch.float64), None)
    )
    assert torch.equal(even, none)
    assert not torch.allclose(even, value)


def test_base_with_transport():
    """Noise is matched to data in the base's units, where both are near."""
    x_1 = 1e4 * (50 + torch.randn(64, 2, dtype=torch.float64, generator=seeded(5)) * torch.tensor([1.0, 1e-3]))
    where = torch.tensor([5e5, 5e5]).double(), torch.tensor([1e4, 10.0]).double()
    model = based(still, lambda cond: where[0], lambda cond: where[1], coupling="optimal_transport")
    standard = (x_1 - where[0]) / where[1]
    model.loss(Batch(x_1), seeded())
    x_t, t, _ = model.net.asked[-1]
    x_0 = (x_t - t[:, None] * standard) / (1 - t[:, None])
    assert torch.equal(match(x_0, standard), torch.arange(64))


def test_base_that_broadcasts_with_guidance():
    """A base's mean need not have a batch axis; guidance, which asks the network twice in one, must not mind."""
    mean = torch.tensor([5.0, -5.0])
    model = based(
        lambda x, t, cond: cond["base"].expand_as(x) + cond["label"][:, None],
        lambda cond: mean,
        lambda cond: torch.ones(()),
        classes=2,
    )
    noise, label = torch.randn(4, 2, generator=seeded()), torch.tensor([0, 1, 1, 0])
    samples = model.sample(4, {"label": label}, drawn(), guidance=3.0, start=noise, steps=2)
    torch.testing.assert_close(samples, 2 * mean + noise + 2 + 3.0 * (label[:, None] - 2))


# A projection


class Onto(nn.Module):
    """A projection given as a function of (x, cond)."""

    def __init__(self, function: Callable[[Tensor, Mapping[str, Tensor]], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        return self.function(x, cond)


def to_sum(x: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
    """The nearest point whose sum is `total`."""
    return x + (cond["total"] - x.sum(-1, keepdim=True)) / x.shape[-1]


def wavy(x: Tensor, t: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
    return torch.sin(3 * x) + 2 - t[:, None]


def projected(function: Callable = wavy, onto: Callable = to_sum, **options: Any) -> Flow:
    return based(
        function,
        lambda cond: torch.tensor([5.0, -1.0]).double(),
        lambda cond: torch.tensor([2.0, 0.5]).double(),
        project=lambda spec: Onto(onto),
        **options,
    )


TOTAL = {"total": torch.linspace(-3, 9, 7, dtype=torch.float64)[:, None]}


@pytest.mark.parametrize("steps", [1, 2, 9])
@pytest.mark.parametrize("solver", SOLVERS)
def test_samples_keep_to_the_projection(solver, steps):
    """Each sample has the sum that its condition says, with every solver; heun asks for a velocity at the very end,
    where no time is left to reach it."""
    model = projected()
    samples = model.sample(7, TOTAL, drawn(), solver=solver, steps=steps)
    torch.testing.assert_close(samples.sum(-1, keepdim=True), TOTAL["total"], rtol=0, atol=1e-9)
    assert samples.isfinite().all()
    assert samples.abs().max() < 100
    free = model.sample(7, TOTAL, drawn(), solver=solver, steps=steps, project=False)
    assert (free.sum(-1, keepdim=True) - TOTAL["total"]).abs().min() > 1e-3


@pytest.mark.parametrize("solver", SOLVERS)
def test_projection_of_samples_that_are_cut_off(solver):
    """One that is not linear, nor undone by the next step: no sample lies below 0, and none flies away."""
    model = projected(onto=lambda x, cond: x.clamp(min=0))
    samples = model.sample(50, {}, drawn(), solver=solver, steps=4)
    assert samples.min() == 0
    assert samples.isfinite().all()
    assert samples.abs().max() < 100


def test_projection_acts_in_every_step():
    """Euler's method with the estimate x + (1 - t) v projected in the data's units, written out; it is not the plain
    sample projected at the end."""
    model, mean, std, n = projected(), torch.tensor([5.0, -1.0]).double(), torch.tensor([2.0, 0.5]).double(), 4
    noise = torch.randn(7, 2, dtype=torch.float64, generator=seeded())
    x = mean + std * noise
    for k in range(n):
        t = torch.full((7,), k / n, dtype=torch.float64)
        end = to_sum(x + (1 - k / n) * std * wavy((x - mean) / std, t, {}), TOTAL)
        x = x + (end - x) / (n - k)
    options = {"start": noise, "steps": n, "solver": "euler"}
    samples = model.sample(7, TOTAL, drawn(), **options)
    torch.testing.assert_close(samples, x)
    late = to_sum(model.sample(7, TOTAL, drawn(), project=False, **options), TOTAL)
    assert (samples - late).abs().max() > 0.01


def test_no_projection_is_the_model_without():
    """project=False samples, bit for bit, as a model that has none; a model that has none does not mind the word."""
    options = {"solver": "heun", "steps": 3}
    without = based(
        wavy, lambda cond: torch.tensor([5.0, -1.0]).double(), lambda cond: torch.tensor([2.0, 0.5]).double()
    )
    want = without.sample(7, TOTAL, drawn(), **options)
    assert torch.equal(projected().sample(7, TOTAL, drawn(), project=False, **options), want)
    assert torch.equal(without.sample(7, TOTAL, drawn(), project=True, **options), want)


def test_projection_leaves_the_loss_alone():
    """Loss and estimate are those of the model without."""
    x_1 = torch.randn(7, 2, dtype=torch.float64, generator=seeded(1))
    found = projected().loss(Batch(x_1, TOTAL), seeded())
    want = projected(onto=lambda x, cond: x).loss(Batch(x_1, TOTAL), seeded())
    assert torch.equal(found.value, want.value)
    assert torch.equal(found.x_hat, want.x_hat)


@pytest.mark.parametrize("solver", ["euler", "midpoint"])
def test_projection_changes_nothing_that_keeps_to_it(solver):
    """A network whose estimates have the right sum already is not disturbed. (Its velocity has no end that heun could
    ask for.)"""
    goal = to_sum(torch.randn(7, 2, dtype=torch.float64, generator=seeded(2)), TOTAL)
    mean, std = torch.tensor([5.0, -1.0]).double(), torch.tensor([2.0, 0.5]).double()
    model = projected(lambda x, t, cond: ((goal - mean) / std - x) / (1 - t).clamp(min=1e-3)[:, None])
    on, off = (model.sample(7, TOTAL, drawn(), solver=solver, steps=5, project=p) for p in (True, False))
    torch.testing.assert_close(on, off, rtol=0, atol=1e-9)
    torch.testing.assert_close(on, goal, rtol=0, atol=1e-9)


def test_gradient_through_the_projection():
    """Samples stay differentiable: the gradient is that of finite differences."""
    model, noise = projected(), torch.randn(7, 2, dtype=torch.float64, generator=seeded())
    noise.requires_grad_()
    options = {"steps": 2, "solver": "midpoint"}
    assert torch.autograd.gradcheck(lambda x: model.sample(7, TOTAL, drawn(), start=x, **options), (noise,))


def test_temperature_scales_the_noise():
    """Where the true velocity takes N(0, 1) to N(3, 4), noise of standard deviation 1.5 becomes N(3, 9)."""
    mean, std = 3.0, 2.0

    def velocity(x: Tensor, t: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        t = t.view(-1, 1)
        return mean + (std - 1) * (x - t * mean) / (1 + t * (std - 1))

    model = flow(velocity)
    x = model.sample(20_000, {}, drawn(), steps=4, temperature=1.5)
    assert x.mean().item() == pytest.approx(mean, abs=0.05)
    assert x.std().item() == pytest.approx(1.5 * std, rel=0.01)
    with pytest.raises(ValueError, match="temperature must not be negative, not -1"):
        model.sample(1, {}, drawn(), temperature=-1)
