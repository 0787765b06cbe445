"""What a translation task is told in words: which language into which, in varying wordings."""

from __future__ import annotations

from typing import Literal

from metacortex.errors import unknown_name

__all__ = ["TRAINING", "UNSEEN", "WORDINGS", "Wording", "describe", "wordings"]

Wording = Literal["training", "unseen", "plain"]

WORDINGS: tuple[Wording, ...] = ("training", "unseen", "plain")
"""The sets of wordings: those of training tasks, paraphrases that training never shows, and the first one alone."""

TRAINING = (
    "translate {source} into {target}",
    "translate from {source} to {target}",
    "turn this {source} sentence into {target}",
    "put the {source} text into {target}",
    "say in {target} what is written in {source}",
    "the input is {source} and the output is {target}",
    "{source} to {target}",
    "read {source} and write {target}",
    "give me the {target} for this {source}",
    "write in {target} what this {source} sentence says",
    "into {target} from {source}",
    "what you read is {source}, answer in {target}",
)
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
