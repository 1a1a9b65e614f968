"""The contract, clause by clause, of all that the smoke presets describe. What is of one modality alone is tested in
its folder."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from genzoo.config import compose_config, config_folder
from genzoo.errors import UserError
from genzoo.testing import OF_DATA, OF_MODEL, cheap_checks, said
from genzoo.verbs.check import check, made, of_data, of_model
from genzoo.verbs.train import Run

from .conftest import FIRST

NAMES = sorted(file.stem.removesuffix("_smoke") for file in (config_folder() / "preset").glob("*_smoke.yaml"))
SHORT = {"audio_mulaw": ("sampling.seconds=0.01",), "music": ("sampling.ticks=8",)}
"""By smoke preset: what makes its samples short."""


@pytest.fixture(scope="session")
def run_of(smoke_run_of: Callable[[str], Path]) -> Callable[[str], Run]:
    """Data and model of a smoke preset, as training has them before its first step; each made once."""

    @cache
    def of(name: str) -> Run:
        words = [f"{key}={smoke_run_of(other)}" for key, other in FIRST.get(name, {}).items()]
        return made(compose_config("train", [f"preset={name}_smoke", *words, *SHORT.get(name, ())]))

    return of


def test_all_of_them():
    assert len(NAMES) >= 12


@pytest.mark.parametrize("name", NAMES)
def test_data(run_of, name):
    assert list(of_data(run_of(name))) == [said(clause) for clause in OF_DATA]


@pytest.mark.parametrize("name", NAMES)
def test_model(run_of, name):
    assert list(of_model(run_of(name))) == [said(clause) for clause in OF_MODEL]


@pytest.mark.parametrize("name", NAMES)
def test_cheap(run_of, name):
    cheap_checks(run_of(name).data, run_of(name).model)


def test_the_verb(tmp_path, monkeypatch, capsys):
    """A line for each clause; nothing is written."""
    monkeypatch.chdir(tmp_path)
    check(["preset=text_smoke", "data.context=16", "sampling.length=8"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "data: TextData"
    assert len(lines) == len(OF_DATA) + len(OF_MODEL) + 2
    assert "  batch is pure                             ok" in lines
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match=r"data\.context must be at least 2"):
        check(["preset=text_smoke", "data.context=1"])
