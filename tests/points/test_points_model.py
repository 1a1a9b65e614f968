"""Shapes through cells, and all points at once: what the models see, what they give back, and that they learn.

Legend: B clouds, n samples, N points, C cells, K points of a cell, F channels, R the nine numbers of a cell.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from genzoo.contract import Batch, Data, Request, Spec
from genzoo.draws import GeneratorNoise, torch_generator
from genzoo.families import Flow
from genzoo.objectives import Native
from genzoo.trainer import Options, fit
from genzoo_points.cells import SUMMARY, split, spread, summary, to_cells
from genzoo_points.model import A_CLASS, FITTED, CellFlow, CellLaw
from genzoo_points.net import CellNet, CellReader, PointNet, SetNet

CELLS, POINTS, SEEN = 8, 64, 32


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(seed: int = 0) -> GeneratorNoise:
    return GeneratorNoise(seeded(seed))


def spec_of(points: int = POINTS, channels: int = 3, *, classes: int = 0, seen: int = 0) -> Spec:
    return Spec((points, channels), classes=classes, context={"partial": (seen, 3), "known": ()} if seen else {})


def tiny(spec: Spec, *, cells: int = CELLS, shown: int = CELLS, alive: bool = True, **nets: Any) -> CellFlow:
    """A CellFlow of a few weights; alive: with random ones also where they begin at nought."""
    outline = {"dim": 16, "depth": 1, "heads": 2, "seen": 8, **nets.get("outline", {})}
    reader = {"dim": 16, "depth": 1, "heads": 2, "out": 8, **nets.get("reader", {})}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = CellFlow(
            spec,
            cells=cells,
            shown=shown,
            outline=partial(Flow, base=CellLaw, net=partial(CellNet, **outline)),
            reader=partial(CellReader, **reader),
            detail=partial(Flow, net=partial(PointNet, **{"dim": 16, "depth": 1, **nets.get("detail", {})})),
        )
        return (awake(made) if alive else made).eval()


def awake(net: nn.Module) -> nn.Module:
    """No weight is nought, so that whatever is told can be heard."""
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn(p.shape))
    return net


def plain_points(model: CellFlow) -> CellFlow:
    """The points of a cell stay the noise that they start from: a Gaussian's."""
    nn.init.zeros_(model.detail.net.to_velocity.weight)
    nn.init.zeros_(model.detail.net.to_velocity.bias)
    return model


def clouds(n: int = 4, points: int = POINTS, channels: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(n, points, channels, generator=seeded(seed)) * 0.4


def rows(x: Tensor) -> list[tuple[float, ...]]:
    return sorted(map(tuple, x.tolist()))


class Forms(Data):
    """Flat discs (0) and upright rods (1) of several sizes; of this many, first all discs, then all rods."""

    def __init__(self, shapes: int = 64) -> None:
        self.shapes, self.x = shapes, forms(torch.arange(shapes) // -(-shapes // 2), seeded(5))

    def prepare(self) -> None:
        pass

    @property
    def spec(self) -> Spec:
        return spec_of(classes=2)

    def batch(self, step: int, size: int, split: str, rows: range | None = None) -> Batch:
        label = torch.arange(size) % 2
        batch = Batch(forms(label, torch_generator(split, step)), {"label": label})
        return batch if rows is None else batch[slice(rows.start, rows.stop, rows.step)]

    def sweep(self, split: str, size: int) -> Iterator[Batch]:
        label = torch.arange(self.shapes) // -(-self.shapes // 2)
        for i in range(0, self.shapes, size):
            yield Batch(self.x[i : i + size], {"label": label[i : i + size]})

    def write(self, x: Tensor, path: Any, request: Request) -> Any:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Any) -> None:
        pass


def forms(label: Tensor, generator: torch.Generator) -> Tensor:
    """[B, N, 3]: discs of radius 0.7 to 0.9 in the plane z = 0, rods of half length 0.7 to 0.9 and radius 0.05."""
    n, u = len(label), partial(torch.rand, generator=generator)
    size, angle, along = 0.7 + 0.2 * u(n, 1), 2 * torch.pi * u(n, POINTS), u(n, POINTS)
    disc = torch.stack((along.sqrt() * angle.cos() * size, along.sqrt() * angle.sin() * size, 0 * along), -1)
    rod = torch.stack((0.05 * angle.cos(), 0.05 * angle.sin(), (2 * along - 1) * size), -1)
    return torch.where(label.view(-1, 1, 1) == 0, disc, rod)


def extents(x: Tensor) -> Tensor:
    """Standard deviation along each axis, [n, 3]."""
    return x.std(dim=1)


DISC, ROD = torch.tensor([0.4, 0.4, 0.0]), torch.tensor([0.035, 0.035, 0.46])
"""What they are of the data, on average."""


def fitted(model: nn.Module, data: Data, steps: int, **options: Any) -> Any:
    model.initialise(data)
    how = Options(
        steps=steps, batch_size=32, device="cpu", precision="float32", val_every=0, save_every=0, ema=0.97, **options
    )
    return fit(model, data, Native(), how).averaged.eval()


@pytest.fixture(scope="module")
def learned() -> CellFlow:
    """A small model of discs and rods."""
    net = {"dim": 32, "depth": 2}
    return fitted(tiny(spec_of(classes=2), outline=net, detail={"dim": 32}, alive=False), Forms(), 250)


# The loss


def test_loss_is_of_each_example():
    """[B], positive, the sum of both flows'; another cloud beside it changes nothing, another generator all."""
    model, x = tiny(spec_of()), clouds()
    loss = model.loss(Batch(x), seeded())
    assert loss.value.shape == (4,)
    assert loss.value.min() > 0
    assert loss.value.mean().item() == pytest.approx((loss.logs["cells"] + loss.logs["points"]).item(), rel=1e-5)
    other = x.clone()
    other[0] = clouds(1, seed=9)[0]
    changed = model.loss(Batch(other), seeded()).value
    torch.testing.assert_close(changed[1:], loss.value[1:])
    assert abs(changed[0] - loss.value[0]) > 1e-3
    assert not torch.equal(model.loss(Batch(x), seeded(1)).value, loss.value)


@pytest.mark.parametrize("channels", [3, 6])
def test_loss_knows_no_order(channels):
    """The points of a set may come in any order."""
    model, x = tiny(spec_of(channels=channels)), clouds(channels=channels)
    want = model.loss(Batch(x), seeded()).value
    got = model.loss(Batch(x[:, torch.randperm(POINTS, generator=seeded(3))]), seeded()).value
    torch.testing.assert_close(got, want, rtol=0, atol=1e-6)


def test_loss_before_anything_is_learned():
    """A velocity of nought loses E (x_1 - x_0)^2: 2 of cells in the units of their law, 1 + E u^2 of points in those of
    their cells."""
    data, model = Forms(400), plain_points(tiny(spec_of(classes=2), alive=False))
    model.initialise(data)
    batch = Batch(data.x, {"label": torch.full((400,), 2)})  # none: the law of all
    logs = model.loss(batch, seeded()).logs
    cells = summary(split(data.x, CELLS))
    moving = (cells.std(0) > 2e-3).double().mean()  # the flatness of discs and the like is constant to the law
    assert logs["cells"].item() == pytest.approx(1 + moving.item(), rel=0.05)
    u = to_cells(split(data.x, CELLS), cells)
    assert logs["points"].item() == pytest.approx(1 + u.square().mean().item(), rel=0.05)


@pytest.mark.parametrize("shown", [1, 3, CELLS, 99])
def test_points_are_told_of_their_own_cell(shown):
    """A step looks at so many cells, all of them if there are no more, each beside what the reader says of it."""
    model, x, asked = tiny(spec_of(), shown=shown), clouds(), []
    own = model.detail.loss
    model.detail.loss = lambda batch, generator: asked.append(batch) or own(batch, generator)
    model.loss(Batch(x), seeded())
    points = split(x, CELLS)
    cells = summary(points)
    u, known = to_cells(points, cells), model.reader(model.outline.base.scaled(cells))
    got = asked[0].x.unflatten(0, (4, -1))
    assert got.shape[1] == min(shown, CELLS)
    for b in range(4):
        place = [int((u[b] - part).abs().amax((1, 2)).argmin()) for part in got[b]]
        assert len(set(place)) == len(place)
        torch.testing.assert_close(u[b, place], got[b])
        torch.testing.assert_close(known[b, place], asked[0].cond["cell"].unflatten(0, (4, -1))[b])
    seen = set()
    for seed in range(30):
        model.loss(Batch(x), seeded(seed))
        seen |= {int((u[0] - asked[-1].x[0]).abs().amax((1, 2)).argmin())}
    assert shown > 1 or len(seen) > 4, "others each time"


# Samples


@pytest.mark.parametrize("points", [None, 1, 40, 64, 128, 150])
@pytest.mark.parametrize("channels", [3, 6])
def test_any_number_of_points(points, channels):
    """Fewer are a part of more, also across rounds: cells and points do not depend on how many are asked for."""
    model = tiny(spec_of(channels=channels))
    x = model.sample(2, {}, drawn(), steps=1, points=points)
    assert x.shape == (2, points or POINTS, channels)
    whole = model.sample(2, {}, drawn(), steps=1, points=-(-(points or POINTS) // POINTS) * POINTS)
    for few, many in zip(x, whole, strict=True):
        assert len({*rows(few)}) == len(few)
        assert {*rows(few)} <= {*rows(many)}
    assert torch.equal(model.sample(2, {}, drawn(), steps=1, points=points), x)
    assert not torch.equal(model.sample(2, {}, drawn(1), steps=1, points=points), x)


def test_many_points_have_the_law_of_their_cells():
    """A cell's points are a sample of its Gaussian, where no network bends them: mean and covariance agree."""
    model = plain_points(tiny(spec_of(points=CELLS * 2000)))
    cells = model.outline.sample(2, {}, drawn(), steps=3)
    x = model.sample(2, {}, drawn(), steps=3).view(2, CELLS, -1, 3)
    mean, root = spread(cells)
    size = (root @ root).diagonal(dim1=-2, dim2=-1).sqrt()
    assert ((x.mean(2) - mean).abs() / size).max() < 0.1  # 2000 points: 1 / 45
    centred = x - x.mean(2, keepdim=True)
    error = (centred.mT @ centred / x.shape[2] - root @ root).abs() / (size[..., :, None] * size[..., None, :])
    assert error.max() < 0.15


@pytest.mark.parametrize("points", [64, 192, 150, 20])
def test_every_cell_has_its_share(points):
    """Of any number of points, in a mixed order, so that the first of them are no piece of the shape."""
    model = tiny(spec_of())
    cells = model.outline.sample(2, {}, drawn(), steps=2)
    model.detail.sample = lambda n, cond, noise, *, start, **how: torch.zeros_like(start)
    x = model.sample(2, {}, drawn(), steps=2, points=points)
    for made, mean in zip(x, cells[..., :3], strict=True):
        distance, owner = (made[:, None] - mean).norm(dim=-1).min(1)
        assert distance.max() < 1e-6
        assert owner.bincount(minlength=CELLS).max() <= -(-points // POINTS) * POINTS // CELLS
        if points % POINTS == 0:
            assert owner.bincount().tolist() == [points // CELLS] * CELLS
        assert len(owner[:16].unique()) > 4


def test_samples_are_told_of_their_own_cell():
    """Points of cell c of sample i lie where cell c of sample i says, and follow what the reader says of it."""
    model = tiny(spec_of())
    given = []
    model.reader.register_forward_hook(lambda net, args, out: given.append((args[0], out)))
    model.detail.sample = lambda n, cond, noise, *, start, **how: cond["cell"][:, None, :3].expand_as(start)
    x = model.sample(3, {}, drawn(), steps=2).view(3, CELLS, -1, 3)
    scaled, known = given[0]
    base = model.outline.base
    mean, root = spread(scaled * base.std_lcr[-1] + base.mean_lcr[-1])
    want = mean + (root @ known[..., :3, None])[..., 0]
    torch.testing.assert_close(x, want[:, :, None].expand_as(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("solver", "looks"), [("euler", 1), ("midpoint", 2), ("heun", 2)])
def test_steps_of_both_flows(solver, looks):
    """Each flow is solved in as many steps, by the same solver; other steps give other samples."""
    model, counts = tiny(spec_of()), {"outline": 0, "detail": 0}

    def counter(name: str) -> Any:
        def count(*_: Any) -> None:
            counts[name] += 1

        return count

    for name in counts:
        getattr(model, name).net.register_forward_hook(counter(name))
    x = model.sample(2, {}, drawn(), steps=3, solver=solver)
    assert counts == {"outline": 3 * looks, "detail": 3 * looks}
    assert not torch.equal(model.sample(2, {}, drawn(), steps=4, solver=solver), x)


def test_gradient_of_a_sample():
    """Flows from the points back to every network."""
    model = tiny(spec_of())
    model.sample(2, {}, drawn(), steps=1).square().sum().backward()
    for part in (model.outline.net, model.reader, model.detail.net):
        gradient = torch.cat([p.grad.flatten() for p in part.parameters() if p.grad is not None])
        assert gradient.isfinite().all()
        assert gradient.abs().max() > 0


def test_label_and_guidance():
    """Guidance 0 is the model without a label, 1 with it, and more goes on beyond; temperature widens the cells."""
    model = tiny(spec_of(classes=2))

    def cells(**options: Any) -> Tensor:
        label = options.pop("label", None)
        cond = {} if label is None else {"label": torch.full((2,), label)}
        return summary(model.sample(2, cond, drawn(), steps=2, **options).view(2, CELLS, -1, 3))

    assert not torch.allclose(cells(label=0), cells(label=1), atol=1e-3)
    torch.testing.assert_close(cells(label=1, guidance=0.0), cells(), rtol=0, atol=1e-4)
    assert not torch.allclose(cells(label=1, guidance=3.0), cells(label=1), atol=1e-3)
    assert cells(temperature=3.0)[..., :3].std() > 1.5 * cells()[..., :3].std()


@pytest.mark.parametrize("points", [0, -1])
def test_too_few_points(points):
    with pytest.raises(ValueError, match=f"points must be at least 1, not {points}"):
        tiny(spec_of()).sample(1, {}, drawn(), points=points)


# From one shape to another


def path(model: CellFlow, ends: Tensor, n: int, cond: dict[str, Tensor], **options: Any) -> tuple[Tensor, Tensor]:
    """Samples between two clouds, and the cells that they were drawn from."""
    given = []
    hook = model.reader.register_forward_hook(lambda net, args, out: given.append(args[0]))
    x = model.sample(n, cond, drawn(), between=ends, **options)
    hook.remove()
    return x, given[-1] * model.outline.base.std_lcr[-1] + model.outline.base.mean_lcr[-1]


def ends_of(label: int) -> Tensor:
    return forms(torch.tensor([label, label]), seeded(8)) * torch.tensor([0.9, 1.1]).view(2, 1, 1)


@pytest.mark.parametrize("label", [1, 2])
@torch.no_grad()
def test_between(learned, label):
    """Two samples are the two shapes again; five lead from one to the other, with what is neither amid: with a label,
    and without."""
    ends = ends_of(1)
    cells = summary(split(ends, CELLS))
    far = (cells[0] - cells[1]).abs().max()
    for n in (2, 5):
        cond = {"label": torch.full((n,), label)}
        made = path(learned, ends, n, cond, steps=40)[1]
        assert (made[[0, -1]] - cells).abs().max() < 0.1 * far
        for middle in made[1:-1]:
            assert min((middle - cells[0]).abs().max(), (middle - cells[1]).abs().max()) > 0.1 * far


@torch.no_grad()
def test_places_on_the_way(learned):
    """cond["way"] says where each sample stands, so that a part of the way can be made by itself."""
    ends, label = ends_of(1), torch.ones(5, dtype=torch.long)
    whole = path(learned, ends, 5, {"label": label}, steps=4)[1]
    part = path(learned, ends, 2, {"label": label[:2], "way": torch.tensor([0.25, 1.0])}, steps=4)[1]
    torch.testing.assert_close(part, whole[[1, 4]], rtol=0, atol=1e-4)


def test_points_keep_their_places_between():
    """Of one shape and the next: the same noise in each cell."""
    model = plain_points(tiny(spec_of()))
    x, cells = path(model, clouds(2), 4, {}, steps=4)
    u = to_cells(x.view(4, CELLS, -1, 3), cells)
    torch.testing.assert_close(u, u[:1].expand_as(u), rtol=0, atol=5e-3)
    assert u.std() > 0.8


@torch.no_grad()
def test_between_with_guidance(learned):
    """As the preset samples: the ends are still the two shapes."""
    ends, cond = ends_of(1), {"label": torch.ones(2, dtype=torch.long)}
    plain = path(learned, ends, 2, cond, steps=4)[1]
    torch.testing.assert_close(path(learned, ends, 2, cond, steps=4, guidance=3.0)[1], plain)


@torch.no_grad()
def test_between_a_shape_and_itself():
    """Is that shape all the way, whatever the rounding of an angle of 0, and in any number of points."""
    model = tiny(spec_of())
    for x in clouds(10, seed=1):
        made, cells = path(model, x.expand(2, -1, -1), 3, {}, steps=20, points=100)
        assert (cells - summary(split(x[None], CELLS))).abs().max() < 0.05
        torch.testing.assert_close(made, made[:1].expand_as(made), rtol=0, atol=1e-2)


def test_between_needs_two():
    with pytest.raises(ValueError, match="between two shapes, not 3"):
        tiny(spec_of()).sample(2, {}, drawn(), between=clouds(3))


# Completion


def told(part: Tensor, *known: float) -> dict[str, Tensor]:
    return {"partial": part, "known": torch.tensor(known)}


def test_what_is_told_of_a_part():
    """Nothing of it reaches an example that is not told, in training as in sampling; all but its order the others."""
    model, x = tiny(spec_of(seen=SEEN)), clouds(2)
    a, b = clouds(2, SEEN, seed=1), clouds(2, SEEN, seed=2)
    mixed = a[:, torch.randperm(SEEN, generator=seeded(4))]

    def both(part: Tensor, *known: float) -> tuple[Tensor, Tensor]:
        cond = told(part, *known)
        return model.loss(Batch(x, cond), seeded()).value, model.sample(2, cond, drawn(), steps=1)

    for i in range(2):
        assert torch.equal(both(a, 0, 0)[i], both(b, 0, 0)[i])
        one, other = both(a, 0, 1)[i], both(b, 0, 1)[i]
        assert torch.equal(one[0], other[0])
        assert (one[1] - other[1]).abs().max() > 1e-5
        assert (one[1] - both(a, 0, 0)[i][1]).abs().max() > 1e-5
        torch.testing.assert_close(both(mixed, 1, 1)[i], both(a, 1, 1)[i], rtol=0, atol=1e-5)


# Learning


@torch.no_grad()
def test_cells_learn_discs_and_rods(learned):
    """Each label's samples have its extents, in any number of points, and no two are alike."""
    label = torch.arange(16) % 2
    x = learned.sample(16, {"label": label}, drawn(), steps=10, points=256)
    for kind, want in enumerate((DISC, ROD)):
        mine = extents(x[label == kind])
        assert (mine.mean(0) - want).abs().max() < 0.05
        assert (mine - want).abs().max() < 0.15
        assert mine.max(1).values.std() > 0.003
    again = learned.sample(64, {}, drawn(), steps=10)
    flat = (extents(again)[:, 2] < 0.2).double().mean().item()
    assert 0.1 < flat < 0.9, "without a label, some of each"


@torch.no_grad()
def test_a_set_learns_discs_and_rods():
    """The same of all points at once, more roughly."""
    data = Forms()
    net = partial(SetNet, dim=32, depth=2, heads=2, inducing=8)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        flow = fitted(Flow(data.spec, net), data, 120)
    label = torch.arange(16) % 2
    x = flow.sample(16, {"label": label}, drawn(), steps=10)
    for kind, want in enumerate((DISC, ROD)):
        assert (extents(x[label == kind]).mean(0) - want).abs().max() < 0.15


def test_a_set_has_no_order():
    """The velocities go with their points, whatever their number; the label and the time are heard."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = awake(SetNet(spec_of(classes=2), dim=16, depth=2, heads=2, inducing=4)).eval()
    t, cond = torch.tensor([0.2, 0.7]), {"label": torch.tensor([0, 1])}
    for points in (POINTS, 10):
        x = clouds(2, points)
        order = torch.randperm(points, generator=seeded(1))
        v = net(x, t, cond)
        torch.testing.assert_close(net(x[:, order], t, cond), v[:, order], rtol=0, atol=1e-5)
        moved = x.clone()
        moved[:, 0] += 1
        assert (net(moved, t, cond)[:, 1:] - v[:, 1:]).abs().max() > 1e-5, "points know of each other"
    for other in (net(x, t, {"label": torch.tensor([1, 0])}), net(x, t.flip(0), cond)):
        assert (other - v).abs().amax((1, 2)).min() > 1e-4


# The law of the cells


def test_law_of_the_cells():
    """Mean and standard deviation over what is trained on, also where the data lists one class after the other; they
    travel with the weights."""
    data, law = Forms(64), CellLaw(Spec((CELLS, SUMMARY)))
    law.initialise(data)
    cells = summary(split(data.batch(0, FITTED, "train").x, CELLS))
    torch.testing.assert_close(law({})[0], cells.mean(0), rtol=0, atol=1e-6)
    torch.testing.assert_close(law({})[1], cells.std(0).clamp(min=1e-3), rtol=0.01, atol=0)
    assert set(law.state_dict()) == {"mean_lcr", "std_lcr"}
    swept = summary(split(data.x, CELLS)).mean(0)
    torch.testing.assert_close(law.mean_lcr[-1], swept, rtol=0, atol=0.1)


def test_law_of_a_label():
    """That of its own shapes; none, and no label at all, mean the law of all of them."""
    data, law = Forms(64), CellLaw(Spec((CELLS, SUMMARY), classes=2))
    law.initialise(data)
    batch = data.batch(0, FITTED + 2 * A_CLASS, "train")
    cells = summary(split(batch.x, CELLS))
    mean, std = law({"label": torch.tensor([0, 1, 2])})
    for row, own in enumerate((cells[batch.cond["label"] == 0], cells[batch.cond["label"] == 1], cells)):
        torch.testing.assert_close(mean[row], own.mean(0), rtol=0, atol=1e-5)
        assert (std[row] >= own.std(0, correction=0) - 1e-5).all()
    assert (std[:2].mean((1, 2)) < std[2].mean()).all(), "a class varies less than all of them"
    assert (std[:2] >= 0.1 * std[2] - 1e-6).all()
    torch.testing.assert_close(law({})[0], mean[2])


def test_law_of_one_shape(monkeypatch):
    """One that is always the same has no deviation but the floor."""
    data, law = Forms(1), CellLaw(Spec((CELLS, SUMMARY)))
    monkeypatch.setattr(data, "batch", lambda *_: Batch(data.x))
    law.initialise(data)
    torch.testing.assert_close(law.mean_lcr[-1], summary(split(data.x, CELLS))[0])
    torch.testing.assert_close(law.std_lcr[-1], torch.full((CELLS, SUMMARY), 1e-3))


# What is refused


@pytest.mark.parametrize("cells", [0, 3, 24, 128])
def test_cells_that_do_not_fit(cells):
    with pytest.raises(ValueError, match=rf"model\.cells={cells} must be a power of two that divides data\.points=64"):
        tiny(spec_of(), cells=cells)


@pytest.mark.parametrize(
    ("seen", "nets", "said"),
    [
        (0, {"outline": {"patch": 3}}, "patch=3 of model.outline.net must divide 8 cells"),
        (SEEN, {"outline": {"patch": 4, "seen": 2}}, "patch=4 of model.outline.net must divide 8 cells and seen=2"),
        (0, {"reader": {"patch": 3}}, "patch=3 of model.reader must divide model.cells=8"),
        (60, {}, "seen=8 of model.outline.net must be a power of two that divides data.seen=60"),
        (48, {"outline": {"seen": 12}}, "seen=12 .* must be a power of two that divides data.seen=48"),
        (0, {"shown": 0}, "model.shown must be at least 1, not 0"),
    ],
)
def test_nets_that_do_not_fit(seen, nets, said):
    """Said before anything is trained."""
    with pytest.raises(ValueError, match=said):
        tiny(spec_of(seen=seen), **nets)


def test_cells_without_their_law():
    """The reader's units are its."""
    with pytest.raises(ValueError, match=r"model\.outline\.base must be genzoo_points\.CellLaw"):
        CellFlow(
            spec_of(),
            cells=CELLS,
            outline=partial(Flow, net=partial(CellNet, dim=16, depth=1, heads=2)),
            reader=partial(CellReader, dim=16, depth=1, heads=2),
            detail=partial(Flow, net=PointNet),
        )


def test_a_set_completes_nothing():
    with pytest.raises(ValueError, match=r"SetNet completes nothing: set data\.partial=0"):
        SetNet(spec_of(seen=SEEN))
