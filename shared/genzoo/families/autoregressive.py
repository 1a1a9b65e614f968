"""Autoregressive models: each token given the ones before it.

Legend: B batch, n samples, T tokens, P tokens of the prefix, V vocabulary.
"""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genzoo.contract import Batch, Data, GenerativeModel, Loss, Spec
from genzoo.draws import Noise


class Autoregressive(GenerativeModel):
    """log p(x) = sum_t log p(x_t | x_<t), with any network that gives the logits of the next token.

    spec: `vocab` tokens; `classes` labels, or none.
    net: makes the network from the vocabulary size, and is then called with (tokens [B, T], cond, cache, last) as
        `attention_core.TokenTransformer` is; has `context`, the most tokens it takes, and `make_cache`; and `period`,
        where it tells tokens apart by their place modulo a period (voices, codebooks). Further conditions that
        `spec.context` names are handed to it by their names.
    label_dropout: share of examples trained without their label, so that guidance has something to compare with.

    Where a batch has the condition `prefix` [B, P], x continues it: the prefix is read, not scored. Where it has none,
    x begins with the start token `vocab`, which may also begin a prefix. A label is added to every token's embedding.
    Examples shorter than T are filled up with -1, which is no token and costs nothing.
    """

    def __init__(self, spec: Spec, net: Callable[[int], nn.Module], *, label_dropout: float = 0.1) -> None:
        super().__init__()
        if not spec.vocab:
            raise ValueError("an autoregressive model needs tokens, and this data is continuous: choose model=flow")
        self.spec, self.label_dropout = spec, label_dropout
        self.net = net(spec.vocab)
        books = getattr(self.net, "books", None)
        if books is not None and books != (spec.shape[1] if len(spec.shape) == 2 else 1):
            raise ValueError(
                f"model.net.books={books} must be the tokens of a frame of the data, of shape {spec.shape}"
            )
        if spec.classes:
            self.label = nn.Embedding(spec.classes + 1, self.net.embedding.embedding_dim)  # the last: no label
            nn.init.normal_(self.label.weight, std=0.5)

    def initialise(self, data: Data) -> None:
        """ValueError where an example does not fit the network's context."""
        tokens = torch.Size(self.spec.shape).numel()
        if tokens > self.net.context:
            raise ValueError(
                f"an example has {tokens} tokens, more than net.context={self.net.context}: raise that, or make "
                "examples shorter"
            )
        super().initialise(data)

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> Loss:
        """-log p(x_t | x_<t) in nats a token: the mean over T, or, where examples are filled up, their sum over the
        mean length, so that the mean over the batch is one over its tokens."""
        label = batch.cond.get("label")
        if label is not None and self.training and generator is not None:
            dropped = torch.rand(label.shape, device=label.device, generator=generator) < self.label_dropout
            label = label.masked_fill(dropped, self.spec.classes)
        nats = self._nats(batch.x, {**batch.cond, "label": label})
        length = (batch.x >= 0).sum() / len(batch.x)
        return Loss(nats.sum(dim=1) / length)

    def longest(self, cond: Mapping[str, Tensor]) -> int:
        """Tokens of an example, or as many as fit the context behind this prefix: more would be written without a view
        of the first, and have no likelihood in one piece."""
        before = self._before(1, cond, torch.device("cpu")).shape[1]
        return min(torch.Size(self.spec.shape).numel(), self.net.context + 1 - before)

    def log_prob(self, x: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        return -self._nats(x, cond).sum(dim=1)

    def _nats(self, x: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        """-log p of each token, [B, T]; 0 where there is none."""
        x = x.flatten(1)
        before = self._before(len(x), cond, x.device)
        inputs = torch.cat((before, x[:, :-1].clamp(min=0)), dim=1)
        label = self._labels(len(x), cond.get("label"), 1.0, x.device)
        logits = self.net(inputs, cond=self._embed(label), **self._further(cond))[:, before.shape[1] - 1 :]
        return F.cross_entropy(logits.flatten(0, 1), x.flatten(), ignore_index=-1, reduction="none").view_as(x)

    def _further(self, cond: Mapping[str, Tensor], copies: int = 1) -> dict[str, Tensor]:
        """The conditions that the network itself reads, once for each copy of the rows."""
        names = [name for name in self.spec.context if name != "prefix" and name in cond]
        return {name: cond[name].repeat(copies, *[1] * (cond[name].ndim - 1)) for name in names}

    def _before(self, n: int, cond: Mapping[str, Tensor], device: torch.device) -> Tensor:
        """What stands before x: the prefix, or the start token."""
        prefix = cond.get("prefix")
        if prefix is not None and prefix.shape[1]:
            return prefix
        return torch.full((n, 1), self.spec.vocab, device=device)

    def _embed(self, label: Tensor | None) -> Tensor | None:
        return None if label is None else self.label(label)

    def sample(
        self,
        n: int,
        cond: Mapping[str, Tensor],
        noise: Noise,
        *,
        length: int | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        guidance: float = 1.0,
        stop: Callable[[Tensor], Tensor] | None = None,
        given: Tensor | None = None,
        cache: bool = True,
    ) -> Tensor:
        """Tokens [n, length] that follow the prefix, or [n, *spec.shape] where no length is given.

        The keyword arguments are those of `stream`. After `stop`, a sample is filled up with -1.
        """
        shape = self.spec.shape if length is None else (length,)
        stream = self.stream(
            n,
            cond,
            noise,
            length=length,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            guidance=guidance,
            stop=stop,
            given=given,
            cache=cache,
        )
        tokens = torch.stack(list(stream), dim=1)
        if tokens.shape[1] < torch.Size(shape).numel():
            tokens = F.pad(tokens, (0, torch.Size(shape).numel() - tokens.shape[1]), value=-1)
        return tokens.view(n, *shape)

    @torch.inference_mode()
    def stream(
        self,
        n: int,
        cond: Mapping[str, Tensor],
        noise: Noise,
        *,
        length: int | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        guidance: float = 1.0,
        stop: Callable[[Tensor], Tensor] | None = None,
        given: Tensor | None = None,
        cache: bool = True,
    ) -> Iterator[Tensor]:
        """The next tokens [n], one time step after another.

        length: how many; default as many as an example has.
        temperature: logits are divided by it; 0 takes the likeliest token.
        top_k: only the k likeliest tokens.
        top_p: only the likeliest tokens whose probabilities sum to p (Holtzman et al. 2020).
        min_p: only tokens at least min_p times as likely as the likeliest (Nguyen et al. 2024).
        guidance: logits = unlabelled + guidance (labelled - unlabelled); 1 is plain sampling (Ho & Salimans 2022).
        stop: called with the tokens so far [n, t]; says which samples are done [n]. They go on as -1.
        given: tokens that are not drawn but taken [n, length], -1 where the model is free (a melody to harmonise).
        cache: keep keys and values. Without it the same tokens come out, slowly: for tests.

        Past the context the older half is forgotten and the memory rebuilt from the newer half, so that the network
        always sees what it was trained on: half a context at least, a whole one at most (to whole periods of the net).
        """
        device, net, context = noise.device, self.net, self.net.context
        length = torch.Size(self.spec.shape).numel() if length is None else length
        if length < 1:
            raise ValueError(f"length must be at least 1, not {length}")
        if given is not None and given.shape != (n, length):
            raise ValueError(f"given must have the shape {(n, length)}, not {tuple(given.shape)}")
        label = self._labels(n, cond.get("label"), guidance, device)
        copies = 1 if label is None else len(label) // n
        extra, further = self._embed(label), self._further(cond, copies)
        seen = self._newer(self._before(n, cond, device))
        memory = net.make_cache() if cache else None
        fresh, done = seen, torch.zeros(n, dtype=torch.bool, device=device)
        said = None if stop is None else torch.full((n, length), -1, device=device)
        for t in range(length):
            inputs = fresh if memory is not None else seen
            logits = net(inputs.repeat(copies, 1), cond=extra, cache=memory, last=True, **further)[:, -1]
            if copies == 2:
                labelled, unlabelled = logits.chunk(2)
                logits = unlabelled + guidance * (labelled - unlabelled)
            token = pick(logits, noise, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
            if given is not None:
                token = torch.where(given[:, t] >= 0, given[:, t].to(token), token)
            shown = token.masked_fill(done, -1)
            yield shown
            if said is not None:
                said[:, t] = shown
                done = done | stop(said[:, : t + 1])
                if done.all():
                    return
            fresh = token[:, None]
            seen = torch.cat((seen, fresh), dim=1)
            if seen.shape[1] > context:
                seen = self._newer(seen)
                if memory is not None:
                    memory.clear()
                    fresh = seen

    def _newer(self, seen: Tensor) -> Tensor:
        """The newer half of a context, from the start of a period, where tokens [n, T] are more than a context."""
        context, period = self.net.context, getattr(self.net, "period", 1)
        if seen.shape[1] <= context:
            return seen
        gone = seen.shape[1] - max(1, context // 2)
        return seen[:, -(-gone // period) * period :]

    def _labels(self, n: int, label: Tensor | None, guidance: float, device: torch.device) -> Tensor | None:
        """Labels of the rows the network is to see: [n], or [2 n] with unlabelled twins where guidance needs them."""
        if not self.spec.classes:
            return None
        none = torch.full((n,), self.spec.classes, device=device)
        if label is None:
            return none
        return label if guidance == 1.0 else torch.cat((label, none))


def pick(
    logits: Tensor,
    noise: Noise,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
) -> Tensor:
    """One token for each row of logits [n, V]; see `Autoregressive.stream`. ValueError for options out of range."""
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature must be 0 (the likeliest token) or more, not {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, not {top_k}; leave it out to allow every token")
    for name, value in (("top_p", top_p), ("min_p", min_p)):
        if value is not None and not 0 < value <= 1:
            raise ValueError(f"{name} must lie in (0, 1], not {value}")
    if temperature == 0:
        return logits.argmax(dim=-1)
    logits = logits / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        logits = logits.masked_fill(logits < logits.topk(top_k, dim=-1).values[:, -1:], -torch.inf)
    if min_p is not None:
        allowed = logits >= logits.amax(dim=-1, keepdim=True) + torch.tensor(min_p).log().to(logits)
        logits = logits.masked_fill(~allowed, -torch.inf)
    if top_p is not None and top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True)
        probability = ordered.softmax(dim=-1)
        beyond = probability.cumsum(dim=-1) - probability >= top_p  # the first is always kept
        logits = logits.masked_fill(beyond.scatter(-1, order, beyond), -torch.inf)
    return noise.choose(logits.softmax(dim=-1))
