"""Every command in a README runs: its words are checked against the verbs and the configs; the short ones are run."""

import re
import shlex
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from genzoo import cli
from genzoo.config import compose_config, presets

ROOT = Path(__file__).resolve().parents[1]
READMES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("packages/*/README.md"))]
READMES += [ROOT / "shared/genzoo/objectives/README.md", *sorted(ROOT.glob("packages/*/weights/*/README.md"))]


def commands(path: Path) -> list[str]:
    """Lines of code blocks (and table cells) that begin with genzoo or make."""
    text = path.read_text()
    blocks = re.findall(r"```(?:\w*)\n(.*?)```", text, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`((?:genzoo|make) [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    found = [line.split("  #")[0].strip() for line in lines]
    ours = re.compile(r"(\.venv/bin/)?(genzoo|make|python -m genzoo_)")
    return [line for line in found if ours.match(line) and "…" not in line]


FIRST_IN = {command: path.relative_to(ROOT) for path in reversed(READMES) for command in commands(path)}
ALL = [(path, command) for command, path in reversed(FIRST_IN.items())]  # each once, whatever READMEs it is in


def test_there_are_commands():
    """The reader of the READMEs finds some."""
    assert len(ALL) > 15


def bring(run: Path, preset: str, overrides: list[str]) -> None:
    """What the words name of the user's own: here, things that the run made."""
    sounds = [word.partition("=")[2] for word in overrides if word.startswith(("prompt=", "clip=", "melody="))]
    sounds = [name for name in sounds if name.endswith((".wav", ".mid"))]
    if sounds:  # the user's recording or tune: here, one of the run's own
        cli.main(["sample", preset, f"checkpoint={run}", "out=made"])
        for name in sounds:
            shutil.copy(next(Path("made").glob(f"*{Path(name).suffix}")), name)
    if "context=clip.mp4" in overrides:  # the user's clip: here, one of the run's own
        cli.main(["sample", preset, f"checkpoint={run}", "out=made"])
        shutil.copy("made/000.mp4", "clip.mp4")
    if "context=walk.npz" in overrides:  # the user's first frames: here, those of the run's own
        cli.main(["sample", preset, f"checkpoint={run}", "out=made", "format=npz"])
        shutil.copy("made/000.npz", "walk.npz")
    if "context=now.nc" in overrides:  # the user's last map: here, one of the run's own
        cli.main(["sample", preset, f"checkpoint={run}", "rollout=2", "out=made"])
        shutil.copy("made/forecast.nc", "now.nc")
    if any(word.startswith(("partial=", "between=")) for word in overrides):  # the user's shapes: the run's own
        cli.main(["sample", preset, f"checkpoint={run}", "n=3", "out=made"])
        for file, name in zip(sorted(Path("made").glob("*.ply")), ("scan.ply", "a.ply", "b.ply"), strict=True):
            shutil.copy(file, name)


@pytest.mark.parametrize(("path", "command"), ALL, ids=[f"{p}: {c}" for p, c in ALL])
def test_command(path, command, tmp_path, monkeypatch, smoke_run_of, capsysbinary):
    """Runs it on a smoke run, or composes it where it would train for minutes."""
    words = shlex.split(command)
    if words[0] == "make":
        assert re.search(rf"^{words[1].partition('=')[0]}\b.*:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return
    if words[0] == "python" and not words[2].endswith((".train", ".sample")):
        assert find_spec(words[2])
        return
    if words[0] == "python":
        words = ["genzoo", words[2].rpartition(".")[2], *words[3:]]
    verb, rest = words[1], words[2:]
    assert verb in cli.VERBS
    if verb == "demo" or "waves" in rest:  # the plug-in of CONTRIBUTING.md is installed and run by test_plugin.py
        return
    overrides = [w for w in rest if "=" in w]
    preset = next((w for w in rest if "=" not in w and not w.startswith("-")), "text")
    if verb == "train":
        runs = compose_config("train", [f"preset={preset}", *overrides])
        assert runs.trainer.steps > 0
        return
    if verb == "gallery":  # made of smoke runs in gallery/test_gallery.py
        assert compose_config("gallery", overrides).out is None
        return
    monkeypatch.chdir(tmp_path)
    if verb == "export":
        shutil.copytree(smoke_run_of("text"), Path("runs") / Path(preset).name, symlinks=True)
    if verb in ("sample", "evaluate"):
        named = [o for o in overrides if o.startswith("checkpoint=")]
        place = Path(named[0].partition("=")[2]) if named else Path("runs") / preset
        run = Path(*place.parts[:2])
        smoke = run.name
        while smoke and f"{smoke}_smoke" not in presets():
            smoke = smoke.rpartition("_")[0]
        shutil.copytree(smoke_run_of(smoke), run, symlinks=True)
        bring(run, preset, overrides)
    cli.main([w.replace("{", "").replace("}", "") for w in words[1:]])
    assert capsysbinary.readouterr().out
