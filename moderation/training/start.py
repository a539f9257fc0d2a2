"""Where tuning starts: the pseudo-word's first numbers, and the word as the thing that an optimiser moves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from moderation.detector.backbone import Backbone
from moderation.detector.prompt import PromptVectors, SoftPrompt
from moderation.detector.question import PieceEncoder
from moderation.training.augment import number
from moderation.training.plan import PROMPT_RATE, Sides, TunePlan, refused

INIT_STD = 0.02  # the paper's N(0, 0.02)
_NOISE = 0.01  # of a word's copies, in standard deviations of its numbers: alike, K tokens would get equal gradients
_STRANGE = ("\U00020000", "\U00013000")  # a rare ideograph and a hieroglyph: no vocabulary of ours has either
_SIDES = ("qformer", "llm")

Numbers = dict[str, torch.Tensor]
"""float32 [K, H] by side, on the CPU."""


class Word:
    """A pseudo-word under tuning on one backbone. Nothing else of the backbone gets a gradient."""

    def __init__(self, backbone: Backbone, plan: TunePlan, numbers: Mapping[str, torch.Tensor]) -> None:
        self.backbone = backbone
        self.parameters: Numbers = {
            side: values.to(backbone.device, torch.float32, copy=True).requires_grad_()
            for side, values in numbers.items()
        }
        self._question = backbone.words.question(
            plan.question, mark_qformer="qformer" in numbers, mark_llm="llm" in numbers
        )

    def vectors(self) -> PromptVectors:
        """What the scoring functions ask with."""
        return PromptVectors(self._question, self.parameters.get("qformer"), self.parameters.get("llm"))

    def load(self, numbers: Mapping[str, torch.Tensor]) -> None:
        """Takes numbers over."""
        with torch.no_grad():
            for side, values in self.parameters.items():
                values.copy_(numbers[side])

    @contextmanager
    def training(self) -> Iterator[None]:
        """While steps are made: the Q-Former's dropout is active, as in the original; the ViT and the LLM stay put."""
        qformer = self.backbone.model.qformer
        qformer.train()
        try:
            yield
        finally:
            qformer.eval()

    @contextmanager
    def scoring(self) -> Iterator[None]:
        """While pictures are scored: nothing is drawn, nothing is kept for gradients."""
        with torch.no_grad():
            yield


def sides_of(sides: Sides) -> tuple[str, ...]:
    """The sides that are tuned."""
    return _SIDES if sides == "both" else (sides,)


def suggested_rate(backbone: Backbone) -> float:
    """PROMPT_RATE standard deviations of the word embeddings, to 2 digits; of that side where they are smaller.

    One rate serves both sides. T5's embeddings are large; the layer behind them normalises, so a small rate turns the
    vector all the same, while a large one would fling the Q-Former's about.
    """
    model = backbone.model
    tables = (model.language_model.get_input_embeddings(), model.qformer.embeddings.word_embeddings)
    return float(f"{PROMPT_RATE * min(float(table.weight.float().std()) for table in tables):.1e}")


def first_numbers(backbone: Backbone, plan: TunePlan, member: int, given: SoftPrompt | None = None) -> Numbers:
    """The numbers that member `member` starts from. given: the prompt that `--init prompt:` names.

    Raises ConfigurationError for a word that the backbone does not know, PromptMismatch for a prompt of another one.
    """
    kind, _, value = plan.init.partition(":")
    if kind == "prompt":
        if given is None:
            raise ValueError("give the prompt that the plan names")
        return _of_prompt(backbone, plan, given, member)
    random = torch.Generator().manual_seed(number(plan.seed, member, "start"))
    if kind == "word":
        return {side: _of_word(backbone, side, value.strip(), plan.tokens, random) for side in sides_of(plan.sides)}
    widths = {"qformer": backbone.qformer_width, "llm": backbone.llm_width}
    return {side: torch.randn(plan.tokens, widths[side], generator=random) * INIT_STD for side in sides_of(plan.sides)}


def _of_word(backbone: Backbone, side: str, word: str, tokens: int, random: torch.Generator) -> torch.Tensor:
    words, model = backbone.words, backbone.model
    if side == "qformer":
        encode, table, reader = words.encode_qformer, model.qformer.embeddings.word_embeddings, "the Q-Former"
    else:
        encode, table, reader = words.encode_llm, model.language_model.get_input_embeddings(), "the language model"
    ids = encode(word)
    unknown = _unknown_id(encode)
    if not ids or unknown in ids:
        raise refused("init", f"{reader} does not know the word {word!r}", hint="use another word:W, or random")
    mean: torch.Tensor = table.weight.detach()[ids].float().cpu().mean(dim=0, keepdim=True)
    if tokens == 1:
        return mean
    return mean + torch.randn(tokens, mean.shape[1], generator=random) * _NOISE * float(mean.std())


def _unknown_id(encode: PieceEncoder) -> int | None:
    """The id that stands for all a tokenizer does not know; None where it knows all, by bytes."""
    found = [encode(text) for text in _STRANGE]
    return found[0][-1] if found[0] and found[0] == found[1] else None


def _of_prompt(backbone: Backbone, plan: TunePlan, given: SoftPrompt, member: int) -> Numbers:
    given.check_fits(backbone)
    numbers = {}
    for side in sides_of(plan.sides):
        values = getattr(given, side)
        if values is None:
            hint = f"use --sides {'llm' if side == 'qformer' else 'qformer'}"
            raise refused("init", f"the prompt has no {side} side", hint=hint)
        own = values[member % len(values)] if values.ndim == 3 else values
        if len(own) != plan.tokens:
            raise refused("init", f"the prompt holds {len(own)} tokens, not {plan.tokens}", hint=f"--tokens {len(own)}")
        numbers[side] = own.clone()
    return numbers
