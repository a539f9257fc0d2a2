"""An ensemble's margins: its words ask about one picture, and share all work that depends on the picture alone.

The Q-Former reads every member's queries in one pass, so that each of its layers makes the picture's keys and values
once. The result is that of the members asked one by one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from moderation.detector.backbone import Backbone
from moderation.detector.prompt import PromptVectors
from moderation.detector.scoring import (
    answer_logits,
    answer_states,
    language_inputs,
    margins,
    question_states,
    question_words,
    yes_and_no,
)


def member_margins(backbone: Backbone, members: Sequence[PromptVectors], features: torch.Tensor) -> torch.Tensor:
    """float32 [B, M]: each member's margin, from `vision_features` [B, T, Hv]. Members differ in their vectors only."""
    if len(members) == 1:
        return margins(answer_logits(backbone, members[0], features=features)).unsqueeze(1)
    states = member_states(backbone, members, features.to(backbone.dtype))
    asked = [language_inputs(backbone, member, states[:, number]) for number, member in enumerate(members)]
    inputs = torch.stack(asked, dim=1)  # [B, M, Q + Nl, Hl]
    logits = yes_and_no(backbone, answer_states(backbone, inputs.flatten(0, 1))[:, 0])
    return margins(logits).view(len(features), len(members))


def member_states(backbone: Backbone, members: Sequence[PromptVectors], features: torch.Tensor) -> torch.Tensor:
    """[B, M, Q, Hq]: the queries' last states for each member; one pass for all where the Q-Former reads no word."""
    if members[0].qformer is None:
        shared = question_states(backbone, members[0], features)[:, : backbone.queries]
        return shared.unsqueeze(1).expand(-1, len(members), -1, -1)
    queries = backbone.model.query_tokens[0].repeat(len(members), 1)  # [M * Q, Hq]: one member after the other
    words = torch.stack([question_words(backbone, member) for member in members])  # [M, Nq, Hq]
    qformer = backbone.model.qformer
    layer = qformer.embeddings
    inputs = torch.cat((queries, words.flatten(0, 1).to(queries.dtype))).to(layer.layernorm.weight.dtype)
    inputs = layer.dropout(layer.layernorm(inputs)).expand(len(features), -1, -1)
    states: torch.Tensor = qformer.encoder(
        inputs,
        attention_mask=_apart(len(members), backbone.queries, words.shape[1], inputs),
        encoder_hidden_states=features,
        query_length=len(queries),  # only they look at the picture
    ).last_hidden_state
    return states[:, : len(queries)].reshape(len(features), len(members), backbone.queries, -1)


def _apart(members: int, queries: int, words: int, like: torch.Tensor) -> torch.Tensor:
    """[1, 1, L, L], added to attention scores: what is not of the same member is not seen. L = M * (Q + Nq)."""
    owners = torch.arange(members, device=like.device)
    owner = torch.cat((owners.repeat_interleave(queries), owners.repeat_interleave(words)))
    strangers = owner.unsqueeze(0) != owner.unsqueeze(1)
    mask = torch.zeros(1, 1, len(owner), len(owner), dtype=like.dtype, device=like.device)
    return mask.masked_fill_(strangers, torch.finfo(like.dtype).min)
