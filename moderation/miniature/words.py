"""The miniature's language: what its words mean, the questions asked with them, and the two word-level tokenizers.

No word names the traces that a decoder leaves, so a pseudo-word has something to find that no existing word says.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

ATTRIBUTES: tuple[str, ...] = (
    "drawn",
    "blurred",
    "noisy",
    "compressed",
    "pixelated",
    "sharpened",
    "enlarged",
    "grey",
    "dark",
    "bright",
    "flat",
    "smooth",
    "warm",
    "red",
    "green",
    "blue",
)
"""What can be asked about a picture. The first seven follow from how it was made, the others show in its pixels."""

WORDS: Mapping[str, tuple[str, bool]] = {
    "drawn": ("drawn", True),
    "painted": ("drawn", True),
    "artificial": ("drawn", True),
    "synthetic": ("drawn", True),
    "generated": ("drawn", True),
    "fake": ("drawn", True),
    "real": ("drawn", False),
    "natural": ("drawn", False),
    "genuine": ("drawn", False),
    "authentic": ("drawn", False),
    "blurred": ("blurred", True),
    "blurry": ("blurred", True),
    "hazy": ("blurred", True),
    "focused": ("blurred", False),
    "noisy": ("noisy", True),
    "grainy": ("noisy", True),
    "clean": ("noisy", False),
    "compressed": ("compressed", True),
    "lossy": ("compressed", True),
    "lossless": ("compressed", False),
    "pixelated": ("pixelated", True),
    "blocky": ("pixelated", True),
    "sharpened": ("sharpened", True),
    "harsh": ("sharpened", True),
    "enlarged": ("enlarged", True),
    "upscaled": ("enlarged", True),
    "grey": ("grey", True),
    "colourless": ("grey", True),
    "colourful": ("grey", False),
    "dark": ("dark", True),
    "dim": ("dark", True),
    "bright": ("bright", True),
    "light": ("bright", True),
    "flat": ("flat", True),
    "dull": ("flat", True),
    "contrasty": ("flat", False),
    "smooth": ("smooth", True),
    "plain": ("smooth", True),
    "detailed": ("smooth", False),
    "busy": ("smooth", False),
    "warm": ("warm", True),
    "cold": ("warm", False),
    "red": ("red", True),
    "green": ("green", True),
    "blue": ("blue", True),
}
"""Adjective -> (attribute, whether `yes` means that the attribute is there)."""

SINGLE_TEMPLATES: tuple[str, ...] = (
    "is this photo {0} ?",
    "does this photo look {0} ?",
    "is this picture {0} ?",
    "is this photo very {0} ?",
    "is this photo real {0} ?",
)
"""In `real {0}` the first adjective only stresses the second, as in `real noisy`: that is the pseudo-word's place."""

EITHER_TEMPLATES: tuple[str, ...] = ("is this photo {0} or {1} ?", "does this picture look {0} or {1} ?")

_OTHER_WORDS: tuple[str, ...] = (
    "is", "this", "photo", "picture", "image", "photograph", "does", "look", "very", "or", "and", "not", "the", "an",
    "a", "of", "?", ".", ",", "!", "[", "*", "]",
)  # fmt: skip
LLM_SPECIALS: tuple[str, ...] = ("<pad>", "<unk>", "</s>", "<image>", "yes", "no")
QFORMER_SPECIALS: tuple[str, ...] = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")

PAD_ID = 0
BOS_ID = 2  # the LLM's first token is `</s>` on the original's path, and 2 is also its end token
IMAGE_ID = 3
YES_ID = 4
NO_ID = 5
CLS_ID = 2
SEP_ID = 3


def llm_tokenizer() -> Tokenizer:
    """The language model's tokenizer: lower case, one token a word, nothing added around the text."""
    return _word_level(LLM_SPECIALS, unknown="<unk>")


def qformer_tokenizer() -> Tokenizer:
    """The Q-Former's tokenizer; `[CLS]` and `[SEP]` are in its vocabulary and are not added around the text."""
    return _word_level(QFORMER_SPECIALS, unknown="[UNK]")


def save_tokenizers(folder: Path) -> None:
    """Writes `tokenizer.json` and `qformer_tokenizer/tokenizer.json` below `folder`."""
    (folder / "qformer_tokenizer").mkdir(parents=True, exist_ok=True)
    llm_tokenizer().save(str(folder / "tokenizer.json"))
    qformer_tokenizer().save(str(folder / "qformer_tokenizer" / "tokenizer.json"))


def _word_level(specials: tuple[str, ...], unknown: str) -> Tokenizer:
    names = [*specials, *dict.fromkeys((*_OTHER_WORDS, *WORDS))]
    tokenizer = Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, unk_token=unknown))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer
