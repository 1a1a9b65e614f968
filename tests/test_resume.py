"""A run that is killed again and again ends in the same bits as one that is left alone."""

import multiprocessing
import os
import random
import signal

import pytest
import torch

from genzoo import checkpoint

STEPS = 60
OVERRIDES = [
    f"trainer.steps={STEPS}",
    "trainer.save_every=7",
    "trainer.val_every=20",
    "model.net.dropout=0.1",
    "samples=0",
]


def train(out, text, resume, kill_at=None, kill_at_flush=None):
    """Runs in a process of its own, which may end by SIGKILL at a step or in the middle of writing a checkpoint."""
    torch.set_num_threads(1)
    import genzoo
    from genzoo_text.data import TextData

    if kill_at is not None:
        plain = TextData.batch

        def batch(self, step, size, split, rows=None):
            if split == "train" and step == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return plain(self, step, size, split, rows)

        TextData.batch = batch
    if kill_at_flush is not None:
        flushes = []
        flush = checkpoint.flush

        def flush_or_die(file):
            flushes.append(1)
            if len(flushes) == kill_at_flush:
                file.write(b"half" if "b" in file.mode else "half")
                os.kill(os.getpid(), signal.SIGKILL)
            flush(file)

        checkpoint.flush = flush_or_die
    genzoo.train("text_smoke", [*OVERRIDES, f"data.path={text}", f"out={out}", f"resume={str(resume).lower()}"])


@pytest.fixture(scope="module")
def run():
    """Starts `train` in a process forked from one that has everything imported; returns its exit code."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["genzoo.api", "genzoo.trainer", "genzoo_text.data", "rich.progress"])

    def start(*args, **kwargs):
        process = context.Process(target=train, args=args, kwargs=kwargs)
        process.start()
        process.join()
        return process.exitcode

    return start


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    file = tmp_path_factory.mktemp("text") / "text.txt"
    draw = random.Random(0)
    file.write_text("".join(draw.choice(["to be ", "or not ", "that is\n", "the question. "]) for _ in range(2000)))
    return file


@pytest.fixture(scope="module")
def uninterrupted(run, text, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    assert run(out, text, False) == 0
    return out


def assert_equal_runs(first, second):
    """Weights to sample with, raw weights, optimizers and counters, all to the bit; and the log's losses."""
    for folder in ("last", "best"):
        a, b = (checkpoint.load(out / "checkpoints" / folder) for out in (first, second))
        assert a.step == b.step
        assert all(torch.equal(a.weights[name], b.weights[name]) for name in a.weights)
    states = [checkpoint.load_train_state(out / "checkpoints" / "last") for out in (first, second)]
    assert flat(states[0]).keys() == flat(states[1]).keys()
    for key, value in flat(states[0]).items():
        other = flat(states[1])[key]
        assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other, key
    logs = [(out / "log.csv").read_text().splitlines() for out in (first, second)]
    assert [line.split(",")[:3] for line in logs[0]] == [line.split(",")[:3] for line in logs[1]]


def flat(value, prefix=""):
    if isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {key: leaf for name, item in items for key, leaf in flat(item, f"{prefix}.{name}").items()}
    return {prefix: value}


def test_killed_ten_times_at_random_steps(run, text, uninterrupted, tmp_path):
    """SIGKILL leaves no time to save; each time the run goes on from its last whole checkpoint."""
    draw = random.Random(4)
    out = tmp_path / "run"
    for _ in range(10):
        done = checkpoint.steps_saved(out / "checkpoints")
        first = checkpoint.load(done[-1]).step if done else 0
        at = draw.randrange(first + 1, min(first + 10, STEPS))
        assert run(out, text, out.exists(), kill_at=at) == -signal.SIGKILL
    assert run(out, text, True) == 0
    assert_equal_runs(out, uninterrupted)


@pytest.mark.parametrize("flush", [2, 4, 5, 9])
def test_killed_while_writing_a_checkpoint(run, text, uninterrupted, tmp_path, flush):
    """With half a file on the disk."""
    out = tmp_path / "run"
    assert run(out, text, False, kill_at_flush=flush) == -signal.SIGKILL
    assert run(out, text, True) == 0
    assert_equal_runs(out, uninterrupted)
    assert not list((out / "checkpoints").glob(".unfinished-*"))
