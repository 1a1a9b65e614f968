"""Weather maps as examples: windows without gaps, splits that share nothing, pure batches, forecasts from a file, and
a state that travels."""

import functools
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from genzoo.contract import Data
from genzoo.errors import UserError
from genzoo_weather import fields as fields_module
from genzoo_weather import shallow_water
from genzoo_weather.apart import open_fields
from genzoo_weather.data import WeatherData
from genzoo_weather.shallow_water import Simulation

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "weather"
DAY = 24 * 60
SOME = (0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 13, 14, 15, 16)
"""Positions of maps that are there: runs of four, six and four."""


def prepared(path: str, **options) -> WeatherData:
    """A WeatherData that is ready."""
    data = WeatherData(path=path, **options)
    data.prepare()
    return data


def travelled(data: WeatherData, **options) -> WeatherData:
    """Another that only has the first one's state, as JSON."""
    other = WeatherData(**options)
    other.load_state_dict(json.loads(json.dumps(data.state_dict())))
    return other


def rows_of(batch) -> list[bytes]:
    return [x.numpy().tobytes() for x in batch.x]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder, and what `series` wrote there."""
    return tmp_path_factory.mktemp("series"), {}


@pytest.fixture
def series(maps, saved, shelf) -> Callable[..., str]:
    """The path of ten days of msl and z500, 6-hourly, or as it is told; written once, so none is to be changed."""
    folder, written = shelf

    def path(name: str = "series.nc", **options) -> str:
        key = f"{name} {options}"
        if key not in written:
            options = {"names": ("msl", "z"), "levels": (500,), "hours": range(0, 240, 6), **options}
            written[key] = saved(maps(**options), str(folder / str(len(written)) / name))
        return written[key]

    return path


# ---- what there is before, and after


def test_spec(series):
    """An example is a map of channels; a score is counted in values."""
    data = prepared(series(), past=2)
    assert isinstance(data, Data)
    context = {"past": (2, 2, 5, 8), "known": (), "minutes": ()}
    assert data.spec.to_dict() == {"shape": (2, 5, 8), "vocab": 0, "classes": 0, "context": context}
    batch = data.batch(0, 3, "train")
    assert {name: tuple(value.shape) for name, value in batch.cond.items()} == {
        "past": (3, 2, 2, 5, 8),
        "known": (3,),
        "minutes": (3,),
    }
    assert batch.x.dtype == batch.cond["past"].dtype == torch.float32
    assert batch.cond["minutes"].dtype == torch.int64
    assert data.units("val") == len(data.starts("val")) * 2 * 5 * 8
    assert data.unit == "value"


def test_constructor_opens_nothing(tmp_path):
    """A path is read by `prepare`, not before."""
    data = WeatherData(path=str(tmp_path / "nowhere.nc"))
    with pytest.raises(UserError, match=r"nowhere\.nc"):
        data.prepare()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"past": 0}, r"data\.past must be at least 1, not 0"),
        ({"val_fraction": 0.0}, r"data\.val_fraction must lie between 0 and 1"),
        ({"val_fraction": 1.0}, r"data\.val_fraction must lie between 0 and 1"),
        ({"unconditional": -0.1}, r"data\.unconditional from 0 to 1"),
        ({"unconditional": 1.1}, r"data\.unconditional from 0 to 1"),
        ({"step_hours": 0.0}, r"data\.step_hours must be above 0, not 0"),
        ({"step_hours": -6.0}, r"data\.step_hours must be above 0, not -6"),
        ({"missing": "drop"}, r"data\.missing"),
    ],
)
def test_arguments_out_of_range(options, said):
    """Refused by key, before anything is opened."""
    with pytest.raises(UserError, match=said):
        WeatherData(**options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"start": "yesterday-ish"}, r"data\.start=yesterday-ish is no date such as"),
        ({"val_from": "2001-13-01"}, r"data\.val_from=2001-13-01 is no date"),
        ({"end": "20010105"}, r"data\.end=20010105 is no date"),
        ({"start": "2002-01-01"}, r"0 maps from data\.start to data\.end"),
        ({"start": "2001-01-02", "end": "2001-01-01"}, r"0 maps from data\.start to data\.end"),
        ({"val_from": "2002-01-01"}, r"leaves no maps to validate on"),
        ({"val_from": "2000-01-01"}, r"leaves no maps to train on"),
        ({"past": 40}, r"leaves no maps"),
        ({"step_hours": 9.0}, r"data\.step_hours=9 is no multiple of the 6 hours"),
        ({"step_hours": 3.0}, r"data\.step_hours=3 is no multiple of the 6 hours"),
        ({"step_hours": 0.001}, r"data\.step_hours"),
        ({"val_fraction": 0.999}, r"leaves no maps to train on"),
    ],
)
def test_choices_that_leave_nothing(series, options, said):
    """Refused in one line, by key."""
    with pytest.raises(UserError, match=said) as error:
        prepared(series(), **options)
    assert "\n" not in str(error.value)


# ---- scale


def test_mean_and_deviation_are_of_the_area(series):
    """Each row weighs as its band between the half-way latitudes: the sine's difference; only maps that are trained on
    count."""
    path = series(latitude=[-80, -60, 0, 20, 70])
    data = prepared(path, val_from="2001-01-06")
    edge = np.sin(np.radians([-90, -70, -30, 10, 45, 90]))
    weight = np.diff(edge) / np.diff(edge).sum()
    x = open_fields(path).read(np.arange(19)).double().numpy()  # the last target is the map before val_from
    mean = np.einsum("nchw,h->c", x, weight) / (19 * 8)
    std = np.sqrt(np.einsum("nchw,h->c", (x - mean[:, None, None]) ** 2, weight) / (19 * 8))
    assert [v["mean"] for v in data.state_dict()["variables"]] == pytest.approx(mean, rel=1e-9)
    assert [v["std"] for v in data.state_dict()["variables"]] == pytest.approx(std, rel=1e-7)


def test_encode_and_decode(series):
    """One undoes the other, with any axes before, also in 64 bits."""
    path = series()
    data, x = prepared(path), open_fields(path).read(np.arange(40))
    encoded = data.encode(x)
    assert encoded.mean().abs() < 0.2
    assert encoded.std() == pytest.approx(1, abs=0.2)
    torch.testing.assert_close(data.decode(encoded), x, rtol=1e-6, atol=0)
    assert torch.equal(data.encode(x.view(4, 10, 2, 5, 8)), encoded.view(4, 10, 2, 5, 8))
    torch.testing.assert_close(data.decode(data.encode(x.double())), x.double(), rtol=1e-14, atol=0)


@pytest.mark.parametrize("value", [0.0, 101325.0, 287.3, 1e-3])
@pytest.mark.parametrize("wide", [8, 9])
def test_a_constant_channel(maps, saved, value, wide):
    """Has no scale, and is refused by name, whatever rounding makes of its mean."""
    places = {"latitude": [-80, -60, 0, 20, 70], "longitude": np.arange(wide) * (360 / wide)}
    dataset = maps(("msl",), hours=range(0, 240, 6), **places)
    dataset["rain"] = dataset["msl"] * 0 + value
    with pytest.raises(UserError, match=r"rain of data\.path=.* is the same everywhere"):
        prepared(saved(dataset))


# ---- windows


@pytest.mark.parametrize("past", [1, 2, 3])
def test_examples_are_maps_in_a_row(series, past):
    """The past is the maps before, oldest first, and time is that of the map to be made."""
    path = series()
    data, fields = prepared(path, past=past), open_fields(path)
    batches = [*data.sweep("train", 7), *data.sweep("val", 7)]
    x, minutes = (torch.cat([f(b) for b in batches]) for f in (lambda b: b.x, lambda b: b.cond["minutes"]))
    assert minutes.tolist() == fields.minutes[past:].tolist()
    truth = data.encode(fields.read(np.arange(40)))
    assert torch.equal(x, truth[past:])
    known = torch.cat([b.cond["past"] for b in batches])
    assert all(torch.equal(known[:, k], truth[k : k + 40 - past]) for k in range(past))
    assert all(len(b) <= 7 for b in batches)


@pytest.mark.parametrize(("past", "stride"), [(1, 1), (2, 1), (3, 1), (4, 1), (1, 2), (2, 2), (1, 3)])
def test_windows_never_cross_gaps(series, past, stride):
    """All runs of maps without a gap, long enough for the past and the map after it, and no others."""
    path, long = series(hours=np.array(SOME) * 6), past * stride
    data = prepared(path, past=past, step_hours=6.0 * stride, val_fraction=0.5)
    start = open_fields(path).minutes[0]
    got = [b.cond["minutes"] - start for split in ("train", "val") for b in data.sweep(split, 4)]
    assert (torch.cat(got) // 360).tolist() == [a + long for a in SOME if {*range(a, a + long + 1)} <= {*SOME}]


def test_a_map_at_an_odd_time(series):
    """A map that is displaced belongs to no window, also not as its middle."""
    path = series(hours=[0, 6, 12, 18, 24, 33, 36, 42, 48, 54, 60])
    data = prepared(path, past=2, val_fraction=0.3)
    start = open_fields(path).minutes[0]
    got = torch.cat([b.cond["minutes"] - start for split in ("train", "val") for b in data.sweep(split, 4)])
    assert (got // 60).tolist() == [12, 18, 24, 48, 54, 60]


def test_windows_never_cross_members(series):
    """A member's first map is no future of another's last one."""
    path = series(members=4, hours=range(0, 60, 6))
    data, fields = prepared(path, past=2), open_fields(path)
    truth = data.encode(fields.read(np.arange(40)))
    place = {x.numpy().tobytes(): i for i, x in enumerate(truth)}
    batches = [b for split in ("train", "val") for b in data.sweep(split, 5)]
    assert sum(map(len, batches)) == 4 * 8
    for batch in batches:
        for x, past in zip(batch.x, batch.cond["past"], strict=True):
            i = place[x.numpy().tobytes()]
            assert i % 10 >= 2
            assert torch.equal(past, truth[i - 2 : i])


def test_strides(series):
    """Steps of two days of 6-hourly maps begin at every map."""
    path = series()
    data, truth = prepared(path, step_hours=48.0), open_fields(path)
    assert data.step_minutes == 2 * DAY
    batch = next(data.sweep("train", 100))
    minutes = batch.cond["minutes"].numpy()
    assert np.diff(minutes).tolist() == [360] * (len(batch) - 1)
    assert torch.equal(
        data.decode(batch.cond["past"][:, 0]), data.decode(data.encode(truth.read(np.arange(len(batch)))))
    )
    assert minutes[0] - truth.minutes[0] == 2 * DAY


# ---- splits


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"val_fraction": 0.5, "past": 3},
        {"val_from": "2001-01-07"},
        {"val_from": "2001-01-07T18", "past": 2, "step_hours": 24.0},
        {"start": "2001-01-03", "end": "2001-01-08", "step_hours": 12.0},
    ],
)
@pytest.mark.parametrize("members", [0, 2])
def test_splits_share_no_target(series, options, members):
    """Each window's target is of one split; with val_from by its date, also of every member."""
    path = series(members=members, hours=range(0, 240, 6))
    data = prepared(path, **options)
    train, val = ([x for b in data.sweep(split, 16) for x in rows_of(b)] for split in ("train", "val"))
    assert len(set(train)) == len(train)
    assert len(set(val)) == len(val)
    assert not set(train) & set(val)
    times = {split: torch.cat([b.cond["minutes"] for b in data.sweep(split, 16)]).numpy() for split in ("train", "val")}
    at = {
        key: np.datetime64(day, "m") - np.datetime64("2000-01-01", "m")
        for key, day in options.items()
        if "-" in str(day)
    }
    if "val_from" in at:
        assert times["train"].max() < at["val_from"].astype(int) <= times["val"].min()
    if "start" in at:
        both = np.concatenate([*times.values()])
        assert both.min() == at["start"].astype(int) + 720
        assert both.max() == at["end"].astype(int) + 18 * 60
    if not at and not members:
        whole = 40 - options.get("past", 1)
        assert len(val) == whole - int(whole * (1 - options.get("val_fraction", 0.1)))
        assert times["train"].max() < times["val"].min()


def test_the_last_hour(series):
    """An end with an hour is that hour, one without is the whole day."""
    path = series()
    start = open_fields(path).minutes[0]
    for end, hours in (("2001-01-04", 3 * 24 + 18), ("2001-01-04T06", 3 * 24 + 6)):
        data = prepared(path, end=end)
        assert data.fields.minutes.max() - start == hours * 60


# ---- batches


@pytest.mark.parametrize("split", ["train", "val"])
def test_batch_is_pure(series, split):
    """A batch depends on its arguments alone: not on what was asked before, nor on which object is asked; another seed
    gives others."""
    path = series()
    one, two, other = prepared(path), prepared(path), prepared(path, seed=1)
    want = [one.batch(step, 7, split) for step in range(12)]
    for step in (11, 3, 3, 0):
        got = two.batch(step, 7, split)
        assert torch.equal(got.x, want[step].x)
        assert all(torch.equal(got.cond[name], want[step].cond[name]) for name in got.cond)
    assert any(not torch.equal(other.batch(step, 7, split).x, want[step].x) for step in range(12))


@pytest.mark.parametrize("size", [1, 5, 7, 35])
def test_an_epoch_visits_each_example_once(series, size):
    """35 examples are trained on, in a new order each epoch."""
    data = prepared(series(), val_fraction=0.1)
    orders = []
    for epoch in (0, 1, 4):
        steps = range(epoch * 35 // size, (epoch + 1) * 35 // size)
        orders.append([m for step in steps for m in data.batch(step, size, "train").cond["minutes"].tolist()])
    want = sorted(m for b in data.sweep("train", 9) for m in b.cond["minutes"].tolist())
    assert all(sorted(order) == want for order in orders)
    assert len(set(map(tuple, orders))) == 3


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_some_are_told_no_past(series, share):
    """That share of what is trained on, whose past is nought; none of what is validated."""
    path = series()
    data, sure = prepared(path, unconditional=share), prepared(path, unconditional=0.0)
    count = 0
    for step in range(40):
        batch, told = data.batch(step, 25, "train"), sure.batch(step, 25, "train")
        known = batch.cond["known"]
        assert set(known.tolist()) <= {0.0, 1.0}
        count += int((known == 0).sum())
        assert torch.equal(batch.x, told.x)
        assert torch.equal(batch.cond["past"], told.cond["past"] * known.view(-1, 1, 1, 1, 1))
        assert told.cond["past"].flatten(1).abs().amax(1).min() > 0
    assert count == pytest.approx(1000 * share, abs=5 * (1000 * share * (1 - share)) ** 0.5)
    assert (data.batch(3, 25, "val").cond["known"] == 1).all()
    assert all((b.cond["known"] == 1).all() for split in ("train", "val") for b in data.sweep(split, 9))


@pytest.mark.parametrize("name", ["series.nc", "series.zarr"])
@pytest.mark.parametrize("members", [0, 2])
def test_maps_read_as_needed(series, name, members):
    """Are the same, bit by bit, as those in memory."""
    path = series(name, members=members)
    kept, read = prepared(path, past=2, start="2001-01-02"), prepared(path, past=2, start="2001-01-02", memory_gb=0.0)
    assert kept.kept is not None
    assert read.kept is None
    assert read.state_dict() == kept.state_dict()
    for split in ("train", "val"):
        for step in (0, 3):
            one, two = kept.batch(step, 9, split), read.batch(step, 9, split)
            assert torch.equal(one.x, two.x)
            assert torch.equal(one.cond["past"], two.cond["past"])
        assert all(torch.equal(a.x, b.x) for a, b in zip(kept.sweep(split, 8), read.sweep(split, 8), strict=True))


def test_unknown_splits(series):
    """There are two."""
    data = prepared(series())
    for ask in (
        lambda: next(data.sweep("test", 4)),
        lambda: data.starts("test"),
        lambda: data.fingerprint("test"),
        lambda: data.batch(0, 4, "test"),
    ):
        with pytest.raises(UserError, match="train or val.*'test'"):
            ask()


@pytest.mark.parametrize("lead", [1, 2, 4])
@pytest.mark.parametrize("past", [1, 2])
def test_leads(series, lead, past):
    """An example's map `lead` steps after its past; only starts that have one without a gap between, in their split."""
    there = np.array(SOME)
    path = series(hours=there * 6)
    data, fields = prepared(path, past=past, val_fraction=0.4), open_fields(path)
    truth = data.encode(fields.read(np.arange(len(there))))
    found = []
    for split in ("train", "val"):
        starts = data.starts(split, lead)
        found += starts.tolist()
        assert set(starts) <= set(data.starts(split))
        if not len(starts):
            continue
        batch = data.examples_at(starts, lead=lead)
        assert torch.equal(batch.x, truth[starts + past - 1 + lead])
        assert torch.equal(batch.cond["past"], truth[starts[:, None] + np.arange(past)])
        assert torch.equal(batch.cond["minutes"], torch.tensor(fields.minutes[starts + past - 1 + lead]))
        assert (batch.cond["known"] == 1).all()
    last = past - 1 + lead
    whole = [i for i in range(len(there) - last) if there[i + last] - there[i] == last]
    aims = {split: set((data.starts(split) + past).tolist()) for split in ("train", "val")}
    across = [i for i in whole if i + past in aims["train"] and i + last in aims["val"]]
    assert found == [i for i in whole if i not in across], "no training example looks at a map of the validation"


def test_known_as_told(series):
    """examples_at leaves the past out of those that it is told to."""
    data = prepared(series())
    batch = data.examples_at(np.array([3, 0, 7]), np.array([True, False, True]))
    assert batch.cond["known"].tolist() == [1, 0, 1]
    assert [bool(past.any()) for past in batch.cond["past"]] == [True, False, True]
    assert data.examples("train", most=4).cond["minutes"].diff().unique().numel() <= 2
    assert len(data.examples("val", most=1000)) == len(data.starts("val"))


def test_fingerprint(maps, saved, series):
    """Of all that a split's examples are made of: the same for the same file wherever it lies and however it is read,
    another one where any value, time or place is."""
    options = {"past": 2, "step_hours": 12.0, "val_fraction": 0.3}
    data = prepared(series(), **options)
    for other in (prepared(series("again.nc"), **options), prepared(series(), memory_gb=0.0, **options)):
        assert all(other.fingerprint(split) == data.fingerprint(split) for split in ("train", "val"))
    assert len(data.fingerprint("val")) == 64
    assert data.fingerprint("val") != data.fingerprint("train")
    dataset = maps(("msl", "z"), levels=(500,), hours=range(0, 240, 6))
    others = [
        dataset.assign_coords(longitude=dataset.longitude + 5),
        dataset.assign_coords(time=dataset.time + np.timedelta64(1, "h")),
        dataset[["z", "msl"]].drop_vars("msl"),
    ]
    seen = {prepared(saved(other, f"other{i}.nc"), **options).fingerprint("val") for i, other in enumerate(others)}
    assert len(seen | {data.fingerprint("val")}) == 4


@pytest.mark.parametrize("memory_gb", [0.0, 4.0])
def test_fingerprint_of_every_map(series, memory_gb, monkeypatch):
    """A single value of any map changes that of each split whose examples hold the map, targets or past, and no other,
    also where maps are read a few at a time."""
    monkeypatch.setattr(fields_module, "PIECE", 3 * 4 * 2 * 5 * 8)
    data = prepared(series(), past=2, step_hours=12.0, val_fraction=0.3, memory_gb=memory_gb)
    read, was = data._read, {split: data.fingerprint(split) for split in ("train", "val")}
    for place in range(40):

        def changed(places, place=place):
            x = read(places).clone()
            x[places == place, 1, 2, 3] += 1
            return x

        monkeypatch.setattr(data, "_read", changed)
        for split in ("train", "val"):
            held = place in data._split(split)[:, None] + np.array([0, 2, 4])
            assert (data.fingerprint(split) != was[split]) == held, (place, split)


# ---- states and forecasts


def test_state_travels(series, tmp_path):
    """Made from its state, as JSON, the data knows its spec and its scale, and forecasts from a file, without the
    training data."""
    path = series()
    data = prepared(path, past=2, step_hours=12.0, val_fraction=0.3)
    other = travelled(data, path=str(tmp_path / "nowhere.nc"))
    assert other.spec == data.spec
    assert other.state_dict() == data.state_dict()
    assert other.variables == data.variables
    request = other.request(3, context=path)
    cond, options = request.cond, request.options
    fields = open_fields(path)
    want = data.encode(fields.read(np.array([37, 39])))
    assert options == {}
    assert cond["past"].shape == (3, *data.spec.context["past"])
    assert all(torch.equal(past, want) for past in cond["past"])
    assert cond["known"].tolist() == [1.0] * 3
    assert cond["minutes"].tolist() == [fields.minutes[-1] + 720] * 3
    assert torch.equal(other.decode(want), data.decode(want))


def test_not_a_state():
    """Of another modality's checkpoint, or a damaged one."""
    for state in ({"vocab": 3}, {"past": 1, "step_minutes": 60, "variables": [], "latitude_deg": "x"}, [], None):
        with pytest.raises(UserError, match="not one of weather maps"):
            WeatherData().load_state_dict(state)


def test_context_as_other_files_have_it(series, maps, saved):
    """Upside down, from -180, in hPa, under other names and with its variables in another order: the same past."""
    data = prepared(series(longitude=np.arange(-180, 180, 45.0)))
    want = data.request(1, context=series("plain.nc", longitude=np.arange(-180, 180, 45.0))).cond["past"]
    dataset = maps(("z", "msl"), levels=(500,), hours=[228, 234], longitude=np.arange(-180, 180, 45.0))
    dataset = dataset.isel(latitude=slice(None, None, -1)).rename(z="geopotential", level="plev", latitude="lat")
    dataset["plev"] = ("plev", [50000.0], {"units": "Pa"})
    dataset["msl"] = (dataset["msl"] / 100).assign_attrs(units="hPa")
    got = travelled(data).request(1, context=saved(dataset, "other.nc")).cond["past"]
    torch.testing.assert_close(got, want, rtol=0, atol=1e-4)


def test_context_that_begins_elsewhere(series):
    """A global context from 0 fits a model of the same places from -180 by its region, as the refusal says."""
    data = prepared(series(longitude=np.arange(-180, 180, 45.0)))
    want = data.request(1, context=series("plain.nc", longitude=np.arange(-180, 180, 45.0))).cond["past"]
    rolled = series("rolled.nc", longitude=np.arange(0, 360, 45.0))
    with pytest.raises(UserError, match=r"another grid: see data\.region"):
        travelled(data).request(1, context=rolled)
    got = travelled(data, region=[-90, 90, -180, 180]).request(1, context=rolled).cond["past"]
    torch.testing.assert_close(got, want, rtol=0, atol=1e-4)


@pytest.mark.parametrize("levels", [(850, 500), (1000, 850, 500)])
def test_context_with_levels_the_other_way_round(series, levels):
    """WeatherBench counts levels from above, GRIB from below; and a context may have more than a model needs."""
    data = prepared(series(levels=(500, 850)))
    want = data.request(1, context=series("same.nc", levels=(500, 850))).cond["past"]
    got = travelled(data).request(1, context=series("down.nc", levels=levels)).cond["past"]
    assert torch.equal(got, want)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"longitude": np.arange(0, 360, 22.5)}, "5 x 16 points"),
        ({"latitude": np.linspace(-80, 80, 6)}, "6 x 8 points"),
        ({"latitude": np.linspace(-70, 70, 5)}, "another grid"),
        ({"longitude": np.arange(10, 370, 45.0)}, "another grid"),
        ({"longitude": np.arange(0, 80, 10.0)}, "another grid"),
        ({"levels": (850,)}, "these maps have .*z850.* and the model makes .*z500"),
        ({"levels": ()}, "these maps have .*z, .*|these maps have msl, z,? and the model makes"),
        ({"names": ("msl",)}, "these maps have msl, and the model makes msl, z500"),
        ({"hours": [0]}, "2 maps up to its last are needed, 6 hours apart"),
        ({"hours": [0, 3]}, "2 maps up to its last are needed, 6 hours apart"),
        ({"hours": [0, 6, 18]}, "2 maps up to its last are needed, 6 hours apart"),
    ],
)
def test_contexts_that_do_not_fit(series, options, said):
    """Another grid, other variables or levels, too few maps or a gap: refused with what is needed."""
    other = travelled(prepared(series(), past=2))
    with pytest.raises(UserError, match=said) as error:
        other.request(1, context=series("context.nc", **options))
    assert "\n" not in str(error.value)


def test_context_of_another_unit(maps, saved):
    """A variable that nobody knows must be in the model's unit."""
    dataset = maps(("msl",), hours=range(0, 240, 6)).rename(msl="pm10")
    dataset["pm10"].attrs["units"] = "kg m-3"
    data = prepared(saved(dataset))
    dataset["pm10"].attrs["units"] = "ug m-3"
    with pytest.raises(UserError, match=r"pm10.*kg m-3|pm10.*ug m-3"):
        travelled(data).request(1, context=saved(dataset, "other.nc"))


@pytest.mark.parametrize(
    ("options", "choice", "said"),
    [
        ({}, {"step_hours": 12.0}, r"data\.step_hours: the model makes 6-hour steps"),
        ({"hours": range(0, 240, 12)}, {}, r"data\.step_hours: the model makes 6-hour steps"),
        ({"latitude": np.linspace(-70, 70, 5)}, {}, "another grid"),
        ({}, {"region": [-45, 45, 0, 90]}, "3 x 3 points"),
    ],
)
def test_data_that_do_not_fit_a_state(series, options, choice, said):
    """Data that a trained model goes on with must be of its kind; those of its kind keep its scale."""
    data = prepared(series())
    other = travelled(data, path=series("other.nc", **options), **choice)
    with pytest.raises(UserError, match=said):
        other.prepare()
    again = travelled(data, path=series("later.nc", hours=range(480, 720, 6)))
    again.prepare()
    assert again.state_dict() == data.state_dict()
    batch = next(again.sweep("train", 5))
    torch.testing.assert_close(data.decode(batch.x), open_fields(again.path).read(np.arange(1, 6)), rtol=1e-6, atol=0)


def test_condition_without_context(series):
    """Samples of the climate: no past, and a date of any season each, the same for the same seed."""
    data = prepared(series(), past=2)
    cond = data.request(200).cond
    assert not cond["past"].any()
    assert cond["past"].shape == (200, *data.spec.context["past"])
    assert cond["known"].tolist() == [0.0] * 200
    months = cond["minutes"] // (DAY * 365 // 12 + 1)
    assert set(months.tolist()) == set(range(12))
    assert torch.equal(cond["minutes"], data.request(200).cond["minutes"])


@pytest.mark.parametrize("with_context", [False, True])
def test_condition_with_a_date(series, with_context):
    """The date is that of the first map made, with and without a context."""
    path = series()
    data = prepared(path)
    context = {"context": path} if with_context else {}
    for date, minutes in (("2000-01-02", DAY), ("2000-01-02T06", DAY + 360), ("2000-03-01 12:30", 60 * DAY + 750)):
        cond = data.request(2, date=date, **context).cond
        assert cond["minutes"].tolist() == [minutes] * 2
        assert cond["minutes"].dtype == torch.int64
        assert cond["known"].tolist() == [float(with_context)] * 2
    for date in ("tomorrow-ish", "2001-02-30", "20090131", "NaT"):
        with pytest.raises(UserError, match=rf"date={date} is no date"):
            data.request(1, date=date, **context)


@pytest.mark.parametrize("past", [1, 3])
def test_follow(series, past):
    """The made map becomes the last of the past, the oldest goes, and time goes on by a step."""
    path = series()
    data = prepared(path, past=past)
    cond = data.request(2, context=path).cond
    x = torch.randn(2, *data.spec.shape, generator=torch.Generator().manual_seed(0))
    after = data.follow(x, cond)
    assert torch.equal(after["past"][:, -1], x)
    assert torch.equal(after["past"][:, :-1], cond["past"][:, 1:])
    assert (after["minutes"] - cond["minutes"]).tolist() == [360, 360]
    assert after["known"].tolist() == [1.0, 1.0]
    assert set(after) == set(cond)


def test_follow_out_of_the_climate(series):
    """After a map without a past, it stands for the whole past of the next; then each for itself."""
    data = prepared(series(), past=2)
    cond = data.request(2).cond
    x, y = torch.randn(2, 2, *data.spec.shape, generator=torch.Generator().manual_seed(0))
    after = data.follow(x, cond)
    assert torch.equal(after["past"], torch.stack([x, x], dim=1))
    assert torch.equal(data.follow(y, after)["past"], torch.stack([x, y], dim=1))


def test_samples_are_maps_again(series, tmp_path):
    """Written with their units, names and members, they are a context."""
    data = prepared(series(), val_fraction=0.2)
    x = torch.cat([b.x for b in data.sweep("val", 3)])
    (file,) = data.write_all(x, tmp_path, data.request(1))
    assert file == tmp_path / "samples.nc"
    fields = open_fields(str(file))
    assert sorted(v.key for v in fields.variables) == ["msl", "z500"]
    back = open_fields(str(file), variables=["msl", "z"]).read(np.arange(len(x)))
    torch.testing.assert_close(back, data.decode(x), rtol=1e-6, atol=0)
    file = data.write(x[3], tmp_path / "000", data.request(1))
    assert file == tmp_path / "000.nc"
    past = travelled(data).request(1, context=str(file)).cond["past"]
    torch.testing.assert_close(past[0, 0], x[3], rtol=1e-4, atol=1e-4)


# ---- the simulated atmosphere


@pytest.fixture
def simulated(tmp_path, monkeypatch) -> list[dict]:
    """The cache in tmp_path, and in place of the simulator some numbers; returns what it was asked for."""
    asked = []

    @functools.wraps(shallow_water.simulate)
    def simulate(**options):
        asked.append(options)
        b, k, h = options["trajectories"], int(options["days"] * 24 // options["every_hours"]), options["latitudes"]
        if b < 1:
            raise ValueError("simulate needs at least 1 trajectory")
        generator = torch.Generator().manual_seed(options["seed"])
        fields = torch.randn(b, k, 3, h, 2 * h, generator=generator) + torch.tensor([5.0, 0, 4000]).view(3, 1, 1)
        return Simulation(fields, torch.linspace(-70, 70, h).double(), torch.arange(2 * h).double() * 180 / h)

    monkeypatch.setenv("GENZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(shallow_water, "simulate", simulate)
    return asked


SMALL = {"latitudes": 4, "truncation": 2, "trajectories": 3, "days": 5, "spin_up_days": 1, "every_hours": 12}


def test_simulated_once(simulated, tmp_path):
    """Simulated at the first use and kept; other options are other weather, in another file."""
    data = WeatherData(simulation=SMALL)
    assert not simulated
    assert not (tmp_path / "cache").exists()
    data.prepare()
    again = prepared("simulated", simulation=SMALL)
    assert simulated == [SMALL | {"seed": 0}]
    assert torch.equal(again.batch(0, 9, "train").x, data.batch(0, 9, "train").x)
    assert len(list((tmp_path / "cache").iterdir())) == 1
    other = prepared("simulated", simulation={**SMALL, "seed": 1})
    assert len(simulated) == 2
    assert not torch.equal(other.batch(0, 9, "train").x, data.batch(0, 9, "train").x)
    assert len(list((tmp_path / "cache").iterdir())) == 2


@pytest.mark.parametrize("past", [1, 2])
def test_simulated_windows(simulated, past):
    """Of 3 trajectories of 10 maps; none crosses from one to another."""
    data = prepared("simulated", simulation=SMALL, past=past, val_fraction=0.3)
    assert [v.key for v in data.variables] == ["u", "v", "h"]
    assert data.spec.shape == (3, 4, 8)
    assert data.step_minutes == 720
    assert data.grid.periodic
    assert not data.seasons
    first = np.concatenate([data.starts("train"), data.starts("val")])
    assert first.tolist() == [10 * b + i for b in range(3) for i in range(10 - past)]
    for i in first:
        times = data.fields.minutes[i : i + past + 1]
        assert all(b - a == 720 for a, b in pairwise(times))


def test_simulated_forecasts(simulated, tmp_path):
    """Samples of it, as a file, are a context for it."""
    data = prepared("simulated", simulation=SMALL)
    x = next(data.sweep("val", 1)).x
    (file,) = data.write_all(x, tmp_path, data.request(1))
    cond = travelled(data).request(2, context=str(file)).cond
    torch.testing.assert_close(cond["past"][1, 0], x[0], rtol=1e-4, atol=1e-3)
    assert len(simulated) == 1


@pytest.mark.parametrize("wrong", [{"trajectories": 0}, {"latitude": 8}])
def test_simulations_that_cannot_be(simulated, wrong, tmp_path):
    """Refused by the key, and nothing is kept."""
    with pytest.raises(UserError, match=r"data\.simulation"):
        prepared("simulated", simulation={**SMALL, **wrong})
    assert not list((tmp_path / "cache").glob("*"))


def test_a_true_simulation(tmp_path, monkeypatch):
    """The simulator itself, as small as it goes: its maps are the examples, wind in m/s and depth in m."""
    monkeypatch.setenv("GENZOO_CACHE", str(tmp_path))
    options = {"latitudes": 18, "truncation": 12, "trajectories": 2, "days": 1, "spin_up_days": 0, "every_hours": 6}
    data = prepared("simulated", simulation=options, val_fraction=0.4)
    made = shallow_water.simulate(**options)
    assert torch.equal(data.fields.read(np.array([6, 1])), torch.stack([made.fields[1, 2], made.fields[0, 1]]))
    assert data.fields.latitude_deg.tolist() == made.latitude_deg.tolist()
    depth, wind = data.kept[:, 2], data.kept[:, 0]
    assert 3000 < depth.min() < depth.max() < 5000
    assert 15 < wind.max() < 60


# ---- real files


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared weather files are not here")
def test_real_members():
    """Ten members of four maps, twelve hours apart: thirty pairs, and none across."""
    file, region = DATA / "era5_10_members_zt_850_500.grib", [30, 60, -30, 30]
    data = prepared(str(file), variables=["z"], levels_hpa=[500], region=region)
    assert len(data.starts("train")) + len(data.starts("val")) == 30
    assert data.step_minutes == 720
    batch = next(data.sweep("train", 30))
    assert 0.05 < (batch.x - batch.cond["past"][:, 0]).std() < 0.8


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared weather files are not here")
def test_real_days():
    """Daily maps of ten years: training before, validation from a day on."""
    data = prepared(str(DATA / "ncep_slp_daily_2001_2010_north_atlantic.nc"), val_from="2009-01-01")
    assert data.step_minutes == DAY
    assert (len(data.starts("train")), len(data.starts("val"))) == (2921, 730)
    assert data.seasons
    (about,) = data.state_dict()["variables"]
    assert about["mean"] == pytest.approx(101300, abs=500)
    assert about["std"] == pytest.approx(1100, rel=0.3)
