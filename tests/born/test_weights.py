"""The weights that come with the package do what their card says."""

import genzoo


def test_distance_from_the_law():
    """Of the exact laws, to the digits of the card; of samples, within their scatter."""
    found = genzoo.evaluate("born", ["n=5000"])
    assert abs(found["kl_to_law"] - 0.064) < 0.001
    assert abs(found["total_variation_to_law"] - 0.086) < 0.001
    assert abs(found["total_variation"] - 0.187) < 0.012
    assert found["total_variation_real"] < found["total_variation"]
