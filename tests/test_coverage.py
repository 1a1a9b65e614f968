"""Which classes are among samples."""

import pytest
import torch

from genzoo.metrics import class_coverage


def test_coverage():
    found = class_coverage(torch.tensor([0, 0, 1, 3]), 4)
    assert found == {
        "classes": 3,
        "of": 4,
        "rarest_over_equal": 0,
        "total_variation": pytest.approx(0.25),
        "samples": 4,
    }
    even = class_coverage(torch.arange(12) % 4, 4)
    assert (even["classes"], even["rarest_over_equal"], even["total_variation"]) == (4, 1, 0)


@pytest.mark.parametrize("labels", [[], [4], [-1]])
def test_wrong_labels(labels):
    with pytest.raises(ValueError, match="labels are of 0 to 3"):
        class_coverage(torch.tensor(labels, dtype=torch.long), 4)
