"""Subwords: the pieces that sentences of all languages of a run are written in.

One model of sentencepiece for all languages, learned on training text alone and kept as bytes. Characters that the
training text does not have are written as their UTF-8 bytes, so that text of any script survives; digits stand alone.

References: Kudo and Richardson, "SentencePiece", EMNLP 2018 (D18-2012); Sennrich, Haddow and Birch, "Neural Machine
Translation of Rare Words with Subword Units", ACL 2016 (P16-1162).
"""

from __future__ import annotations

import functools
import hashlib
import io
import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from metacortex.data.text.lines import clean
from metacortex.errors import DataError, MissingExtraError, SettingsError, unknown_name

__all__ = ["BOS", "EOS", "PAD", "UNK", "Subwords"]

PAD, BOS, EOS, UNK = range(4)
"""Numbers of padding, begin and end of a sentence, and the unknown."""

_KINDS = ("bpe", "unigram")
_LONGEST = 4096
"""Bytes of a line from which on it is left out of the learning, as it is hardly a sentence."""


class Subwords:
    """A learned division of text into subwords.

    Args:
        model: a model of sentencepiece, as `Subwords.learn` makes it or as a file of it holds it.

    Raises:
        DataError: if the bytes are no such model, or one with other numbers for padding, begin, end and unknown.
        MissingExtraError: if sentencepiece is not installed.
    """

    def __init__(self, model: bytes) -> None:
        self.model = model
        processor = _sentencepiece().SentencePieceProcessor()
        try:
            processor.LoadFromSerializedProto(model)
        except (RuntimeError, TypeError, ValueError, OSError) as error:
            raise DataError(f"these bytes are no model of sentencepiece: {error}") from None
        special = [processor.pad_id(), processor.bos_id(), processor.eos_id(), processor.unk_id()]
        if special != [PAD, BOS, EOS, UNK]:
            raise DataError(
                f"expected a model whose padding, begin, end and unknown are {[PAD, BOS, EOS, UNK]}, got {special}"
            )
        self._processor = processor

    @staticmethod
    def learn(lines: Iterable[str], size: int = 8000, *, kind: Literal["bpe", "unigram"] = "bpe") -> Subwords:
        """Learn subwords.

        The same lines in the same order give the same bytes.

        Args:
            lines: training text.
            size: number of subwords, the 256 bytes and 4 special ones included; less where the text has not enough.
            kind: ``"bpe"`` (merges of frequent pairs) or ``"unigram"``.

        Raises:
            DataError: if there is no text.
            SettingsError: for a size that cannot hold the characters of the text, or another kind.
            MissingExtraError: if sentencepiece is not installed.

        Example:
            >>> subwords = Subwords.learn(["zwei Hunde im Schnee", "deux chiens dans la neige"] * 5, 320)
            >>> subwords.decode(subwords.encode("zwei chiens, ελληνικά"))
            'zwei chiens, ελληνικά'
        """
        if kind not in _KINDS:
            raise unknown_name("kind of subwords", kind, _KINDS)
        text = [line for line in map(clean, lines) if line and len(line.encode()) <= _LONGEST]
        if not text:
            raise DataError("subwords are learned from text, got no line that is not empty")
        return Subwords(_learn(text, size, kind))

    @staticmethod
    def open(path: str | Path) -> Subwords:
        """Read a model from a file.

        Raises:
            DataError: if it is missing or no such model.
        """
        try:
            return Subwords(Path(path).read_bytes())
        except OSError as error:
            raise DataError(f"cannot read the subwords {path}: {error.strerror or error}") from None

    def save(self, path: str | Path) -> None:
        """Write the model to a file.

        Raises:
            OSError: if it cannot be written.
        """
        Path(path).write_bytes(self.model)

    def __len__(self) -> int:
        """Number of subwords, special ones included."""
        return self._processor.get_piece_size()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Subwords) and self.model == other.model

    def __hash__(self) -> int:
        return hash(self.model)

    def __reduce__(self) -> tuple[type[Subwords], tuple[bytes]]:
        return Subwords, (self.model,)

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the model."""
        return hashlib.sha256(self.model).hexdigest()

    def encode(self, text: str) -> list[int]:
        """The subwords of a text, cleaned first; no begin or end is added. Nothing visible gives no subword."""
        return self._processor.encode(clean(text), out_type=int)

    def encode_all(self, lines: Sequence[str]) -> list[list[int]]:
        """The subwords of lines that are clean already."""
        return self._processor.encode(list(lines), out_type=int)

    def decode(self, numbers: Sequence[int]) -> str:
        """The text of subwords up to the first end; special ones are left out.

        Bytes that make no character become U+FFFD.

        Raises:
            DataError: for a number that is no subword.
        """
        ends = [i for i, number in enumerate(numbers) if number == EOS]
        real = [int(number) for number in numbers[: ends[0] if ends else len(numbers)] if number not in (PAD, BOS)]
        if real and not 0 <= min(real) <= max(real) < len(self):
            raise DataError(f"subwords are 0..{len(self) - 1}, got {min(real)}..{max(real)}")
        return clean(self._processor.decode(real)) if real else ""

    def pieces(self, numbers: Sequence[int]) -> list[str]:
        """The subwords as they are written, for pictures of attention; ``▁`` begins a word.

        Raises:
            DataError: for a number that is no subword.
        """
        if len(numbers) and not 0 <= min(numbers) <= max(numbers) < len(self):
            raise DataError(f"subwords are 0..{len(self) - 1}, got {min(numbers)}..{max(numbers)}")
        return [self._processor.id_to_piece(int(number)) for number in numbers]


def _learn(text: Sequence[str], size: int, kind: str) -> bytes:
    trainer = _sentencepiece().SentencePieceTrainer
    while True:
        model = io.BytesIO()
        try:
            trainer.train(
                sentence_iterator=iter(text),
                model_writer=model,
                vocab_size=size,
                model_type=kind,
                pad_id=PAD,
                bos_id=BOS,
                eos_id=EOS,
                unk_id=UNK,
                character_coverage=0.9999,
                byte_fallback=True,
                split_digits=True,
                normalization_rule_name="identity",  # `clean` did what is wanted; the default would rewrite ½ and …
                max_sentence_length=2 * _LONGEST,
                num_threads=1,
                minloglevel=2,
            )
            return model.getvalue()
        except RuntimeError as error:
            most = re.search(r"set it to a value <= (\d+)", str(error))
            if most is None or int(most[1]) >= size:
                raise SettingsError(f"{size} subwords cannot be learned from {len(text)} lines: {error}") from None
            size = int(most[1])


def _sentencepiece() -> Any:
    try:
        with warnings.catch_warnings():
            # types made by SWIG lack a __module__, which Python 3.12 and later warn of at the first import
            warnings.simplefilter("ignore", DeprecationWarning)
            import sentencepiece
    except ImportError:
        raise MissingExtraError("text in subwords", "translate") from None
    return sentencepiece
