"""A folder of drawn shapes, runs trained on it through the command, and the command in this process."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_support import TINY, Command, Said

from drawn_shapes import draw_folder
from metacortex.cli.main import main


@pytest.fixture(autouse=True)
def _alone(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METACORTEX_CACHE", str(tmp_path_factory.getbasetemp() / "cli-cache"))
    monkeypatch.delenv("METACORTEX_DATA", raising=False)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command in this process."""

    def call(*args: object) -> Said:
        capsys.readouterr()
        code = main([str(a) for a in args])
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("data") / "shapes", range(25), 6)


@pytest.fixture(scope="session")
def teach(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("data") / "teach", [0, 1, 12], 2, size=60)


@pytest.fixture(scope="session")
def trained(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Finished runs by learner; tests that change one copy it."""
    folder = tmp_path_factory.mktemp("runs")
    for learner in ("protonet", "maml"):
        assert (
            main(
                [
                    "train",
                    learner,
                    "--data",
                    str(shapes),
                    "--steps",
                    "4",
                    "--quiet",
                    *TINY,
                    "--out",
                    str(folder / learner),
                ]
            )
            == 0
        )
    return {learner: folder / learner for learner in ("protonet", "maml")}


@pytest.fixture(scope="session")
def skill(trained: dict[str, Path], teach: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("skills") / "shapes.skill"
    assert main(["adapt", str(trained["protonet"]), str(teach), "--out", str(path)]) == 0
    return path
