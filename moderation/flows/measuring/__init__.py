"""How good prompts are on labelled pictures."""
