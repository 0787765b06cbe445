"""Learners of translation beside each other, over several seeds: BLEU of each pair, and paired differences.

Each entrant is a name and the reports of its seeds, as `metacortex evaluate` keeps them in RUN/eval; a seed may consist
of several reports (a glob), e.g. those of one model per pair. Entrants are compared with the first, seed by seed on the
same sentences.

python benchmarks/translation_table.py 'meta_lstm=runs/meta_0/eval/*trained*.json,runs/meta_1/eval/*trained*.json' \
    'multilingual=runs/multi_0/eval/*trained*.json,runs/multi_1/eval/*trained*.json' \
    'one model per pair=runs/single_0_*/eval/*.json,runs/single_1_*/eval/*.json'
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import mean

from metacortex.data.text.corpus import Pair, show_pair
from metacortex.evaluation.translation import BleuComparison, bleu_tokenizer, paired_bootstrap
from metacortex.translation.evaluate import FALSIFICATIONS, PairScores
from metacortex.translation.kept import read_report

Seed = dict[Pair, PairScores]


def entrant(text: str) -> tuple[str, list[Seed]]:
    """Name and, for each seed, the scores of its pairs."""
    name, _, parts = text.partition("=")
    seeds = []
    for part in parts.split(","):
        paths = sorted(Path().glob(part)) if not Path(part).is_absolute() else sorted(Path("/").glob(part[1:]))
        if not paths:
            raise SystemExit(f"{name}: no report {part}")
        seeds.append({row.pair: row for path in paths for row in read_report(path).pairs})
    return name, seeds


def average(seeds: list[Seed], pair: Pair, what: str = "bleu") -> float | None:
    """Mean over the seeds of BLEU, chrF, exact matches or a falsification."""
    rows = [seed[pair] for seed in seeds if pair in seed]
    values = [row.falsified.get(what) if what in FALSIFICATIONS else getattr(row.scores, what) for row in rows]
    return None if not values or None in values else mean(values)


def compared(first: list[Seed], other: list[Seed]) -> BleuComparison:
    """Paired bootstrap over the sentences of all pairs and seeds that both have."""
    sets, tokenizers = {}, {}
    for number, (mine, theirs) in enumerate(zip(first, other, strict=False)):
        for pair in mine.keys() & theirs.keys():
            name = f"{show_pair(pair)} {number}"
            sets[name] = (mine[pair].translations, theirs[pair].translations, mine[pair].references)
            tokenizers[name] = bleu_tokenizer(pair[1])
    return paired_bootstrap(dict(sorted(sets.items())), tokenizers=tokenizers)


def cell(value: float | None) -> str:
    """A number of the table."""
    return "" if value is None else f"{value:.2f}"


def main() -> None:
    """Print a table and the differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("entrants", nargs="+", type=entrant, metavar="NAME=REPORTS[,REPORTS…]")
    entrants = parser.parse_args().entrants
    pairs = sorted({pair for seed in entrants[0][1] for pair in seed})
    print("| pair | " + " | ".join(f"{name} ({len(seeds)})" for name, seeds in entrants) + " |")
    print("|---" * (len(entrants) + 1) + "|")
    for pair in pairs:
        print(f"| {' → '.join(pair)} | " + " | ".join(cell(average(seeds, pair)) for _, seeds in entrants) + " |")
    for what in ("bleu", "chrf", *FALSIFICATIONS):
        row = []
        for _, seeds in entrants:
            values = [average(seeds, pair, what) for pair in pairs]
            row.append(cell(None if None in values else mean(v for v in values if v is not None)))
        label = what if what in ("bleu", "chrf") else f"BLEU, {what.replace('_', ' ')}"
        print(f"| mean, {label} | " + " | ".join(row) + " |")
    first = entrants[0][1]
    for name, seeds in entrants[1:]:
        whole = compared(first, seeds)
        ahead = sum((average(first, p) or 0) > (average(seeds, p) or 0) for p in pairs if average(seeds, p) is not None)
        d = whole.difference
        print(
            f"{entrants[0][0]} - {name}: {d.mean:+.2f} [{d.low:+.2f}, {d.high:+.2f}] BLEU, ahead on {ahead} of "
            f"{len(pairs)} pairs"
        )


if __name__ == "__main__":
    main()
