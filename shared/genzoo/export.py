"""`genzoo export`: a checkpoint as a folder for the Hugging Face hub."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from genzoo import __version__, checkpoint, zoo
from genzoo.config import flat
from genzoo.errors import UserError
from genzoo.model import build_model

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

ROUNDING = 2**-7
"""Largest relative change of a constant that is stored in half precision; what its range lacks stays whole."""

OF_THE_MACHINE = ("out", "init", "resume", "local", "logger", "samples")
"""Keys of a configuration that say where and how a run was kept, and nothing of the model."""


def export(source: str | Path, to: str | Path, *, dtype: str = "float32") -> list[Path]:
    """Writes model.safetensors (loads alone, here or from hf://), config.json and README.md (the card, with the scores
    that `genzoo evaluate` left in the run) into a folder. Returns the files.

    to: absent or empty; UserError where it is not. dtype: of the weights; those whose range it lacks stay float32.
    """
    if dtype not in DTYPES:
        raise UserError(f"--dtype {dtype}: choose of {', '.join(DTYPES)}")
    folder = Path(to)
    if folder.exists() and (folder.is_file() or any(folder.iterdir())):
        raise UserError(f"--to {folder} is not empty: choose another folder")
    found = checkpoint.load(source)
    model = build_model(found.config, found.spec)
    learned = {name: parameter.numel() for name, parameter in model.named_parameters()}
    half = DTYPES[dtype]
    weights = {name: rounded(x, half, strict=name not in learned) for name, x in found.weights.items()}
    config = {key: value for key, value in found.config.items() if key not in OF_THE_MACHINE}
    config["data"] = without_places(config["data"])
    data_state = rounded_state(found.data_state, half)
    parts, about = checkpoint.packed(
        step=found.step, weights=weights, config=config, spec=found.spec, data_state=data_state
    )
    content = b"".join(parts)
    whole = {"library_name": "genzoo", "genzoo_version": __version__, "step": found.step}
    whole |= {"parameters": sum(learned.values()), "dtype": dtype, "spec": about["spec"], "config": config}
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "model.safetensors": content,
        "config.json": json.dumps(whole, indent=1, ensure_ascii=False).encode(),
        "README.md": card_of(found, whole, len(content)).encode(),
    }
    for name, written in files.items():
        checkpoint.replace(folder / name, written)
    return [folder / name for name in files]


def rounded(x: torch.Tensor, dtype: torch.dtype, *, strict: bool) -> torch.Tensor:
    """x in another precision; as it is where it holds no float32, or its numbers leave the range. strict: also where
    one of them, however small beside the others, would change by more than `ROUNDING`."""
    if x.dtype != torch.float32:
        return x
    less = x.to(dtype)
    back = less.float()
    if not back.isfinite().all() or (strict and ((back - x).abs() > ROUNDING * x.abs()).any()):
        return x
    return less


def rounded_state(state: Any, dtype: torch.dtype, *, learned: bool = False) -> Any:
    """The data's state with each tensor `rounded`. learned: whether it is part of a network, as what lies under the key
    "weights" is (a codec's)."""
    if isinstance(state, Mapping):
        parts = state.items()
        return {key: rounded_state(value, dtype, learned=learned or key == "weights") for key, value in parts}
    return rounded(state, dtype, strict=not learned) if isinstance(state, torch.Tensor) else state


def without_places(node: Any) -> Any:
    """A configuration whose absolute paths are file names: where a user keeps things goes nowhere."""
    if isinstance(node, Mapping):
        return {key: without_places(value) for key, value in node.items()}
    if isinstance(node, str) and Path(node).expanduser().is_absolute():
        return Path(node).name
    return node


def card_of(found: checkpoint.Checkpoint, whole: Mapping[str, Any], size: int) -> str:
    """The model card: front matter and Markdown. What only a person knows is left to say."""
    own = zoo.card(found.path.parent)
    if own.text:  # weights that have a card keep it
        head = yaml.safe_dump(own.about, sort_keys=False, allow_unicode=True)
        return f"---\n{head}---\n\n{own.text}" if own.about else own.text
    config = whole["config"]
    modality = config["data"]["_target_"].partition(".")[0].removeprefix("genzoo_")
    head = yaml.safe_dump({"library_name": "genzoo", "tags": ["genzoo", modality]}, sort_keys=False)
    rows = {
        "data": config["data"].get("path", modality),
        "steps": f"{found.step} of {config['trainer']['batch_size']} examples, seed {config['trainer']['seed']}",
        "weights": f"{whole['parameters'] / 1e6:.2f} M parameters, {size / 1e6:.1f} MB, {whole['dtype']}",
        **dict(scores_of(found.path)),
        "flaws": "(say them here)",
        "licence": "(of the weights and of the data)",
    }
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    return f"""---
{head}---

# {modality}

A model of {modality}, made with genzoo {__version__}.

```
genzoo sample checkpoint=hf://USER/REPOSITORY n=4
```

| | |
|---|---|
{table}
"""


def scores_of(weights: Path) -> Iterator[tuple[str, str]]:
    """The numbers that `genzoo evaluate` wrote of the run that weights lie in, with their protocol."""
    from genzoo.run import RunFolder

    run = checkpoint.run_of(weights)
    file = RunFolder(run).metrics if run else None
    if file is None or not file.is_file():
        return
    for name, report in json.loads(file.read_text(encoding="utf-8")).items():
        if not name.startswith("evaluate_"):
            continue
        protocol = report["protocol"]
        if protocol["step"] != int(weights.resolve().parent.name.removeprefix("step_")):
            continue  # of other weights of this run
        for key, value in flat({key: value for key, value in report.items() if key != "protocol"}):
            if isinstance(value, int | float) and ".protocol." not in key:
                said = f"{value:.4g} (split {protocol['split']}, n {protocol['n']}, seed {protocol['seed']})"
                yield key, said
