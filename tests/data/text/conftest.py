from __future__ import annotations

import pytest

from metacortex.data.text.corpus import Corpus, Sentences


def make_corpus() -> Corpus:
    """Three languages, ten training lines; Dutch lacks every third; Danish is held out."""
    numbers = range(10)
    train = Sentences(
        {
            "en": tuple(f"the {n} dogs" for n in numbers),
            "fr": tuple(f"les {n} chiens" for n in numbers),
            "nl": tuple("" if n % 3 == 0 else f"de {n} honden" for n in numbers),
            "da": tuple(f"de {n} hunde" for n in numbers),
        },
        tuple(f"image{n}" for n in numbers),
    )
    test = Sentences({"en": ("a cat",), "fr": ("un chat",)})
    names = {"en": "English", "fr": "French", "nl": "Dutch", "da": "Danish"}
    splits = {"train": train, "val": test, "test": test}
    return Corpus("tiny", "made here", names, splits, (("fr", "nl"),), {"test": ("da",)})


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    return make_corpus()
