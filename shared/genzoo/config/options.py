"""Options against the signatures that take them: names, types and defaults."""

import importlib
import inspect
import json
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from genzoo.config.explain import did_you_mean
from genzoo.errors import UserError

SCALARS = (str, int, float, bool, type(None))


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
    """UserError for an option that is not among the annotated ones, or has a wrong type. where: what stands before the
    dot of their names, "" where nothing does."""
    for key, value in values.items():
        name = f"{where}.{key}".lstrip(".")
        if key not in hints:
            near = did_you_mean(str(key), list(hints))
            raise UserError(f"unknown key {name}{near}; there are: {', '.join(hints) or 'none'}")
        check_type(value, hints[key], name)


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
    return {name: p.annotation for name, p in arguments(method).items()}


def arguments(method: Any) -> dict[str, inspect.Parameter]:
    """Keyword-only arguments of a method; one without an annotation takes anything."""
    try:
        found = inspect.signature(method, eval_str=True)
    except Exception:  # an annotation with a name that only a type checker knows
        found = inspect.signature(method)
    mine = [p for p in found.parameters.values() if p.kind is p.KEYWORD_ONLY]
    return {p.name: p.replace(annotation=Any) if p.annotation is p.empty else p for p in mine}


def wishes(data: Any, model: Any) -> dict[str, inspect.Parameter]:
    """What a person may ask of samples in words, by the signatures of `data.request` and `model.sample`. Of two with
    one name it is the data's."""
    mine = arguments(data.request)
    return in_words({**mine, **arguments(model.sample), **mine})


def choices(scores: Any) -> dict[str, inspect.Parameter]:
    """What a person may choose of scores, by the signatures of their class."""
    return in_words({**arguments(scores.conditional_metrics), **arguments(scores.metrics)})


def scores_class(data: Any) -> Any:
    """The class of scores that a class of data names."""
    module, _, name = data.scores.rpartition(".")
    return getattr(importlib.import_module(module), name)


def in_words(found: Mapping[str, inspect.Parameter]) -> dict[str, inspect.Parameter]:
    """Those arguments whose values a word can name; tensors and functions are for Python."""
    return {name: p for name, p in found.items() if is_plain(p.annotation)}


def defaults(takes: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    """Values by name, omegaconf's ??? where one must be given."""
    return {name: "???" if p.default is p.empty else p.default for name, p in takes.items()}


def described(takes: Mapping[str, inspect.Parameter], values: Mapping[str, Any], prefix: str) -> list[str]:
    """A line for each option: its name, behind a prefix, its type and its value where none is given."""
    kinds = {name: inspect.formatannotation(p.annotation).replace("collections.abc.", "") for name, p in takes.items()}
    wide, widest = (max(map(len, texts), default=0) for texts in (kinds, kinds.values()))
    return [
        f"{prefix}{name:{wide}}  {kind:{widest}}  {json.dumps(values[name], ensure_ascii=False)}".replace('"???"', "-")
        for name, kind in kinds.items()
    ]


def is_plain(hint: Any) -> bool:
    """Whether all values of a type are numbers, texts, truth values, None, and collections of them."""
    parts = [part for part in typing.get_args(hint) if part is not Ellipsis]
    if typing.get_origin(hint) is typing.Literal or hint in (*SCALARS, Any):
        return True
    collection = typing.get_origin(hint) in (typing.Union, types.UnionType, list, tuple, dict, Sequence, Mapping)
    return hint in (list, tuple, dict) or (collection and all(map(is_plain, parts)))


def is_text(hint: Any) -> bool:
    """Whether a value of a type is text, whatever else than a collection it may be: a number is its digits."""
    kinds = alternatives(hint)
    literal = [kind for kind in kinds if typing.get_origin(kind) is typing.Literal]
    named = all(isinstance(value, str) for kind in literal for value in typing.get_args(kind))
    others = [kind for kind in kinds if kind not in literal]
    return named and (str in others or bool(literal and not others)) and all(kind in SCALARS for kind in others)


def is_texts(hint: Any) -> bool:
    """Whether a value of a type is a list of texts."""
    kinds = alternatives(hint)
    lists = [typing.get_origin(kind) in (list, tuple, Sequence) and is_text(typing.get_args(kind)[0]) for kind in kinds]
    return bool(lists) and all(lists)


def alternatives(hint: Any) -> list[Any]:
    """The types of a union, without None."""
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return [kind for kind in (typing.get_args(hint) if union else (hint,)) if kind is not type(None)]


def optional(hint: Any) -> bool:
    """Whether None is a value of a type."""
    return hint in (None, type(None)) or type(None) in typing.get_args(hint)
