"""How good the scores are: metrics over truths and probabilities."""
