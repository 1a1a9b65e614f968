"""Quantum Born machines: circuits whose measurement is the sample, on a fused state-vector simulator."""

from genzoo.parts import exports

PARTS = {
    "BornData": "data",
    "BornMachine": "model",
    "IQPMachine": "iqp",
    "Likelihood": "losses",
    "MaximumMeanDiscrepancy": "losses",
}
"""Their classes that a configuration names, with the modules that they are in."""

__getattr__ = exports(__name__, PARTS)
