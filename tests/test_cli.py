"""The command line: what it makes, what it says, and that a mistake is one line, status 2, and nothing touched."""

import importlib.metadata
import io
import json
import os
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

import genzoo
from genzoo import checkpoint, cli
from genzoo.config import config_folder, flat_keys, plain, presets
from genzoo.errors import UserError

GENZOO = Path(sys.executable).parent / "genzoo"
VERBS = ("train", "sample", "evaluate", "gallery", "list", "demo")


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """Each test stands in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def say(capsys):
    """Runs a command that must work; returns what it wrote to standard output and standard error."""

    def run(*words: object) -> tuple[str, str]:
        capsys.readouterr()
        cli.main([str(word) for word in words])
        said = capsys.readouterr()
        return said.out, said.err

    return run


def text_of(run: Path, number: int = 0, file: int = 0) -> str:
    """A sample that `genzoo sample` wrote to a run folder."""
    return (run / "samples" / f"{number:03d}" / f"{file:03d}.txt").read_text(encoding="utf-8")


# ---- help


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]])
def test_help(say, words):
    """Names every verb and every option."""
    out, err = say(*words)
    assert all(f"genzoo {verb}" in out for verb in VERBS)
    assert all(option in out for option in ("--help", "--cfg", "-m", "--config-dir"))
    assert not err


@pytest.mark.parametrize("verb", ["train", "sample", "evaluate", "gallery"])
@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_of_a_verb(say, verb, word):
    """Every key of the verb with its comment; nothing has to be there yet."""
    out, _ = say(verb, word)
    for line in (config_folder() / f"{verb}.yaml").read_text(encoding="utf-8").splitlines():
        assert line.strip() in out


@pytest.mark.parametrize("verb", ["list", "export", "demo"])
def test_help_of_the_small_verbs(say, verb, monkeypatch):
    """--help after any verb is help: it is no mistake, and starts nothing."""
    monkeypatch.setattr(cli, "run_train", None)
    out, _ = say(verb, "--help")
    assert f"genzoo {verb}" in out


def test_version(say):
    """The version of the installed distribution."""
    out, _ = say("--version")
    assert out.strip() == genzoo.__version__ == importlib.metadata.version("genzoo")


def test_list(say, tmp_path):
    """Every preset with the line that describes it; with --config-dir the user's own too."""
    lines = say("list")[0].splitlines()
    own = lines[: lines.index("")]  # then the weights: test_zoo.py
    assert [line.split()[0] for line in own] == presets()
    assert all(len(line.split()) > 3 for line in own)
    (tmp_path / "own" / "preset").mkdir(parents=True)
    (tmp_path / "own" / "preset" / "mine.yaml").write_text("# @package _global_\n# All of my letters\nsamples: 1\n")
    out, _ = say("list", "--config-dir", tmp_path / "own")
    assert any(line.split(None, 1) == ["mine", "All of my letters"] for line in out.splitlines())
    assert len(out.splitlines()) == len(lines) + 1


def test_cfg_of_train(say, tmp_path):
    """The composed configuration, as YAML, with the changes of the command line; nothing is made."""
    out, _ = say("train", "text_smoke", "trainer.steps=7", "--cfg", "job")
    config = yaml.safe_load(out)
    assert config["trainer"]["steps"] == 7
    assert config["model"]["net"]["context"] == config["data"]["context"] == 32
    assert config["out"] == "runs/text_smoke"
    assert not list(tmp_path.iterdir())
    assert say("train", "text_smoke", "--cfg")[0] == say("train", "--cfg", "all", "preset=text_smoke")[0]


def test_cfg_of_sample_and_evaluate(say, smoke_run):
    """Beside the verb's own keys, those of the checkpoint with the values it was trained with."""
    config = yaml.safe_load(say("sample", f"checkpoint={smoke_run}", "temperature=0.3", "--cfg", "job")[0])
    assert (config["temperature"], config["length"], config["n"]) == (0.3, 40, 1)
    assert {"prompt", "top_k", "top_p", "min_p", "stop", "seed", "out"} <= set(config)
    config = yaml.safe_load(say("evaluate", f"checkpoint={smoke_run}", "--cfg", "job")[0])
    assert set(config) >= {"data", "sampling", "scoring", "split", "n"}
    assert config["data"]["context"] == 32


# ---- train, sample, evaluate


def test_train_sample_evaluate(say, tmp_path, text_file, tiny):
    """From a file of one's own to samples and scores, with the folders of the defaults."""
    out, _ = say("train", "text_smoke", f"data.path={text_file}", *tiny)
    run = tmp_path / "runs" / "text_smoke"
    assert checkpoint.resolve(run / "checkpoints" / "last").is_file()
    assert "runs/text_smoke" in out

    out, _ = say("sample", "text_smoke", "prompt=The", "seed=3")
    assert text_of(run).startswith("The")
    assert out == text_of(run) + "\n"

    out, _ = say("evaluate", "text_smoke", "n=2")
    scores = dict(line.split() for line in out.splitlines() if not line.startswith("("))
    saved = json.loads((run / "metrics.json").read_text())["evaluate_val"]
    assert float(scores["nats_per_character"]) == pytest.approx(saved["nats_per_character"], abs=1e-4)
    assert int(scores["characters"]) == len(text_file.read_text()) // 10 - 1
    assert out.splitlines()[-1] == "(step 2, split val, n 2, seed 0)"


def test_sampling_needs_no_training_file(say, tmp_path, text_file, tiny, refused):
    """The file that was learned from may be gone; only scoring still needs it."""
    say("train", "text_smoke", f"data.path={text_file}", "out=run", *tiny)
    text_file.unlink()
    say("sample", "checkpoint=run", "prompt=dog")
    assert text_of(tmp_path / "run").startswith("dog")
    assert "small.txt" in refused("evaluate", "checkpoint=run", "n=0")


def test_the_lone_file_samples(say, tmp_path, smoke_run, run_copy):
    """model.safetensors alone, under another name in another folder, gives what its run gives; it writes here."""
    (tmp_path / "else").mkdir()
    shutil.copy(checkpoint.resolve(smoke_run), tmp_path / "else" / "mine.safetensors")
    want, _ = say("sample", f"checkpoint={run_copy}", "seed=5")
    out, _ = say("sample", "checkpoint=else/mine.safetensors", "seed=5")
    assert out == want
    assert text_of(tmp_path) == text_of(run_copy)
    assert [path.name for path in (tmp_path / "else").iterdir()] == ["mine.safetensors"]


@pytest.mark.parametrize(
    "place", ["", "checkpoints/last", "checkpoints/step_000010", "checkpoints/last/model.safetensors"]
)
def test_ways_to_name_a_checkpoint(say, run_copy, place):
    """A run, a checkpoint of it, or its file: the samples go to the run."""
    say("sample", f"checkpoint={run_copy / place}")
    assert text_of(run_copy)


def test_sampling_twice_overwrites_nothing(say, run_copy):
    """Each call has a folder of its own."""
    say("sample", f"checkpoint={run_copy}", "seed=1")
    first = text_of(run_copy)
    say("sample", f"checkpoint={run_copy}", "seed=2")
    assert text_of(run_copy) == first
    assert text_of(run_copy, 1) != first
    assert sorted(path.name for path in (run_copy / "samples").iterdir() if path.name.isdigit()) == ["000", "001"]


def test_samples_depend_on_the_seed(say, smoke_run, tmp_path):
    """The same seed gives the same samples, another one others; samples of one call differ."""
    for out, seed in (("a", 7), ("b", 7), ("c", 8)):
        say("sample", f"checkpoint={smoke_run}", f"out={out}", f"seed={seed}", "n=2")
    a, b, c = ([(tmp_path / out / f"{i:03d}.txt").read_text() for i in (0, 1)] for out in "abc")
    assert a == b
    assert a != c
    assert a[0] != a[1]


def test_many_samples(say, smoke_run, tmp_path):
    """n samples are n files and are shown apart, however many are made at once."""
    out, _ = say("sample", f"checkpoint={smoke_run}", "n=5", "batch_size=2", "out=many")
    files = sorted((tmp_path / "many").iterdir())
    assert [file.name for file in files] == [f"{i:03d}.txt" for i in range(5)]
    assert len({file.read_text() for file in files}) == 5
    assert all(f"--- {i}\n{file.read_text()}" in out for i, file in enumerate(files))


def test_stream(say, smoke_run, tmp_path):
    """What is shown while it is made is what would have been written; nothing is written."""
    say("sample", f"checkpoint={smoke_run}", "seed=4", "prompt=The cat", "out=plain")
    out, _ = say("sample", f"checkpoint={smoke_run}", "seed=4", "prompt=The cat", "stream=true")
    assert out == (tmp_path / "plain" / "000.txt").read_text() + "\n"
    assert [path.name for path in tmp_path.iterdir()] == ["plain"]


def test_sampling_options(say, smoke_run):
    """Length, greedy choice and stop strings do what they say."""
    greedy = [say("sample", f"checkpoint={smoke_run}", "temperature=0", f"seed={s}", f"out=g{s}")[0] for s in (1, 2)]
    assert greedy[0] == greedy[1]
    assert len(say("sample", f"checkpoint={smoke_run}", "length=7", "out=seven")[0]) == 8
    say("sample", f"checkpoint={smoke_run}", "length=300", "stop=[e, a]", "n=3", "out=stopped")
    for i in range(3):
        text = Path("stopped", f"{i:03d}.txt").read_text()
        assert (text[-1] in "ea") == (len(text) < 300)
        assert not set(text[:-1]) & set("ea")


@pytest.mark.parametrize(
    "prompt", ["The ", "Hello, world!", 'it\'s (a) "test"', "1984", "null", "a=b", "x\ny", "[1, 2"]
)
def test_any_prompt(say, smoke_run, prompt):
    """A prompt is what the person wrote, to the last blank."""
    out, _ = say("sample", f"checkpoint={smoke_run}", f"prompt={prompt}", "length=3", "out=here")
    assert out[:-4] == prompt
    assert Path("here", "000.txt").read_text()[:-3] == prompt


@pytest.mark.parametrize("name", ["my text (1), new.txt", "Übung.txt", "a=b.txt"])
def test_any_file_name(say, text_file, tmp_path, tiny, name):
    """Files and run folders may bear the names that people give them."""
    text_file.rename(tmp_path / name)
    out = name.replace(".txt", "")
    say("train", "text_smoke", f"data.path={name}", f"out={out}", *tiny)
    say("sample", f"checkpoint={out}", "length=3")
    assert text_of(tmp_path / out)


def test_many_runs(say, text_file, tmp_path, tiny):
    """-m trains every combination, each in a folder of its own; a second -m touches none of them."""
    out, _ = say("train", "text_smoke", "-m", f"data.path={text_file}", *tiny[1:], "trainer.steps=1,3")
    assert "[1/2]" in out
    assert "[2/2]" in out
    runs = sorted((tmp_path / "multirun").iterdir())
    steps = [yaml.safe_load((run / "config.yaml").read_text())["trainer"]["steps"] for run in runs]
    assert steps == [1, 3]
    assert [genzoo.load(run).step for run in runs] == [1, 3]


def test_many_samplings(say, run_copy):
    """-m with sample goes through the values too."""
    say("sample", f"checkpoint={run_copy}", "-m", "temperature=0,1", "seed=1")
    assert text_of(run_copy, 0) != text_of(run_copy, 1)


def test_two_precisions_in_one_process(say, text_file, tiny):
    """A sweep may change what Accelerate holds for the whole process."""
    say("train", "text_smoke", "-m", f"data.path={text_file}", *tiny, "trainer.precision=float32,bfloat16")
    logs = [Path("multirun", name, "log.csv").read_text().splitlines() for name in ("000", "001")]
    assert len(logs[0]) == len(logs[1]) > 1
    assert logs[0] != logs[1]


def test_module_entry_points(monkeypatch, tmp_path, text_file, tiny, capsys):
    """`python -m genzoo_text.train` and `.sample` are the verbs on the default text preset."""
    shrink = ["preset=text_smoke", "out=run", f"data.path={text_file}", *tiny]
    for verb, words in (("train", shrink), ("sample", ["checkpoint=run", "prompt=dog"])):
        monkeypatch.delitem(sys.modules, f"genzoo_text.{verb}", raising=False)
        monkeypatch.setattr(sys, "argv", [verb, *words])
        runpy.run_module(f"genzoo_text.{verb}", run_name="__main__")
    assert text_of(tmp_path / "run").startswith("dog")
    monkeypatch.setattr(sys, "argv", ["train", "--cfg", "job"])
    capsys.readouterr()
    runpy.run_module("genzoo_text.train", run_name="__main__")
    assert yaml.safe_load(capsys.readouterr().out)["out"] == "runs/text"


def test_demo_is_a_preset_and_a_prompt(monkeypatch, capsys, tmp_path):
    """The demo trains a preset, goes on to sample from what it trained, and makes a page, whose path is printed last; a
    second one overwrites nothing."""
    called = []
    monkeypatch.chdir(tmp_path)
    for name in ("run_train", "run_sample", "run_gallery"):
        monkeypatch.setattr(cli, name, lambda *words: called.append(words))
    cli.main(["demo"])
    (trained, *_), (sampled, *_), (shown, *_) = called
    run = trained[1].partition("=")[2]
    assert trained[0].partition("=")[2] in presets()
    assert f"checkpoint={run}" in sampled
    assert shown == [f"out={run}/gallery.html"]
    said = capsys.readouterr().out
    assert "genzoo train text" in said
    assert said.splitlines()[-1].endswith(str(tmp_path / run / "gallery.html"))
    Path(run).mkdir(parents=True)
    cli.main(["demo"])
    assert called[3][0][1] != trained[1]


# ---- mistakes: one line, status 2, nothing touched


@pytest.fixture
def place(tmp_path, run_copy, text_file):
    """Good and bad things in one folder: a run, texts, damaged files."""
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)) * 10)
    (tmp_path / "zeros.txt").write_bytes(b"text\0" * 100)
    (tmp_path / "short.txt").write_text("too short")
    (tmp_path / "bad.jsonl").write_text('{"text": "good"}\n{"text": \n')
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n\0")
    (tmp_path / "hollow").mkdir()
    return tmp_path


TRAIN = "train text_smoke data.path=small.txt"
SAMPLE = "sample checkpoint=run"
EVALUATE = "evaluate checkpoint=run data.path=small.txt n=1"
MISTAKES = {
    # words
    "trian text": r"no verb 'trian'.*did you mean train\?",
    "--steps=3": r"no verb '--steps=3'",
    "train --steps=3": r"unknown option --steps=3",
    "train text_smoke trainer.steps": r"'trainer\.steps' is no key=value",
    "train text_smok": r"no preset 'text_smok', did you mean text_smoke\?",
    "train text_smoke --config-dir": r"--config-dir needs a folder",
    "train text_smoke --config-dir nowhere": r"--config-dir nowhere: there is no such folder",
    "list --config-dir nowhere": r"nowhere",
    "list everything": r"genzoo list takes",
    "demo quickly": r"genzoo demo takes",
    f"{TRAIN} trainer.steps=": r"trainer\.steps",
    f"{TRAIN} trainer=null": r"trainer",
    # keys
    f"{TRAIN} trainer.stpes=10": r"unknown key trainer\.stpes, did you mean trainer\.steps\?",
    f"{TRAIN} +trainer.stpes=10": r"unknown key trainer\.stpes, did you mean steps\?",
    f"{TRAIN} +nonsense=10": r"nonsense",
    f"{SAMPLE} tempersture=1": r"unknown key tempersture, did you mean temperature\?",
    f"{SAMPLE} +tempersture=1": r"unknown key tempersture, did you mean temperature\?",
    f"{EVALUATE} sampling.tempersture=1": r"sampling\.tempersture",
    f"{EVALUATE} scoring.ngram=[2]": r"unknown key scoring\.ngram, did you mean scoring\.ngrams\?",
    f"{EVALUATE} +scoring.words=3": r"unknown key scoring\.words",
    # types and ranges of training
    f"{TRAIN} trainer.steps=ten": r"trainer\.steps=ten",
    f"{TRAIN} trainer.steps=0": r"trainer\.steps must be at least 1",
    f"{TRAIN} trainer.lr=-1": r"trainer\.lr must not be negative",
    f"{TRAIN} trainer.ema=2": r"trainer\.ema must lie between",
    f"{TRAIN} trainer.optimizer=sgd": r"trainer\.optimizer",
    f"{TRAIN} trainer.precision=fp16": r"trainer\.precision",
    f"{TRAIN} trainer.device=gpu": r"trainer\.device",
    f"{TRAIN} trainer.accumulate=3": r"trainer\.(accumulate|batch_size)",
    f"{TRAIN} model.net.heads=3": r"model: .*heads",
    f"{TRAIN} data.val_fraction=2": r"data\.val_fraction",
    f"{TRAIN} data.tokenizer=bpe data.vocab_size=9": r"data\.vocab_size",
    f"{TRAIN} samples=some": r"samples=some",
    f"{TRAIN} samples=-1": r"samples",
    f"{TRAIN} resume=perhaps": r"resume=perhaps",
    f"{TRAIN} trust=os": r"trust=os",
    f"{TRAIN} sampling.length=long": r"length=long",
    f"{TRAIN} scoring.ngrams=4": r"ngrams=4",
    f"{TRAIN} +sampling.warmth=3": r"warmth",
    # data
    "train text_smoke data.path=nowhere.txt": r"data\.path=nowhere\.txt: there is no such file",
    "train text_smoke data.path=empty.txt": r"empty\.txt is empty",
    "train text_smoke data.path=binary.txt": r"binary\.txt is a binary file",
    "train text_smoke data.path=zeros.txt": r"zeros\.txt is a binary file",
    "train text_smoke data.path=short.txt": r"data\.path=short\.txt: .*too few for a context of 32",
    "train text_smoke data.path=pictures": r"data\.path=pictures: the folder holds no \.txt",
    "train text_smoke data.path=hollow": r"data\.path=hollow: the folder holds no \.txt",
    "train text_smoke data.path=bad.jsonl": r"bad\.jsonl line 2: not JSON",
    "train text_smoke data.path=": r"data\.path",
    # folders
    f"{TRAIN} out=run": r"out=run is there already: .*resume=true",
    f"{TRAIN} out=small.txt": r"out=small\.txt is a file",
    f"{TRAIN} out=small.txt/run": r"small\.txt",
    f"{TRAIN} out=pictures": r"out=pictures is there already",
    f"{TRAIN} out=nowhere resume=true": r"no run to resume at nowhere",
    f"{TRAIN} out=pictures resume=true": r"no run to resume at pictures",
    "train text_smoke out=run resume=true model.net.dim=64": r"model\.net\.dim=64 cannot change",
    f"{TRAIN} init=nowhere": r"no checkpoint at nowhere",
    f"{SAMPLE} out=pictures": r"out=pictures",
    f"{SAMPLE} out=small.txt": r"out=small\.txt",
    f"{SAMPLE} out=small.txt/here": r"small\.txt",
    # checkpoints
    "sample text_nano": r"no checkpoint at runs/text_nano: train one first",
    "evaluate born_smoke": r"no checkpoint at runs/born_smoke: train one first",
    "evaluate text_nano": r"no checkpoint at runs/text_nano: train one first",
    "sample checkpoint=nowhere": r"no checkpoint at nowhere",
    "sample checkpoint=hollow": r"hollow holds no checkpoint",
    "sample checkpoint=small.txt": r"small\.txt is no \.safetensors file",
    "sample checkpoint=run/checkpoints/step_000099": r"no checkpoint at run/checkpoints/step_000099",
    # options of sampling
    f"{SAMPLE} temperature=-1": r"temperature must be 0 .* not -1",
    f"{SAMPLE} temperature=hot": r"temperature=hot: .*number",
    f"{SAMPLE} temperature=nan": r"temperature",
    f"{SAMPLE} top_p=1.5": r"top_p must lie in \(0, 1\], not 1\.5",
    f"{SAMPLE} top_p=0": r"top_p must lie in \(0, 1\], not 0",
    f"{SAMPLE} top_p=-0.1": r"top_p must lie in \(0, 1\], not -0\.1",
    f"{SAMPLE} min_p=2": r"min_p must lie in \(0, 1\], not 2",
    f"{SAMPLE} top_k=0": r"top_k must be at least 1",
    f"{SAMPLE} top_k=2.5": r"top_k=2\.5: .*integer",
    f"{SAMPLE} length=0": r"length",
    f"{SAMPLE} length=-3": r"length",
    f"{SAMPLE} stop=x": r"stop=x: .*list",
    f"{SAMPLE} \"stop=['']\"": r"stop holds an empty string",
    f"{SAMPLE} prompt=日": r"'日'.*does not occur",
    f"{SAMPLE} n=0": r"n .*at least 1",
    f"{SAMPLE} n=-2": r"n .*at least 1",
    f"{SAMPLE} n=some": r"n=some: .*integer",
    f"{SAMPLE} seed=lucky": r"seed=lucky: .*integer",
    f"{SAMPLE} batch_size=0": r"batch_size .*at least 1",
    f"{SAMPLE} batch_size=big": r"batch_size=big: .*integer",
    f"{SAMPLE} stream=perhaps": r"stream=perhaps: .*bool",
    f"{SAMPLE} stream=true n=2": r"stream=true .*n",
    f"{SAMPLE} device=gpu": r"device=gpu",
    f"{SAMPLE} trust=os": r"trust=os: .*list",
    # options of evaluation
    f"{EVALUATE} split=test": r"split .*'test'",
    f"{EVALUATE} n=-1": r"n\b.*",
    f"{EVALUATE} n=some": r"n=some: .*integer",
    f"{EVALUATE} batch_size=0": r"batch_size",
    f"{EVALUATE} device=gpu": r"device=gpu",
    f"{EVALUATE} data.path=empty.txt": r"empty\.txt is empty",
    f"{EVALUATE} data.stride=99": r"data\.stride",
    f"{EVALUATE} data.context=64": r"context",
    f"{EVALUATE} sampling.temperature=-1": r"temperature must be 0 .* not -1",
    f"{EVALUATE} scoring.ngrams=4": r"scoring\.ngrams=4: .*list",
}


@pytest.mark.parametrize("words", MISTAKES, ids=lambda words: words.removeprefix("train text_smoke "))
def test_a_mistake_is_one_line(place, refused, words):
    """It names the key or the file and the mend."""
    import re

    message = refused(*shlex.split(words))
    assert re.search(MISTAKES[words], message), message
    assert len(message) < 400


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("words", [f"{TRAIN} trainer.device=cuda", f"{SAMPLE} device=cuda", f"{EVALUATE} device=cuda"])
def test_a_gpu_that_is_not_there(place, refused, words):
    """Said before anything is made."""
    assert "device=cuda" in refused(*shlex.split(words))


def test_a_logger_that_is_not_installed(place, refused, monkeypatch):
    """Said before anything is made, with the command that installs it."""
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert "pip install 'genzoo[wandb]'" in refused(*shlex.split(TRAIN), "logger=wandb")


def test_a_wrong_sampling_option_in_training(place, capsys):
    """Found when the first samples are drawn, it is one line too."""
    with pytest.raises(SystemExit) as stop:
        cli.main([*shlex.split(TRAIN), "sampling.temperature=-1", "trainer.steps=2", "trainer.val_every=2"])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("genzoo: temperature must be 0")
    assert error.count("\n") == 1


@pytest.mark.parametrize("share", [0.0, 1e-5, 1e-4, 0.01, 0.05, 0.5, 0.9, 0.99999])
@pytest.mark.parametrize("verb", ["sample", "evaluate"])
def test_a_checkpoint_cut_short(place, refused, share, verb):
    """Wherever it was cut: in its length field, its header or its weights."""
    file = checkpoint.resolve(place / "run")
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    message = refused(verb, "checkpoint=run")
    assert "model.safetensors is damaged or cut short" in message


@pytest.mark.parametrize("share", [0.0, 1e-4, 0.5, 0.9999])
@pytest.mark.parametrize("name", ["state.pt", "model.safetensors"])
def test_resuming_from_a_checkpoint_cut_short(place, refused, name, share):
    """Where no whole one is left, the run is left as it is."""
    for folder in checkpoint.steps_saved(place / "run" / "checkpoints"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])
    message = refused("train", "text_smoke", "out=run", "resume=true", "trainer.steps=22")
    assert name in message
    assert "damaged" in message


@pytest.mark.parametrize("content", [b"not a zip, not a pickle\n" * 9, b"\x80\x04K\x01."], ids=["words", "pickle"])
def test_resuming_from_something_else(place, refused, content):
    """What is no checkpoint is not unpickled, and is refused."""
    for folder in checkpoint.steps_saved(place / "run" / "checkpoints"):
        (folder / "state.pt").write_bytes(content)
    assert "state.pt" in refused("train", "text_smoke", "out=run", "resume=true", "trainer.steps=22")


def test_weights_of_somebody_else(place, refused):
    """A safetensors file that no genzoo wrote is told apart from a damaged one."""
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, place / "plain.safetensors")
    assert "was not written by" in refused("sample", "checkpoint=plain.safetensors")
    save_file({"a": torch.zeros(2)}, place / "odd.safetensors", {"format": "1"})
    assert "odd.safetensors" in refused("sample", "checkpoint=odd.safetensors")


def test_debugging_shows_the_error(monkeypatch):
    """GENZOO_DEBUG=1 is for those who look for the place in the code."""
    monkeypatch.setenv("GENZOO_DEBUG", "1")
    with pytest.raises(UserError, match="verb"):
        cli.main(["trian"])


def test_one_line_whatever_the_message(monkeypatch, capsys):
    """A message of several lines, as a library may give, is still one."""

    def fail(words):
        raise UserError("one\n  two\n\nthree")

    monkeypatch.setattr(cli, "dispatch", fail)
    with pytest.raises(SystemExit):
        cli.main(["train"])
    assert capsys.readouterr().err == "genzoo: one two three\n"


@pytest.mark.parametrize(
    ("interrupt", "says"), [(KeyboardInterrupt(12), "step 12 .*resume=true"), (KeyboardInterrupt(), "")]
)
def test_interrupted(monkeypatch, capsys, interrupt, says):
    """Ctrl-C ends with the shell's status for it, and says how to go on."""
    import re

    def stop(words):
        raise interrupt

    monkeypatch.setattr(cli, "dispatch", stop)
    with pytest.raises(SystemExit) as status:
        cli.main(["train"])
    assert status.value.code == 130
    assert re.search(says, capsys.readouterr().err)


def test_a_terminal_that_knows_only_ascii(monkeypatch, smoke_run, tmp_path):
    """Help and samples are shown as well as the terminal can, and the files hold every character."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    cli.main(["--help"])
    cli.main(["sample", f"checkpoint={smoke_run}", "prompt=“”", "out=here"])
    out.flush()
    assert b"genzoo train" in out.buffer.getvalue()
    assert (tmp_path / "here" / "000.txt").read_text(encoding="utf-8").startswith("“”")


# ---- in a process of its own


def python(code: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Runs a little program on one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=True)


LOADED = "import sys; from genzoo.cli import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"


def test_help_imports_nothing_heavy():
    """`genzoo --help` answers at once."""
    loaded = set(python(LOADED, "--help").stderr.split())
    assert not loaded & {"torch", "hydra", "omegaconf", "numpy", "rich", "pydantic", "accelerate"}


def test_sampling_imports_no_training_library(smoke_run):
    """What only training or a public data set needs stays out."""
    done = python(LOADED, "sample", f"checkpoint={smoke_run}", "stream=true", "length=5")
    loaded = set(done.stderr.split())
    assert "torch" in loaded
    heavy = {"accelerate", "torch.utils.tensorboard", "tensorboard", "datasets", "wandb", "transformers"}
    assert not loaded & heavy
    assert not loaded & {"genzoo.trainer", "genzoo.optimizers"}


@pytest.mark.skipif(not GENZOO.is_file(), reason="no genzoo command beside this Python")
def test_the_command():
    """As a shell sees it: status 2, one line on standard error, nothing on standard output."""
    done = subprocess.run([GENZOO, "train", "text", "trainer.stpes=10"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("genzoo: unknown key trainer.stpes")
    assert done.stderr.count("\n") == 1


# ---- in Python


def test_python_train(tmp_path, text_file, tiny):
    """genzoo.train takes a preset and overrides and returns the run folder."""
    run = genzoo.train("text_smoke", [f"out={tmp_path / 'run'}", f"data.path={text_file}", *tiny])
    assert run == tmp_path / "run"
    assert genzoo.load(run).step == 2
    with pytest.raises(UserError, match="is there already"):
        genzoo.train("text_smoke", [f"out={run}", f"data.path={text_file}"])
    with pytest.raises(UserError, match=r"trainer\.stpes"):
        genzoo.train("text_smoke", ["trainer.stpes=3"])


def test_python_train_with_an_own_preset(tmp_path, text_file, tiny):
    """config_dir is the command line's --config-dir."""
    (tmp_path / "own" / "preset").mkdir(parents=True)
    (tmp_path / "own" / "preset" / "mine.yaml").write_text("# @package _global_\n# mine\ndata:\n  context: 24\n")
    words = ["model.net.dim=32", "model.net.depth=1", f"data.path={text_file}", "out=run", *tiny]
    genzoo.train("mine", words, config_dir=str(tmp_path / "own"))
    assert genzoo.load("run").data.context == 24


def test_python_sample(smoke_run):
    """Samples are tokens in model space; the prompt is not among them, and comes before their text."""
    trained = genzoo.load(smoke_run)
    samples = trained.sample(2, prompt="The ")
    assert samples.x.shape == (2, 40)
    assert samples.x.dtype == torch.int64
    assert samples.x.max() < trained.data.spec.vocab
    assert all(words.startswith("The ") for words in samples.words)
    assert torch.equal(trained.sample(2, prompt="The ").x, samples.x)
    assert not torch.equal(trained.sample(2, prompt="The ", seed=1).x, samples.x)
    assert trained.sample(3, length=5).x.shape == (3, 5)
    assert trained.sample().x.shape == (1, 40)
    assert not any(p.requires_grad for p in trained.model.parameters())
    assert not trained.model.training


def test_python_samples_keep_their_prompt(smoke_run):
    """Words asked for later do not change what was made before."""
    trained = genzoo.load(smoke_run)
    early = trained.sample(prompt="The ")
    said = early.words
    assert trained.sample(prompt="A cat").words[0].startswith("A cat")
    assert early.words == said == trained.sample(prompt="The ").words
    assert said[0].startswith("The ")


def test_python_write(smoke_run, tmp_path):
    """Each sample becomes a file that holds what `describe` says."""
    trained = genzoo.load(smoke_run)
    samples = trained.sample(3, prompt="dog")
    files = samples.write(tmp_path / "deep" / "folder")
    assert [file.read_text(encoding="utf-8") for file in files] == samples.words


def test_what_is_made_in_one_piece_is_not_streamed(refused, smoke_run_of):
    """One line, said before the data is asked to play anything."""
    assert "makes its samples in one piece" in refused("sample", f"checkpoint={smoke_run_of('born')}", "stream=true")


def test_what_cannot_be_played_is_not_streamed(refused, smoke_run_of):
    """A model that makes token after token, and data that have no way to show them one by one."""
    assert "leave stream out" in refused("sample", f"checkpoint={smoke_run_of('music')}", "stream=true")


def test_python_stream(smoke_run):
    """Token after token, the same that come in one piece."""
    trained = genzoo.load(smoke_run)
    pieces = list(trained.stream(trained.request(1, prompt="dog"), seed=3))
    assert torch.equal(torch.stack(pieces, dim=1), trained.sample(1, seed=3, prompt="dog").x)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"temprature": 1.0}, "unknown option temprature, did you mean temperature"),
        ({"prompt": 5}, "prompt=5"),
        ({"top_k": "three"}, "top_k=three"),
        ({"temperature": -1.0}, "temperature must be 0"),
        ({"length": 0}, "length"),
        ({"prompt": "日"}, "'日'"),
    ],
)
def test_python_refuses_wrong_options(smoke_run, options, says):
    """ValueErrors with the words of the command line."""
    with pytest.raises(ValueError, match=says):
        genzoo.load(smoke_run).sample(2, **options)


def test_python_load_of_nothing(tmp_path):
    """The message is the command line's."""
    with pytest.raises(UserError, match="no checkpoint at"):
        genzoo.load(tmp_path / "nowhere")


def test_python_evaluate_again(run_copy):
    """The verb stays a function, however often and in whatever order the verbs are used."""
    first = genzoo.evaluate(run_copy, ["n=0"])
    assert genzoo.evaluate(run_copy, ["n=0"]) == first
    assert all(callable(getattr(genzoo, name)) for name in genzoo.__all__)
    assert genzoo.evaluate(run_copy, ["n=0", "split=train"])["characters"] > first["characters"]


def test_python_evaluate_agrees_with_another_stride(run_copy):
    """More context for each character makes no other text of it: the counts agree, and the score is no worse."""
    scores = [genzoo.evaluate(run_copy, ["n=0", f"data.stride={stride}"]) for stride in (32, 16)]
    assert scores[0]["characters"] == scores[1]["characters"]
    assert scores[0]["protocol"]["reference_sha256"] == scores[1]["protocol"]["reference_sha256"]
    assert scores[0]["protocol"]["data"]["stride"] == 32


def test_python_unknown_name():
    """A misspelt verb is an AttributeError, as everywhere in Python."""
    with pytest.raises(AttributeError, match="tarin"):
        genzoo.tarin  # noqa: B018


def test_every_key_of_the_run_is_plain(smoke_run):
    """What a run saved needs no hydra to be read: plain values, no interpolation, no missing one."""
    config = genzoo.load(smoke_run).config
    assert json.loads(json.dumps(config)) == config
    assert "${" not in json.dumps(config)
    assert set(flat_keys(plain(config))) >= {"data.context", "model.net.context", "trainer.steps", "sampling.prompt"}


def test_resuming_reads_odd_values_as_training_does(say, tmp_path, text_file, tiny):
    """The same command line with resume=true goes on, also where a file's name is no word of hydra's grammar."""
    odd = text_file.rename(tmp_path / "my text (1), new.txt")
    say("train", "text_smoke", f"data.path={odd}", *tiny, "out=run")
    say("train", "text_smoke", f"data.path={odd}", *tiny, "out=run", "resume=true", "trainer.steps=3")
    assert checkpoint.load(tmp_path / "run" / "checkpoints" / "last").step == 3
