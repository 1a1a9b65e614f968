"""What is wrong with a configuration, in one line for a person."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from genzoo.reading import reason


def explain(error: Exception, whole: DictConfig, folders: Sequence[Path], *, where: str) -> str:
    """One line for a person from what hydra and omegaconf say; whole: the configuration without single keys; folders:
    where configurations are looked for; where: what to name where they name nothing."""
    text = str(error)
    if isinstance(error, yaml.YAMLError):
        return " ".join(text.split())
    if unknown := re.search(r"Could not override '([^']+)'|Key '([^']+)' is not in struct", text):
        key = unknown[1] or unknown[2]
        for empty in (key, key.rpartition(".")[0]):
            if empty and OmegaConf.select(whole, empty) == {}:
                return f"{empty} has no keys yet: write +{key}=…"
        group = OmegaConf.select(whole, key.rpartition(".")[0]) if "." in key else whole
        there = ", ".join(map(str, group)) if isinstance(group, DictConfig) else ""
        return f"unknown key {key}{did_you_mean(key, list(flat_keys(whole)))}; there are: {there}"
    if absent := re.search(r"(?:In '[^']+': )?Could not find '([^']+)'", text):
        group, _, name = absent[1].rpartition("/")
        there = sorted({f.stem for folder in folders for f in (folder / group).glob("*.yaml")}) if group else []
        shown = ", ".join(n for n in there if not n.endswith("_smoke"))  # those are the tests' own
        return f"there is no {group or 'config'} {name!r}{did_you_mean(name, there)}; there are: {shown}"
    return f"{where}: {reason(error)}"


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
