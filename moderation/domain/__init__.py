"""The rules: pure functions over frozen dataclasses. Standard library only; time and randomness are passed in."""
