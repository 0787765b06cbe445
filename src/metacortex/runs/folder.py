"""The folder of a run: what is where, and whether this program can read it.

config.toml              the settings
run.json                 format version, learner, protocol, versions, data hash, command
log.jsonl                losses and validation accuracies
checkpoints/{last,best}/ model.safetensors, optimizer.safetensors, state.json
eval/<protocol>.json     results with per-task scores
calibration.json         threshold of "none of these", temperature of probabilities
curves.png               the log as a picture
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from metacortex.errors import RunError
from metacortex.runs.files import recover_directory, write_file
from metacortex.settings import RunSettings, read_settings, to_toml

__all__ = ["RUN_FORMAT", "RunFolder"]

RUN_FORMAT = 1
_KIND = "metacortex run"
_OWN_NAMES = (
    "config.toml",
    "run.json",
    "log.jsonl",
    "checkpoints",
    "eval",
    "calibration.json",
    "curves.png",
    "subwords.model",
)


@dataclass(frozen=True)
class RunFolder:
    """A run on disk.

    Attributes:
        path: the folder.
    """

    path: Path

    @staticmethod
    def open(path: Path | str) -> RunFolder:
        """Open a run that exists.

        Raises:
            RunError: if this is not a run folder, or a newer metacortex wrote it.
        """
        folder = RunFolder(Path(path))
        folder.info()
        return folder

    @staticmethod
    def create(path: Path | str, settings: RunSettings, info: Mapping[str, Any]) -> RunFolder:
        """Begin a run in a folder that `is_free`; ``run.json`` comes last and makes it a run.

        Raises:
            RunError: if the folder cannot be written.
        """
        folder = RunFolder(Path(path))
        with _writing(folder.path):
            folder.path.mkdir(parents=True, exist_ok=True)
            write_file(folder.config_path, to_toml(settings))
            folder.write_info(info)
        return folder

    @property
    def config_path(self) -> Path:
        """``config.toml``."""
        return self.path / "config.toml"

    @property
    def info_path(self) -> Path:
        """``run.json``."""
        return self.path / "run.json"

    @property
    def log_path(self) -> Path:
        """``log.jsonl``."""
        return self.path / "log.jsonl"

    @property
    def last(self) -> Path:
        """The checkpoint that a resumed run continues from."""
        return self.path / "checkpoints" / "last"

    @property
    def best(self) -> Path:
        """The checkpoint with the highest validation accuracy."""
        return self.path / "checkpoints" / "best"

    @property
    def calibration_path(self) -> Path:
        """``calibration.json``."""
        return self.path / "calibration.json"

    @property
    def curves_path(self) -> Path:
        """``curves.png``."""
        return self.path / "curves.png"

    def eval_path(self, slug: str) -> Path:
        """The file of an evaluation."""
        return self.path / "eval" / f"{slug}.json"

    def exists(self) -> bool:
        """Whether a run was begun here."""
        return self.info_path.is_file()

    def is_free(self, *, leftovers: bool = False) -> bool:
        """Whether a run can begin here: nothing is there, or only what a run cut short at its start left.

        Args:
            leftovers: also accept other files of a run that lost its ``run.json``; `clear` deletes them.
        """
        if self.exists() or (self.path.exists() and not self.path.is_dir()):
            return False
        names = _OWN_NAMES if leftovers else ("config.toml",)
        return not self.path.exists() or all(
            p.name in (*names, ".lock") or p.name.endswith(".tmp") for p in self.path.iterdir()
        )

    def info(self) -> dict[str, Any]:
        """The content of ``run.json``.

        Raises:
            RunError: if this is not a run folder, it is damaged, or a newer metacortex wrote it.
        """
        try:
            info = json.loads(self.info_path.read_bytes())
        except OSError:
            raise RunError(_no_run(self.path)) from None
        except ValueError as error:
            raise RunError(f"{self.info_path} is damaged: {error}; restore it from a copy") from error
        if not isinstance(info, dict) or info.get("kind") != _KIND or not isinstance(info.get("format"), int):
            raise RunError(f"{self.info_path} does not describe a run of metacortex: give the folder of a run")
        if info["format"] > RUN_FORMAT:
            raise RunError(
                f"{self.path} has run format {info['format']}, this metacortex knows up to {RUN_FORMAT}: "
                "update metacortex"
            )
        return info

    def write_info(self, info: Mapping[str, Any]) -> None:
        """Write ``run.json``; kind and format version are added."""
        content = {
            "kind": _KIND,
            "format": RUN_FORMAT,
            **{k: v for k, v in info.items() if k not in ("kind", "format")},
        }
        self.write_json(self.info_path, content)

    def write_json(self, path: Path, content: Any) -> None:
        """Write a JSON file of this run atomically.

        Raises:
            RunError: if it cannot be written.
        """
        with _writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, json.dumps(content, indent=1, allow_nan=False) + "\n")

    def read_json(self, path: Path) -> Any | None:
        """A JSON file of this run, ``None`` if it is not there.

        Raises:
            RunError: if it is damaged.
        """
        try:
            return json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise RunError(f"cannot read {path}: {error}; it is damaged, or of another run") from error

    def settings(self) -> RunSettings:
        """The settings in ``config.toml``."""
        return read_settings(self.config_path)

    def write_settings(self, settings: RunSettings) -> None:
        """Write ``config.toml``."""
        with _writing(self.config_path):
            write_file(self.config_path, to_toml(settings))

    def clear(self) -> None:
        """Delete what a run wrote here, and nothing else; ``run.json`` goes first."""
        with _writing(self.path):
            for name in ("run.json", *_OWN_NAMES):
                item = self.path / name
                if item.is_dir():
                    shutil.rmtree(item)
                else:
                    item.unlink(missing_ok=True)

    def recover(self) -> None:
        """Clean up after a process that was killed while it wrote."""
        with _writing(self.path):
            for checkpoint in (self.last, self.best):
                recover_directory(checkpoint)
            for item in self.path.glob(".*.tmp"):
                item.unlink(missing_ok=True)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for writing; the lock ends with the process, however it ends.

        Raises:
            RunError: if another process is training in this folder.
        """
        with _writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            file = open(self.path / ".lock", "w")  # noqa: SIM115
        with file:
            if not _try_lock(file):
                raise RunError(f"another process is training in {self.path}: wait for it, or choose another folder")
            yield


def _try_lock(file: TextIO) -> bool:
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # Some network file systems have no locks: training without one is better than not at all.
        return True
    return True


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error


def _no_run(path: Path) -> str:
    if not path.exists():
        return f"no run in {path}: there is no such folder"
    if path.is_file():
        near = path.parent if (path.parent / "run.json").is_file() else "the folder that `metacortex train --out` wrote"
        return f"no run in {path}: it is a file; give {near}"
    inside = sorted(p.parent.name for p in path.glob("*/run.json"))
    hint = f"did you mean {path / inside[0]}?" if inside else "give the folder that `metacortex train --out` wrote"
    above = next((p for p in path.absolute().parents if (p / "run.json").is_file()), None)
    if above is not None:
        hint = f"did you mean {above}?"
    return f"no run in {path}: it has no run.json; {hint}"
