"""A skill that translates: one pair of languages, learnt from a file of examples, in one file.

The file is that of `metacortex.skills.file`; its header has, besides what all skills have,

    {"kind": "translation",
     "learner": {...},             the network that translates, built without the learner that wrote it
     "pair": {...},                codes and names of the languages
     "description": "translate English into Danish",
     "examples": 50,               pairs it was learnt from
     "provenance": {...}}          run, learner, corpus, checkpoint

and the tensor ``subwords``, the bytes of the sentencepiece model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metacortex import __version__
from metacortex.data.text.corpus import Pair
from metacortex.data.text.subwords import Subwords
from metacortex.errors import DataError, RunError
from metacortex.learners.base import State
from metacortex.learners.translation import Translating
from metacortex.skills.build import build_empty
from metacortex.skills.file import read_skill_file, write_skill_file
from metacortex.skills.state import flatten_state, unflatten_state
from metacortex.translation.translator import TextRun, Translated, Translator

__all__ = ["TranslationSkill", "learn_translation"]


@dataclass(frozen=True, eq=False)
class TranslationSkill:
    """Translates one pair of languages; made by `learn_translation`.

    Nothing is left of the learner that wrote the weights: they are those of a plain encoder–decoder.

    Attributes:
        translator: the network with its subwords.
        names: of the two languages, as told.
        words: the description it was told, empty for none.
        examples: number of example pairs it was learnt from.
        description: of the network, see `metacortex.runs.build.describe_learner`.
        created_by: program and version.
        provenance: which run it came from, in words.
    """

    translator: Translator
    names: tuple[str, str]
    words: str
    examples: int
    description: Mapping[str, Any]
    created_by: str = ""
    provenance: Mapping[str, str] = field(default_factory=dict)

    @property
    def pair(self) -> Pair:
        """Codes of the languages, as told."""
        return self.translator.pair

    def translate(self, lines: Sequence[str], **options: Any) -> list[Translated]:
        """Translate sentences, see `metacortex.translation.translator.Translator.translate`."""
        return self.translator.translate(lines, **options)

    def save(self, path: Path | str) -> Path:
        """Write the skill as one file, atomically.

        Raises:
            RunError: if it cannot be written; a file that was there is then unchanged.
        """
        structure, tensors = flatten_state(self.translator.state)
        tensors["subwords"] = torch.from_numpy(np.frombuffer(self.translator.subwords.model, dtype=np.uint8).copy())
        header = {
            "kind": "translation",
            "created_by": self.created_by,
            "learner": dict(self.description),
            "pair": {"codes": list(self.pair), "names": list(self.names)},
            "description": self.words,
            "examples": self.examples,
            "provenance": dict(self.provenance),
            "state": structure,
        }
        write_skill_file(Path(path), header, tensors)
        return Path(path)

    @staticmethod
    def load(path: Path | str) -> TranslationSkill:
        """Read a skill.

        Raises:
            RunError: if the file is missing, no skill, one of another kind, damaged, or a newer metacortex wrote it.
        """
        header, tensors = read_skill_file(Path(path))
        if header.get("kind", "classification") != "translation":
            raise RunError(f"the skill {path} names classes of images, it does not translate: use metacortex predict")
        try:
            state = unflatten_state(header["state"], tensors)
            subwords = Subwords(tensors["subwords"].numpy().tobytes())
            codes, names = (tuple(header["pair"][key]) for key in ("codes", "names"))
            (source, target), (first, second) = codes, names
            facts = (header["description"], int(header["examples"]), header["learner"])
            made = (header["created_by"], header["provenance"])
        except (KeyError, TypeError, AttributeError, ValueError, DataError) as error:
            raise RunError(f"the skill {path} is damaged: its header lacks or garbles {error}") from error
        learner = build_empty(facts[2])
        _check(learner, state, str(path))
        return TranslationSkill(
            Translator(learner, state, subwords, (source, target)),  # type: ignore[arg-type]
            (first, second),
            *facts,
            *made,
        )


def learn_translation(
    run: Path | str,
    pairs: Sequence[tuple[str, str]],
    *,
    source: str = "",
    target: str = "",
    words: str | None = None,
    steps: int | None = None,
    lr: float = 1e-3,
    checkpoint: str | None = None,
) -> TranslationSkill:
    """Teach the learner of a run a pair of languages by examples.

    What the run's learner does with examples is done: MetaLSTM writes weights, Meta-MT updates its own. A learner
    that does nothing with them (`multilingual` without ``tune_steps``, `contextual_parameters`) is fine-tuned.

    Args:
        run: a run folder.
        pairs: example sentences, source and target; any script, any length (200 subwords are read).
        source: code or English name of the language to translate from; it may be one that the run has never
            seen, or be left out.
        target: of the one to translate into, likewise.
        words: the description; when not given, the plainest training wording, if the run was told of its tasks in
            words and trained on both languages, else none: a name never seen says nothing.
        steps: updates of all weights on the examples, after what the learner itself does; when not given, none, or
            100 for learners that do nothing with examples.
        lr: their learning rate (Adam), positive.
        checkpoint: ``"best"`` or ``"last"``.

    Returns:
        The skill; `TranslationSkill.save` keeps it.

    Raises:
        RunError: if the run cannot be used, or its learner does not translate.
        DataError: if there is no example.
        SettingsError: for steps or a learning rate out of range, or one language for both.

    Example:
        >>> learn_translation("runs/x", [("two dogs", "to hunde")], source="en", target="da")  # doctest: +SKIP
    """
    if not pairs:
        raise DataError("a pair of languages is learnt from example pairs, got none")
    text = TextRun(run, checkpoint=checkpoint)
    pair = text.pair(source, target)
    told = text.words_of(pair) if words is None else words
    translator = text.taught(pair, told, pairs, steps=steps, lr=lr)
    info = text.loaded.folder.info()
    description = _network(info["learner"], translator.state)
    alone = build_empty(description)
    assert isinstance(alone, Translating)
    return TranslationSkill(
        replace(translator, learner=alone),
        text.names(pair),
        told,
        len(pairs),
        description,
        f"metacortex {__version__}",
        {
            "run": text.loaded.folder.path.name,
            "learner": str(text.learner.name),
            "data": str(info["data"]["name"]),
            **{key: str(value) for key, value in text.loaded.checkpoint.items()},
        },
    )


def _network(trained: Mapping[str, Any], state: State) -> dict[str, Any]:
    """The network of a state as a learner of its own: one model, with a tag if the state has one."""
    return {
        "name": "multilingual",
        "options": {"tags": "tag" in state},
        **{
            key: trained[key] for key in ("backbone", "backbone_options", "kind", "input_shape", "way", "train_classes")
        },
    }


def _check(learner: Any, state: Any, where: str) -> None:
    try:
        own = dict(learner.body.named_parameters())
        fits = own.keys() == state["weights"].keys() and all(
            own[name].shape == weight.shape for name, weight in state["weights"].items()
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise RunError(f"the skill {where} is damaged: its state lacks {error}") from error
    if not fits:
        raise RunError(f"the skill {where} does not fit its own network: it is damaged")
