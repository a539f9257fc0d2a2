"""Files that are whole or as they were before."""

from __future__ import annotations

from pathlib import Path

import pytest

from moderation.files import write_whole


def test_the_bytes_are_there_and_nothing_else(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.bin", b"first")
    write_whole(tmp_path / "a.bin", b"second")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("a.bin", b"second")]


def test_what_can_not_be_put_in_place_leaves_no_draft(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        write_whole(tmp_path / "taken", b"data")
    assert [file.name for file in tmp_path.iterdir()] == ["taken"]
