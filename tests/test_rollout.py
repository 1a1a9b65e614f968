"""Roll-outs: each piece from the one before, lazily, journalled, and the same after a break as without one.

Legend: n samples, pieces one after another.
"""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray
from torch import Tensor, nn

import genzoo
from genzoo import api, checkpoint, cli
from genzoo.contract import Data, GenerativeModel, Loss, Request, Spec
from genzoo.draws import Noise, RowNoise
from genzoo.errors import UserError
from genzoo.families import Flow
from genzoo.sample import JOURNAL

# ---- a walk, which needs no training


class Walk(Data):
    """Positions that go on in time."""

    def prepare(self) -> None:
        pass

    @property
    def spec(self) -> Spec:
        return Spec((2,), context={"last": (2,)})

    def batch(self, step, size, split, rows=None):
        raise NotImplementedError

    def sweep(self, split, size):
        raise NotImplementedError

    def request(self, n: int, *, origin: float = 0.0) -> Request:
        last = origin + 100.0 * torch.arange(n).view(-1, 1).expand(-1, 2)
        return Request(n, {"last": last, "time": torch.zeros(n, dtype=torch.int64)}, {"twist": 0.5})

    def follow(self, x: Tensor, cond: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"last": x, "time": cond["time"] + 1}

    def write(self, x, path, request):
        raise NotImplementedError

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: Mapping) -> None:
        pass


class Stepper(GenerativeModel):
    """The next position: the last one and a random step. It writes down what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.asked: list[tuple[int, list[int]]] = []

    def loss(self, batch, generator=None) -> Loss:
        raise NotImplementedError

    def sample(
        self, n: int, cond: Mapping[str, Tensor], noise: Noise, *, size: float = 1.0, twist: float = 0.0
    ) -> Tensor:
        assert n == len(cond["last"]) == len(cond["time"])
        self.asked.append((n, cond["time"].tolist()))
        return cond["last"] + twist + size * noise.normal(n, 2)


@pytest.fixture
def walk(tmp_path) -> api.Model:
    return api.Model(Stepper(), Walk(), {"sampling": {"size": 2.0}}, 0, tmp_path / "model.safetensors")


def xs(pieces: Iterator[tuple[Tensor, dict[str, Tensor]]]) -> list[Tensor]:
    return [x for x, _ in pieces]


def test_pieces_by_hand(walk):
    """Each piece has the one before as its condition, noise of its own (of the roll-out's seed, its place and row), the
    run's sampling options and what the data adds to them."""
    found = list(walk.rollout(walk.request(3, origin=5.0), 4, seed=7, batch_size=2))
    last = torch.tensor([[5.0, 5.0], [105, 105], [205, 205]])
    for i, (x, cond) in enumerate(found):
        assert torch.equal(cond["last"], last)
        assert cond["time"].tolist() == [i] * 3
        last = last + 0.5 + 2.0 * RowNoise(range(3), "sample", 7, i).normal(3, 2)
        assert torch.equal(x, last)
    assert [n for n, _ in walk.model.asked] == [2, 1] * 4


def test_seeds_of_pieces_differ(walk):
    """No step is the one before it, and another seed has other steps."""
    steps = torch.stack(xs(walk.rollout(walk.request(2), 5, seed=1))).diff(dim=0)
    assert len({tuple(step.flatten().tolist()) for step in steps}) == 4
    request = walk.request(2)
    both = zip(xs(walk.rollout(request, 3)), xs(walk.rollout(request, 3)), strict=True)
    assert all(torch.equal(a, b) for a, b in both)
    one, other = (next(walk.rollout(request, 1, seed=seed))[0] for seed in (1, 2))
    assert not torch.equal(one, other)


def test_options_of_a_rollout(walk):
    """Options go where they belong, over the run's own; an unknown one is named before anything is made."""
    assert torch.equal(next(walk.rollout(walk.request(1, size=0.0), 1))[0], torch.full((1, 2), 0.5))
    with pytest.raises(UserError, match="unknown option siz.*size"):
        walk.request(1, siz=0.0)
    assert len(walk.model.asked) == 1


@pytest.mark.parametrize("batch_size", [1, 2, 5, 64])
def test_batches_of_given_conditions(walk, batch_size):
    """Every row is made under its own condition, in its own place, at most so many at once; its numbers do
    not depend on the batch."""
    cond = {"last": torch.arange(10.0).view(5, 2) * 100, "time": torch.arange(5)}
    found = walk.sample_given(cond, 3, batch_size=batch_size, size=0.01)
    torch.testing.assert_close(found, cond["last"], rtol=0, atol=0.1)
    assert [n for n, _ in walk.model.asked] == [min(batch_size, 5 - i) for i in range(0, 5, batch_size)]
    assert [t for _, times in walk.model.asked for t in times] == [0, 1, 2, 3, 4]
    assert torch.equal(walk.sample_given(cond, 3, batch_size=3, size=0.01), found)
    part = {name: value[:2] for name, value in cond.items()}
    assert torch.equal(walk.sample_given(part, 3, batch_size=batch_size, size=0.01), found[:2])
    assert found.device.type == "cpu"
    assert not torch.equal(walk.sample_given(cond, 4, batch_size=batch_size), found)


def test_rollout_is_lazy(walk):
    """Nothing is made before it is asked for: of a million pieces the first three."""
    pieces = walk.rollout(walk.request(1), 1_000_000)
    assert walk.model.asked == []
    for i in range(3):
        next(pieces)
        assert len(walk.model.asked) == i + 1
    assert len(xs(walk.rollout(walk.request(1), 2))) == 2


def test_few_pieces_are_held(walk, tmp_path):
    """However long it is, no more than the last pieces are in memory, with a journal or without."""
    for journal in (None, tmp_path):
        alive: list[weakref.ref] = []
        for x, _ in walk.rollout(walk.request(1), 30, journal=journal):
            alive.append(weakref.ref(x))
            del x
            assert sum(ref() is not None for ref in alive) <= 3


# ---- the journal


def test_journal_takes_the_place_of_making(walk, tmp_path):
    """Every piece is on the disk before it is handed out; those that are there are not made again, and what comes after
    is as if there had been no break."""
    want = xs(walk.rollout(walk.request(3), 6, seed=2))
    pieces = walk.rollout(walk.request(3), 6, seed=2, journal=tmp_path)
    for i in range(4):
        x, _ = next(pieces)
        assert torch.equal(checkpoint.read_tensor(tmp_path / f"{i:04d}.safetensors"), x)
        assert len(list(tmp_path.iterdir())) == i + 1
    pieces.close()
    walk.model.asked.clear()
    again = list(walk.rollout(walk.request(3), 6, seed=2, journal=tmp_path))
    assert all(torch.equal(a, b) for a, b in zip(xs(again), want, strict=True))
    assert [times[0] for _, times in walk.model.asked] == [4, 5]
    assert [cond["time"].tolist() for _, cond in again] == [[i] * 3 for i in range(6)]
    walk.model.asked.clear()
    assert len(xs(walk.rollout(walk.request(3), 6, seed=2, journal=tmp_path))) == 6
    assert walk.model.asked == []


def test_break_inside_a_piece(walk, tmp_path, monkeypatch):
    """A piece that was being written when the power went is made again; its remains are not taken for one."""
    want = xs(walk.rollout(walk.request(2), 3))
    written, real = [], os.replace

    def dies(source, target):
        written.append(target)
        if len(written) == 2:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        xs(walk.rollout(walk.request(2), 3, journal=tmp_path))
    monkeypatch.undo()
    assert not (tmp_path / "0001.safetensors").exists()
    found = xs(walk.rollout(walk.request(2), 3, journal=tmp_path))
    assert all(torch.equal(a, b) for a, b in zip(found, want, strict=True))
    assert sorted(p.name for p in tmp_path.glob("*")) == [f"{i:04d}.safetensors" for i in range(3)]


@pytest.mark.parametrize(
    "x",
    [
        torch.tensor([[1.0, float("nan")], [float("inf"), -0.0]]),
        torch.arange(6).view(2, 3).T,
        torch.randn(2, 3, 4).bfloat16()[:, ::2],
        torch.zeros(0, 5, dtype=torch.float64),
        torch.tensor([True, False]),
    ],
    ids=["floats", "transposed", "strided", "empty", "bool"],
)
def test_lone_tensors(tmp_path, x):
    """Any dtype, any strides, any values: bit for bit, in place of what was there, and nothing beside it."""
    for given in (torch.zeros(7), x):
        checkpoint.write_tensor(tmp_path / "x.safetensors", given)
    found = checkpoint.read_tensor(tmp_path / "x.safetensors")
    assert found.dtype == x.dtype
    assert found.shape == x.shape
    raw = (t.contiguous().flatten().view(torch.uint8) if t.numel() else t for t in (found, x))
    assert torch.equal(*raw)
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


# ---- the verb


@pytest.fixture
def run(smoke_run_of) -> Path:
    return smoke_run_of("weather")


@pytest.fixture
def sample(run, tmp_path, monkeypatch, capsys):
    """Runs `genzoo sample` on the trained weather, where pictures are left out, and returns what it said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("genzoo_weather.pictures.of_forecast", lambda file, folder: [])

    def said(*words: object) -> str:
        capsys.readouterr()
        cli.main(["sample", f"checkpoint={run}", "device=cpu", *map(str, words)])
        return capsys.readouterr().err

    return said


def values(file: Path) -> dict[str, np.ndarray]:
    """All that a forecast says."""
    with xarray.open_dataset(file) as opened:
        return {str(name): array.values for name, array in opened.variables.items()}


def assert_same(one: Path, other: Path) -> None:
    a, b = values(one), values(other)
    assert a.keys() == b.keys()
    for name in a:
        assert np.array_equal(a[name], b[name]), name


def assert_breaks(sample, monkeypatch, *words: object, at: int = 2) -> None:
    """The command, with a power cut while piece `at` (from 1) is made."""
    real, made = Flow.sample, []

    @functools.wraps(real)
    def dies(self, *args, **options):
        made.append(1)
        if len(made) == at:
            raise KeyboardInterrupt
        return real(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Flow, "sample", dies)
        with pytest.raises(SystemExit, match="130"):
            sample(*words)


def test_forecast_by_hand(run, sample):
    """rollout=3 writes what three single steps give, one after the other."""
    sample("rollout=3", "n=2", "seed=5", "out=made", "date=2010-01-01")
    trained = genzoo.load(run, device="cpu")
    cond = trained.data.request(2, date="2010-01-01").cond
    found = values(Path("made/forecast.nc"))
    for i in range(3):
        with torch.inference_mode():
            x = trained.model.sample(2, cond, RowNoise(range(2), "sample", 5, i), steps=2)
        for c, variable in enumerate(trained.data.variables):
            assert np.array_equal(found[variable.name][:, i], trained.data.decode(x)[:, c].numpy())
        cond = trained.data.follow(x, cond)
    times = found["time"].astype("datetime64[h]").astype(str).tolist()
    assert times == ["2010-01-01T00", "2010-01-01T12", "2010-01-02T00"]
    assert [p.name for p in Path("made").iterdir()] == ["forecast.nc"], "no journal is left"


def test_forecast_depends_on_the_seed(sample):
    """The same seed gives the same forecast, whatever was sampled before; another seed gives another one."""
    for out, words in (("a", ["seed=1"]), ("b", ["seed=2"]), ("c", ["seed=1"])):
        sample("rollout=2", "n=3", "batch_size=2", f"out={out}", *words)
    assert_same(Path("a/forecast.nc"), Path("c/forecast.nc"))
    assert not np.array_equal(values(Path("a/forecast.nc"))["h"], values(Path("b/forecast.nc"))["h"])


@pytest.mark.parametrize("at", [1, 2, 3])
def test_forecast_after_a_break(sample, monkeypatch, at):
    """Broken off while a piece is made, the same command goes on in the same folder, says so, makes only what is
    missing, and gives bit for bit the forecast without a break; nothing of the journal is left."""
    words = ("rollout=3", "n=2", "seed=3")
    sample(*words, "out=whole")
    assert_breaks(sample, monkeypatch, *words, "out=broken", at=at)
    assert len(list(Path("broken", JOURNAL).glob("[0-9]*"))) == at - 1
    made, real = [], Flow.sample

    @functools.wraps(real)
    def counted(*args, **options):
        made.append(1)
        return real(*args, **options)

    monkeypatch.setattr(Flow, "sample", counted)
    assert "(going on in broken)" in sample(*words, "out=broken")
    assert len(made) == 3 - (at - 1)
    assert_same(Path("broken/forecast.nc"), Path("whole/forecast.nc"))
    assert [p.name for p in Path("broken").iterdir()] == ["forecast.nc"]


def test_forecast_after_a_break_of_writing(sample, monkeypatch):
    """The same where the file, and not the model, broke off; and where only the pictures were missing."""
    from genzoo_weather.output import ForecastFile

    words = ("rollout=3", "seed=3")
    sample(*words, "out=whole")
    real = ForecastFile.append

    def dies(self, x, minutes):
        if self.times == 1:
            self.file.close()
            raise KeyboardInterrupt
        real(self, x, minutes)

    def no_pictures(file, folder):
        raise KeyboardInterrupt

    for target, broken in (
        ("genzoo_weather.output.ForecastFile.append", dies),
        ("genzoo_weather.pictures.of_forecast", no_pictures),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(target, broken)
            with pytest.raises(SystemExit, match="130"):
                sample(*words, "out=broken")
    assert len(list(Path("broken", JOURNAL).glob("[0-9]*"))) == 3
    all_there = functools.wraps(Flow.sample)(lambda *args, **options: pytest.fail("all pieces are there"))
    monkeypatch.setattr(Flow, "sample", all_there)
    sample(*words, "out=broken")
    assert_same(Path("broken/forecast.nc"), Path("whole/forecast.nc"))


def test_forecast_after_a_kill(run, sample, tmp_path):
    """A process that is killed (no farewell) leaves a file that opens, with all the times that were written, and a
    journal that another process goes on from."""
    words = ["rollout=3", "n=2", "seed=3"]
    code = f"""
        import os, signal, torch
        from genzoo import cli
        from genzoo_weather.output import ForecastFile
        torch.set_num_threads(1)
        real = ForecastFile.append
        def dies(self, x, minutes):
            if self.times == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            real(self, x, minutes)
        ForecastFile.append = dies
        cli.main(["sample", "checkpoint={run}", "device=cpu", "out=broken", *{words}])
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=tmp_path, capture_output=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    sample(*words, "out=whole")
    part, whole = values(Path("broken/forecast.nc")), values(Path("whole/forecast.nc"))
    assert np.array_equal(part["time"], whole["time"][:2])
    assert np.array_equal(part["h"], whole["h"][:, :2])
    assert "(going on in broken)" in sample(*words, "out=broken")
    assert_same(Path("broken/forecast.nc"), Path("whole/forecast.nc"))


OTHERS = ["seed=4", "n=3", "rollout=2", "steps=1", "batch_size=1", "date=2012-01-01", "solver=euler"]


def test_other_settings_do_not_go_on(run, sample, monkeypatch, tmp_path):
    """A broken forecast is left to its own command: others take folders of their own, and it can still be gone on
    with."""
    copy = shutil.copytree(run, tmp_path / "run", symlinks=True)
    words = ("rollout=3", "n=2", f"checkpoint={copy}")
    samples = copy / "samples"
    for old in samples.iterdir():
        shutil.rmtree(old)
    assert_breaks(sample, monkeypatch, *words)
    assert [p.name for p in samples.iterdir()] == ["000"]
    before = json.loads((samples / "000" / JOURNAL / "settings.json").read_text())
    for number, other in enumerate(OTHERS, start=1):
        assert "going on" not in sample(*words, other)
        assert sorted(p.name for p in samples.iterdir())[-1] == f"{number:03d}"
    assert json.loads((samples / "000" / JOURNAL / "settings.json").read_text()) == before
    assert "going on" in sample(*words)
    assert not (samples / "000" / JOURNAL).exists()
    assert (samples / "000" / "forecast.nc").exists()
    assert "going on" not in sample(*words), "what is done is done: the next one is new"
    assert_same(samples / "000" / "forecast.nc", samples / f"{len(OTHERS) + 1:03d}" / "forecast.nc")


def test_other_settings_in_a_folder_that_was_named(sample, monkeypatch, refused, run):
    """out= of a broken forecast with another seed: refused, and the broken one stays."""
    assert_breaks(sample, monkeypatch, "rollout=3", "out=mine")
    said = refused("sample", f"checkpoint={run}", "device=cpu", "rollout=3", "seed=8", "out=mine")
    assert "out=mine is not empty: choose another out=" in said
    assert "going on" in sample("rollout=3", "out=mine")


def test_full_folders_are_refused(refused, tmp_path, run):
    """Nothing that is there is overwritten, be it a forecast or not."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "forecast.nc").write_text("years of work")
    said = refused("sample", f"checkpoint={run}", "device=cpu", "rollout=2", "out=mine")
    assert "out=mine is not empty" in said
    assert "is not empty" in refused("sample", f"checkpoint={run}", "device=cpu", "out=mine/forecast.nc")


def test_what_does_not_go_on_is_not_rolled_out(refused, smoke_run):
    """Text has no next piece."""
    said = refused("sample", f"checkpoint={smoke_run}", "rollout=2", "out=made")
    assert "rollout is for data that goes on in time" in said


@pytest.mark.parametrize("words", [["rollout=0"], ["n=0"], ["batch_size=0"], ["date=soon"], ["context=nowhere.nc"]])
def test_refused_words(refused, run, words):
    """One line, and no folder made."""
    refused("sample", f"checkpoint={run}", "device=cpu", "out=made", *words)


@pytest.mark.parametrize("words", [["steps=0"], ["steps=0", "rollout=2"]])
def test_refused_by_the_sampler(refused, run, words):
    """What only the model finds wrong is refused as cleanly: one line, and no folder with a journal left behind."""
    said = refused("sample", f"checkpoint={run}", "device=cpu", "out=made", *words)
    assert "steps must be at least 1, not 0" in said


def test_what_does_not_go_on_is_not_rolled_out_in_python(smoke_run):
    """A modality without `follow` has no roll-out in Python either: UserError, not a trap in the middle."""
    model = genzoo.load(smoke_run, device="cpu")
    with pytest.raises(UserError, match="goes on in time"):
        list(model.rollout(model.request(1), 2))
