"""From a node with `_target_` to a part of genzoo, by its role and by its origin.

A configuration may come from a stranger, inside a checkpoint or as a preset. It can build parts and nothing else:
classes of the role that is asked for, networks (nn.Module) and what is marked `@part` in the code, from packages that
installed distributions announce (entry points `genzoo.modalities`) and from those that the user trusts by name.
"""

import functools
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import inspect
import sys
import typing
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from genzoo.config.explain import did_you_mean
from genzoo.config.options import check_type, scores_class
from genzoo.contract import Data, Scores
from genzoo.errors import UserError
from genzoo.reading import reason

CORE = ("genzoo", "attention_core")
WORDS = ("_target_", "_partial_")
"""Keys of a node that are no arguments."""

MOVED: dict[str, str] = {}
"""Parts of genzoo that were elsewhere, by the names that configurations saved before may have."""

Role = TypeVar("Role")


@cache
def modalities() -> tuple[str, ...]:
    """The packages that installed distributions announce; what lies in the working folder announces nothing."""
    here = Path.cwd()
    points = importlib.metadata.entry_points(group="genzoo.modalities")
    return tuple(sorted({p.value for p in points if p.dist and Path(str(p.dist.locate_file(""))).resolve() != here}))


def build(node: Any, role: type[Role], where: str, *args: Any, trust: Sequence[str] = ()) -> Role:
    """The object that a node describes; `args` go in front of its own arguments.

    role: a class that the object, or what `_partial_` makes of it, must be of. where: the node's name, for messages.
    trust: further packages, whose classes and functions may all be named. UserError for a target that is no part or of
    another role, for a key that is no argument of its target, for a value that has not the annotated type, and for
    whatever a constructor raises.
    """
    if not isinstance(node, dict) or "_target_" not in node:
        raise UserError(f"{where} names no class (_target_): {where}={reason(ValueError(str(node)))}")
    try:
        check(node, where, role, trust=trust)
        made = _make(node, where, trust)
        return made(*args) if args else made
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{where}: {reason(error)}") from error


def _make(node: Any, where: str, trust: Sequence[str]) -> Any:
    """Hydra's `_target_` and `_partial_`, and no more of it: values are taken as they are, nothing is resolved."""
    if isinstance(node, list):
        return [_make(item, where, trust) for item in node]
    if not isinstance(node, dict):
        return node
    values = {key: _make(value, where, trust) for key, value in node.items() if key not in WORDS}
    if "_target_" not in node:
        return values
    target = locate(node["_target_"], where, trust)
    return functools.partial(target, **values) if node.get("_partial_") else target(**values)


def check(node: Any, where: str, role: type | None = None, *, trust: Sequence[str] = ()) -> None:
    """UserError for a target that is no part, an unknown argument or a wrong type, at any depth."""
    if isinstance(node, list):
        for i, item in enumerate(node):
            check(item, f"{where}[{i}]", trust=trust)
    if not isinstance(node, dict):
        return
    hints: dict[str, Any] = {}
    if "_target_" in node:
        target = locate(node["_target_"], where, trust)
        if role and not (isinstance(target, type) and issubclass(target, role)):
            raise UserError(f"{where}._target_={node['_target_']} is no {role.__name__}")
        hints = check_names(node, where, target)
    for key, value in node.items():
        if isinstance(value, dict | list) and has_target(value):
            check(value, f"{where}.{key}", trust=trust)
        elif key in hints:
            check_type(value, hints[key], f"{where}.{key}")


def check_names(node: dict[str, Any], where: str, target: Callable[..., Any]) -> dict[str, Any]:
    """UserError for a key that the target does not take, or one without a value. Returns its annotations."""
    parameters = inspect.signature(target).parameters.values()
    names = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
    needed = [p.name for p in parameters if p.default is p.empty and p.kind is p.KEYWORD_ONLY and p.name not in node]
    if needed and not node.get("_partial_"):
        raise UserError(f"{where}.{needed[0]} has no value: {node['_target_']} needs it")
    for key in node:
        if len(names) == len(parameters) and key not in names and key not in WORDS:
            raise UserError(
                f"unknown key {where}.{key}{did_you_mean(str(key), names)}; "
                f"{node['_target_']} takes: {', '.join(names) or 'nothing'}"
            )
    return typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)


def has_target(node: Any) -> bool:
    """Whether a part is described anywhere in a node."""
    if isinstance(node, dict):
        return "_target_" in node or any(map(has_target, node.values()))
    return isinstance(node, list) and any(map(has_target, node))


def present_name(name: Any) -> Any:
    """The name that a part has now, of one it had when its file was another: as its package exports it."""
    package, _, last = str(name).rpartition(".")
    package = package.partition(".")[0]
    if package not in modalities() or shadowed(package):
        return MOVED.get(name, name) if isinstance(name, str) else name
    return f"{package}.{last}" if last in getattr(import_of(package, package), "PARTS", {}) else name


def present_names(node: Any) -> Any:
    """A saved configuration with the names that its parts have now, so that it can be compared with one of today."""
    if isinstance(node, list):
        return [present_names(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {key: present_name(value) if key == "_target_" else present_names(value) for key, value in node.items()}


def locate(name: str, where: str, trust: Sequence[str] = ()) -> Any:
    """The part of a dotted name; UserError where it is none, or of a package that is not ours and not trusted."""
    name = present_name(name)
    parts = name.split(".") if isinstance(name, str) else [""]
    package, trusted = parts[0], parts[0] in trust
    if trusted:
        reach(package)
    elif package not in (*CORE, *modalities()) or shadowed(package):
        raise UserError(
            f"{where}._target_={name} is not part of genzoo: if you trust it, allow it by trust=[{package}] on your "
            f"command line (in Python trust=['{package}'])"
        )
    if not trusted and any(part.startswith("_") for part in parts):
        raise UserError(f"{where}._target_={name}: there is no such part")
    for split in range(len(parts) - 1, 0, -1):
        module = import_of(".".join(parts[:split]), package)
        if module is None:
            continue
        try:
            found = functools.reduce(lambda at, part: getattr(at, part, None), parts[split:], module)
        except ModuleNotFoundError as error:  # of a part that is imported when it is asked for
            raise absent(error, package) from error
        home = (getattr(found, "__module__", None) or "").partition(".")[0]
        if callable(found) and (home in trust or (home in (*CORE, *modalities()) and is_part(found))):
            return found
        if found is not None:
            raise UserError(f"{where}._target_={name} is no part of a model: name a class where it is defined")
        break
    raise UserError(f"{where}._target_={name}: there is no such part")


def is_part(found: Any) -> bool:
    """Whether a configuration may name it: a network, or what is marked `genzoo.contract.part`."""
    from torch import nn  # not to be waited for where nothing is built

    if isinstance(found, type):
        return issubclass(found, nn.Module) or any("__genzoo_part__" in vars(base) for base in found.__mro__)
    return inspect.isfunction(found) and "__genzoo_part__" in vars(found)


def import_of(module: str, package: str) -> Any:
    """The module of a dotted name, None where there is none."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and not module.startswith(error.name):
            raise absent(error, package) from error
        return None


def absent(error: ModuleNotFoundError, package: str) -> UserError:
    extra = package.removeprefix("genzoo_")
    return UserError(f"{error.name} is not installed, and {package} needs it: pip install 'genzoo[{extra}]'")


def reach(package: str) -> None:
    """Lets Python find a trusted package in the working folder, which a command's own path does not hold."""
    here = str(Path.cwd())
    if here not in sys.path and package not in sys.modules and not importlib.util.find_spec(package):
        sys.path.append(here)


def shadowed(package: str) -> bool:
    """Whether an import would take a package of the working folder for the installed one of this name, as it would in
    a notebook or under `python -m`."""
    if package in sys.modules:
        return False
    here = str(Path.cwd())
    found = importlib.util.find_spec(package)
    if found is None or str(Path(found.origin or here).parent) not in (here, str(Path(here, package))):
        return False
    rest = [place for i, place in enumerate(sys.path) if place and not (i == 0 and place == here)]
    installed = importlib.machinery.PathFinder.find_spec(package, rest)
    return installed is None or installed.origin != found.origin


def scores_of(data: Data) -> Scores:
    """The scores that the data's class names, made of the data."""
    return scores_class(data)(data)
