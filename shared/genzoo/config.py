"""From words on a command line to a checked configuration, and from a configuration to objects.

Configurations are hydra's: group defaults < preset < command line. They are found in the repository first, then inside
the installed package.
"""

import difflib
import functools
import importlib
import importlib.util
import inspect
import re
import sys
import types
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ConfigDict, TypeAdapter, ValidationError

from genzoo.errors import UserError

OURS = ("genzoo", "attention_core")
"""What a configuration may build: anything from packages whose names begin so. A checkpoint from a stranger can
therefore not run code of its choice."""

COMMANDS = tuple(
    f"genzoo.{name}"
    for name in (
        "api",
        "checkpoint",
        "cli",
        "config",
        "download",
        "evaluation",
        "exhibition",
        "export",
        "sample",
        "zoo",
    )
)
"""Our modules that hold no parts of a model: with `train` or `download` a configuration could do anything."""

UNREADABLE = (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError)
"""What hydra and omegaconf raise for a configuration that cannot be composed."""

TEXTS = ("out", "init", "checkpoint", "data.path", "data.labels", "data.val_match")
"""Keys that are text whatever it looks like."""

Device = Literal["auto", "cpu", "cuda", "mps"]
KEYS: dict[str, dict[str, Any]] = {
    "train": {"out": str, "resume": bool, "init": str | None, "samples": int, "trust": list[str]},
    "sample": {
        "checkpoint": str,
        "n": int,
        "seed": int,
        "batch_size": int,
        "out": str | None,
        "rollout": int,
        "stream": bool,
        "device": Device,
        "trust": list[str],
    },
    "evaluate": {
        "checkpoint": str,
        "split": str,
        "n": int,
        "seed": int,
        "batch_size": int,
        "device": Device,
        "trust": list[str],
    },
    "gallery": {
        "out": str | None,
        "models": list[str] | None,
        "checkpoints": list[str],
        "n": int,
        "seed": int,
        "device": Device,
        "trust": list[str],
        "shows": dict[str, dict[str, Any]],
    },
}
"""The keys of each verb that belong to no group, with their types."""

GROUPS = {
    "train": ("data", "model", "objective", "reward", "trainer", "logger", "sampling", "scoring"),
    "evaluate": ("data", "sampling", "scoring"),
    "gallery": (),
}


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
    options = [node for group, node in (nodes or {}).items() if verb == "sample"]
    texts = {*TEXTS, *(key for node in options for key, value in node.items() if isinstance(value, str))}
    overrides = [readable(override, texts=texts) for override in overrides]
    try:
        config = _compose(verb, overrides, config_dir, nodes)
    except UNREADABLE as error:
        groups = [o for o in overrides if o.partition("=")[0] in ("", *GROUPS.get(verb, ()))]
        try:
            whole = _compose(verb, [o for o in overrides if o.startswith("preset=") or o in groups], config_dir, nodes)
        except UNREADABLE:
            whole = OmegaConf.create()
        if groups and isinstance(error, ValueError):
            raise UserError(f"{groups[0]} cannot be: {error}") from error
        raise UserError(explain(error, whole, config_dir)) from error
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise UserError(f"{missing[0]} has no value: give {missing[0]}=…")
    for key, value in plain(config).items():
        if key in KEYS[verb]:
            check_type(value, KEYS[verb][key], key)
        elif verb in GROUPS and key not in GROUPS[verb]:
            known = [*KEYS[verb], *GROUPS[verb]]
            first_line = "; does the preset begin with `# @package _global_`?" if key == "preset" else ""
            raise UserError(f"unknown key {key}{did_you_mean(str(key), known)}{first_line}")
    return config


def readable(override: str, *, texts: Collection[str] = (), lists: bool = False) -> str:
    """An override as hydra reads it: a value that its grammar has no place for is quoted, and so are those of keys in
    `texts`, so that a prompt or a file name may be any text. lists: whether `a,b` stands for two values."""
    key, equals, value = override.partition("=")
    if not equals or not key.strip("+~"):
        return override
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    try:
        parsed = OverridesParser.create().parse_override(override)
        if quoted or (lists and parsed.is_sweep_override()):
            return override
        if (key not in texts or (value == "null" and key in TEXTS)) and not parsed.is_sweep_override():
            return override
    except HydraException:
        odd_key = not key.replace(".", "").replace("_", "").lstrip("+").isalnum()
        if odd_key or (value[:1] in ("[", "{") and key not in texts):
            return override
    return f"{key}={QuotedString(value, Quote.single).with_quotes()}"


def _compose(
    verb: str, overrides: Sequence[str], config_dir: str | None, nodes: Mapping[str, Mapping[str, Any]] | None
) -> DictConfig:
    store = ConfigStore.instance()
    for group, node in (nodes or {}).items():
        store.store(group=group, name="of_checkpoint", node=OmegaConf.create(dict(node)), provider="checkpoint")
    folder = QuotedString(f"file://{Path(config_dir or '').resolve()}", Quote.single).with_quotes()
    search = [f"hydra.searchpath=[{folder}]"] if config_dir else []
    GlobalHydra.instance().clear()
    if verb == "train" and not any(o.startswith("out=") for o in overrides):
        named = [o.partition("=")[2].strip("'\"") for o in overrides if o.startswith("preset=")]
        overrides = [*overrides, f"out=runs/{named[-1] if named else 'text'}"]
    with initialize_config_dir(str(config_folder()), version_base="1.3", job_name=verb):
        config = compose(verb, [*overrides, *search])
    OmegaConf.resolve(config)
    return config


def explain(error: Exception, whole: DictConfig, config_dir: str | None = None) -> str:
    """One line for a person from what hydra and omegaconf say; whole: the configuration without single keys."""
    text = str(error)
    if isinstance(error, yaml.YAMLError):
        return " ".join(text.split())
    if unknown := re.search(r"Could not override '([^']+)'|Key '([^']+)' is not in struct", text):
        key = unknown[1] or unknown[2]
        for empty in (key, key.rpartition(".")[0]):
            if empty and OmegaConf.select(whole, empty) == {}:
                return f"{empty} has no keys yet: write +{key}=…"
        return f"unknown key {key}{did_you_mean(key, list(flat_keys(whole)))}; --cfg job shows all keys"
    if absent := re.search(r"(?:In '[^']+': )?Could not find '([^']+)'", text):
        group, _, name = absent[1].rpartition("/")
        folders = [config_folder(), *([Path(config_dir)] if config_dir else [])]
        there = sorted({f.stem for folder in folders for f in (folder / group).glob("*.yaml")}) if group else []
        shown = ", ".join(n for n in there if not n.endswith("_smoke"))  # those are the tests' own
        return f"there is no {group or 'config'} {name!r}{did_you_mean(name, there)}; there are: {shown}"
    return text.strip().splitlines()[0]


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """ ", did you mean X?" or nothing."""
    last = {k.rpartition(".")[2]: k for k in reversed(known)}  # the first key of several with the same end
    near = difflib.get_close_matches(word, known, n=1)
    near = near or [last[end] for end in difflib.get_close_matches(word.rpartition(".")[2], last, n=1)]
    return f", did you mean {near[0]}?" if near else ""


def flat_keys(config: Any, prefix: str = "") -> Iterator[str]:
    """All dotted keys."""
    for key in config:
        value = OmegaConf.select(config, key, throw_on_missing=False) if isinstance(config, DictConfig) else config[key]
        yield f"{prefix}{key}"
        if isinstance(value, DictConfig | dict):
            yield from flat_keys(value, f"{prefix}{key}.")


def flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of all that plain mappings hold in each other: options, scores."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def sweep(overrides: Sequence[str]) -> list[list[str]]:
    """All combinations of `key=a,b` overrides, for `-m`."""
    lists: list[list[str]] = [[]]
    try:
        parsed = OverridesParser.create().parse_overrides([readable(o, lists=True) for o in overrides])
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
    parsed = OverridesParser.create().parse_overrides([readable(o, texts=TEXTS) for o in overrides])
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
        made = _make(config, where, allow)
        return made(*args) if args else made
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error


def _make(node: Any, where: str, allow: Sequence[str]) -> Any:
    """Hydra's `_target_` and `_partial_`, and no more of it: values are taken as they are, nothing is resolved."""
    if isinstance(node, list):
        return [_make(item, where, allow) for item in node]
    if not isinstance(node, dict):
        return node
    values = {key: _make(value, where, allow) for key, value in node.items() if key not in ("_target_", "_partial_")}
    if "_target_" not in node:
        return values
    target = locate(node["_target_"], where, allow)
    return functools.partial(target, **values) if node.get("_partial_") else target(**values)


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
        absent = [
            p.name
            for p in signature.parameters.values()
            if p.default is p.empty and p.kind is p.KEYWORD_ONLY and p.name not in node
        ]
        if absent and not node.get("_partial_"):
            raise UserError(f"{where}.{absent[0]} has no value: {node['_target_']} needs it")
    for key, value in node.items():
        if key in ("_target_", "_partial_"):
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
    package = name.partition(".")[0] if isinstance(name, str) else ""
    if not ours(package, allow):
        raise UserError(
            f"{where}._target_={name} is not part of genzoo: if you trust it, allow it by trust=[{package}] "
            f"(in Python trust=['{package}'])"
        )
    here = str(Path.cwd())
    if (
        package in allow
        and here not in sys.path
        and package not in sys.modules
        and not importlib.util.find_spec(package)
    ):
        sys.path.append(here)  # a command's own path does not hold the folder that the user works in
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
        home = getattr(found, "__module__", None) or ""
        if isinstance(found, types.ModuleType) or not callable(found) or not ours(home.partition(".")[0], allow):
            raise UserError(f"{where}._target_={name} leads out of {package}: name the class where it is defined")
        if home in COMMANDS:
            raise UserError(f"{where}._target_={name} is a command of genzoo, no part of a model")
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


def check_options(values: Mapping[str, Any], hints: Mapping[str, Any], where: str) -> None:
    """UserError for an option that is not among the annotated ones, or has a wrong type."""
    for key, value in values.items():
        if key not in hints:
            raise UserError(f"unknown key {where}.{key}{did_you_mean(key, list(hints))}; there are: {', '.join(hints)}")
        check_type(value, hints[key], f"{where}.{key}")
