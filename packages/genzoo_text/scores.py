"""What is scored of text: the keyword arguments are keys of `genzoo evaluate`."""

from typing import Any

import numpy as np
from torch import Tensor

from genzoo.contract import Request, Scores
from genzoo_text import metrics
from genzoo_text.data import TextData


class TextScores(Scores):
    data: TextData

    def metrics(
        self, samples: Tensor, split: str, request: Request, *, ngrams: list[int] | None = None
    ) -> dict[str, Any]:
        """distinct-1..4, and the share of word n-grams copied from the training text, of the samples and, as a floor,
        of as much real text of the split."""
        texts = [self.data._decode(x) for x in samples]
        length = max(1, sum(map(len, texts)) // len(texts))
        real = self.data.text[split]
        places = np.linspace(0, max(0, len(real) - length), len(texts)).astype(int)
        reals = [real[p : p + length] for p in places]
        scores: dict[str, Any] = {}
        for n in (1, 2, 3, 4):
            scores[f"distinct_{n}"] = metrics.distinct(texts, n)
            scores[f"distinct_{n}_real"] = metrics.distinct(reals, n)
        for n in ngrams or [4, 8]:
            known = metrics.word_ngrams(self.data.text["train"], n)
            scores[f"copied_{n}_words"] = metrics.copied(texts, known, n)
            scores[f"copied_{n}_words_real"] = metrics.copied(reals, known, n)
        return scores
