"""Labels from folders and manifests: what is read, what is refused and how, identity and splits."""

from __future__ import annotations

import csv
import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from moderation.datasets import (
    LabelledImage,
    from_folders,
    from_root,
    manifest_sha256,
    read_manifest,
    split_by_group,
    write_manifest,
)
from moderation.errors import ConfigurationError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * len(name))
    return root


def names(images: list[LabelledImage], root: Path) -> list[tuple[str, bool]]:
    return [(image.path.relative_to(root).as_posix(), image.is_fake) for image in images]


def lone(name: str, is_fake: bool, group: str = "") -> LabelledImage:
    return LabelledImage(Path("/data") / name, is_fake, "", "", "", group or name, "")


def written(tmp_path: Path, text: str | bytes, *pictures: str) -> Path:
    touch(tmp_path, *pictures)
    path = tmp_path / "list.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read_manifest(path)
    assert caught.value.hint
    return str(caught.value)


class TestFolders:
    def test_pictures_in_any_case_at_any_depth_sorted_and_nothing_else(self, tmp_path: Path) -> None:
        touch(tmp_path, "r/b.PNG", "r/a.jpg", "r/deep/er/c.JpEg", "r/d.webp", "r/e.gif", "r/notes.txt", "r/.hid.jpg")
        touch(tmp_path, "r/.cache/x.jpg", "f/1.jpg")
        assert names(from_folders([tmp_path / "r"], [tmp_path / "f"]), tmp_path) == [
            ("r/a.jpg", False), ("r/b.PNG", False), ("r/d.webp", False), ("r/deep/er/c.JpEg", False),
            ("r/e.gif", False), ("f/1.jpg", True),
        ]  # fmt: skip

    def test_what_is_known_of_a_picture(self, tmp_path: Path) -> None:
        touch(tmp_path, "SD3/real/1.jpg", "SD3/fake/2.png")
        real, fake = from_root(tmp_path)
        assert real == LabelledImage(tmp_path / "SD3/real/1.jpg", False, "SD3", "none", "", "SD3/real/1.jpg", "")
        assert fake == LabelledImage(tmp_path / "SD3/fake/2.png", True, "SD3", "", "", "SD3/fake/2.png", "")

    def test_a_picture_and_its_twin_share_a_group_within_their_set_alone(self, tmp_path: Path) -> None:
        touch(tmp_path, "a/real/x/1.jpg", "a/fake/x/1.png", "a/fake/1.png", "b/real/x/1.jpg")
        groups = {image.path.relative_to(tmp_path).as_posix(): image.group for image in from_root(tmp_path)}
        assert groups["a/real/x/1.jpg"] == groups["a/fake/x/1.png"]
        assert len(set(groups.values())) == 3

    def test_groups_do_not_say_where_the_data_lies(self, tmp_path: Path) -> None:
        for place in ("here", "there"):
            touch(tmp_path / place, "r/1.jpg", "r/2.jpg", "f/1.jpg", "f/3.jpg")
        here, there = ([image.group for image in from_folders([at / "r"], [at / "f"])] for at in
                       (tmp_path / "here", tmp_path / "there"))  # fmt: skip
        assert here == there == ["1", "r/2.jpg", "1", "f/3.jpg"]

    def test_sets_of_one_class_and_a_root_that_is_one_set(self, tmp_path: Path) -> None:
        touch(tmp_path, "COCO/Real/1.jpg", "LIIF/FAKE/2.jpg", "README.md")
        assert [(image.set, image.is_fake) for image in from_root(tmp_path)] == [("COCO", False), ("LIIF", True)]
        touch(tmp_path / "mine", "real/1.jpg", "fake/2.jpg", "notes/todo.txt")
        assert {image.set for image in from_root(tmp_path / "mine")} == {"mine"}

    def test_links_are_followed_but_not_in_circles(self, tmp_path: Path) -> None:
        touch(tmp_path, "elsewhere/1.jpg", "r/2.jpg")
        (tmp_path / "r/again").symlink_to(tmp_path / "r")
        (tmp_path / "r/linked").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "r/gone.jpg").symlink_to(tmp_path / "nothing")
        os.mkfifo(tmp_path / "r/pipe.jpg")
        found = names(from_folders([tmp_path / "r"], []), tmp_path)
        assert [name for name, _ in found] == ["r/2.jpg", "r/gone.jpg", "r/linked/1.jpg"]

    def test_what_is_refused(self, tmp_path: Path) -> None:
        touch(tmp_path, "r/1.jpg", "r/in/2.jpg", "empty/notes.txt", "bad/set/pictures/1.jpg", "both/real/1.jpg")
        touch(tmp_path, "both/SD2/fake/1.jpg", "half/a/real/1.jpg", "half/a/fake/notes.txt")
        (tmp_path / "bare").mkdir()
        r = tmp_path / "r"
        for real, fake, says in [
            ([tmp_path / "none"], [], "does not exist"),
            ([tmp_path / "empty"], [], "no picture"),
            ([r / "1.jpg"], [], "is a file"),
            ([r], [r], "real and as fake"),
            ([r, r / "in"], [], "twice"),
            ([], [], "no folder given"),
        ]:
            with pytest.raises(ConfigurationError, match=says) as caught:
                from_folders(real, fake)
            assert caught.value.hint
        for root, says in [
            ("none", "does not exist"),
            ("r/1.jpg", "is a file"),
            ("bare", "no folder in it"),
            ("bad", "set without real/ and without fake/; it holds pictures"),
            ("both", "sets beside them: SD2"),
            ("half", "a/fake: no picture"),
        ]:
            with pytest.raises(ConfigurationError, match=says) as caught:
                from_root(tmp_path / root)
            assert caught.value.hint


class TestManifest:
    def test_all_columns_and_their_defaults(self, tmp_path: Path) -> None:
        path = written(
            tmp_path,
            "\ufeffPath, LABEL,note,generator,source,split,set,group\n"
            'a.jpg,real,"x, y",none,uploads,Train,S,g\n\n"b,1.jpg",Fake,,SD3,,,,\nc.jpg,0\n/abs/d.jpg,TRUE\n',
            "a.jpg",
        )
        assert read_manifest(path) == [
            LabelledImage(tmp_path / "a.jpg", False, "S", "none", "uploads", "g", "train"),
            LabelledImage(tmp_path / "b,1.jpg", True, "", "SD3", "", "b,1.jpg", ""),
            LabelledImage(tmp_path / "c.jpg", False, "", "none", "", "c.jpg", ""),
            LabelledImage(Path("/abs/d.jpg"), True, "", "", "", "/abs/d.jpg", ""),
        ]

    @pytest.mark.parametrize("suffix", [".csv", ".parquet"])
    def test_round_trip(self, tmp_path: Path, suffix: str) -> None:
        touch(tmp_path, 'in/å "1",.jpg', "in/ 2.jpg")
        images = [
            LabelledImage(tmp_path / 'in/å "1",.jpg', False, "S", "none", "web", "g", "val"),
            LabelledImage(tmp_path / "in/ 2.jpg", True, "S", "SD3", "", "h", ""),
            LabelledImage(Path("/far/3.jpg"), True, "", "", "", "3", ""),
        ]
        path = tmp_path / f"list{suffix}"
        write_manifest(path, images)
        assert read_manifest(path) == images
        assert sorted(entry.name for entry in tmp_path.iterdir()) == ["in", path.name]

    def test_a_manifest_moves_with_its_pictures(self, tmp_path: Path) -> None:
        touch(tmp_path, "old/1.jpg", "old/2.jpg")
        images = from_folders([tmp_path / "old"], [])
        write_manifest(tmp_path / "old/list.csv", images)
        (tmp_path / "old").rename(tmp_path / "new")
        assert [image.path for image in read_manifest(tmp_path / "new/list.csv")] == [
            tmp_path / "new/1.jpg", tmp_path / "new/2.jpg",
        ]  # fmt: skip

    @pytest.mark.parametrize("labels", [[0, 1], [False, True], [0.0, 1.0], ["real", "fake"]])
    def test_parquet_of_other_tools(self, tmp_path: Path, labels: list[object]) -> None:
        touch(tmp_path, "a.jpg")
        table = pyarrow.table({"label": labels, "split": ["test", None], "x": [1, 2], "path": ["a.jpg", "b.jpg"]})
        parquet.write_table(table, tmp_path / "list.parquet")
        assert [(image.is_fake, image.split) for image in read_manifest(tmp_path / "list.parquet")] == [
            (False, "test"), (True, ""),
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("", "line 1: no column 'path' and no column 'label'; the first line holds nothing"),
            ("file,label\na.jpg,real\n", "line 1: no column 'path'"),
            ("path;label\na.jpg;real\n", "separate the columns by commas"),
            (",img_path,label\n0,a.jpg,yes\n", "rename img_path to path"),
            ("path,label,Label\n", "line 1: two columns 'label'"),
            ("path,label\n", "no picture in it"),
            ("path,label\na.jpg,real\nb.jpg,maybe\n", "line 3: label 'maybe'"),
            ("path,label\na.jpg\n", "line 2: no label"),
            ("path,label\na.jpg,yes\n", "yes for real"),
            ("path,label\n,real\n", "line 2: no path"),
            ("path,label\nhttps://x/a.jpg,real\n", "line 2: https://x/a.jpg is a URL"),
            ("path,label\ns3://x/a.jpg,real\n", "is a URL"),
            ("path,label,split\na.jpg,real,holdout\n", "line 2: split 'holdout'"),
            ("path,label\na,b.jpg,real\n", "line 2: 3 fields under 2 columns"),
            ('path,label\n"a.jpg,real\n', "no CSV"),
            ("path,label\na.jpg,real\nb.jpg,real\na.jpg,real\n", "line 4: a.jpg stands in line 2 already"),
            ("path,label\na.jpg,real\na.jpg,fake\n", "line 3: a.jpg is labelled otherwise in line 2"),
            (
                "path,label,split,group\na.jpg,real,val,g\nb.jpg,fake,train,g\n",
                "line 3: group g is in train, but in val",
            ),
            (b"path,label\n\xe9.jpg,real\n", "no text in UTF-8"),
        ],
    )
    def test_what_is_refused_and_where(self, tmp_path: Path, text: str | bytes, says: str) -> None:
        path = written(tmp_path, text, "a.jpg")
        assert says in (found := refusal(path))
        assert str(path) in found

    def test_one_picture_may_be_in_several_sets(self, tmp_path: Path) -> None:
        path = written(tmp_path, "path,label,set\na.jpg,real,A\na.jpg,real,B\n", "a.jpg")
        assert [image.set for image in read_manifest(path)] == ["A", "B"]

    def test_missing_files_are_left_to_reading_unless_the_first_are_all_missing(self, tmp_path: Path) -> None:
        lines = "".join(f"{number}.jpg,real\n" for number in range(25))
        path = written(tmp_path, f"path,label\n{lines}", "24.jpg")
        found = refusal(path)
        assert "none of its first 20 files exists" in found
        assert f"count from the manifest's folder: looked for {tmp_path}/0.jpg" in found
        touch(tmp_path, "19.jpg")
        assert len(read_manifest(path)) == 25

    def test_files_that_are_no_manifest(self, tmp_path: Path) -> None:
        (tmp_path / "a.parquet").write_bytes(b"path,label\n")
        (tmp_path / "d.csv").mkdir()
        (tmp_path / "b.txt").write_bytes(b"path,label\n")
        for name, says in [
            ("a.parquet", "no readable Parquet"), ("b.txt", "neither .csv nor .parquet"),
            ("c.csv", "does not exist"), ("d.csv", "is a folder"),
        ]:  # fmt: skip
            assert says in refusal(tmp_path / name)
        parquet.write_table(pyarrow.table({"path": ["a"], "label": ["dog"]}), tmp_path / "e.parquet")
        assert "e.parquet, row 1: label 'dog'" in refusal(tmp_path / "e.parquet")

    @pytest.mark.parametrize("name", ["list.csv", "list.parquet"])
    def test_a_name_that_is_no_text_is_not_written(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(ConfigurationError, match="rename that file"):
            write_manifest(tmp_path / name, [lone(os.fsdecode(b"\xff.jpg"), False)])
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("suffix", [".csv", ".parquet"])
    def test_a_hundred_thousand_rows(self, tmp_path: Path, suffix: str) -> None:
        touch(tmp_path, "0.jpg")
        path = tmp_path / f"list{suffix}"
        write_manifest(path, (lone(f"{tmp_path}/{number}.jpg", number % 2 == 1) for number in range(100_000)))
        if suffix == ".csv":
            with path.open(newline="") as file:
                assert next(csv.reader(file)) == ["path", "label", "generator", "source", "split", "set", "group"]
        images = read_manifest(path)
        assert len(images) == 100_000
        train, val = split_by_group(images, 0.1, seed=0)
        assert (len(train), len(val)) == (90_000, 10_000)
        assert sum(image.is_fake for image in val) == 5_000
        assert len(manifest_sha256(images)) == 64


class TestIdentity:
    def test_order_and_place_mean_nothing(self, tmp_path: Path) -> None:
        for place in ("a", "b/c"):
            touch(tmp_path / place, "S/real/1.jpg", "S/fake/22.jpg")
        one = from_root(tmp_path / "a")
        assert manifest_sha256(one) == manifest_sha256(one[::-1]) == manifest_sha256(from_root(tmp_path / "b/c"))

    def test_a_relative_path_is_the_file_it_names(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        touch(tmp_path, "r/1.jpg", "f/2.jpg")
        monkeypatch.chdir(tmp_path)
        mixed = from_folders([Path("r")], [tmp_path / "f"])
        assert manifest_sha256(mixed) == manifest_sha256(from_folders([tmp_path / "r"], [tmp_path / "f"]))

    def test_whatever_changes_the_data_changes_it(self, tmp_path: Path) -> None:
        touch(tmp_path, "S/real/1.jpg", "S/fake/22.jpg")
        images = from_root(tmp_path)
        first = images[0]
        changed = [
            dataclasses.replace(first, set="other"),
            dataclasses.replace(first, generator="other"),
            dataclasses.replace(first, source="other"),
            dataclasses.replace(first, split="val"),
            dataclasses.replace(first, is_fake=True),
            dataclasses.replace(first, path=tmp_path / "x.jpg"),
        ]
        found = {manifest_sha256([image, images[1]]) for image in changed} | {manifest_sha256([*images, images[1]])}
        found |= {manifest_sha256(images), manifest_sha256(images[:1])}
        (tmp_path / "S/real/1.jpg").write_bytes(b"longer than it was")
        found.add(manifest_sha256(images))
        (tmp_path / "S/real/1.jpg").unlink()
        found.add(manifest_sha256(images))
        assert len(found) == len(changed) + 5

    def test_nothing_has_an_identity_too(self) -> None:
        assert manifest_sha256([]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


class TestSplit:
    def test_shares_classes_and_whole_groups(self) -> None:
        images = [
            lone(f"{kind}/{number}.jpg", kind == "f", f"{kind}{number // 3}") for kind in "rf" for number in range(90)
        ]
        train, val = split_by_group(images, 0.2, seed=3)
        assert sorted([*train, *val], key=images.index) == images
        assert not {image.group for image in train} & {image.group for image in val}
        assert [len({image.group for image in val if image.is_fake == kind}) for kind in (False, True)] == [6, 6]

    def test_it_is_the_same_again_in_any_order_and_another_with_another_seed(self) -> None:
        images = [lone(f"{number}.jpg", number % 4 == 0) for number in range(40)]
        chosen = {image.group for image in split_by_group(images, 0.25, seed=1)[1]}
        assert chosen == {image.group for image in split_by_group(images[::-1], 0.25, seed=1)[1]}
        assert chosen != {image.group for image in split_by_group(images, 0.25, seed=2)[1]}

    def test_pairs_stay_together_and_bring_both_classes(self) -> None:
        images = [lone(f"{kind}/{number}.jpg", kind == "f", str(number)) for number in range(10) for kind in "rf"]
        train, val = split_by_group(images, 0.3, seed=0)
        assert (len(train), len(val)) == (14, 6)
        assert sum(image.is_fake for image in val) == 3

    @pytest.mark.parametrize(
        ("fakes", "says"),
        [
            ([], "no picture to be fake"),
            ([lone("f/1.jpg", True, "x"), lone("f/2.jpg", True, "x")], "one source picture to be fake"),
            ([lone("r/1.jpg", True, "r/1.jpg"), lone("r/1x.jpg", True, "r/1.jpg")], "source picture to be fake"),
        ],
    )
    def test_a_half_without_a_class_is_refused(self, fakes: list[LabelledImage], says: str) -> None:
        reals = [lone(f"r/{number}.jpg", False) for number in range(5)]
        with pytest.raises(ConfigurationError, match=says):
            split_by_group([*reals, *fakes], 0.4, seed=0)

    @pytest.mark.parametrize("share", [0, 1, -0.5, float("nan")])
    def test_no_share(self, share: float) -> None:
        with pytest.raises(ConfigurationError, match="no share"):
            split_by_group([lone("r.jpg", False), lone("f.jpg", True)], share, seed=0)


def test_importing_it_loads_no_library() -> None:
    code = "import moderation.datasets, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"pyarrow", "numpy", "torch", "PIL"}.isdisjoint(done.stdout.split())
