"""Random numbers as pure functions of what they are for."""

import hashlib
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch

from genzoo.draws import in_epochs, items_in_epochs, numpy_generator, seed_of, torch_generator


def test_seeds_are_fixed_forever():
    """A checkpoint made yesterday, or on another machine, must meet the same numbers."""
    assert seed_of("train") == 6697183970302019623
    assert seed_of("loss", 0, 1) == 7114418903112994023


def test_seeds_do_not_depend_on_the_process():
    """A fresh interpreter with other string hashes agrees."""
    code = "from genzoo.draws import seed_of, numpy_generator as g; print(seed_of('a', 1), g('a', 1).integers(10**9))"
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.split() == [str(seed_of("a", 1)), str(numpy_generator("a", 1).integers(10**9))]


def test_seed_against_the_formula():
    """BLAKE2b of the parts, joined by zero bytes, as a little-endian number without its lowest bit."""
    digest = hashlib.blake2b(b"val\x007\x00noise", digest_size=8).digest()
    assert seed_of("val", 7, "noise") == sum(byte << (8 * i) for i, byte in enumerate(digest)) // 2


def test_every_part_counts():
    """Order, number and borders of the parts matter; all seeds fit into 63 bits."""
    parts = [(), (0,), (1,), (0, 1), (1, 0), (0, 1, 0), ("01",), ("0", "10"), ("01", "0"), ("",), ("", ""), (-1,)]
    parts += [("loss", 0, step, turn) for step in range(500) for turn in ("model", "critic")]
    seeds = [seed_of(*p) for p in parts if p != ()]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62


@pytest.mark.parametrize("make", [torch_generator, numpy_generator])
def test_generators(make):
    """The same purpose gives the same numbers, another purpose others; each call begins anew."""

    def draw(*parts: int | str) -> list[int]:
        generator = make(*parts)
        if make is numpy_generator:
            return generator.integers(1 << 30, size=20).tolist()
        return torch.randint(1 << 30, (20,), generator=generator).tolist()

    assert draw("x", 3) == draw("x", 3)
    assert draw("x", 3) != draw("x", 4)
    assert len(set(draw("x", 3))) == 20


def test_generators_leave_the_world_alone():
    """The global generators of torch and numpy are neither read nor moved."""
    torch.manual_seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    torch.rand(3, generator=torch_generator("a"))
    numpy_generator("a").random(3)
    in_epochs(5, 100, "seed")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()


@pytest.mark.parametrize("n", [1, 2, 7, 100])
def test_each_epoch_visits_every_item_once(n):
    """Any n positions from a multiple of n on are a permutation, and the epoch is the number of whole rounds before."""
    for epoch in range(3):
        taken = [in_epochs(epoch * n + place, n, "seed", "train") for place in range(n)]
        assert {e for e, _ in taken} == {epoch}
        assert Counter(item for _, item in taken) == Counter(range(n))


def test_orders_differ():
    """From epoch to epoch, from stream to stream, and from the order as they came."""

    def order(epoch: int, *parts: int | str) -> tuple[int, ...]:
        return tuple(in_epochs(epoch * 50 + place, 50, *parts)[1] for place in range(50))

    orders = [order(0, 1, "train"), order(1, 1, "train"), order(0, 2, "train"), order(0, 1, "val"), tuple(range(50))]
    assert len(set(orders)) == 5


def test_positions_in_any_order():
    """A position says the same whoever was asked for before: more epochs, going back and forth, than are remembered."""
    places = [epoch * 10 + place for epoch in range(12) for place in range(10)]
    forward = {p: in_epochs(p, 10, "seed") for p in places}
    assert {p: in_epochs(p, 10, "seed") for p in sorted(places, key=lambda p: (p % 10, -p))} == forward


def test_first_place_is_fair():
    """Over many epochs every item comes first about as often as every other (5 sigma)."""
    first = Counter(in_epochs(epoch * 5, 5, "seed")[1] for epoch in range(2000))
    assert all(abs(first[item] - 400) < 5 * (2000 * 0.2 * 0.8) ** 0.5 for item in range(5))


@pytest.mark.parametrize("n", [1, 2, 7, 100])
def test_items_of_a_range(n):
    """The items at consecutive positions are those of each position by itself, within an epoch and over many."""
    for start in (0, 1, n - 1, n, n + 1, 3 * n + n // 2):
        for length in (1, 2, n - 1, n, n + 1, 6 * n + 1):
            items = items_in_epochs(range(start, start + length), n, 3, "train")
            assert items.tolist() == [in_epochs(p, n, 3, "train")[1] for p in range(start, start + length)]


@pytest.mark.parametrize("start", [0, 1, 6, 7, 8, 21])
def test_items_of_an_empty_range(start):
    """No positions, no items, wherever they are not; and what comes out can pick rows."""
    items = items_in_epochs(range(start, start), 7, "seed")
    assert items.shape == (0,)
    assert torch.arange(7)[items].shape == np.arange(7)[items].shape == (0,)


def test_items_belong_to_their_stream():
    """The parts that name the stream matter."""
    orders = [tuple(items_in_epochs(range(50), 50, *parts)) for parts in ((1, "train"), (2, "train"), (1, "val"))]
    assert len(set(orders)) == 3
