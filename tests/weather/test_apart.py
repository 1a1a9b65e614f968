"""Weather files that harm: whatever they do to the library that reads them, it is one line here."""

import json
import os
import pickle
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from genzoo.errors import UserError
from genzoo_weather.apart import DECODER, open_fields
from genzoo_weather.data import WeatherData

netCDF4 = pytest.importorskip("netCDF4")


def grib(path: Path) -> Path:
    """Three messages, as eccodes has them in store."""
    import eccodes

    with open(path, "wb") as file:
        for day in (1, 2, 3):
            handle = eccodes.codes_grib_new_from_samples("regular_ll_pl_grib2")
            eccodes.codes_set(handle, "dataDate", 20010100 + day)
            eccodes.codes_set(handle, "shortName", "z")
            eccodes.codes_set_values(handle, np.linspace(4e4, 5e4, eccodes.codes_get_size(handle, "values")))
            eccodes.codes_write(handle, file)
            eccodes.codes_release(handle)
    return path


def claiming(path: Path, *, chunk: tuple[int, int, int] | None = None, **sizes: int) -> str:
    """A small file whose header says that there is much in it."""
    with netCDF4.Dataset(path, "w") as file:
        for name, size in {"time": 4, "latitude": 5, "longitude": 8, **sizes}.items():
            file.createDimension(name, size)
            axis = file.createVariable(name, "f8", (name,), zlib=True)
            if size < 1e6:
                axis[:] = np.linspace(0, 60, size)
        file["time"].units = "hours since 2001-01-01"
        axes = ("time", "latitude", "longitude")
        file.createVariable("msl", "f4", axes, zlib=True, chunksizes=chunk or (1, 5, 8)).units = "Pa"
    return str(path)


def test_what_a_file_does_to_its_library(maps, saved, tmp_path, refusal):
    """It dies, as of a GRIB file whose bitmap or grid is damaged, or goes round for ever: the file is named, and the
    next one is read, also by one who had opened it before."""
    path = saved(maps())
    fields = open_fields(path)
    want = fields.read(np.arange(8))
    whole = grib(tmp_path / "whole.grib").read_bytes()
    assert len(open_fields(str(tmp_path / "whole.grib")).minutes) == 3
    (tmp_path / "harm.grib").write_bytes(whole[:109] + b"\xff" + whole[110:])
    assert f"data.path={tmp_path / 'harm.grib'} cannot be read" in refusal(str(tmp_path / "harm.grib"))
    for end, said in ((signal.SIGABRT, "SIGABRT"), (signal.SIGPROF, "takes for ever")):
        os.kill(DECODER._started().pid, end)
        DECODER.process.wait()
        assert said in refusal(path)
    assert torch.equal(fields.read(np.arange(8)), want)
    assert torch.equal(open_fields(path).read(np.arange(8)), want)


def test_an_index_is_no_pickle_of_ours(tmp_path, monkeypatch):
    """cfgrib unpickles the indices that lie beside files: not here. Nor are modules taken from the working folder."""
    import cfgrib

    class Harm:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "harmed",))

    path = grib(tmp_path / "a.grib")
    cfgrib.open_file(str(path))
    (index,) = tmp_path.glob("*.idx")
    index.write_bytes(pickle.dumps(Harm()))
    for name in ("json", "numpy", "cfgrib", "genzoo_weather"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'harmed')!r}, 'w')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    DECODER._end()
    before = sorted(tmp_path.iterdir())
    assert len(open_fields("a.grib").minutes) == 3
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"latitude": 10**9}, "claims to hold"),
        ({"longitude": 10**9}, "claims to hold"),
        ({"latitude": 20_000}, "more than 10000"),
        ({"latitude": 9_000, "longitude": 9_000, "chunk": (1, 9_000, 9_000)}, "data.max_mb is 300"),
        ({"time": 400_000, "chunk": (400_000, 5, 8)}, "claims to hold 64 MB, and data.max_mb is 50"),
    ],
)
def test_claims(tmp_path, refusal, sizes, said):
    """What a header says is judged before it is believed."""
    limit = float(said.rpartition(" ")[2]) if "max_mb" in said else 1000.0
    assert said in refusal(claiming(tmp_path / "a.nc", **sizes), max_mb=limit)


@pytest.mark.parametrize("axis", ["latitude", "longitude", "time"])
def test_axes_that_are_none(maps, saved, refusal, axis):
    """A place or a time that is no number; a latitude that comes twice."""
    dataset = maps()
    values = dataset[axis].values.copy()
    values[2] = "NaT" if axis == "time" else np.nan
    assert axis in refusal(saved(dataset.assign_coords({axis: values}), "a.nc"))
    if axis == "latitude":
        assert "twice" in refusal(saved(dataset.assign_coords(latitude=[0, 10, 10, 20, 30.0]), "b.nc"))


def test_pipes_and_devices(tmp_path, maps, saved, refusal):
    """Are refused before they are opened, as a path and as a context."""
    os.mkfifo(tmp_path / "a.nc")
    (tmp_path / "b.nc").symlink_to("/dev/zero")
    data = WeatherData(path=saved(maps(), "c.nc"))
    data.prepare()
    for path in ("/dev/zero", tmp_path / "a.nc", tmp_path / "b.nc"):
        assert "is a pipe or a device" in refusal(str(path))
        with pytest.raises(UserError, match=rf"context={path} is a pipe or a device"):
            data.request(1, context=str(path))


@pytest.mark.parametrize("address", ["file:///etc", "reference://x", "s3://a::file:///x", "dap://x"])
def test_addresses(refusal, address):
    """Only those that are known, and none that leads on."""
    assert "addresses begin with gs://" in refusal(address)


def test_stores_that_harm(maps, saved, refusal, tmp_path):
    """Of Zarr: chunks that lie elsewhere or are cut short, pickles, other types, huge chunks, broken metadata."""
    path = Path(saved(maps(), "maps.zarr", consolidated=False))
    chunk, about = path / "msl" / "0.0.0", path / "msl" / ".zarray"
    values, plain = chunk.read_bytes(), json.loads(about.read_text(encoding="utf-8"))
    chunk.unlink()
    chunk.symlink_to(saved(maps(), "other.nc"))
    assert "msl/0.0.0 in it, which is no file" in refusal(str(path))
    chunk.unlink()
    chunk.write_bytes(values[:50])
    assert f"data.path={path} cannot be read" in refusal(str(path))
    pickles = {"filters": [{"id": "pickle"}]}
    harm = [pickles, pickles | {"dtype": "|O"}, {"compressor": {"id": "pickle"}}, {"compressor": {"id": "x"}}]
    harm += [{"dtype": "<q9"}, {"chunks": [10**6, 500, 800]}, {"shape": [10**10, 5, 8]}, {"chunks": None}]
    for change in harm:
        about.write_text(json.dumps(plain | change), encoding="utf-8")
        assert f"data.path={path} " in refusal(str(path))
    about.write_text("[" * 10**5, encoding="utf-8")
    assert f"data.path={path} " in refusal(str(path))


def test_threads_and_interrupts(maps, saved, monkeypatch):
    """Threads that ask at once are answered each its own; an answer that nobody took is not the next one's."""
    fields, other = open_fields(saved(maps(), "a.nc")), open_fields(saved(maps(("t2m",)), "b.nc"))
    want, got = (fields.read(np.arange(8)), other.read(np.arange(8))), {}

    def ask(i: int) -> None:
        got[i] = (fields, other)[i % 2].read(np.arange(8))

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(6)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert all(torch.equal(got[i], want[i % 2]) for i in range(6))

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("genzoo_weather.apart.json.loads", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fields.read(np.arange(2))
    assert torch.equal(other.read(np.arange(8)), want[1])


def test_a_file_that_is_written_again(maps, saved):
    """Is another one, though the first is still open."""
    path = Path(saved(maps()))
    fields = open_fields(str(path))
    path.write_bytes(Path(saved(maps(hours=range(0, 96, 6)), "longer.nc")).read_bytes())
    assert (len(open_fields(str(path)).minutes), len(fields.minutes)) == (16, 8)
