"""``metacortex evaluate`` for runs that translate: whole sets, runs against each other, curves over examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metacortex.cli.output import bar, emit, table, tell
from metacortex.errors import RunError, SettingsError

if TYPE_CHECKING:
    from metacortex.data.text.corpus import Pair
    from metacortex.evaluation.translation import BleuComparison
    from metacortex.settings import TaskSettings
    from metacortex.translation.curves import FewShotCurves
    from metacortex.translation.evaluate import TranslationReport

__all__ = ["draw_curves_of", "score_sets"]


def score_sets(run: Path, options: Mapping[str, Any], *, as_json: bool, quiet: bool) -> None:
    """Score a run on whole sets, with true and false descriptions, and maybe against other runs."""
    from metacortex.runs.folder import RunFolder
    from metacortex.translation.evaluate import MOST_PAIRS, compare_translations, evaluate_translation, keep_translation
    from metacortex.translation.kept import read_report

    most = MOST_PAIRS if options["most"] is None else options["most"]
    shared = {"split": options["split"], "beam": options["beam"], "sentences": options["sentences"] or 0}
    shared["device"] = options["device"]
    own = {"shot": options["shot"], "description": options["describe"], "checkpoint": options["checkpoint"]}
    with bar("translating", show=not quiet) as progress:
        report = evaluate_translation(
            run, pairs=options["pairs"], most=most, save=False, progress=progress, **shared, **own
        )
    others = []
    for other in options["against"]:
        if other.is_file():
            others.append(read_report(other))
            continue
        data = RunFolder.open(other).settings().data
        given = {"pairs": _common(report, other, data), "most": 0, "falsify": False, **shared, **_told_alike(own, data)}
        with bar(f"translating with {other.name}", show=not quiet) as progress:
            others.append(evaluate_translation(other, progress=progress, **given))
    rows = []
    if others:
        whole, each = compare_translations(report, others)
        rows = [(str(path), one) for path, one in zip(options["against"], each, strict=True)]
        rows += [("all together", whole)] if len(each) > 1 else []
    failure = None
    try:
        report = keep_translation(RunFolder.open(run), report)
    except RunError as error:
        failure = error  # what took minutes is shown all the same
    if as_json:
        saved = None if report.path is None else str(report.path)
        against = {"against": [_compared(name, one) for name, one in rows]} if rows else {}
        emit("evaluate", {**report.to_json(translations=False), **against, "run": str(run), "saved": saved})
    else:
        _show_report(report)
        for name, one in rows:
            tell(_sentence(name, one))
    if failure is not None:
        raise failure


def draw_curves_of(run: Path, options: Mapping[str, Any], out: Path | None, *, as_json: bool, quiet: bool) -> None:
    """Draw scores against the number of example pairs."""
    from metacortex.translation.curves import few_shot_curves, write_curves

    if options["shot"] is not None or options["checkpoint"] is not None:
        raise SettingsError("--shots is a curve of the best checkpoints: leave out --shot and --checkpoint")
    asked = {key: options[key] for key in ("sentences", "most", "tune_steps", "tune_lr")}
    asked["description"] = options["describe"]
    with bar("teaching and translating", show=not quiet) as progress:
        curves = few_shot_curves(
            [run, *options["against"]],
            shots=_numbers("--shots", options["shots"]),
            topics=_numbers("--topics", options["topics"]),
            pairs=options["pairs"],
            split=options["split"],
            beam=options["beam"],
            device=options["device"],
            progress=progress,
            **{name: value for name, value in asked.items() if value is not None},
        )
    files = write_curves(curves, run / "eval" if out is None else out)
    if as_json:
        emit("evaluate", {**curves.to_json(), "files": [str(path) for path in files]})
        return
    _show_curves(curves)
    tell(f"kept in {', '.join(map(str, files))}")


def _common(report: TranslationReport, other: Path, data: TaskSettings) -> str:
    """The pairs of a report that another run was trained for: all of them, or those that its settings name."""
    from metacortex.data.text.corpus import PAIR_KINDS, show_pair
    from metacortex.settings import TextSettings

    scored = [row.pair for row in report.pairs]
    kept, limit = scored, ""
    if isinstance(data, TextSettings) and data.languages:
        limit, known = data.languages, {code.strip() for code in data.languages.split(",")}
        kept = [pair for pair in kept if known.issuperset(pair)]
    if isinstance(data, TextSettings) and data.pairs and data.pairs not in PAIR_KINDS:
        limit, trained = data.pairs, {name.strip() for name in data.pairs.split(",")}
        kept = [pair for pair in kept if show_pair(pair) in trained]
    if not kept:
        raise SettingsError(f"{other} was trained on {limit}, none of which was scored: {_listed(scored)}")
    return _listed(kept)


def _listed(pairs: Sequence[Pair]) -> str:
    from metacortex.data.text.corpus import show_pair

    return ",".join(map(show_pair, pairs))


def _told_alike(own: Mapping[str, Any], data: TaskSettings) -> dict[str, Any]:
    """What was asked for of a run's description, where another run can be told the same; else it has its own."""
    from metacortex.settings import TextSettings

    asked = {key: own[key] for key in ("shot", "description") if own[key] is not None}
    if not asked or not isinstance(data, TextSettings):
        return {}
    told = asked.get("description", data.description)
    return asked if data.description == "any" or (data.description == told and told in ("pairs", "both")) else {}


def _compared(name: str, one: BleuComparison) -> dict[str, Any]:
    return {
        "run": name,
        "bleu": one.first,
        "against_bleu": one.second,
        "difference": one.difference.mean,
        "ci95": [one.difference.low, one.difference.high],
        "worse": one.worse,
    }


def _sentence(name: str, one: BleuComparison) -> str:
    d = one.difference
    verdict = "excludes 0" if d.excludes_zero else "holds 0"
    return (
        f"against {name}: BLEU {one.first:.2f} to {one.second:.2f}, difference {d.mean:+.2f}; 95 % interval of the "
        f"paired bootstrap {d.low:+.2f} to {d.high:+.2f}, which {verdict}"
    )


def _show_report(report: TranslationReport) -> None:
    from metacortex.data.text.corpus import show_pair
    from metacortex.translation.evaluate import FALSIFICATIONS

    def points(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}"

    rows = [
        [show_pair(p.pair), *map(points, (p.scores.bleu, p.scores.chrf)), f"{100 * p.scores.exact:.1f}"]
        + [points(p.falsified.get(name)) for name in FALSIFICATIONS]
        for p in report.pairs
    ]
    exact = report.mean("exact")
    means = [
        "mean",
        points(report.mean("bleu")),
        points(report.mean("chrf")),
        "-" if exact is None else f"{100 * exact:.1f}",
    ]
    rows.append([*means, *(points(report.mean(name)) for name in FALSIFICATIONS)])
    names = [f"BLEU, {name.replace('_', ' ')}" for name in FALSIFICATIONS]
    table(f"{report.learner}", ["pair", "BLEU", "chrF", "exact %", *names], rows)
    tell(f"protocol: {report.protocol}")
    tell(f"{report.pairs[0].scores.bleu_signature}; {report.pairs[0].scores.chrf_signature}")
    if report.path is not None:
        tell(f"kept in {report.path}")


def _show_curves(curves: FewShotCurves) -> None:
    shots = [point.shot for point in curves.curves[0].points]
    rows = [
        [curve.label, *(f"{p.bleu:.1f} / {100 * p.exact:.1f}{_star(p.difference)}" for p in curve.points)]
        for curve in curves.curves
    ]
    table("BLEU / exact matches in %", ["", *(f"{shot} pairs" for shot in shots)], rows)
    tell(f"* BLEU differs from {curves.curves[0].label} on the same sentences (paired bootstrap, 95 %)")
    tell(f"protocol: {curves.protocol}")


def _star(difference: BleuComparison | None) -> str:
    return "*" if difference is not None and difference.difference.excludes_zero else ""


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise SettingsError(f"{option}: expected numbers with commas, e.g. 0,1,5, got '{text}'") from None
