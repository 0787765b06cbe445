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
_READ = (
    "read",
    "hear",
    "see",
    "get",
    "receive",
    "start from",
    "begin with",
    "leave",
    "take",
    "find",
    "look at",
    "listen to",
    "be given",
)
_WRITE = (
    "write",
    "say",
    "speak",
    "answer in",
    "reply with",
    "end with",
    "reach",
    "arrive at",
    "send",
    "print",
    "want",
    "need",
    "prefer",
)
_ROLES = (
    "{verb} {name}",
    "you {verb} {name}",
    "you will {verb} {name}",
    "{name} is what you {verb}",
    "what to {verb} is {name}",
    "{name} is the thing to {verb}",
    "the language to {verb} is {name}",
    "{name} to {verb}",
    "to {verb}: {name}",
)
_SOURCE = (
    *(role.format(verb=verb, name="{source}") for verb in _READ for role in _ROLES),
    "{source} is read",
    "the text is {source}",
    "{source} comes in",
    "i wrote it in {source}",
    "{source} is what i have",
    "it was said in {source}",
    "the {source} words are given",
    "{source} is the language to leave",
    "{source} is the one to start from",
    "my text is {source}",
    "what you have is {source}",
    "what follows is {source}",
    "he writes {source}",
    "she said it in {source}",
    "they talk {source}",
    "{source} is known",
    "the input is {source}",
    "{source} on the left",
    "{source} before",
)
_TARGET = (
    *(role.format(verb=verb, name="{target}") for verb in _WRITE for role in _ROLES),
    "{target} is written",
    "reply in {target}",
    "{target} goes out",
    "i need it in {target}",
    "{target} is what i want",
    "my friend understands {target}",
    "it should be said in {target}",
    "use {target} words",
    "{target} is the language to reach",
    "{target} is the one to end with",
    "i can understand {target}",
    "i know {target}",
    "we understand {target}",
    "she knows {target}",
    "i only speak {target}",
    "the output is {target}",
    "{target} on the right",
    "{target} comes out",
    "{target} after",
    "the answer is {target}",
    "{target} is asked for",
)
_JOINTS = (", ", ", and ", ", but ", "; ", " and ", ". ", " while ", ": ")
_VERBS = ("turn", "put", "bring", "render", "change", "translate", "make", "express", "give me", "say")
_NOUNS = (
    "the {source} text",
    "this {source} sentence",
    "these {source} words",
    "what is said in {source}",
    "the {source}",
)
_WAYS = ("in {target}", "into {target}", "to {target}", "as {target}")
_VERSIONS = ("the {target} version", "the {target} text", "{target} words", "a {target} sentence")


def _joined(partners: int = 4) -> list[str]:
    """Two clauses in either order, each source clause with some target clauses, joined in one way or another."""
    found = []
    for i, source in enumerate(_SOURCE):
        for j in range(partners):
            # Strides without a common divisor with the number of clauses, so that all of them come up.
            target = _TARGET[(5 * i + 37 * j) % len(_TARGET)]
            for k, clauses in enumerate(((source, target), (target, source))):
                found.append(_JOINTS[(i + 3 * j + k) % len(_JOINTS)].join(clauses))
    return found


TRAINING = (
    *_WHOLE,
    *_joined(),
    *(f"{verb} {noun} {way}" for verb in _VERBS for noun in _NOUNS for way in _WAYS),
    *(f"{way}: {noun}" for noun in _NOUNS for way in _WAYS),
    *(f"{verb} {way} {noun}" for verb in _VERBS for noun in _NOUNS for way in _WAYS),
    *(f"{verb} {it} of {noun}" for verb in ("give me", "write", "show", "send") for it in _VERSIONS for noun in _NOUNS),
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
    "{target} for the reader, {source} from the writer",
    "here is some {source}; let me have it in {target}",
    "could you explain in {target} what this {source} line says",
    "my text is in {source} and yours shall be in {target}",
    "{target}, please: the words below are {source}",
    "go from {source} over to {target}",
    "find the {target} words for this {source} sentence",
    "produce {target} when given {source}",
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
        ``source_position`` and ``target_position``, the tokens at which the names end, -1 where there are none;
        ``source_start`` and ``target_start``, those at which they begin, 0 where there are none. All int64.
    """
    text = clean(words)
    tokens = [*subwords.encode(text), EOS] if text else []
    ends = (-1, -1) if names is None else name_ends(text, *names)
    # Subwords do not reach across spaces, so that a text up to the end of a name has those of the whole.
    source, target = (min(len(subwords.encode(text[:end])), len(tokens)) - 1 if end > 0 else -1 for end in ends)
    starts = [
        len(subwords.encode(text[: end - len(name)].rstrip())) if end > 0 else 0
        for end, name in zip(ends, names or ("", ""), strict=True)
    ]
    found = {
        "length": len(tokens),
        "source_language": numbers[0],
        "target_language": numbers[1],
        "source_position": source,
        "target_position": target,
        "source_start": starts[0],
        "target_start": starts[1],
    }
    return {"tokens": torch.tensor(tokens, dtype=torch.int64), **{name: torch.tensor(n) for name, n in found.items()}}
