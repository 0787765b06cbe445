"""``metacortex translate``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from metacortex.cli.options import Json, Threads, examples
from metacortex.cli.output import emit, note
from metacortex.errors import SettingsError

if TYPE_CHECKING:
    from metacortex.translation.translator import Translator

__all__ = ["add_to", "translate_command"]

_EPILOG = examples(
    [
        'translate runs/meta --from en --to fr "a dog runs in the snow"',
        "translate runs/meta --from en --to fr < english.txt > french.txt",
        "translate runs/meta --from en --to fr --beam 5 --best 3 --attention look.png 'two cats'",
        "translate runs/meta --from en --to da --pairs examples.tsv < english.txt",
        "translate danish.skill 'two cats'",
    ],
    """Without sentences, lines are read from standard input; a line in, a line out, also for empty lines. Bytes that
    are no UTF-8 become a replacement character. With --best N: N lines for each sentence, score and translation
    with a tab between. With --json: pair, description, translations (source, texts, scores, cut).""",
)


def translate_command(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|SKILL", help="Run folder of a translation learner, or a skill of one pair.", show_default=False
        ),
    ],
    sentences: Annotated[
        list[str] | None, typer.Argument(metavar="[SENTENCE]…", help="Text to translate.", show_default=False)
    ] = None,
    source: Annotated[str, typer.Option("--from", metavar="LANGUAGE", help="Code or name.", show_default=False)] = "",
    target: Annotated[str, typer.Option("--to", metavar="LANGUAGE", help="Code or name.", show_default=False)] = "",
    words: Annotated[
        str | None, typer.Option("--describe", metavar="TEXT", help="The task in your own words.", show_default=False)
    ] = None,
    pairs: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Example pairs: source, tab, target in each line.")
    ] = None,
    beam: Annotated[int, typer.Option(min=1, help="Hypotheses kept; 1 is greedy.")] = 5,
    best: Annotated[int, typer.Option(min=1, help="Translations of each sentence.")] = 1,
    attention: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Draw where the network looked, for the first sentence.")
    ] = None,
    checkpoint: Annotated[str | None, typer.Option(help="best or last.", show_default=False)] = None,
    threads: Threads = 0,
    as_json: Json = False,
) -> None:
    """Translate sentences with a trained run, told the languages in words or by example pairs, or with a skill."""
    from metacortex.data.text.lines import decode_line
    from metacortex.training.trainer import limited_threads
    from metacortex.translation.picture import draw_attention

    if best > beam:
        raise SettingsError(f"--best {best} needs a beam of at least as many: --beam {best}")
    with limited_threads(threads):
        if run.is_file():
            given = {"--from": source, "--to": target, "--describe": words, "--pairs": pairs}
            translator = _of_skill(run, {**given, "--checkpoint": checkpoint})
        else:
            translator = _of_run(run, source, target, words, pairs, checkpoint)
        lines = list(sentences) if sentences else [decode_line(line) for line in sys.stdin.buffer]
        found = translator.translate(lines, beam=beam, best=best, attention=attention is not None)
    for number, one in enumerate(found, 1):
        if one.cut:
            note(f"sentence {number} is too long: its end was not read")
    if attention is not None and found and found[0].attention is not None:
        draw_attention(found[0].attention, attention)
        note(f"attention: {attention}")
    if as_json:
        rows = [{"source": t.source, "texts": t.texts, "scores": t.scores, "cut": t.cut} for t in found]
        emit("translate", {"run": str(run), "pair": list(translator.pair), "beam": beam, "translations": rows})
        return
    for one in found:
        for text, score in zip(one.texts, one.scores, strict=True):
            sys.stdout.write(f"{score:.3f}\t{text}\n" if best > 1 else f"{text}\n")


def _of_run(
    run: Path, source: str, target: str, words: str | None, pairs: Path | None, checkpoint: str | None
) -> Translator:
    from metacortex.data.text.aligned import read_pairs
    from metacortex.translation.translator import TextRun

    loaded = TextRun(run, checkpoint=checkpoint)
    if not source or not target:
        raise SettingsError("say the languages: --from LANGUAGE --to LANGUAGE, e.g. --from en --to fr")
    if pairs is not None and not loaded.learns_from_examples:
        raise SettingsError(
            f"{loaded.learner.name} does nothing with example pairs by itself: teach it with `metacortex adapt {run} "
            f"{pairs} --from {source} --to {target} --out new.skill` and translate with the skill"
        )
    support = () if pairs is None else read_pairs(pairs)
    translator = loaded.translator(source, target, words=words, support=support)
    new = [code for code in translator.pair if code not in loaded.domain.corpus.trained_languages]
    if new and not support:
        names = " and ".join(loaded.domain.corpus.languages[code] for code in new)
        note(f"training showed no {names}: teach it by examples, --pairs FILE or `metacortex adapt`")
    return translator


def _of_skill(path: Path, given: dict[str, Any]) -> Translator:
    from metacortex.skills.text import TranslationSkill

    skill = TranslationSkill.load(path)
    for option, value in given.items():
        if value:
            raise SettingsError(
                f"the skill {path} translates {skill.names[0]} into {skill.names[1]} as it is: leave out {option}"
            )
    return skill.translator


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("translate", epilog=_EPILOG)(translate_command)
