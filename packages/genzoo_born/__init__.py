"""Quantum Born machines: circuits whose measurement is the sample, on a fused state-vector simulator."""
