"""Stored images scored again, and applied when asked."""
