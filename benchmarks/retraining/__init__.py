"""The figures of docs/retraining.md: `python -m benchmarks.retraining` lets the loop close once, and once in vain."""
