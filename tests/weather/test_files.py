"""NetCDF, GRIB and Zarr as maps: every place, time, level and member where the closed form has it, in SI units; and
one line for all that cannot be read."""

import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from genzoo.errors import UserError
from genzoo_weather.apart import open_fields
from genzoo_weather.fields import open_here, to_datetime, to_minutes
from genzoo_weather.physics import Grid
from genzoo_weather.variables import Variable, conversion, known

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "weather"
WEATHERBENCH = {"z": "geopotential", "t": "temperature", "u": "u_component_of_wind", "t2m": "2m_temperature"}
WEATHERBENCH["msl"] = "mean_sea_level_pressure"


@pytest.fixture(autouse=True)
def _without_dask(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As it is where only genzoo is installed: dask, if there, is hidden."""
    from xarray.namedarray.utils import module_available

    with monkeypatch.context() as hidden:
        hidden.setitem(sys.modules, "dask", None)
        module_available.cache_clear()
        yield
    module_available.cache_clear()


def keys(fields) -> list[str]:
    return [variable.key for variable in fields.variables]


# ---- names and units


@pytest.mark.parametrize(
    ("name", "standard_name", "ours"),
    [
        ("z", "", "z"),
        ("Z", "", "z"),
        ("hgt", "", "z"),
        ("2m_temperature", "", "t2m"),
        ("VAR_151", "air_pressure_at_mean_sea_level", "msl"),
        ("phi500", "geopotential_height", "z"),
        ("temp", "air_temperature", None),  # of the air, or at 2 m
        ("rain", "", None),
    ],
)
def test_known_variables(name, standard_name, ours):
    """By name, by another's name, by a CF standard name where only one variable bears it."""
    found = known(name, standard_name)
    assert (found and found.name) == ours


@pytest.mark.parametrize(
    ("to", "unit", "factor", "offset"),
    [
        *[("Pa", unit, 1, 0) for unit in ("Pa", "pa")],
        *[("Pa", unit, 100, 0) for unit in ("hPa", "mb", "mbar", "millibar", "millibars")],
        *[("m2 s-2", unit, 1, 0) for unit in ("m2 s-2", "m**2 s**-2", "m^2/s^2", "m2/s2", "J kg-1", "J/kg")],
        *[("m2 s-2", unit, 9.80665, 0) for unit in ("m", "gpm")],
        *[("K", unit, 1, 0) for unit in ("K", "kelvin")],
        *[("K", unit, 1, 273.15) for unit in ("degC", "°C", "C", "Celsius", "degrees C")],
        *[("m s-1", unit, 1, 0) for unit in ("m s-1", "m s**-1", "m/s", "m.s-1", "m s^-1")],
        *[("m s-1", unit, 0.514444, 0) for unit in ("knots", "knot", "kt")],
        *[("kg kg-1", unit, 1, 0) for unit in ("kg kg**-1", "kg/kg", "1")],
        ("kg kg-1", "g/kg", 1e-3, 0),
        ("m s-1", "km/h", 1 / 3.6, 0),
        ("Pa s-1", "Pa s**-1", 1, 0),
        ("Pa s-1", "Pa/s", 1, 0),
        *[("K", "degK", 1, 0), ("Pa", "Pascals", 1, 0), ("Pa s-1", "Pascal/s", 1, 0)],
        *[("K", unit, 1, 273.15) for unit in ("degree_Celsius", "degrees_C", "deg_C", "degrees Celsius")],
        *[("m2 s-2", unit, 9.80665, 0) for unit in ("meters", "metres")],
    ],
)
def test_units(to, unit, factor, offset):
    """Factor and offset to SI, however a unit is spelled."""
    assert conversion("x", unit, to) == (pytest.approx(factor, rel=1e-6), offset)


@pytest.mark.parametrize(
    ("name", "unit", "value", "ours", "want"),
    [
        ("slp", "mb", 1013.25, "msl", 101325.0),
        ("gh", "gpm", 5500.0, "z", 5500 * 9.80665),
        ("t2m", "degC", 15.0, "t2m", 288.15),
        ("10u", "knots", -20.0, "u10", -10.28888),
        ("pm10", "ug m-3", 7.0, "pm10", 7.0),
    ],
)
def test_values_in_si(maps, saved, name, unit, value, ours, want):
    """A file's values, brought to SI; those of variables that nobody knows stay as they are."""
    dataset = maps().rename(msl=name)
    dataset[name] = (dataset[name] * 0 + value).assign_attrs(units=unit)
    fields = open_fields(saved(dataset))
    (variable,) = fields.variables
    assert (variable.name, variable.source) == (ours, name)
    assert variable.unit == (known(name).unit if known(name) else unit)
    torch.testing.assert_close(fields.read(np.array([2])), torch.full((1, 1, 5, 8), want))


@pytest.mark.parametrize("unit", [None, "K", "parsec"])
@pytest.mark.parametrize("by", ["slp", "msl"])
def test_unit_missing_or_wrong(maps, saved, refusal, unit, by):
    """One line with the mend, and the mend mends, by the file's name or by ours."""
    dataset = maps().rename(msl="slp") / 100
    dataset["slp"].attrs = {"units": unit} if unit else {}
    path = saved(dataset)
    said = refusal(path)
    assert "data.units={slp: " in said
    assert repr(unit or "no unit") in said
    assert open_fields(path, units={by: "hPa"}).read(np.array([0])).mean() == pytest.approx(101000, rel=0.01)
    assert "'furlong'" in refusal(path, units={by: "furlong"})


@pytest.mark.parametrize(("name", "unit", "value"), [("msl", "Pa", 1013.0), ("t", "K", 15.0), ("u", "m/s", 900.0)])
def test_implausible_values(maps, saved, refusal, name, unit, value):
    """Values that the unit cannot mean are refused by their mean."""
    dataset = maps((name,))
    dataset[name] = (dataset[name] * 0 + value).assign_attrs(units=unit)
    said = refusal(saved(dataset))
    assert f"{name} of data.path=" in said
    assert f"{value:g}" in said
    assert f"data.units={{{name}: " in said


def test_packed_values(maps, saved):
    """16-bit integers with scale, offset and a fill value, as reanalyses come."""
    packed = {"dtype": "int16", "scale_factor": 0.125, "add_offset": 101000.0, "_FillValue": -32767}
    fields = open_fields(saved(maps(), encoding={"msl": packed}))
    want = open_fields(saved(maps(), "plain.nc"))
    assert (fields.read(np.arange(8)) - want.read(np.arange(8))).abs().max() <= 0.0625 + 0.01


def test_two_fill_values_warn_nobody(maps, saved, agree):
    """A file that bears both _FillValue and missing_value is read without a word."""
    from netCDF4 import Dataset

    path = saved(maps(), encoding={"msl": {"_FillValue": -999.0}})
    with Dataset(path, "a") as file:
        file["msl"].missing_value = np.float32(-32767.0)
    agree(open_fields(path))


# ---- places


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("options", [{}, {"format": "NETCDF3_CLASSIC"}])
def test_latitudes_either_way_up(maps, saved, agree, down, options):
    """The same fields, from south to north."""
    latitude = np.array([-60.0, -20.0, 0.0, 15.0, 80.0])
    fields = open_fields(saved(maps(latitude=latitude[:: -1 if down else 1]), **options))
    assert fields.latitude_deg.tolist() == latitude.tolist()
    assert to_datetime(fields.minutes[:2]).tolist() == [978307200 * 10**9, (978307200 + 6 * 3600) * 10**9]
    agree(fields)


@pytest.mark.parametrize("names", [("lat", "lon"), ("nav_lat", "nav_lon"), ("y", "x")])
def test_names_of_places(maps, saved, agree, names):
    """Axes are found under the names that they have."""
    agree(open_fields(saved(maps().rename(latitude=names[0], longitude=names[1]))))


@pytest.mark.parametrize("first", [0, -180, -170, 10, -360])
def test_the_whole_globe(maps, saved, agree, first):
    """Begins where the file does, and is seen to be periodic."""
    fields = open_fields(saved(maps(longitude=first + np.arange(0, 360, 10.0))))
    assert fields.longitude_deg == pytest.approx(first + 10.0 * np.arange(36))
    assert Grid(torch.tensor(fields.latitude_deg), torch.tensor(fields.longitude_deg)).periodic
    agree(fields)


@pytest.mark.parametrize("region", [[-45, 60, -70, 10], [-45, 60, 290, 370], [-80, 80, 170, -170], [0, 40, 170, 200]])
def test_regions_across_seams(maps, saved, agree, region):
    """Across Greenwich and across the date line, from 0 to 360 as from -180 to 180, bounds included."""
    low = open_fields(saved(maps(longitude=np.arange(-180, 180, 10.0))), region=region)
    high = open_fields(saved(maps(longitude=np.arange(0, 360, 10.0)), "high.nc"), region=region)
    wide = int((region[3] - region[2]) % 360 // 10 + 1)
    assert low.longitude_deg == pytest.approx(region[2] + 10.0 * np.arange(wide))
    assert high.longitude_deg == pytest.approx(low.longitude_deg)
    assert low.latitude_deg.tolist() == [y for y in (-80, -40, 0, 40, 80) if region[0] <= y <= region[1]]
    assert torch.equal(low.read(np.arange(8)), high.read(np.arange(8)))
    assert not Grid(torch.tensor(low.latitude_deg), torch.tensor(low.longitude_deg)).periodic
    agree(low)


@pytest.mark.parametrize("region", [[-90, 90, -180, 180], [-90, 90, 0, 360], [-90, 90, -180, 170]])
def test_region_all_round(maps, saved, agree, region):
    """All meridians once."""
    fields = open_fields(saved(maps(longitude=np.arange(0, 360, 10.0))), region=region)
    assert fields.longitude_deg == pytest.approx(region[2] + 10.0 * np.arange(36))
    agree(fields)


def test_a_seam_within_a_file(maps, saved, agree):
    """A regional file from 0 to 360 that lies across Greenwich begins in its west."""
    fields = open_fields(saved(maps(longitude=[0, 10, 20, 330, 340, 350.0])))
    assert fields.longitude_deg.tolist() == [-30, -20, -10, 0, 10, 20]
    agree(fields)


@pytest.mark.parametrize("region", [[37.1, 39.9, 0.1, 3.9], [30.0, 39.7, -70.1, -60.1], [-5.3, 35.3, 289.9, 300.7]])
@pytest.mark.parametrize("first", [0, -180])
def test_regions_of_32_bit_places(maps, saved, region, first):
    """0.1 degrees are no binary fraction: no row and no column is lost by that."""
    latitude, longitude = np.arange(-60, 401) / 10, first + np.arange(0, 3600) / 10
    dataset = maps(latitude=latitude.astype(np.float32), longitude=longitude.astype(np.float32), hours=[0])
    dataset = dataset.isel(longitude=slice(None, None, -1)) if first else dataset
    fields = open_fields(saved(dataset), region=region)
    assert fields.latitude_deg == pytest.approx(latitude[(latitude >= region[0]) & (latitude <= region[1])], abs=1e-4)
    assert len(fields.longitude_deg) == round((region[3] - region[2]) * 10) + 1
    assert fields.longitude_deg[0] == pytest.approx(region[2], abs=1e-4)


def test_fine_32_bit_places(maps, saved, agree):
    """0.01 degrees at 300 east are equal steps, but for rounding."""
    longitude = (30000 + np.arange(20)) / 100
    agree(open_fields(saved(maps(longitude=longitude.astype(np.float32)))))


def test_a_meridian_that_comes_again(maps, saved, agree):
    """0 and 360 are one."""
    fields = open_fields(saved(maps(longitude=np.arange(0, 361, 45.0))))
    assert fields.longitude_deg.tolist() == [45.0 * i for i in range(8)]
    agree(fields)


@pytest.mark.parametrize(
    ("region", "said"),
    [
        ([85, 89, 0, 90], "leaves no map"),
        ([-80, 80, 1, 30], "leaves no map"),
        ([80, -80, 0, 90], "south, north, west, east"),
        ([-80, 80, 0], "south, north, west, east"),
        ([-80, 80], "south, north, west, east"),
        ([-80, 80, 0, 90, 3], "south, north, west, east"),
    ],
)
def test_regions_of_nothing(maps, saved, refusal, region, said):
    """Empty ones, and what is no region."""
    line = refusal(saved(maps()), region=region)
    assert said in line
    assert "data.region" in line


def test_places_that_are_no_grid(maps, saved, refusal):
    """Unequal longitudes, two-dimensional places, none at all, a list of stations, and numbered points of a map."""
    import xarray

    assert "not equally spaced" in refusal(saved(maps(longitude=[0, 10, 30, 40.0]), "a.nc"))
    bent = maps().rename(latitude="y", longitude="x")
    bent = bent.drop_vars(["x", "y"]).assign_coords(
        lat=(("y", "x"), np.zeros((5, 8))), lon=(("y", "x"), np.ones((5, 8)))
    )
    assert "no axis of latitudes" in refusal(saved(bent, "b.nc"))
    assert "no axis of latitudes" in refusal(saved(maps().isel(latitude=0, drop=True), "c.nc"))
    assert "no axis of longitudes" in refusal(saved(maps().isel(longitude=0, drop=True), "d.nc"))
    assert "no map" in refusal(saved(maps(latitude=[3.0]), "e.nc"))
    stations = xarray.Dataset(
        {"msl": (("time", "station"), np.full((2, 3), 1e5), {"units": "Pa"})},
        {"time": maps().time.values[:2], "lat": ("station", [1.0, 2, 3]), "lon": ("station", [1.0, 2, 3])},
    )
    path = saved(stations, "f.nc")
    assert "latitude and longitude" in refusal(path)


def test_numbered_places_are_no_degrees(maps, saved, refusal):
    """A map whose rows and columns only have numbers, as radar's."""
    path = saved(maps().rename(latitude="y", longitude="x").drop_vars(["x", "y"]))
    assert "no axis of latitudes" in refusal(path)


def test_metres_are_no_degrees(maps, saved, refusal):
    """A projected map."""
    dataset = maps(latitude=np.arange(5) * 2000.0, longitude=np.arange(8) * 2000.0).rename(latitude="y", longitude="x")
    dataset["x"].attrs["units"] = dataset["y"].attrs["units"] = "m"
    assert "no axis of latitudes" in refusal(saved(dataset))


@pytest.mark.parametrize("variable", ["time_bnds", "msl"])
def test_chosen_variables_without_a_grid(maps, saved, refusal, variable):
    """Asked for by name, they are refused all the same."""
    import xarray

    dataset = maps()
    dataset["time_bnds"] = (("time", "bnds"), np.zeros((8, 2)))
    if variable == "msl":
        dataset = xarray.Dataset(
            {"msl": (("time", "station"), np.full((2, 3), 1e5), {"units": "Pa"})},
            {"time": dataset.time.values[:2], "lat": ("station", [1.0, 2, 3]), "lon": ("station", [1.0, 2, 3])},
        )
    assert "latitude and longitude" in refusal(saved(dataset), variables=[variable])


# ---- variables, levels, members, times


def test_chosen_variables(maps, saved, refusal, agree):
    """By the file's name or by ours, in the order asked for; default all that are maps."""
    dataset = maps(("z", "t2m", "msl")).rename(z="geopotential")
    dataset["time_bnds"] = (("time", "bnds"), np.zeros((8, 2)))
    path = saved(dataset)
    assert keys(open_fields(path)) == ["z", "t2m", "msl"]
    for names in (["msl", "z"], ["msl", "geopotential"]):
        fields = open_fields(path, variables=names)
        assert keys(fields) == ["msl", "z"]
        assert [v.source for v in fields.variables] == ["msl", "geopotential"]
        agree(fields)
    said = refusal(path, variables=["msl", "vorticity"])
    assert "no variable vorticity; it has: " in said
    assert "geopotential, t2m, msl" in said


@pytest.mark.parametrize(
    ("name", "factor", "unit"),
    [("level", 1, None), ("level", 1, "millibars"), ("isobaricInhPa", 1, "hPa"), ("pressure_level", 1, "hPa"),
     ("plev", 100, "Pa"), ("plev", 100, None), ("lev", 100, "Pa"), ("isobaricInPa", 100, "Pa")],
)  # fmt: skip
def test_levels(maps, saved, refusal, agree, name, factor, unit):
    """Chosen in hPa whatever the axis is called and counted in, in the order asked for; variables without levels are
    there too."""
    dataset = maps(("z", "msl", "t"), levels=(1000, 850, 500)).rename(level=name)
    dataset[name] = (name, np.array([1000, 850, 500]) * factor, {"units": unit} if unit else {})
    path = saved(dataset)
    fields = open_fields(path)
    assert keys(fields) == ["z1000", "z850", "z500", "msl", "t1000", "t850", "t500"]
    agree(fields)
    fields = open_fields(path, levels_hpa=[500, 850])
    assert keys(fields) == ["z500", "z850", "msl", "t500", "t850"]
    agree(fields)
    assert "no level 700 hPa; it has: 1000, 850, 500" in refusal(path, levels_hpa=[500, 700])


def test_one_level(maps, saved, refusal, agree):
    """A level that is no axis names the variables that it belongs to, and no others can be had."""
    path = saved(maps(("z",), levels=(500,)).isel(level=0))
    fields = open_fields(path)
    assert keys(fields) == ["z500"]
    agree(fields)
    assert keys(open_fields(path, levels_hpa=[500])) == ["z500"]
    assert "no level 850 hPa; it has: 500" in refusal(path, levels_hpa=[850])


@pytest.mark.parametrize("unit", ["m", "km"])
def test_heights_are_no_pressures(maps, saved, refusal, unit):
    """Levels of height, or of a model, are not taken for hPa."""
    dataset = maps(("t",), levels=(100, 50, 2)).rename(level="lev")
    dataset["lev"].attrs["units"] = unit
    assert "level" in refusal(saved(dataset))


def test_members(maps, saved, agree):
    """One after another, each with all its times."""
    fields = open_fields(saved(maps(("msl", "z"), levels=(500, 850), members=3, hours=range(0, 24, 6))))
    assert len(fields.minutes) == 12
    assert (np.diff(fields.minutes) < 0).nonzero()[0].tolist() == [3, 7]
    agree(fields, members=3)
    some = np.array([7, 0, 11, 7, 4])
    assert torch.equal(fields.read(some), fields.read(np.arange(12))[some])
    assert torch.equal(fields.select(some).read(np.array([1, 2])), fields.read(np.array([0, 11])))


def test_maps_that_stand_still(maps, saved):
    """A variable without time or member is the same in every map."""
    dataset = maps(("msl", "z"), members=2)
    dataset["z"] = dataset["z"].isel(time=0, number=0, drop=True)
    x = open_fields(saved(dataset)).read(np.array([0, 5, 15]))
    assert torch.equal(x[:, 1], x[:1, 1].expand(3, -1, -1))
    assert not torch.equal(x[0, 0], x[2, 0])


def test_times(maps, saved, refusal, agree):
    """valid_time serves, and a single map needs one; no time, numbers without a unit and invented calendars do not."""
    agree(open_fields(saved(maps().rename(time="valid_time"), "a.nc")))
    fields = open_fields(saved(maps(("t2m",)).isel(time=3), "b.nc"))
    assert fields.minutes.tolist() == [to_minutes(np.array("2001-01-01T18", "datetime64[m]"))]
    agree(fields)
    assert "has no time" in refusal(saved(maps().rename(time="month").assign_coords(month=range(8)), "c.nc"))
    assert "has no time" in refusal(saved(maps().drop_vars("time"), "d.nc"))


def test_times_that_are_no_dates(maps, saved, refusal):
    """Numbers without "since" are no times."""
    assert "time" in refusal(saved(maps().assign_coords(time=range(8))))


def test_other_calendars(maps, saved, refusal):
    """Models' years of 360 days have dates that there are not."""
    dataset = maps().assign_coords(time=range(8))
    dataset["time"].attrs = {"units": "days since 2001-02-26", "calendar": "360_day"}
    assert "calendar" in refusal(saved(dataset))


def test_times_rise(maps, saved, agree):
    """Whatever the order in the file."""
    fields = open_fields(saved(maps(hours=[12, 18, 0, 6])))
    assert np.diff(fields.minutes).tolist() == [360] * 3
    agree(fields)


def test_further_axes(maps, saved, refusal):
    """A variable with an axis that means nothing here is refused by its name."""
    dataset = maps().expand_dims(step=2)
    said = refusal(saved(dataset))
    assert "msl of data.path=" in said
    assert "'step'" in said


# ---- several files


@pytest.mark.parametrize("form", ["folder", "pattern"])
def test_several_files(maps, saved, agree, monkeypatch, tmp_path, form):
    """A folder, also of folders, or a pattern, absolute or relative, is one series."""
    for i, name in enumerate(("2001/a.nc", "2001/b.nc", "2002/c.nc")):
        saved(maps(("msl", "z"), levels=(500, 850), hours=range(24 * i, 24 * i + 24, 6)), f"many/{name}")
    (tmp_path / "many" / "README.txt").write_text("not a map", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "many", "many") if form == "folder" else (tmp_path / "many/*/*.nc", "many/20*/?.nc"):
        fields = open_fields(str(path))
        assert np.diff(fields.minutes).tolist() == [360] * 11
        agree(fields)
    assert len(open_fields("many/2001").minutes) == 8


def test_several_files_rise_in_time(maps, saved, agree):
    """February before January in the alphabet."""
    for name, first in (("jan.nc", 0), ("feb.nc", 24), ("mar.nc", 48)):
        path = saved(maps(hours=range(first, first + 24, 6)), f"many/{name}")
    fields = open_fields(str(Path(path).parent))
    assert np.diff(fields.minutes).tolist() == [360] * 11
    agree(fields)


def test_several_grids(maps, saved, refusal):
    """Files that do not fit together are no series, also where gaps may be filled."""
    saved(maps(), "many/a.nc")
    path = saved(maps(hours=[48, 54], latitude=[-80, -30, 0, 40, 80]), "many/b.nc")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for missing in ("stop", "fill"):
            assert "latitude" in refusal(str(Path(path).parent), missing=missing)


# ---- Zarr


def weatherbench(dataset, down: bool = False):
    """As WeatherBench 2 lays it out."""
    names = {name: WEATHERBENCH[name] for name in dataset.data_vars}
    dataset = dataset.rename(names).isel(latitude=slice(None, None, -1 if down else 1))
    if "level" in dataset:
        dataset["level"] = ("level", dataset["level"].values.astype(np.int64))
    return dataset.transpose("time", ..., "longitude", "latitude")


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("chunks", [None, {"time": 3, "longitude": 4}])
def test_weatherbench(maps, saved, agree, down, chunks):
    """Dims time, level, longitude, latitude, long names, integer levels without a unit, either way up."""
    dataset = weatherbench(maps(("z", "t", "u", "t2m", "msl"), levels=(500, 700, 850)), down)
    encoding = {
        name: {"chunks": tuple(min(chunks.get(d, 9), dataset.sizes[d]) for d in array.dims)}
        for name, array in dataset.data_vars.items()
        if chunks
    }
    path = saved(dataset, "wb.zarr", encoding=encoding)
    fields = open_fields(path, variables=["t2m", "geopotential", "t", "u"], levels_hpa=[850, 500])
    assert keys(fields) == ["t2m", "z850", "z500", "t850", "t500", "u850", "u500"]
    agree(fields)
    agree(open_fields(path, region=[-40, 90, -90, 0]))
    some = np.array([6, 0, 6, 3])
    assert torch.equal(fields.read(some), fields.read(np.arange(8))[some])


@pytest.mark.parametrize(("version", "consolidated"), [(2, True), (2, False), (3, True), (3, False)])
def test_zarr_versions(maps, saved, agree, version, consolidated):
    """Both, with and without consolidated metadata, without a word of warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr's of consolidated metadata in version 3, as it writes them
        path = saved(maps(), "maps.zarr", zarr_format=version, consolidated=consolidated)
    agree(open_fields(path))


@pytest.fixture
def chunks_read(monkeypatch) -> Callable[[], set[str]]:
    """The chunks read since it was last asked, "variable/0.0.0"."""
    from zarr.storage import LocalStore

    seen, get = set(), LocalStore.get

    async def counted(self, key, *words, **options):
        seen.add(key)
        return await get(self, key, *words, **options)

    monkeypatch.setattr(LocalStore, "get", counted)

    def asked() -> set[str]:
        found = {key for key in seen if key.split("/")[-1][0].isdigit() and key.split("/")[0] in WEATHERBENCH.values()}
        seen.clear()
        return found

    return asked


def test_zarr_is_read_as_needed(maps, saved, agree, chunks_read):
    """Opening reads no more than one map, and a map is read alone."""
    dataset = weatherbench(maps(("z", "msl"), levels=(500, 850), hours=range(0, 1200, 6)))
    path = saved(dataset, "wb.zarr", encoding={n: {"chunks": (1, *a.shape[1:])} for n, a in dataset.data_vars.items()})
    fields = open_here(path, region=[-90, 90, -90, 90])
    assert len(fields.minutes) == 200
    assert {key.rsplit("/")[-1].split(".")[0] for key in chunks_read()} <= {"0"}
    later = fields.select(np.arange(100, 200))
    later.read(np.array([7, 3, 7]))
    assert chunks_read() == {f"{WEATHERBENCH[n]}/{t}.0.0{'.0' * (n == 'z')}" for n in ("z", "msl") for t in (103, 107)}


def test_a_region_is_read_alone(maps, saved, agree, chunks_read):
    """Chunks outside of the region are left alone."""
    dataset = weatherbench(maps(("z",), levels=(500,)))
    path = saved(dataset, "wb.zarr", encoding={"geopotential": {"chunks": (1, 1, 2, 5)}})
    agree(open_here(path, region=[-90, 90, 0, 90]))
    assert {key.split(".")[2] for key in chunks_read()} == {"0", "1"}


def test_a_level_is_read_alone(maps, saved, agree, chunks_read):
    """Chunks of other levels are left alone."""
    dataset = weatherbench(maps(("z",), levels=(500, 700, 850)))
    path = saved(dataset, "wb.zarr", encoding={"geopotential": {"chunks": (1, 1, 8, 5)}})
    agree(open_here(path, levels_hpa=[850]))
    assert {key.split(".")[1] for key in chunks_read()} == {"2"}


# ---- GRIB


@pytest.fixture
def grib(tmp_path: Path, maps) -> Callable[..., str]:
    """Writes messages (short name, type of level, level, dataset of one variable of `maps`) and returns the path."""
    import eccodes

    def written(messages, name: str = "maps.grib") -> str:
        with open(tmp_path / name, "wb") as file:
            for short, kind, level, array, member in messages:
                array = array.sortby("latitude", ascending=False)
                north, east = array.latitude.values, array.longitude.values
                time = array.time.values.astype("datetime64[m]").item()
                handle = eccodes.codes_grib_new_from_samples("regular_ll_pl_grib2")
                if member is not None:
                    eccodes.codes_set(handle, "productDefinitionTemplateNumber", 1)
                    eccodes.codes_set(handle, "number", member)
                for key, value in {
                    "Ni": len(east),
                    "Nj": len(north),
                    "latitudeOfFirstGridPointInDegrees": north[0],
                    "latitudeOfLastGridPointInDegrees": north[-1],
                    "longitudeOfFirstGridPointInDegrees": east[0],
                    "longitudeOfLastGridPointInDegrees": east[-1],
                    "iDirectionIncrementInDegrees": east[1] - east[0],
                    "jDirectionIncrementInDegrees": north[0] - north[1],
                    "dataDate": int(time.strftime("%Y%m%d")),
                    "dataTime": int(time.strftime("%H%M")),
                    "typeOfLevel": kind,
                    "level": level,
                    "shortName": short,
                    "bitsPerValue": 24,
                }.items():
                    eccodes.codes_set(handle, key, value)
                values = array.values.astype(float)
                if np.isnan(values).any():
                    eccodes.codes_set(handle, "bitmapPresent", 1)
                    eccodes.codes_set(handle, "missingValue", -9999.0)
                    values = np.where(np.isnan(values), -9999.0, values)
                eccodes.codes_set_values(handle, values.ravel())
                eccodes.codes_write(handle, file)
                eccodes.codes_release(handle)
        return str(tmp_path / name)

    return written


def test_grib(maps, grib, agree, tmp_path):
    """Levels and times as they are; no index is left beside the file."""
    dataset = maps(("z", "t"), levels=(850, 500), hours=(0, 12))
    messages = [
        (name, "isobaricInhPa", p, dataset[name].sel(level=p).isel(time=i), None)
        for i in range(2)
        for name in ("z", "t")
        for p in (850, 500)
    ]
    path = grib(messages)
    fields = open_fields(path)
    assert sorted(keys(fields)) == ["t500", "t850", "z500", "z850"]
    assert np.diff(fields.minutes).tolist() == [720]
    agree(fields)
    agree(open_fields(path, variables=["z"], levels_hpa=[500], region=[-90, 90, -90, 90]))
    assert [p.name for p in tmp_path.iterdir()] == ["maps.grib"]


def test_grib_members(maps, grib, agree):
    """The members of an ensemble, one after another."""
    dataset = maps(("z",), hours=(0, 12, 24), members=2, levels=(500,))
    fields = open_fields(grib([("z", "isobaricInhPa", 500, dataset.z[m, i, 0], m) for i in range(3) for m in range(2)]))
    assert keys(fields) == ["z500"]
    assert np.diff(fields.minutes).tolist() == [720, 720, -1440, 720, 720]
    agree(fields, members=2)


def test_grib_of_several_kinds(maps, grib, agree):
    """Each variable keeps its own level, and those at the surface have none."""
    upper, low = maps(("z", "t"), levels=(850, 500), hours=(0, 12)), maps(("msl", "t2m"), hours=(0, 12))
    messages = []
    for i in range(2):
        messages.append(("z", "isobaricInhPa", 500, upper.z.sel(level=500)[i], None))
        messages.append(("t", "isobaricInhPa", 850, upper.t.sel(level=850)[i], None))
        messages.append(("prmsl", "meanSea", 0, low.msl[i], None))
        messages.append(("2t", "heightAboveGround", 2, low.t2m[i], None))
    fields = open_fields(grib(messages))
    assert sorted(keys(fields)) == ["msl", "t2m", "t850", "z500"]
    agree(fields)


def test_grib_with_holes(maps, grib):
    """A bitmap's missing values are missing."""
    array = maps(("msl",), hours=(0, 12)).msl.copy()
    array[1, 0, 0] = np.nan
    path = grib([("prmsl", "meanSea", 0, array[i], None) for i in range(2)])
    fields = open_fields(path)
    with pytest.raises(UserError, match=r"msl of .* at 2001-01-01T12:00 has missing values"):
        fields.read(np.array([1]))
    filled = open_fields(path, missing="fill").read(np.array([1]))[0, 0]
    assert filled[0, 0] in (filled[0, 1], filled[1, 0])


# ---- missing values


def test_missing_values(maps, saved):
    """Refused with the variable and the time, or filled with the nearest value of the same map."""
    dataset = maps(("msl", "z"), levels=(500, 850))
    values = dataset["z"].values
    values[5, 1, 1:4, 1:6] = values[5, 1, 4, :2] = np.nan
    path = saved(dataset)
    fields = open_fields(path)
    assert torch.isfinite(fields.read(np.array([0, 4, 6, 7]))).all()
    with pytest.raises(
        UserError, match=r"^z850 of data\.path=\S+ at 2001-01-02T06:00 has missing .*data\.missing=fill"
    ):
        fields.read(np.array([4, 5, 6]))
    filled = open_fields(path, missing="fill").read(np.array([4, 5]))
    assert torch.equal(filled[0], fields.read(np.array([4]))[0])
    got, there = filled[1, 2].numpy(), np.argwhere(np.isfinite(values[5, 1]))
    for place in np.ndindex(5, 8):
        far = ((there - place) ** 2).sum(1)
        assert got[place] in values[5, 1][tuple(there[far == far.min()].T)]


def test_a_map_of_nothing(maps, saved):
    """Has no nearest value."""
    dataset = maps()
    dataset["msl"].values[3] = np.nan
    fields = open_fields(saved(dataset), missing="fill")
    with pytest.raises(UserError, match=r"msl of .* at 2001-01-01T18:00 is empty"):
        fields.read(np.arange(8))


def test_missing_at_once(maps, saved, refusal):
    """In the first map they are found as the file is opened."""
    dataset = maps()
    dataset["msl"].values[0, 0, 0] = np.nan
    assert "msl of data.path=" in refusal(saved(dataset))


def test_missing_is_stop_or_fill(maps, saved):
    """Nothing else."""
    dataset = maps()
    dataset["msl"].values[0, 0, 0] = np.nan
    with pytest.raises(UserError, match=r"data\.missing"):
        open_fields(saved(dataset), missing="drop")


# ---- what cannot be read


def test_nothing_there(refusal, tmp_path):
    """No file, no folder, no match, an empty folder, one without weather."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").write_text("x", encoding="utf-8")
    for name in ("no.nc", "no.txt", "nowhere/", "*.nc", "empty", "other", "no.zarr"):
        said = refusal(str(tmp_path / name))
        assert f"data.path={tmp_path / name}".rstrip("/") in said
        assert "no such file" in said


@pytest.mark.parametrize("name", ["maps.txt", "maps", "maps.h5.bak"])
def test_unknown_endings(refusal, tmp_path, name):
    """Known ones are told."""
    (tmp_path / name).write_text("x", encoding="utf-8")
    assert "known endings are .nc, .nc4" in refusal(str(tmp_path / name))


@pytest.mark.parametrize("content", [b"", b"not a map " * 100])
@pytest.mark.parametrize("name", ["maps.nc", "maps.grib", "maps.grib2", "maps.zarr/zarr.json", "maps.zarr/.zgroup"])
def test_damaged_files(refusal, tmp_path, name, content):
    """One line, whatever the library says."""
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    path = str(file if file.suffix in (".nc", ".grib", ".grib2") else file.parent)
    said = refusal(path)
    assert f"data.path={path} " in said
    assert "cannot be read" in said or "no variable" in said or "no axis" in said


def test_half_a_file(maps, saved, refusal):
    """A NetCDF file whose end is gone."""
    path = Path(saved(maps()))
    path.write_bytes(path.read_bytes()[:2000])
    assert "cannot be read" in refusal(str(path))


# ---- real files


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared weather files are not here")
def test_real_files(refusal):
    """Of reanalyses and a radar, as they came."""
    fields = open_fields(str(DATA / "era5_10_members_zt_850_500.grib"))
    assert sorted(keys(fields)) == ["t500", "t850", "z500", "z850"]
    assert len(fields.minutes) == 40
    assert (np.diff(fields.minutes) > 0).sum() == 30
    x = dict(zip(keys(fields), fields.read(np.array([17]))[0], strict=True))
    grid = Grid(torch.tensor(fields.latitude_deg), torch.tensor(fields.longitude_deg))
    assert grid.periodic
    assert grid.mean(x["z500"]) == pytest.approx(5.5e4, rel=0.02)
    assert x["t850"][25:35].mean() > x["t850"][-5:].mean() + 20  # the tropics, and a pole
    fields = open_fields(str(DATA / "ncep_slp_daily_2001_2010_north_atlantic.nc"))
    assert (keys(fields), len(fields.minutes), len(fields.latitude_deg)) == (["msl"], 3652, 17)
    assert fields.longitude_deg[[0, -1]] == pytest.approx([-70, 10])
    assert fields.variables[0] == Variable("msl", "Pa", None, "air_pressure_at_mean_sea_level", "msl")


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared weather files are not here")
def test_real_files_that_are_no_series(refusal):
    """Means of months, and a radar's picture without places."""
    assert "no time" in refusal(str(DATA / "era_interim_uvz_jan_jul_means.nc"))
    assert "no axis of latitudes" in refusal(str(DATA / "knmi_radar_5min_2km.nc"))
