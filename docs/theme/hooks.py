"""What the site needs beside its pages: equations as MathML, and the pages of the API, made from docstrings."""

from __future__ import annotations

import ast
import html
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

__all__ = ["ROOMS", "modules", "on_config", "on_files", "on_page_content", "public_names"]

SOURCE = Path(__file__).parents[2] / "src" / "metacortex"

Room = tuple[str, str, tuple[str, ...]]

GROUPS: dict[str, dict[str, Room]] = {
    "Learners": {
        "learners": (
            "The learner protocol",
            "What a learner is, what it is judged by, and the table of all learners.",
            ("learners.base", "learners.objective", "learners.registry", "learners.entry", "learners.translation"),
        ),
        "gradient": (
            "Gradient learners",
            "Adapting is a few steps of learning.",
            ("learners.gradient", "learners.first_order"),
        ),
        "metric": (
            "Metric learners",
            "Adapting is embedding the examples.",
            ("learners.metric", "learners.convex"),
        ),
        "model": (
            "Model learners",
            "Adapting is one pass of a network that reads the examples.",
            ("learners.model",),
        ),
        "transfer": ("Transfer and baselines", "What a meta-learner has to beat.", ("learners.transfer",)),
        "updates": ("Update rules", "How an inner loop takes a step.", ("updates",)),
        "nn": ("Networks", "Backbones, and layers that take their weights from outside.", ("nn",)),
        "engine": ("Meta-gradients", "The gradient of a batch of tasks.", ("engine",)),
        "testing": ("Laws", "What every learner is held to, also yours.", ("testing",)),
    },
    "Tasks and data": {
        "task": ("Tasks and errors", "What every part of the library speaks in.", ("task", "errors")),
        "tasks": ("Task sources", "Tasks drawn from data, and families of functions.", ("tasks",)),
        "data": ("Data", "Sources of classes and of sentences.", ("data",)),
        "similarity": ("Similarity", "How alike two tasks are.", ("similarity",)),
    },
    "Training and measuring": {
        "training": (
            "Training and runs",
            "Settings, the trainer, what it leaves on disk.",
            ("settings", "training", "runs"),
        ),
        "evaluation": ("Evaluation", "Figures with intervals, comparisons, calibration.", ("evaluation",)),
        "comparison": ("Comparisons and reports", "Many learners on one bench.", ("comparison", "recipes", "reports")),
    },
    "Using what was learned": {
        "estimators": ("Estimators", "Fit and predict.", ("estimators",)),
        "explain": ("Reasons", "Why an answer, and whether the reason is true.", ("explain",)),
        "skills": ("Skills", "What was learned of one task, as a file.", ("skills",)),
        "translation": ("Translation", "Translating with a run, and its scores.", ("translation",)),
    },
}
"""Group -> page of the API -> its title, a sentence, and the modules or packages below ``metacortex`` that it shows."""

ROOMS: dict[str, Room] = {page: room for group in GROUPS.values() for page, room in group.items()}

# Parts of machines that have no use by themselves.
_INSIDE = re.compile(
    r"data\.(atomic|archives|added|calling|glyph_\w+|omniglot_lists|downloads\.\w+|text\.\w+_(writer|file|list))"
    r"|data\.collections\.(base|catalogue|hdf5|idx|lists|pickles|pictures)"
    r"|data\.text\.(lines|languages)"
    r"|estimators\.(base|source|features|inputs|novelty|pictures|make|card|adapted)"
    r"|learners\.\w+\.(entries|replay|conjugate|choices|selection)|runs\.(files|log)"
    r"|tasks\.(random|pools|reading|batches|\w+_writer|translation_rows)|nn\.mode|training\.(interrupt|progress)"
)

_MATH = re.compile(r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<latex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL)
_NAME = re.compile(r"<code>(metacortex(?:\.\w+)+)</code>")


def modules(places: tuple[str, ...]) -> list[str]:
    """Dotted names of the modules in some places that export something, in order."""
    found = []
    for place in places:
        path = SOURCE / place.replace(".", "/")
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
        for file in files:
            name = ".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
            if not _INSIDE.fullmatch(name) and exports(file):
                found.append(f"metacortex.{name}")
    return found


def exports(file: Path) -> list[str]:
    """``__all__`` of a module, read without importing it."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [str(name) for name in ast.literal_eval(node.value)]
    return []


def public_names() -> dict[str, str]:
    """Name in ``metacortex.__all__`` -> dotted name of its module."""
    tree = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8"))
    homes = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_HOMES"
    )
    return {name: f"metacortex.{module}" for module, names in homes.items() for name in names}


def summary(module: str, name: str) -> str:
    """First line of the docstring of something in a module."""
    path = SOURCE.parent / (module.replace(".", "/") + ".py")
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return (ast.get_docstring(node) or "").partition("\n")[0]
    return ""


def face() -> str:
    """The page of what ``import metacortex`` offers."""
    homes = public_names()
    rows = [f"| [`{name}`][{homes[name]}.{name}] | {summary(homes[name], name)} |" for name in sorted(homes)]
    rooms = [f"| [{title}]({page}.md) | {text} |" for page, (title, text, _) in ROOMS.items()]
    return "\n".join(
        [
            "# API",
            "",
            "What most programs need can be imported from `metacortex` itself:",
            "",
            "| name | |",
            "|---|---|",
            *rows,
            "",
            "Everything else is imported from the module that defines it, room by room:",
            "",
            "| room | |",
            "|---|---|",
            *rooms,
            "",
        ]
    )


def room(title: str, text: str, places: tuple[str, ...]) -> str:
    """The page of a room: its modules, one after the other."""
    return "\n\n".join([f"# {title}", text, *(f"::: {name}" for name in modules(places))])


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The pages of the API stand at the end of the navigation."""
    pages: list[Any] = [{"Overview": "api/index.md"}]
    for group, rooms in GROUPS.items():
        pages.append({group: [{title: f"api/{page}.md"} for page, (title, _, _) in rooms.items()]})
    assert config.nav is not None
    config.nav.append({"API": pages})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the API."""
    texts = {"index": face(), **{page: room(*parts) for page, parts in ROOMS.items()}}
    for page, text in texts.items():
        files.append(File.generated(config, f"api/{page}.md", content=text))
    return files


def on_page_content(content: str, **_: Any) -> str:
    """Equations as MathML, which browsers draw without a script; full names as links where they lead somewhere."""
    content = _MATH.sub(_equation, content)
    return _NAME.sub(r'<autoref identifier="\1" optional><code>\1</code></autoref>', content)


def _equation(found: re.Match[str]) -> str:
    block = found["tag"] == "div"
    equation = convert(html.unescape(found["latex"]).strip(), display="block" if block else "inline")
    return f'<div class="equation">{equation}</div>' if block else equation
