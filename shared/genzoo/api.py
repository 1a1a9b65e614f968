"""The verbs in Python: `train`, `sample`, `evaluate`, `gallery`, `load`.

>>> import genzoo
>>> run = genzoo.train("text_smoke", ["out=/tmp/example"])              # doctest: +SKIP
>>> genzoo.load(run).sample(4, prompt="The ")                           # doctest: +SKIP
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genzoo import checkpoint
from genzoo.config import build, compose_config, split_options
from genzoo.contract import Data, GenerativeModel, Objective, Spec
from genzoo.draws import seed_of, torch_generator
from genzoo.errors import UserError, user_errors
from genzoo.reading import reason


@dataclass
class Trained:
    """A model with its data's words for it, ready to sample; made by `load`."""

    model: GenerativeModel
    data: Data
    config: dict[str, Any]
    step: int
    path: Path

    @property
    def goes_on(self) -> bool:
        """Whether examples go on in time, so that there are roll-outs."""
        return type(self.data).follow is not Data.follow

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def sample(self, n: int = 1, *, seed: int = 0, **options: Any) -> Tensor:
        """n examples [n, *shape] in model space. Options are those of `genzoo sample`: the data's words (`prompt`,
        `label`) and the sampler's (`temperature`, `steps`); the preset's `sampling` gives their defaults."""
        if n < 1:
            raise UserError(f"n must be at least 1, not {n}")
        cond, more = self._request(n, options)
        return self._sample(n, cond, more, seed)

    def _sample(self, n: int, cond: Mapping[str, Tensor], options: Mapping[str, Any], *seed: int) -> Tensor:
        with user_errors(), torch.inference_mode():
            return self.model.sample(n, cond, torch_generator("sample", *seed, device=self.device), **options)

    def sample_given(self, cond: Mapping[str, Tensor], *seed: int, batch_size: int = 64, **options: Any) -> Tensor:
        """An example for each row of the conditions, at most `batch_size` at once, on the CPU. Options are the
        sampler's."""
        n = len(next(iter(cond.values())))
        more = split_options(self.model, self.data, {**self.config.get("sampling", {}), **options})[1]
        parts = []
        for first in range(0, n, batch_size):
            part = {name: value[first : first + batch_size].to(self.device) for name, value in cond.items()}
            parts.append(self._sample(min(batch_size, n - first), part, more, *seed, first).cpu())
        return torch.cat(parts)

    def rollout(
        self, n: int, pieces: int, *, seed: int = 0, batch_size: int = 64, journal: Path | None = None, **options: Any
    ) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        """`pieces` times n examples [n, *shape] with their conditions, each piece from the one before.

        journal: a folder where every piece is kept as soon as it is made; pieces that are there already are not made
        again, and the rest comes out as if there had been no break.
        """
        if not self.goes_on:
            raise UserError("rollout is for data that goes on in time, and this does not: leave it at 1")
        words, more = split_options(self.model, self.data, {**self.config.get("sampling", {}), **options})
        first, extra = self.data.condition(n, **words)

        def made() -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
            cond = first
            for i in range(pieces):
                file = journal / f"{i:04d}.safetensors" if journal else None
                x = checkpoint.read_tensor(file) if file and file.exists() else None
                if x is None:
                    x = self.sample_given(cond, seed, i, batch_size=batch_size, **{**more, **extra})
                    if file:
                        checkpoint.write_tensor(file, x)
                yield x, cond
                if i + 1 < pieces:
                    cond = self.data.follow(x, cond)

        return made()

    def sample_in_batches(self, n: int, *, batch_size: int, seed: int = 0, **options: Any) -> Tensor:
        """n examples, at most `batch_size` at once, gathered on the CPU; each batch's seed is `seed` plus its first."""
        cond, more = self._request(n, options)
        parts = []
        for i in range(0, n, batch_size):
            part = {name: value[i : i + batch_size] for name, value in cond.items()}
            parts.append(self._sample(min(batch_size, n - i), part, more, seed + i).cpu())
        return torch.cat(parts)

    def stream(self, *, seed: int = 0, **options: Any) -> Iterator[Tensor]:
        """One example in pieces along its first axis, while it is being made."""
        if not hasattr(self.model, "stream"):
            raise UserError("this model makes its samples in one piece: leave stream out")
        cond, more = self._request(1, options)
        pieces = self.model.stream(1, cond, torch_generator("sample", seed, device=self.device), **more)

        def checked() -> Iterator[Tensor]:
            with user_errors():
                yield from pieces

        return checked()

    def write(self, samples: Tensor, folder: str | Path) -> list[Path]:
        """Writes each sample as a file that other programs open, and a preview of all where the data draws one."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        files = self.data.write_all(samples.cpu(), folder)
        preview = self.data.preview(samples.cpu(), folder / "preview")
        return files + ([preview] if preview else [])

    def _request(self, n: int, options: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        words, more = split_options(self.model, self.data, {**self.config.get("sampling", {}), **options})
        cond, extra = self.data.condition(n, **words)
        return {name: value.to(self.device) for name, value in cond.items()}, {**more, **extra}


def load(path: str | Path, *, device: str = "auto", trust: Sequence[str] = ()) -> Trained:
    """The model of a run folder, a checkpoint folder or a lone model.safetensors, ready to sample; of weights that come
    with genzoo by their name (`load("video")`), or on the Hugging Face hub (`load("hf://USER/REPOSITORY")`).

    trust: packages besides genzoo whose classes the checkpoint's configuration may name.
    """
    place = pick_device(device)
    with checkpoint.loading(path) as found:
        try:
            data = build(found.config["data"], Data, "data", trust=trust)
            load_data_state(data, found)
            model = build_model(found.config, found.spec, trust)
            model.load_state_dict(found.weights)
            sampling = found.config.get("sampling") or {}
            if "://" in str(sampling.get("context")):
                raise UserError("its sampling.context is an address, which a checkpoint cannot name, only you")
            split_options(model, data, sampling)
        except UserError as error:
            raise UserError(f"{found.path}: {error}") from error
        except Exception as error:  # a configuration, a state or weights that do not belong together
            raise UserError(f"{found.path} does not hold a model of its configuration ({reason(error)})") from error
    for_decoding(model.requires_grad_(False).eval().to(place))
    return Trained(model, data, found.config, found.step, found.path)


def load_data_state(data: Data, found: checkpoint.Checkpoint) -> None:
    """Gives the data what was fitted to it; UserError where that is of another kind."""
    try:
        data.load_state_dict(found.data_state)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{found.path}: its state of the data is not one of {type(data).__name__}") from error


def for_decoding(model: torch.nn.Module) -> None:
    """Lays the weights of linear layers out input by input. Their values stay; a single row then meets them in the
    order they lie in memory, which decoding on a CPU gains a fifth from."""
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.weight.data = layer.weight.data.t().contiguous().t()


def pick_device(device: str) -> str:
    """The device that is meant; UserError where it is not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device, True):
        raise UserError(f"device={device}, and torch sees none here: leave it at auto")
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def build_model(config: Mapping[str, Any], spec: Spec, trust: Sequence[str] = ()) -> GenerativeModel:
    """The model that `config.model` describes for this spec. Its first weights come from trainer.seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of("weights", config["trainer"]["seed"]))
        return build(config["model"], GenerativeModel, "model", spec, trust=trust)


def build_objective(config: Mapping[str, Any], spec: Spec, trust: Sequence[str] = ()) -> Objective:
    """The objective that `config.objective` describes; its own weights come from trainer.seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of("objective", config["trainer"]["seed"]))
        node = dict(config["objective"])
        parts = [spec] if node.get("_partial_") else []
        for key in ("function", "gold"):  # my_module:my_function
            if isinstance(node.get(key), str):
                node[key] = {"_target_": node[key].replace(":", "."), "_partial_": True}
        return build(node, Objective, "objective", *parts, trust=trust)


def train(preset: str, overrides: Sequence[str] = (), *, config_dir: str | None = None) -> Path:
    """`genzoo train PRESET key=value …`; returns the run folder."""
    from genzoo.verbs.train import train_config

    words = [f"preset={preset}", *overrides]
    return train_config(compose_config("train", words, config_dir=config_dir), words, config_dir=config_dir)


def evaluate(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """`genzoo evaluate`: the scores of a checkpoint, each with its protocol."""
    from genzoo.evaluation import evaluate_config, evaluation_config

    return evaluate_config(evaluation_config([f"checkpoint={path}", *overrides]), overrides)


def gallery(overrides: Sequence[str] = (), *, config_dir: str | None = None) -> Path:
    """`genzoo gallery key=value …`; returns the page."""
    from genzoo.exhibition import gallery_config

    return gallery_config(compose_config("gallery", overrides, config_dir=config_dir))
