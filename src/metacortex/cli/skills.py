"""``metacortex adapt`` and ``metacortex predict``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from metacortex.cli.options import TRANSLATION, Json, Threads, examples
from metacortex.cli.output import emit, note, tell
from metacortex.errors import DataError, SettingsError

if TYPE_CHECKING:
    from metacortex.skills.answer import Answer
    from metacortex.skills.skill import Skill

__all__ = ["adapt_command", "add_to", "predict_command"]

_ADAPT = examples(
    [
        "adapt runs/proto letters --out letters.skill",
        "adapt runs/proto photos --out mine.skill --no-invert",
        "adapt runs/meta pairs.tsv --from en --to da --out danish.skill",
        "adapt runs/meta lines.en lines.da --from en --to da --out danish.skill",
    ],
    """Images: FOLDER has one sub-folder per class, named as the class; it holds images of any number, size and mode. If
    the run learned from bright strokes on a dark ground, images with a light border are inverted (and the other
    way round); --invert and --no-invert decide it for all of them. With --json: skill, bytes, learner, norm,
    classes (name and number of examples), background (dark, light or any: that of the training images), invert
    (null: image by image), threshold (null: "none of these" is not available). A run that translates learns a pair
    of languages from example pairs: a table (source, tab, target in each line), or two files of as many lines; the
    languages may be named, also ones that the run has never seen. With --json: skill, bytes, learner, pair, names,
    description, examples.""",
)

_PREDICT = examples(
    [
        "predict letters.skill photo.jpg",
        "predict letters.skill scans/*.png --json",
    ],
    """With --json: skill, classes, and for each of images: image, label (null for "none of these"), known,
    most_likely, probabilities (by class), nearest (example, label, distance), score, threshold; or image and
    error for a file that cannot be read, with exit code 2.""",
)


def adapt_command(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="Run folder, as `metacortex train --out` wrote it.", show_default=False),
    ],
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER|PAIRS", help="One sub-folder of images per class; or sentence pairs.", show_default=False
        ),
    ],
    second: Annotated[
        Path | None, typer.Argument(metavar="[TARGETS]", help="Sentences that PAIRS belongs to.", show_default=False)
    ] = None,
    *,
    out: Annotated[Path, typer.Option("--out", metavar="SKILL", help="File of the skill.", show_default=False)],
    invert: Annotated[
        bool | None,
        typer.Option("--invert/--no-invert", help="Exchange dark and light, or not.", show_default="image by image"),
    ] = None,
    norm: Annotated[str | None, typer.Option(help="Another batch-norm policy.", show_default=False)] = None,
    source: Annotated[
        str,
        typer.Option("--from", metavar="LANGUAGE", rich_help_panel=TRANSLATION, help="Of the pairs' first sentences."),
    ] = "",
    target: Annotated[
        str,
        typer.Option("--to", metavar="LANGUAGE", rich_help_panel=TRANSLATION, help="Of the pairs' second sentences."),
    ] = "",
    words: Annotated[
        str | None,
        typer.Option(
            "--describe",
            metavar="TEXT",
            rich_help_panel=TRANSLATION,
            help="The task in your own words.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=0, rich_help_panel=TRANSLATION, help="Updates of all weights on the pairs besides.", show_default=False
        ),
    ] = None,
    checkpoint: Annotated[str | None, typer.Option(help="best or last.", show_default=False)] = None,
    threads: Threads = 0,
    as_json: Json = False,
) -> None:
    """Teach a trained learner the classes in a folder, or a pair of languages by examples; the skill is one file."""
    from metacortex.runs.folder import RunFolder
    from metacortex.skills.learn import learn_skill
    from metacortex.training.trainer import limited_threads

    if RunFolder.open(run).info().get("learner", {}).get("kind") == "translation":
        _refuse_given("a run that translates", {"--invert": invert, "--norm": norm})
        options = {"source": source, "target": target, "words": words, "steps": steps, "checkpoint": checkpoint}
        with limited_threads(threads):
            _adapt_to_pairs(run, folder, second, out, options, as_json=as_json)
        return
    given = {"TARGETS": second, "--from": source, "--to": target, "--describe": words, "--steps": steps}
    _refuse_given("a run on images", given)
    with limited_threads(threads):
        skill = learn_skill(run, folder, checkpoint=checkpoint, norm=norm, invert=invert)
    path = skill.save(out)
    counts = Counter(skill.support.targets.tolist())
    classes = {name: counts[slot] for slot, name in enumerate(skill.classes)}
    if skill.calibration is None:
        note('the run has no calibration, so the skill cannot say "none of these"')
    if as_json:
        emit("adapt", _described(skill, path, classes))
        return
    learned = ", ".join(f"{name} ({count})" for name, count in classes.items())
    tell(f"learned {len(classes)} classes from {sum(classes.values())} examples: {learned}")
    tell(f"kept in {path} ({path.stat().st_size / 1000:.0f} kB); ask it with: metacortex predict {path} IMAGE")


def predict_command(
    skill: Annotated[
        Path, typer.Argument(metavar="SKILL", help="Skill, as `metacortex adapt --out` wrote it.", show_default=False)
    ],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files.", show_default=False)],
    nearest: Annotated[int, typer.Option(min=0, help="How many of the nearest examples to name.")] = 3,
    threads: Threads = 0,
    as_json: Json = False,
) -> None:
    """Name the class of images, with probabilities and the nearest examples, or say "none of these"."""
    from metacortex.skills.skill import Skill
    from metacortex.training.trainer import limited_threads

    known = Skill.load(skill)
    with limited_threads(threads):
        results = _ask(known, images, nearest)
    failed = [error for error in results if isinstance(error, DataError)]
    if as_json:
        entries = [
            {"image": str(image), "error": str(r)} if isinstance(r, DataError) else r.to_json()
            for image, r in zip(images, results, strict=True)
        ]
        emit("predict", {"skill": str(skill), "classes": list(known.classes), "images": entries})
    else:
        for result in results:
            if not isinstance(result, DataError):
                _show(result)
    for error in failed[:-1]:
        note(f"metacortex: error: {error}")
    if failed:
        raise failed[-1]


def add_to(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("adapt", epilog=_ADAPT)(adapt_command)
    app.command("predict", epilog=_PREDICT)(predict_command)


def _refuse_given(what: str, options: dict[str, Any]) -> None:
    """Refuse options of another kind of run; those not given are ``None`` or empty."""
    for name, value in options.items():
        if value is not None and value != "":
            raise SettingsError(f"{what} has no use for {name} ({value}): leave it out")


def _adapt_to_pairs(
    run: Path, first: Path, second: Path | None, out: Path, options: dict[str, Any], *, as_json: bool
) -> None:
    from metacortex.data.text.aligned import read_aligned_pairs, read_pairs
    from metacortex.skills.text import learn_translation

    pairs = read_pairs(first) if second is None else read_aligned_pairs(first, second)
    skill = learn_translation(run, pairs, **options)
    path = skill.save(out)
    if as_json:
        content = {
            "skill": str(path),
            "bytes": path.stat().st_size,
            "learner": skill.provenance["learner"],
            "pair": list(skill.pair),
            "names": list(skill.names),
            "description": skill.words,
            "examples": skill.examples,
        }
        emit("adapt", content)
        return
    told = f', told "{skill.words}"' if skill.words else ""
    tell(f"learned {skill.names[0]} to {skill.names[1]} from {skill.examples} example pairs{told}")
    tell(f"kept in {path} ({path.stat().st_size / 1000:.0f} kB); use it with: metacortex translate {path} TEXT")


def _described(skill: Skill, path: Path, classes: dict[str, int]) -> dict[str, Any]:
    return {
        "skill": str(path),
        "bytes": path.stat().st_size,
        "learner": skill.description["name"],
        "norm": skill.norm,
        "classes": classes,
        "background": skill.reader.background,
        "invert": skill.reader.invert,
        "threshold": None if skill.calibration is None else skill.calibration.threshold,
    }


def _ask(skill: Skill, images: list[Path], nearest: int) -> list[Answer | DataError]:
    """All at once; one by one only if some cannot be read, so that these do not spoil the others."""
    try:
        return list(skill.predict(images, nearest=nearest))
    except DataError:
        return [_ask_one(skill, image, nearest) for image in images]


def _ask_one(skill: Skill, image: Path, nearest: int) -> Answer | DataError:
    try:
        return skill.predict(image, nearest=nearest)[0]
    except DataError as error:
        return error


def _show(answer: Answer) -> None:
    shares = ", ".join(f"{name} {100 * p:.1f} %" for name, p in list(answer.probabilities.items())[:5])
    if answer.known:
        tell(f"{answer.name}: {answer.label}  ({shares})")
    else:
        tell(f"{answer.name}: none of these  (score {answer.score:.2f} > {answer.threshold:.2f}; if any: {shares})")
    if answer.nearest:
        tell("    nearest: " + ", ".join(f"{n.example} ({n.distance:.3g})" for n in answer.nearest))
