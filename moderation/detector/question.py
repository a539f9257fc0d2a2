"""The question as token ids, built piece by piece so that no tokenizer version can change them.

A tokenizer asked for the whole text puts other ids around an added `[*]` from one transformers release to the next.
So the text is split on the marker, the white space beside it is stripped, and every piece is encoded by itself. Where
the vectors go is a position between two runs of ids: the marker never has an id, so it can clash with none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from moderation.errors import ConfigurationError

MARKER = "[*]"
QUESTIONS = {
    "postfix": "Is this photo real [*]?",
    "prefix": "[*] Is this photo real?",
    "replace": "Is this photo [*]?",
    "plain": "Is this photo real?",
}
"""The paper's question for each position of the pseudo-word (arXiv 2310.17419); `plain` is zero-shot, without one."""

VICUNA_BOS = 2
"""What the original feeds a LLaMA first: `</s>` (2), which its tokenizer was told to use as BOS. With `<s>` (1) the
frozen model is off its training distribution (huggingface/transformers pull request 23460)."""
VICUNA_EOS = 2
YES, NO = "yes", "no"  # lower case: `Yes` and `No` are other ids and not what the method was tuned to say

PieceEncoder = Callable[[str], list[int]]
"""Encodes one piece of text by itself, adding no special tokens."""


@dataclass(frozen=True)
class SideIds:
    """One side's ids. Its vectors, when it has any, stand between `before` and `after`."""

    before: tuple[int, ...]
    after: tuple[int, ...] = ()


@dataclass(frozen=True)
class Question:
    """A question as both sides of the model read it, special tokens included."""

    qformer: SideIds
    llm: SideIds


@dataclass(frozen=True)
class Words:
    """A backbone's two tokenizers, reduced to what the method needs of them."""

    encode_qformer: PieceEncoder
    encode_llm: PieceEncoder
    qformer_start: int  # [CLS]
    qformer_end: int  # [SEP]
    llm_start: tuple[int, ...]  # (2,) for LLaMA, () for T5
    llm_end: tuple[int, ...]  # () for LLaMA, (</s>,) for T5
    yes: int
    no: int
    eos: int  # the second target token when tuning

    def question(self, text: str, *, mark_qformer: bool = True, mark_llm: bool = True) -> Question:
        """The ids of `text`. A side that is not marked reads `[*]`, if the text has it, as plain characters.

        That is what the original's one-sided classes do with the side they do not train.
        """
        qformer = _side(text, self.encode_qformer, marked=mark_qformer)
        llm = _side(text, self.encode_llm, marked=mark_llm)
        return Question(
            qformer=_wrap(qformer, (self.qformer_start,), (self.qformer_end,), marked=mark_qformer),
            llm=_wrap(llm, self.llm_start, self.llm_end, marked=mark_llm),
        )


def answer_ids(encode: PieceEncoder) -> tuple[int, int]:
    """The first ids of `yes` and `no`. Raises ConfigurationError when they do not differ."""
    yes, no = encode(YES), encode(NO)
    if not yes or not no or yes[0] == no[0]:
        raise ConfigurationError("tokenizer", f"`{YES}` {yes} and `{NO}` {no} must start with different ids")
    return yes[0], no[0]


def _side(text: str, encode: PieceEncoder, *, marked: bool) -> SideIds:
    if not marked:
        return SideIds(tuple(encode(text)))
    if text.count(MARKER) != 1:
        raise ConfigurationError("prompt", f"the question must hold {MARKER} exactly once: {text!r}")
    left, right = (piece.strip() for piece in text.split(MARKER))
    return SideIds(tuple(encode(left)) if left else (), tuple(encode(right)) if right else ())


def _wrap(side: SideIds, start: tuple[int, ...], end: tuple[int, ...], *, marked: bool) -> SideIds:
    if not marked:
        return SideIds((*start, *side.before, *end))
    return SideIds((*start, *side.before), (*side.after, *end))
