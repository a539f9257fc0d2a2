"""What a retraining learns from, and its runs."""
