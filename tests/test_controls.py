"""Told, told nothing, told another's: with equal noise, and told apart."""

import pytest
import torch

from genzoo.draws import RowNoise
from genzoo.metrics.controls import agreement, another, three_ways

CLASSES = 4


def listener(cond, seed):
    """Shows the label that it is told, and by its noise another thing."""
    drawn = RowNoise(range(len(cond["label"])), seed).integers(CLASSES, len(cond["label"]), 1)
    shown = torch.where(cond["label"] < CLASSES, cond["label"], drawn[:, 0])
    return torch.stack((shown, drawn[:, 0]), dim=1)


def deaf(cond, seed):
    return listener({"label": torch.full_like(cond["label"], CLASSES)}, seed)


def test_what_is_told():
    """Only the conditions that are withheld change, and the rows keep their noise."""
    cond = {"label": torch.tensor([0, 0, 1, 2]), "wind": torch.arange(4.0)}
    seen = []

    def sample(cond, seed):
        seen.append((cond, seed))
        return listener(cond, seed)

    others = another(4, cond["label"])
    made = three_ways(sample, cond, 7, nothing={"label": torch.full((4,), CLASSES)}, others=others)
    assert [seed for _, seed in seen] == [7, 7, 7]
    assert [c["label"].tolist() for c, _ in seen] == [[0, 0, 1, 2], [4, 4, 4, 4], [1, 1, 2, 0]]
    assert all(torch.equal(c["wind"], cond["wind"]) for c, _ in seen)
    assert all(torch.equal(x[:, 1], made["told"][:, 1]) for x in made.values())
    three_ways(sample, cond, 7, nothing={"wind": None}, others=others)
    assert [sorted(c) for c, _ in seen[3:]] == [["label", "wind"], ["label"], ["label", "wind"]]


@pytest.mark.parametrize("kinds", [[0, 0, 0, 1], [2, 1, 0, 1], [0, 1, 0, 1]])
def test_another_is_of_another_kind(kinds):
    kinds = torch.tensor(kinds)
    assert (kinds[another(4, kinds)] != kinds).all()


def test_another_where_there_is_but_one_kind():
    assert another(3, torch.zeros(3)).tolist() == another(3).tolist() == [1, 2, 0]
    assert another(1).tolist() == [0]


def test_a_score_that_can_fail():
    """What listens is right when it is told, right by chance when it is not, and wrong when it is told another's; what
    does not listen is right by chance three times, and alike."""
    cond = {"label": torch.arange(CLASSES).repeat_interleave(500)}
    how = {"classes": CLASSES, "seed": 3}
    shares, right = agreement(listener, lambda x: x[:, 0], cond, **how)
    assert (shares["told"], shares["swapped"], right.all()) == (1, 0, True)
    assert shares["withheld"] == pytest.approx(1 / CLASSES, abs=0.04)
    shares, _ = agreement(deaf, lambda x: x[:, 0], cond, **how)
    assert shares["told"] == shares["withheld"] == shares["swapped"] == pytest.approx(1 / CLASSES, abs=0.04)
