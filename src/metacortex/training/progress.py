"""What a run tells while it goes: a live bar on a terminal, a line per validation elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

__all__ = ["Listener", "TrainingEvent", "duration", "listener", "show_score", "tell_waiting"]


@dataclass(frozen=True)
class TrainingEvent:
    """State of a run after a step.

    Attributes:
        step: steps done.
        fraction: share of the budget spent, in [0, 1].
        loss: mean training loss since the last line of the log.
        lr: learning rate of the step.
        tasks_per_second: training pace of this process.
        seconds: seconds of training so far, over all resumes.
        seconds_left: expected seconds to the end, ``None`` when not known yet.
        score: name of the score, e.g. ``"accuracy"``.
        val_score: latest validation score (an accuracy lies in [0, 1]), ``None`` before the first.
        best_score: best so far.
        validated: True when this step ended with a validation.
    """

    step: int
    fraction: float
    loss: float
    lr: float
    tasks_per_second: float
    seconds: float
    seconds_left: float | None
    score: str
    val_score: float | None
    best_score: float | None
    validated: bool


Listener = Callable[[TrainingEvent], None]


def duration(seconds: float | None) -> str:
    """Seconds as ``m:ss`` or ``h:mm:ss``.

    Example:
        >>> duration(75), duration(3700), duration(None)
        ('1:15', '1:01:40', '-')
    """
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def show_score(name: str, value: float | None) -> str:
    """A score as people read it: accuracies in per cent, others as they are.

    Example:
        >>> show_score("accuracy", 0.5), show_score("mse", 0.25), show_score("mse", None)
        ('50.0 %', '0.2500 mse', '-')
    """
    if value is None:
        return "-"
    return f"{100 * value:.1f} %" if name == "accuracy" else f"{value:.4f} {name}"


def _pace(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"


def _describe(event: TrainingEvent) -> str:
    latest, best = (show_score(event.score, value) for value in (event.val_score, event.best_score))
    return (
        f"loss {event.loss:.3f}  validation {latest} (best {best})  "
        f"{_pace(event.tasks_per_second)} tasks/s  left {duration(event.seconds_left)}"
    )


@contextmanager
def listener(progress: bool | Listener, title: str, console: Console | None = None) -> Iterator[Listener]:
    """The function that is told of every step.

    Args:
        progress: False for silence, True for a bar or lines, or a function of your own.
        title: what is trained.
        console: where the output goes; standard error when not given, so that standard output
            stays free for results.
    """
    if callable(progress):
        yield progress
    elif not progress:
        yield lambda event: None
    else:
        out = console or Console(stderr=True)
        if out.is_terminal:
            with _bar(out, title) as show:
                yield show
        else:
            yield lambda event: _line(out, title, event)


def tell_waiting(progress: bool | Listener, reason: str) -> None:
    """Say on standard error why nothing is to be seen yet; not to a listener, who is told of steps."""
    if progress is True:
        Console(stderr=True).print(reason, markup=False, highlight=False, soft_wrap=True)


def _line(out: Console, title: str, event: TrainingEvent) -> None:
    if event.validated:
        out.print(f"{title}  step {event.step}  {_describe(event)}", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _bar(out: Console, title: str) -> Iterator[Listener]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TextColumn("step {task.fields[step]}"),
        TextColumn("{task.fields[status]}"),
    )
    with Progress(*columns, console=out, refresh_per_second=4) as bar:
        row = bar.add_task(title, total=1.0, step=0, status="")

        def show(event: TrainingEvent) -> None:
            bar.update(row, completed=event.fraction, step=event.step, status=_describe(event))

        yield show
