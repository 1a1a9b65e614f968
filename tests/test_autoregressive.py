"""Autoregressive models: the likelihood is a probability, and samples follow it.

Legend: V vocabulary, T tokens, P tokens of the prefix, n samples.
"""

import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional as F

from attention_core import TokenTransformer
from genzoo.contract import Batch, Spec
from genzoo.draws import GeneratorNoise
from genzoo.families import Autoregressive
from genzoo.families.autoregressive import pick


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(seed: int = 0) -> GeneratorNoise:
    return GeneratorNoise(seeded(seed))


class Bigram(nn.Module):
    """A network with a closed form: the logits are a row of a table, chosen by the last token, plus the condition.

    It writes down the tokens and the conditions it is given.
    """

    def __init__(self, vocab: int, context: int = 64) -> None:
        super().__init__()
        self.context = context
        self.embedding = nn.Embedding(vocab + 1, vocab)  # row V: after the start token
        self.tokens: list[Tensor] = []
        self.conds: list[Tensor | None] = []

    def make_cache(self) -> SimpleNamespace:
        return SimpleNamespace(clear=lambda: None)

    def forward(
        self, tokens: Tensor, *, cond: Tensor | None = None, cache: object = None, last: bool = False
    ) -> Tensor:
        if tokens.shape[1] > self.context:
            raise ValueError("longer than the context")
        self.tokens.append(tokens.clone())
        self.conds.append(cond)
        logits = self.embedding(tokens)
        if cond is not None:
            logits = logits + cond[:, None]
        return logits[:, -1:] if last else logits


def bigram(vocab: int = 5, *, length: int = 4, classes: int = 0, context: int = 64, **options: float) -> Autoregressive:
    torch.manual_seed(0)
    return Autoregressive(Spec((length,), vocab, classes), lambda v: Bigram(v, context), **options)


def transformer(
    vocab: int = 5, *, shape: tuple[int, ...] = (4,), classes: int = 0, context: int = 8, **net: object
) -> Autoregressive:
    """A small transformer with large random float64 weights, so that nothing starts at zero and no two logits tie."""
    options = {"depth": 2, "heads": 2, **net}
    model = Autoregressive(Spec(shape, vocab, classes), lambda v: TokenTransformer(v, 16, context=context, **options))
    model.double().eval()
    generator = seeded(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.4, generator=generator)
    return model


def all_strings(vocab: int, length: int) -> Tensor:
    return torch.tensor(list(itertools.product(range(vocab), repeat=length)))


CONDITIONS = {
    "nothing": {},
    "prefix": {"prefix": torch.tensor([2, 0, 1])},
    "empty prefix": {"prefix": torch.tensor([], dtype=torch.long)},
    "label": {"label": torch.tensor(1)},
    "label and prefix": {"label": torch.tensor(0), "prefix": torch.tensor([1])},
}


def rows_of(name: str, n: int) -> dict[str, Tensor]:
    return {key: value.expand(n, *value.shape) for key, value in CONDITIONS[name].items()}


# The likelihood


@pytest.mark.parametrize("name", CONDITIONS)
def test_loss_is_cross_entropy(name):
    """The loss is the mean of -log softmax of each token, given only the tokens before it, worked out one by one."""
    model = transformer(classes=2 if "label" in name else 0)
    x, cond = torch.randint(5, (3, 4), generator=seeded()), rows_of(name, 3)
    want = torch.zeros(3, dtype=torch.float64)
    for row in range(3):
        prefix = cond["prefix"][row].tolist() if "prefix" in cond else []
        before = prefix or [5]  # the start token
        extra = model.label.weight[cond["label"][row]][None] if "label" in cond else None
        for t in range(4):
            logits = model.net(torch.tensor([before + x[row, :t].tolist()]), cond=extra)[0, -1]
            want[row] -= (logits[x[row, t]] - logits.exp().sum().log()) / 4
    out = model.loss(Batch(x, cond), seeded())
    torch.testing.assert_close(out.value.double(), want, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model.log_prob(x, cond).double(), -4 * want, rtol=1e-5, atol=1e-6)
    assert out.x_hat is None
    assert torch.equal(model(Batch(x, cond), seeded()).value, out.value), "forward is the loss"


@pytest.mark.parametrize("name", CONDITIONS)
def test_probabilities_sum_to_one(name):
    """Over all strings of a small vocabulary and length, the probabilities add up to 1."""
    model = transformer(3, classes=2 if "label" in name else 0)
    strings = all_strings(3, 4)
    with torch.no_grad():
        log_prob = model.log_prob(strings, rows_of(name, len(strings)))
    assert log_prob.exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert log_prob.std() > 0.5, "a model that has an opinion"


def test_label_is_added_to_every_token():
    """With a table for a network, log p(x | label) has a closed form."""
    model = bigram(3, classes=2)
    x, label = all_strings(3, 4), torch.arange(81) % 2
    table, labels = model.net.embedding.weight.detach().double(), model.label.weight.detach().double()
    want = torch.zeros(81, dtype=torch.float64)
    for row in range(81):
        before = 3
        for token in x[row].tolist():
            want[row] += (table[before] + labels[label[row]]).log_softmax(0)[token]
            before = token
    torch.testing.assert_close(model.log_prob(x, {"label": label}).double(), want, rtol=1e-5, atol=1e-5)


def test_axes_are_read_in_order():
    """An example of several axes is scored as its tokens in row-major order, and sampled in its own shape."""
    grid, line = transformer(shape=(2, 3)), transformer(shape=(6,))
    x = torch.randint(5, (4, 2, 3), generator=seeded())
    assert torch.equal(grid.log_prob(x, {}), line.log_prob(x.view(4, 6), {}))
    samples = grid.sample(4, {}, drawn())
    assert samples.shape == (4, 2, 3)
    assert torch.equal(samples.view(4, 6), line.sample(4, {}, drawn()))


def test_too_long_a_text_is_refused():
    """Prefix and text together must fit into the context."""
    model = transformer(context=8)
    x = torch.zeros(1, 5, dtype=torch.long)
    assert model.log_prob(x, {"prefix": x[:, :4]}).isfinite().all()  # 4 + 5 - 1 = 8 tokens are read
    with pytest.raises(ValueError, match="longer than the context of 8"):
        model.log_prob(x, {"prefix": x})


@pytest.mark.parametrize(("prefix", "longest"), [(0, 6), (1, 6), (3, 6), (4, 5), (8, 1)])
def test_longest(prefix, longest):
    """So many tokens after a prefix have a likelihood in one piece, and one more has none."""
    model = transformer(shape=(6,), context=8)
    cond = {"prefix": torch.zeros(1, prefix, dtype=torch.long)}
    assert model.longest(cond) == longest
    assert model.log_prob(torch.zeros(1, longest, dtype=torch.long), cond).isfinite().all()
    if longest < 6:
        with pytest.raises(ValueError, match="longer than the context of 8"):
            model.log_prob(torch.zeros(1, longest + 1, dtype=torch.long), cond)


def test_label_dropout():
    """While training, the generator decides which labels are hidden, in the given share; otherwise none is."""
    model = bigram(3, classes=2, label_dropout=0.25)
    with torch.no_grad():
        model.label.weight.copy_(torch.tensor([[0.0], [1.0], [2.0]]).expand(3, 3))  # so that the net's input tells
    batch = Batch(torch.zeros(4000, 4, dtype=torch.long), {"label": torch.arange(4000) % 2})

    def seen(generator: torch.Generator | None) -> Tensor:
        model.loss(batch, generator)
        return model.net.conds[-1][:, 0].long()

    given = batch.cond["label"]
    first, again, other = seen(seeded(1)), seen(seeded(1)), seen(seeded(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    hidden = first == 2
    assert torch.equal(first[~hidden], given[~hidden])
    assert hidden.double().mean().item() == pytest.approx(0.25, abs=0.03)
    assert hidden[given == 1].double().mean().item() == pytest.approx(0.25, abs=0.04), "both labels alike"
    assert torch.equal(batch.cond["label"], torch.arange(4000) % 2), "the batch itself is left alone"
    model.eval()
    assert torch.equal(seen(seeded(1)), given)


@pytest.mark.parametrize(("share", "label"), [(0.0, 1), (1.0, 2)])
def test_label_dropout_at_its_ends(share, label):
    """A share of 0 hides no label, a share of 1 hides all."""
    model = bigram(3, classes=2, label_dropout=share)
    model.loss(Batch(torch.zeros(50, 4, dtype=torch.long), {"label": torch.ones(50, dtype=torch.long)}), seeded())
    assert torch.equal(model.net.conds[-1], model.label.weight[label].expand(50, 3))


def test_without_a_label_log_prob_scores_what_sample_draws():
    """A model with labels that is given none samples as one without a label; log_prob must score that same law."""
    model = bigram(4, length=1, classes=2)
    with torch.no_grad():
        model.label.weight[2].copy_(torch.tensor([3.0, 0.0, 0.0, -3.0]))
    n = 20_000
    counted = model.sample(n, {}, drawn())[:, 0].bincount(minlength=4) / n
    scored = model.log_prob(torch.arange(4)[:, None], {}).exp().detach()
    torch.testing.assert_close(counted, scored, rtol=0, atol=0.02)


def test_continuous_data_is_refused():
    """Without a vocabulary the error names the family that fits."""
    with pytest.raises(ValueError, match="model=flow"):
        Autoregressive(Spec((4,)), Bigram)


# Samples follow the likelihood


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_one_token_follows_the_softmax(temperature):
    """Frequencies of the first token against softmax(logits / temperature): a chi-square test at a fixed seed."""
    model, n = bigram(5, length=1), 20_000
    counts = model.sample(n, {}, drawn(), temperature=temperature)[:, 0].bincount(minlength=5)
    want = (model.net.embedding.weight[5].detach().double() / temperature).softmax(0)
    assert stats.chisquare(counts.numpy(), (n * want).numpy()).pvalue > 0.01


@pytest.mark.parametrize("name", CONDITIONS)
def test_strings_follow_log_prob(name):
    """Frequencies of whole strings against exp(log_prob) of the same model: a chi-square test at a fixed seed."""
    model, n = transformer(3, shape=(3,), classes=2 if "label" in name else 0), 10_000
    samples = model.sample(n, rows_of(name, n), drawn())
    counts = (samples * torch.tensor([9, 3, 1])).sum(dim=1).bincount(minlength=27)
    with torch.no_grad():
        want = model.log_prob(all_strings(3, 3), rows_of(name, 27)).double().exp()
    rare = n * want < 5  # too few for the chi-square law: taken together
    together = [torch.cat((z[~rare], z[rare].sum()[None])) for z in (counts.double(), n * want)]
    seen, due = (z[together[1] > 0] for z in together)
    assert stats.chisquare(seen.numpy(), (due * (n / due.sum())).numpy()).pvalue > 0.01


@pytest.mark.parametrize("guidance", [0.0, 0.5, 3.0])
def test_guidance_formula(guidance):
    """Frequencies against softmax(unlabelled + guidance (labelled - unlabelled)), written out."""
    model, n = bigram(4, length=1, classes=2), 20_000
    samples = model.sample(n, {"label": torch.ones(n, dtype=torch.long)}, drawn(), guidance=guidance)
    table, label = model.net.embedding.weight[4].detach().double(), model.label.weight.detach().double()
    want = (table + label[2] + guidance * (label[1] - label[2])).softmax(0)
    assert stats.chisquare(samples[:, 0].bincount(minlength=4).numpy(), (n * want).numpy()).pvalue > 0.01


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_guidance_of_one_is_plain(temperature):
    """Guidance that is 1 but for rounding goes the long way, through both halves, to the plain sample."""
    model = transformer(shape=(20,), classes=3)
    label, options = {"label": torch.tensor([0, 1, 2, 1])}, {"temperature": temperature}
    plain = model.sample(4, label, drawn(), **options)
    assert torch.equal(model.sample(4, label, drawn(), guidance=1.0, **options), plain)
    assert torch.equal(model.sample(4, label, drawn(), guidance=1 + 1e-12, **options), plain)
    unlabelled = model.sample(4, {}, drawn(), **options)
    assert torch.equal(model.sample(4, label, drawn(), guidance=0.0, **options), unlabelled)
    assert not torch.equal(plain, unlabelled)


def test_policy_gradient_through_a_sample():
    """A sample can be scored and the score differentiated: it is made in inference mode, and does not stay in it."""
    model = bigram(5)
    model.log_prob(model.sample(3, {}, drawn()), {}).sum().backward()
    assert model.net.embedding.weight.grad.abs().sum() > 0


# The memory and the context

NETS = {
    "plain": {},
    "no convolutions": {"taps": None},
    "window and shared keys": {"window": 3, "kv_heads": 1, "depth": 3},
}


def naive_greedy(model: Autoregressive, prefix: list[int], length: int, label: int | None) -> list[int]:
    """Second implementation: one row, no memory; past the context only the newer half is kept."""
    context, seen, out = model.net.context, list(prefix), []
    extra = None if label is None else model.label.weight[label][None]
    for _ in range(length):
        if len(seen) > context:
            seen = seen[-(context // 2) :]
        out.append(model.net(torch.tensor([seen]), cond=extra)[0, -1].argmax().item())
        seen.append(out[-1])
    return out


@pytest.mark.parametrize(("before", "n"), [(0, 1), (0, 3), (3, 2), (8, 3), (9, 2), (21, 3)])
@pytest.mark.parametrize("net", NETS)
def test_cache_changes_nothing(net, before, n):
    """Greedy decoding with and without the cache, and by a plain loop, token for token, far past the context."""
    model = transformer(7, context=8, **NETS[net])
    prefix = torch.randint(7, (n, before), generator=seeded())
    options = {"length": 29, "temperature": 0.0}
    with_cache = model.sample(n, {"prefix": prefix}, drawn(), **options)
    assert torch.equal(with_cache, model.sample(n, {"prefix": prefix}, drawn(), cache=False, **options))
    for row in range(n):
        want = naive_greedy(model, prefix[row].tolist() or [7], 29, None)
        assert with_cache[row].tolist() == want
    assert len(set(with_cache.flatten().tolist())) > 2, "not one token over and over"


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_cache_changes_nothing_with_labels(guidance):
    """The same with labels, with and without guidance, and for the draws of a temperature."""
    model = transformer(7, classes=2, context=8)
    cond = {"label": torch.tensor([0, 1, 0]), "prefix": torch.randint(7, (3, 2), generator=seeded())}
    for temperature in (0.0, 1.0):
        options = {"length": 29, "temperature": temperature, "guidance": guidance}
        want = model.sample(3, cond, drawn(), cache=False, **options)
        assert torch.equal(model.sample(3, cond, drawn(), **options), want)
    if guidance == 1.0:
        greedy = model.sample(3, cond, drawn(), length=29, temperature=0.0)
        for row in range(3):
            assert greedy[row].tolist() == naive_greedy(model, cond["prefix"][row].tolist(), 29, cond["label"][row])


@pytest.mark.parametrize("context", [1, 2, 5, 8])
@pytest.mark.parametrize("before", [1, 11])
def test_network_sees_half_a_context_or_more(before, context):
    """The network is always given the newest tokens: never more than a context, and once there are enough of them
    never less than half of one."""
    model = bigram(5, context=context)
    prefix = torch.randint(5, (2, before), generator=seeded())
    out = model.sample(2, {"prefix": prefix}, drawn(), length=30, cache=False)
    whole = torch.cat((prefix, out), dim=1)
    assert len(model.net.tokens) == 30
    for step, seen in enumerate(model.net.tokens):
        known = whole[:, : before + step]
        assert torch.equal(seen, known[:, known.shape[1] - seen.shape[1] :])
        assert min(known.shape[1], max(1, context // 2)) <= seen.shape[1] <= context


def test_long_prompt_counts_by_its_end():
    """Of a prompt longer than the context the last half a context is read."""
    model = transformer(7, context=8)
    prompt = torch.randint(7, (2, 30), generator=seeded())
    want = model.sample(2, {"prefix": prompt[:, -4:]}, drawn(), length=20)
    assert torch.equal(model.sample(2, {"prefix": prompt}, drawn(), length=20), want)
    other = prompt.clone()
    other[:, -1] = (other[:, -1] + 1) % 7
    assert not torch.equal(model.sample(2, {"prefix": other}, drawn(), length=20), want)


# Options of the sampler


def reference(
    logits: list[float], temperature: float, top_k: int | None, top_p: float | None, min_p: float | None
) -> list[float]:
    """The law that `pick` draws from, in plain Python: temperature, then top_k, min_p, top_p."""
    weights = [math.exp((z - max(logits)) / temperature) for z in logits]
    order = sorted(range(len(logits)), key=lambda i: -weights[i])
    kept = order[:top_k] if top_k else order
    kept = [i for i in kept if weights[i] >= (min_p or 0) * weights[order[0]]]
    if top_p is not None:
        total, mass, short = sum(weights[i] for i in kept), 0.0, []
        for i in kept:
            if mass >= top_p:
                break
            short.append(i)
            mass += weights[i] / total
        kept = short
    total = sum(weights[i] for i in kept)
    return [weights[i] / total if i in kept else 0.0 for i in range(len(logits))]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.7},
        {"top_k": 3},
        {"top_k": 1},
        {"top_k": 100},
        {"top_p": 0.6},
        {"top_p": 1e-9},
        {"top_p": 1.0},
        {"min_p": 0.3},
        {"min_p": 1.0},
        {"top_p": 0.8, "temperature": 1.7},
        {"min_p": 0.1, "temperature": 0.5},
        {"top_k": 4, "top_p": 0.7, "min_p": 0.15, "temperature": 1.3},
    ],
    ids=str,
)
def test_pick_against_a_naive_one(options):
    """On random logits: tokens that the options forbid never come, the others in the right share (5 sigma)."""
    logits, draws = torch.randn(12, 8, generator=seeded()) * 1.5, 4000
    tokens = pick(logits.repeat_interleave(draws, dim=0), drawn(), **options).view(12, draws)
    options = {"temperature": 1.0, "top_k": None, "top_p": None, "min_p": None, **options}
    for row in range(12):
        want = torch.tensor(reference(logits[row].double().tolist(), **options), dtype=torch.float64)
        share = tokens[row].bincount(minlength=8).double() / draws
        assert (share[want == 0] == 0).all()
        assert ((share - want).abs() <= 5 * (want * (1 - want) / draws).sqrt() + 1e-12).all()


def test_options_together_are_not_each_alone():
    """top_p counts what top_k has left: of 0.4, 0.3, 0.2, 0.1 the first two are 4/7 and 3/7, and 4/7 reaches 0.5."""
    logits = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log().expand(2000, 4)
    assert pick(logits, drawn(), top_p=0.5).unique().tolist() == [0, 1]
    assert pick(logits, drawn(), top_p=0.5, top_k=2).unique().tolist() == [0]


def test_temperature_zero_is_the_likeliest():
    """Whatever the generator says, and without asking it."""
    logits, generator = torch.randn(50, 8, generator=seeded()), seeded(3)
    assert torch.equal(pick(logits, generator, temperature=0), logits.argmax(dim=1))
    assert torch.equal(generator.get_state(), seeded(3).get_state())
    model = transformer(shape=(20,))
    assert torch.equal(model.sample(3, {}, drawn(1), temperature=0.0), model.sample(3, {}, drawn(2), temperature=0.0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -0.1}, "temperature must be 0 .* not -0.1"),
        ({"top_k": 0}, "top_k must be at least 1, not 0"),
        ({"top_p": 0.0}, r"top_p must lie in \(0, 1\], not 0.0"),
        ({"top_p": 1.1}, r"top_p must lie in \(0, 1\], not 1.1"),
        ({"min_p": -0.2}, r"min_p must lie in \(0, 1\], not -0.2"),
        ({"min_p": 2.0, "temperature": 0.0}, r"min_p must lie in \(0, 1\], not 2.0"),
        ({"length": 0}, "length must be at least 1, not 0"),
    ],
)
def test_options_out_of_range(options, message):
    """Each is refused by a line that names it."""
    with pytest.raises(ValueError, match=message):
        bigram().sample(2, {}, drawn(), **options)


def test_rows_do_not_see_each_other():
    """At one seed and one n, a row depends on its own conditions only."""
    model = transformer(shape=(20,), classes=2)
    cond = {"prefix": torch.tensor([[0, 1], [2, 3], [4, 0]]), "label": torch.tensor([0, 1, 0])}
    other = {"prefix": torch.tensor([[0, 1], [3, 3], [4, 0]]), "label": torch.tensor([0, 0, 0])}
    first, second = model.sample(3, cond, drawn()), model.sample(3, other, drawn())
    assert torch.equal(first[[0, 2]], second[[0, 2]])
    assert not torch.equal(first[1], second[1])


def test_stream_is_the_sample():
    """The stream gives the columns of the sample, one at a time."""
    model = transformer(shape=(20,))
    columns = list(model.stream(3, {}, drawn()))
    assert torch.equal(torch.stack(columns, dim=1), model.sample(3, {}, drawn()))
    assert len(list(model.stream(3, {}, drawn(), length=7))) == 7


def test_stop_ends_each_sample_by_itself():
    """A row is the unstopped one up to its stop, and -1 after it; the others go on as if nothing had happened."""
    model, asked = transformer(shape=(20,)), []
    free = model.sample(6, {}, drawn())

    def stop(tokens: Tensor) -> Tensor:
        asked.append(tokens.clone())
        return tokens[:, -1] == 3

    stopped = model.sample(6, {}, drawn(), stop=stop)
    ends = [row.index(3) + 1 if 3 in row else 20 for row in free.tolist()]
    assert len(set(ends)) > 2
    for row, end in enumerate(ends):
        assert stopped[row, :end].tolist() == free[row, :end].tolist()
        assert (stopped[row, end:] == -1).all()
    assert [tokens.shape for tokens in asked] == [(6, t + 1) for t in range(len(asked))]
    assert torch.equal(asked[-1], stopped[:, : len(asked)]), "it is shown the tokens so far, -1 where a row is done"


def test_stop_of_all_ends_the_work():
    """Where every row is done no more tokens are made, and the sample still has its full shape."""
    model = bigram(3, length=6)
    samples = model.sample(4, {}, drawn(), stop=lambda tokens: torch.full((4,), tokens.shape[1] >= 2))
    assert samples.shape == (4, 6)
    assert (samples[:, :2] >= 0).all()
    assert (samples[:, 2:] == -1).all()
    assert len(model.net.tokens) == 2


# Examples of different lengths, tokens that are given, conditions of the network's own


def test_filled_up_examples():
    """-1 is no token: it adds nothing to a likelihood, and the loss is the mean over the tokens of the batch."""
    model = transformer()
    long, short = torch.tensor([[1, 2, 0, 3]]), torch.tensor([[2, 4]])
    both = torch.cat((long, F.pad(short, (0, 2), value=-1)))
    apart = [model.log_prob(long, {}), model.log_prob(short, {})]
    torch.testing.assert_close(model.log_prob(both, {}), torch.cat(apart))
    assert model.loss(Batch(both)).value.mean().item() == pytest.approx(-sum(apart).item() / 6)


@pytest.mark.parametrize("cache", [True, False])
def test_given_tokens(cache):
    """Are taken as they are, and what is drawn between them follows from them: as if they had been drawn themselves."""
    model, n = transformer(shape=(12,), context=8), 50
    free = model.sample(n, {}, drawn(), cache=cache)
    given = torch.where(torch.arange(12) % 3 == 1, free, -1)
    assert torch.equal(model.sample(n, {}, drawn(), given=given, cache=cache), free)
    other = torch.full((n, 12), -1)
    other[:, 2] = (free[:, 2] + 1) % 5
    made = model.sample(n, {}, drawn(), given=other, cache=cache)
    assert torch.equal(made[:, :2], free[:, :2])
    assert torch.equal(made[:, 2], other[:, 2])
    assert not torch.equal(made[:, 3:], free[:, 3:])


def test_given_tokens_of_a_wrong_shape():
    with pytest.raises(ValueError, match=r"given must have the shape \(2, 4\), not \(1, 4\)"):
        transformer().sample(2, {}, drawn(), given=torch.zeros(1, 4, dtype=torch.long))


@pytest.mark.parametrize("period", [1, 3, 4])
def test_what_is_forgotten_is_whole_periods(period):
    """The first token of every window stands where a period begins, so that a network finds its voices in place."""
    model = bigram(5, length=40, context=10)
    model.net.period = period
    model.sample(1, {"prefix": torch.tensor([[5]])}, drawn(), cache=False)
    windows = [row[0] for row in model.net.tokens]
    made = torch.cat((windows[0], torch.stack([w[-1] for w in windows[1:]])))
    for seen, window in enumerate(windows, start=1):
        start = seen - len(window)
        assert start % period == 0
        assert torch.equal(window, made[start:seen])
        assert len(window) <= 10
    assert min(map(len, windows[10:])) >= 10 // 2 - period + 1


class Tuned(Bigram):
    """A bigram that adds a condition of its own, `bias` [B, V]."""

    def forward(self, tokens: Tensor, *, bias: Tensor, **options: object) -> Tensor:
        return super().forward(tokens, **options) + bias[:, None]


def test_further_conditions():
    """What the spec's context names reaches the network by its name, in likelihoods and in all rows of guidance."""
    spec = Spec((3,), 4, 2, {"prefix": (-1,), "bias": (4,)})
    model = Autoregressive(spec, Tuned)
    x, cond = torch.tensor([[1, 0, 3], [2, 2, 1]]), {"bias": torch.randn(2, 4), "label": torch.tensor([0, 1])}
    before = torch.cat((torch.full((2, 1), 4), x[:, :-1]), dim=1)
    logits = model.net.embedding(before) + model.label(cond["label"])[:, None] + cond["bias"][:, None]
    expected = logits.log_softmax(-1).gather(2, x[..., None]).sum(dim=(1, 2))
    torch.testing.assert_close(model.log_prob(x, cond), expected)
    sure = {**cond, "bias": torch.full((2, 4), -1e3).scatter(1, torch.tensor([[3], [1]]), 1e3)}
    assert model.sample(2, sure, drawn(), guidance=2.0).tolist() == [[3, 3, 3], [1, 1, 1]]


def test_books_are_those_of_the_data():
    """A network of two codebooks on data of three is refused before it learns nonsense."""
    with pytest.raises(ValueError, match=r"model\.net\.books=2 .* \(4, 3\)"):
        Autoregressive(Spec((4, 3), 5), lambda v: SimpleNamespaceModule(books=2))


class SimpleNamespaceModule(nn.Module):
    def __init__(self, books: int) -> None:
        super().__init__()
        self.books = books
