"""The figures of docs/method.md: `python -m benchmarks.method` tunes and evaluates on the miniature and writes them."""
