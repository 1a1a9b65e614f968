"""The contract kit: `check_data` and `check_model` say in one line which clause a class breaks, and how to mend it.

>>> from genzoo.testing import check_data, check_model
>>> check_data(data, make=lambda: Waves(length=64))              # doctest: +SKIP
>>> check_model(model, data, make=lambda: Gaussian(data.spec))   # doctest: +SKIP

`genzoo check PRESET` runs all of it, and training what is cheap, before its first step.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from genzoo.contract import Data, GenerativeModel
from genzoo.errors import UserError
from genzoo.reading import reason
from genzoo.testing.cases import Broken, DataCase, ModelCase, evaluating, shaken
from genzoo.testing.data import OF_DATA, as_many_rows_as_asked, examples_fit_the_spec
from genzoo.testing.model import OF_MODEL, loss_is_of_each_example

__all__ = ["OF_DATA", "OF_MODEL", "cheap_checks", "check_data", "check_model", "data_clauses", "model_clauses", "said"]


def said(clause: Callable[..., None]) -> str:
    """`batch_is_pure` in words."""
    return clause.__name__.replace("_", " ")


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
