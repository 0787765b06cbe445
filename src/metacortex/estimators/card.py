"""The README.md of a saved estimator, with the front matter that the hub reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["model_card"]

_TASKS = {"images": "image", "texts": "text", "table": "tabular"}


def model_card(config: Mapping[str, Any]) -> str:
    """Markdown with YAML front matter.

    Args:
        config: the content of config.json, see `metacortex.estimators.pretrained`.
    """
    regression = "classes" not in config["target"]
    word = "regression" if regression else "classification"
    kind = config["input"]["kind"]
    lines = ["---", "library_name: metacortex", f"pipeline_tag: {_TASKS[kind]}-{word}"]
    lines += ["tags:", "- metacortex", "- few-shot", *_index(config), "---", "", f"# Few-shot {word} of {kind}", ""]
    lines += [_what(config, regression), "", "```python", *_use(regression), "```", ""]
    lines += ["## How it works", "", _how(config), "", "## Results", "", *_results(config, regression), ""]
    lines += ["## Limits", "", _limits(config), ""]
    return "\n".join(lines)


def _index(config: Mapping[str, Any]) -> list[str]:
    results = config["results"]
    if results is None:
        return []
    kind = _TASKS[config["input"]["kind"]]
    return [
        "model-index:",
        "- name: few-shot classifier",
        "  results:",
        "  - task:",
        f"      type: {kind}-classification",
        "    dataset:",
        "      name: the examples it was fitted to, held out in turn",
        "      type: custom",
        "    metrics:",
        "    - type: accuracy",
        f"      value: {results['accuracy']:.4f}",
    ]


def _what(config: Mapping[str, Any], regression: bool) -> str:
    if regression:
        return "Predicts numbers after a few examples."
    classes = [str(c) for c in config["target"]["classes"]]
    # Quoted as JSON: the names are the user's, and must not become Markdown.
    shown = ", ".join(f"`{json.dumps(c, ensure_ascii=False)}`" for c in classes[:50])
    more = f" and {len(classes) - 50} more" if len(classes) > 50 else ""
    return f"Tells {len(classes)} classes apart: {shown}{more}."


def _use(regression: bool) -> list[str]:
    name = "FewShotRegressor" if regression else "FewShotClassifier"
    return [f"from metacortex import {name}", "", f'model = {name}.from_pretrained("path/or/name")', "model.predict(X)"]


def _how(config: Mapping[str, Any]) -> str:
    model, adapted = config["model"], config["adapted"]
    head = adapted.get("head")
    parts = []
    if model is not None:
        facts = ", ".join(f"{k}: {v}" for k, v in model["facts"].items() if isinstance(v, str | int | float))
        parts.append(f"Network: {model['name']}" + (f" ({facts})." if facts else "."))
    if head is None:
        parts.append("The learner adapted in its own way.")
    else:
        parts.append(f"A {head['kind']} head in closed form was fitted to the features of the examples.")
    return " ".join(parts)


def _results(config: Mapping[str, Any], regression: bool) -> list[str]:
    results = config["results"]
    if regression:
        error = config["target"]["error"]
        return [
            "None measured." if error is None else f"Leave-one-out root mean square error on its examples: {error}."
        ]
    if results is None:
        return ["None measured; `estimate()` measures them, `save_pretrained(folder, results=…)` writes them here."]
    low, high = results["ci95"]
    lines = [
        "| learner | accuracy | 95 % interval |",
        "|---|---|---|",
        f"| this one | {results['accuracy']:.3f} | {low:.3f} to {high:.3f} |",
    ]
    for name, i in results["rivals"].items():
        lines.append(f"| {name} | {i['mean']:.3f} | {i['ci95'][0]:.3f} to {i['ci95'][1]:.3f} |")
    note = f"{results['examples']} examples, held out in turn ({results['repeats']} times), "
    return [*lines, "", note + f"{results['shots']:.1f} per class learned from on average. {results['verdict']}"]


def _limits(config: Mapping[str, Any]) -> str:
    text = "It knows its examples and little else; inputs unlike them are named all the same unless `reject` is on."
    model = config["model"]
    if model is not None and model["framed"]:
        text += " Its network was trained on drawn characters: expect little of it on photographs."
    return text
