"""Born machines on the command line: mistakes are one line and touch nothing; beyond simulation there is a score."""

import json
import math
import re
from pathlib import Path

import pytest

from genzoo import cli

SMALL = ("data.path=bas", "data.rows=2", "data.columns=2", "data.strings=20", "trainer.batch_size=4")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("data.path=nowhere.csv", r"nowhere\.csv: there is no such CSV file of bits, nor is it one of bas"),
        ("data.path=wrong.csv", r"wrong\.csv line 3: '2' is not 0 or 1"),
        ("data.rows=0", r"data\.rows and data\.columns must be at least 1, not 0 and 4"),
        ("data.rows=1 model.circuit.entangler=rng", r"(entangler.*rng|rng.*entangler).*ring"),
        ("data.rows=1 model.start=staircase", r"start=staircase needs the circuit .*matrix_product"),
        ("data.rows=1 model.start=marginal", r"model\.start=marginal"),
        ("data.path=ising data.rows=6 data.columns=6", r"data\.rows \* data\.columns is at most 24, not 36"),
        ("data.rows=1 samples=3 sampling.depolarising=0.1", r"sampling\.depolarising, did you mean .*depolarizing"),
    ],
)
def test_mistakes_of_training(words, said, refused, tmp_path, tiny):
    """What is wrong, and the mend."""
    (tmp_path / "wrong.csv").write_text("0,1\n1,1\n0,2\n")
    line = refused("train", "born", *tiny, *words.split())
    assert re.search(said, line), line


def test_beyond_simulation(refused, tmp_path, tiny, monkeypatch):
    """An IQP circuit on 30 bits trains and has a loss to score it by; samples are refused, with the mend."""
    monkeypatch.chdir(tmp_path)
    small = ("data.rows=5", "data.columns=6", "data.strings=40", "trainer.batch_size=8")
    cli.main(["train", "born_iqp", *small, *tiny, "model.operators=8", "model.strings=8", "out=run"])
    cli.main(["evaluate", "checkpoint=run", "n=0"])
    scores = json.loads(Path("run", "metrics.json").read_text())["evaluate_val"]
    assert math.isfinite(scores["loss"])
    assert scores["examples"] == 40
    for words in (("sample", "checkpoint=run"), ("evaluate", "checkpoint=run", "n=2")):
        assert re.search(r"30 wires need a quantum computer.*n=0", refused(*words))


def test_other_data_than_was_trained_on(refused, tmp_path, tiny, monkeypatch):
    """Strings of another length neither score a trained circuit nor go on training it; nor do weights of another
    family."""
    monkeypatch.chdir(tmp_path)
    cli.main(["train", "born", *SMALL, *tiny, "out=run"])
    cli.main(["train", "born_transformer", *SMALL, *tiny, "out=rival"])
    for words in (["evaluate", "checkpoint=run"], ["train", "born", *SMALL, *tiny, "init=run", "out=more"]):
        assert re.search(r"data\.(rows|columns|path)|bits", refused(*words, "data.columns=3"))
        assert re.search(r"data\.(rows|columns|path)|bits", refused(*words, "data.path=blobs", "data.columns=3"))
    assert "init=rival" in refused("train", "born", *SMALL, *tiny, "init=rival", "out=more")
