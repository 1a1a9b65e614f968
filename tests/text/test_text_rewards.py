"""Rewards of texts, counted by hand, in order, and of texts in which there is nothing; rhyme from end to end. What
parses is counted in tests/test_reward.py."""

import csv
import math
from typing import Any

import numpy as np
import pytest
import torch

import genzoo
from genzoo.errors import UserError
from genzoo_text import rewards
from genzoo_text.data import TextData
from genzoo_text.tokenizers import fit_tokenizer

BLANK = ("", "\n", "\n\n\n", " ", "\t\n  \n", "7, 8!\n--\n", "\0\n\0\n", "x")
"""Texts of next to nothing."""

COUPLETS = "The night is long\nI hear a song\nThe day is bright\nand full of light\nend"
CROSSED = "The night is long\nThe day is bright\nI hear a song\nand full of light\nend"
PLAIN = "The night is long\nI hear a bird\nThe day is warm\nand full of rain\nend"


@pytest.fixture
def of() -> Any:
    """(function, texts, options) -> the rewards of texts, through a tokenizer of bytes that gives them back."""
    data = TextData(tokenizer="byte")
    data.text = {"train": "The day is bright and full of light."}
    data.load_state_dict({"tokenizer": fit_tokenizer("byte", "", 0).state})

    def rewarded(function: Any, *texts: str, **options: Any) -> list[float]:
        rows = [data.tokenizer.encode(text) for text in texts]
        x = torch.full((len(rows), max(map(len, rows))), -1)
        for row, tokens in zip(x, rows, strict=True):
            row[: len(tokens)] = torch.from_numpy(np.array(tokens))
        return function(x, data, {}, **options)

    return rewarded


def test_rhymes(of):
    """Couplets rhyme throughout; crossed rhymes have no neighbour that rhymes; one couplet of two is half."""
    half = "The night is long\nI hear a song\nThe day is warm\nand full of rain\nend"
    assert of(rewards.rhyme, COUPLETS, CROSSED, PLAIN, half) == [1, 0, 0, 0.5]


def test_rhymes_of_three_lines(of):
    """The middle one of three counts once; three of five lines, the last of which, cut off, is not looked at."""
    three = "a cat\nthe mat\nmy hat\na dog\na bird\nbat"
    assert of(rewards.rhyme, three) == [3 / 5]


def test_what_is_no_rhyme(of):
    """The same word, words shorter than the letters asked for, and punctuation alone; case, punctuation and empty
    lines in between do not matter."""
    assert of(rewards.rhyme, "the sea\nTHE SEA,\nend", "to me\nbe\nend", "so I\nmy a\nend") == [0, 0, 0]
    assert of(rewards.rhyme, "to me\nbe\nend", letters=1) == [1]
    assert of(rewards.rhyme, "A tree?\n\n -- \nWild and FREE!\nend") == [1]
    assert of(rewards.rhyme, "the station\na nation\nend", "a ration\nthe motion\nend", letters=5) == [1, 0]
    assert of(rewards.rhyme, "schön\nRoutinier-ön\nend", letters=2) == [1], "letters, not bytes"


def test_line_length(of):
    """By hand: lines of 4 and 8 characters are 2 off a width of 6, on the mean, which is a third of it; first and last
    are cut and do not count, unless there is nothing else."""
    text = "1234567890\n1234\n12345678\n1"
    assert of(rewards.line_length, text, width=6) == [pytest.approx(-1 / 3)]
    assert of(rewards.line_length, "1234\n12345678", width=6) == [pytest.approx(-1 / 3)]
    assert of(rewards.line_length, "123456", width=6) == [0]
    right, off, one_line = ("\n".join("x" * n for n in lengths) for lengths in ((1, 6, 6, 1), (1, 5, 8, 1), (16,)))
    found = of(rewards.line_length, right, off, one_line, width=6)
    assert found == sorted(found, reverse=True)
    assert found == pytest.approx([0, -0.25, -10 / 6])


def test_known_words(of):
    """Between the first word and the last, which are cut: two of three, none, and all of what is there."""
    found = of(rewards.known_words, "nd The dark DAY b", "The dark night is", "x the day y", "The day")
    assert found == [pytest.approx(2 / 3), 0, 1, 0]


def test_kinds_of_code_are_in_order(of):
    """What there is more to has more kinds; a comment and broken lines have none."""
    texts = ("# nothing\n", "x = (\n", "x\n", "x = 1\n", "x = f(1)\n", "for x in f(1):\n    y = x + 1\n")
    found = of(rewards.kinds_of_code, *texts)
    assert found[:2] == [0, 0]
    assert found[1:] == sorted(set(found))


@pytest.mark.parametrize(
    "function",
    [
        rewards.rhyme,
        rewards.line_length,
        rewards.known_words,
        rewards.parses,
        rewards.part_that_parses,
        rewards.kinds_of_code,
    ],
    ids=lambda function: function.__name__,
)
def test_texts_of_nothing(of, function):
    """A finite number for each, and the same alone as among others."""
    found = of(function, *BLANK)
    assert len(found) == len(BLANK)
    assert all(math.isfinite(value) for value in found)
    assert [of(function, text)[0] for text in BLANK] == found
    if function is not rewards.line_length:
        assert found[:4] == [0, 0, 0, 0]


def test_what_is_refused(of):
    with pytest.raises(UserError, match=r"reward\.function\.width must be at least 1, not 0"):
        of(rewards.line_length, PLAIN, width=0)
    with pytest.raises(UserError, match=r"reward\.function\.letters must be at least 1, not 0"):
        of(rewards.rhyme, PLAIN, letters=0)


def test_rhyme_from_end_to_end(smoke_run_of, tmp_path):
    """Two steps from a trained model on: rewards and gold are shares, and the run samples as others do."""
    words = ["trainer.steps=2", "trainer.val_every=1", "objective.samples=4", "trainer.batch_size=8", "samples=0"]
    start = smoke_run_of("text")
    run = genzoo.train(
        "text_smoke", [*words, "objective=reward", "reward=rhyme", f"init={start}", f"out={tmp_path / 'run'}"]
    )
    with open(run / "log.csv", newline="") as file:
        looks = [row for row in csv.DictReader(file) if row["split"] == "val"]
    assert [int(float(row["step"])) for row in looks] == [0, 1, 2]
    assert all(0 <= float(row[name]) <= 1 for row in looks for name in ("reward", "gold"))
    assert float(looks[0]["kl_estimated"]) == pytest.approx(0, abs=1e-5)
    assert genzoo.load(run).sample(1, length=5).x.shape == (1, 5)
