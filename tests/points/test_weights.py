"""The weights that come with the package do what their card says."""

import torch
from safetensors.torch import load_file

import genzoo
from genzoo.zoo import shipped
from genzoo_points.classifier import PointClassifier, read


def test_shapes():
    """Three of each class: a classifier, trained on the real shapes and beside the weights, sees what was asked for;
    clouds fill the sphere that real shapes do."""
    model = genzoo.load("points")
    net = PointClassifier(len(model.data.classes))
    net.load_state_dict(load_file(next(shipped()["points"].glob("points-classifier-*.safetensors"))))
    label = torch.arange(len(model.data.classes)).repeat_interleave(3)
    x = model.sample_given({**model.data.told([None] * len(label)), "label": label}, 5)
    assert (read(net.eval(), x) == label).double().mean() >= 0.95
    assert x.shape == (24, 2048, 3)
    assert x.norm(dim=-1).quantile(0.99) < 1.1
    assert x.norm(dim=-1).amax(dim=1).min() > 0.8


def test_another_number_of_points():
    assert genzoo.load("points").sample(1, label="chair", points=500).x.shape == (1, 500, 3)
