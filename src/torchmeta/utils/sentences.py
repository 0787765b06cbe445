"""Batches of sentences: token ids, lengths, descriptions, and the vocabulary that they are written in.

A batch is an ordered dictionary:

    train, test    a list [inputs, targets] each: inputs {"source": [T, N, L], "source_length": [T, N]}, targets
                   [T, N, L'] ended by EOS and padded, all int64; a row of padding alone is no sentence
    description    {"tokens": [T, D], "length": [T], "source_language": [T], "target_language": [T]}
    vocabulary     a `Vocabulary`
    info           for each task a dictionary: its words, its topic, which lines it is made of

A single task is the same without T.
"""

from __future__ import annotations

import base64
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from metacortex.data.text.subwords import PAD, Subwords
from metacortex.errors import DataError
from metacortex.task import Examples, Task

__all__ = ["Vocabulary", "sentence_batch", "sentence_task"]


@dataclass(frozen=True)
class Vocabulary:
    """Subwords and languages of a batch.

    Attributes:
        subwords: shared by both languages and the descriptions.
        languages: code -> English name, in the order of their numbers.
        pair: codes of the languages that are translated from and into.
    """

    subwords: Subwords
    languages: Mapping[str, str]
    pair: tuple[str, str]

    def __len__(self) -> int:
        """Number of subwords, special ones included."""
        return len(self.subwords)

    def encode(self, text: str) -> list[int]:
        """The numbers of the subwords of a text."""
        return self.subwords.encode(text)

    def decode(self, tokens: Sequence[int] | Tensor) -> str:
        """The text of subwords ``[L]`` up to the first end of a sentence.

        Raises:
            DataError: for a number that is no subword.
        """
        return self.subwords.decode(tokens.tolist() if isinstance(tokens, Tensor) else tokens)

    def to_json(self) -> dict[str, Any]:
        """Everything in a form that files hold."""
        model = base64.b64encode(self.subwords.model).decode("ascii")
        return {"subwords": model, "languages": dict(self.languages), "pair": list(self.pair)}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Vocabulary:
        """Read what `to_json` gave.

        Raises:
            DataError: for anything else.
        """
        try:
            source, target = value["pair"]
            return Vocabulary(
                Subwords(base64.b64decode(value["subwords"], validate=True)), dict(value["languages"]), (source, target)
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"this is no vocabulary that was saved here ({error})") from None


def sentence_batch(task: Task, vocabulary: Vocabulary) -> OrderedDict[str, Any]:
    """A task, or a stack of tasks, as programs see it (see the module's first lines)."""
    parts = (("train", task.support), ("test", task.query))
    found: OrderedDict[str, Any] = OrderedDict((name, [dict(part.inputs), part.targets]) for name, part in parts)
    found |= {"description": task.description, "vocabulary": vocabulary, "info": task.info}
    return found


def sentence_task(batch: Any) -> Task:
    """The task, or stack of tasks, that a batch of sentences is.

    Raises:
        DataError: for a batch that lacks a part of it, naming the part.
    """
    if isinstance(batch, Task):
        return batch
    for name in ("train", "test", "description"):
        if not isinstance(batch, Mapping) or name not in batch:
            found = ", ".join(map(str, batch)) if isinstance(batch, Mapping) else type(batch).__name__
            raise DataError(
                f"this batch has no '{name}', it is {found or 'empty'}: a batch of sentences comes from "
                "BatchMetaDataLoader(MultimodalNMT(...))"
            )
    support, query = (_examples(batch[name], name) for name in ("train", "test"))
    return Task(support, query, batch["description"], batch.get("info"))


def _examples(part: Any, name: str) -> Examples:
    pair = list(part) if isinstance(part, (list, tuple)) else []
    if len(pair) != 2 or not isinstance(pair[0], Mapping) or not {"source", "source_length"} <= set(pair[0]):
        raise DataError(
            f"'{name}' must be a pair [inputs, targets] with inputs {{'source': ..., 'source_length': ...}}, got "
            f"{type(part).__name__}"
        )
    inputs, targets = pair
    real = (targets != PAD).any(-1)
    return Examples(dict(inputs), targets, None if bool(real.all()) else real)
