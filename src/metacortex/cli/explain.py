"""``metacortex explain``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from metacortex.cli.options import Json, examples
from metacortex.cli.output import emit, table, tell

__all__ = ["add_to", "explain_command"]

_EPILOG = examples(
    [
        "explain runs/first --task 3 --out why.html",
        "explain runs/first --examples my-symbols new.png --out why.html",
    ],
    """Without images: queries of a test task. With --examples: images, against a folder of examples as `adapt` takes
    it. Each support example is left out in turn and the learner adapts anew, so the figures hold for every family of
    learners; the pixels are those of integrated gradients. With --json: classes, examples, and for each query answer,
    probabilities, influence, similarity, counter_example, runner_up, changes, reuse.""",
)


def explain_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.", show_default=False)],
    images: Annotated[
        list[Path] | None, typer.Argument(metavar="[IMAGE]…", help="Images to explain.", show_default=False)
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--examples", metavar="FOLDER", help="Examples, a sub-folder per class.")
    ] = None,
    task: Annotated[int, typer.Option(min=0, help="Which test task.")] = 0,
    queries: Annotated[int, typer.Option(min=1, help="How many of its queries.")] = 3,
    out: Annotated[Path | None, typer.Option(metavar="HTML", help="Write a page with pictures.")] = None,
    checkpoint: Annotated[str | None, typer.Option(help="best or last.", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """Why an answer: which examples and which pixels spoke for it, what adapting changed, how sure it is."""
    from metacortex.explain.from_run import explain_images, explain_task
    from metacortex.explain.page import explanation_page
    from metacortex.reports.page import write_page

    if images or folder:
        found = explain_images(run, folder, images or [], checkpoint=checkpoint)
    else:
        found = explain_task(run, task, queries, checkpoint=checkpoint)
    if out is not None:
        page = explanation_page(found.title, found.lead, found.explanations, found.support, found.inputs, found.classes,
                                found.examples, found.queries, found.truths)  # fmt: skip
        write_page(page, out)
    if as_json:
        rows = [
            {"query": name, **explanation.to_json()}
            for name, explanation in zip(found.queries, found.explanations, strict=True)
        ]
        content = {"run": str(run), "classes": list(found.classes), "examples": list(found.examples), "queries": rows}
        emit("explain", {**content, "page": None if out is None else str(out)})
        return
    for name, explanation in zip(found.queries, found.explanations, strict=True):
        sure = 100 * float(explanation.probabilities[explanation.answer])
        order = explanation.influence.abs().argsort(descending=True).tolist()[:5]
        rows = [
            [
                found.examples[i],
                found.classes[int(found.support.targets[i])],
                f"{float(explanation.influence[i]):+.3f}",
            ]
            for i in order
        ]
        table(f"{name}: {found.classes[explanation.answer]}, {sure:.0f} %", ["example", "class", "adds"], rows)
    if out is not None:
        tell(f"kept in {out}")


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("explain", epilog=_EPILOG)(explain_command)
