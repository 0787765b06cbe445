"""``metacortex explain``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from metacortex.cli.options import Json, examples
from metacortex.cli.output import emit, table, tell
from metacortex.errors import SettingsError

__all__ = ["add_to", "explain_command"]

_EPILOG = examples(
    [
        "explain runs/first --task 3 --out why.html",
        "explain runs/first --examples my-symbols new.png --out why.html",
        "explain runs/waves --task 3 --out why.html",
        'explain runs/meta --from en --to fr "a dog runs in the snow" --out why.html',
    ],
    """Without images: queries of a test task. With --examples: images, against a folder of examples as `adapt` takes
    it. Each support example is left out in turn and the learner adapts anew, so the figures hold for every family of
    learners; the pixels are those of integrated gradients. With --json: classes, examples, and for each query answer,
    probabilities, influence, similarity, counter_example, runner_up, changes, reuse, layers, distances, attention.
    Runs of regression: queries of a test task; by how much each example moves the value, and with what weight (with
    --json also value, error, deviation, interval, prior); the page draws the function before and after learning.
    With --from and --to: sentences, translated by a run of a learner of translation; subwords, words of the description
    and example pairs are left out in turn.""",
)


def explain_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.", show_default=False)],
    images: Annotated[
        list[str] | None,
        typer.Argument(metavar="[IMAGE|SENTENCE]…", help="Images, or sentences, to explain.", show_default=False),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--examples", metavar="FOLDER", help="Examples, a sub-folder per class.")
    ] = None,
    task: Annotated[int, typer.Option(min=0, help="Which test task.")] = 0,
    queries: Annotated[int, typer.Option(min=1, help="How many of its queries.")] = 3,
    out: Annotated[Path | None, typer.Option(metavar="HTML", help="Write a page with pictures.")] = None,
    checkpoint: Annotated[str | None, typer.Option(help="best or last.", show_default=False)] = None,
    source: Annotated[
        str, typer.Option("--from", metavar="LANGUAGE", help="Of the sentences.", show_default=False)
    ] = "",
    target: Annotated[
        str, typer.Option("--to", metavar="LANGUAGE", help="To translate into.", show_default=False)
    ] = "",
    words: Annotated[
        str | None, typer.Option("--describe", metavar="TEXT", help="The task in your own words.", show_default=False)
    ] = None,
    pairs: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Example pairs: source, tab, target in each line.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Why an answer: which examples and which pixels spoke for it, what adapting changed, how sure it is."""
    from metacortex.explain.from_run import explain_images, explain_task

    if source or target:
        _translations(run, images or [], (source, target), words, pairs, checkpoint, out, as_json)
        return
    if images or folder:
        found = explain_images(run, folder, images or [], checkpoint=checkpoint)
    else:
        found = explain_task(run, task, queries, checkpoint=checkpoint)
    if out is not None:
        found.save(out)
    if as_json:
        emit("explain", {"run": str(run), **found.to_json(), "page": None if out is None else str(out)})
        return
    for title, columns, rows in found.tables():
        table(title, columns, rows)
    if out is not None:
        tell(f"kept in {out}")


def _translations(
    run: Path,
    sentences: Sequence[str],
    languages: tuple[str, str],
    words: str | None,
    pairs: Path | None,
    checkpoint: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    from metacortex.data.text.aligned import read_pairs
    from metacortex.explain.translation import explain_translation
    from metacortex.explain.translation_page import translation_page
    from metacortex.reports.page import write_page
    from metacortex.translation.translator import TextRun

    if not all(languages) or not sentences:
        raise SettingsError('say both languages and what to translate: --from en --to fr "a dog runs"')
    text, support = TextRun(run, checkpoint=checkpoint), [] if pairs is None else read_pairs(pairs)
    found = [explain_translation(text, *languages, s, words=words, support=support) for s in sentences]
    if out is not None:
        lead = f"From {languages[0]} into {languages[1]}, by the run in {run}."
        write_page(translation_page(f"Why {text.learner.name} translates so", lead, found), out)
    if as_json:
        rows = [one.to_json() for one in found]
        emit("explain", {"run": str(run), "sentences": rows, "page": None if out is None else str(out)})
        return
    for one in found:
        adds = one.influence.sum(0)
        order = adds.abs().argsort(descending=True).tolist()[:5]
        rows = [[one.read[i], f"{float(adds[i]):+.3f}"] for i in order]
        table(f"{one.source}: {one.translation}", ["read", "adds"], rows)
    if out is not None:
        tell(f"kept in {out}")


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("explain", epilog=_EPILOG)(explain_command)
