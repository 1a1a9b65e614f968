"""The linear forecast on systems whose laws are known: it must find them, their errors, their seasons and their leads.

Legend: N maps, K past maps, C channels, H latitudes, W longitudes, M modes.
"""

import math

import pytest
import torch
from torch import Tensor

from genzoo.contract import Batch, Spec
from genzoo_weather.data import WeatherData
from genzoo_weather.linear import MINUTES_A_DAY, MINUTES_A_YEAR, LinearForecast

SIZE = (2, 4, 6)
AREA = torch.tensor([0.4, 1.2, 1.5, 0.9], dtype=torch.float64)
STEP = 720
START = 9 * MINUTES_A_YEAR + 12_345


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def batch_of(maps: Tensor, past: int = 1, lead: int = 1, *, step: int = STEP) -> Batch:
    """All examples of a series of maps [N, C, H, W], one every `step` minutes."""
    maps, minutes = maps.float(), START + step * torch.arange(len(maps))
    aims = torch.arange(past - 1 + lead, len(maps))
    ages = torch.arange(past - 1, -1, -1) + lead
    given = maps[aims[:, None] - ages]
    return Batch(maps[aims], {"past": given, "known": torch.ones(len(aims)), "minutes": minutes[aims]})


def linear(batch: Batch, *, lead: int = 1, step: int = STEP, **options) -> LinearForecast:
    """Fitted to a batch."""
    past = batch.cond["past"].shape[1]
    model = LinearForecast(Spec(SIZE, context={"past": (past, *SIZE), "known": (), "minutes": ()}), **options)
    model.fit(batch, area=AREA, step_minutes=step, lead=lead)
    return model


def series(transition: Tensor, noise: Tensor, first: Tensor) -> Tensor:
    """z_t = transition z_(t-1) + noise_t: [N, M]."""
    made = [first]
    for part in noise[1:]:
        made.append(transition @ made[-1] + part)
    return torch.stack(made)


def patterns(count: int, seed: int = 5) -> Tensor:
    """So many maps, independent of each other, [M, C, H, W]."""
    return draw(count, *SIZE, seed=seed)


def spinning(n: int, angles: tuple[float, ...]) -> Tensor:
    """A deterministic motion of 2 coefficients for each angle (radians a step): [N, 2 angles]."""
    t = torch.arange(n, dtype=torch.float64)
    return torch.stack([f(a * t + i) * (2 + i) for i, a in enumerate(angles) for f in (torch.cos, torch.sin)], dim=1)


# ---- modes


@pytest.mark.parametrize("lead", [1, 3])
def test_linear_motion_is_forecast_exactly(lead):
    """Four patterns that turn into one another, about a mean map: nothing is left to be wrong about, at any lead."""
    maps = 7 + torch.tensordot(spinning(400, (0.3, 1.1)), patterns(4), dims=1)
    batch = batch_of(maps, lead=lead)
    model = linear(batch, modes=4, year=0, ridge=0.0, lead=lead)
    mean, std = model(batch.cond)
    assert (mean - batch.x).std() < 1e-2 * batch.x.std()
    assert std.mean() < 1e-2 * model({**batch.cond, "known": torch.zeros(len(batch))})[1].mean()
    still = linear(batch, modes=0, year=0, lead=lead)(batch.cond)[0]
    assert (still - batch.x).std() > 10 * (mean - batch.x).std(), "no point by itself could have known"


def test_older_maps_are_used_in_their_order():
    """A standing wave, x_t = 2 cos(a) x_(t-1) - x_(t-2), follows from its last two maps and not from the last alone."""
    wave = 3 * torch.cos(0.8 * torch.arange(600, dtype=torch.float64))[:, None]
    maps = torch.tensordot(wave, patterns(1), dims=1)
    errors = {}
    for past in (1, 2, 3):
        batch = batch_of(maps, past)
        errors[past] = (linear(batch, modes=1, year=0, ridge=1e-9)(batch.cond)[0] - batch.x).std().item()
    assert errors[2] < 1e-2 * errors[1]
    assert errors[3] < 1e-2 * errors[1]
    batch = batch_of(maps, 2)
    model = linear(batch, modes=1, year=0, ridge=1e-9)
    turned = model({**batch.cond, "past": batch.cond["past"].flip(1)})[0]
    assert (turned - batch.x).std() > errors[1]


def test_noisy_system_and_the_spread_of_its_errors():
    """An autoregression of three coefficients: the forecast is A z within sampling error, and the spread at each point
    that of its noise; without a past the spread is that of the climate."""
    mix = torch.tensor([[0.8, 0.3, 0.0], [-0.3, 0.7, 0.1], [0.0, 0.0, 0.5]], dtype=torch.float64)
    z = series(mix, draw(6000, 3), torch.zeros(3, dtype=torch.float64))
    pattern = patterns(3)
    maps = torch.tensordot(z, pattern, dims=1)
    batch = batch_of(maps)
    model = linear(batch, modes=3, year=0, ridge=1e-6)
    mean, std = model(batch.cond)
    want = torch.tensordot(z[:-1] @ mix.T, pattern, dims=1)
    assert ((mean - want).square().mean() / maps.square().mean()).sqrt() < 0.05
    torch.testing.assert_close(std[0].double(), pattern.square().sum(0).sqrt(), rtol=0.05, atol=0.1)
    climate = model({**batch.cond, "known": torch.zeros(len(batch))})[1]
    torch.testing.assert_close(climate[0].double(), maps.std(0), rtol=0.05, atol=0.1)


def test_what_lies_outside_the_modes_is_damped_point_by_point():
    """One strong pattern that turns its sign each step, and weak noise with a memory of 0.8 at every point: modes and
    points are each forecast by their own law. (What noise the pattern has a share in, a 48th, is turned with it.)"""
    sign = 20 * (-1.0) ** torch.arange(5000, dtype=torch.float64)
    weak = series(0.8 * torch.eye(48).double(), draw(5000, 48), draw(48, seed=1)).view(-1, *SIZE)
    batch = batch_of(torch.tensordot(sign[:, None], patterns(1), dims=1) + weak)
    mean, std = linear(batch, modes=1, year=0, ridge=1e-6)(batch.cond)
    error = (mean - batch.x).square().mean().sqrt().item()
    assert 0.97 < error < 1.2, "1 is the noise that comes new, 1.67 what there is of it"
    assert std.square().mean().sqrt().item() == pytest.approx(error, rel=1e-3)
    assert (linear(batch, modes=0, year=0)(batch.cond)[0] - batch.x).std() > 10


def test_modes_are_those_of_the_area():
    """Of two patterns the one that counts more over the area is the leading mode, though its values are smaller."""
    narrow, wide = torch.zeros(2, *SIZE, dtype=torch.float64)
    narrow[:, 0], wide[:, 2] = 1.2, 1.0  # rows of area 0.4 and 1.5
    spin = spinning(300, (2.0,)) / 2
    one, other = spin[:, 0].view(-1, 1, 1, 1), spin[:, 1].view(-1, 1, 1, 1)
    batch = batch_of(one * narrow + other * wide)
    model = linear(batch, modes=1, year=0)
    shown = model({**batch.cond})[0].square().mean(0)
    assert shown[:, 2].min() > 10 * shown[:, 0].max(), "the mode moves, the rest is damped to nothing by its memory"


# ---- no modes: climatology, damped persistence, persistence


@pytest.mark.parametrize("memory", [0.9, 0.5, 0.0])
@pytest.mark.parametrize("lead", [1, 2])
def test_damped_persistence(memory, lead):
    """Points of memory r: the forecast is r^lead times the anomaly, its error sqrt(1 - r^(2 lead)) of the climate."""
    noise = math.sqrt(1 - memory**2) * draw(8000, 48)
    maps = 4 + series(memory * torch.eye(48).double(), noise, draw(48, seed=1)).view(-1, *SIZE)
    batch = batch_of(maps, lead=lead)
    mean, std = linear(batch, modes=0, year=0, lead=lead)(batch.cond)
    want = 4 + memory**lead * (batch.cond["past"][:, -1] - 4)
    assert (mean - want).std() < 0.05
    torch.testing.assert_close(std[0], torch.full(SIZE, math.sqrt(1 - memory ** (2 * lead))), rtol=0, atol=0.05)


def test_persistence_is_the_limit():
    """Where the next map is the last one and a little, the last one is the forecast, and the little its spread."""
    last, step = 10 * draw(3000, *SIZE), 0.5 * draw(3000, *SIZE, seed=1)
    batch = batch_of(torch.zeros(3001, *SIZE))
    batch = Batch((last + step).float(), {**batch.cond, "past": last[:, None].float()})
    mean, std = linear(batch, modes=0, year=0)(batch.cond)
    assert (mean - last).std() < 0.1
    torch.testing.assert_close(std[0], torch.full(SIZE, 0.5), rtol=0.1, atol=0)
    more = Batch(2 * batch.cond["past"][:, 0], batch.cond)
    torch.testing.assert_close(linear(more, modes=0, year=0)(batch.cond)[0], last.float(), rtol=0, atol=0.05)


def test_anomalies_are_not_turned_round():
    """A point that swings from map to map has a memory below 0: it is forecast as its climate, not as its opposite."""
    maps = draw(1, *SIZE) * ((-1.0) ** torch.arange(400, dtype=torch.float64)).view(-1, 1, 1, 1)
    batch = batch_of(maps)
    torch.testing.assert_close(
        linear(batch, modes=0, year=0)(batch.cond)[0], torch.zeros_like(batch.x), rtol=0, atol=0.02
    )


@pytest.mark.parametrize("lead", [1, 4])
def test_seasons_and_hours_are_exact(lead):
    """Two harmonics of the year and one of the day are the climatology, whatever the past; of the map that is forecast,
    not of the one that was given."""
    time = START + 360 * torch.arange(6000, dtype=torch.float64)
    year, day = (2 * math.pi * time / period for period in (MINUTES_A_YEAR, MINUTES_A_DAY))
    waves = torch.stack((torch.ones(6000), year.cos(), year.sin(), (2 * year).cos(), day.sin()), dim=1).double()
    maps = torch.tensordot(waves, patterns(5), dims=1)
    batch = batch_of(maps, lead=lead, step=360)
    model = linear(batch, modes=0, year=2, day=1, lead=lead, step=360)
    for known in (torch.ones(len(batch)), torch.zeros(len(batch))):
        mean, _ = model({**batch.cond, "known": known})
        torch.testing.assert_close(mean, batch.x, rtol=0, atol=2e-3)
    less = linear(batch, modes=0, year=1, day=1, lead=lead, step=360)
    assert (less({**batch.cond, "known": 0 * known})[0] - batch.x).abs().max() > 0.5


def test_seasons_are_taken_off_the_past():
    """Weather about a strong season: the anomaly that is carried on is the last map less the climate of its time."""
    time = 2 * math.pi * (START + STEP * torch.arange(4000, dtype=torch.float64)) / MINUTES_A_YEAR
    season = 30 * time.cos().view(-1, 1, 1, 1) * torch.ones(SIZE)
    noise = math.sqrt(1 - 0.9**2) * draw(4000, 48)
    weather = series(0.9 * torch.eye(48).double(), noise, draw(48, seed=1)).view(-1, *SIZE)
    batch = batch_of(season + weather, lead=20)
    error = linear(batch, modes=0, year=1, lead=20)(batch.cond)[0] - batch.x
    assert error.std().item() == pytest.approx(math.sqrt(1 - 0.9**40), abs=0.03)


# ---- the rest


def test_unknown_past_is_the_climatology():
    """No trace of what stands in `past` where it is not known; rows are told apart."""
    maps = 5 + torch.tensordot(spinning(200, (0.3, 1.1)), patterns(4), dims=1)
    batch = batch_of(maps, 2)
    model = linear(batch, modes=3, year=0)
    known = torch.arange(len(batch)) % 2.0
    mean, std = model({**batch.cond, "known": known})
    with_past = model(batch.cond)
    for row in (mean, std):
        assert row.shape == batch.x.shape
    assert torch.equal(mean[1::2], with_past[0][1::2])
    assert torch.equal(std[1::2], with_past[1][1::2])
    torch.testing.assert_close(mean[::2], batch.x.mean(0).expand_as(mean[::2]), rtol=0, atol=1e-3)
    other = model({**batch.cond, "known": known, "past": 100 + batch.cond["past"]})
    assert torch.equal(other[0][::2], mean[::2])
    assert not torch.allclose(std[0], std[1])


def test_weights_travel():
    """Another one takes all that was fitted from the state, and forecasts the same."""
    batch = batch_of(torch.tensordot(spinning(300, (0.3, 1.1)), patterns(4), dims=1), 2, 3)
    model = linear(batch, modes=5, year=2, day=1, lead=3)
    other = LinearForecast(Spec(SIZE, context={"past": (2, *SIZE)}), modes=5, year=2, day=1)
    assert not torch.equal(other(batch.cond)[0], model(batch.cond)[0])
    other.load_state_dict(model.state_dict())
    for a, b in zip(other(batch.cond), model(batch.cond), strict=True):
        assert torch.equal(a, b)
    torch.testing.assert_close(other.weight, AREA.float().view(1, 4, 1))
    assert other.weight.mean().item() == pytest.approx(1)
    assert not list(other.parameters()), "nothing that an optimizer would move"


def test_fit_is_repeatable_and_leaves_the_world_alone():
    """The same maps give the same constants; torch's own generator is neither read nor moved."""
    batch = batch_of(draw(200, *SIZE))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = linear(batch, modes=6).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert all(torch.equal(value, first[name]) for name, value in linear(batch, modes=6).state_dict().items())


@pytest.mark.parametrize("examples", [3, 30])
def test_fewer_maps_than_modes(examples):
    """A short file still gives a forecast; the modes that it does not have are none."""
    batch = batch_of(draw(examples + 1, *SIZE))
    mean, std = linear(batch, modes=40, year=0)(batch.cond)
    assert mean.isfinite().all()
    assert (std > 0).all()


def test_spread_is_never_nothing():
    """Points that never change, or are forecast exactly, keep a spread: data are divided by it."""
    maps = draw(100, *SIZE)
    maps[:, 0, 0, 0] = 3.0
    std = linear(batch_of(maps), modes=0, year=0)(batch_of(maps).cond)[1]
    assert std.min() > 1e-3


@pytest.mark.parametrize("options", [{"modes": -1}, {"year": -1}, {"day": -2}, {"ridge": -1e-3}])
def test_refused_options(options):
    """Less than nothing."""
    with pytest.raises(ValueError, match="modes, year, day and ridge must not be negative"):
        LinearForecast(Spec(SIZE, context={"past": (1, *SIZE)}), **options)


def test_initialise_fits_to_the_training_split():
    """Of simulated weather: the same as `fit` with the split's examples, and better than the last map as it is."""
    data = WeatherData(
        simulation={"latitudes": 20, "truncation": 13, "trajectories": 2, "days": 20, "spin_up_days": 10}
    )
    data.prepare()
    models = [LinearForecast(data.spec, modes=20, year=0) for _ in range(2)]
    models[0].initialise(data)
    train = data.examples("train", most=6000)
    models[1].fit(train, area=data.grid.area, step_minutes=data.step_minutes)
    state = models[1].state_dict()
    assert all(torch.equal(value, state[name]) for name, value in models[0].state_dict().items())
    error = (models[0](train.cond)[0] - train.x).square().mean()
    assert error < 0.5 * (train.cond["past"][:, -1] - train.x).square().mean()
    torch.testing.assert_close(models[0].weight.view(-1).double(), data.grid.area, rtol=0, atol=1e-6)
