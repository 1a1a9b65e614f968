"""Options against the signatures that take them: names and types."""

import inspect
from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from genzoo.config.explain import did_you_mean
from genzoo.errors import UserError


def check_type(value: Any, hint: Any, where: str) -> None:
    """UserError where a plain value does not fit a type annotation. Integers pass as floats."""
    try:
        adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    except Exception:  # an annotation that pydantic cannot read: nothing to check against
        return
    try:
        adapter.validate_python(value, strict=None)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{where}={value}: {first['msg'][0].lower()}{first['msg'][1:]}") from None


def check_options(values: Mapping[str, Any], hints: Mapping[str, Any], where: str) -> None:
    """UserError for an option that is not among the annotated ones, or has a wrong type."""
    for key, value in values.items():
        if key not in hints:
            raise UserError(f"unknown key {where}.{key}{did_you_mean(key, list(hints))}; there are: {', '.join(hints)}")
        check_type(value, hints[key], f"{where}.{key}")


def split_options(model: Any, data: Any, options: Mapping[str, Any]) -> tuple[dict, dict]:
    """Sorts sampling options into those of `data.request` and those of `model.sample`, and checks their types."""
    owners = [keywords(data.request), keywords(model.sample)]
    found: tuple[dict, dict] = ({}, {})
    for key, value in options.items():
        for owner, mine in zip(owners, found, strict=True):
            if key in owner:
                check_type(value, owner[key], key)
                mine[key] = value
                break
        else:
            known = [*owners[0], *owners[1]]
            raise UserError(f"unknown option {key}{did_you_mean(key, known)}; there are: {', '.join(known)}")
    return found


def keywords(method: Any) -> dict[str, Any]:
    """Keyword-only arguments of a method with their annotations."""
    parameters = inspect.signature(method).parameters.values()
    return {p.name: p.annotation for p in parameters if p.kind is p.KEYWORD_ONLY}
