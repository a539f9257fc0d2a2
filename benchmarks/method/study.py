"""What is tuned and what is compared. Each run is one `modctl tune` command, each comparison one `modctl eval`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

ZERO_SHOT = "zero-shot"
SEEDS = (42, 43, 44)
SIZES = (15, 60, 240, 960)  # source crops, each with its real and its fake picture


@dataclass(frozen=True)
class Run:
    """A tuning run. data: the manifest it learns from, by name; see `runner`. arguments: what differs from default."""

    name: str
    arguments: str = ""
    data: str = "all"

    @property
    def is_lora(self) -> bool:
        """Whether it makes an adapter instead of a prompt."""
        return "--method lora" in self.arguments


@dataclass(frozen=True)
class Comparison:
    """Candidates side by side on one test set. note: what the table can't say by itself."""

    name: str
    title: str
    candidates: tuple[str, ...]
    data: str = "all"
    is_robustness: bool = False
    note: str = ""
    paper: str = ""  # what the paper found, in its own measure: mean accuracy over its test sets, in per cent


RUNS = (
    Run("prompt"),
    *(Run(f"prompt-seed{seed}", f"--seed {seed}") for seed in SEEDS[1:]),
    Run("lora", "--method lora"),
    Run("prefix", "--position prefix"),
    Run("replace", "--position replace"),
    Run("qformer-only", "--sides qformer"),
    Run("llm-only", "--sides llm"),
    *(Run(f"tokens-{count}", f"--tokens {count}") for count in (2, 4, 8, 16)),
    *(Run(f"crops-{size}", data=f"first-{size}") for size in SIZES),
    Run("answer-loss", "--loss answer"),
    Run("unbalanced-margin", data="unbalanced"),
    Run("unbalanced-answer", "--loss answer", data="unbalanced"),
    Run("robust", "--augment robust"),
    Run("word", "--init word:real"),
    Run("ensemble-4", "--members 4"),
    Run("expert", "--expert"),
    Run("expert-ensemble", "--expert --members 4"),
    Run("native-mean", "--crops 4 --crop-pool mean", data="large"),
    Run("native-max", "--crops 4 --crop-pool max", data="large"),
    Run("large-whole", data="large"),
    Run("large-expert", "--expert", data="large"),
)

COMPARISONS = (
    Comparison(
        "baselines", "The plain question, one pseudo-word, LoRA, and the word with a pixel expert",
        (ZERO_SHOT, "prompt", *(f"prompt-seed{seed}" for seed in SEEDS[1:]), "lora", "expert"),
        note="The seeds say how much chance is in one run.",
        paper="zero-shot 36.53, LoRA 81.43, AntifakePrompt 91.81, with LaMa 94.50 (23 sets)",
    ),
    Comparison(
        "positions", "Where the pseudo-word stands", ("prompt", "prefix", "replace"),
        paper="postfix 91.59, prefix 90.51, replace 88.12 (16 sets)",
    ),
    Comparison(
        "sides", "Which side gets a vector", ("prompt", "qformer-only", "llm-only"),
        paper="both 91.59, Q-Former only 92.24 (60,000 real) and 90.38 (120,000); LLM only 88.67, as others quote it",
    ),
    Comparison("tokens", "How many vectors a side", ("prompt", *(f"tokens-{count}" for count in (2, 4, 8, 16)))),
    Comparison(
        "size", "How many crops it learns from", (*(f"crops-{size}" for size in SIZES), "prompt"),
        paper="150,000 pictures 91.59, 1,500 pictures 70.02, 150 pictures 48.44 (16 sets)",
    ),
    Comparison("loss", "Two target tokens, or yes against no", ("answer-loss", "prompt")),
    Comparison(
        "balance", "The same with one fake to eight real ones", ("unbalanced-answer", "unbalanced-margin"),
        note="Only the margin loss weighs the classes.",
    ),
    Comparison("start", "Where the vectors start", ("prompt", "word")),
    Comparison(
        "ensemble", "One word, or the mean of four; alone and beside the expert",
        ("prompt", "ensemble-4", "expert", "expert-ensemble"),
    ),
    Comparison(
        "crops", "Pictures twice as large, shrunk or looked at in their own resolution",
        ("large-whole", "native-mean", "native-max", "large-expert"), data="large",
        note="Crops are asked about only where P(fake) from the whole lies in .2 to .8; the expert always reads four.",
    ),
    Comparison(
        "robustness", "Under compression, resizing, blur and noise", ("prompt", "robust", "expert"),
        is_robustness=True,
    ),
)  # fmt: skip


SMOKE_RUNS = ("prompt", "lora", "expert")


def runs(*, smoke: bool) -> list[Run]:
    """All runs; for a smoke test those that between them use every part, an epoch each."""
    if not smoke:
        return list(RUNS)
    return [replace(run, arguments=f"{run.arguments} --epochs 1") for run in RUNS if run.name in SMOKE_RUNS]


def comparisons(made: Collection[str]) -> list[Comparison]:
    """The comparisons of what was made; a candidate that was not is left out, and so is a comparison of one."""
    kept = [
        replace(each, candidates=tuple(name for name in each.candidates if name in made or name == ZERO_SHOT))
        for each in COMPARISONS
    ]
    return [each for each in kept if len(each.candidates) > 1]
