"""Text as examples: pure batches, epochs without repetition, sweeps that score each token once, and samples as text.

In `NUMBERS` every character occurs once, in the order of code points: a token is its own position in the text.
"""

import hashlib
import io
import json
import math

import pytest
import torch
from torch import nn

from genzoo.config import scores_of
from genzoo.contract import Data
from genzoo.errors import UserError
from genzoo.families import Autoregressive
from genzoo.metrics import likelihood
from genzoo_text import metrics
from genzoo_text.data import TextData

LENGTH, CONTEXT, CUT = 1000, 16, 900  # characters, tokens, and where the validation part begins
NUMBERS = "".join(chr(0x4E00 + i) for i in range(LENGTH))
WORDS = "the cat sat on the mat, and the dog lay on the rug. no man is an island\n" * 30
MIXED = "Grüße aus 日本 😀: naïve café, ζωή.\n" * 60


@pytest.fixture
def make(tmp_path):
    """Makes a prepared TextData of a text."""

    def made(text: str = NUMBERS, **options) -> TextData:
        file = tmp_path / f"{hashlib.sha256(text.encode()).hexdigest()[:8]}.txt"
        file.write_text(text, encoding="utf-8")
        data = TextData(**{"path": str(file), "context": CONTEXT, **options})
        data.prepare()
        return data

    return made


def windows(data: TextData, split: str, examples: range) -> torch.Tensor:
    """Examples one by one, prefix and x together, [len(examples), context + 1]."""
    rows = [data.batch(i, 1, split) for i in examples]
    return torch.cat([torch.cat((row.cond["prefix"], row.x), dim=1) for row in rows])


# ---- batches


def test_spec(make):
    """One example is a window of tokens; a condition of any length stands before it."""
    data = make()
    assert isinstance(data, Data)
    assert data.spec.shape == (CONTEXT,)
    assert data.spec.vocab == LENGTH
    assert data.spec.classes == 0
    assert data.spec.context == {"prefix": (-1,)}
    batch = data.batch(0, 3, "train")
    assert batch.x.shape == (3, CONTEXT)
    assert batch.cond["prefix"].shape == (3, 1)
    assert batch.x.dtype == batch.cond["prefix"].dtype == torch.int64


def test_constructor_opens_nothing():
    """A path is read by `prepare`, not before."""
    data = TextData(path="/nowhere/at/all.txt")
    with pytest.raises(UserError, match="/nowhere/at/all.txt"):
        data.prepare()


def test_batches_differ(make):
    """Steps, seeds and splits give different examples."""
    data = make()
    batch = data.batch(0, 8, "train").x
    assert not torch.equal(batch, data.batch(1, 8, "train").x)
    assert not torch.equal(batch, make(seed=1).batch(0, 8, "train").x)
    assert not set(batch.flatten().tolist()) & set(data.batch(0, 8, "val").x.flatten().tolist())
    assert len(set(batch[:, 0].tolist())) == 8


def test_x_continues_the_prefix_in_the_text(make):
    """Every example is a piece of the true text."""
    pieces = windows(make(), "train", range(200))
    assert torch.equal(pieces.diff(dim=1), torch.ones_like(pieces[:, 1:]))


@pytest.mark.parametrize("size", [1, 5, 11])
@pytest.mark.parametrize("epoch", [0, 1, 5])
def test_an_epoch_covers_the_text_once(make, epoch, size):
    """The windows of an epoch do not overlap and leave out less than a window at either end."""
    data = make()
    count = (CUT - CONTEXT) // CONTEXT
    steps = count // size
    assert steps * size == count
    batches = [data.batch(step, size, "train") for step in range(epoch * steps, (epoch + 1) * steps)]
    seen = torch.cat([batch.x for batch in batches]).flatten().tolist()
    assert len(set(seen)) == len(seen) == count * CONTEXT
    assert max(seen) - min(seen) == len(seen) - 1, "there is a gap"
    assert min(seen) <= CONTEXT
    assert CUT - 1 - max(seen) < 2 * CONTEXT


def test_epochs_differ(make):
    """The next epoch has another order, and windows that begin elsewhere."""
    data = make()
    count = (CUT - CONTEXT) // CONTEXT
    starts = [windows(data, "train", range(e * count, (e + 1) * count))[:, 0].tolist() for e in range(4)]
    assert len({start % CONTEXT for epoch in starts for start in epoch}) > 1
    assert all(sorted(epoch) != epoch for epoch in starts)
    assert len({tuple(epoch) for epoch in starts}) == 4


def test_seeds_differ_in_order_and_place(make):
    """Another seed draws both anew: where the windows begin, and which one comes when."""
    count = (CUT - CONTEXT) // CONTEXT
    one, two = (windows(make(seed=seed), "train", range(count))[:, 0] for seed in (0, 1))
    assert one.min() != two.min()
    assert not torch.equal(one - one.min(), two - two.min())


def test_all_of_the_text_is_learned_in_time(make):
    """Over many epochs every token is a target, but the first, which has nothing before it."""
    data = make(context=4)
    seen = set(windows(data, "train", range(40 * (CUT // 4)))[:, 1:].flatten().tolist())
    assert seen == set(range(1, CUT))


@pytest.mark.parametrize("extra", range(0, 2 * CONTEXT + 2, 3))
def test_short_texts(make, extra):
    """From the shortest allowed text on, examples stay inside their split."""
    train = CONTEXT + 1 + extra
    data = make(NUMBERS[: 2 * train], val_fraction=0.5)
    for split, first in (("train", 0), ("val", train)):
        pieces = windows(data, split, range(50))
        assert pieces.min() >= first
        assert pieces.max() < first + train


@pytest.mark.parametrize("val_fraction", [0.1, 0.5, 0.9])
def test_splits_never_overlap(make, val_fraction):
    """Validation is the last part of the text; together the parts are the text."""
    data = make(val_fraction=val_fraction)
    cut = int(LENGTH * (1 - val_fraction))
    assert windows(data, "train", range(300)).max() < cut
    assert windows(data, "val", range(300)).min() >= cut
    assert data.text["train"] + data.text["val"] == NUMBERS
    assert len(data.text["train"]) == cut


def test_too_short_a_text(make):
    """The message names the key, the part, what it has and what is needed."""
    with pytest.raises(UserError, match=rf"data\.path=.*train part has {CONTEXT} tokens.*context of {CONTEXT}"):
        make(NUMBERS[: 2 * CONTEXT], val_fraction=0.5)
    with pytest.raises(UserError, match="val part"):
        make(NUMBERS[:100], val_fraction=0.1)
    make(NUMBERS[: 2 * CONTEXT + 2], val_fraction=0.5)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"context": 1}, r"data\.context"),
        ({"val_fraction": 0.0}, r"data\.val_fraction"),
        ({"val_fraction": 1.0}, r"data\.val_fraction"),
        ({"stride": 0}, r"data\.stride"),
        ({"stride": 257}, r"data\.stride"),
    ],
)
def test_options_out_of_range(options, key):
    """Said when the object is made, by key."""
    with pytest.raises(UserError, match=key):
        TextData(**options)


# ---- sweeps


@pytest.mark.parametrize("stride", [1, 3, 8, 15, 16, None])
@pytest.mark.parametrize("size", [1, 7, 64])
@pytest.mark.parametrize("length", [2 * (CONTEXT + 1), 100, 101])
def test_sweep_scores_every_token_once_in_order(make, stride, size, length):
    """x after x, a sweep is the text without its first token, for any stride and batch size."""
    data = make(NUMBERS[:length], stride=stride, val_fraction=0.5)
    for split, first in (("train", 0), ("val", length // 2)):
        batches = list(data.sweep(split, size))
        assert all(len(batch) <= size for batch in batches)
        scored = torch.cat([batch.x.flatten() for batch in batches])
        assert scored.tolist() == list(range(first + 1, first + len(data.text[split])))


@pytest.mark.parametrize("stride", [1, 5, 8, 16])
def test_sweep_gives_the_model_what_it_can_read(make, stride):
    """Prefix and x are one piece of text, no longer than a context and the token after it; and each scored token but
    those of the first window has at least context - stride tokens before it."""
    for i, batch in enumerate(make(stride=stride).sweep("train", 7)):
        prefix = batch.cond["prefix"]
        whole = torch.cat((prefix, batch.x), dim=1)
        assert whole.shape[1] <= CONTEXT + 1
        assert torch.equal(whole.diff(dim=1), torch.ones_like(whole[:, 1:]))
        if i:
            assert prefix.shape[1] >= CONTEXT - stride
        else:
            assert whole[0, 0] == 0


def test_sweep_of_an_unknown_split(make):
    """The splits there are, are named."""
    with pytest.raises(UserError, match="train or val.*'test'"):
        next(make().sweep("test", 4))


@pytest.mark.parametrize("tokenizer", ["char", "byte", "bpe"])
def test_units_are_characters(make, tokenizer):
    """Scores are per character of text, whatever the tokens are; what the first token says is not scored."""
    data = make(MIXED, tokenizer=tokenizer, vocab_size=300)
    first = next(iter(data.sweep("val", 1))).cond["prefix"][0, :1]
    assert data.unit == "character"
    assert data.units("val") == len(data.text["val"]) - len(data.describe(first, data.request(1)))
    if tokenizer == "char":
        assert data.units("val") == len(data.text["val"]) - 1


class Uniform(nn.Module):
    """A network that holds every token for equally likely."""

    context = CONTEXT

    def __init__(self, vocab: int) -> None:
        super().__init__()
        self.vocab, self.weight = vocab, nn.Parameter(torch.zeros(()))

    def forward(self, tokens, cond=None, cache=None, last=False):
        assert tokens.shape[1] <= self.context
        shape = (len(tokens), 1 if last else tokens.shape[1], self.vocab)
        return self.weight.expand(shape)


@pytest.mark.parametrize("stride", [1, 7, 16])
@pytest.mark.parametrize("tokenizer", ["char", "byte", "bpe"])
def test_likelihood_of_ignorance(make, tokenizer, stride):
    """A model that knows nothing needs log V nats a token, and as many a character as there are tokens for it."""
    data = make(MIXED, tokenizer=tokenizer, vocab_size=300, stride=stride)
    scores = likelihood(Autoregressive(data.spec, Uniform), data, "val", batch_size=5)
    tokens = len(data.tokenizer.encode(data.text["val"])) - 1
    assert scores["tokens"] == tokens
    assert scores["nats_per_token"] == pytest.approx(math.log(data.spec.vocab), rel=1e-6)
    assert scores["nats_per_character"] == pytest.approx(
        tokens * math.log(data.spec.vocab) / data.units("val"), rel=1e-6
    )
    assert scores["bits_per_character"] == pytest.approx(scores["nats_per_character"] / math.log(2))
    assert scores["perplexity_per_token"] == pytest.approx(data.spec.vocab, rel=1e-5)


# ---- wishes and samples


@pytest.mark.parametrize("tokenizer", ["char", "byte", "bpe"])
def test_prompt(make, tokenizer):
    """The prompt stands before each of n samples, as tokens, and before their text."""
    data = make(MIXED, tokenizer=tokenizer, vocab_size=300)
    request = data.request(3, prompt="café 😀")
    cond, more = request.cond, request.options
    assert more == {}
    assert cond["prefix"].shape[0] == 3
    assert all(data.tokenizer.decode(row.tolist()) == "café 😀" for row in cond["prefix"])
    assert data.describe(torch.from_numpy(data.tokenizer.encode(" aus")), request) == "café 😀 aus"


def test_no_prompt(make):
    """Without a prompt a sample begins like a line, or, where the text has none, with the first character there is;
    neither is shown."""
    data = make(WORDS)
    cond = data.request(2).cond
    assert data.tokenizer.decode(cond["prefix"][0].tolist()) == "\n"
    assert data.describe(torch.from_numpy(data.tokenizer.encode("cat")), data.request(1)) == "cat"
    data = make(NUMBERS)
    cond = data.request(2, prompt="").cond
    assert cond["prefix"].tolist() == [[0], [0]]


def test_prompt_of_unknown_characters(make):
    """The character is named."""
    with pytest.raises(UserError, match="'日'"):
        make(WORDS).request(1, prompt="cat 日")


def ends_at(data: TextData, text: str, stop: list[str]) -> int | None:
    """After how many tokens of a text a sample ends; None where it does not."""
    more = data.request(1, stop=stop).options
    tokens = torch.from_numpy(data.tokenizer.encode(text))[None]
    for length in range(1, tokens.shape[1] + 1):
        if more["stop"](tokens[:, :length]).item():
            return length
    return None


@pytest.mark.parametrize(
    ("text", "stop", "want"),
    [
        ("the cat sat", ["cat"], 7),
        ("the cat sat", ["sat", "he"], 3),
        ("the cat sat", ["dog"], None),
        ("the cat sat", ["t"], 1),
        ("the cat\nthe dog\n", ["\nthe"], 11),
        ("the cat", ["the cat"], 7),
    ],
)
def test_stop_strings(make, text, stop, want):
    """A sample ends with the last character of the first stop string, however many tokens it spans."""
    assert ends_at(make(WORDS), text, stop) == want


def test_stop_strings_in_bytes(make):
    """A character of several bytes ends a sample with its last byte."""
    data = make(MIXED, tokenizer="byte")
    assert ends_at(data, "naïve 😀!", ["ï"]) == 4
    assert ends_at(data, "naïve 😀!", ["😀"]) == 11
    assert ends_at(data, "naïve 😀!", ["é"]) is None


@pytest.mark.parametrize("stop", ["the mat", "mat, and", "rug.", "g. no m"])
def test_stop_strings_in_pieces(make, stop):
    """Learned pieces cut the text anywhere: a sample ends with the first piece that completes the stop string."""
    data = make(WORDS, tokenizer="bpe", vocab_size=290)
    tokens = data.tokenizer.encode(WORDS[:140]).tolist()
    want = next(i for i in range(1, len(tokens) + 1) if stop in data.tokenizer.decode(tokens[:i]))
    assert ends_at(data, WORDS[:140], [stop]) == want


def test_stop_tells_samples_apart(make):
    """One answer for each sample; -1, which stands after an end, is no character."""
    data = make(WORDS)
    more = data.request(3, stop=["cat", "dog"]).options
    cat, rug, dog = (data.tokenizer.encode(word).tolist() for word in ("cat", "rug", "dog"))
    assert more["stop"](torch.tensor([cat, rug, dog])).tolist() == [True, False, True]
    assert more["stop"](torch.tensor([[*cat, -1, -1], [*rug, 0, 0], [0, 0, *dog]])).tolist()[1:] == [False, True]
    assert data.describe(torch.tensor([*cat, -1, -1]), data.request(1)) == "cat"


def test_empty_stop_string(make):
    """It would end every sample at once."""
    with pytest.raises(UserError, match="stop"):
        make(WORDS).request(1, stop=["a", ""])


@pytest.mark.parametrize("stop", [None, []])
def test_no_stop(make, stop):
    """Without stop strings nothing is asked of the sampler."""
    assert make(WORDS).request(1, stop=stop).options == {}


def test_write(make, tmp_path):
    """A sample becomes a UTF-8 text file with the prompt before it."""
    data = make(MIXED, tokenizer="byte")
    request = data.request(1, prompt="ζωή: ")
    file = data.write(torch.from_numpy(data.tokenizer.encode("日本 😀\n")), tmp_path / "000", request)
    assert file == tmp_path / "000.txt"
    assert file.read_bytes() == "ζωή: 日本 😀\n".encode()


def test_play_shows_whole_characters_at_once(make):
    """While a sample is made, what is shown is always whole characters, and lags by less than one."""
    data = make(MIXED, tokenizer="byte")
    request = data.request(1, prompt="é>")
    text = "aé日😀b\n"
    out, shown = io.BytesIO(), []

    def chunks():
        for token in text.encode():
            shown.append(out.getvalue().decode("utf-8"))  # strict: half a character would fail
            yield torch.tensor([token])

    data.play(chunks(), out, request)
    want = ["", "a", "a", "aé", "aé", "aé", "aé日", "aé日", "aé日", "aé日", "aé日😀", "aé日😀b"]
    assert shown == [f"é>{part}" for part in want]
    assert out.getvalue().decode("utf-8") == f"é>{text}\n"


@pytest.mark.parametrize("tokens", [[0xFF, 0x41], [0x41, 0xE2, 0x82], [0xE2, 0x41, 0xC3, 0xA9], [0x80] * 5, []])
def test_play_of_broken_characters(make, tokens):
    """A model may write half characters: what is shown is still UTF-8, and what `describe` would say."""
    data = make(MIXED, tokenizer="byte")
    request = data.request(1)
    out = io.BytesIO()
    data.play((torch.tensor([t]) for t in tokens), out, request)
    assert out.getvalue().decode("utf-8") == data.describe(torch.tensor(tokens, dtype=torch.int64), request) + "\n"


@pytest.mark.parametrize("tokenizer", ["char", "bpe"])
def test_play_in_other_tokens(make, tokenizer):
    """Characters and pieces are shown as they come."""
    data = make(MIXED, tokenizer=tokenizer, vocab_size=300)
    request = data.request(1)
    tokens = data.tokenizer.encode(MIXED[:40])
    out = io.BytesIO()
    data.play((torch.tensor([t]) for t in tokens), out, request)
    assert out.getvalue().decode("utf-8") == MIXED[:40] + "\n"


# ---- scores


def test_words():
    """Words and marks, without regard to case."""
    assert metrics.words("The cat's mat — café, 42!") == ["the", "cat", "'", "s", "mat", "—", "café", ",", "42", "!"]


def test_distinct_by_hand():
    """Different n-grams over all n-grams, over all texts together; n-grams do not cross texts."""
    assert metrics.distinct(["a b a b"], 1) == 2 / 4
    assert metrics.distinct(["a b a b"], 2) == 2 / 3
    assert metrics.distinct(["a b", "a b", "c"], 1) == 3 / 5
    assert metrics.distinct(["a b", "b a"], 2) == 1
    assert metrics.distinct(["a"], 2) == 0


def test_copied_by_hand():
    """Share of a text's n-grams that the known text has."""
    known = metrics.word_ngrams("one two three four", 2)
    assert metrics.copied(["One two five"], known, 2) == 1 / 2
    assert metrics.copied(["three four", "four three"], known, 2) == 1 / 2
    assert metrics.copied(["one"], known, 2) == 0


def test_metrics_of_samples(make):
    """A sample copied from the training text is found out; one in other words is not; real text is scored beside."""
    data = make(WORDS)
    samples = torch.full((2, 60), -1)
    copy = data.tokenizer.encode("the cat sat on the mat, and the dog")
    new = data.tokenizer.encode("dog mat cat rug dog mat cat rug dog")
    samples[0, : len(copy)], samples[1, : len(new)] = torch.from_numpy(copy), torch.from_numpy(new)
    scores = scores_of(data).metrics(samples, "val", data.request(1), ngrams=[2, 3])
    want = {f"distinct_{n}" for n in (1, 2, 3, 4)} | {"copied_2_words", "copied_3_words"}
    assert set(scores) == want | {f"{key}_real" for key in want}
    assert scores["copied_2_words"] == 9 / 17  # all 9 of the copy, none of the 8 of the other
    assert scores["copied_3_words"] == 8 / 15
    assert scores["distinct_1"] == 9 / 19  # the, cat, sat, on, mat, ",", and, dog, rug; of 10 + 9
    assert scores["copied_2_words_real"] > 0.9
    assert {key for key in scores_of(data).metrics(samples, "val", data.request(1)) if key.startswith("copied")} == {
        "copied_4_words",
        "copied_4_words_real",
        "copied_8_words",
        "copied_8_words_real",
    }


def test_metrics_of_nothing(make):
    """Samples that ended at once have no n-grams, and scores of 0."""
    scores = scores_of(make(WORDS)).metrics(torch.full((3, 8), -1), "val", make(WORDS).request(1))
    assert scores["distinct_1"] == scores["copied_4_words"] == 0


def test_fingerprint(make):
    """It is the SHA-256 of the split's text, so that anybody can check what a score was measured on."""
    data = make(MIXED)
    assert data.fingerprint("val") == hashlib.sha256(data.text["val"].encode()).hexdigest()
    assert data.fingerprint("val") != data.fingerprint("train")
    other = make(MIXED[:-2] + "!\n")
    assert other.fingerprint("val") != data.fingerprint("val")
    assert other.fingerprint("train") == data.fingerprint("train")
    assert make(MIXED, tokenizer="byte", seed=3).fingerprint("val") == data.fingerprint("val")


# ---- what travels in a checkpoint


@pytest.mark.parametrize("tokenizer", ["char", "byte", "bpe"])
def test_state_travels(make, tmp_path, tokenizer):
    """Made from its state, as JSON, the data knows its spec, takes wishes and writes samples without its file."""
    data = make(MIXED, tokenizer=tokenizer, vocab_size=300)
    state = json.loads(json.dumps(data.state_dict()))
    other = TextData(path="/nowhere/at/all.txt", tokenizer=tokenizer, vocab_size=300, context=CONTEXT)
    other.load_state_dict(state)
    assert other.spec == data.spec
    request = other.request(2, prompt="日本")
    assert torch.equal(request.cond["prefix"], data.request(2, prompt="日本").cond["prefix"])
    sample = torch.from_numpy(data.tokenizer.encode(" 😀"))
    assert other.describe(sample, request) == "日本 😀"
    assert other.write(sample, tmp_path / "s", request).read_text(encoding="utf-8") == "日本 😀"
    out = io.BytesIO()
    other.play(iter(sample[:, None]), out, request)
    assert out.getvalue().decode() == "日本 😀\n"


def test_the_loaded_vocabulary_stays(make, tmp_path):
    """Prepared on another text, the data keeps the tokens the model learned; a new character is named."""
    state = make(WORDS).state_dict()
    for text, fits in (("no man is an island, the cat sat.\n" * 30, True), (MIXED, False)):
        (tmp_path / "other.txt").write_text(text, encoding="utf-8")
        other = TextData(path=str(tmp_path / "other.txt"), context=CONTEXT)
        other.load_state_dict(state)
        if fits:
            other.prepare()
            assert other.state_dict() == state
            assert other.spec.vocab == len(set(WORDS))
        else:
            with pytest.raises(UserError, match="does not occur"):
                other.prepare()
