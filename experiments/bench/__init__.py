"""Benchmarks: ratios, measured interleaved in one process. `python -m experiments.bench`."""
