"""From words on a command line to a checked configuration.

Configurations are hydra's: group defaults < preset < command line. They are found in the repository first, then inside
the installed package. Presets are files from outside: they name parts and values, and run nothing.
"""

import os
import re
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from inspect import Parameter
from pathlib import Path
from typing import Any, Literal

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString, Transformer
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from genzoo.config.build import check, locate
from genzoo.config.explain import did_you_mean, explain
from genzoo.config.options import (
    check_options,
    check_type,
    choices,
    defaults,
    is_text,
    is_texts,
    optional,
    scores_class,
    wishes,
)
from genzoo.contract import Data, GenerativeModel
from genzoo.errors import UserError
from genzoo.reading import judged_yaml, reading

TEXTS = ("out", "init", "checkpoint", "data.path", "data.labels", "data.val_match")
"""Keys that are text whatever it looks like, besides those of the signatures."""

ESCAPED = ("prompt", "stop")
"""Options in which \\n, \\t and \\\\ mean a new line, a tabulator and a backslash."""

ITEM = re.compile(r"""\s*(?:"((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)'|([^,]*?))\s*,""", re.DOTALL)
"""One of a list of texts: in quotes, or up to a comma."""

RESOLVER = re.compile(r"\$\{[^{}]*:")
"""An interpolation that computes (`${oc.env:HOME}`), where `${data.context}` only points at another key."""

COMPOSING = threading.RLock()
"""hydra keeps its state for the whole process: one composition at a time."""

SAMPLES: dict[str, Any] = {
    "n": int,
    "seed": int,
    "device": Literal["auto", "cpu", "cuda", "mps"],
    "trust": list[str],
}
KEYS: dict[str, dict[str, Any]] = {
    "train": {"out": str, "resume": bool, "init": str | None, "samples": int, "trust": list[str]},
    "sample": {
        **SAMPLES,
        "checkpoint": str,
        "batch_size": int,
        "out": str | None,
        "rollout": int,
        "stream": bool,
    },
    "evaluate": {**SAMPLES, "checkpoint": str, "split": str | None, "batch_size": int},
    "gallery": {
        **SAMPLES,
        "out": str | None,
        "models": list[str] | None,
        "checkpoints": list[str],
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
    saved: Mapping[str, Any] | None = None,
) -> DictConfig:
    """The configuration of a verb. saved: that of the checkpoint which is sampled or scored: the options of its classes
    are further keys.

    UserError, in one line, for whatever is wrong with a file or a word; also where a file names packages to trust,
    which only the command line can."""
    nodes: dict[str, dict[str, Any]] = {}
    hints: dict[str, Any] = {}
    if saved is not None:
        takes = options_of(verb, *classes_of(saved, overrides))
        nodes, hints = nodes_of(verb, saved, takes), hints_of(verb, saved, takes)
    overrides = [readable(override, texts=TEXTS, hints=hints) for override in overrides]
    without_effect = [o for o in overrides if re.match(r"[+~]*hydra[./=]", o)]
    if without_effect:
        raise UserError(f"{without_effect[0]} would have no effect: say where files go by out=, and leave hydra out")
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
    check_keys(verb, plain(config), hints)
    if config.get("trust") and not any(o.lstrip("+").startswith("trust=") for o in overrides):
        names = ",".join(config.trust)
        raise UserError(f"a file asks to trust {names}, which only you can: give trust=[{names}] on the command line")
    return config


def check_keys(verb: str, config: Mapping[str, Any], hints: Mapping[str, Any]) -> None:
    """UserError for a key that nobody reads, and for a value of a wrong type. hints: of a checkpoint's options."""
    own = KEYS[verb]
    if verb == "sample" and hints:
        return check_options(config, {**own, **hints}, "")
    for key, value in config.items():
        if key in own:
            check_type(value, own[key], key)
        elif verb in GROUPS and key not in GROUPS[verb]:
            first_line = "; does the preset begin with `# @package _global_`?" if key == "preset" else ""
            raise UserError(f"unknown key {key}{did_you_mean(str(key), [*own, *GROUPS[verb]])}{first_line}")
        elif mine := {name.removeprefix(f"{key}."): h for name, h in hints.items() if name.startswith(f"{key}.")}:
            check_options(value or {}, mine, key)


def options_of(verb: str, data: Any, model: Any) -> dict[str, dict[str, Parameter]]:
    """What the classes of a checkpoint take in words, by the node of its configuration that holds the defaults. Who
    samples imports no scores."""
    taken = {"sampling": wishes(data, model)}
    return taken if verb == "sample" else taken | {"scoring": choices(scores_class(data))}


def classes_of(saved: Mapping[str, Any], overrides: Sequence[str]) -> tuple[Any, Any]:
    """The classes of data and model of a checkpoint's configuration. overrides: they say which checkpoint it is, and
    whom the user trusts; a class of anybody else is refused."""
    said = {o.partition("=")[0]: o for o in overrides}
    try:
        trust = dict(assignments([said["trust"]] if "trust" in said else [])).get("trust")
    except HydraException:  # said when all is composed
        trust = None
    trust = trust if isinstance(trust, list) else []
    try:
        return class_of(saved, "data", Data, trust), class_of(saved, "model", GenerativeModel, trust)
    except UserError as error:
        raise UserError(f"{said.get('checkpoint', 'checkpoint')}: {error}") from error


def class_of(saved: Mapping[str, Any], where: str, role: type, trust: Sequence[str]) -> Any:
    """The class that a node of a checkpoint's configuration names."""
    node = saved.get(where)
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise UserError(f"{where} names no class (_target_)")
    check({"_target_": node["_target_"], "_partial_": True}, where, role, trust=trust)
    return locate(node["_target_"], where, trust)


def nodes_of(
    verb: str, saved: Mapping[str, Any], takes: Mapping[str, Mapping[str, Parameter]]
) -> dict[str, dict[str, Any]]:
    """The groups of keys that come from a checkpoint, with the defaults of its signatures below its own."""
    nodes: dict[str, dict[str, Any]] = {}
    for name in ("data", "sampling", "scoring"):
        node = saved.get(name) or {}
        if not isinstance(node, Mapping):
            raise UserError(f"the checkpoint's {name} is no mapping: use another checkpoint")
        nodes[name] = {**defaults(takes.get(name, {})), **node}
    if verb == "sample":
        return {"sampling_of_checkpoint": {k: v for k, v in nodes["sampling"].items() if k not in KEYS[verb]}}
    return {f"{name}_of_checkpoint": {name: node} for name, node in nodes.items()}


def hints_of(verb: str, saved: Mapping[str, Any], takes: Mapping[str, Mapping[str, Parameter]]) -> dict[str, Any]:
    """The types of a checkpoint's options by the keys that they have on the command line. What it says of others is
    refused where it is loaded."""
    prefix = {group: "" if verb == "sample" else f"{group}." for group in takes}
    said = {prefix[group] + name: Any for group in takes for name in saved.get(group) or {}}
    hints = said | {prefix[group] + name: p.annotation for group in takes for name, p in takes[group].items()}
    return {key: hint for key, hint in hints.items() if key not in KEYS[verb]}


def _explained(
    error: Exception,
    verb: str,
    overrides: Sequence[str],
    config_dir: str | None,
    nodes: Mapping[str, Mapping[str, Any]],
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


def readable(
    override: str, *, texts: Collection[str] = (), hints: Mapping[str, Any] | None = None, lists: bool = False
) -> str:
    """An override as hydra reads it. A value that its grammar has no place for is quoted, and so are those of keys in
    `texts`, so that a file name may be any text. hints: types of options; one that is text is taken as typed. lists:
    whether `a,b` stands for two values."""
    key, equals, value = override.partition("=")
    name = key.lstrip("+")
    if not equals or not name.strip("~"):
        return override
    if hints and name in hints:
        if is_text(hints[name]) or is_texts(hints[name]):
            return f"{name}={grammar(as_typed(name, value, hints[name]))}"
        override, key = f"{name}={value}", name
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    try:
        parsed = OverridesParser.create().parse_override(override)
        if quoted and key in texts and not parsed.is_sweep_override():
            return f"{key}={grammar(parsed.value())}"
        if quoted or (lists and parsed.is_sweep_override()):
            return override
        if (key not in texts or (value == "null" and key in TEXTS)) and not parsed.is_sweep_override():
            return override
    except HydraException:
        odd_key = not key.replace(".", "").replace("_", "").lstrip("+").isalnum()
        if odd_key or (value[:1] in ("[", "{") and key not in texts):
            return override
    return f"{key}={grammar(value) if key in texts else quote(value)}"


def as_typed(name: str, value: str, hint: Any) -> Any:
    """The text that a word gives an option, its list of texts, or None where the option may be None."""
    if value == "null" and optional(hint):
        return None
    escaped = name.rpartition(".")[2] in ESCAPED
    if not is_texts(hint):
        return unescaped(value) if escaped and not os.path.exists(value) else value
    if value[:1] != "[" or value[-1:] != "]":
        return value  # which its type refuses
    found = [(re.sub(r"\\([\"'])", r"\1", a or b), c) for a, b, c in ITEM.findall(value[1:-1].strip() + ",")]
    items = [quoted or bare for quoted, bare in found if value[1:-1].strip()]
    return [unescaped(item) for item in items] if escaped else items


def unescaped(text: str) -> str:
    """With a new line, a tabulator or a backslash in place of \\n, \\t and \\\\."""
    return re.sub(r"\\([nt\\])", lambda found: {"n": "\n", "t": "\t", "\\": "\\"}[found[1]], text)


def grammar(value: Any) -> str:
    """A text, a list of texts or None, as hydra reads it and omegaconf leaves it."""
    if isinstance(value, list):
        return f"[{','.join(map(grammar, value))}]"
    return "null" if value is None else quote(inert(value))


def quote(text: str) -> str:
    return QuotedString(text, Quote.single).with_quotes()


def _compose(
    verb: str, overrides: Sequence[str], config_dir: str | None, nodes: Mapping[str, Mapping[str, Any]]
) -> DictConfig:
    store = ConfigStore.instance()
    for group, node in nodes.items():
        store.store(group=group, name="of_checkpoint", node=OmegaConf.create(inert(node)), provider="checkpoint")
    search = [f"hydra.searchpath=[{quote(f'file://{Path(config_dir).resolve()}')}]"] if config_dir else []
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
    """All combinations of `key=a,b` overrides, for `-m`. A text in quotes is one value, and loses them."""
    lists: list[list[str]] = [[]]
    try:
        parsed = OverridesParser.create().parse_overrides([readable(o, lists=True) for o in overrides])
        for override in parsed:
            key, value, words = override.get_key_element(), override.input_line.partition("=")[2], [override.input_line]
            if override.is_sweep_override() and set(value) & set("'\"\\([{"):
                words = [f"{key}={unquoted(choice)}" for choice in override.sweep_iterator()]
            elif override.is_sweep_override():
                words = [f"{key}={choice.strip()}" for choice in value.split(",")]
            elif value[:1] in ("'", '"'):
                words = [f"{key}={override.value()}"]
            lists = [[*done, word] for done in lists for word in words]
    except HydraException as error:
        raise UserError(str(error).splitlines()[0]) from error
    return lists


def unquoted(value: Any) -> str:
    """One of several values of a key as a word of its own."""
    if isinstance(value, QuotedString):
        return value.text
    return value if isinstance(value, str) else Transformer.str(value)


def assignments(overrides: Sequence[str]) -> list[tuple[str, Any]]:
    """Keys and values of plain overrides."""
    parsed = OverridesParser.create().parse_overrides([readable(o, texts=TEXTS) for o in overrides])
    return [(override.key_or_group, override.value()) for override in parsed]


def plain(config: Any) -> Any:
    """The configuration as dicts, lists and values."""
    return OmegaConf.to_container(config, resolve=True) if OmegaConf.is_config(config) else config
