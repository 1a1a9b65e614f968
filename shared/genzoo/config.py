"""From words on a command line to a checked configuration, and from a configuration to objects.

Configurations are hydra's: group defaults < preset < command line. They are found in the repository first, then inside
the installed package.
"""

import difflib
import importlib
import inspect
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ConfigDict, TypeAdapter, ValidationError

from genzoo.errors import UserError

OURS = ("genzoo", "attention_core")
"""What a configuration may build: anything from packages whose names begin so. A checkpoint from a stranger can
therefore not run code of its choice."""


def config_folder() -> Path:
    """`configs/` of the repository, or of the installed package."""
    here = Path(__file__).resolve().parent
    for folder in (here.parents[1] / "configs", here / "configs"):
        if (folder / "train.yaml").is_file():
            return folder
    raise UserError("the configs are missing: install genzoo again")


def presets(config_dir: str | None = None) -> list[str]:
    """Names of all presets, the user's own among them."""
    folders = [config_folder()] + ([Path(config_dir)] if config_dir else [])
    return sorted({file.stem for folder in folders for file in (folder / "preset").glob("*.yaml")})


def compose_config(
    verb: str,
    overrides: Sequence[str],
    *,
    config_dir: str | None = None,
    nodes: Mapping[str, Mapping[str, Any]] | None = None,
) -> DictConfig:
    """The configuration of a verb. nodes: groups of keys known only now (the options of a checkpoint)."""
    try:
        config = _compose(verb, overrides, config_dir, nodes)
    except (HydraException, OmegaConfBaseException) as error:
        try:
            whole = _compose(verb, [o for o in overrides if o.startswith("preset=")], config_dir, nodes)
        except (HydraException, OmegaConfBaseException):
            whole = {}
        raise UserError(explain(error, list(flat_keys(whole)))) from error
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise UserError(f"{missing[0]} has no value: give {missing[0]}=…")
    return config


def _compose(
    verb: str, overrides: Sequence[str], config_dir: str | None, nodes: Mapping[str, Mapping[str, Any]] | None
) -> DictConfig:
    store = ConfigStore.instance()
    for group, node in (nodes or {}).items():
        store.store(group=group, name="of_checkpoint", node=OmegaConf.create(dict(node)), provider="checkpoint")
    search = [f"hydra.searchpath=[file://{Path(config_dir).resolve()}]"] if config_dir else []
    GlobalHydra.instance().clear()
    if verb == "train" and not any(o.startswith("out=") for o in overrides):
        named = [o.partition("=")[2] for o in overrides if o.startswith("preset=")]
        overrides = [*overrides, f"out=runs/{named[-1] if named else 'text'}"]
    with initialize_config_dir(str(config_folder()), version_base="1.3", job_name=verb):
        config = compose(verb, [*overrides, *search])
    OmegaConf.resolve(config)
    return config


def explain(error: Exception, known: Sequence[str]) -> str:
    """One line for a person from what hydra and omegaconf say; known: all keys there are."""
    text = str(error)
    if unknown := re.search(r"Could not override '([^']+)'|Key '([^']+)' is not in struct", text):
        key = unknown[1] or unknown[2]
        return f"unknown key {key}{did_you_mean(key, known)}; --cfg job shows all keys"
    if absent := re.search(r"(?:In '[^']+': )?Could not find '([^']+)'", text):
        group, _, name = absent[1].rpartition("/")
        there = sorted({f.stem for f in (config_folder() / group).glob("*.yaml")}) if group else []
        return f"there is no {group or 'config'} {name!r}{did_you_mean(name, there)}; there are: {', '.join(there)}"
    return text.strip().splitlines()[0]


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """ ", did you mean X?" or nothing."""
    near = difflib.get_close_matches(word, known, n=1) or difflib.get_close_matches(
        word.rpartition(".")[2], [k.rpartition(".")[2] for k in known], n=1
    )
    return f", did you mean {near[0]}?" if near else ""


def flat_keys(config: Any, prefix: str = "") -> Iterator[str]:
    """All dotted keys."""
    for key in config:
        value = OmegaConf.select(config, key, throw_on_missing=False) if isinstance(config, DictConfig) else config[key]
        yield f"{prefix}{key}"
        if isinstance(value, DictConfig | dict):
            yield from flat_keys(value, f"{prefix}{key}.")


def sweep(overrides: Sequence[str]) -> list[list[str]]:
    """All combinations of `key=a,b` overrides, for `-m`."""
    lists: list[list[str]] = [[]]
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        for override in parsed:
            if override.is_sweep_override():
                choices = [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
            else:
                choices = [override.input_line]
            lists = [[*done, choice] for done in lists for choice in choices]
    except HydraException as error:
        raise UserError(str(error).splitlines()[0]) from error
    return lists


def assignments(overrides: Sequence[str]) -> list[tuple[str, Any]]:
    """Keys and values of plain overrides."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return [(override.key_or_group, override.value()) for override in parsed]


def plain(config: Any) -> Any:
    """The configuration as dicts, lists and values."""
    return OmegaConf.to_container(config, resolve=True) if OmegaConf.is_config(config) else config


def build(config: Any, where: str, *args: Any, allow: Sequence[str] = ()) -> Any:
    """The object that a node with `_target_` describes; `args` go in front of its own arguments.

    Checks first that every target belongs to genzoo (or to a package in `allow`), that every key is an argument of its
    target, and that every value has the annotated type. where: the node's name, for messages.
    """
    config = plain(config)
    check(config, where, allow=allow)
    try:
        made = instantiate(config, _convert_="all")
        return made(*args) if args else made
    except HydraException as error:
        cause = error.__cause__ or error
        if isinstance(cause, UserError):
            raise cause from None
        if isinstance(cause, ValueError):
            raise UserError(f"{where}: {cause}") from error
        raise cause from error
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error


def check(node: Any, where: str, *, allow: Sequence[str] = ()) -> None:
    """UserError for a target that is not ours, an unknown argument or a wrong type, at any depth."""
    if isinstance(node, list):
        for i, item in enumerate(node):
            check(item, f"{where}[{i}]", allow=allow)
    if not isinstance(node, dict):
        return
    hints: dict[str, Any] = {}
    names: list[str] = []
    anything = True
    if "_target_" in node:
        target = locate(node["_target_"], where, allow)
        signature = inspect.signature(target)
        hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
        names = [p.name for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        anything = len(names) < len(signature.parameters)
    for key, value in node.items():
        if str(key).startswith("_"):
            continue
        if not anything and key not in names and "_target_" in node:
            raise UserError(
                f"unknown key {where}.{key}{did_you_mean(str(key), names)}; "
                f"{node['_target_']} takes: {', '.join(names) or 'nothing'}"
            )
        if isinstance(value, dict | list) and has_target(value):
            check(value, f"{where}.{key}", allow=allow)
        elif key in hints:
            check_type(value, hints[key], f"{where}.{key}")


def has_target(node: Any) -> bool:
    if isinstance(node, dict):
        return "_target_" in node or any(map(has_target, node.values()))
    return isinstance(node, list) and any(map(has_target, node))


def locate(name: str, where: str, allow: Sequence[str] = ()) -> Any:
    """The class or function of a dotted name; UserError where it is not ours or not there."""
    package = name.partition(".")[0]
    if not ours(package, allow):
        raise UserError(
            f"{where}._target_={name} is not part of genzoo: if you trust it, allow it by trust=[{package}] "
            f"(in Python trust=['{package}'])"
        )
    parts = name.split(".")
    for split in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:split]))
        except ModuleNotFoundError as error:
            if error.name and not ".".join(parts[:split]).startswith(error.name):
                raise missing_library(error, package) from error
            continue
        try:
            for part in parts[split:]:
                found = getattr(found, part)
        except AttributeError:
            break
        if isinstance(found, types.ModuleType) or not ours(found.__module__.partition(".")[0], allow):
            raise UserError(f"{where}._target_={name} leads out of {package}: name the class where it is defined")
        return found
    raise UserError(f"{where}._target_={name}: there is no such thing")


def ours(package: str, allow: Sequence[str]) -> bool:
    return package.startswith(OURS) or package in allow


def missing_library(error: ModuleNotFoundError, package: str) -> UserError:
    extra = package.removeprefix("genzoo_")
    return UserError(f"{error.name} is not installed, and {package} needs it: pip install 'genzoo[{extra}]'")


def check_type(value: Any, hint: Any, where: str) -> None:
    """UserError where a plain value does not fit a type annotation. Integers pass as floats."""
    try:
        adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    except Exception:  # an annotation that pydantic cannot read: nothing to check against
        return
    try:
        adapter.validate_python(value, strict=None)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{where}={value}: {first['msg'][0].lower()}{first['msg'][1:]}") from None
