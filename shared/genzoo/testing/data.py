"""The clauses of data, one function each: `Broken` where one does not hold."""

import json
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor

from genzoo.contract import Data, Request
from genzoo.testing.cases import (
    DRAW,
    SIZE,
    Broken,
    DataCase,
    global_seed,
    look_at,
    look_at_cond,
    same,
    same_batch,
    same_tensors,
)


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
