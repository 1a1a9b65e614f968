"""Three splits: what chooses weights is not what figures are of."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import genzoo
from genzoo import checkpoint
from genzoo.config import build, compose_config, plain
from genzoo.contract import Data
from genzoo.errors import UserError
from genzoo.folders import choosing, in_order, rows_of

SMOKE = ("text", "audio_mulaw", "music", "points", "motion", "video", "weather", "born")


def test_parts_of_one_thing():
    """Without a share of train its end is held out; with one, what was held out stays the same."""
    x = "".join(map(chr, range(1000)))
    two, three = in_order(x, 0.1, 0.0), in_order(x, 0.1, 0.2)
    assert two == {"train": x[:900], "val": x[900:]}
    assert three == {"train": x[:720], "val": x[720:900], "test": x[900:]}


def test_choosing():
    """A share of train is drawn by the seed, what was held out becomes test; where there are three, nothing moves."""
    rows = rows_of(np.array(["train"] * 50 + ["val"] * 5))
    found = choosing(rows, 0.2, 7)
    assert {name: len(mine) for name, mine in found.items()} == {"train": 40, "val": 10, "test": 5}
    assert sorted(np.concatenate([*found.values()])) == list(range(55))
    assert np.array_equal(found["test"], rows["val"])
    assert all(np.array_equal(found[name], mine) for name, mine in choosing(rows, 0.2, 7).items())
    assert not np.array_equal(choosing(rows, 0.2, 8)["val"], found["val"])
    assert choosing(found, 0.5, 7) is found
    assert choosing(rows, 0.0, 7) is rows
    with pytest.raises(UserError, match=r"select_fraction=0\.9 leaves nothing of 1 to train on"):
        choosing({"train": np.arange(1), "val": np.arange(1)}, 0.9)


@pytest.mark.parametrize("name", SMOKE)
def test_a_share_of_train_chooses(name):
    """In every modality the figures' split is what was held out before, and no example is in two."""
    config = plain(compose_config("train", [f"preset={name}_smoke"]))["data"]
    two, three = (build({**config, "select_fraction": share}, Data, "data") for share in (0.0, 0.3))
    for data in (two, three):
        data.prepare()
    if "test" in two.splits:  # of its own
        assert three.splits == two.splits
        assert all(three.fingerprint(split) == two.fingerprint(split) for split in two.splits)
        return
    assert (two.splits, three.splits) == (("train", "val"), ("train", "val", "test"))
    assert len({three.fingerprint(split) for split in three.splits}) == 3
    sweeps = [[batch.x for batch in data.sweep(split, 64)] for data, split in ((two, "val"), (three, "test"))]
    assert sum(map(len, sweeps[0])) == sum(map(len, sweeps[1])) > 0
    assert sum(batch.x.numel() for batch in three.sweep("val", 64)) > 0
    with pytest.raises(UserError, match="split is train or val for this data, not 'test'"):
        two.fingerprint("test")


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_that_cannot_be(share):
    config = plain(compose_config("train", ["preset=text_smoke"]))["data"]
    with pytest.raises(UserError, match="select_fraction must lie from 0 to below 1"):
        build({**config, "select_fraction": share}, Data, "data")


@pytest.fixture(scope="module")
def run(tmp_path_factory, request) -> Path:
    """Of which the best checkpoint is the first: the second was learned with far too high a rate."""
    folder = tmp_path_factory.mktemp("chosen")
    words = ["trainer.steps=20", "trainer.val_every=20", "trainer.save_every=20", "trainer.log_every=20", "samples=0"]
    out = genzoo.train("text_smoke", [*words, "trainer.keep=5", f"out={folder / 'run'}"])
    worse = ["resume=true", f"out={out}", "trainer.steps=40", "trainer.lr=3", "trainer.muon_lr=3", *words[1:]]
    return genzoo.train("text_smoke", ["trainer.keep=5", *worse])


def test_the_last_weights_are_scored_where_val_chose(run, capsys):
    """Said in a line and in the protocol; weights that are named are the ones that are scored, with who chose them."""
    best, last = checkpoint.best_of(run / "checkpoints"), checkpoint.newest_of(run / "checkpoints")
    assert (best.name, last.name) == ("step_000020", "step_000040")
    told = genzoo.evaluate(run, ["n=0"])
    assert "scored: the last weights (step 40), for val chose the best (step 20)" in capsys.readouterr().err
    assert (told["protocol"]["step"], told["protocol"]["weights_chosen_on"]) == (40, None)
    named = genzoo.evaluate(best, ["n=0"])
    assert (named["protocol"]["step"], named["protocol"]["weights_chosen_on"]) == (20, "val")
    assert named["nats_per_token"] < told["nats_per_token"]
    assert genzoo.load(run).step == 20, "samples are of the best"


def test_test_is_scored_where_it_is(run, tmp_path, capsys):
    """By weights that val chose."""
    words = ["trainer.steps=2", "trainer.val_every=2", "samples=0", "data.select_fraction=0.2"]
    out = genzoo.train("text_smoke", [*words, f"out={tmp_path / 'run'}"])
    found = genzoo.evaluate(out, ["n=0"])["protocol"]
    assert (found["split"], found["step"]) == ("test", 2)
    assert set(json.loads(Path(out, "metrics.json").read_text())) >= {"evaluate_test"}
    assert set(checkpoint.load(out).fingerprints) == {"train", "val", "test"}
    shutil.rmtree(out)
