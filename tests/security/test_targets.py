"""Everything that has a name in our packages, tried as `_target_` by a stranger: only parts are built, and nothing is
written, started, called or imported meanwhile."""

import functools
import os
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import genzoo
from genzoo.cli import main
from genzoo.config import build
from genzoo.config.build import is_part
from genzoo.contract import Data, GenerativeModel, Objective, Spec
from genzoo.errors import UserError
from genzoo.model import build_objective
from genzoo.run import Logger
from genzoo.trainer import Options

from .conftest import arguments, forged, parts_only, targets

MODEL = {"_target_": "genzoo.families.Autoregressive", "_partial_": True}
ROLES = {"data": Data, "model": GenerativeModel, "objective": Objective, "trainer": Options, "logger": Logger}
NAMES = ("genzoo_gift.Gift", "genzoo_new.Gift", "genzoo_points.Gift", "os.system", "builtins.eval", "torch.load")
"""Besides those of `targets`: of a stranger's packages, which lie in the working folder, and of others'."""
TENTHS = [0, *(pytest.param(i, marks=pytest.mark.slow) for i in range(1, 10))]


def nodes_of(target: str, thing: Any) -> list[dict[str, Any]]:
    """Plain and partial, without arguments and with a stranger's."""
    given = arguments(target, thing, Path.cwd())
    return [{"_target_": target, **more, **some} for some in ({}, given) for more in ({}, {"_partial_": True})]


def attempt(make: Any, *args: Any) -> Any:
    """What is built, None where that is refused in one line."""
    try:
        return make(*args)
    except UserError as error:
        refusal = str(error)
    assert "\n" not in refusal
    return None


def test_the_watch_sees(watched):
    """A write, a process, a connection, a look-up and an import from the working folder are each seen; reading is
    not."""
    with watched() as seen:
        assert Path("thesis.tex").read_text() == "years of work"
    with watched(allowed=True) as seen:
        Path("thesis.tex").write_text("gone")
        os.rename("thesis.tex", "theses.tex")
        subprocess.run(["true"], check=True)
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen("http://127.0.0.1:9", timeout=1)
        import genzoo_gift  # noqa: F401

        parts = ("open ", "os.rename", "subprocess.Popen", "urllib.Request", "socket.connect", "import /")
        for part in parts:
            assert any(event.startswith(part) for event in seen), part
    assert {"imported genzoo_gift", "changed thesis.tex", "changed stolen"} <= set(seen)


def test_every_callable_in_every_role(watched):
    """All of them, by the function that builds."""
    found = {**targets(), **dict.fromkeys(NAMES)}
    tried = built = 0
    with watched():
        for target, thing in found.items():
            for node in nodes_of(target, thing):
                for where, role in ROLES.items():
                    made = attempt(build, node, role, where)
                    tried, built = tried + 1, built + (made is not None)
                    assert made is None or parts_only(made), target
    assert len(found) > 5000
    assert tried > 100_000
    assert built > 10, "parts themselves are built"


def test_every_callable_nested(watched):
    """Within a part, within a list, and as the text that names a reward: what is a part there is built or refused, and
    all else is refused."""
    found = {**targets(), **dict.fromkeys(NAMES)}
    reward = {"_target_": "genzoo.objectives.Reward", "_partial_": True}
    with watched():
        for target, thing in found.items():
            bare, lazy, whole, partial = nodes_of(target, thing)
            for value in ({"deep": bare}, [[lazy]], whole, [partial]):
                made = attempt(build, {**MODEL, "net": value}, GenerativeModel, "model")
                assert made is None or is_part(reached(target)), target
            module, _, name = target.rpartition(".")
            config = {"trainer": {"seed": 0}, "objective": {**reward, "function": f"{module}:{name}"}}
            made = attempt(build_objective, config, Spec((4,), vocab=3))
            assert made is None or is_part(reached(target)), target


def reached(target: str) -> Any:
    """What a dotted name stands for."""
    import importlib

    parts = target.split(".")
    for split in range(len(parts) - 1, 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:split]))
        except ImportError:
            continue
        return functools.reduce(lambda at, part: getattr(at, part, None), parts[split:], module)
    return None


@pytest.mark.parametrize("tenth", TENTHS)
def test_through_a_whole_checkpoint(watched, smoke_run, tmp_path, tenth):
    """Sealed as its maker would seal it, and loaded."""
    found = {**targets(), **dict.fromkeys(NAMES)}
    file = tmp_path / "gift.safetensors"
    tried = 0
    for i, (target, thing) in enumerate(found.items()):
        if i % 10 != tenth:
            continue
        node = nodes_of(target, thing)[2 + i // 10 % 2]
        key = ("data", "model")[i // 20 % 2]
        forged(smoke_run, file, functools.partial(dict.update, **{key: node}))
        with watched():
            attempt(genzoo.load, file)
        tried += 1
    assert tried > 500


@pytest.mark.parametrize("tenth", TENTHS)
def test_by_the_command(watched, smoke_run, tmp_path, capsys, tenth):
    """`genzoo sample` of such a checkpoint: one line, status 2. Some of each tenth."""
    found = [*((t, thing) for t, thing in targets().items() if not is_part(thing)), *((t, None) for t in NAMES)]
    for i, (target, thing) in enumerate(found[tenth::200]):
        key = ("data", "model", "sampling")[i % 3]
        node = nodes_of(target, thing)[2 + i % 2]
        file = forged(smoke_run, tmp_path / "gift.safetensors", functools.partial(dict.update, **{key: node}))
        capsys.readouterr()
        with watched(), pytest.raises(SystemExit) as stop:
            main(["sample", f"checkpoint={file}"])
        error = capsys.readouterr().err
        assert stop.value.code == 2
        assert error.startswith("genzoo: ")
        assert error.count("\n") == 1, error
