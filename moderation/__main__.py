"""`python -m moderation` is modctl."""

from moderation.cli import main

main()
