"""The tokenizers of a backbone's folder, read from their plain files, not through transformers' tokenizer classes.

Those classes have changed the ids of this very question between releases; the files have not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from moderation.detector.question import VICUNA_BOS, VICUNA_EOS, PieceEncoder, Words, answer_ids
from moderation.errors import ConfigurationError

LLM_FILES = ("tokenizer.model", "spiece.model", "tokenizer.json")
QFORMER_FILES = ("tokenizer.json", "vocab.txt")
QFORMER_FOLDER = "qformer_tokenizer"


def load_words(folder: Path, text_config: Any) -> Words:
    """What a backbone's tokenizers say about the method's words. Raises ConfigurationError for missing files."""
    encode_llm = llm_encoder(folder)
    qformer = _qformer_tokenizer(folder)
    yes, no = answer_ids(encode_llm)
    seq2seq = bool(text_config.is_encoder_decoder)
    return Words(
        encode_qformer=_plain(qformer),
        encode_llm=encode_llm,
        qformer_start=_id(qformer, "[CLS]"),
        qformer_end=_id(qformer, "[SEP]"),
        llm_start=() if seq2seq else (VICUNA_BOS,),
        llm_end=(int(text_config.eos_token_id),) if seq2seq else (),
        yes=yes,
        no=no,
        eos=int(text_config.eos_token_id) if seq2seq else VICUNA_EOS,
    )


def llm_encoder(folder: Path) -> PieceEncoder:
    """The language model's piece encoder: sentencepiece where the folder has its model, else `tokenizer.json`."""
    path = _first(folder, LLM_FILES)
    if path.suffix == ".json":
        return _plain(_read(path))
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor()
    try:
        processor.Load(str(path))
    except (OSError, RuntimeError) as error:
        raise _broken(path, error) from None

    def encode(piece: str) -> list[int]:
        return [int(index) for index in processor.EncodeAsIds(piece)]

    return encode


def _qformer_tokenizer(folder: Path) -> Tokenizer:
    path = _first(folder / QFORMER_FOLDER, QFORMER_FILES)
    return _read(path) if path.suffix == ".json" else _bert(path)


def _bert(path: Path) -> Tokenizer:
    """BERT uncased from its vocabulary file, one word piece a line."""
    try:
        vocabulary = {line: index for index, line in enumerate(path.read_text(encoding="utf-8").splitlines())}
        tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    except (ValueError, OSError) as error:
        raise _broken(path, error) from None
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _read(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - the library raises bare Exception for a file that it can't read
        raise _broken(path, error) from None


def _plain(tokenizer: Tokenizer) -> PieceEncoder:
    def encode(piece: str) -> list[int]:
        return list(tokenizer.encode(piece, add_special_tokens=False).ids)

    return encode


def _id(tokenizer: Tokenizer, token: str) -> int:
    index = tokenizer.token_to_id(token)
    if index is None:
        raise ConfigurationError("MODERATION_BACKBONE", f"its Q-Former tokenizer has no {token}")
    return int(index)


def _first(folder: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ConfigurationError("MODERATION_BACKBONE", f"{folder} holds none of {', '.join(names)}")


def _broken(path: Path, error: Exception) -> ConfigurationError:
    return ConfigurationError("MODERATION_BACKBONE", f"can't read {path}: {error}")
