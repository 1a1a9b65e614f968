"""Rewards of texts, and what is watched beside them. Functions (tokens [n, T], data, cond) -> one number for each."""

import ast
import functools
import re
import warnings
from collections.abc import Mapping
from itertools import pairwise

from torch import Tensor

from genzoo.contract import part
from genzoo.errors import UserError
from genzoo_text import metrics
from genzoo_text.data import TextData


def texts(x: Tensor, data: TextData) -> list[str]:
    return [data.text_of(row) for row in x.cpu()]


def tree(text: str, *, whole: bool = False) -> ast.Module | None:
    """Of the whole lines of a text (of all of it); None where they are no Python, or no statement."""
    code = text if whole else text.rpartition("\n")[0]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes in strings
            found = ast.parse(code)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    return found if found.body else None


@part
def parses(x: Tensor, data: TextData, cond: Mapping[str, Tensor], *, whole: bool = False) -> list[float]:
    """1 where the lines of a sample, without the last, which its end cuts (whole: with it), parse as Python and are
    more than comments, else 0."""
    return [float(tree(text, whole=whole) is not None) for text in texts(x, data)]


@part
def part_that_parses(x: Tensor, data: TextData, cond: Mapping[str, Tensor]) -> list[float]:
    """How much of the lines of a sample, without the last, is the longest beginning that parses as Python and is more
    than comments, as a share of the sample: where few samples parse, others come near."""
    found = []
    for text in texts(x, data):
        lines = text.split("\n")[:-1]
        begun = ("\n".join(lines[:count]) + "\n" for count in range(len(lines), 0, -1))
        found.append(next((len(part) for part in begun if tree(part) is not None), 0) / max(1, len(text)))
    return found


@part
def kinds_of_code(x: Tensor, data: TextData, cond: Mapping[str, Tensor], *, whole: bool = False) -> list[float]:
    """How many kinds of statements and expressions the lines have, 0 where they do not parse: what parses because
    there is nothing in it has few."""
    trees = [tree(text, whole=whole) for text in texts(x, data)]
    return [0.0 if t is None else float(len({type(node) for node in ast.walk(t)})) for t in trees]


@part
def line_length(x: Tensor, data: TextData, cond: Mapping[str, Tensor], *, width: int = 40) -> list[float]:
    """Minus the mean distance of the lines' lengths from `width`, over `width`; of all lines but the first and the
    last, which the sample's ends cut, where there are more."""
    if width < 1:
        raise UserError(f"reward.function.width must be at least 1, not {width}")
    found = []
    for text in texts(x, data):
        lines = text.split("\n")
        lines = lines[1:-1] if len(lines) > 2 else lines
        found.append(-sum(abs(len(line) - width) for line in lines) / len(lines) / width)
    return found


@part
def rhyme(x: Tensor, data: TextData, cond: Mapping[str, Tensor], *, letters: int = 2) -> list[float]:
    """The share of lines whose last word ends with the same letters as that of the line before or after, and is
    another word; lines without words do not count, nor the last, which the sample's end cuts."""
    if letters < 1:
        raise UserError(f"reward.function.letters must be at least 1, not {letters}")
    found = []
    for text in texts(x, data):
        ends = [words[-1] for line in text.split("\n")[:-1] if (words := re.findall(r"[^\W\d_]+", line.lower()))]
        pairs = [
            a != b and len(min(a, b, key=len)) >= letters and a[-letters:] == b[-letters:] for a, b in pairwise(ends)
        ]
        rhymes = [i for i, yes in enumerate(pairs) if yes]
        found.append(len({j for i in rhymes for j in (i, i + 1)}) / max(1, len(ends)))
    return found


@part
def known_words(x: Tensor, data: TextData, cond: Mapping[str, Tensor]) -> list[float]:
    """The share of words that occur in the training text, without the first and the last, which the ends cut."""
    known, found = vocabulary(data.text["train"]), []
    for text in texts(x, data):
        words = metrics.words(text)[1:-1]
        found.append(sum(word in known for word in words) / max(1, len(words)))
    return found


@functools.lru_cache(maxsize=1)
def vocabulary(text: str) -> set[str]:
    return set(metrics.words(text))
