"""``metacortex learners``."""

from __future__ import annotations

import typer

from metacortex.cli.options import Json, examples
from metacortex.cli.output import emit, table

__all__ = ["add_to", "learners_command"]

_EPILOG = examples(
    [
        "learners",
        "train maml --set learner.inner_steps=5 --out runs/maml",
    ],
    """With --json: learners, each with name, summary, trains_on (episodes, batches or nothing), options (name and
    default).""",
)


def learners_command(as_json: Json = False) -> None:
    """List the learners and their options."""
    import dataclasses

    from metacortex.fields import to_toml_value
    from metacortex.learners.registry import learner_entry, learner_names

    found = []
    for name in learner_names():
        entry = learner_entry(name)
        defaults = entry.settings()
        options = {f.name: to_toml_value(getattr(defaults, f.name)) for f in dataclasses.fields(defaults)}
        about = {"name": name, "summary": entry.summary, "trains_on": entry.learner.trains_on, "options": options}
        found.append(about)
    if as_json:
        emit("learners", {"learners": found})
        return
    rows = [[e["name"], e["summary"], ", ".join(f"{k}={v}" for k, v in e["options"].items())] for e in found]
    table("", ["learner", "what it does", "options (--set learner.NAME=VALUE)"], rows)


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("learners", epilog=_EPILOG)(learners_command)
