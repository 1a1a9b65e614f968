"""From words on a command line to a checked configuration.

Configurations are hydra's: group defaults < preset < command line. They are found in the repository first, then inside
the installed package. Presets are files from outside: they name parts and values, and run nothing.
"""

import re
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from genzoo.config.explain import did_you_mean, explain
from genzoo.config.options import check_type
from genzoo.errors import UserError
from genzoo.reading import judged_yaml, reading

TEXTS = ("out", "init", "checkpoint", "data.path", "data.labels", "data.val_match")
"""Keys that are text whatever it looks like."""

RESOLVER = re.compile(r"\$\{[^{}]*:")
"""An interpolation that computes (`${oc.env:HOME}`), where `${data.context}` only points at another key."""

COMPOSING = threading.RLock()
"""hydra keeps its state for the whole process: one composition at a time."""

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
        "split": str | None,
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
    here = Path(__file__).resolve().parents[1]
    for folder in (here.parents[1] / "configs", here / "configs"):
        if (folder / "train.yaml").is_file():
            return folder
    raise UserError("the configs are missing: install genzoo again")


def folders(config_dir: str | None = None) -> list[Path]:
    """Where configurations are looked for."""
    return [config_folder(), *([Path(config_dir)] if config_dir else [])]


def presets(config_dir: str | None = None) -> list[str]:
    """Names of all presets, the user's own among them."""
    return sorted({file.stem for folder in folders(config_dir) for file in (folder / "preset").glob("*.yaml")})


def compose_config(
    verb: str,
    overrides: Sequence[str],
    *,
    config_dir: str | None = None,
    nodes: Mapping[str, Mapping[str, Any]] | None = None,
) -> DictConfig:
    """The configuration of a verb. nodes: groups of keys known only now (the options of a checkpoint), as plain values.

    UserError, in one line, for whatever is wrong with a file or a word; also where a file names packages to trust,
    which only the command line can."""
    options = [node for group, node in (nodes or {}).items() if verb == "sample"]
    texts = {*TEXTS, *(key for node in options for key, value in node.items() if isinstance(value, str))}
    overrides = [readable(override, texts=texts) for override in overrides]
    for file in sorted(Path(config_dir).glob("*/*.yaml")) if config_dir else []:
        with reading(file, "--config-dir"):
            judged_yaml(file)
    try:
        with COMPOSING:
            config = _compose(verb, overrides, config_dir, nodes)
    except UserError:
        raise
    except Exception as error:  # whatever hydra, omegaconf and yaml raise
        raise UserError(_explained(error, verb, overrides, config_dir, nodes)) from error
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
    if config.get("trust") and not any(o.lstrip("+").startswith("trust=") for o in overrides):
        names = ",".join(config.trust)
        raise UserError(f"a file asks to trust {names}, which only you can: give trust=[{names}] on the command line")
    return config


def _explained(
    error: Exception,
    verb: str,
    overrides: Sequence[str],
    config_dir: str | None,
    nodes: Mapping[str, Mapping[str, Any]] | None,
) -> str:
    """What is wrong, with the names that there are: those of the configuration without single keys."""
    groups = [o for o in overrides if o.partition("=")[0] in ("", *GROUPS.get(verb, ()))]
    try:
        with COMPOSING:
            whole = _compose(verb, [o for o in overrides if o.startswith("preset=") or o in groups], config_dir, nodes)
    except Exception:
        whole = OmegaConf.create()
    if groups and isinstance(error, ValueError):
        return f"{groups[0]} cannot be: {error}"
    named = [o for o in overrides if o.startswith("preset=")]
    return explain(error, whole, folders(config_dir), where=named[-1] if named else verb)


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
        store.store(group=group, name="of_checkpoint", node=OmegaConf.create(inert(node)), provider="checkpoint")
    folder = QuotedString(f"file://{Path(config_dir or '').resolve()}", Quote.single).with_quotes()
    search = [f"hydra.searchpath=[{folder}]"] if config_dir else []
    GlobalHydra.instance().clear()
    if verb == "train" and not any(o.startswith("out=") for o in overrides):
        named = [o.partition("=")[2].strip("'\"") for o in overrides if o.startswith("preset=")]
        overrides = [*overrides, f"out=runs/{named[-1] if named else 'text'}"]
    with initialize_config_dir(str(config_folder()), version_base="1.3", job_name=verb):
        config = compose(verb, [*overrides, *search])
    for key, value in strings(OmegaConf.to_container(config, resolve=False)):
        found = RESOLVER.search(value.replace("\\${", ""))
        if found and not any(found[0] in override for override in overrides):
            raise UserError(
                f"{key}: a file cannot compute a value ({found[0]}…}}): write it out, or give {key}= yourself"
            )
    return OmegaConf.create(inert(OmegaConf.to_container(config, resolve=True)))  # so that nothing is resolved twice


def strings(node: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """All texts in plain values, each with the dotted key that it stands at."""
    if isinstance(node, str):
        yield key, node
    elif isinstance(node, dict | list):
        for name, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from strings(value, f"{key}.{name}".lstrip("."))


def inert(node: Any) -> Any:
    """Plain values as omegaconf takes them for what they are: no text in them is interpolated."""
    if isinstance(node, Mapping):
        return {key: inert(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [inert(value) for value in node]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", node) if isinstance(node, str) else node


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
