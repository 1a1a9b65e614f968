"""Checkpoints: whole or not there at all; nothing unpickled."""

import json
import shutil

import pytest
import torch
from safetensors import safe_open

from genzoo import checkpoint
from genzoo.contract import Spec
from genzoo.errors import UserError

CONTENT = dict(
    config={"model": {"dim": 3}},
    config_yaml="model: {dim: 3}\n",
    spec=Spec((4,), vocab=7, context={"prefix": (-1,)}),
    data_state={"characters": "äb"},
)


def save(folder, step=1, value=1.0):
    weights = {"w": torch.full((2, 2), value)}
    state = {"step": step, "tensor": torch.tensor([value])}
    folder.parent.mkdir(exist_ok=True)
    checkpoint.save(folder, step=step, weights=weights, train_state=state, **CONTENT)


def test_round_trip(tmp_path):
    """What was saved comes back, from the folder and from the lone file."""
    save(tmp_path / "step_000001", value=3.0)
    shutil.copy(tmp_path / "step_000001" / "model.safetensors", tmp_path / "lone.safetensors")
    for path in (tmp_path / "step_000001", tmp_path / "lone.safetensors"):
        found = checkpoint.load(path)
        assert torch.equal(found.weights["w"], torch.full((2, 2), 3.0))
        assert (found.step, found.config, found.spec) == (1, CONTENT["config"], CONTENT["spec"])
        assert found.data_state == CONTENT["data_state"]
    assert checkpoint.load_train_state(tmp_path / "step_000001") == {"step": 1, "tensor": torch.tensor([3.0])}


def test_people_can_read_it(tmp_path):
    """config.yaml and data.json are text; the metadata of the weights is JSON."""
    save(tmp_path / "c")
    assert (tmp_path / "c" / "config.yaml").read_text() == CONTENT["config_yaml"]
    assert json.loads((tmp_path / "c" / "data.json").read_text())["data_state"] == CONTENT["data_state"]
    with safe_open(tmp_path / "c" / "model.safetensors", framework="pt") as opened:
        assert json.loads(opened.metadata()["config"]) == CONTENT["config"]


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("survives", range(11))
def test_a_kill_during_writing_loses_nothing(tmp_path, monkeypatch, survives):
    """The process may end before any of the flushes or renames: the last checkpoint is whole, old or new."""
    checkpoints = tmp_path / "checkpoints"
    save(checkpoints / "step_000001")
    checkpoint.point(checkpoints / "last", "step_000001")
    calls = []

    def killing(function):
        def called(*args, **kwargs):
            calls.append(function.__name__)
            if len(calls) > survives:
                raise Killed
            return function(*args, **kwargs)

        return called

    for module, name in ((checkpoint, "flush"), (checkpoint, "flush_folder"), (checkpoint.os, "rename")):
        monkeypatch.setattr(module, name, killing(getattr(module, name)))
    monkeypatch.setattr(checkpoint.os, "replace", killing(checkpoint.os.replace))
    try:
        save(checkpoints / "step_000002", step=2, value=2.0)
        checkpoint.point(checkpoints / "last", "step_000002")
        finished = True
    except Killed:
        finished = False
    monkeypatch.undo()
    assert finished == (survives >= 10)
    newest = checkpoint.steps_saved(checkpoints)[-1]
    found = checkpoint.load(newest)
    assert torch.equal(found.weights["w"], torch.full((2, 2), float(found.step)))
    assert checkpoint.load_train_state(newest)["step"] == found.step
    assert checkpoint.load(checkpoints / "last").step in (1, found.step)
    save(checkpoints / f"step_{found.step + 1:06d}", step=found.step + 1, value=found.step + 1.0)
    assert checkpoint.load(checkpoint.steps_saved(checkpoints)[-1]).step == found.step + 1


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_a_damaged_file_is_one_clear_error(tmp_path, share):
    """Cut anywhere."""
    save(tmp_path / "c")
    file = tmp_path / "c" / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match="damaged or cut short"):
        checkpoint.load(tmp_path / "c")


def test_a_damaged_train_state_is_one_clear_error(tmp_path):
    """Cut, or a pickle of something else than tensors and plain values."""
    save(tmp_path / "c")
    file = tmp_path / "c" / "state.pt"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UserError, match="missing or damaged"):
        checkpoint.load_train_state(tmp_path / "c")
    torch.save({"x": tmp_path}, file)
    with pytest.raises(UserError, match="missing or damaged"):
        checkpoint.load_train_state(tmp_path / "c")


def test_what_is_no_checkpoint_is_refused(tmp_path):
    """Nothing there, an empty folder, another file, foreign weights."""
    with pytest.raises(UserError, match="no checkpoint at .*train one first"):
        checkpoint.load(tmp_path / "nope")
    with pytest.raises(UserError, match="holds no checkpoint"):
        checkpoint.load(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UserError, match=r"no \.safetensors file"):
        checkpoint.load(tmp_path / "a.txt")
    from safetensors.torch import save_file

    save_file({"w": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(UserError, match="not written by this genzoo"):
        checkpoint.load(tmp_path / "foreign.safetensors")


def test_a_run_means_its_best_checkpoint_then_its_last(tmp_path):
    """And old ones are deleted, but never the best."""
    checkpoints = tmp_path / "checkpoints"
    for step in (5, 10, 15, 1_000_000):
        save(checkpoints / f"step_{step:06d}", step=step)
    checkpoint.point(checkpoints / "last", "step_1000000")
    assert checkpoint.load(tmp_path).step == 1_000_000
    checkpoint.point(checkpoints / "best", "step_000005")
    assert checkpoint.load(tmp_path).step == 5
    checkpoint.forget_old(checkpoints, keep=2)
    assert [checkpoint.load(p).step for p in checkpoint.steps_saved(checkpoints)] == [5, 15, 1_000_000]


def test_tensors_of_the_data_state(tmp_path):
    """Travel beside the weights and come back where they were, bit for bit; the JSON names them for a reader."""
    codec = {"kind": "c", "weights": {"a.b": torch.randn(3, 2), "count": torch.tensor([1, 2])}, "config": {"n": [1]}}
    content = {**CONTENT, "data_state": {"rate_hz": 8000, "coding": codec}}
    checkpoint.save(tmp_path / "c", step=1, weights={"w": torch.ones(2)}, **content)
    found = checkpoint.load(tmp_path / "c")
    assert found.weights.keys() == {"w"}
    assert found.data_state["rate_hz"] == 8000
    assert found.data_state["coding"]["config"] == {"n": [1]}
    for name, value in codec["weights"].items():
        assert torch.equal(found.data_state["coding"]["weights"][name], value)
    said = json.loads((tmp_path / "c" / "data.json").read_text())["data_state"]["coding"]["weights"]
    assert said["count"] == {"tensor": "data_state/coding/weights/count"}


def test_tied_weights_are_kept_twice(tmp_path):
    """Two names of one tensor, and a part of another, come back as they were."""
    x = torch.arange(6.0)
    checkpoint.save(tmp_path / "c", step=1, weights={"a": x, "b": x, "c": x[2:4]}, **CONTENT)
    found = checkpoint.load(tmp_path / "c").weights
    assert [found[name].tolist() for name in "abc"] == [x.tolist(), x.tolist(), [2.0, 3.0]]
