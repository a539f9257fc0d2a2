"""One forward pass: from pixels and a prompt to the logits of `yes` and `no`.

Scoring and tuning share these functions: they are differentiable in the prompt's vectors, and the caller decides
about gradients. They build no key-value cache and, for scoring, no logits but two. Sizes: B images, S pixels a side,
T vision tokens, Q queries, Nq and Nl question tokens; Hv, Hq, Hl the widths of vision tower, Q-Former, language model.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from moderation.detector.backbone import Backbone
from moderation.detector.prompt import PromptVectors
from moderation.detector.question import SideIds


def vision_features(backbone: Backbone, pixels: torch.Tensor) -> torch.Tensor:
    """[B, T, Hv] from normalised pixels [B, 3, S, S]. They depend on no prompt, so a caller may keep them."""
    features: torch.Tensor = backbone.model.vision_model(pixels.to(backbone.dtype)).last_hidden_state
    return features


def question_states(backbone: Backbone, prompt: PromptVectors, features: torch.Tensor) -> torch.Tensor:
    """The Q-Former's last states [B, Q + Nq, Hq]; the first Q are the queries, which have read picture and question.

    The vectors stand in for word embeddings: position embedding, concatenation and LayerNorm come after them.
    """
    qformer = backbone.model.qformer
    layer = qformer.embeddings
    batch = len(features)
    queries = backbone.model.query_tokens.expand(batch, -1, -1)
    words = question_words(backbone, prompt)
    inputs = torch.cat((queries, words.to(queries.dtype).expand(batch, -1, -1)), dim=1)
    inputs = layer.dropout(layer.layernorm(inputs.to(layer.layernorm.weight.dtype)))
    # No masks: all images of a batch are asked the same question, so nothing is padded.
    states: torch.Tensor = qformer.encoder(
        inputs, encoder_hidden_states=features, query_length=backbone.queries
    ).last_hidden_state
    return states


def question_words(backbone: Backbone, prompt: PromptVectors) -> torch.Tensor:
    """[Nq, Hq]: the question as the Q-Former's embeddings, the vectors in place, with their positions."""
    layer = backbone.model.qformer.embeddings
    words = _embed(layer.word_embeddings, prompt.question.qformer, prompt.qformer)
    positions: torch.Tensor = layer.position_embeddings.weight[: len(words)]
    return words + positions


def language_inputs(backbone: Backbone, prompt: PromptVectors, states: torch.Tensor) -> torch.Tensor:
    """The language model's input embeddings [B, Q + Nl, Hl]: the projected queries, then the question."""
    projected = backbone.model.language_projection(states[:, : backbone.queries])
    words = _embed(backbone.model.language_model.get_input_embeddings(), prompt.question.llm, prompt.llm)
    return torch.cat((projected.to(words.dtype), words.expand(len(states), -1, -1)), dim=1)


def answer_states(backbone: Backbone, inputs: torch.Tensor, answers: torch.Tensor | None = None) -> torch.Tensor:
    """The last hidden states that predict the answer [B, 1 + A, Hl], ready for the LM head.

    answers: int64 [B, A], fed after the question (to the decoder, where there is one) to predict what follows them.
    """
    model = backbone.model.language_model
    if backbone.encoder_decoder:
        start = torch.full((len(inputs), 1), backbone.decoder_start, device=inputs.device)
        ids = start if answers is None else torch.cat((start, answers), dim=1)
        encoded = model.encoder(inputs_embeds=inputs).last_hidden_state
        states: torch.Tensor = model.decoder(
            input_ids=ids, encoder_hidden_states=encoded, use_cache=False
        ).last_hidden_state
        return states * backbone.llm_width**-0.5 if backbone.scaled_output else states
    count = 1
    if answers is not None:
        inputs = torch.cat((inputs, model.get_input_embeddings()(answers)), dim=1)
        count += answers.shape[1]
    states = model.model(inputs_embeds=inputs, use_cache=False).last_hidden_state
    return states[:, -count:]


def answer_logits(
    backbone: Backbone,
    prompt: PromptVectors,
    pixels: torch.Tensor | None = None,
    *,
    features: torch.Tensor | None = None,
) -> torch.Tensor:
    """float32 [B, 2]: the logits of `yes` and of `no`, from normalised pixels or from their `vision_features`."""
    return yes_and_no(backbone, answer_states(backbone, _inputs(backbone, prompt, pixels, features))[:, 0])


def yes_and_no(backbone: Backbone, states: torch.Tensor) -> torch.Tensor:
    """float32 [N, 2] from the answer's states [N, Hl]: two rows of the LM head."""
    head = backbone.model.language_model.lm_head
    rows = head.weight[[backbone.words.yes, backbone.words.no]]
    return functional.linear(states.float(), rows.float())


def answer_losses(
    backbone: Backbone,
    prompt: PromptVectors,
    is_fake: torch.Tensor,
    pixels: torch.Tensor | None = None,
    *,
    features: torch.Tensor | None = None,
) -> torch.Tensor:
    """float32 [B]: each image's tuning loss, the mean cross-entropy of its two target tokens, the answer and EOS.

    is_fake: bool [B]. Their mean over the batch is the original's loss.
    """
    words = backbone.words
    answers = torch.where(is_fake.to(backbone.device), words.no, words.yes).unsqueeze(1)
    targets = torch.cat((answers, torch.full_like(answers, words.eos)), dim=1)
    states = answer_states(backbone, _inputs(backbone, prompt, pixels, features), answers)
    logits = vocabulary_logits(backbone, states)
    return functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none").mean(dim=1)


def vocabulary_logits(backbone: Backbone, states: torch.Tensor) -> torch.Tensor:
    """float32 [..., V] from `answer_states`, over the rows that a softmax may see (`Backbone.vocabulary`)."""
    logits: torch.Tensor = backbone.model.language_model.lm_head(states)
    return logits[..., : backbone.vocabulary].float()


def margins(logits: torch.Tensor) -> torch.Tensor:
    """[...] from logits [..., 2] of `answer_logits`: logit(no) - logit(yes). Higher is more likely fake."""
    return logits[..., 1] - logits[..., 0]


def _inputs(
    backbone: Backbone, prompt: PromptVectors, pixels: torch.Tensor | None, features: torch.Tensor | None
) -> torch.Tensor:
    if features is None:
        if pixels is None:
            raise ValueError("give pixels or features")
        features = vision_features(backbone, pixels)
    return language_inputs(backbone, prompt, question_states(backbone, prompt, features.to(backbone.dtype)))


def _embed(table: torch.nn.Module, ids: SideIds, vectors: torch.Tensor | None) -> torch.Tensor:
    """[N, H]: the embeddings of the ids with the vectors in their place, in the table's dtype."""
    weight = table.get_parameter("weight")
    before, after = (weight[list(part)] for part in (ids.before, ids.after))
    if vectors is None:
        return torch.cat((before, after))
    return torch.cat((before, vectors.to(weight), after))
