"""The folder of scores: nothing is lost or doubled by a kill, and scores made otherwise are never mixed in."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from moderation.errors import ConfigurationError
from moderation.evaluation.scorefile import ROWS_A_PART, ScoreFile
from moderation.evaluation.scores import SCORE_COLUMNS, ScoreRow, ScoreTable

CONFIGURATION = {"backbone": "tiny", "candidates": {"plain": "abc"}}


def row(number: int, *, error: str = "", condition: str = "", candidate: str = "plain") -> ScoreRow:
    margin = float("nan") if error else number / 7 - 1
    path = f"/pictures/set {number % 23}/{number:07}.png"
    return ScoreRow(
        candidate, condition, f"set {number % 23}", path, number % 2 == 1, "none", "", f"group {number // 3}", margin,
        float("nan") if error else 1 / (1 + np.exp(-margin)), f"{number:064x}", error,
    )  # fmt: skip


def test_what_was_written_comes_back_in_order(tmp_path: Path) -> None:
    rows = [
        row(0),
        row(1, error="truncated: cut short"),
        row(2, condition="jpeg 50"),
        row(3)._replace(path='/ä,\n".png'),
    ]
    with ScoreFile(tmp_path, CONFIGURATION) as file:
        file.add(rows[:2])
        file.flush()
        file.add(rows[2:])
        file.flush()
        found = file.table()
        file.export(tmp_path / "scores.parquet")
        file.export(tmp_path / "scores.csv")
    for name in SCORE_COLUMNS:
        np.testing.assert_array_equal(getattr(found, name), [getattr(each, name) for each in rows])
    assert found.is_scored.tolist() == [True, False, True, True]
    assert found.where(condition="jpeg 50").path.tolist() == [rows[2].path]
    assert len(found.where(is_fake=True, condition="")) == 2
    quoted = pyarrow.csv.ParseOptions(newlines_in_values=True)
    csv = pyarrow.csv.read_csv(tmp_path / "scores.csv", parse_options=quoted)
    for table in (pq.read_table(tmp_path / "scores.parquet"), csv):
        assert table.column_names == list(SCORE_COLUMNS)
        assert table["path"].to_pylist() == [each.path for each in rows]
        np.testing.assert_allclose(table["margin"].to_numpy(), found.margin)


def test_a_folder_without_scores_has_an_empty_table(tmp_path: Path) -> None:
    with ScoreFile(tmp_path, CONFIGURATION) as file:
        table = file.table()
        assert (len(table), file.done(), file.features()) == (0, set(), {})
        file.export(tmp_path / "scores.csv")
    assert len(table.where(candidate="plain")) == 0
    assert len(ScoreTable.of([])) == 0


def test_a_killed_process_loses_only_what_it_had_not_written(tmp_path: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
from moderation.evaluation.scorefile import ScoreFile
from tests.unit.test_evaluation_scores import CONFIGURATION, row
file = ScoreFile(Path({str(tmp_path)!r}), CONFIGURATION)
file.add([row(0), row(1)], [{{"_path": "0"}}, {{"_path": "1"}}])
file.flush()
Path({str(tmp_path)!r}, ".part-000001.parquet.unfinished").write_bytes(b"PAR1 half")
Path({str(tmp_path)!r}, "features-000001.parquet").write_bytes(b"PAR1 half")
file.add([row(2)])
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == -9
    with ScoreFile(tmp_path, CONFIGURATION) as file:
        assert file.done() == {(row(number).set, row(number).path) for number in (0, 1)}
        file.add([row(2)], [{"_path": "2"}])
        file.flush()
        assert file.table().sha256.tolist() == [row(number).sha256 for number in range(3)]
        assert file.features()["_path"].tolist() == ["0", "1", "2"]


def test_closing_writes_what_is_left(tmp_path: Path) -> None:
    def interrupted() -> None:
        with ScoreFile(tmp_path, CONFIGURATION) as file:
            file.add([row(0)])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with ScoreFile(tmp_path, CONFIGURATION) as file:
        assert len(file.table()) == 1


def test_scores_made_otherwise_are_refused_by_name_and_kept(tmp_path: Path) -> None:
    with ScoreFile(tmp_path, CONFIGURATION) as file:
        file.add([row(0)])
    other = {**CONFIGURATION, "candidates": {"plain": "xyz"}, "robustness": ["jpeg 50"]}
    with pytest.raises(ConfigurationError) as refused:
        ScoreFile(tmp_path, other)
    problem = str(refused.value)
    assert str(tmp_path) in problem
    assert '{"plain": "abc"}, now {"plain": "xyz"}' in problem
    assert 'robustness was null, now ["jpeg 50"]' in problem
    assert "backbone" not in problem
    assert "--fresh" in problem
    with ScoreFile(tmp_path, CONFIGURATION) as file:
        assert len(file.table()) == 1
    with ScoreFile(tmp_path, other, fresh=True) as file:
        assert (file.done(), len(file.table())) == (set(), 0)


def test_a_folder_in_which_nothing_was_scored_yet_is_anybodys(tmp_path: Path) -> None:
    ScoreFile(tmp_path, CONFIGURATION).close()
    ScoreFile(tmp_path, {"backbone": "another"}).close()


def test_two_processes_do_not_write_into_one_folder(tmp_path: Path) -> None:
    with ScoreFile(tmp_path, CONFIGURATION), pytest.raises(ConfigurationError, match="another process is scoring"):
        ScoreFile(tmp_path, CONFIGURATION)
    ScoreFile(tmp_path, CONFIGURATION).close()


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    with ScoreFile(tmp_path, CONFIGURATION) as file:
        file.add([row(0)])
        file.flush()
        (part,) = tmp_path.glob("part-*")
        part.write_bytes(part.read_bytes()[:-20])
        with pytest.raises(ConfigurationError, match=r"part-000000\.parquet: can't be read"):
            file.done()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScoreFile]:
    """100,000 pictures by two candidates."""
    folder = tmp_path_factory.mktemp("large")
    with ScoreFile(folder, CONFIGURATION) as file:
        for number in range(100_000):
            file.add([row(number), row(number, candidate="other")])
            assert len(file._rows) < ROWS_A_PART  # they never pile up
        file.flush()
        yield file


def test_a_hundred_thousand_pictures(large: ScoreFile) -> None:
    assert len(large.done()) == 100_000
    table = large.table()
    assert len(table) == 200_000
    assert len(table.where(candidate="other", set="set 5")) == len(range(5, 100_000, 23))
    size = sum(part.stat().st_size for part in large.folder.glob("part-*"))
    assert size < 60 * len(table)  # bytes a row on disk
    assert len({id(name) for name in table.path.tolist()}) == 100_000  # a name in memory once, not once a row
