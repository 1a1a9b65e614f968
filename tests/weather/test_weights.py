"""The weights that come with the package do what their card says."""

import pytest

import genzoo


@pytest.fixture(scope="module")
def model():
    return genzoo.load("weather")


def test_climate(model):
    """Four maps from nothing: westerlies blow in the middle latitudes of both hemispheres, at 10 to 25 m/s, and little
    at the equator and the poles; the layer is about 3,900 m deep on the grid's plain mean."""
    fields = model.data.decode(model.sample(4, seed=1).x)
    zonal = fields[:, 0].mean(dim=(0, 2))  # [24]
    assert 10 < zonal[:12].max() < 25
    assert 10 < zonal[12:].max() < 25
    assert zonal[[0, 1, 11, 12, 22, 23]].abs().max() < 5
    assert (fields[:, 2].mean() - 3900).abs() < 100


@pytest.mark.slow
def test_forecasts():
    """Fair CRPS after 12 hours, as the card has it for more starts: half of that of damped persistence."""
    words = ["n=0", "scoring.starts=6", "scoring.members=8", "scoring.leads=[1]"]
    found = genzoo.evaluate("weather", words)
    for field, crps in (("u", 0.72), ("v", 0.68), ("h", 10.7)):
        ours = found["forecast"][field]["lead_1"]["crps"]
        assert abs(ours / crps - 1) < 0.15
        assert ours < 0.6 * found["baselines"]["damped"][field]["lead_1"]["crps"]
