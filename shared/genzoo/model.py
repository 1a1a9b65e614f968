"""A trained model, ready to sample: `load` makes it of a checkpoint; and models of configurations."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from genzoo import checkpoint
from genzoo.config import build, split_options
from genzoo.contract import Data, GenerativeModel, Objective, Piece, Request, Spec
from genzoo.draws import RowNoise, seed_of
from genzoo.errors import UserError, user_errors
from genzoo.reading import reason

if TYPE_CHECKING:
    from genzoo.page.items import Exhibit


Net = TypeVar("Net", bound=torch.nn.Module)


@dataclass(frozen=True)
class Model:
    """A trained model with its data's words for it, ready to sample; made by `load`. It remembers no request: threads
    may share it."""

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

    def sample(self, n: int = 1, *, seed: int = 0, batch_size: int = 64, **options: Any) -> "Samples":
        """n examples, at most `batch_size` at once. Options are those of `genzoo sample`: the data's words (`prompt`,
        `label`) and the sampler's (`temperature`, `steps`); the preset's `sampling` gives their defaults. The noise of
        a sample depends on the seed and on its number alone."""
        request = self.request(n, **options)
        return Samples(self.made(request, seed, batch_size=batch_size), request, self)

    def request(self, n: int = 1, **options: Any) -> Request:
        """What `sample` is to make of these options."""
        if n < 1:
            raise UserError(f"n must be at least 1, not {n}")
        words, more = split_options(self.model, self.data, {**self.config.get("sampling", {}), **options})
        request = self.data.request(n, **words)
        for key in more.keys() & request.options.keys():
            usual = inspect.signature(self.model.sample).parameters[key].default
            if more[key] != usual:
                raise UserError(f"{key}={more[key]}: here the data decides it: leave it out")
        return replace(request, options={**more, **request.options})

    def made(self, request: Request, *seed: int, batch_size: int = 64) -> Tensor:
        """The samples [n, *shape] of a request, in model space, on the CPU."""
        parts = []
        for first in range(0, request.n, batch_size):
            rows = range(first, min(first + batch_size, request.n))
            some, noise = request[rows.start : rows.stop], self._noise(rows, *seed)
            cond = {name: value.to(self.device) for name, value in some.cond.items()}
            with user_errors(), torch.inference_mode():
                parts.append(self.model.sample(some.n, cond, noise, **some.options).cpu())
        return torch.cat(parts)

    def _noise(self, rows: range, *seed: int) -> RowNoise:
        return RowNoise(rows, "sample", *seed, device=self.device)

    def sample_given(self, cond: Mapping[str, Tensor], *seed: int, batch_size: int = 64, **options: Any) -> Tensor:
        """An example for each row of the conditions, at most `batch_size` at once, on the CPU. Options are the
        sampler's."""
        more = split_options(self.model, self.data, {**self.config.get("sampling", {}), **options})[1]
        return self.made(Request(len(next(iter(cond.values()))), cond, more), *seed, batch_size=batch_size)

    def rollout(
        self, request: Request, pieces: int, *, seed: int = 0, batch_size: int = 64, journal: Path | None = None
    ) -> Iterator[Piece]:
        """`pieces` times the n examples [n, *shape] of a request with their conditions, each piece from the one before.

        journal: a folder where every piece is kept as soon as it is made; pieces that are there already are not made
        again, and the rest comes out as if there had been no break.
        """
        if not self.goes_on:
            raise UserError("rollout is for data that goes on in time, and this does not: leave it at 1")

        def made(cond: Mapping[str, Tensor]) -> Iterator[Piece]:
            for i in range(pieces):
                file = journal / f"{i:04d}.safetensors" if journal else None
                x = checkpoint.read_tensor(file) if file and file.exists() else None
                if x is None:
                    x = self.made(replace(request, cond=cond), seed, i, batch_size=batch_size)
                    if file:
                        checkpoint.write_tensor(file, x)
                yield x, cond
                if i + 1 < pieces:
                    cond = self.data.follow(x, cond)

        return made(request.cond)

    def stream(self, request: Request, *, seed: int = 0) -> Iterator[Tensor]:
        """The one example of a request in pieces along its first axis, while it is being made."""
        if not hasattr(self.model, "stream"):
            raise UserError("this model makes its samples in one piece: leave stream out")
        cond = {name: value.to(self.device) for name, value in request.cond.items()}
        pieces = self.model.stream(1, cond, self._noise(range(1), seed), **request.options)

        def checked() -> Iterator[Tensor]:
            with user_errors():
                yield from pieces

        return checked()


@dataclass(frozen=True)
class Samples:
    """x: [n, *shape] in model space, on the CPU; what was asked for; and the model that made them. One by one
    (`samples[2]`, `for sample in samples`) and in part (`samples[:4]`) they are samples again."""

    x: Tensor
    request: Request
    model: Model = field(repr=False)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, at: int | slice) -> "Samples":
        rows = at if isinstance(at, slice) else slice(range(len(self))[at], range(len(self))[at] + 1)
        return Samples(self.x[rows], self.request[rows], self.model)

    def __iter__(self) -> Iterator["Samples"]:
        return (self[i] for i in range(len(self)))

    @property
    def words(self) -> list[str]:
        """Each as a few words, "" where words do not serve."""
        return [self.model.data.describe(x, self.request) for x in self.x]

    def write(self, folder: str | Path) -> list[Path]:
        """Writes each as a file that other programs open, and a preview of all where the data draws one."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        files = self.model.data.write_all(self.x, folder, self.request)
        preview = self.model.data.preview(self.x, folder / "preview", self.request)
        return files + ([preview] if preview else [])

    def exhibits(self) -> "list[Exhibit]":
        """What a page shows of them."""
        with TemporaryDirectory() as folder:
            return self.model.data.exhibits([(self.x, self.request.cond)], Path(folder), self.request)

    def _repr_html_(self) -> str:
        """In a notebook: the gallery's own exhibits."""
        from genzoo.page.page import in_a_frame

        return in_a_frame(self.exhibits())


def load(path: str | Path, *, device: str = "auto", trust: Sequence[str] = ()) -> Model:
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
    return Model(model, data, found.config, found.step, found.path)


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


def laid_out_as_saved(model: Net) -> Net:
    """Undoes `for_decoding`: a part of data gives the same last bits, whether it was loaded or made from its state."""
    for weight in model.parameters():
        weight.data = weight.data.contiguous()
    return model


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
