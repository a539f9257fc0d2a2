"""Presets on trees shaped as the publications say, and the table that AntifakePrompt's authors published."""

from __future__ import annotations

from pathlib import Path

import pytest

from moderation.datasets import (
    PRESETS,
    LabelledImage,
    PresetData,
    from_root,
    manifest_sha256,
    published_table,
    read_manifest,
    read_preset,
)
from moderation.datasets.antifakeprompt import NAMES, SETS
from moderation.datasets.published import MEAN
from moderation.errors import ConfigurationError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def by_set(data: PresetData) -> dict[str, list[bool]]:
    return {name: [image.is_fake for image in data.images if image.set == name] for name in data.sets}


class TestAntifakePrompt:
    def test_all_sets_in_the_tables_order(self, tmp_path: Path) -> None:
        touch(tmp_path, *(f"{name}/{number}.jpg" for name in SETS for number in range(2)))
        data = read_preset(tmp_path, "antifakeprompt")
        assert data.sets == SETS == published_table().rows
        assert (data.missing, data.unknown) == ((), ())
        assert {image.set for image in data.images if not image.is_fake} == {"COCO", "Flickr"}
        assert {image.generator for image in data.images if not image.is_fake} == {"none"}
        assert {(image.split, image.generator == image.set) for image in data.images if image.is_fake} == {
            ("test", True)
        }
        assert len(data.images) == len({image.group for image in data.images}) == 46

    @pytest.mark.parametrize("spelling", [str.lower, str.upper, lambda name: name.replace("-", "_")])
    def test_every_name_of_a_set_is_known_and_means_one_set(self, tmp_path: Path, spelling: type[str]) -> None:
        for number, (name, others) in enumerate(NAMES.items()):
            for other in (name, *others):
                root = touch(tmp_path / f"{number}-{other}", f"{spelling(other)}/1.jpg")
                assert read_preset(root, "antifakeprompt").sets == (name,)

    def test_names_that_people_use(self, tmp_path: Path) -> None:
        used = {
            "flickr30k": "Flickr", "DALLE2": "DALLE-2", "PGv2.5": "playground2.5", "DeeperForensics": "DF",
            "SD2-inpainting": "SD2IP", "SD2-superres": "SD2SR", "adversarial": "Adver.", "poisoning": "DataPoison",
            "ff++": "FF++", "backdoor": "Backdoor",
        }  # fmt: skip
        touch(tmp_path, *(f"{name}/1.jpg" for name in used))
        data = read_preset(tmp_path, "antifakeprompt")
        assert set(data.sets) == set(used.values())
        assert len(data.missing) == 23 - len(used)
        assert "COCO" in data.missing

    def test_flat_nested_below_the_class_and_below_a_class_at_the_root(self, tmp_path: Path) -> None:
        touch(
            tmp_path, "COCO/real/1.jpg", "COCO/2.jpg", "SD2/a/1.jpg", "SD2/2.jpg", "real/Flickr/1.jpg", "fake/SD3/1.jpg"
        )
        touch(tmp_path, "DFDC/real/1.jpg", "DFDC/fake/2.jpg", "prompts/1.txt", "SD4/1.jpg")
        data = read_preset(tmp_path, "antifakeprompt")
        assert by_set(data) == {
            "COCO": [False], "Flickr": [False], "SD2": [True, True], "SD3": [True], "DFDC": [True],
        }  # fmt: skip
        assert data.unknown == ("SD4", "prompts")

    def test_what_is_refused(self, tmp_path: Path) -> None:
        touch(tmp_path, "twice/SD2/1.jpg", "twice/sdv2/1.jpg", "wrong/COCO/fake/1.jpg", "none/cats/1.jpg")
        touch(tmp_path, "empty/SD2/1.txt")
        for root, says in [
            ("twice", "both the set SD2"),
            ("wrong", "the set COCO is real"),
            ("none", "none of the 23 sets"),
            ("empty", "no picture in it"),
            ("gone", "does not exist"),
        ]:
            with pytest.raises(ConfigurationError, match=says) as caught:
                from_root(tmp_path / root, "antifakeprompt")
            assert caught.value.hint


class TestGenImage:
    def test_with_and_without_the_archives_folder_and_only_the_reported_half(self, tmp_path: Path) -> None:
        for place in (
            "Midjourney",
            "stable_diffusion_v_1_4/imagenet_ai_0419_sdv4",
            "imagenet_ai_0419_biggan",
            "Firefly",
        ):
            touch(
                tmp_path / place,
                *(f"{split}/{kind}/{kind}1.png" for split in ("train", "val") for kind in ("ai", "nature")),
            )
        touch(tmp_path, "README/notes.txt")
        data = read_preset(tmp_path, "genimage")
        assert data.sets == ("Midjourney", "SDv1.4", "BigGAN", "Firefly")
        assert data.missing == ("SDv1.5", "ADM", "GLIDE", "Wukong", "VQDM")
        assert data.unknown == ("README",)
        assert by_set(data) == {name: [False, True] for name in data.sets}
        assert {image.split for image in data.images} == {"val"}
        assert {image.generator for image in data.images} == {"none", *data.sets}
        both = read_preset(tmp_path, "genimage", ["train", "val"])
        assert [image.split for image in both.images] == ["train", "train", "val", "val"] * 4

    def test_one_generators_folder(self, tmp_path: Path) -> None:
        touch(tmp_path / "imagenet_glide", "val/ai/1.png", "val/nature/2.JPEG")
        data = read_preset(tmp_path / "imagenet_glide", "genimage")
        assert by_set(data) == {"GLIDE": [False, True]}

    def test_two_folders_of_one_generator(self, tmp_path: Path) -> None:
        touch(tmp_path, "ADM/val/ai/1.png", "imagenet_ai_0508_adm/val/ai/1.png")
        with pytest.raises(ConfigurationError, match=r"both ADM of genimage"):
            read_preset(tmp_path, "genimage")

    def test_only_the_training_half(self, tmp_path: Path) -> None:
        touch(tmp_path, "ADM/train/ai/1.png")
        with pytest.raises(ConfigurationError, match=r"no val pictures of genimage"):
            read_preset(tmp_path, "genimage")


class TestUniversalFakeDetect:
    def test_categories_and_reals_shared_by_the_diffusion_sets(self, tmp_path: Path) -> None:
        test = tmp_path / "datasets/test"
        touch(test, "biggan/0_real/1.png", "biggan/1_fake/2.png", "progan/cat/0_real/1.png", "progan/cat/1_fake/1.png")
        touch(test, "progan/dog/0_real/1.png", "progan/dog/1_fake/9.png")
        touch(tmp_path, "datasets/train/progan/cat/0_real/1.png", "datasets/train/progan/cat/1_fake/1.png")
        diffusion = tmp_path / "diffusion_datasets"
        touch(diffusion, "laion/0_real/1.png", "imagenet/0_real/1.png", "dalle/1_fake/1.png", "guided/1_fake/1.png")
        touch(diffusion, "ldm_100/1_fake/1.png", "ldm_100/1_fake/2.png")
        data = read_preset(tmp_path, "universalfakedetect")
        assert by_set(data) == {
            "progan": [False, True, False, True], "biggan": [False, True], "guided": [False, True],
            "ldm_100": [False, True, True], "dalle": [False, True],
        }  # fmt: skip
        reals = {image.set: image for image in data.images if not image.is_fake}
        assert reals["guided"].path == diffusion / "imagenet/0_real/1.png"
        assert reals["dalle"].path == diffusion / "laion/0_real/1.png"
        assert reals["dalle"].group == reals["ldm_100"].group
        assert len({image.group for image in data.images if image.set == "progan"}) == 3
        assert len({image.group for image in data.images if image.set == "dalle"}) == 2
        assert {image.split for image in data.images} == {"test"}
        assert "cyclegan" in data.missing
        assert "laion" not in data.missing

    def test_diffusion_sets_with_reals_of_their_own(self, tmp_path: Path) -> None:
        touch(
            tmp_path, "dalle/0_real/1.png", "dalle/1_fake/1.png", "glide_50_27/0_real/1.png", "glide_50_27/1_fake/1.png"
        )
        data = read_preset(tmp_path, "universalfakedetect")
        assert by_set(data) == {"glide_50_27": [False, True], "dalle": [False, True]}

    def test_missing_reals_are_named(self, tmp_path: Path) -> None:
        touch(tmp_path, "dalle/1_fake/1.png")
        data = read_preset(tmp_path, "universalfakedetect")
        assert by_set(data) == {"dalle": [True]}
        assert data.missing[-1] == "laion"


class TestAIGIBench:
    def test_test_half_with_or_without_its_folder(self, tmp_path: Path) -> None:
        for root in (tmp_path / "whole/test", tmp_path / "half"):
            touch(
                root,
                "ProGAN/0_real/1.png",
                "ProGAN/1_fake/1.png",
                "Midjourney-V6/0_real/1.jpg",
                "Midjourney-V6/1_fake/2.jpg",
            )
            touch(root, "SDXL/SDXL/0_real/1.png", "SDXL/SDXL/1_fake/2.png")
        touch(tmp_path / "whole", "train/car/0_real/1.png", "train/car/1_fake/1.png", "val/car/0_real/1.png")
        for root in (tmp_path / "whole", tmp_path / "half"):
            data = read_preset(root, "aigibench")
            assert by_set(data) == {name: [False, True] for name in ("Midjourney", "ProGAN", "SDXL")}
            assert len(data.missing) == 22
            assert {image.split for image in data.images} == {"test"}
        assert read_preset(tmp_path / "whole", "aigibench", ["train"]).sets == ("car",)


def test_a_preset_gives_from_root_its_pictures(tmp_path: Path) -> None:
    touch(tmp_path, "SD3/1.jpg")
    images = from_root(tmp_path, "antifakeprompt")
    assert images == [LabelledImage(tmp_path / "SD3/1.jpg", True, "SD3", "SD3", "", "SD3/1.jpg", "test")]
    assert manifest_sha256(images) != manifest_sha256([])


def test_unknown_presets_and_splits(tmp_path: Path) -> None:
    assert PRESETS == ("antifakeprompt", "genimage", "universalfakedetect", "aigibench")
    with pytest.raises(ConfigurationError, match="one of antifakeprompt, genimage"):
        from_root(tmp_path, "imagenet")
    with pytest.raises(ConfigurationError, match="one of train, val, test"):
        read_preset(tmp_path, "genimage", ["dev"])
    with pytest.raises(ConfigurationError, match="only test pictures"):
        read_preset(tmp_path, "antifakeprompt", ["train"])


class TestPublishedTable:
    def test_shape_and_source(self) -> None:
        table = published_table()
        assert (len(table.rows), len(table.columns)) == (23, 18)
        assert MEAN not in table.rows
        assert "2310.17419" in table.source
        assert all(0 <= table.value(row, column) <= 100 for row in table.rows for column in table.columns)

    def test_the_published_means_are_the_means(self) -> None:
        table = published_table()
        for column in table.columns:
            mean = sum(table.value(row, column) for row in table.rows) / len(table.rows)
            assert mean == pytest.approx(table.mean(column), abs=0.0051)  # both ways of rounding to 2 places are in it

    def test_the_figures_that_are_quoted(self) -> None:
        table = published_table()
        assert table.mean("InstructBLIP_P") == 36.53
        assert table.mean("InstructBLIP_LoRA") == 81.43
        assert (table.mean("AFP_Orig"), table.mean("AFP_LaMa")) == (91.81, 94.50)
        others = [column for column in table.columns if not column.startswith(("InstructBLIP", "AFP"))]
        assert max(others, key=table.mean) == "DE-FAKE_F"
        assert table.mean("DE-FAKE_F") == 72.34
        wrong = [100 - table.value(row, column) for row in ("COCO", "Flickr") for column in ("AFP_Orig", "AFP_LaMa")]
        assert [min(wrong), max(wrong)] == pytest.approx([7.47, 9.6])

    def test_every_column_has_words(self) -> None:
        table = published_table()
        words = {table.legend(column) for column in table.columns}
        assert len(words) == len(table.columns)
        assert table.legend("DE-FAKE_F") == "DE-FAKE, finetuned on the paper's data"
        assert table.legend("AFP_LaMa") == "AntifakePrompt, tuned with LaMa pictures too"

    def test_what_is_not_in_it(self) -> None:
        with pytest.raises(KeyError, match="no row"):
            published_table().value("SD4", "AFP_Orig")
        with pytest.raises(KeyError, match="no column"):
            published_table().value("SD2", "ours")


class TestDocument:
    """docs/data.md says what the code does."""

    TEXT = (Path(__file__).parents[2] / "docs/data.md").read_text(encoding="utf-8")

    def test_its_manifest_is_one(self, tmp_path: Path) -> None:
        example = self.TEXT.split("```csv\n")[1].split("```")[0]
        (tmp_path / "list.csv").write_text(example, encoding="utf-8")
        touch(tmp_path, "photos/0001.jpg")
        images = read_manifest(tmp_path / "list.csv")
        assert [image.is_fake for image in images] == [False, True, False]
        assert len({image.group for image in images}) == 2

    def test_its_names_are_those_of_the_preset(self) -> None:
        cells = [
            cell.strip() for line in self.TEXT.splitlines() if line.startswith("| `") for cell in line.split("|")[1:-1]
        ]
        pairs = {cells[at].split("`")[1]: cells[at + 1] for at in range(len(cells) - 1) if cells[at].startswith("`")}
        listed = {name: tuple(filter(None, pairs[name].split(", "))) for name in SETS}
        assert listed == NAMES

    def test_it_names_every_preset(self) -> None:
        assert all(f"--preset {name}" in self.TEXT for name in PRESETS)
