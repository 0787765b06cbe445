from __future__ import annotations

import hashlib
import io
import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

import metacortex.engine.gradient as engine
from metacortex.errors import DataError, RunError, SettingsError
from metacortex.learners.base import Outcome
from metacortex.runs import files
from metacortex.runs.checkpoint import load_checkpoint
from metacortex.runs.folder import RunFolder
from metacortex.runs.log import read_log, without_timing
from metacortex.settings import RunSettings, merge
from metacortex.training import trainer
from metacortex.training.progress import TrainingEvent, listener
from metacortex.training.run import train
from training.crash_driver import toy_data, toy_settings


def _digest(out: Path, name: str = "last") -> str:
    content = load_checkpoint(out / "checkpoints" / name)
    digest = hashlib.sha256()
    for tensors in (content.model, content.optimizer):
        for key in sorted(tensors):
            digest.update(key.encode() + tensors[key].numpy().tobytes())
    return digest.hexdigest()


def _stop_at(step: int):
    def tell(event: TrainingEvent) -> None:
        if event.step == step:
            raise KeyboardInterrupt

    return tell


@pytest.mark.parametrize(
    ("learner", "options"),
    [("protonet", {}), ("maml", {"inner_lr": 0.1}), ("maml", {"norm": "per-step"}), ("fine_tuning", {"tune_steps": 2})],
)
def test_interrupted_and_resumed_is_bit_for_bit_the_uninterrupted_run(tmp_path, data, learner, options):
    settings = toy_settings(learner, options, weight_decay=0.01, warmup_steps=3, batch_size=8)
    train(settings, tmp_path / "whole", progress=False, data=data)
    part = tmp_path / "part"
    for stop in (1, 5, 7):
        result = train(settings, part, resume=True, progress=_stop_at(stop), data=data)
        assert result.interrupted
        assert result.step == stop
        assert f"--resume --out {part}" in result.resume_command
    result = train(None, part, resume=True, progress=False, data=data)
    assert result.finished
    assert result.step == 12
    for name in ("last", "best"):
        assert _digest(part, name) == _digest(tmp_path / "whole", name)
    log = without_timing(read_log(part / "log.jsonl"))
    assert log == without_timing(read_log(tmp_path / "whole" / "log.jsonl"))
    assert [line["step"] for line in log] == [3, 4, 6, 8, 9, 12]
    assert [line["step"] for line in log if "val_accuracy" in line] == [4, 8, 12]


def test_another_seed_is_another_run(tmp_path, data):
    for seed in (0, 1):
        train(toy_settings(seed=seed), tmp_path / str(seed), progress=False, data=data)
    assert _digest(tmp_path / "0") != _digest(tmp_path / "1")


def test_the_result_does_not_depend_on_the_global_random_state(tmp_path, data):
    for seed in (0, 1):
        torch.manual_seed(seed)
        state = torch.random.get_rng_state()
        train(toy_settings(), tmp_path / str(seed), progress=False, data=data)
        assert torch.equal(torch.random.get_rng_state(), state)
    assert _digest(tmp_path / "0") == _digest(tmp_path / "1")


def test_a_finished_run_is_complete_and_described(out, data, drawn):
    result = train(toy_settings(), out, progress=False, data=data, command=["metacortex", "train"])
    names = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    checkpoint = ("model.safetensors", "optimizer.safetensors", "state.json")
    assert names == {"config.toml", "run.json", "log.jsonl", "calibration.json", "curves.png", ".lock"} | {
        f"checkpoints/{c}/{f}" for c in ("last", "best") for f in checkpoint
    }
    info = json.loads((out / "run.json").read_text())
    assert (info["format"], info["norm"], info["strategy"]) == (1, "running", "loop")
    assert info["command"] == ["metacortex", "train"]
    assert info["data"]["fingerprint"] == data.store.fingerprint
    assert info["protocol"]["val"] == "3-way 1-shot 2 queries, split val"
    assert RunFolder(out).settings() == toy_settings()
    log = [line["val_accuracy"] for line in read_log(out / "log.jsonl") if "val_accuracy" in line]
    assert result.best_score == max(log)
    assert (
        load_checkpoint(out / "checkpoints" / "best").state["step"] == result.best_step == 4 * (log.index(max(log)) + 1)
    ), "ties keep the earlier"
    assert not result.learner.training


def test_training_learns(out, data):
    train(toy_settings(steps=150, tasks=4, validate_every=50, log_every=30, lr=0.01), out, progress=False, data=data)
    losses = [line["loss"] for line in read_log(out / "log.jsonl") if line["step"] % 30 == 0]
    assert len(losses) == 5
    assert losses[-1] < 0.8 * losses[0]


def test_a_finished_run_resumes_to_itself_and_can_be_extended(out, data):
    train(toy_settings(), out, progress=False, data=data)
    before = _digest(out)
    assert train(None, out, resume=True, progress=False, data=data).finished
    assert _digest(out) == before
    longer = train(toy_settings(steps=20), out, resume=True, progress=False, data=data)
    assert longer.step == 20
    assert RunFolder(out).settings().training.steps == 20


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_and_saves(out, data, number):
    before = signal.getsignal(number)
    steps = []

    def tell(event: TrainingEvent) -> None:
        steps.append(event.step)
        if event.step == 6:
            os.kill(os.getpid(), number)

    result = train(toy_settings(), out, progress=tell, data=data)
    assert (result.interrupted, result.step, steps[-1]) == (True, 6, 6)
    assert load_checkpoint(out / "checkpoints" / "last").state["step"] == 6
    assert signal.getsignal(number) is before
    assert train(None, out, resume=True, progress=False, data=data).finished


def test_a_second_ctrl_c_interrupts_at_once_and_loses_only_what_was_not_saved(out, data, monkeypatch):
    real, calls = engine.meta_gradient, []

    def impatient(learner, batch, **options):
        calls.append(1)
        if len(calls) == 8:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return real(learner, batch, **options)

    monkeypatch.setattr(engine, "meta_gradient", impatient)
    with pytest.raises(KeyboardInterrupt):
        train(toy_settings(), out, progress=False, data=data)
    assert load_checkpoint(out / "checkpoints" / "last").state["step"] == 5
    assert train(None, out, resume=True, progress=False, data=data).finished


def test_curves_are_drawn_while_training_when_it_takes_long(out, data, monkeypatch):
    drawn = []
    monkeypatch.setattr(trainer, "_DRAW_AT_MOST_EVERY", -1.0)
    monkeypatch.setattr(trainer, "draw_curves", lambda lines, path, title: drawn.append(lines[-1]["step"]))
    train(toy_settings(), out, progress=False, data=data)
    assert drawn == [4, 8, 12]


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(out, data, monkeypatch):
    real = engine.meta_gradient
    calls = []

    def broken(learner, batch, **options):
        calls.append(1)
        gradient, outcome = real(learner, batch, **options)
        if len(calls) == 8:
            outcome = Outcome(outcome.loss * float("nan"), outcome.prediction, outcome.buffers, outcome.metrics)
        return gradient, outcome

    monkeypatch.setattr(engine, "meta_gradient", broken)
    with pytest.raises(RunError, match=r"stopped at step 7: the loss is nan .*lower training.lr"):
        train(toy_settings(), out, progress=False, data=data)
    kept = load_checkpoint(out / "checkpoints" / "last")
    assert kept.state["step"] == 5
    assert all(torch.isfinite(t).all() for t in kept.model.values())


def test_a_gradient_that_is_not_finite_changes_nothing(out, data, monkeypatch):
    real = engine.meta_gradient

    def broken(learner, batch, **options):
        gradient, outcome = real(learner, batch, **options)
        return {name: g / 0 for name, g in gradient.items()}, outcome

    monkeypatch.setattr(engine, "meta_gradient", broken)
    with pytest.raises(RunError, match=r"stopped at step 0: the norm of the meta-gradient"):
        train(toy_settings(), out, progress=False, data=data)


def test_a_full_disk_is_one_clear_error_and_the_run_goes_on_later(tmp_path, data, monkeypatch):
    train(toy_settings(), tmp_path / "whole", progress=False, data=data)
    out = tmp_path / "run"
    real, written = files._write_durably, []

    def full(path, content):
        written.append(path.name)
        if written.count("optimizer.safetensors") == 3:
            raise OSError(28, "No space left on device")
        real(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(files, "_write_durably", full)
        with pytest.raises(RunError, match=r"cannot save the checkpoint of step .*No space left.*intact"):
            train(toy_settings(), out, progress=False, data=data)
    assert train(None, out, resume=True, progress=False, data=data).finished
    assert _digest(out) == _digest(tmp_path / "whole")


def test_an_existing_run_is_not_overwritten_unless_asked(out, data):
    train(toy_settings(), out, progress=False, data=data)
    before = _digest(out)
    with pytest.raises(RunError, match=r"holds a run already: continue it with --resume"):
        train(toy_settings(seed=1), out, progress=False, data=data)
    assert _digest(out) == before
    (out / "notes.txt").write_text("mine")
    train(toy_settings(seed=1), out, overwrite=True, progress=False, data=data)
    assert _digest(out) != before
    assert (out / "notes.txt").read_text() == "mine"


def test_a_folder_with_other_things_is_left_alone(out, data):
    out.mkdir()
    (out / "thesis.tex").write_text("…")
    with pytest.raises(RunError, match="not empty and holds no run"):
        train(toy_settings(), out, progress=False, data=data)
    assert [p.name for p in out.iterdir()] == ["thesis.tex"]


def test_resuming_with_other_settings_is_refused(out, data):
    train(toy_settings(), out, progress=False, data=data)
    with pytest.raises(SettingsError, match=r"begun with training.seed = 0, not 3"):
        train(toy_settings(seed=3), out, resume=True, progress=False, data=data)
    with pytest.raises(SettingsError, match=r"learner.name = 'protonet', not 'maml'"):
        train(toy_settings("maml"), out, resume=True, progress=False, data=data)
    with pytest.raises(RunError, match="begun on other data"):
        train(None, out, resume=True, progress=False, data=toy_data(seed=1))


def test_resuming_where_there_is_no_run(out, data):
    with pytest.raises(RunError, match="there is no such folder"):
        train(None, out, resume=True, progress=False, data=data)
    assert train(toy_settings(), out, resume=True, progress=False, data=data).finished


def test_a_checkpoint_of_another_model_is_refused(tmp_path, data):
    for name, hidden in (("a", [8]), ("b", [9])):
        settings = merge(toy_settings(), {"backbone.hidden": hidden})
        train(settings, tmp_path / name, progress=False, data=data)
    for part in (tmp_path / "b" / "checkpoints" / "last").iterdir():
        (tmp_path / "a" / "checkpoints" / "last" / part.name).write_bytes(part.read_bytes())
    with pytest.raises(RunError, match=r"checkpoint of another model: body.*\[9, 6\], expected \[8, 6\]"):
        train(None, tmp_path / "a", resume=True, progress=False, data=data)


def test_learners_that_do_not_learn_make_a_valid_run(tmp_path, data):
    for learner in ("nearest_neighbour", "from_scratch"):
        options = {} if learner == "nearest_neighbour" else {"norm": "support"}
        result = train(toy_settings(learner, options), tmp_path / learner, progress=False, data=data)
        assert result.finished
        assert result.step == 0
        assert load_checkpoint(tmp_path / learner / "checkpoints" / "best").state["step"] == 0
        assert read_log(tmp_path / learner / "log.jsonl") == []


def test_a_budget_in_minutes_ends_and_accumulates(out, data):
    settings = toy_settings(steps=0, minutes=0.02)
    result = train(settings, out, progress=_stop_at(3), data=data)
    assert result.interrupted
    spent = result.seconds
    result = train(None, out, resume=True, progress=False, data=data)
    assert result.finished
    assert 1.2 <= result.seconds < 10
    assert result.seconds > spent
    last = read_log(out / "log.jsonl")[-1]
    assert last["step"] == result.step
    assert last["lr"] < settings.training.lr or last["lr"] < 1e-3


def test_two_processes_do_not_train_in_one_folder(out, data):
    folder = RunFolder(out)
    with folder.lock(), pytest.raises(RunError, match="another process is training"):
        train(toy_settings(), out, progress=False, data=data)


def test_bad_strategy_and_too_many_classes(out, data):
    with pytest.raises(SettingsError, match="did you mean 'loop'"):
        train(toy_settings(strategy="loops"), out, progress=False, data=data)
    settings = merge(toy_settings(), {"data.way": 50, "data.train_way": 0})
    with pytest.raises(DataError, match="way"):
        train(settings, out, progress=False, data=data)
    assert not out.exists()


def test_a_learners_default_way_is_capped_by_the_classes(out, data):
    settings = merge(toy_settings(), {"data.train_way": 0})
    train(settings, out, progress=False, data=data)
    assert RunFolder(out).info()["protocol"]["train"].startswith("12-way")


def test_threads_are_set_for_the_run_only(out, data):
    seen = []
    train(toy_settings(threads=2), out, progress=lambda e: seen.append(torch.get_num_threads()), data=data)
    assert set(seen) == {2}
    assert torch.get_num_threads() == 1


def test_quiet_output_is_one_line_per_validation(out, data):
    console = Console(file=io.StringIO(), force_terminal=False, width=40)
    with listener(True, "protonet", console) as tell:
        train(toy_settings(), out, progress=tell, data=data)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 3
    assert all("validation" in line and "tasks/s" in line and "left" in line for line in lines)


def test_a_terminal_gets_a_bar(out, data):
    console = Console(file=io.StringIO(), force_terminal=True, width=160)
    with listener(True, "protonet", console) as tell:
        train(toy_settings(), out, progress=tell, data=data)
    assert "step 12" in console.file.getvalue()  # type: ignore[attr-defined]


def test_settings_and_learner_of_your_own(out, data):
    from metacortex.learners.metric.protonet import ProtoNet

    def fresh() -> ProtoNet:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return ProtoNet(torch.nn.Linear(6, 4))

    settings: RunSettings = toy_settings()
    train(settings, out, progress=_stop_at(5), data=data, learner=fresh())
    assert train(None, out, resume=True, progress=False, data=data, learner=fresh()).finished
    assert RunFolder(out).info()["learner"] == {"name": "protonet", "custom": True}


def test_the_strategy_chosen_at_the_start_is_kept_by_a_resumed_run(tmp_path, data, monkeypatch):
    settings = merge(toy_settings("maml", {"inner_lr": 0.1}), {"training.strategy": "auto"})
    train(settings, tmp_path, progress=_stop_at(3), data=data)
    info = RunFolder(tmp_path).info()
    assert info["strategy"] == min(info["strategies_measured"]["seconds"].items(), key=lambda entry: entry[1])[0]
    monkeypatch.setattr("metacortex.training.run.choose_strategy", None)  # would fail if it were called
    assert train(None, tmp_path, resume=True, progress=False, data=data).finished


def test_waiting_for_kernels_is_said(out, data, monkeypatch, capsys):
    monkeypatch.setattr("metacortex.training.run.is_convolutional", lambda name: True)
    monkeypatch.setattr("metacortex.training.run.compile_ahead", lambda: SimpleNamespace(is_alive=lambda: True))
    train(toy_settings(steps=1), out, data=data)
    assert "kernels for this processor are being compiled" in capsys.readouterr().err


def test_who_does_not_convolve_does_not_wait(out, data, monkeypatch, capsys):
    monkeypatch.setattr("metacortex.training.run.compile_ahead", lambda: pytest.fail("compiled"))
    train(toy_settings(steps=1), out, data=data)
    assert "kernels" not in capsys.readouterr().err
    assert json.loads((out / "run.json").read_text())["machine"]["kernels"] is None
