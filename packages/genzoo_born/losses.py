"""What a Born machine can minimise, given the probabilities of all strings.

Each is called with (probabilities [N], numbers of the batch's strings [B], generator) and gives [B].
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from genzoo.contract import part
from genzoo.draws import GeneratorNoise
from genzoo_born.hypercube import digits, draw, flip_rate, kernel, smooth

TINY = 1e-12
"""Added to probabilities before the logarithm: a string that cannot come out costs 28 nats and no infinity."""


@part
class Likelihood:
    """-log p(x), nats a string: its mean over the data is the Kullback-Leibler divergence up to their entropy."""

    def __call__(self, probabilities: Tensor, batch: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return -(probabilities[batch] + TINY).log()


@part
class MaximumMeanDiscrepancy:
    """Squared MMD to the batch, whose mean over the batch is unbiased.

    bandwidths: of the Gaussian kernels whose mean is taken, in bits^(1/2).
    shots: None takes the expectation over the circuit's law exactly; a number draws so many strings and takes the
        gradient by the score function, as with a device that can only be measured.
    """

    def __init__(self, *, bandwidths: Sequence[float] = (0.5, 1.0, 2.0), shots: int | None = None) -> None:
        if not bandwidths:
            raise ValueError("bandwidths is empty: give at least one")
        if shots is not None and shots < 2:
            raise ValueError(f"shots must be at least 2, not {shots}; null takes exact probabilities")
        for bandwidth in bandwidths:
            flip_rate(bandwidth)  # refuses what is not positive
        self.bandwidths, self.shots = tuple(bandwidths), shots

    def __call__(self, probabilities: Tensor, batch: Tensor, generator: torch.Generator | None = None) -> Tensor:
        bits = len(probabilities).bit_length() - 1
        if self.shots is None:
            smoothed = smooth(probabilities, self.bandwidths)
            counts = torch.bincount(batch, minlength=len(probabilities)).to(probabilities)
            own = (smooth(counts, self.bandwidths)[batch] - 1) / max(1, len(batch) - 1)
            return probabilities @ smoothed - 2 * smoothed[batch] + own
        numbers = draw(probabilities.detach(), self.shots, GeneratorNoise(generator, probabilities.device))
        x, y = digits(numbers, bits), digits(batch, bits)
        between, count = kernel(x, y, self.bandwidths), self.shots
        others = kernel(x, x, self.bandwidths).sum(1) - 1
        within = others / (count - 1)
        own = (kernel(y, y, self.bandwidths).sum(1) - 1) / max(1, len(batch) - 1)
        # baselines from the other shots alone, so that they move no expectation
        without = (others.sum() - 2 * others) / ((count - 1) * max(1, count - 2))
        attraction = between.mean(1)
        attraction = attraction - (attraction.sum() - attraction) / (count - 1)
        score = (2 * (within - without - attraction) * (probabilities[numbers] + TINY).log()).mean()
        return within.mean() - 2 * between.mean(0) + own + (score - score.detach())
