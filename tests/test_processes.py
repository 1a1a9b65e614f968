"""Several processes: the same global batch, the same result as one; all stop together."""

import os
import random
import signal
import subprocess
import sys
import threading
from contextlib import suppress

import psutil
import pytest
import torch
from torch import distributed

from genzoo import checkpoint
from genzoo.stopping import stop_requests

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
ONE = [sys.executable, "-m", "genzoo_text.train", "preset=text_smoke", "trainer.device=cpu"]
TWO = [ONE[0], "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", *ONE[1:]]


@pytest.fixture
def text(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("to be or not to be that is the question\n" * 100)
    return file


def test_two_processes_end_where_one_does(tmp_path, text):
    """torchrun with two CPU processes shares each batch; the weights agree with one process up to rounding."""
    words = ["trainer.steps=6", "trainer.precision=float32", f"data.path={text}", "samples=0"]
    for name, start in (("one", ONE), ("two", TWO)):
        command = [*start, *words, f"out={tmp_path / name}"]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, cwd=tmp_path, timeout=120)
        assert done.returncode == 0, done.stderr[-2000:]
    one, two = (checkpoint.load(tmp_path / name / "checkpoints" / "last") for name in ("one", "two"))
    assert one.step == two.step == 6
    for name, value in one.weights.items():  # Muon turns rounding into differences of 1e-4; another batch gives 1e-2
        torch.testing.assert_close(two.weights[name], value, rtol=0, atol=3e-3)
    assert (tmp_path / "two" / "log.csv").read_text().count("\n") == (tmp_path / "one" / "log.csv").read_text().count(
        "\n"
    )


def stopped(tmp_path, text, who, apart_s=0.0, wait_s=0.0, words=()):
    """Starts two processes, stops them by signals that come one after the other, and checks that they saved and that
    neither disturbed the other; gives the step."""
    out = tmp_path / "run"
    command = [*TWO, "trainer.steps=100000", "trainer.log_every=1", *words, f"data.path={text}", f"out={out}"]
    start = dict(env=ENVIRONMENT, text=True, cwd=tmp_path, start_new_session=True)
    with open(tmp_path / "err", "w") as err:
        agent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=err, **start)
    try:
        while not agent.stdout.readline().startswith("step "):
            assert agent.poll() is None, (tmp_path / "err").read_text()[-2000:]
        reader = threading.Thread(target=agent.stdout.read)
        reader.start()
        ranks = sorted(psutil.Process(agent.pid).children(), key=lambda process: process.environ()["RANK"])
        threading.Event().wait(wait_s)
        for process in {"rank 0": ranks[:1], "rank 1": ranks[1:], "both": ranks, "group": [*ranks, agent]}[who]:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGINT if who == "group" else signal.SIGTERM)
            threading.Event().wait(apart_s)
        agent.wait(100)
        reader.join()
    finally:
        if agent.poll() is None:
            os.killpg(agent.pid, signal.SIGKILL)
            agent.wait()
        agent.stdout.close()
    err = (tmp_path / "err").read_text()
    last = checkpoint.load(out / "checkpoints" / "last").step
    assert err.count(f"stopped at step {last} and saved") == 1, err[-2000:]
    assert "RuntimeError" not in err
    codes = [line.split()[2] for line in err.splitlines() if line.strip().startswith("exitcode")]
    assert set(codes) <= {"130"}
    return last


@pytest.mark.parametrize("who", ["rank 1", "group"])
def test_two_processes_stop_together(tmp_path, text, who):
    """One alone gets the signal, or both and torchrun by Ctrl-C, which then stops them a second time."""
    stopped(tmp_path, text, who, words=["trainer.val_every=3", "trainer.save_every=2"])


@pytest.mark.slow
@pytest.mark.parametrize("i", range(30))
def test_thirty_stops(tmp_path, text, i):
    """At any moment, in whatever order, up to half a second apart; and the run goes on from there."""
    draw = random.Random(i)
    busy = ["trainer.val_every=3", "trainer.save_every=2", "samples=2"] if i % 2 else ["trainer.val_every=0"]
    who = ("rank 0", "rank 1", "both", "group")[i % 4 if i % 8 < 4 else 3 - i % 4]
    last = stopped(tmp_path, text, who, draw.choice([0, 0.01, 0.1, 0.5]), draw.choice([0, 0.1, 1]), busy)
    command = [*ONE, "resume=true", f"trainer.steps={last + 1}", f"data.path={text}", f"out={tmp_path / 'run'}"]
    again = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert f"resumed at step {last}" in again.stdout
    assert checkpoint.load(tmp_path / "run" / "checkpoints" / "last").step == last + 1


@pytest.fixture
def group():
    """This process as a group of one, and its signal handlers afterwards as they were."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()
    for number, handler in before.items():
        signal.signal(number, handler)


def test_of_several_processes_a_second_signal_soon_means_the_first(group):
    """A save is not broken off by it, and nothing that comes after a stop ends the process otherwise."""
    with stop_requests(True) as stop_requested:
        assert not stop_requested()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
            assert stop_requested()
    os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) == signal.getsignal(signal.SIGTERM) == signal.SIG_IGN


def test_after_a_minute_a_second_signal_stops_at_once(group, monkeypatch):
    """A step that hangs can still be ended by hand."""
    now = [0.0]
    monkeypatch.setattr("genzoo.stopping.time.monotonic", lambda: now[0])
    with pytest.raises(KeyboardInterrupt), stop_requests(True):  # noqa: PT012
        for now[0] in (0.0, 59.0, 61.0):
            os.kill(os.getpid(), signal.SIGTERM)
            assert now[0] < 60


def test_without_a_signal_the_handlers_come_back(group):
    """For one process and for several; one process is stopped at once by the second signal."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with stop_requests(True) as stop_requested:
        assert not stop_requested()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    with pytest.raises(KeyboardInterrupt), stop_requests(False) as stop_requested:  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        assert stop_requested()
        os.kill(os.getpid(), signal.SIGTERM)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
