"""Scores of generated text: variety, and copying from the training text."""

import re
from collections.abc import Iterable


def words(text: str) -> list[str]:
    """Words and single punctuation marks, lower case."""
    return re.findall(r"\w+|[^\w\s]", text.lower())


def distinct(texts: Iterable[str], n: int) -> float:
    """Different word n-grams over all word n-grams of all texts together (Li et al. 2016, distinct-n); 0 for none.

    Falls with the amount of text: compare only equal amounts.
    """
    grams = [gram for text in texts for gram in ngrams(text, n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def word_ngrams(text: str, n: int) -> set[tuple[str, ...]]:
    """All word n-grams of a text."""
    return set(ngrams(text, n))


def copied(texts: Iterable[str], known: set[tuple[str, ...]], n: int) -> float:
    """Share of the texts' word n-grams that are among the known ones; 0 where there are none."""
    grams = [gram for text in texts for gram in ngrams(text, n)]
    return sum(gram in known for gram in grams) / len(grams) if grams else 0.0


def ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    w = words(text)
    return [tuple(w[i : i + n]) for i in range(len(w) - n + 1)]
