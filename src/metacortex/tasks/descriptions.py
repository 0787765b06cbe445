"""What a translation task is told in words: which language into which, in varying wordings."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from metacortex.data.text.lines import clean
from metacortex.data.text.subwords import EOS
from metacortex.errors import unknown_name

if TYPE_CHECKING:
    from metacortex.data.text.subwords import Subwords

__all__ = ["TRAINING", "UNSEEN", "WORDINGS", "Wording", "describe", "description_tensors", "name_ends", "wordings"]

Wording = Literal["training", "unseen", "plain"]

WORDINGS: tuple[Wording, ...] = ("training", "unseen", "plain")
"""The sets of wordings: those of training tasks, paraphrases that training never shows, and the first one alone."""

_WHOLE = (
    "translate {source} into {target}",
    "translate from {source} to {target}",
    "say in {target} what is written in {source}",
    "the input is {source} and the output is {target}",
    "{source} to {target}",
    "read {source} and write {target}",
    "give me the {target} for this {source}",
    "write in {target} what this {source} sentence says",
    "into {target} from {source}",
    "what you read is {source}, answer in {target}",
    "from {source} to {target}, please",
    "make {target} out of this {source}",
    "a {source} sentence comes in, a {target} sentence goes out",
    "source language {source}, target language {target}",
    "render in {target} the following {source}",
    "express this {source} text in {target}",
    "what does this {source} mean in {target}",
    "tell me in {target} what the {source} says",
    "change the language from {source} to {target}",
    "transfer {source} sentences to {target} ones",
    "reply with the {target} version of the {source} text",
    "for those who know {target}: a text in {source}",
)
_SOURCE = (
    "read {source}",
    "{source} is read",
    "the text is {source}",
    "{source} comes in",
    "i wrote it in {source}",
    "{source} is what i have",
    "you listen to {source}",
    "you will hear {source}",
    "it was said in {source}",
    "the {source} words are given",
    "to be read: {source}",
    "the language to start from is {source}",
    "{source} is the language to leave",
    "{source} is the one to start from",
)
_TARGET = (
    "write {target}",
    "{target} is written",
    "reply in {target}",
    "{target} goes out",
    "i need it in {target}",
    "{target} is what i want",
    "you speak {target}",
    "my friend understands {target}",
    "it should be said in {target}",
    "use {target} words",
    "to be written: {target}",
    "the language to end with is {target}",
    "{target} is the language to reach",
    "{target} is the one to end with",
)
_VERBS = ("turn", "put", "bring", "render", "change", "translate", "make", "express", "give me", "say")
_NOUNS = (
    "the {source} text",
    "this {source} sentence",
    "these {source} words",
    "what is said in {source}",
    "the {source}",
)
_WAYS = ("in {target}", "into {target}", "to {target}", "as {target}")
TRAINING = (
    *_WHOLE,
    *(f"{first}, {second}" for s in _SOURCE for t in _TARGET for first, second in ((s, t), (t, s))),
    *(f"{verb} {noun} {way}" for verb in _VERBS for noun in _NOUNS for way in _WAYS),
    *(f"{way}: {noun}" for noun in _NOUNS for way in _WAYS),
    *(f"{verb} {way} {noun}" for verb in _VERBS for noun in _NOUNS for way in _WAYS),
)
"""Whole sentences, and sentences put together from parts. Each language needs wordings that
differ around it in every way: with a dozen sentences alone, a reader knows them by heart and mistakes who is the
source in one paraphrase out of four."""

UNSEEN = (
    "please translate this text from {source} into {target}",
    "this is {source}, give me {target}",
    "write the {source} sentence in {target}",
    "answer in {target} to what is said in {source}",
    "how do you say this {source} sentence in {target}",
    "i can read {target}, but what you see is {source}",
    "{target} is the language to write, {source} the one to read",
    "convert {source} to {target}",
)


def wordings(which: Wording) -> tuple[str, ...]:
    """The wordings of a set, with ``{source}`` and ``{target}`` where the names of the languages go.

    Raises:
        SettingsError: for an unknown set.
    """
    if which not in WORDINGS:
        raise unknown_name("set of wordings", which, WORDINGS)
    return {"training": TRAINING, "unseen": UNSEEN, "plain": TRAINING[:1]}[which]


def describe(wording: str, source: str, target: str, topic: str = "") -> str:
    """A description of a task.

    Args:
        wording: one of `wordings`.
        source: name of the language to translate from.
        target: name of the language to translate into.
        topic: words that say what the sentences are about, or none.

    Example:
        >>> describe(TRAINING[0], "English", "French", "dog, snow")
        'translate English into French, about dog, snow'
    """
    text = wording.format(source=source, target=target)
    return f"{text}, about {topic}" if topic else text


def name_ends(text: str, source: str, target: str) -> tuple[int, int]:
    """Where the names of the two languages end in a description: characters up to there, -1 for one not named.

    Of two names of which one contains the other, the longer is looked for first.

    Example:
        >>> text = "from Norwegian Bokmål to Norwegian"
        >>> [text[:end] for end in name_ends(text, "Norwegian", "Norwegian Bokmål")]
        ['from Norwegian Bokmål to Norwegian', 'from Norwegian Bokmål']
    """
    ends = dict.fromkeys((source, target), -1)
    for name in sorted(ends, key=len, reverse=True):
        found = re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE) if name else None
        if found:
            ends[name] = found.end()
            text = text[: found.start()] + " " * len(found[0]) + text[found.end() :]
    return ends[source], ends[target]


def description_tensors(
    subwords: Subwords, words: str, names: tuple[str, str] | None = None, numbers: tuple[int, int] = (-1, -1)
) -> dict[str, Tensor]:
    """A description as learners read it.

    Args:
        subwords: in which it is written.
        words: the text; an empty one says nothing at all and has no token.
        names: of the two languages, to say where in the text they are named.
        numbers: of the two languages, for learners that read tags; -1 where not told.

    Returns:
        ``tokens`` ``[D]`` ended by EOS and their ``length``; ``source_language`` and ``target_language``;
        ``source_position`` and ``target_position``, the tokens at which the names end, -1 where there are none.
        All int64.
    """
    text = clean(words)
    tokens = [*subwords.encode(text), EOS] if text else []
    ends = (-1, -1) if names is None else name_ends(text, *names)
    # Subwords do not reach across spaces, so that a text up to the end of a name has those of the whole.
    source, target = (min(len(subwords.encode(text[:end])), len(tokens)) - 1 if end > 0 else -1 for end in ends)
    found = {
        "length": len(tokens),
        "source_language": numbers[0],
        "target_language": numbers[1],
        "source_position": source,
        "target_position": target,
    }
    return {"tokens": torch.tensor(tokens, dtype=torch.int64), **{name: torch.tensor(n) for name, n in found.items()}}
