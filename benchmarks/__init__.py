"""Benchmarks: scripts that measure, and the results that they wrote."""
