from __future__ import annotations

import string

import pytest

from metacortex.errors import SettingsError
from metacortex.tasks.descriptions import TRAINING, UNSEEN, describe, wordings


def test_every_wording_names_both_languages_once() -> None:
    for wording in (*TRAINING, *UNSEEN):
        assert sorted(name for _, name, _, _ in string.Formatter().parse(wording) if name) == ["source", "target"]
        assert wording == " ".join(wording.split())


def test_paraphrases_are_unseen() -> None:
    assert not set(TRAINING) & set(UNSEEN)
    assert len({*TRAINING, *UNSEEN}) == len(TRAINING) + len(UNSEEN)
    # the order of the names alone does not tell the direction
    for group in (TRAINING, UNSEEN):
        assert len({w.index("{source}") < w.index("{target}") for w in group}) == 2


def test_sets_of_wordings() -> None:
    assert wordings("training") == TRAINING
    assert wordings("unseen") == UNSEEN
    assert wordings("plain") == TRAINING[:1]
    with pytest.raises(SettingsError, match="did you mean 'unseen'"):
        wordings("unsee")  # type: ignore[arg-type]
    assert describe("{target} from {source}", "English", "Dutch") == "Dutch from English"
