"""The weights that come with the package do what their card says."""

import torch
from safetensors.torch import load_file

import genzoo
from genzoo.zoo import shipped
from genzoo_points.classifier import PointClassifier
from genzoo_points.motion.classifier import read
from genzoo_points.motion.metrics import acceleration


def test_bodies_move_as_they_are_asked():
    """Three of each class: a classifier of trajectories, trained on real ones and beside the weights, sees the class;
    accelerations are of the size that real ones have (0.0239 model lengths / frame^2 on average)."""
    model = genzoo.load("motion")
    data = model.data
    frames = data.spec.shape[0]
    net = PointClassifier(len(data.classes), channels=3 * frames)
    net.load_state_dict(load_file(next(shipped()["motion"].glob("motion-classifier-*.safetensors"))))
    label = torch.arange(len(data.classes)).repeat_interleave(3)
    cond = data.told(torch.zeros(len(label), *data.spec.context["past"]), torch.zeros(len(label), dtype=torch.long))
    x = model.sample_given({**cond, "label": label}, 3, steps=10)
    assert (read(net.eval(), x) == label).double().mean() >= 0.9
    assert 0.5 < acceleration(x).mean() / 0.0239 < 2
