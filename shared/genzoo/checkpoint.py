"""Checkpoints: written whole or not at all, read without unpickling.

step_000500/
    model.safetensors   the weights to sample with; config, spec and data state in its metadata, so it loads alone
    config.yaml         the resolved configuration, to read
    data.json           spec, what was fitted to the data, and the hash of the data, to read
    state.pt            optimizers, raw weights, counters: only for resuming
    sha256.txt          hashes of the others, `sha256sum -c sha256.txt`; model.safetensors bears its own

Beside the checkpoints of a run lie the small files `last` and `best`, which name one of them.
"""

import hashlib
import json
import os
import re
import shutil
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from genzoo import sealed, zoo
from genzoo.contract import Spec
from genzoo.download import sha256_of
from genzoo.errors import UserError
from genzoo.reading import Broken, printable, reason

FORMAT = "2"
UNHASHED = "1"
"""The format before, whose files bear no hash."""
SUMS = "sha256.txt"
UNFINISHED = ".unfinished-"
"""How the names of files and folders begin that are being written."""
STEP = re.compile(r"step_(\d+)")

OF_DATA = "data_state/"
"""Names of tensors that belong to the data's state (a codec, say) begin so; its JSON has {"tensor": name} for them."""


@dataclass(frozen=True)
class Checkpoint:
    """What a model.safetensors holds. config: plain values; weights: by name, on the CPU; data_state: plain values
    and tensors, as `Data` gave it. best: name of the best checkpoint of the run so far, "" where none was chosen.
    fingerprints: SHA-256 of the data that the run learns from, by split."""

    path: Path
    step: int
    config: dict[str, Any]
    spec: Spec
    data_state: dict[str, Any]
    weights: dict[str, torch.Tensor]
    best: str = ""
    fingerprints: dict[str, str] = field(default_factory=dict)


def save(
    folder: Path,
    *,
    step: int,
    weights: Mapping[str, torch.Tensor],
    config: Mapping[str, Any],
    config_yaml: str,
    spec: Spec,
    data_state: Mapping[str, Any],
    best: str = "",
    fingerprints: Mapping[str, str] | None = None,
    train_state: Mapping[str, Any] | None = None,
) -> None:
    """Writes a checkpoint folder. It appears under its name only when every byte is on the disk. UserError where that
    cannot be (the disk is full, the folder is gone): nothing is left behind, and what was there before is whole."""
    unfinished = folder.with_name(f"{UNFINISHED}{folder.name}")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        sums = {}
        with ThreadPoolExecutor(2) as pool:  # packs and hashes while this thread writes
            packing = pool.submit(
                packed,
                step=step,
                weights=weights,
                config=config,
                spec=spec,
                data_state=data_state,
                best=best,
                fingerprints=fingerprints,
            )
            if train_state is not None:
                with open(unfinished / "state.pt", "wb") as file:
                    with without_crc():
                        torch.save(dict(train_state), file)
                    file.flush()
                    hashing = pool.submit(sha256_of, unfinished / "state.pt")
                    flush(file)
                sums["state.pt"] = hashing.result()
            content, about = packing.result()
            write_bytes(unfinished / "model.safetensors", content)
        said = json.dumps(about, indent=1, ensure_ascii=False)
        for name, text in (("config.yaml", config_yaml), ("data.json", said)):
            write_bytes(unfinished / name, [text.encode()])
            sums[name] = hashlib.sha256(text.encode()).hexdigest()
        lines = "".join(f"{sum_}  {name}\n" for name, sum_ in sums.items())
        write_bytes(unfinished / SUMS, [lines.encode()])
        flush_folder(unfinished)
        os.rename(unfinished, folder)
        flush_folder(folder.parent)
    except (Exception, KeyboardInterrupt) as error:  # torch has errors of its own for a full disk
        shutil.rmtree(unfinished, ignore_errors=True)
        if isinstance(error, KeyboardInterrupt):
            raise
        raise UserError(
            f"the checkpoint {folder} cannot be written ({reason(cause(error))}): make room or mend the folder, then "
            "go on with resume=true; earlier checkpoints are whole"
        ) from error


@contextmanager
def without_crc() -> Iterator[None]:
    """torch.save without its checksums of parts, which cost as much as half a hash of the whole."""
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        yield
    finally:
        torch.serialization.set_crc32_options(before)


def cause(error: BaseException) -> BaseException:
    """What lies behind an error: of a library that could not write, the operating system's own word."""
    while not isinstance(error, OSError) and (error.__cause__ or error.__context__):
        error = error.__cause__ or error.__context__
    return error


def packed(
    *,
    step: int,
    weights: Mapping[str, torch.Tensor],
    config: Mapping[str, Any],
    spec: Spec,
    data_state: Mapping[str, Any],
    best: str = "",
    fingerprints: Mapping[str, str] | None = None,
) -> tuple[list[bytes], dict[str, Any]]:
    """The bytes of a model.safetensors that loads alone, in parts, and what it says beside its weights as plain
    values."""
    of_data: dict[str, torch.Tensor] = {}
    about = {"spec": spec.to_dict(), "data_state": without_tensors(data_state, OF_DATA, of_data)}
    about |= {"data_sha256": dict(fingerprints)} if fingerprints else {}
    metadata = {
        "format": FORMAT,
        "step": str(step),
        "best": best,
        "config": json.dumps(config),
        **{key: json.dumps(value) for key, value in about.items()},
    }
    tensors, memory = {}, set()
    for name, value in {**weights, **of_data}.items():
        x = value.detach().cpu().contiguous()
        place = x.untyped_storage().data_ptr()
        tensors[name] = x.clone() if place in memory else x  # a file keeps no two names for one tensor
        memory.add(place)
    return sealed.sealed_parts(tensors, metadata), about


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


def point(pointer: Path, target: str) -> None:
    """Makes `pointer` name `target` beside it, at once: there is never a moment without one."""
    replace_text(pointer, f"{target}\n")


def followed(pointer: Path) -> Path | None:
    """The checkpoint that a pointer names: a file, or a link as there were before; None where it names none."""
    if pointer.is_file() and pointer.stat().st_size < 100:
        name = pointer.read_text(encoding="utf-8", errors="replace").strip()
        return pointer.with_name(name) if STEP.fullmatch(name) and whole(pointer.with_name(name)) else None
    return pointer if whole(pointer) else None


def whole(folder: Path) -> bool:
    return (folder / "model.safetensors").is_file()


def best_of(checkpoints: Path) -> Path | None:
    """The best checkpoint of a run: as the newest says, whose word came to the disk together with its weights, so that
    no kill can come between; else, where it says nothing or is damaged, as the pointer says. None where none was
    chosen."""
    newest = newest_of(checkpoints)
    with suppress(UserError):
        if newest:
            name = best_named(newest / "model.safetensors")
            if STEP.fullmatch(name) and whole(checkpoints / name):
                return checkpoints / name
    return followed(checkpoints / "best")


def best_named(weights: Path) -> str:
    """The name of the best checkpoint when these weights were written, their own where they were; else ""."""
    with opened(weights) as (_, metadata):
        return metadata.get("best", "")


def resolve(path: str | Path) -> Path:
    """The model.safetensors that a person means: a run (its best checkpoint, else its last), a checkpoint, a file, an
    address on the hub (hf://USER/REPOSITORY), or the name of weights that come with the packages."""
    if str(path).startswith(zoo.HUB):
        return zoo.from_hub(str(path))
    path = Path(path)
    if path.is_file() and path.suffix == ".safetensors":
        return path
    if path.name == "model.safetensors" and (found := followed(path.parent)):  # …/last/model.safetensors
        return found / path.name
    if found := followed(path) or best_of(path / "checkpoints") or newest_of(path / "checkpoints"):
        return found / "model.safetensors"
    if path.is_file():
        raise UserError(f"checkpoint={path} is no .safetensors file: name a run folder, a checkpoint or such a file")
    if str(path) in zoo.shipped():
        return zoo.shipped()[str(path)] / "model.safetensors"
    if not path.exists():
        raise UserError(f"no checkpoint at {path}: train one first (genzoo train PRESET), or correct checkpoint=")
    raise UserError(f"{path} holds no checkpoint: name a run folder, a checkpoint folder or a .safetensors file")


def run_of(weights: Path) -> Path | None:
    """The run folder that a model.safetensors lies in, or None for a lone one."""
    run = weights.resolve().parent.parent.parent
    return run if (run / "config.yaml").is_file() and (run / "checkpoints").is_dir() else None


@contextmanager
def opened(file: Path) -> Iterator[tuple[Any, dict[str, str]]]:
    """A model.safetensors and its metadata; whatever goes wrong meanwhile is a UserError that names the file."""
    try:
        with safe_open(file, framework="pt") as tensors:
            metadata = tensors.metadata() or {}
            if metadata.get("format") not in (FORMAT, UNHASHED):
                said = ascii(metadata.get("format"))[:20]
                raise Broken(f"was not written by this genzoo (format {said}, known: {FORMAT})")
            yield tensors, metadata
    except UserError:
        raise
    except Broken as error:
        raise UserError(f"{file} {error}: {another(file)}") from error
    except Exception as error:  # whatever safetensors, json and a strange content raise
        raise UserError(f"{file} is damaged or cut short ({reason(error)}): {another(file)}") from error


def config_of(path: str | Path) -> dict[str, Any]:
    """The configuration of a checkpoint, without reading its weights."""
    file = resolve(path)
    with opened(file) as (_, metadata):
        check_hash(file, metadata)
        return dict(json.loads(metadata["config"]))


def check_hash(file: Path, metadata: Mapping[str, str]) -> bool:
    """Whether a file bears a hash, which only one of the format before may lack; Broken where its bytes are others."""
    hashed = sealed.check(file)
    if hashed != (metadata["format"] == FORMAT):
        raise Broken("is damaged: its format and its hash do not go together")
    return hashed


def load(path: str | Path) -> Checkpoint:
    """Reads a checkpoint; UserError where there is none or it is damaged. One of the format before, which bears no
    hash, is read with a line on stderr that says so."""
    with loading(path) as found:
        return found


@contextmanager
def loading(path: str | Path) -> Iterator[Checkpoint]:
    """`load`, whose hash is computed beside what is done with the checkpoint meanwhile; where its bytes are damaged,
    that is the error, whatever else went wrong."""
    file = resolve(path)
    with opened(file) as (tensors, metadata), ThreadPoolExecutor(1) as pool:
        hashed = pool.submit(check_hash, file, metadata)
        try:
            weights = {name: widened(tensors.get_tensor(name)) for name in tensors.keys()}  # noqa: SIM118
            of_data = {name: weights.pop(name) for name in list(weights) if name.startswith(OF_DATA)}
            wrong = next((name for name, x in weights.items() if not finite(x)), None)
            if wrong:
                raise Broken(f"has numbers in {printable(wrong)} that are none (NaN or infinity)")
            yield Checkpoint(
                path=file,
                step=int(metadata["step"]),
                config=dict(json.loads(metadata["config"])),
                spec=Spec.from_dict(json.loads(metadata["spec"])),
                data_state=dict(with_tensors(json.loads(metadata["data_state"]), of_data)),
                weights=weights,
                best=metadata.get("best", ""),
                fingerprints=dict(json.loads(metadata.get("data_sha256", "{}"))),
            )
        except Exception:
            hashed.result()
            raise
        if not hashed.result():
            said = "of the format before and bears no hash: damage would not be seen; genzoo export writes it anew"
            print(f"({file} is {said})", file=sys.stderr)


def another(file: Path) -> str:
    """What to use in place of a damaged file: the checkpoint before it in its run."""
    folder = file.resolve().parent
    before = [p for p in steps_saved(folder.parent) if STEP.fullmatch(folder.name) and step_of(p) < step_of(folder)]
    return f"use checkpoint={before[-1]}" if before else "use another checkpoint"


def finite(x: torch.Tensor) -> bool:
    """Whether all numbers are finite. A sum sees that at once; only where it is too large, each is looked at."""
    return not x.is_floating_point() or bool(x.sum().isfinite() or x.isfinite().all())


def widened(x: torch.Tensor) -> torch.Tensor:
    """float16 and bfloat16, in which exported weights are kept, as float32."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def load_train_state(folder: Path) -> dict[str, Any]:
    """The state.pt of a checkpoint folder: tensors and plain values. UserError where its bytes are not those of
    sha256.txt, which only a checkpoint of the format before may lack."""
    folder = followed(folder) or folder
    file = folder / "state.pt"
    try:
        digest = sha256_of(file)
        sums = folder / SUMS
        if sums.is_file() or sealed.check(folder / "model.safetensors"):
            known = dict(reversed(line.split("  ", 1)) for line in sums.read_text(encoding="utf-8").splitlines())
            if known["state.pt"] != digest:
                raise Broken(f"its bytes are not those of {SUMS}")
        return dict(torch.load(file, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises many kinds for a damaged file, and one more for what is not plain
        raise UserError(f"{file} is missing or damaged ({reason(error)}): resume from another run folder") from error


def step_of(folder: Path) -> int:
    return int(folder.name.removeprefix("step_"))


def steps_saved(checkpoints: Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first; what else lies there (copies under other names) is none."""
    return sorted((p for p in checkpoints.glob("step_*") if STEP.fullmatch(p.name) and whole(p)), key=step_of)


def newest_of(checkpoints: Path) -> Path | None:
    """The newest whole checkpoint of a run."""
    return next(reversed(steps_saved(checkpoints)), None)


def forget_old(checkpoints: Path, keep: int) -> None:
    """Deletes all but the last `keep` checkpoints and the best one."""
    best = best_of(checkpoints)
    for old in steps_saved(checkpoints)[:-keep]:
        if best is None or old.resolve() != best.resolve():
            going = old.with_name(f"{UNFINISHED}{old.name}")
            os.rename(old, going)  # at once: a kill leaves no half checkpoint under its name
            shutil.rmtree(going)


def write_bytes(path: Path, parts: Sequence[bytes]) -> None:
    """Writes a file and waits until it is on the disk."""
    with open(path, "wb") as file:
        file.writelines(parts)
        flush(file)


def replace(path: Path, content: bytes) -> None:
    """Writes a file in one piece: a reader sees the old one or the new one, and several writers do not meet."""
    fresh = path.with_name(f"{UNFINISHED}{os.getpid()}-{threading.get_ident()}-{path.name}")
    try:
        write_bytes(fresh, [content])
        os.replace(fresh, path)
    except (Exception, KeyboardInterrupt):
        fresh.unlink(missing_ok=True)
        raise


def replace_text(path: Path, content: str) -> None:
    """Writes a text file in one piece."""
    replace(path, content.encode())


def write_tensor(path: Path, x: torch.Tensor) -> None:
    """Writes a lone tensor in one piece."""
    replace(path, sealed.seal({"x": x.contiguous()}))


def read_tensor(path: Path) -> torch.Tensor:
    """What `write_tensor` wrote."""
    return sealed.unseal(path)["x"]


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
