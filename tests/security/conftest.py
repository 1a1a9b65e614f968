"""What watches the attacks: Python's audit hook, and a list of everything that a configuration could try to name."""

import functools
import hashlib
import importlib
import inspect
import json
import os
import pkgutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from genzoo import checkpoint, sealed
from genzoo.config import modalities
from genzoo.config.build import CORE, is_part

PROCESSES = ("subprocess.", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.system", "os.startfile", "pty.")
NETWORK = ("socket.", "urllib.", "http.", "ftplib.", "smtplib.", "webbrowser.")
CHANGES = ("remove", "rename", "rmdir", "mkdir", "link", "symlink", "truncate", "chmod", "chown", "utime", "setxattr")
WRITES = ("shutil.", "tempfile.", "sqlite3.connect", *(f"os.{change}" for change in CHANGES))
FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
BAIT = """from pathlib import Path
Path("stolen").write_text("a stranger's code ran")
class Gift:
    def __init__(self, **keys): pass
"""


class Watch:
    """What happened while it was on. here: the working folder."""

    def __init__(self) -> None:
        self.here, self.cache, self.on = Path(), Path(), False
        self.seen: list[str] = []

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "open":
            path, _, flags = args
            told = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""  # a number: open already
            if told and flags & FLAGS and told != os.devnull and not Path(told).is_relative_to(self.cache):
                self.seen.append(f"open {told}")
        elif event == "exec":
            if getattr(args[0], "co_filename", "").startswith(str(self.here)):
                self.seen.append(f"import {args[0].co_filename}")
        elif event.startswith((*PROCESSES, *NETWORK, *WRITES)):
            inside = args and isinstance(args[0], str) and Path(args[0]).is_relative_to(self.cache)
            if not (inside and event.startswith(WRITES)):
                self.seen.append(f"{event} {str(args)[:200]}")


@functools.cache
def watch() -> Watch:
    """The one hook of this process; it cannot be taken off again."""
    hook = Watch()
    sys.addaudithook(hook)
    return hook


def files_of(folder: Path) -> dict[str, str]:
    """What lies in a folder: writes from C that no hook sees change it."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else ""
        for p in sorted(folder.rglob("*"))
    }


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """A context in which nothing is written, started, called or imported from the working folder, which holds a module
    and two packages of a stranger; it gives the list of what was seen, and fails if that is not empty at its end."""
    here = tmp_path / "here"
    for place in ("genzoo_gift.py", "genzoo_points/__init__.py", "genzoo_new/__init__.py"):
        (here / place).parent.mkdir(parents=True, exist_ok=True)
        (here / place).write_text(BAIT)
    (here / "genzoo_gift-1.0.dist-info").mkdir()
    (here / "genzoo_gift-1.0.dist-info" / "entry_points.txt").write_text("[genzoo.modalities]\ngift = genzoo_gift\n")
    (here / "genzoo_gift-1.0.dist-info" / "METADATA").write_text("Name: genzoo_gift\nVersion: 1.0\n")
    (here / "thesis.tex").write_text("years of work")
    importlib.import_module("genzoo_points.sources")  # ours; the other one is not taken for it in a new process either
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("GENZOO_CACHE", str(tmp_path / "cache"))

    @contextmanager
    def watching(*, allowed: bool = False) -> Iterator[list[str]]:
        hook, before, modules = watch(), files_of(here), set(sys.modules)
        hook.here, hook.cache, hook.seen, hook.on = here, tmp_path / "cache", [], True
        try:
            yield hook.seen
        finally:
            hook.on = False
        places = {name: str(getattr(sys.modules[name], "__file__", "")) for name in set(sys.modules) - modules}
        hook.seen += [f"imported {name}" for name, place in places.items() if place.startswith(str(here))]
        hook.seen += [f"changed {name}" for name, _ in set(files_of(here).items()) ^ set(before.items())]
        assert allowed or not hook.seen, "\n".join(hook.seen)

    return watching


@functools.cache
def targets() -> dict[str, Any]:
    """Whatever has a dotted name in our packages and can be called: of every module what it defines and what it
    imports; of every class of ours its methods, private ones too; and ways round by Python's own attributes."""
    found: dict[str, Any] = {}
    for package in (*CORE, *modalities()):
        top = importlib.import_module(package)
        names = [package, *(info.name for info in pkgutil.walk_packages(top.__path__, f"{package}."))]
        for name in names:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    module = importlib.import_module(name)
            except ImportError:  # of a library that is not installed
                continue
            for key, thing in list(vars(module).items()):
                if callable(thing):
                    found[f"{name}.{key}"] = thing
                elif inspect.ismodule(thing):
                    found |= {f"{name}.{key}.{inner}": None for inner in ("system", "rmtree", "run", "save", "load")}
                if inspect.isclass(thing) and thing.__module__ == name:
                    found |= {f"{name}.{key}.{way}": None for way in WAYS}
                    for base in thing.__mro__[:-1]:
                        ours = base.__module__.partition(".")[0] in (*CORE, *modalities())
                        methods = vars(base) if ours else ()
                        found |= {f"{name}.{key}.{method}": getattr(thing, method, None) for method in methods}
    return found


WAYS = (
    "__init__.__globals__",
    "__init__.__globals__.os.system",
    "__class__.__base__.__subclasses__",
    "__subclasses__",
    "__reduce_ex__",
    "mro",
)


def arguments(target: str, thing: Any, here: Path) -> dict[str, Any]:
    """What a stranger would give to it, by the names of its parameters."""
    try:
        parameters = inspect.signature(thing).parameters.values() if thing else []
    except (TypeError, ValueError):
        return {}
    thesis, owner = str(here / "thesis.tex"), target.rpartition(".")[0]
    by_name = {
        "self": {"_target_": owner, "path": str(here)},
        "data": {"_target_": "genzoo_text.TextData", "path": thesis},
        "argv": ["train", "text_smoke", f"out={here / 'run'}"],
        "words": ["text_smoke", "--to", str(here / "export")],
        "overrides": ["preset=text_smoke", f"out={here / 'run'}"],
        "trust": ["genzoo_gift", "os"],
        "spec": {"_target_": "genzoo.contract.Spec", "shape": [4]},
        "url": "http://127.0.0.1:9/gift",
        "address": "hf://a/b",
        "x": [[1.0, 2.0]],
    }
    by_kind = {int: 2, float: 0.5, bool: True, "int": 2, "float": 0.5, "bool": True, "list": []}
    values = {}
    for p in parameters:
        if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and (p.default is p.empty or "path" in p.name):
            values[p.name] = by_name.get(p.name, by_kind.get(p.annotation, thesis))
    return values


def forged(source: Path, to: Path, change: Callable[[dict[str, Any]], None], **metadata: str) -> Path:
    """A checkpoint with another configuration, sealed as its maker would seal it."""
    with safe_open(checkpoint.resolve(source), framework="pt") as opened:
        said: Mapping[str, str] = opened.metadata()
        weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    config = json.loads(said["config"])
    change(config)
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_bytes(sealed.seal(weights, {**said, "config": json.dumps(config), **metadata}))
    return to


def parts_only(made: Any) -> bool:
    """Whether something that was built is a part, or waits to become one."""
    return is_part(made.func if isinstance(made, functools.partial) else type(made))
