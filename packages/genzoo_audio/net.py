"""Networks of audio.

Legend: B batch, T samples, C width, K samples looked back.
"""

import torch
from torch import Tensor, nn

from attention_core import LayerCache


class SampleEmbedding(nn.Module):
    """Mu-law samples as vectors: a table for the last one, and linear maps of the values of the last K, companded and
    as they are (the latter is what a linear predictor sees): tokens [B, T] -> [B, T, C].

    tokens: different tokens; the first 256 are mu-law levels, others (end, start) count as silence.
    taps: samples looked back K.
    """

    def __init__(self, tokens: int, dim: int, *, taps: int = 32) -> None:
        super().__init__()
        self.embedding_dim, self.taps = dim, taps
        self.table = nn.Embedding(tokens, dim)
        self.to_dim = nn.Linear(2 * taps, dim, bias=False)
        nn.init.normal_(self.table.weight, std=0.8)
        levels = torch.arange(256) / 127.5 - 1
        companded = torch.cat((levels, torch.zeros(tokens - 256)))
        linear = companded.sign() * ((companded.abs() * torch.tensor(256.0).log()).exp() - 1) / 255
        self.register_buffer("values_t2", torch.stack((companded * 4, linear * 8), dim=1), persistent=False)

    def forward(self, tokens: Tensor, *, cache: LayerCache | None = None) -> Tensor:
        values_bt2 = self.values_t2[tokens]
        past = self.taps - 1
        padded = (
            nn.functional.pad(values_bt2, (0, 0, past, 0))
            if cache is None
            else cache.with_tail("values", values_bt2, past)
        )
        looked = padded.unfold(1, self.taps, 1).flatten(2)
        return self.table(tokens) + self.to_dim(looked)
