"""Reads sets of golden numbers: the public one beside this file, and the one that PARITY_DIR names, if any.

A set is discovered, not assumed: whatever models, prompts, pictures and checkpoints it holds are tested, and weights
that it lacks are taken from the public set. `data/README.md` says what each file means.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from moderation.detector import MARKER, QUESTIONS, Backbone, Normalisation, SoftPrompt, load_backbone
from moderation.detector.prompt import Position
from moderation.detector.question import VICUNA_BOS, VICUNA_EOS, SideIds, Words

torch.set_num_threads(1)  # the models are tiny; threads would only cost

PUBLIC = Path(__file__).parent / "data"
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class GoldenSet:
    """One folder of golden numbers."""

    root: Path

    def letters(self, pattern: str) -> list[str]:
        """The models that a kind of file is there for: `forward_*.safetensors` gives the letters at the star."""
        before, after = pattern.split("*")
        return sorted(path.name[len(before) : -len(after)] for path in self.root.glob(pattern))

    def json(self, name: str) -> Any:
        return json.loads((self.root / name).read_text(encoding="utf-8"))

    def forward(self, letter: str) -> tuple[Tensors, Any]:
        """The forward numbers and what they are of; the pixels from the public set if this one has none."""
        tensors = load_file(self.root / f"forward_{letter}.safetensors")
        if "pixel_values" not in tensors:
            tensors["pixel_values"] = load_file(PUBLIC / f"forward_{letter}.safetensors")["pixel_values"]
        return tensors, self.json(f"forward_{letter}.json")

    def model_letters(self) -> list[str]:
        """All models at hand, this set's first."""
        found = [path.name.removeprefix("hf_") for root in (self.root, PUBLIC) for path in root.glob("model/hf_*")]
        return list(dict.fromkeys(found))

    def pseudo_word(self, letter: str) -> Tensors:
        return load_file(self._find(f"model/pseudo_embeddings_{letter}.safetensors"))

    def backbone(self, letter: str) -> Backbone:
        return _backbone(self._find(f"model/hf_{letter}"), self.root)

    def prompt(self, letter: str, question: str, **fields: Any) -> SoftPrompt:
        """The soft prompt that asks `question` with this set's pseudo-word."""
        name = self.backbone(letter).name
        if MARKER not in question:
            return SoftPrompt.plain(name, question=question, **fields)
        vectors = self.pseudo_word(letter)
        position: Position = "prefix" if question.startswith(MARKER) else "postfix"
        if question == QUESTIONS["replace"]:
            position = "replace"
        return SoftPrompt(name, vectors["qformer"], vectors["llm"], position=position, question=question, **fields)

    def normalisation(self, prefix: str = "") -> Normalisation:
        facts = self.json("preprocess/preprocess.json")
        return Normalisation(tuple(facts[f"{prefix}mean"]), tuple(facts[f"{prefix}std"]))

    def _find(self, name: str) -> Path:
        return next(root / name for root in (self.root, PUBLIC) if (root / name).exists())


def golden_sets() -> list[GoldenSet]:
    """The public set, and the one that PARITY_DIR names."""
    other = os.environ.get("PARITY_DIR")
    return [GoldenSet(PUBLIC), *([GoldenSet(Path(other).resolve())] if other else [])]


def each(pattern: str) -> Iterator[tuple[GoldenSet, str]]:
    """Every (set, model letter) that has a file of this pattern."""
    for golden in golden_sets():
        yield from ((golden, letter) for letter in golden.letters(pattern))


def name_of(value: object) -> str:
    """How a parameter is called in a test's id."""
    if isinstance(value, GoldenSet):
        return "public" if value.root == PUBLIC else "parity_dir"
    return value.name if isinstance(value, Path) else str(value)


@cache
def _backbone(folder: Path, tokens_root: Path) -> Backbone:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    words = token_words(tokens_root, encoder_decoder=not config.get("use_decoder_only_language_model", True))
    return load_backbone(str(folder), device="cpu", dtype="float32", words=words)


@cache
def token_words(root: Path, *, encoder_decoder: bool = False) -> Words:
    """The original's tokenizers as far as tokens.json tells: what ids each piece of its prompts has.

    A piece that has other ids in another prompt would break the rule that pieces are encoded by themselves.
    """
    files = [json.loads((place / "tokens.json").read_text(encoding="utf-8")) for place in (PUBLIC, root)
             if (place / "tokens.json").is_file()]  # fmt: skip
    qformer, llm = files[-1]["special"]["qformer"], files[-1]["special"]["llm"]
    pieces: dict[str, dict[str, list[int]]] = {"llm": {}, "qformer": {}}
    answers: dict[str, int] = {}
    for tokens in files:
        for prompt in tokens["prompts"]:
            own = prompt["llm_ids"][:-1] if encoder_decoder else prompt["llm_ids"][1:]
            _learn(pieces["llm"], prompt["text"], own, tokens["special"]["llm"]["pseudo"])
            own = prompt["qformer_ids"][1:-1]
            _learn(pieces["qformer"], prompt["text"], own, tokens["special"]["qformer"]["pseudo"])
        answers |= {answer["text"]: answer["llm_ids"][0 if encoder_decoder else 1] for answer in tokens["answers"]}
        if "freezeLLM_llm_ids" in tokens:
            pieces["llm"][QUESTIONS["postfix"]] = tokens["freezeLLM_llm_ids"][1:]
    return Words(
        encode_qformer=pieces["qformer"].__getitem__,
        encode_llm=pieces["llm"].__getitem__,
        qformer_start=qformer["cls"],
        qformer_end=qformer["sep"],
        llm_start=() if encoder_decoder else (VICUNA_BOS,),  # ours: the tests show whether it is theirs
        llm_end=(llm["eos"],) if encoder_decoder else (),
        yes=answers["yes"],
        no=answers["no"],
        eos=llm["eos"] if encoder_decoder else VICUNA_EOS,
    )


def _learn(pieces: dict[str, list[int]], text: str, ids: list[int], pseudo: int) -> None:
    if MARKER not in text:
        found = [(text, ids)]
    else:
        place = ids.index(pseudo)
        left, right = (piece.strip() for piece in text.split(MARKER))
        found = [(left, ids[:place]), (right, ids[place + 1 :])]
    for piece, own in found:
        assert pieces.setdefault(piece, own) == own, f"{piece!r} is {own} here and {pieces[piece]} elsewhere"


def ids_with(marker_id: int, side: SideIds, *, marked: bool) -> list[int]:
    """A side's ids as the original writes them, the pseudo-word having an id."""
    return [*side.before, *([marker_id] if marked else []), *side.after]


def assert_near(found: torch.Tensor, expected: torch.Tensor, atol: float) -> None:
    torch.testing.assert_close(found.detach(), expected, atol=atol, rtol=0)
