"""Labelled pictures: what a folder tree or a manifest says is real and fake. Opens no picture."""

from __future__ import annotations

from moderation.datasets.folders import from_folders, from_root
from moderation.datasets.labelled import LabelledImage, manifest_sha256, split_by_group
from moderation.datasets.layout import PresetData
from moderation.datasets.manifest import read_manifest, write_manifest
from moderation.datasets.presets import PRESETS, read_preset
from moderation.datasets.published import PublishedTable, published_table

__all__ = [
    "PRESETS",
    "LabelledImage",
    "PresetData",
    "PublishedTable",
    "from_folders",
    "from_root",
    "manifest_sha256",
    "published_table",
    "read_manifest",
    "read_preset",
    "split_by_group",
    "write_manifest",
]
