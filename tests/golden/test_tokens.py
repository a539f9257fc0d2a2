"""The question's ids, against those that the original's own tokenizers gave."""

from __future__ import annotations

import pytest

from moderation.detector import MARKER, QUESTIONS
from tests.golden.sets import PUBLIC, GoldenSet, golden_sets, ids_with, name_of, token_words

sets_with_tokens = pytest.mark.parametrize(
    "golden", [golden for golden in golden_sets() if (golden.root / "tokens.json").is_file()], ids=name_of
)


@sets_with_tokens
def test_every_prompt_has_the_originals_ids(golden: GoldenSet) -> None:
    tokens = golden.json("tokens.json")
    words = token_words(golden.root)
    for prompt in tokens["prompts"]:
        marked = MARKER in prompt["text"]
        question = words.question(prompt["text"], mark_qformer=marked, mark_llm=marked)
        special = tokens["special"]
        assert ids_with(special["llm"]["pseudo"], question.llm, marked=marked) == prompt["llm_ids"], prompt["text"]
        assert ids_with(special["qformer"]["pseudo"], question.qformer, marked=marked) == prompt["qformer_ids"]


def test_a_side_without_a_vector_reads_the_marker_as_characters() -> None:
    question = token_words(PUBLIC).question(QUESTIONS["postfix"], mark_llm=False)
    assert list(question.llm.before) == GoldenSet(PUBLIC).json("tokens.json")["freezeLLM_llm_ids"]
    assert question.llm.after == ()
