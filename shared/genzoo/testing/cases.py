"""What the clauses of the contract are asked of: prepared data, a model, and what examples must look like.

Legend: B examples of a batch, n samples.
"""

import copy
import json
import math
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from genzoo.checkpoint import with_tensors, without_tensors
from genzoo.config import split_options
from genzoo.contract import Batch, Data, GenerativeModel, Loss, Request, Spec
from genzoo.draws import RowNoise, torch_generator

SIZE = 4


"""Examples of a batch, and samples, that are looked at."""


DRAW = "draw from genzoo.draws, as a function of what the numbers are for"


class Broken(Exception):
    """What a class did, and how to mend it."""

    def __init__(self, did: str, mend: str) -> None:
        super().__init__(f"{did}: {mend}")


@dataclass(frozen=True)
class DataCase:
    """Prepared data to look at. batches: of each split. wishes: words of `request`. make: makes the data anew."""

    data: Data
    batches: int = 2
    wishes: Mapping[str, Any] = field(default_factory=dict)
    make: Callable[[], Data] | None = None

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.data.splits)

    def first(self) -> list[Batch]:
        """The first batches of every split."""
        return [self.data.batch(step, SIZE, split) for split in self.splits for step in range(self.batches)]

    def anew(self) -> Data:
        """Data that have only been told the state."""
        state = self.data.state_dict()
        tensors: dict[str, Tensor] = {}
        try:
            words = json.dumps(without_tensors(state, "data/", tensors))
        except TypeError as error:
            raise Broken(
                f"state_dict is no JSON ({error})", "keep plain values, and tensors in dictionaries"
            ) from error
        fresh = self.make() if self.make else copy.copy(self.data)
        fresh.load_state_dict(with_tensors(json.loads(words), tensors))
        return fresh


@dataclass(frozen=True)
class ModelCase:
    """A model to look at, in eval mode. sampling: words of `genzoo sample`. make: makes the model anew."""

    model: GenerativeModel
    data: Data
    sampling: Mapping[str, Any] = field(default_factory=dict)
    make: Callable[[], GenerativeModel] | None = None

    @property
    def device(self) -> torch.device:
        return next((p.device for p in self.model.parameters()), torch.device("cpu"))

    def batch(self, step: int = 0) -> Batch:
        return self.data.batch(step, SIZE, "train").to(self.device)

    def loss(self, step: int = 0, model: GenerativeModel | None = None) -> Loss:
        generator = torch_generator("check", device=self.device)
        return (model or self.model).loss(self.batch(step), generator)

    def request(self) -> Request:
        words, more = split_options(self.model, self.data, self.sampling)
        request = self.data.request(SIZE, **words)
        return replace(request, options={**more, **request.options})

    def noise(self, seed: int = 0, rows: range = range(SIZE)) -> RowNoise:
        return RowNoise(rows, "check", seed, device=self.device)

    @torch.inference_mode()
    def samples(self, noise: RowNoise, model: GenerativeModel | None = None) -> Tensor:
        request = self.request()[noise.rows.start : noise.rows.stop]
        cond = {name: value.to(self.device) for name, value in request.cond.items()}
        return (model or self.model).sample(request.n, cond, noise, **request.options)


def same(a: Tensor, b: Tensor) -> bool:
    """Equal to the bit, in shape and kind."""
    if a.dtype != b.dtype or a.shape != b.shape or not torch.equal(a.isnan(), b.isnan()):
        return False
    return torch.equal(a.nan_to_num(), b.nan_to_num()) if a.is_floating_point() else torch.equal(a, b)


def same_tensors(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)


def same_batch(a: Batch, b: Batch) -> bool:
    return same(a.x, b.x) and same_tensors(a.cond, b.cond)


@contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """Inside, the global random numbers are of this seed; Broken where one is drawn."""
    kept = torch.get_rng_state(), np.random.get_state(), random.getstate()
    torch.default_generator.manual_seed(seed), np.random.seed(seed), random.seed(seed)
    begun = global_state()
    try:
        yield
        if global_state() != begun:
            raise Broken("it touches the global random state (torch, numpy or random)", DRAW)
    finally:
        torch.set_rng_state(kept[0]), np.random.set_state(kept[1]), random.setstate(kept[2])


def global_state() -> tuple[Any, ...]:
    _, keys, *place = np.random.get_state()
    return torch.get_rng_state().numpy().tobytes(), keys.tobytes(), tuple(place), random.getstate()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """A model without dropout; afterwards each of its parts is as it was."""
    modes = {part: part.training for part in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def shaken(model: GenerativeModel) -> GenerativeModel:
    """A copy whose weights are moved a little: first ones that are 0 would hide what depends on what."""
    moved, generator = copy.deepcopy(model), torch_generator("shaken")
    with torch.no_grad():
        for p in moved.parameters():
            if p.requires_grad:
                p += 0.02 * torch.randn(p.shape, generator=generator).to(p)
    return moved


def look_at_x(x: Tensor, spec: Spec, *, shape: bool = True) -> None:
    """Of examples and samples. shape: whether it is known."""
    kind = torch.int64 if spec.vocab else torch.float32
    if shape and tuple(x.shape[1:]) != tuple(spec.shape) and not is_cut(x, spec):
        raise Broken(f"x has the shape {tuple(x.shape)}, spec.shape is {tuple(spec.shape)}", "give [B, *spec.shape]")
    if x.dtype != kind:
        what = f"tokens (spec.vocab={spec.vocab})" if spec.vocab else "continuous data (spec.vocab=0)"
        raise Broken(f"x is {x.dtype}, {what} are {kind}", f"give it as {kind}, or change spec.vocab")
    if not spec.vocab and not x.isfinite().all():
        raise Broken("x is not finite", "leave out, or fill, what is missing")
    flat = x.reshape(len(x), math.prod(x.shape[1:]))
    if spec.vocab and x.numel() and not -1 <= int(x.min()) <= int(x.max()) < spec.vocab:
        raise Broken(f"x has tokens from {x.min()} to {x.max()}, spec.vocab is {spec.vocab}", "raise spec.vocab")
    if spec.vocab and ((flat[:, :-1] < 0) & (flat[:, 1:] >= 0)).any():
        raise Broken("x has -1 before a token", "fill up behind the tokens only")


def is_cut(x: Tensor, spec: Spec) -> bool:
    """Whether it ends behind the longest example of a batch, where all are shorter than they may be. Fillers show that
    these examples end by themselves."""
    (got, *others), (most, *want) = x.shape[1:] or (0,), spec.shape or (0,)
    return bool(spec.vocab) and got < most and others == want and bool((x < 0).any())


def look_at_cond(cond: Mapping[str, Tensor], rows: int, spec: Spec, most: int) -> None:
    """Conditions of so many rows. most: the highest label there may be."""
    for name, value in cond.items():
        if len(value) != rows:
            raise Broken(f"cond[{name!r}] has {len(value)} rows, not {rows}", "give a row for each example")
    for name, shape in spec.context.items():
        got = tuple(cond[name].shape[1:]) if name in cond else shape
        if len(got) != len(shape) or any(want not in (-1, have) for want, have in zip(shape, got, strict=True)):
            raise Broken(f"cond[{name!r}] is {got} an example, spec.context says {tuple(shape)}", "make them agree")
    label = cond.get("label") if spec.classes else None
    if label is None:
        return
    if label.dtype != torch.int64 or label.ndim != 1:
        raise Broken(f"the label is {label.dtype} {tuple(label.shape)}", "give class numbers, int64 [B]")
    if len(label) and not 0 <= int(label.min()) <= int(label.max()) <= most:
        raise Broken(f"labels from {label.min()} to {label.max()}, spec.classes is {spec.classes}", "number from 0")


def look_at(batch: Batch, spec: Spec, *, shape: bool = True) -> None:
    """One batch of examples."""
    if spec.classes and "label" not in batch.cond:
        raise Broken(f"spec.classes is {spec.classes} and a batch has no label", "give cond['label'] in every batch")
    look_at_x(batch.x, spec, shape=shape)
    look_at_cond(batch.cond, len(batch), spec, spec.classes - 1)
