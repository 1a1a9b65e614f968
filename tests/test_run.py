"""A run and its folder: full and read-only disks, folders that vanish, several processes and threads at once."""

import contextlib
import errno
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import genzoo
from genzoo import checkpoint, cli
from genzoo.contract import Spec
from genzoo.errors import UserError
from genzoo.run import RunFolder, hold
from genzoo.trainer import Training

SHORT = ["trainer.val_every=0", "trainer.save_every=2", "trainer.log_every=1", "samples=0"]
PRELOADED = [
    *("torch._dynamo", "matplotlib.pyplot", "rich.progress", "jinja2", "markdown_it"),
    *(f"genzoo.{name}" for name in ("verbs.train", "trainer", "pictures", "progress", "sample", "evaluation")),
    *("genzoo.exhibition", "genzoo.objectives.native", "genzoo.families.autoregressive"),
    *("genzoo_text.data", "genzoo_born.data", "genzoo_born.model", "genzoo_born.pictures"),
]
"""What a process of its own need not import: one server forks those of all tests, by the first one's list."""


# ---- disks and folders


@pytest.fixture
def small_disk(tmp_path):
    """Makes a disk of that many bytes, or one with other options; skips where only the superuser may."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options):
        if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True).returncode:
            pytest.skip("no disk can be mounted here")
        return place

    yield mount
    while os.path.ismount(place):
        subprocess.run(["umount", "--lazy", place], check=True)


def whole_checkpoints(out):
    """The steps of a run's checkpoints, every byte of which is right; nothing half written lies about."""
    assert not [*out.rglob(".unfinished-*")]
    folders = checkpoint.steps_saved(out / "checkpoints")
    for folder in folders:
        assert checkpoint.load(folder).step == checkpoint.load_train_state(folder)["step"]
    return [checkpoint.step_of(folder) for folder in folders]


def one_line(capsys, words):
    """What a command says that fails as the design says."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in words])
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert error.startswith("genzoo: ")
    assert error.count("\n") == 1, error
    return error


def equal_weights(first, second):
    a, b = (checkpoint.load(out / "checkpoints" / "last") for out in (first, second))
    assert a.step == b.step
    assert all(torch.equal(a.weights[name], b.weights[name]) for name in a.weights)


def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(tmp_path, small_disk, text_file, capsys):
    """A few checkpoints fit, not all four."""
    words = ["text_smoke", *SHORT, "trainer.steps=8", "trainer.keep=9", f"data.path={text_file}"]
    genzoo.train(words[0], [*words[1:], f"out={tmp_path / 'whole'}"])
    out = small_disk("size=1200k") / "run"
    assert "make room" in one_line(capsys, ["train", *words, f"out={out}"])
    before = whole_checkpoints(out)
    assert before in ([2], [2, 4], [2, 4, 6])
    assert "make room" in one_line(capsys, ["train", *words, f"out={out}", "resume=true"])
    assert whole_checkpoints(out) == before
    small_disk("remount,size=10m")
    genzoo.train(words[0], [*words[1:], f"out={out}", "resume=true"])
    assert whole_checkpoints(out) == [2, 4, 6, 8]
    equal_weights(out, tmp_path / "whole")


def test_a_disk_that_is_full_at_once_keeps_nothing(small_disk, text_file, capsys):
    """Not the first checkpoint, then not even the configuration fits."""
    for size in ("100k", "4k"):
        disk = small_disk(f"size={size}")
        one_line(capsys, ["train", "text_smoke", *SHORT, f"data.path={text_file}", f"out={disk / 'run'}"])
        assert not [*disk.iterdir()]


def test_a_disk_that_cannot_be_written(small_disk, text_file, tmp_path, capsys):
    disk = small_disk("ro")
    assert "cannot be written" in one_line(
        capsys, ["train", "text_smoke", *SHORT, f"data.path={text_file}", f"out={disk / 'run'}"]
    )
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    out = genzoo.train("text_smoke", [*SHORT, "trainer.steps=2", f"data.path={text_file}", f"out={disk / 'run'}"])
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    words = ["train", "text_smoke", "resume=true", "trainer.steps=4", f"out={out}"]
    assert "cannot be written" in one_line(capsys, words)
    for verb in ("sample", "evaluate"):
        one_line(capsys, [verb, f"checkpoint={out}", "n=1"])
    one_line(capsys, ["gallery", f"checkpoints=[{out}]", "n=1", f"out={disk / 'page.html'}"])


def save_three(out):
    run = RunFolder(out)
    run.start()
    try:
        for step in (1, 2, 3):
            content = dict(weights={"w": torch.ones(2)}, config={}, config_yaml="", spec=Spec((1,)), data_state={})
            state = {"step": step}
            run.save(f"step_{step:06d}", is_best=step == 2, keep=1, step=step, train_state=state, **content)
    finally:
        run.close()


@pytest.mark.parametrize("name", ["flush", "flush_folder", "torch.save", "os.rename", "os.replace"])
def test_wherever_writing_fails_what_was_there_is_whole(tmp_path, monkeypatch, name):
    """Each call of these in turn: the error names the disk, nothing half is left, the best is the true best."""
    place, name = (getattr(checkpoint, name.split(".")[0]), name.split(".")[1]) if "." in name else (checkpoint, name)
    plain, calls, fails = getattr(place, name), 0, 0

    def failing(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls != fails:
            return plain(*args, **kwargs)
        if name == "save":
            args[1].write(b"half")
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(place, name, failing)
    while True:
        calls, fails = 0, fails + 1
        out = tmp_path / str(fails)
        try:
            save_three(out)
            break
        except (UserError, OSError) as error:
            said = str(error)
        assert "No space" in said or "enforce fail" in said
        assert "\n" not in said
        steps = whole_checkpoints(out)
        if steps:
            assert checkpoint.load(out).step == (2 if steps[-1] >= 2 else 1)
    assert fails > 3


@pytest.mark.parametrize("when", ["learn", "validate"])
@pytest.mark.parametrize("new", [True, False])
def test_a_folder_that_is_deleted_meanwhile_is_not_made_again(tmp_path, text_file, monkeypatch, capsys, when, new):
    out, plain = tmp_path / "run", getattr(Training, when)
    words = ["text_smoke", *SHORT, "trainer.val_every=3", "samples=1", f"data.path={text_file}", f"out={out}"]
    if not new:
        genzoo.train(words[0], [*words[1:], "trainer.steps=2"])

    def deleting(self, *args):
        if self.state.step == 3:
            shutil.rmtree(out, ignore_errors=True)
        return plain(self, *args)

    monkeypatch.setattr(Training, when, deleting)
    line = one_line(capsys, ["train", *words, "trainer.steps=5", f"resume={str(not new).lower()}"])
    assert str(out) in line
    assert not out.exists()


@pytest.mark.parametrize("content", [b"", b'{"a": ', b"[]", b"\xff", b"[" * 100_000])
def test_damaged_metrics_are_set_aside(copy, capsys, content):
    """After the whole training, when they are written."""
    (copy / "metrics.json").write_bytes(content)
    RunFolder(copy).write_metrics({"steps": 7})
    assert "metrics.damaged_0.json" in capsys.readouterr().err
    assert (copy / "metrics.damaged_0.json").read_bytes() == content
    assert (copy / "metrics.json").read_text() == '{\n "steps": 7\n}'


@pytest.mark.parametrize("step", [0, 2])
def test_a_run_that_fails_before_its_first_checkpoint_leaves_nothing(tmp_path, text_file, refused, tiny, step):
    """And the same command works then."""
    from genzoo_text.data import TextData

    batch = TextData.batch

    def failing(self, at, size, split, rows=None):
        if split == "train" and at == step:
            raise UserError("the data is gone")
        return batch(self, at, size, split, rows)

    words = ["train", "text_smoke", *tiny, "trainer.steps=3", f"data.path={text_file}", "out=deep/run"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TextData, "batch", failing)
        with pytest.raises(SystemExit):
            cli.main(words)
    assert not Path("deep/run").exists()
    cli.main(words)
    assert checkpoint.load("deep/run").step == 3


# ---- several processes at once


def command(place, log, barrier, words):
    os.chdir(place)
    torch.set_num_threads(1)
    with open(log, "w") as said, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        barrier.wait()
        cli.main(words)


@pytest.fixture(scope="module")
def at_once(tmp_path_factory):
    """Runs commands in a folder, all begun at one instant; gives their exit codes and what they said."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)

    def run(place, *commands):
        logs, barrier = tmp_path_factory.mktemp("said"), context.Barrier(len(commands))
        given = [(place, logs / str(i), barrier, [str(w) for w in words]) for i, words in enumerate(commands)]
        processes = [context.Process(target=command, args=args) for args in given]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        said = [(logs / str(i)).read_text() for i in range(len(commands))]
        assert not any("Traceback" in text for text in said), said
        return [process.exitcode for process in processes], said

    return run


@pytest.fixture(scope="module")
def born(tmp_path_factory):
    """A run that is as small as one can be. Shared: write only to copies."""
    out = tmp_path_factory.mktemp("born") / "run"
    return genzoo.train("born_smoke", [*SHORT, "trainer.steps=4", f"out={out}"])


@pytest.fixture
def copy(born, tmp_path):
    return shutil.copytree(born, tmp_path / "run")


def lines_of(text):
    return [line for line in text.splitlines() if line.startswith("genzoo: ")]


def test_of_two_trainings_into_one_folder_one_runs(tmp_path, at_once, born):
    words = ["train", "born_smoke", *SHORT, "trainer.steps=4", f"out={tmp_path / 'run'}"]
    codes, said = at_once(tmp_path, words, words, words)
    assert sorted(codes) == [0, 2, 2]
    assert [len(lines_of(text)) for text, code in zip(said, codes, strict=True)] == [int(code > 0) for code in codes]
    equal_weights(tmp_path / "run", born)


def test_while_a_run_is_written_it_cannot_be_resumed(copy, capsys):
    """One line, nothing written; the lock goes with the process that held it, however that ends."""
    context = multiprocessing.get_context("forkserver")
    mine, theirs = context.Pipe()
    process = context.Process(target=holding, args=(copy, theirs))
    process.start()
    mine.recv()
    words = ["train", "born_smoke", "resume=true", "trainer.steps=6", f"out={copy}"]
    before = (copy / "config.yaml").read_bytes(), (copy / "log.csv").read_bytes()
    assert "is being written by another process" in one_line(capsys, words)
    assert before == ((copy / "config.yaml").read_bytes(), (copy / "log.csv").read_bytes())
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    cli.main(words)
    assert checkpoint.load(copy / "checkpoints" / "last").step == 6


def holding(folder, pipe):
    kept = hold(folder)
    pipe.send(str(kept))
    pipe.recv()


def test_two_resumes_at_once_are_as_one(copy, at_once, born, tmp_path):
    """Whoever is second is refused, or finds nothing left to do."""
    words = ["train", "born_smoke", "resume=true", "trainer.steps=40"]
    whole = shutil.copytree(born, tmp_path / "whole")
    cli.main([*words, f"out={whole}"])
    codes, _ = at_once(tmp_path, *[[*words, f"out={copy}"]] * 3)
    assert 0 in codes
    assert set(codes) <= {0, 2}
    equal_weights(copy, whole)
    logs = [[line.split(",")[:3] for line in (out / "log.csv").read_text().splitlines()] for out in (copy, whole)]
    assert logs[0] == logs[1]


@pytest.mark.parametrize("out", [[], ["out=page.html"]])
def test_four_galleries_at_once_are_four_pages(tmp_path, at_once, born, out):
    """Or, where the page is named, as many as say so."""
    codes, said = at_once(tmp_path, *[["gallery", f"checkpoints=[{born}]", "n=1", f"seed={i}", *out] for i in range(4)])
    pages = {name for text in said for name in re.findall(r"^(\S+\.html) \(", text, re.MULTILINE)}
    assert pages == {p.name for p in tmp_path.iterdir()}
    assert len(pages) == codes.count(0)
    assert set(codes) <= ({0, 2} if out else {0})
    assert len({(tmp_path / name).read_text() for name in pages}) == len(pages)
    assert all((tmp_path / name).read_text().rstrip().endswith("</html>") for name in pages)


def test_of_six_evaluations_at_once_none_is_lost(copy, at_once, tmp_path):
    codes, _ = at_once(tmp_path, *[["evaluate", f"checkpoint={copy}", "n=2", f"seed={i}"] for i in range(6)])
    assert codes == [0] * 6
    found = json.loads((copy / "metrics.json").read_text())
    assert sorted(report["protocol"]["seed"] for report in found["evaluations"]) == [*range(6)]
    assert found["steps"] == 4


def test_samples_at_once_have_folders_of_their_own(copy, at_once, tmp_path):
    """And of two that name the same, one is refused."""
    codes, _ = at_once(tmp_path, *[["sample", f"checkpoint={copy}", "n=3", f"seed={i}"] for i in range(3)])
    assert codes == [0] * 3
    folders = sorted((copy / "samples").iterdir())
    assert [folder.name for folder in folders] == ["000", "001", "002"]
    assert len({tuple(sorted(p.name for p in folder.iterdir())) for folder in folders}) == 1
    codes, said = at_once(tmp_path, *[["sample", f"checkpoint={copy}", "n=3", "out=mine"]] * 3)
    assert sorted(codes) == [0, 2, 2]
    assert sum(len(lines_of(text)) for text in said) == 2
    assert sorted(p.name for p in (tmp_path / "mine").iterdir()) == sorted(p.name for p in folders[0].iterdir())


def test_two_roll_outs_at_once_do_not_meet(tmp_path, at_once, tiny):
    run = genzoo.train("video_smoke", [f"out={tmp_path / 'run'}", *tiny])
    codes, _ = at_once(tmp_path, *[["sample", f"checkpoint={run}", "n=1", "rollout=3", "format=gif"]] * 2)
    assert codes == [0, 0]
    first, second = ({p.name: p.read_bytes() for p in folder.iterdir()} for folder in (run / "samples").iterdir())
    assert first == second


# ---- several threads of one process


def test_trainings_in_threads_are_as_alone_and_leave_random_numbers_alone(tmp_path):
    words = ["born_smoke", "text_smoke", "born_smoke", "text_smoke"]
    more = [*SHORT, "trainer.steps=6"]
    alone = {name: genzoo.train(name, [*more, f"out={tmp_path / name}"]) for name in {*words}}
    for seeded in (torch.manual_seed, np.random.seed, random.seed):
        seeded(5)
    numbers = (torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random())
    for seeded in (torch.manual_seed, np.random.seed, random.seed):
        seeded(5)
    barrier = threading.Barrier(4)

    def train(i):
        barrier.wait()
        genzoo.train(words[i], [*more, f"out={tmp_path / str(i)}"])

    threads = [threading.Thread(target=train, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()) == numbers
    for i, name in enumerate(words):
        equal_weights(tmp_path / str(i), alone[name])


# ---- a terminal that knows ASCII only


@pytest.mark.parametrize("words", [["list"], ["sample", "text", "prompt=x", "length=3"]])
def test_an_ascii_terminal(words, tmp_path):
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "OMP_NUM_THREADS": "1"}
    run = [sys.executable, "-c", "from genzoo.cli import main; main()", *words]
    done = subprocess.run(run, env={**os.environ, **plain}, capture_output=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert done.stdout
