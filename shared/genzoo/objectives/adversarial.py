"""A critic learns to tell data from what the model makes; the model learns to make what the critic takes for data."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from inspect import signature
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, softplus

from genzoo.contract import Batch, Data, GenerativeModel, Loss, Objective, Spec, Verdict
from genzoo.draws import GeneratorNoise

STEP = 0.02
"""Noise by which continuous examples are moved to measure the critic's slope, over their standard deviation."""


class Adversarial(Objective):
    """Critic and model in turn (Goodfellow et al. 2014), with relativistic logistic losses and a penalty on how steep
    the critic is around data and samples, without which the game need not come to rest (Huang et al. 2024, R3GAN).

    spec: of the data. critic: makes the critic from it; called with (examples [B, *shape], label [B] or None), gives a
        score for each, or several [B, S]: places that are judged one by one, and the game is played at each. One with a
        method `adopt` is shown the model before a run begins, to start from its weights.
    weight: of the adversarial part in the model's turn; native: of the model's own loss beside it.
    rate: learning rates of the critic over those of the model: more where a trained model goes on in small steps, and
        the critic, which begins without an opinion, must come after it (Heusel et al. 2017).
    penalty: times the squared slope of the critic, measured by a step: a little noise, or one token replaced. By
        differences it needs no second derivatives, so any critic will do (Lin et al. 2025, Seaweed-APT, sec. 3.3).
    through: how the model is reached. "x_hat": the critic judges the model's estimate of clean data, as in a codec.
        "sample": it judges samples, and the gradient flows back through the sampler. "score": it judges samples, and
        the gradient is the score function's, with the mean of the other samples as baseline (Williams 1992): for models
        of discrete data, and circuits, which have a likelihood. "auto": the first of the three that the model can do.
    sampler: options of the model's sampler for the samples that are judged: {"steps": 2} makes, of a flow, a generator
        of two steps (Lin et al. 2025, Seaweed-APT, sec. 3.1). Sample it with the same ones.
    distil: weight of the squared distance, over the variance of the batch, of a sample from the one that the model as
        it was when the run began makes of the same noise, with the options `teacher` (Luhman & Luhman 2021; with a
        critic: Sauer et al. 2023, ADD, eq. 1). It keeps a generator of few steps on the paths it learned.
    """

    turns = ("critic", "model")

    def __init__(
        self,
        spec: Spec,
        *,
        critic: Callable[[Spec], nn.Module],
        weight: float = 1.0,
        native: float = 1.0,
        rate: float = 1.0,
        penalty: float = 0.2,
        through: Literal["auto", "x_hat", "sample", "score"] = "auto",
        sampler: Mapping[str, Any] | None = None,
        distil: float = 0.0,
        teacher: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if through not in ("auto", "x_hat", "sample", "score"):
            raise ValueError(f"through is auto, x_hat, sample or score, not {through!r}")
        if not rate > 0:
            raise ValueError(f"rate must be above 0, not {rate:g}")
        self.critic = critic(spec)
        self.spec, self.weight, self.native, self.through = spec, weight, native, through
        self.penalty, self.sampler = penalty, dict(sampler or {})
        self.distil, self.teacher = distil, dict(teacher or {})
        self.tunes, self.rates = bool(distil), {"critic": rate}
        self.told: dict[str, Any] = {}

    def check(self, model: GenerativeModel) -> None:
        way = self._way(model)
        if way == "x_hat" and self.sampler:
            raise ValueError("objective.sampler is for samples that are judged: set objective.through=sample")
        if way != "sample" and self.distil:
            raise ValueError(
                "objective.distil needs samples that a gradient flows through: set objective.through=sample"
            )
        known = [p.name for p in signature(model.sample).parameters.values() if p.kind is p.KEYWORD_ONLY]
        for key, options in (("sampler", self.sampler), ("teacher", self.teacher)):
            if unknown := set(options) - set(known):
                raise ValueError(f"unknown key objective.{key}.{min(unknown)}; there are: {', '.join(known)}")
        if hasattr(self.critic, "adopt"):
            self.critic.adopt(model)

    def initialise(self, data: Data) -> None:
        self.told = {"stop": data.stop} if data.stop else {}

    def begin(self, model: GenerativeModel) -> None:
        if self.distil:
            self.start = copy.deepcopy(model).requires_grad_(False).eval()

    def _way(self, model: GenerativeModel) -> str:
        """How this model is reached; ValueError where it cannot be."""
        able = {"x_hat": model.estimates, "sample": model.pathwise, "score": model.scored}
        can = [way for way, yes in able.items() if yes]
        if self.through == "auto" and can:
            return can[0]
        if self.through not in can:
            mend = f"choose {' or '.join(can)}" if can else "choose objective=native"
            raise ValueError(f"objective.through={self.through} cannot reach this model: {mend}")
        return self.through

    def loss(
        self, turn: str, modules: Mapping[str, Callable[..., Any]], batch: Batch, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        model, label = modules["model"], batch.cond.get("label")
        bare = getattr(model, "module", model)  # without the wrapper for several devices
        way = self._way(bare)
        if turn == "critic":
            with torch.no_grad():
                fake = self._fakes(model, bare, way, batch, generator)[0]
            both = torch.cat((self._real(batch).to(fake), fake))
            near, distance = self._near(both, generator)
            labels = None if label is None else label.repeat(4)
            score, near_score = modules["critic"](torch.cat((both, near)), labels).chunk(2)
            real_score, fake_score = score.chunk(2)
            slope = ((near_score - score) / distance).square().mean()
            logs = {"critic_right": (real_score > fake_score).float().mean(), "critic_slope": slope.detach()}
            return softplus(fake_score - real_score).mean() + self.penalty * slope, logs
        same = generator.clone_state() if self.distil else None
        fake, own = self._fakes(model, bare, way, batch, generator)
        with frozen(self.critic):
            score = self.critic(fake, label)
            ahead = score - self.critic(self._real(batch).to(fake), label)
        if way == "score":
            score = score.view(len(score), -1).mean(dim=1)
            advantage = score - (score.sum() - score) / max(1, len(score) - 1)
            with evaluating(bare):
                total = -self.weight * (advantage * model(fake, batch.cond, call="log_prob")).mean()
        else:
            total = self.weight * softplus(-ahead).mean()
        logs = {"fooled": (ahead.detach() > 0).float().mean()}
        if same is not None:
            with torch.no_grad():
                aim = self.start.sample(len(batch), batch.cond, GeneratorNoise(same), **self.teacher)
            apart = (fake - aim).square().mean() / aim.var().clamp(min=1e-8)
            total = total + self.distil * apart
            logs["apart"] = apart.detach()
        if self.native:
            own = own or model(batch, generator)
            total = total + self.native * own.value.mean()
            logs |= {"native": own.value.detach().mean(), **own.logs}
        return total, logs

    def judge(self, numbers: Mapping[str, float]) -> Verdict:
        """Without the model's own loss beside the critic's the latest weights are the best: that loss, which
        validations measure, is not what is lowered."""
        return Verdict(best=None if self.native else True)

    def _real(self, batch: Batch) -> Tensor:
        """The data's examples; those of tokens that end before the shape does are filled up with -1."""
        x, missing = batch.x, prod(self.spec.shape) - batch.x[0].numel()
        return pad(x.flatten(1), (0, missing), value=-1).view(-1, *self.spec.shape) if missing else x

    def _near(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, float]:
        """Examples a small step away, and how long the step is: one token replaced, or a little noise. What follows the
        end of an example stays."""
        if not self.spec.vocab:
            step = max(STEP * float(x.float().std()), 1e-6)
            return x + step * torch.randn(x.shape, device=x.device, generator=generator), step
        flat = x.flatten(1).clone()
        place = torch.randint(flat.shape[1], (len(x), 1), device=x.device, generator=generator)
        other = torch.randint(1, self.spec.vocab, (len(x), 1), device=x.device, generator=generator)
        old = flat.gather(1, place)
        flat.scatter_(1, place, torch.where(old < 0, old, (old + other) % self.spec.vocab))
        return flat.view_as(x), 1.0

    def _fakes(
        self, model: Callable[..., Any], bare: GenerativeModel, way: str, batch: Batch, generator: torch.Generator
    ) -> tuple[Tensor, Loss | None]:
        """What the critic is to judge [B, *shape], and the model's own loss where that gave it."""
        if way == "x_hat":
            own = model(batch, generator)
            return own.x_hat, own
        noise = GeneratorNoise(generator)
        if way == "sample":
            return model(len(batch), batch.cond, noise, call="sample", **self.sampler), None
        with torch.no_grad(), evaluating(bare):
            return bare.sample(len(batch), batch.cond, noise, **self.told | self.sampler).clone(), None


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Gradients flow through the module, and none to its parameters."""
    learning = [p for p in module.parameters() if p.requires_grad]
    for p in learning:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in learning:
            p.requires_grad_(True)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Without dropout: a sample and its likelihood must be of one and the same law."""
    before = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(before)
