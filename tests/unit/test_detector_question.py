"""The rule for ids: split on `[*]`, strip the white space beside it, encode every piece by itself."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sentencepiece

from moderation.detector import QUESTIONS
from moderation.detector.question import Question, SideIds, Words, answer_ids
from moderation.detector.tokenizer import load_words
from moderation.errors import ConfigurationError
from tests import tiny_backbones as tiny

LLAMA = SimpleNamespace(is_encoder_decoder=False, eos_token_id=2)
T5 = SimpleNamespace(is_encoder_decoder=True, eos_token_id=1)
REAL_TOKENIZER = os.environ.get("MODERATION_TEST_TOKENIZER")  # read here: the tests' environment is cleaned


def _words(folder: Path, kind: str = "bpe") -> Words:
    (folder / "qformer_tokenizer").mkdir(parents=True)
    tiny.qformer_tokenizer().save(str(folder / "qformer_tokenizer" / "tokenizer.json"))
    options: dict[str, dict[str, Any]] = {
        "bpe": {"unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": -1, "byte_fallback": True},
        "unigram": {"unk_id": 2, "bos_id": -1, "eos_id": 1, "pad_id": 0, "user_defined_symbols": ["▁yes", "▁no"]},
    }
    name = "tokenizer.model" if kind == "bpe" else "spiece.model"
    (folder / name).write_bytes(tiny.sentencepiece_model(kind, **options[kind]))
    return load_words(folder, LLAMA if kind == "bpe" else T5)


def _pieces(folder: Path, ids: tuple[int, ...]) -> list[str]:
    processor = sentencepiece.SentencePieceProcessor()
    processor.Load(str(next(folder.glob("*.model"))))
    return [str(processor.IdToPiece(index)) for index in ids]


def test_each_piece_is_encoded_by_itself(tmp_path: Path) -> None:
    question = _words(tmp_path).question(QUESTIONS["postfix"])
    assert _pieces(tmp_path, question.llm.before) == ["</s>", "▁Is", "▁this", "▁photo", "▁real"]
    assert _pieces(tmp_path, question.llm.after) == ["▁?"]  # and not `?`: a piece starts anew
    assert question.qformer == SideIds(before=(2, 4, 5, 6, 7), after=(8, 3))


def test_prefix_and_plain_end_in_a_bare_question_mark(tmp_path: Path) -> None:
    words = _words(tmp_path)
    prefix = words.question(QUESTIONS["prefix"])
    assert prefix.llm.before == (2,)
    assert _pieces(tmp_path, prefix.llm.after) == ["▁Is", "▁this", "▁photo", "▁real", "?"]
    plain = words.question(QUESTIONS["plain"], mark_qformer=False, mark_llm=False)
    assert plain.llm == SideIds((2, *prefix.llm.after))


def test_white_space_beside_the_marker_changes_nothing(tmp_path: Path) -> None:
    words = _words(tmp_path)
    assert words.question("Is this photo real[*]   ?") == words.question("Is this photo real [*]?")


def test_a_side_without_vectors_reads_the_marker_as_characters(tmp_path: Path) -> None:
    question = _words(tmp_path).question(QUESTIONS["postfix"], mark_qformer=False)
    assert question.qformer == SideIds((2, 4, 5, 6, 7, 9, 10, 11, 8, 3))  # `[`, `*` and `]` are words of their own
    assert question.llm.after


def test_an_encoder_reads_the_end_and_no_start(tmp_path: Path) -> None:
    words = _words(tmp_path, "unigram")
    question = words.question(QUESTIONS["postfix"])
    assert question.llm.after[-1] == words.eos == 1
    assert question.llm.before == tuple(words.encode_llm("Is this photo real"))
    assert _pieces(tmp_path, (words.yes, words.no)) == ["▁yes", "▁no"]


def test_bert_reads_the_same_from_either_file(tmp_path: Path) -> None:
    from_json = _words(tmp_path)
    (tmp_path / "qformer_tokenizer" / "tokenizer.json").unlink()
    (tmp_path / "qformer_tokenizer" / "vocab.txt").write_text("\n".join(tiny.QFORMER_VOCABULARY) + "\n")
    from_text = load_words(tmp_path, LLAMA)
    for text in QUESTIONS.values():
        marked = "[*]" in text
        assert from_json.question(text, mark_qformer=marked, mark_llm=marked) == from_text.question(
            text, mark_qformer=marked, mark_llm=marked
        )


@pytest.mark.parametrize("text", ["Is this photo real?", "[*] Is this [*] real?"])
def test_a_marked_question_holds_one_marker(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match="exactly once"):
        _words(tmp_path).question(text)


def test_answers_that_can_not_be_told_apart_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="different ids"):
        answer_ids(lambda piece: [3, len(piece)])
    assert answer_ids(lambda piece: [len(piece), 9]) == (3, 2)


def test_missing_and_damaged_tokenizers_name_the_backbone(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"tokenizer\.model, spiece\.model, tokenizer\.json") as caught:
        load_words(tmp_path, LLAMA)
    assert caught.value.setting == "MODERATION_BACKBONE"
    for name in ("tokenizer.json", "tokenizer.model"):
        (tmp_path / name).write_bytes(b"no tokenizer")
        with pytest.raises(ConfigurationError, match=f"can't read .*{name}"):
            load_words(tmp_path, LLAMA)


if REAL_TOKENIZER:

    def test_the_real_tokenizers_give_the_papers_ids() -> None:
        """Against the ids that the original's environment gave (transformers 4.33, InstructBLIP Vicuna-7B)."""
        words = load_words(Path(str(REAL_TOKENIZER)), LLAMA)
        assert words.question(QUESTIONS["postfix"]) == Question(
            qformer=SideIds((101, 2003, 2023, 6302, 2613), (1029, 102)),
            llm=SideIds((2, 1317, 445, 15373, 1855), (1577,)),
        )
        assert words.question(QUESTIONS["prefix"]).llm == SideIds((2,), (1317, 445, 15373, 1855, 29973))
        one_sided = words.question(QUESTIONS["postfix"], mark_llm=False).llm
        assert one_sided.before == (2, 1317, 445, 15373, 1855, 518, 29930, 29962, 29973)
        assert (words.yes, words.no) == (4874, 694)
