"""Labelled pictures: what a folder tree or a manifest says is real and fake. Reads names and tables, opens no picture."""
