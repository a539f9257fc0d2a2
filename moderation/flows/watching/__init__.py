"""Whether what comes in is still what it was."""
