"""Pre-training of the miniature's Q-Former and language model on questions about pictures; the vision tower is frozen.

The auxiliary head makes the queries carry every attribute, decoder traces among them, but no question ever asks about
traces: a picture's answer to "is this photo real ?" is whether it was drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from transformers import InstructBlipForConditionalGeneration

from moderation.miniature import words
from moderation.miniature.backbone import TEXT_WIDTH

_SIMPLE_SHARE = 0.3  # of the steps: one adjective in one template only, or the loss never leaves that of guessing
_AUXILIARY_WEIGHT = 1.0
_TRACES_WEIGHT = 3.0
_EITHER_SHARE = 0.25  # of the questions after that: two adjectives


@dataclass(frozen=True)
class Questions:
    """A batch of questions of one length, with the picture that each is about."""

    picture: np.ndarray  # int [B]
    qformer_ids: Tensor  # int64 [B, Nq]
    llm_ids: Tensor  # int64 [B, Nl]
    answer: Tensor  # bool [B], True is yes


class Asker:
    """Draws questions with answers balanced word by word, so that guessing from the question alone gains nothing."""

    def __init__(self, attributes: np.ndarray, seed: int) -> None:
        """attributes: bool [N, len(ATTRIBUTES)], what holds for each picture."""
        self._rng = np.random.default_rng(seed)
        self._attributes = attributes
        self._tokenizers = words.qformer_tokenizer(), words.llm_tokenizer()
        self._words = [word for word in words.WORDS if 0 < self._holds(word).sum() < len(attributes)]
        self._choices = {
            word: [np.flatnonzero(self._holds(word) == yes) for yes in (False, True)] for word in self._words
        }

    def ask(self, count: int, simple: bool) -> Questions:
        """`count` questions in one template; `simple` ones use the plainest."""
        either = not simple and self._rng.random() < _EITHER_SHARE
        templates = words.EITHER_TEMPLATES if either else words.SINGLE_TEMPLATES[: 1 if simple else None]
        template = templates[int(self._rng.integers(len(templates)))]
        texts, pictures, answers = [], [], []
        for _ in range(count):
            first, second = self._rng.choice(self._words, 2, replace=False)
            wanted = int(self._rng.integers(2))
            picture = int(self._rng.choice(self._choices[first][wanted]))
            texts.append(template.format(first, second))
            pictures.append(picture)
            answers.append(bool(wanted) or (either and bool(self._holds(second)[picture])))
        qformer, llm = (_ids(tokenizer, texts) for tokenizer in self._tokenizers)
        ends = torch.full((count, 1), words.CLS_ID), torch.full((count, 1), words.SEP_ID)
        return Questions(
            np.array(pictures),
            torch.cat([ends[0], qformer, ends[1]], dim=1),
            torch.cat([torch.full((count, 1), words.BOS_ID), llm], dim=1),
            torch.tensor(answers),
        )

    def _holds(self, word: str) -> np.ndarray:
        attribute, meaning = words.WORDS[word]
        held: np.ndarray = self._attributes[:, words.ATTRIBUTES.index(attribute)] == meaning
        return held


def _ids(tokenizer: Tokenizer, texts: list[str]) -> Tensor:
    return torch.tensor([encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)])


def answer_logits(
    model: InstructBlipForConditionalGeneration, features: Tensor, asked: Questions
) -> tuple[Tensor, Tensor]:
    """(logits [B, 2, V] of the answer and of the end that follows it, mean projected query [B, H])."""
    count, queries = len(features), model.config.num_query_tokens
    states = model.qformer(
        input_ids=asked.qformer_ids,
        query_embeds=model.query_tokens.expand(count, -1, -1),
        encoder_hidden_states=features,
    ).last_hidden_state
    seen = model.language_projection(states[:, :queries])
    answers = torch.where(asked.answer, words.YES_ID, words.NO_ID)[:, None]
    text = model.language_model.get_input_embeddings()(torch.cat([asked.llm_ids, answers], dim=1))
    hidden = model.language_model.model(inputs_embeds=torch.cat([seen, text], dim=1), use_cache=False).last_hidden_state
    return model.language_model.lm_head(hidden[:, -2:]), seen.mean(dim=1)


def pretrain(
    model: InstructBlipForConditionalGeneration,
    features: Tensor,
    attributes: np.ndarray,
    facts: np.ndarray,
    steps: int,
    seed: int,
    say: Callable[[str], None],
    batch: int = 64,
) -> None:
    """Trains Q-Former, projection and language model in place.

    features: float16 [N, T, Hv], the frozen vision tower's. attributes: bool [N, A], what questions may ask.
    facts: bool [N, F], what the queries must carry; the first says whether a decoder made the picture.
    """
    torch.manual_seed(seed)
    asker = Asker(attributes, seed)
    head = nn.Linear(TEXT_WIDTH, facts.shape[1])
    wanted, weights = torch.from_numpy(facts).float(), torch.ones(facts.shape[1])
    weights[0] = _TRACES_WEIGHT
    trained = [p for name, p in model.named_parameters() if not name.startswith("vision_model.")] + [*head.parameters()]
    optimiser = torch.optim.AdamW(trained, lr=2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=2e-3, total_steps=steps)
    correct = 0.5
    for step in range(steps):
        asked = asker.ask(batch, simple=step < _SIMPLE_SHARE * steps)
        logits, seen = answer_logits(model, features[asked.picture].float(), asked)
        answers = torch.where(asked.answer, words.YES_ID, words.NO_ID)
        targets = torch.stack([answers, torch.full_like(answers, words.BOS_ID)], dim=1)
        loss = functional.cross_entropy(logits.transpose(1, 2), targets)
        loss = loss + _AUXILIARY_WEIGHT * functional.binary_cross_entropy_with_logits(
            head(seen), wanted[asked.picture], weight=weights
        )
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        schedule.step()
        right = (logits[:, 0, words.YES_ID] > logits[:, 0, words.NO_ID]) == asked.answer
        correct = 0.98 * correct + 0.02 * float(right.float().mean())
        if (step + 1) % 250 == 0:
            say(f"language: step {step + 1} of {steps}, loss {loss.item():.3f}, answers right {correct:.2f}")
