"""Checkpoints: written whole or not at all, read without unpickling.

step_000500/
    model.safetensors   the weights to sample with; config, spec and data state in its metadata, so it loads alone
    config.yaml         the resolved configuration, to read
    data.json           spec and what was fitted to the data, to read
    state.pt            optimizers, raw weights, counters: only for resuming
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors

from genzoo import zoo
from genzoo.contract import Spec
from genzoo.errors import UserError

FORMAT = "1"

OF_DATA = "data_state/"
"""Names of tensors that belong to the data's state (a codec, say) begin so; its JSON has {"tensor": name} for them."""


@dataclass(frozen=True)
class Checkpoint:
    """What a model.safetensors holds. config: plain values; weights: by name, on the CPU; data_state: plain values
    and tensors, as `Data` gave it."""

    path: Path
    step: int
    config: dict[str, Any]
    spec: Spec
    data_state: dict[str, Any]
    weights: dict[str, torch.Tensor]


def save(
    folder: Path,
    *,
    step: int,
    weights: Mapping[str, torch.Tensor],
    config: Mapping[str, Any],
    config_yaml: str,
    spec: Spec,
    data_state: Mapping[str, Any],
    train_state: Mapping[str, Any] | None = None,
) -> None:
    """Writes a checkpoint folder. It appears under its name only when every byte is on the disk."""
    content, about = packed(step=step, weights=weights, config=config, spec=spec, data_state=data_state)
    unfinished = folder.with_name(f".unfinished-{folder.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    write_bytes(unfinished / "model.safetensors", content)
    write_bytes(unfinished / "config.yaml", config_yaml.encode())
    write_bytes(unfinished / "data.json", json.dumps(about, indent=1, ensure_ascii=False).encode())
    if train_state is not None:
        with open(unfinished / "state.pt", "wb") as file:
            torch.save(dict(train_state), file)
            flush(file)
    flush_folder(unfinished)
    os.rename(unfinished, folder)
    flush_folder(folder.parent)


def packed(
    *,
    step: int,
    weights: Mapping[str, torch.Tensor],
    config: Mapping[str, Any],
    spec: Spec,
    data_state: Mapping[str, Any],
) -> tuple[bytes, dict[str, Any]]:
    """The bytes of a model.safetensors that loads alone, and its spec and data state as plain values."""
    of_data: dict[str, torch.Tensor] = {}
    about = {"spec": spec.to_dict(), "data_state": without_tensors(data_state, OF_DATA, of_data)}
    metadata = {
        "format": FORMAT,
        "step": str(step),
        "config": json.dumps(config),
        **{key: json.dumps(value) for key, value in about.items()},
    }
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in {**weights, **of_data}.items()}
    return to_safetensors(tensors, metadata), about


def without_tensors(state: Any, name: str, found: dict[str, torch.Tensor]) -> Any:
    """A state of plain values with {"tensor": name} in place of each tensor, which goes to `found`."""
    if isinstance(state, torch.Tensor):
        found[name.removesuffix("/")] = state
        return {"tensor": name.removesuffix("/")}
    if isinstance(state, Mapping):
        return {key: without_tensors(value, f"{name}{key}/", found) for key, value in state.items()}
    return state


def with_tensors(state: Any, found: Mapping[str, torch.Tensor]) -> Any:
    """What `without_tensors` took apart."""
    if not isinstance(state, dict):
        return state
    if state.keys() == {"tensor"} and state["tensor"] in found:
        return found[state["tensor"]]
    return {key: with_tensors(value, found) for key, value in state.items()}


def point(link: Path, target: str) -> None:
    """Makes `link` a symbolic link to `target` beside it, at once: there is never a moment without one."""
    fresh = link.with_name(f".unfinished-{link.name}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    os.replace(fresh, link)


def resolve(path: str | Path) -> Path:
    """The model.safetensors that a person means: a run (its best checkpoint, else its last), a checkpoint, a file, an
    address on the hub (hf://USER/REPOSITORY), or the name of weights that come with the packages."""
    if str(path).startswith(zoo.HUB):
        return zoo.from_hub(str(path))
    path = Path(path)
    if path.is_file():
        if path.suffix != ".safetensors":
            raise UserError(
                f"checkpoint={path} is no .safetensors file: name a run folder, a checkpoint or such a file"
            )
        return path
    for place in (path, path / "checkpoints" / "best", path / "checkpoints" / "last"):
        if (place / "model.safetensors").is_file():
            return place / "model.safetensors"
    if str(path) in zoo.shipped():
        return zoo.shipped()[str(path)] / "model.safetensors"
    if not path.exists():
        raise UserError(f"no checkpoint at {path}: train one first (genzoo train PRESET), or correct checkpoint=")
    raise UserError(f"{path} holds no checkpoint: name a run folder, a checkpoint folder or a .safetensors file")


def run_of(weights: Path) -> Path | None:
    """The run folder that a model.safetensors lies in, or None for a lone one."""
    run = weights.resolve().parent.parent.parent
    return run if (run / "config.yaml").is_file() and (run / "checkpoints").is_dir() else None


def load(path: str | Path) -> Checkpoint:
    """Reads a checkpoint; UserError where there is none or it is damaged."""
    file = resolve(path)
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            weights = {name: widened(opened.get_tensor(name)) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} is damaged or cut short ({error}): use another checkpoint") from error
    if metadata.get("format") != FORMAT:
        raise UserError(f"{file} was not written by this genzoo (format {metadata.get('format')}, known: {FORMAT})")
    of_data = {name: weights.pop(name) for name in list(weights) if name.startswith(OF_DATA)}
    try:
        return Checkpoint(
            path=file,
            step=int(metadata["step"]),
            config=json.loads(metadata["config"]),
            spec=Spec.from_dict(json.loads(metadata["spec"])),
            data_state=with_tensors(json.loads(metadata["data_state"]), of_data),
            weights=weights,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file} was not written by genzoo ({error}): use another checkpoint") from error


def widened(x: torch.Tensor) -> torch.Tensor:
    """float16 and bfloat16, in which exported weights are kept, as float32."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def load_train_state(folder: Path) -> dict[str, Any]:
    """The state.pt of a checkpoint folder: tensors and plain values."""
    file = folder / "state.pt"
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file, and one more for what is not plain
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{file} is missing or damaged ({reason}): resume from another run folder") from error


def steps_saved(checkpoints: Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first."""
    whole = [p for p in checkpoints.glob("step_*") if (p / "model.safetensors").is_file()]
    return sorted(whole, key=lambda p: int(p.name.removeprefix("step_")))


def forget_old(checkpoints: Path, keep: int) -> None:
    """Deletes all but the last `keep` checkpoints and the best one."""
    best = (checkpoints / "best").resolve()
    for old in steps_saved(checkpoints)[:-keep]:
        if old.resolve() != best:
            shutil.rmtree(old)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file and waits until it is on the disk."""
    with open(path, "wb") as file:
        file.write(content)
        flush(file)


def replace(path: Path, content: bytes) -> None:
    """Writes a file in one piece: a reader sees the old one or the new one."""
    fresh = path.with_name(f".unfinished-{path.name}")
    write_bytes(fresh, content)
    os.replace(fresh, path)


def replace_text(path: Path, content: str) -> None:
    """Writes a text file in one piece."""
    replace(path, content.encode())


def write_tensor(path: Path, x: torch.Tensor) -> None:
    """Writes a lone tensor in one piece."""
    replace(path, to_safetensors({"x": x.contiguous()}))


def read_tensor(path: Path) -> torch.Tensor:
    """What `write_tensor` wrote."""
    with safe_open(path, framework="pt") as opened:
        return opened.get_tensor("x")


def flush(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
