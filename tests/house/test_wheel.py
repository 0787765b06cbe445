"""The wheel, not the checkout, in an environment that holds what the wheel asks for and nothing else."""

from __future__ import annotations

import email
import os
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

ROOT = Path(__file__).parents[2]
PACKAGES = ("metacortex", "torchmeta")
TOOLS = ("pytest", "hypothesis", "ruff", "pyright", "xdist", "hatchling")

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel")]


@dataclass(frozen=True)
class Clean:
    """A virtual environment with the wheel in it, and an empty folder to work in."""

    bin: Path
    home: Path
    packages: Path

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, outside the checkout."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "METACORTEX"))}
        variables = {**kept, "METACORTEX_CACHE": str(self.home / "cache"), "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [str(self.bin / command[0]), *map(str, command[1:])],
            cwd=self.home,
            env=variables,
            capture_output=True,
            text=True,
            timeout=300,
        )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source distribution, so that this one is known to be complete."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=out)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def clean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Clean:
    """Dependencies are linked from the environment that runs the tests: the same files, without a download."""
    home = tmp_path_factory.mktemp("clean")
    venv.create(home / "venv", with_pip=False, symlinks=True)
    programs = home / "venv" / ("Scripts" if os.name == "nt" else "bin")
    (packages,) = (home / "venv").glob("lib/python*/site-packages")
    for dependency in closure(requirements(wheel)):
        link(dependency, packages)
    command = [sys.executable, "-m", "pip", "--python", str(programs / "python"), "install", "--no-deps", "--no-index"]
    done = subprocess.run([*command, str(wheel)], capture_output=True, text=True, cwd=home)
    assert done.returncode == 0, done.stdout + done.stderr
    return Clean(programs, home, packages)


def requirements(wheel: Path) -> list[Requirement]:
    """What the wheel asks for without extras."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    return needed([Requirement(text) for text in metadata.get_all("Requires-Dist", [])])


def needed(wanted: Sequence[Requirement]) -> list[Requirement]:
    return [r for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})]


def closure(wanted: Sequence[Requirement]) -> Iterator[Distribution]:
    """The installed distributions that these need, directly or not."""
    seen: set[str] = set()
    queue = list(wanted)
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        if name in seen:
            continue
        seen.add(name)
        found = distribution(name)
        assert requirement.specifier.contains(found.version, prereleases=True), (requirement, found.version)
        yield found
        queue += needed([Requirement(text) for text in found.requires or []])


def link(found: Distribution, packages: Path) -> None:
    """Link the top-level folders and files of a distribution into a folder of packages."""
    names = {file.parts[0] for file in found.files or []} - {"..", "__pycache__"}
    for name in names:
        target = Path(str(found.locate_file(name)))
        if target.exists() and not (packages / name).exists():
            (packages / name).symlink_to(target, target_is_directory=target.is_dir())


def draw_folder(folder: Path, classes: int = 6, examples: int = 8) -> None:
    """Images of a bar whose place and angle depend on the class, one sub-folder per class."""
    random = np.random.default_rng(0)
    for number in range(classes):
        place = folder / f"class{number}"
        place.mkdir(parents=True)
        for example in range(examples):
            pixels = np.full((28, 28), 255, np.uint8)
            pixels[4 + 3 * number : 7 + 3 * number, 4 : 20 + int(random.integers(6))] = 0
            Image.fromarray(pixels).rotate(number * 20).save(place / f"{example}.png")


def test_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    ours = {n for n in names if not n.split("/")[0].endswith(".dist-info")}
    source = {
        str(path.relative_to(ROOT / "src"))
        for package in PACKAGES
        for path in (ROOT / "src" / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert ours == source
    assert {f"{package}/py.typed" for package in PACKAGES} <= ours
    assert not any("test" in part.split(".")[0].split("_") for name in ours for part in name.split("/"))
    assert any(n.endswith("/LICENSE") for n in names)


def test_environment_is_clean(clean: Clean) -> None:
    """Negative control: neither the tools nor the checkout can be seen from it."""
    for tool in TOOLS:
        assert clean.run("python", "-c", f"import {tool}").returncode != 0, tool
    place = clean.run("python", "-c", "import metacortex; print(metacortex.__file__)").stdout
    assert str(clean.packages) in place
    assert str(ROOT / "src") not in clean.run("python", "-c", "import sys; print(sys.path)").stdout


def test_every_module_imports_without_a_warning(clean: Clean) -> None:
    program = """
import importlib, pkgutil, metacortex, torchmeta
names = [
    m.name
    for p in (metacortex, torchmeta)
    for m in pkgutil.walk_packages(p.__path__, p.__name__ + ".")
    if not m.name.endswith("__main__")
]
for name in names:
    importlib.import_module(name)
print(len(names))
"""
    done = clean.run("python", "-W", "error", "-c", program)
    assert done.returncode == 0, done.stderr
    modules = [p for name in PACKAGES for p in (ROOT / "src" / name).rglob("*.py") if p.name != "__main__.py"]
    assert int(done.stdout) == len(modules) - len(PACKAGES)  # all but the packages themselves


def test_command_says_what_it_is(clean: Clean) -> None:
    version = clean.run("metacortex", "--version")
    assert version.returncode == 0, version.stderr
    expected = clean.run("python", "-c", "import importlib.metadata as m; print(m.version('metacortex'))")
    assert expected.stdout.strip() in version.stdout
    usage = clean.run("metacortex", "--help")
    assert usage.returncode == 0, usage.stderr
    for verb in ("demo", "train", "evaluate", "adapt", "predict", "data"):
        assert verb in usage.stdout


def test_trains_and_adapts(clean: Clean) -> None:
    """Three steps on images of its own, then a skill from the run."""
    draw_folder(clean.home / "shapes" / "train")
    sizes = ("--way", "2", "--shot", "1", "--queries", "2")
    train = ("train", "protonet", "--data", "shapes", *sizes, "--steps", "3", "--seed", "0", "--out", "run")
    done = clean.run("metacortex", *train)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (clean.home / "run" / "checkpoints" / "best" / "model.safetensors").is_file()
    done = clean.run("metacortex", "adapt", "run", "shapes/train", "--out", "skill")
    assert done.returncode == 0, done.stdout + done.stderr
    done = clean.run("metacortex", "predict", "skill", "shapes/train/class3/0.png")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "class" in done.stdout
