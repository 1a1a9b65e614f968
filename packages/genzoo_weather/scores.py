"""What is scored of weather: the keyword arguments are keys of `genzoo evaluate`."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from genzoo.contract import Request, Sampler, Scores
from genzoo_weather import metrics
from genzoo_weather.data import WeatherData


class WeatherScores(Scores):
    data: WeatherData

    def metrics(self, samples: Tensor, split: str, request: Request) -> dict[str, Any]:
        """Of samples without a past: how their climate differs from the split's, and the physics of both."""
        rows = self.data.examples(split, most=len(samples))
        return metrics.climate(
            self.data.decode(samples.double()), self.data.decode(rows.x.double()), self.data.variables, self.data.grid
        )

    def conditional_metrics(
        self,
        sample: Sampler,
        split: str,
        *,
        starts: int = 16,
        members: int = 20,
        leads: Sequence[int] = (1, 2, 3, 5),
    ) -> dict[str, Any]:
        """Forecasts from `starts` dates of the split, evenly spread, `members` each, scored after so many steps beside
        climatology, persistence, damped persistence and linear modes."""
        if not starts:
            return {}
        if members < 2 or starts < 0 or not leads or min(leads) < 1:
            raise ValueError("scoring.members must be at least 2, scoring.starts 0 or more, scoring.leads 1 or more")
        return metrics.forecasts(self.data, sample, split, starts=starts, members=members, leads=sorted(set(leads)))
