"""A run that is killed, moved or damaged ends in the same bits as one that is left alone, or is refused untouched."""

import csv
import itertools
import multiprocessing
import os
import random
import shutil
import signal
from functools import partial

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

import genzoo
from genzoo import checkpoint, cli
from genzoo.contract import Spec
from genzoo.run import RunFolder
from genzoo.trainer import Training

STEPS = 24
WORDS = [f"trainer.steps={STEPS}", "trainer.save_every=4", "trainer.val_every=3", "trainer.log_every=1", "samples=0"]
TEXT = [*WORDS, "model.net.dropout=0.1"]
KINDS = ("text", "born", "audio_mulaw", "audio_codec", "music", "points", "motion", "video", "weather")
WRITES = [
    *((os, name) for name in ("replace", "rename", "unlink", "fsync")),
    *((checkpoint, name) for name in ("write_bytes", "flush", "flush_folder", "point", "forget_old")),
]
"""Every line between a file's first byte and its last pointer calls one of these."""

PRELOADED = [
    *("torch._dynamo", "matplotlib.pyplot", "rich.progress", "jinja2", "markdown_it"),
    *(f"genzoo.{name}" for name in ("verbs.train", "trainer", "pictures", "progress", "sample", "evaluation")),
    *("genzoo.exhibition", "genzoo.objectives.native", "genzoo.families.autoregressive"),
    *("genzoo_text.data", "genzoo_born.data", "genzoo_born.model", "genzoo_born.pictures"),
]
"""What a process of its own need not import: one server forks those of all tests, by the first one's list."""


def wobble(setattr):
    """Validation losses that go up and down, so that the best checkpoint is seldom the newest."""
    validate = Training.validate
    setattr(Training, "validate", lambda self: validate(self) | {"loss": random.Random(self.state.step).random()})


@pytest.fixture(autouse=True)
def _wobbling(monkeypatch):
    wobble(monkeypatch.setattr)


def mortal(call):
    """SIGKILL in place of this call of `WRITES`; where that is a flush, with half the file on the disk."""
    os.fsync = lambda _: None  # what a killed process wrote is there without
    calls = itertools.count(1)

    def dying(function):
        def called(*args, **kwargs):
            if next(calls) == call:
                if function.__name__ == "flush":
                    args[0].flush()
                    os.truncate(args[0].fileno(), os.fstat(args[0].fileno()).st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return called

    for place, name in WRITES:
        setattr(place, name, dying(getattr(place, name)))


def train(out, preset, words, call=None, after_s=None, before=None):
    """Goes on where there is something to go on with; ends, where that is asked, at a call of `WRITES`, after a time,
    or before a checkpoint."""
    torch.set_num_threads(1)
    wobble(setattr)
    resume = str((out / "config.yaml").is_file()).lower()
    if call:
        mortal(call)
    if before:
        saved = RunFolder.save
        die = partial(os.kill, os.getpid(), signal.SIGKILL)
        RunFolder.save = lambda self, name, **content: die() if name == before else saved(self, name, **content)
    if after_s:
        signal.setitimer(signal.ITIMER_REAL, after_s)  # SIGALRM ends a process as SIGKILL does
    genzoo.train(preset, [*words, f"out={out}", f"resume={resume}"])


BEST = (1, 3)


def save_four(out, call):
    """Four checkpoints of a run, the first and the third of them the best so far, of which one more is kept."""
    if call:
        mortal(call)
    run = RunFolder(out)
    found = run.newest()
    first = found[0].step if found else 0
    run.go_on() if found else run.start()
    run.set_aside(first)
    for step in range(first + 1, 5):
        weights = {"w": torch.full((2,), float(step))}
        content = dict(weights=weights, config={}, config_yaml="", spec=Spec((1,)), data_state={})
        state = {"step": step}
        run.save(f"step_{step:06d}", is_best=step in BEST, keep=1, step=step, train_state=state, **content)
    run.close()


@pytest.fixture(scope="module")
def run():
    """Starts a function in a process forked from one that has everything imported; returns its exit code."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)

    def start(function, *args, **kwargs):
        process = context.Process(target=function, args=args, kwargs=kwargs)
        process.start()
        process.join()
        return process.exitcode

    return start


def write_text(file, seed=0):
    draw = random.Random(seed)
    file.write_text("".join(draw.choice(["to be ", "or not ", "that is\n", "the question. "]) for _ in range(2000)))


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    file = tmp_path_factory.mktemp("text") / "text.txt"
    write_text(file)
    return [*TEXT, f"data.path={file}"]


@pytest.fixture(scope="module")
def whole(run, text, tmp_path_factory):
    """A run that nobody disturbed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert run(train, out, "text_smoke", text) == 0
    return out


@pytest.fixture(scope="module")
def broken_off(run, text, tmp_path_factory):
    """The same, killed at step 18, with checkpoints of step 3, the best, 12 and 16. Shared: write only to copies."""
    out = tmp_path_factory.mktemp("broken_off") / "run"
    assert run(train, out, "text_smoke", text, before="step_000018") == -signal.SIGKILL
    return out


@pytest.fixture
def out(broken_off, tmp_path):
    return shutil.copytree(broken_off, tmp_path / "run", symlinks=True)


def validations(out):
    with open(out / "log.csv", newline="") as file:
        return [(float(row["loss"]), int(row["step"])) for row in csv.DictReader(file) if row["split"] == "val"]


def assert_best(out, whole):
    """What a run means, as it lies there, is the best of all that its newest checkpoint knows of; else the newest."""
    newest = checkpoint.newest_of(out / "checkpoints")
    if newest:
        step = checkpoint.step_of(newest)
        best = min((found for found in validations(whole) if found[1] <= step), default=(0, step))[1]
        assert checkpoint.load(out).step == best


def assert_equal_runs(first, second):
    """Weights to sample with, raw weights, optimizers and counters, all to the bit; and the log's losses."""
    assert_best(first, second)
    for folder in ("last", "best"):
        a, b = (checkpoint.load(out / "checkpoints" / folder) for out in (first, second))
        assert a.step == b.step
        assert a.weights.keys() == b.weights.keys()
        assert all(torch.equal(a.weights[name], b.weights[name]) for name in a.weights)
    states = [flat(checkpoint.load_train_state(out / "checkpoints" / "last")) for out in (first, second)]
    assert states[0].keys() == states[1].keys()
    for key, value in states[0].items():
        other = states[1][key]
        assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other, key
    logs = [(out / "log.csv").read_text().splitlines() for out in (first, second)]
    assert [line.split(",")[:3] for line in logs[0]] == [line.split(",")[:3] for line in logs[1]]
    assert not [*first.rglob(".unfinished-*")]
    names = [{p.name for p in checkpoint.steps_saved(out / "checkpoints")} for out in (first, second)]
    assert names[0] >= names[1]  # a kill may come before the last is forgotten


def flat(value, prefix=""):
    if isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {key: leaf for name, item in items for key, leaf in flat(item, f"{prefix}.{name}").items()}
    return {prefix: value}


def forked(function, *args):
    """The signal that ends a function in a copy of this process; 0 for none."""
    if child := os.fork():
        return os.WTERMSIG(os.waitpid(child, 0)[1])
    function(*args)
    os._exit(0)


def kill_at_lines(folder, every):
    for call in itertools.count(1, every):
        out = folder / f"run_{call}"
        code = forked(save_four, out, call)
        steps = [checkpoint.step_of(p) for p in checkpoint.steps_saved(out / "checkpoints")]
        if steps:
            assert checkpoint.load(out).step == max({best for best in BEST if best <= steps[-1]} or {steps[-1]})
            assert checkpoint.load_train_state(checkpoint.newest_of(out / "checkpoints"))["step"] == steps[-1]
        if code == 0:
            break
        assert code == signal.SIGKILL
        before = [f"step_{step:06d}" for step in steps if steps[-1] == 4]  # nothing is saved any more, nor forgotten
        save_four(out, None)
        names = {p.name for p in (out / "checkpoints").iterdir()}
        assert names == {"best", "last", "step_000003", "step_000004", *before}
        assert checkpoint.load(out / "checkpoints" / "best").step == checkpoint.load(out).step == 3
        assert checkpoint.load(out / "checkpoints" / "last").step == 4
    assert call > 100


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_every_line_that_writes(run, tmp_path, every):
    """Each call of four saves, one after the other: at once, and after going on, the best is the true best."""
    assert run(kill_at_lines, tmp_path, every) == 0


def disturbed(run, out, preset, words, whole, kills, draw):
    """Kills a run at random that often, anew where it came to its end; what is left comes to it then."""
    for i in itertools.count():
        place = out / str(i)
        while kills:
            how = {"call": draw.randrange(1, 150)} if draw.random() < 0.6 else {"after_s": draw.uniform(0.05, 2)}
            code = run(train, place, preset, words, **how)
            assert code in (0, -signal.SIGKILL, -signal.SIGALRM)
            assert_best(place, whole)
            if code == 0:
                break
            kills -= 1
        else:
            break
        assert_equal_runs(place, whole)
    assert run(train, place, preset, words) == 0
    assert_equal_runs(place, whole)


def test_killed_at_random(run, text, whole, tmp_path):
    disturbed(run, tmp_path, "text_smoke", text, whole, 5, random.Random(4))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_random_whatever_the_data(run, kind, tmp_path):
    """108 kills over all kinds of data."""
    assert run(train, tmp_path / "whole", f"{kind}_smoke", WORDS) == 0
    disturbed(run, tmp_path, f"{kind}_smoke", WORDS, tmp_path / "whole", 12, random.Random(kind))


def go_on(out, words, *more):
    genzoo.train("text_smoke", [*words, f"out={out}", "resume=true", *more])


def write_bits(file, seed=0):
    draw = random.Random(seed)
    file.write_text("".join(f"{draw.choice(['0,0,1,1', '1,1,0,0', '1,0,1,0'])}\n" for _ in range(40)))


def write_sounds(folder, seed=0):
    """Twelve clips of two classes, whose names another seed exchanges."""
    import soundfile

    for i in range(12):
        place = folder / "ab"[(i + seed) % 2]
        place.mkdir(parents=True, exist_ok=True)
        soundfile.write(place / f"{i}.wav", [((i + 1) * k % 50) / 50 for k in range(800)], 8000)


@pytest.mark.parametrize(("kind", "write"), [("text", write_text), ("born", write_bits), ("audio_mulaw", write_sounds)])
def test_other_data_is_refused_and_the_same_elsewhere_is_not(tmp_path, refused, tiny, kind, write):
    """A text and a table with the same letters, sounds with the same labels exchanged."""
    for place, seed in (("data", 0), ("others", 1)):
        write(tmp_path / place, seed)
    words = ["train", f"{kind}_smoke", *tiny]
    cli.main([*words, "data.path=data", "out=run"])
    said = refused(*words, "out=run", "resume=true", "trainer.steps=4", "data.path=others")
    assert "data.path=others is not what" in said
    assert "train" in said
    os.rename("data", "moved")
    os.rename("others", "data")
    assert "data.path=data is not what" in refused(*words, "out=run", "resume=true", "trainer.steps=4")
    cli.main([*words, "out=run", "resume=true", "trainer.steps=4", "data.path=moved"])
    assert checkpoint.load("run/checkpoints/last").step == 4


def test_moved_data_and_a_moved_run_go_on_in_the_same_bits(out, text, whole, tmp_path):
    moved = shutil.copy(text[-1].partition("=")[2], tmp_path / "renamed.md")
    go_on(out, [], f"data.path={moved}")
    assert_equal_runs(out, whole)


@pytest.mark.parametrize(
    "word",
    ["trainer.optimizer=adamw", "trainer.batch_size=8", "trainer.seed=1", "model.net.dim=64", "data.context=16"],
)
def test_a_key_that_may_not_change_is_refused(out, refused, word):
    said = refused("train", "text_smoke", "resume=true", f"out={out}", word)
    assert f"{word} cannot change in a resumed run" in said


def test_after_a_refusal_the_right_command_works(out, text, whole, refused):
    refused("train", "text_smoke", "resume=true", f"out={out}", "trainer.optimizer=adamw")
    go_on(out, text)
    assert_equal_runs(out, whole)


def as_before(out):
    """The run as the format before has it: no hashes, links in place of pointers."""
    for folder in checkpoint.steps_saved(out / "checkpoints"):
        file = folder / "model.safetensors"
        with safe_open(file, framework="pt") as opened:
            metadata, weights = opened.metadata(), {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        for key in ("sha256", "best", "data_sha256"):
            del metadata[key]
        file.write_bytes(save(weights, metadata | {"format": "1"}))
        (folder / "sha256.txt").unlink()
    for name in ("last", "best"):
        pointer = out / "checkpoints" / name
        target = pointer.read_text().strip()
        pointer.unlink()
        pointer.symlink_to(target)


def test_a_run_of_the_format_before_goes_on(out, text, whole, capsys):
    best, last = (checkpoint.load(out / "checkpoints" / name).step for name in ("best", "last"))
    as_before(out)
    assert checkpoint.load(out).step == checkpoint.load(out / "checkpoints" / "best").step == best
    assert checkpoint.load(out / "checkpoints" / "last" / "model.safetensors").step == last
    capsys.readouterr()
    go_on(out, text)
    assert "bears no hash" in capsys.readouterr().err
    assert_equal_runs(out, whole)
    assert not any(p.is_symlink() for p in (out / "checkpoints").iterdir())


@pytest.mark.parametrize("name", ["last", "best", "last/model.safetensors"])
def test_a_pointer_is_a_checkpoint(out, name, capfd):
    """As it was when there were links; nothing is written into the checkpoints."""
    before = sorted(out.glob("checkpoints/*"))
    cli.main(["sample", f"checkpoint={out}/checkpoints/{name}", "length=5"])
    assert str(out / "samples" / "000") in capfd.readouterr().err
    assert sorted(out.glob("checkpoints/*")) == before


@pytest.mark.parametrize("name", ["model.safetensors", "state.pt", "sha256.txt"])
def test_of_a_damaged_checkpoint_the_one_before_is_taken(out, text, whole, capsys, name):
    """It is named, set aside, and what comes out is the same."""
    *_, before, newest = checkpoint.steps_saved(out / "checkpoints")
    content = bytearray((newest / name).read_bytes())
    content[content.index(b"  state.pt") - 1 if name == "sha256.txt" else len(content) // 2] ^= 4
    (newest / name).write_bytes(content)
    go_on(out, text)
    said = capsys.readouterr().out
    assert f"the run goes on from step {checkpoint.step_of(before)}" in said
    assert str(newest) in said
    assert (out / "checkpoints" / f"damaged_0_{newest.name}").is_dir()
    assert_equal_runs(out, whole)


def test_where_all_checkpoints_are_damaged_one_line_says_so(out, refused):
    for state in out.glob("checkpoints/*/state.pt"):
        state.write_bytes(b"")
    assert "state.pt is missing or damaged" in refused("train", "text_smoke", "resume=true", f"out={out}")


def test_what_lies_about_in_a_run_is_left_alone(out, text, whole):
    """Copies by hand, folders of other names, a checkpoint without weights."""
    checkpoints = out / "checkpoints"
    others = ["step_000120_copy", "step_", "step_x", "copy of step_000016"]
    for name in others:
        shutil.copytree(checkpoints / "step_000016", checkpoints / name)
    (checkpoints / "step_000099").mkdir()
    go_on(out, text)
    assert_equal_runs(out, whole)
    assert all((checkpoints / name / "model.safetensors").is_file() for name in others)


@pytest.mark.parametrize("name", ["config.yaml", "log.csv"])
@pytest.mark.parametrize("content", [b"", b"data: {", b"\x00\xff\xfe\x80" * 50, b"null", b"step,split\n1", b"[" * 5000])
def test_a_damaged_file_of_the_run_is_one_line(out, refused, name, content):
    if (name, content) == ("log.csv", b""):
        return  # a log with no rows
    (out / name).write_bytes(content)
    said = refused("train", "text_smoke", "resume=true", f"out={out}")
    assert name in said
