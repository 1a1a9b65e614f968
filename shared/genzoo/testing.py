"""The contract kit: `check_data` and `check_model` say in one line which clause a class breaks, and how to mend it.

>>> from genzoo.testing import check_data, check_model
>>> check_data(data, make=lambda: Waves(length=64))              # doctest: +SKIP
>>> check_model(model, data, make=lambda: Gaussian(data.spec))   # doctest: +SKIP

`genzoo check PRESET` runs all of it, and training what is cheap, before its first step.

Legend: B examples of a batch, n samples.
"""

import copy
import json
import math
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from genzoo.checkpoint import with_tensors, without_tensors
from genzoo.config import split_options
from genzoo.contract import Batch, Data, GenerativeModel, Loss, Request, Spec
from genzoo.draws import RowNoise, torch_generator
from genzoo.errors import UserError
from genzoo.reading import reason

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
        return tuple(getattr(self.data, "splits", ("train", "val")))

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


# ---- what both are looked at with


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


# ---- clauses of data


def examples_fit_the_spec(case: DataCase) -> None:
    for batch in case.first():
        look_at(batch, case.data.spec)


def as_many_rows_as_asked(case: DataCase) -> None:
    for split in case.splits:
        for size in (1, SIZE):
            got = len(case.data.batch(0, size, split))
            if got != size:
                raise Broken(f"batch(0, {size}, {split!r}) has {got} rows", "begin again at the first where it ends")


def batch_is_pure(case: DataCase) -> None:
    for split in case.splits:
        with global_seed(1):
            first = case.data.batch(1, SIZE, split)
        with global_seed(2):
            case.data.batch(3, SIZE + 1, split)
            again = case.data.batch(1, SIZE, split)
        if not same_batch(first, again):
            raise Broken(f"batch(1, {SIZE}, {split!r}) gave two different ones", DRAW)


def rows_are_obeyed(case: DataCase) -> None:
    for split in case.splits:
        for step in (1, 6, 40):  # an epoch ends within one of them, where examples are few
            whole = case.data.batch(step, 2 * SIZE, split)
            for rows in (range(2, 5), range(1, 2 * SIZE, 3)):
                part = case.data.batch(step, 2 * SIZE, split, rows)
                if not same_batch(part, whole[rows.start : rows.stop : rows.step]):
                    raise Broken(f"rows={rows} are not those rows of the whole batch", "make each from its own number")


def steps_differ(case: DataCase) -> None:
    for split in case.splits:
        first, *others = [case.data.batch(step, SIZE, split) for step in range(4)]
        one = all(same_batch(first[:1], first[i : i + 1]) for i in range(SIZE))  # there may be no more examples
        if not one and all(same_batch(first, other) for other in others):
            raise Broken(f"every step of {split} gives the same batch", "let it depend on the step: draws.in_epochs")


def splits_differ(case: DataCase) -> None:
    train, *others = case.splits
    for split in others:
        if all(same_batch(*(case.data.batch(step, SIZE, name) for name in (train, split))) for step in range(4)):
            raise Broken(f"{train} and {split} have the same batches", "keep examples apart that are not learned from")


def sweep_is_not_empty(case: DataCase) -> None:
    for split in case.splits:
        if not any(len(batch) for batch in case.data.sweep(split, 1)):
            raise Broken(f"sweep({split!r}) gives nothing", "keep some examples for every split")


def sweep_is_in_order(case: DataCase) -> None:
    """The first batches: twice the same, none too large, as the spec says; parts of tokens may be of any length."""
    spec = case.data.spec
    for split in case.splits:
        first, again = (list(islice(case.data.sweep(split, 3), 4)) for _ in range(2))
        for batch, other in zip(first, again, strict=True):
            look_at(batch, spec, shape=not spec.vocab)
            if len(batch) > 3:
                raise Broken(f"sweep({split!r}, 3) has a batch of {len(batch)}", "give at most `size` at once")
            if not same_batch(batch, other):
                raise Broken(f"sweep({split!r}) goes another way the second time", "go in a fixed order, draw nothing")


def sweep_is_whole(case: DataCase) -> None:
    for split in case.splits[1:]:
        few, many = (sum(map(len, case.data.sweep(split, size))) for size in (3, 64))
        if few != many:
            raise Broken(f"sweep({split!r}) has {few} examples by 3 and {many} by 64", "leave out no rest")


def units_are_counted(case: DataCase) -> None:
    for split in case.splits[1:]:
        units = case.data.units(split)
        if not units > 0:
            raise Broken(f"units({split!r}) is {units}", "count what a likelihood is divided by")


def fingerprint_tells_splits_apart(case: DataCase) -> None:
    sums = [case.data.fingerprint(split) for split in case.splits]
    if not all(isinstance(sum_, str) and sum_ for sum_ in sums):
        raise Broken("fingerprint is empty", "give the SHA-256 of the split's examples, which resuming compares")
    if sums != [case.data.fingerprint(split) for split in case.splits]:
        raise Broken("fingerprint is another the second time", "hash the examples and nothing else")
    for split, sum_ in zip(case.splits[1:], sums[1:], strict=True):
        if sum_ == sums[0] and not same_examples(case.data, case.splits[0], split):
            raise Broken(f"{case.splits[0]} and {split} have one fingerprint", "hash the examples of the named split")


def same_examples(data: Data, *splits: str) -> bool:
    """Whether two splits begin with the same examples, in the order of their sweeps."""
    pairs = zip(*(islice(data.sweep(split, SIZE), 16) for split in splits), strict=False)
    return all(same_batch(*pair) for pair in pairs)


def state_travels(case: DataCase) -> None:
    told = case.data.state_dict()
    fresh = case.anew()
    if fresh.spec != case.data.spec:
        raise Broken(f"after load_state_dict spec is {fresh.spec}, was {case.data.spec}", "keep it in state_dict")
    if not same_state(told, fresh.state_dict()):
        raise Broken("state_dict is another after load_state_dict", "give what it was given")
    if not same_tensors(asked(fresh, case).cond, asked(case.data, case).cond):
        raise Broken("a request is another after load_state_dict", "keep in state_dict what samples need")


def other_processes_see_the_same(case: DataCase) -> None:
    """Data that are made and prepared again, as each process and each resumed run does it."""
    if case.make is None:
        return
    fresh = case.anew()
    fresh.prepare()
    if not same_state(case.data.state_dict(), fresh.state_dict()):
        raise Broken("prepared again, the state is another", "let prepare fit only what is not loaded yet")
    for split in case.splits:
        if not same_batch(case.data.batch(3, SIZE, split), fresh.batch(3, SIZE, split)):
            raise Broken(f"prepared again, {split} has another batch", DRAW)
        if case.data.fingerprint(split) != fresh.fingerprint(split):
            raise Broken(f"prepared again, {split} has another fingerprint", "hash the examples and nothing else")


def same_state(a: Any, b: Any) -> bool:
    """Of plain values, as JSON has them, and tensors."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same_state(a[key], b[key]) for key in a)
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return same(a, b)
    return json.dumps(a) == json.dumps(b)


def asked(data: Data, case: DataCase) -> Request:
    return data.request(SIZE, **case.wishes)


def requests_have_rows(case: DataCase) -> None:
    request, again = asked(case.data, case), asked(case.data, case)
    if request.n != SIZE:
        raise Broken(f"request({SIZE}).n is {request.n}", "ask for as many as are wished for")
    look_at_cond(request.cond, SIZE, case.data.spec, case.data.spec.classes)  # the last: no label
    if request.titles and len(request.titles) != SIZE:
        raise Broken(f"a request of {SIZE} has {len(request.titles)} titles", "give a title each, or none")
    if not same_tensors(request.cond, again.cond):
        raise Broken("the same request twice has other conditions", DRAW)


def samples_become_files(case: DataCase) -> None:
    """Written, described and drawn by data that have only been told the state."""
    fresh, x = case.anew(), next(iter(case.data.sweep("val", 1))).x
    if tuple(x.shape[1:]) != tuple(case.data.spec.shape):  # a sweep may give parts of examples
        x = case.data.batch(0, 1, "val").x
    request = fresh.request(1, **case.wishes)
    with TemporaryDirectory() as folder:
        file = fresh.write(x[0], Path(folder) / "000", request)
        if not (isinstance(file, Path) and file.exists() and file.is_relative_to(folder)):
            raise Broken(f"write returns {file!r}", "write below the path that is given, and return the file")
        words = fresh.describe(x[0], request)
        if not isinstance(words, str):
            raise Broken(f"describe returns {type(words).__name__}", 'return words, or ""')
        drawn = fresh.preview(x, Path(folder) / "preview", request)
        if drawn is not None and not (isinstance(drawn, Path) and drawn.exists()):
            raise Broken(f"preview returns {drawn!r}", "return the file that it drew, or None")


# ---- clauses of a model


def loss_is_of_each_example(case: ModelCase) -> None:
    with torch.no_grad():
        loss = case.loss()
    if not isinstance(loss, Loss):
        raise Broken(f"loss returns {type(loss).__name__}", "return genzoo.contract.Loss(value)")
    value = loss.value
    if tuple(value.shape) != (SIZE,) or not value.is_floating_point():
        what = f"{value.dtype} {tuple(value.shape)}"
        raise Broken(f"the loss of {SIZE} examples is {what}", "give one float an example, [B], and take no mean")
    if not value.isfinite().all():
        raise Broken(f"the loss is {value.tolist()}", "see that it is a number from the first weights on")


def loss_depends_on_the_batch(case: ModelCase) -> None:
    with torch.no_grad():
        first, *others = [case.loss(step).value for step in range(4)]
    if all(same(first, other) for other in others):
        raise Broken("four different batches have the same loss", "compute it from batch.x")


def loss_is_pure(case: ModelCase) -> None:
    with torch.no_grad():
        with global_seed(1):
            first = case.loss().value
        with global_seed(2):
            case.loss(1)
            again = case.loss().value
    if not same(first, again):
        raise Broken("the same batch and generator gave two losses", "draw from the generator and remember nothing")


def gradient_reaches_parameters(case: ModelCase) -> None:
    parameters = {name: p for name, p in case.model.named_parameters() if p.requires_grad}
    value = case.loss().value.mean()
    if not value.requires_grad or not parameters:
        raise Broken("the loss has no gradient", "compute it from the parameters, without detach or no_grad")
    found = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
    bad = [name for name, g in zip(parameters, found, strict=True) if g is not None and not g.isfinite().all()]
    if bad:
        raise Broken(f"the gradient of {bad[0]} is no number", "look for roots, logarithms and divisions of 0")
    if not any(g is not None and g.any() for g in found):
        raise Broken("the gradient of every parameter is 0", "let the loss depend on the parameters")


def samples_fit_the_spec(case: ModelCase) -> None:
    x, options = case.samples(case.noise()), case.request().options
    want: tuple[int, ...] = case.model.spec.shape
    if "length" in options and options["length"] is not None:
        want = (options["length"],)
    if options.get("points"):
        want = (options["points"], *want[1:])
    if tuple(x.shape) != (SIZE, *want):
        raise Broken(f"{SIZE} samples have the shape {tuple(x.shape)}", f"give [n, *shape], here {(SIZE, *want)}")
    look_at_x(x, case.model.spec, shape=False)
    if x.device.type != case.device.type:
        raise Broken(f"samples are on {x.device}, the noise on {case.device}", "make them on noise.device")


def samples_depend_on_the_noise_only(case: ModelCase) -> None:
    noise = case.noise()
    with global_seed(1):
        first = case.samples(noise)
    with global_seed(2):
        other = case.samples(case.noise(1))
        again = case.samples(case.noise())
    if not same(first, again):
        raise Broken("the same noise gave two samples", "draw from the noise and remember nothing")
    if noise.drawn and same(first, other) and all(same(first, case.samples(case.noise(i))) for i in (2, 3)):
        raise Broken("other noise gives the same samples", "let samples depend on what is drawn")


def samples_do_not_know_of_each_other(case: ModelCase) -> None:
    """But for the last digits, in which kernels for other sizes differ."""
    some = range(SIZE // 2, SIZE)
    whole, part = case.samples(case.noise())[SIZE // 2 :], case.samples(case.noise(rows=some))
    near = 1e-3 * max(1.0, float(whole.abs().max())) if whole.is_floating_point() else 0
    if whole.shape != part.shape or not torch.allclose(whole, part, rtol=0, atol=near):
        raise Broken("samples made without those before them are others", "draw rows of noise, [n, …]; mix no rows")


def likelihood_is_of_each_example(case: ModelCase) -> None:
    if not case.model.scored:
        return
    batch = case.batch()
    with torch.no_grad():
        value = case.model.log_prob(batch.x, batch.cond)
    if value is None or tuple(value.shape) != (SIZE,) or value.isnan().any():
        what = None if value is None else f"{tuple(value.shape)} {value.tolist()}"
        raise Broken(f"log_prob of {SIZE} examples is {what}", "give nats, [B], or leave it out")
    if case.model.spec.vocab and float(value.max()) > 1e-3:
        raise Broken(f"log_prob of tokens is {float(value.max()):g}", "a probability is at most 1: normalise")


def estimate_has_the_shape_of_x(case: ModelCase) -> None:
    if not case.model.estimates:
        return
    with torch.no_grad():
        x, x_hat = case.batch().x, case.loss().x_hat
    if x_hat is None or x_hat.shape != x.shape:
        what = None if x_hat is None else tuple(x_hat.shape)
        raise Broken(f"x_hat is {what}, x {tuple(x.shape)}", "give x_hat the shape of x, or set estimates=False")


def state_is_parameters_and_buffers(case: ModelCase) -> None:
    if case.make is None:
        return
    fresh = case.make().to(case.device)
    fresh.load_state_dict(case.model.state_dict())
    fresh.eval()
    with torch.no_grad():
        equal = same(case.loss().value, case.loss(model=fresh).value)
    if not equal:
        raise Broken("with the same weights, another such model has another loss", "keep state in buffers")
    if not same(case.samples(case.noise()), case.samples(case.noise(), fresh)):
        raise Broken("with the same weights, another such model has other samples", "keep state in buffers")


def said(clause: Callable[..., None]) -> str:
    """`batch_is_pure` in words."""
    return clause.__name__.replace("_", " ")


OF_DATA: tuple[Callable[[DataCase], None], ...] = (
    as_many_rows_as_asked,
    examples_fit_the_spec,
    sweep_is_not_empty,
    batch_is_pure,
    rows_are_obeyed,
    steps_differ,
    splits_differ,
    sweep_is_in_order,
    sweep_is_whole,
    units_are_counted,
    fingerprint_tells_splits_apart,
    state_travels,
    other_processes_see_the_same,
    requests_have_rows,
    samples_become_files,
)
OF_MODEL: tuple[Callable[[ModelCase], None], ...] = (
    loss_is_of_each_example,
    loss_depends_on_the_batch,
    loss_is_pure,
    gradient_reaches_parameters,
    samples_fit_the_spec,
    samples_depend_on_the_noise_only,
    samples_do_not_know_of_each_other,
    likelihood_is_of_each_example,
    estimate_has_the_shape_of_x,
    state_is_parameters_and_buffers,
)
CHEAP = (as_many_rows_as_asked, examples_fit_the_spec, loss_is_of_each_example)


def holding(thing: object, clauses: tuple[Callable[..., None], ...], case: Any) -> Iterator[str]:
    """The clauses that hold, one by one; UserError for the first that does not."""
    for clause in clauses:
        try:
            clause(case)
        except UserError:  # of a file, say: it has its own mend
            raise
        except Exception as error:
            did = str(error) if isinstance(error, Broken) else f"it raises {type(error).__name__} ({reason(error)})"
            line = f"{type(thing).__name__} breaks the contract, {said(clause)!r}: {did}"
            raise UserError(" ".join(line.split())) from error
        yield said(clause)


def data_clauses(
    data: Data,
    *,
    batches: int = 2,
    wishes: Mapping[str, Any] | None = None,
    make: Callable[[], Data] | None = None,
) -> Iterator[str]:
    """The clauses that hold for prepared data; see `check_data`."""
    yield from holding(data, OF_DATA, DataCase(data, batches, wishes or {}, make))


def model_clauses(
    model: GenerativeModel,
    data: Data,
    *,
    sampling: Mapping[str, Any] | None = None,
    make: Callable[[], GenerativeModel] | None = None,
) -> Iterator[str]:
    """The clauses that hold for a model of prepared data; see `check_model`."""
    with evaluating(model):
        yield from holding(model, OF_MODEL[:1], ModelCase(model, data, sampling or {}, make))
        yield from holding(model, OF_MODEL[1:], ModelCase(shaken(model), data, sampling or {}, make))


def check_data(
    data: Data,
    *,
    batches: int = 2,
    wishes: Mapping[str, Any] | None = None,
    make: Callable[[], Data] | None = None,
) -> None:
    """UserError where prepared data break a clause of the contract.

    batches: how many of each split are looked at. wishes: words of `request`. make: makes the data anew, as its
        configuration does, so that it is seen whether the state travels; without it the state is told to a copy, which
        knows it already.
    """
    for _ in data_clauses(data, batches=batches, wishes=wishes, make=make):
        pass


def check_model(
    model: GenerativeModel,
    data: Data,
    *,
    sampling: Mapping[str, Any] | None = None,
    make: Callable[[], GenerativeModel] | None = None,
) -> None:
    """UserError where a model of prepared data breaks a clause of the contract. It is left as it was.

    sampling: words of `genzoo sample`. make: makes the model anew; without it, it is not seen whether there is state
        beside parameters and buffers.
    """
    for _ in model_clauses(model, data, sampling=sampling, make=make):
        pass


def cheap_checks(data: Data, model: GenerativeModel) -> None:
    """What can be seen in a moment, before the first step: shape, kind and number of examples, labels, the loss."""
    for _ in holding(data, CHEAP[:2], DataCase(data, 1)):
        pass
    with evaluating(model):
        for _ in holding(model, CHEAP[2:], ModelCase(model, data)):
            pass
