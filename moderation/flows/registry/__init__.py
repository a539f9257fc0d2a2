"""Which prompts there are, which one is in use, and how they differ."""
