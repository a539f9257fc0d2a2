"""Tuning: data in, a calibrated prompt out. torch lives here too; nothing here decides about an image."""
