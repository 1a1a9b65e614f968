"""Tokenizers lose nothing, take what they promise to take, and survive the way through a checkpoint."""

import json

import numpy as np
import pytest

from genzoo.errors import UserError
from genzoo_text.tokenizers import BPETokenizer, ByteTokenizer, CharTokenizer, fit_tokenizer, load_tokenizer, pieces

TEXTS = {
    "plain": "To be, or not to be: that is the question.\n",
    "unicode": "Grüße, žluťoučký kůň, Ελληνικά, 日本語, العربية",
    "emoji": "smile 😀, family 👩‍👩‍👧, flag 🇩🇪, accents é and é",
    "crlf": "one\r\ntwo\r\n\r\nthree\rfour\n",
    "spaces": "  \t two  spaces \u00a0\u2003 and\n\n\n lines  ",
    "controls": "bell\a null\0 \ufeff mark \ufffd",
    "empty": "",
}
CORPUS = "".join(TEXTS.values()) + "the cat sat on the mat and the dog lay on the rug. " * 40


@pytest.fixture(params=["char", "byte", "bpe"])
def tokenizer(request):
    """One tokenizer of each kind, fitted to all texts."""
    return fit_tokenizer(request.param, CORPUS, 400)


@pytest.mark.parametrize("name", TEXTS)
def test_round_trip(tokenizer, name):
    """decode(encode(text)) is the text, character by character."""
    tokens = tokenizer.encode(TEXTS[name])
    assert tokens.dtype == np.int64
    assert tokenizer.decode(tokens) == TEXTS[name]


def test_tokens_lie_in_the_vocabulary(tokenizer):
    """Tokens are numbers from 0 to vocab - 1."""
    tokens = tokenizer.encode(CORPUS)
    assert tokens.min() >= 0
    assert tokens.max() < tokenizer.vocab


def test_state_travels_as_json(tokenizer):
    """What `state` gives survives JSON, and the tokenizer made of it agrees on every token."""
    again = load_tokenizer(json.loads(json.dumps(tokenizer.state)))
    assert type(again) is type(tokenizer)
    assert again.vocab == tokenizer.vocab
    assert again.state == tokenizer.state
    assert again.encode(CORPUS).tolist() == tokenizer.encode(CORPUS).tolist()


def test_any_tokens_decode(tokenizer):
    """A model may write any sequence of tokens, also ones no text would give: decoding never fails."""
    for token in range(tokenizer.vocab):
        assert isinstance(tokenizer.decode([token]), str)
    draws = np.random.default_rng(0).integers(tokenizer.vocab, size=(50, 40))
    for row in draws:
        tokenizer.decode(row).encode("utf-8")  # and what comes out can be printed


def test_fitting_again_gives_the_same(tokenizer):
    """Each process of a distributed run fits for itself: the result depends on the text alone."""
    kind = tokenizer.state["kind"]
    assert fit_tokenizer(kind, CORPUS, 400).state == tokenizer.state


def test_char_vocabulary_is_the_set_of_characters():
    """One token a character, in the order of code points."""
    tokenizer = CharTokenizer.fit("banana 😀")
    assert tokenizer.state["characters"] == " abn😀"
    assert tokenizer.encode("nab 😀").tolist() == [3, 1, 2, 0, 4]


@pytest.mark.parametrize("unknown", ["z", "A", "~", "日", "😀", "\n", "\0"])
def test_char_refuses_an_unknown_character_by_name(unknown):
    """Characters before, between and after the known ones are told apart from their neighbours."""
    with pytest.raises(UserError) as refusal:
        CharTokenizer.fit("bdfh").encode(f"bd{unknown}fh")
    assert repr(unknown) in str(refusal.value)
    assert "byte" in str(refusal.value)


@pytest.mark.parametrize("strange", ["日本", "😀\r\n", "\0\a", "\u202e", "z" * 1000], ids=ascii)
@pytest.mark.parametrize("kind", ["byte", "bpe"])
def test_byte_and_bpe_take_any_text(kind, strange):
    """Also characters that the text they were fitted to never had."""
    tokenizer = fit_tokenizer(kind, "only these words " * 50, 300)
    assert tokenizer.decode(tokenizer.encode(strange)) == strange


def test_bytes_are_utf8():
    """A token of the byte tokenizer is a byte of the UTF-8 text."""
    assert ByteTokenizer().encode("é😀").tolist() == list("é😀".encode())
    assert ByteTokenizer().decode([0xC3, 0x28]) == "\ufffd("


@pytest.mark.parametrize("size", [257, 300, 400])
def test_bpe_vocabulary_has_the_size_asked_for(size):
    """256 bytes and as many learned pieces as asked for, where the text has them."""
    tokenizer = BPETokenizer.fit(CORPUS, size)
    assert tokenizer.vocab == size
    assert tokenizer.encode(CORPUS).max() < size


def test_bpe_pieces_shorten_the_text():
    """A larger vocabulary needs fewer tokens, and any needs fewer than there are bytes."""
    few, many = (len(BPETokenizer.fit(CORPUS, size).encode(CORPUS)) for size in (280, 400))
    assert many < few < len(CORPUS.encode())


@pytest.mark.parametrize("size", [-1, 0, 100, 256])
def test_bpe_without_room_for_a_piece_is_refused(size):
    """256 bytes alone are what data.tokenizer=byte is for."""
    with pytest.raises(UserError, match=r"data\.vocab_size.*257"):
        fit_tokenizer("bpe", CORPUS, size)


def test_unknown_kind_is_refused():
    """The message names the three there are."""
    with pytest.raises(UserError, match=r"char, byte or bpe, not 'word'"):
        fit_tokenizer("word", CORPUS, 300)


@pytest.mark.parametrize("size", [1, 7, 30, 10_000])
def test_pieces_are_the_whole_text(size):
    """Large texts are encoded in parts: nothing is lost between them, and parts end at line ends."""
    text = TEXTS["crlf"] + "no line end at all here " * 3
    parts = list(pieces(text, size))
    assert "".join(parts) == text
    assert all(part.endswith("\n") for part in parts[:-1])


def test_bpe_of_a_text_of_many_parts():
    """A text of more than one part (100,000 characters) comes back whole."""
    text = CORPUS * 45 + "\n" + CORPUS * 45
    assert len(list(pieces(text))) > 1
    tokenizer = BPETokenizer.fit(text, 300)
    assert tokenizer.decode(tokenizer.encode(text)) == text
