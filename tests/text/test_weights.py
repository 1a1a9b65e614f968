"""The weights that come with the package do what their card says."""

import torch

import genzoo

SONNET = """Shall I compare thee to a summer's day?
Thou art more lovely and more temperate:
Rough winds do shake the darling buds of May,
And summer's lease hath all too short a date;
Sometime too hot the eye of heaven shines,
And often is his gold complexion dimm'd;
And every fair from fair sometime declines,
By chance or nature's changing course untrimm'd;
But thy eternal summer shall not fade,
Nor lose possession of that fair thou ow'st;
Nor shall death brag thou wander'st in his shade,
When in eternal lines to time thou grow'st:
So long as men can breathe or eyes can see,
So long lives this, and this gives life to thee.
"""
"""Shakespeare's 18th, which is in none of the plays: nobody trained on it."""


def test_the_sonnet_costs_what_the_card_says():
    """1.37 nats a character; a model that knew only how often each character comes would need three."""
    model = genzoo.load("text")
    tokens = torch.from_numpy(model.data.tokenizer.encode("\n" + SONNET))[None]
    nats = 0.0
    for first in range(1, tokens.shape[1], 128):  # each character once, after at most 127 before it
        x, prefix = tokens[:, first : first + 128], tokens[:, max(0, first - 127) : first]
        nats -= model.model.log_prob(x, {"prefix": prefix}).item()
    assert abs(nats / len(SONNET) - 1.37) < 0.02


def test_it_writes_words():
    """As often as in the plays (about a third), a word of a sample is one of the commonest of English."""
    model = genzoo.load("text")
    text = model.sample(1, seed=3, prompt="ROMEO:", temperature=0.8).words[0]
    assert text.startswith("ROMEO:\n")
    words = "".join(c if c.isalpha() else " " for c in text.lower()).split()
    common = {"the", "and", "to", "i", "of", "you", "my", "a", "that", "in", "is", "not", "for", "with", "me", "be"}
    assert len(words) > 60
    assert 0.2 < sum(word in common for word in words) / len(words) < 0.6
