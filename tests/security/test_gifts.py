"""A stranger's gifts: checkpoints, presets and cards that would run, fetch, tell or write something."""

import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors import safe_open

import genzoo
from genzoo import checkpoint, zoo
from genzoo.cli import main
from genzoo.config import build, compose_config, modalities
from genzoo.contract import Data
from genzoo.errors import UserError

from .conftest import files_of, forged

FOLDER = {"_target_": "genzoo.run.RunFolder", "path": "out"}
PUBLIC = {
    "text": ("shakespeare", "text8", "hf://a/b"),
    "audio_codec": ("fsdd", "speech_commands"),
    "music": ("jsb",),
    "points": ("modelnet10", "modelnet40"),
    "video": ("moving_mnist",),
    "weather": ("https://example.org/a.zarr", "gs://a/b.zarr", "s3://a/b.zarr"),
}
"""By preset, data that would be fetched."""


def line_of(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line with which a command ends in status 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    error = capsys.readouterr().err
    assert (stop.value.code, error.count("\n"), error[:8]) == (2, 1, "genzoo: "), error
    return error


@pytest.mark.parametrize(
    ("node", "says"),
    [
        ({"_target_": "genzoo_gift.Gift"}, "allow it by trust=[genzoo_gift]"),
        ({"_target_": "genzoo_new.Gift"}, "allow it by trust=[genzoo_new]"),
        ({"_target_": "genzoo_points.Gift"}, "there is no such part"),
        ({"_target_": "genzoo_audio.music.files.write_midi", "path": "thesis.tex"}, "no part of a model"),
        ({"_target_": "genzoo_points.sources.public", "name": "modelnet10"}, "no part of a model"),
        ({"_target_": "genzoo.run.CsvLog", "path": "thesis.tex"}, "no part of a model"),
        ({"_target_": "genzoo.run.RunFolder.start", "self": FOLDER}, "no part of a model"),
        (
            {"_target_": "genzoo.keeping.keep", "unfinished": "thesis.tex", "place": "genzoo_me.py"},
            "no part of a model",
        ),
        ({"_target_": "genzoo.run.TensorBoardLog", "run": "out"}, "is no Data"),
        ({"_target_": ["os", "system"]}, "_target_"),
        ({"_target_": "genzoo_text.TextData\x1b[2J"}, "there is no such part"),
        ({"_target_": "..os.system"}, "not part of genzoo"),
    ],
    ids=lambda value: str(value.get("_target_")) if isinstance(value, dict) else "",
)
def test_the_examples_that_worked_once(watched, smoke_run, tmp_path, capsys, node, says):
    """Each as the data, by the command, and within it, in Python."""
    file = forged(smoke_run, tmp_path / "gift.safetensors", lambda config: config.update(data=node))
    with watched():
        line = line_of(capsys, "sample", f"checkpoint={file}")
    assert says in line
    assert "\x1b" not in line
    file = forged(smoke_run, tmp_path / "gift.safetensors", lambda config: config["data"].update(path=node))
    with watched():
        if says == "is no Data":
            genzoo.load(file)  # a part, and nothing becomes of it
        else:
            with pytest.raises(UserError, match="gift.safetensors"):
                genzoo.load(file)


def test_beside_the_checkpoint(watched, smoke_run):
    """`python -m` puts the working folder first: what lies there beside the weights is not taken for ours."""
    here = Path.cwd()
    forged(smoke_run, here / "model.safetensors", lambda config: config.update(data={"_target_": "genzoo_gift.Gift"}))
    before = files_of(here)
    words = [sys.executable, "-B", "-m", "genzoo_text.sample", "checkpoint=model.safetensors"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "trust=[genzoo_gift]" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert files_of(here) == before


def test_a_package_of_the_working_folder_announces_nothing(watched):
    """Neither a folder of our package's name nor its own dist-info makes it one of ours; asked in a new process, where
    nothing is imported yet."""
    code = (
        "import sys; from genzoo.config import build, modalities; from genzoo.contract import Data\n"
        "assert 'genzoo_gift' not in modalities()\n"
        "for name in sys.argv[1:]:\n"
        "    try: build({'_target_': f'{name}.Gift'}, Data, 'data')\n"
        "    except Exception as error: print(error)"
    )
    before = files_of(Path.cwd())
    names = ("genzoo_points", "genzoo_gift")
    done = subprocess.run([sys.executable, "-B", "-c", code, *names], capture_output=True, text=True, timeout=120)
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stderr
    for name, line in zip(names, lines, strict=True):
        assert f"data._target_={name}.Gift is not part of genzoo" in line
        assert f"trust=[{name}]" in line
    assert files_of(Path.cwd()) == before
    modalities.cache_clear()
    assert "genzoo_gift" not in modalities()


def test_nothing_is_interpolated_or_told(watched, run_copy, tmp_path, capsys, monkeypatch):
    """A secret of the environment does not come out through sampling options, by no verb."""
    monkeypatch.setenv("A_SECRET", "hunter2")
    text = "${oc.env:A_SECRET}"
    gift = forged(run_copy, tmp_path / "gift.safetensors", lambda config: config["sampling"].update(prompt=text))
    with watched():
        assert "the character '$' does not occur" in line_of(capsys, "sample", f"checkpoint={gift}")
    forged(run_copy, checkpoint.resolve(run_copy), lambda config: config["sampling"].update(stop=[text]))
    main(["sample", f"checkpoint={run_copy}", "out=out"])
    main(["evaluate", f"checkpoint={run_copy}", "n=1"])
    for verb in ("sample", "evaluate"):
        main([verb, f"checkpoint={run_copy}", "--cfg", "job"])
    said = json.loads((run_copy / "metrics.json").read_text())["evaluate_val"]["protocol"]["sampling"]["stop"]
    assert said == [text]
    found = "".join(p.read_text(errors="replace") for p in tmp_path.rglob("*") if p.is_file())
    assert "hunter2" not in found + "".join(capsys.readouterr())


class Terminal(io.BytesIO):
    def isatty(self) -> bool:
        return True


def test_a_vocabulary_cannot_move_the_cursor(watched, smoke_run, tmp_path, capsys):
    """Control characters among the letters of a checkpoint are shown as escapes."""
    with safe_open(checkpoint.resolve(smoke_run), framework="pt") as opened:
        state = json.loads(opened.metadata()["data_state"])
    state["tokenizer"]["characters"] = state["tokenizer"]["characters"].replace(" ", "\x1b")
    file = forged(smoke_run, tmp_path / "m.safetensors", lambda config: None, data_state=json.dumps(state))
    main(["sample", f"checkpoint={file}", "out=out", "length=400"])
    trained, terminal = genzoo.load(file), Terminal()
    request = trained.request(1, length=400)
    trained.data.play(trained.stream(request), terminal, request)
    for shown in (capsys.readouterr().out, terminal.getvalue().decode()):
        assert "\x1b" not in shown
        assert "\\x1b" in shown


def test_trust_comes_from_the_command_line(watched, smoke_run, tmp_path, capsys):
    """Not from a checkpoint, whatever it says, nor from a preset; the line says how."""
    gift = {"_target_": "genzoo_gift.Gift"}
    for key in ("trust", "sampling"):
        trust = ["genzoo_gift"] if key == "trust" else {"trust": ["genzoo_gift"], "out": "elsewhere"}
        file = forged(smoke_run, tmp_path / "m.safetensors", lambda c, k=key, t=trust: c.update({"data": gift, k: t}))
        with watched():
            for verb in ("sample", "evaluate"):
                assert "trust=[genzoo_gift]" in line_of(capsys, verb, f"checkpoint={file}")
    file = forged(smoke_run, tmp_path / "m.safetensors", lambda c: c["sampling"].update(out=str(Path("elsewhere"))))
    with watched():
        assert "out" in line_of(capsys, "sample", f"checkpoint={file}")


@pytest.mark.parametrize(
    ("preset", "says"),
    [
        ("trust: [genzoo_gift]\ndata: {_target_: genzoo_gift.Gift}", "trust=[genzoo_gift] on the command line"),
        ("data: {_target_: genzoo_gift.Gift}", "trust=[genzoo_gift]"),
        ("data: {path: '${oc.env:HOME}'}", "a file cannot compute a value"),
        ("data: {path: '${oc.create:${oc.env:HOME}}'}", "a file cannot compute a value"),
        ("data: {path: !!python/object/apply:os.system ['touch stolen']}", "preset"),
        ("defaults: [{override /logger: tensorboard}]\nlogger: {run: elsewhere}", "run"),
        ("a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60)), "written out"),
        ("data: {path: hf://a/b}", "would be fetched"),
        ("data: {path: shakespeare}", "would be fetched"),
    ],
)
def test_presets(watched, tmp_path, capsys, preset, says):
    """A preset of a stranger's, in --config-dir: one line, at once."""
    file = tmp_path / "configs" / "preset" / "gift.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(f"# @package _global_\n{preset}\n")
    start = time.process_time()
    with watched():
        line = line_of(capsys, "train", "gift", "--config-dir", tmp_path / "configs", "out=out")
    assert says in line
    assert time.process_time() - start < 2


def test_a_card_with_a_tag(watched, tmp_path):
    """The front matter of a card is data."""
    (tmp_path / "README.md").write_text("---\nscore: !!python/object/apply:os.system ['touch stolen']\n---\nHello\n")
    with watched(), pytest.raises(UserError, match=r"^card=.*README\.md cannot be read") as refusal:
        zoo.card(tmp_path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("address", ["hf://a/b/../../x", "hf://a", "hf://", "hf:///b", "hf://../b/c/.."])
def test_addresses_that_lead_elsewhere(watched, capsys, address):
    with watched():
        assert "give hf://USER/REPOSITORY" in line_of(capsys, "sample", f"checkpoint={address}")


@pytest.mark.parametrize(("preset", "path"), [(preset, path) for preset, paths in PUBLIC.items() for path in paths])
def test_data_fetches_nothing_unasked(watched, preset, path):
    """Under the watch of `evaluate`, of every kind of data that knows an address."""
    from genzoo.config import plain
    from genzoo.download import no_fetching

    node = {**plain(compose_config("train", [f"preset={preset}"]))["data"], "path": path}
    with watched(), no_fetching("nobody asked"), pytest.raises(UserError, match="would be fetched, and nobody asked"):
        build(node, Data, "data").prepare()


@pytest.mark.parametrize("path", PUBLIC["text"])
def test_evaluate_fetches_nothing_that_a_checkpoint_names(watched, smoke_run, tmp_path, capsys, path):
    """With an empty cache."""
    file = forged(smoke_run, tmp_path / "m.safetensors", lambda config: config["data"].update(path=path))
    with watched():
        assert "give data.path= yourself" in line_of(capsys, "evaluate", f"checkpoint={file}")


def test_a_program_that_only_a_checkpoint_names(watched, smoke_run, tmp_path, capsys):
    """TorchScript of scores is code: the user names it, or it is not run. Nor are maps fetched for a forecast."""
    gift = forged(smoke_run, tmp_path / "m.safetensors", lambda c: c["scoring"].update(features="thesis.tex"))
    with watched():
        assert "give scoring.features= yourself" in line_of(capsys, "evaluate", f"checkpoint={gift}")
    gift = forged(smoke_run, tmp_path / "m.safetensors", lambda c: c["sampling"].update(context="gs://a/b.zarr"))
    with watched():
        assert "is an address" in line_of(capsys, "sample", f"checkpoint={gift}")


def test_a_reward_of_ones_own_goes_on_working(watched, smoke_run, tmp_path, monkeypatch):
    """The user says on the command line that a module of the working folder is trusted: it is found there and named.
    Sampling from what came of it needs no trust."""
    Path("my_rewards.py").write_text("def long(x, data, cond):\n    return [len(data.text_of(row)) for row in x]\n")
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])  # as the command has it
    words = ["objective=reward", f"init={smoke_run}", "reward=own", "reward.function=my_rewards:long"]
    words += ["trainer.steps=1", "trainer.batch_size=8", "trainer.val_every=1", "objective.samples=8", "samples=0"]
    with pytest.raises(UserError, match=r"trust=\[my_rewards\]"):
        genzoo.train("text_smoke", [*words, f"out={tmp_path / 'refused'}"])
    assert not (tmp_path / "refused").exists()
    main(["train", "text_smoke", *words, "trust=[my_rewards]", f"out={tmp_path / 'run'}"])
    for name in ("my_rewards", "genzoo_gift"):
        sys.modules.pop(name, None)
    shutil.move("my_rewards.py", "away.txt")
    assert len(genzoo.load(tmp_path / "run").sample(2)) == 2
    assert not os.path.exists("stolen")
