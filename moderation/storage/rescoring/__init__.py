"""Runs that score stored images again, and what they change."""
