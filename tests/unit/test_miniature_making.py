"""How the miniature's pictures, words and figures are made."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from moderation.miniature import backbone, condition, decoders, language, measure, pictures, processing, words, workshop
from moderation.miniature.decoders import FAMILIES, Autoencoder
from moderation.miniature.photographs import PHOTOGRAPHS, Split, load, of_split

SIDE = 48


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small convolutions gain nothing from a second thread and lose much when the machine is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def some_pairs(seed: int, side: int = SIDE) -> pictures.PictureSet:
    torch.manual_seed(0)
    decoder = Autoencoder(FAMILIES[0]).eval().requires_grad_(requires_grad=False)
    crops = workshop.cut(Split.PRETRAIN, 6, side, drawn_share=0.5, seed=seed)
    return pictures.make_pairs(crops, "tconv2", pictures.decode(decoder, crops, seed), np.random.default_rng(seed), 0.7)


def test_no_photograph_and_no_family_is_in_two_splits() -> None:
    assert len({photograph.name for photograph in PHOTOGRAPHS}) == len(PHOTOGRAPHS)
    assert len({(photograph.package, photograph.file) for photograph in PHOTOGRAPHS}) == len(PHOTOGRAPHS)
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    for split in Split:
        assert of_split(split), split


def test_enlargers_of_pretraining_and_tuning_differ_and_none_of_pretraining_is_tested() -> None:
    kinds = {split: {family.enlarger for family in decoders.of_split(split)} for split in Split}
    assert not kinds[Split.PRETRAIN] & kinds[Split.TUNE]
    assert not kinds[Split.PRETRAIN] & kinds[Split.TEST]


@pytest.mark.parametrize("photograph", PHOTOGRAPHS, ids=lambda photograph: photograph.name)
def test_photographs_are_at_hand_and_licensed(photograph: object) -> None:
    from moderation.miniature.photographs import Photograph

    assert isinstance(photograph, Photograph)
    pixels = load(photograph)
    assert pixels.dtype == np.uint8
    assert min(pixels.shape[:2]) * 0.9 >= backbone.IMAGE_SIZE
    assert photograph.licence
    assert photograph.attribution
    grey = bool((pixels == pixels[..., :1]).all())
    assert grey == photograph.is_grey


def test_pictures_are_the_same_for_the_same_seed_and_others_for_another() -> None:
    first, again, other = some_pairs(1), some_pairs(1), some_pairs(2)
    assert np.array_equal(first.pixels, again.pixels)
    assert np.array_equal(first.attributes, again.attributes)
    assert not np.array_equal(first.pixels, other.pixels)


def test_pairs_hold_one_real_and_one_fake_of_each_crop() -> None:
    found = some_pairs(1)
    for pair in np.unique(found.pair):
        assert sorted(found.is_fake[found.pair == pair]) == [False, True]
        assert len(set(found.photograph[found.pair == pair])) == 1
    assert set(found.family[~found.is_fake]) == {"none"}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_decoders_keep_the_size_of_what_they_get(family: decoders.Family) -> None:
    pixels = torch.rand(2, 3, 64, 64)
    made = Autoencoder(family)(pixels).detach()
    assert made.shape == pixels.shape
    assert 0 <= float(made.min()) <= float(made.max()) <= 1


def test_training_a_decoder_brings_it_nearer_to_its_pictures() -> None:
    bank = torch.rand(8, 3, 8, 8).repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    family = replace(FAMILIES[0], texture=0.0)
    barely, longer = (decoders.train(family, bank, steps, seed=0) for steps in (2, 40))
    assert float((longer(bank) - bank).abs().mean()) < float((barely(bank) - bank).abs().mean())


def test_matching_takes_the_difference_in_sharpness_away() -> None:
    rng = np.random.default_rng(0)
    sharp = workshop.cut(Split.PRETRAIN, 1, SIDE, drawn_share=0, seed=3)[0].pixels
    soft = processing.blur(sharp, 0.8)
    for name in ("blurred", "sharpened"):
        pair = condition.treat(sharp, soft, name, rng)
        ratio = processing.laplacian_variance(pair[0]) / processing.laplacian_variance(pair[1])
        assert 0.9 < ratio < 1.1, name


def test_auc_counts_ties_as_half() -> None:
    assert measure.auc(np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, False, True, True])) == 1
    assert measure.auc(np.array([1.0, 1.0]), np.array([False, True])) == 0.5
    assert measure.auc(np.array([3.0, 1.0, 2.0]), np.array([False, True, True])) == 0


def test_answers_and_every_word_are_one_token_on_both_sides() -> None:
    for tokenizer in (words.llm_tokenizer(), words.qformer_tokenizer()):
        for word in (*words.WORDS, "is", "photo", "?"):
            assert len(tokenizer.encode(word, add_special_tokens=False).ids) == 1
            assert tokenizer.encode(word).tokens == [word]
    tokenizer = words.llm_tokenizer()
    assert tokenizer.encode("yes").ids == [words.YES_ID]
    assert tokenizer.encode("No").ids == [words.NO_ID]
    assert tokenizer.token_to_id("</s>") == words.BOS_ID
    assert words.qformer_tokenizer().token_to_id("[CLS]") == words.CLS_ID


def test_questions_are_about_pictures_for_which_the_answer_holds() -> None:
    attributes = np.random.default_rng(0).random((80, len(words.ATTRIBUTES))) < 0.4
    asked = language.Asker(attributes, seed=0).ask(64, simple=True)
    tokenizer = words.llm_tokenizer()
    for picture, ids, answer in zip(asked.picture, asked.llm_ids.tolist(), asked.answer.tolist(), strict=True):
        attribute, meaning = words.WORDS[tokenizer.decode([ids[4]])]
        assert (attributes[picture, words.ATTRIBUTES.index(attribute)] == meaning) == answer
    assert 16 < int(asked.answer.sum()) < 48


def test_importing_the_miniature_loads_no_torch() -> None:
    code = "import sys, moderation.miniature; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
