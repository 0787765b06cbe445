from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from skill_support import LEARNERS

from drawn_shapes import draw, draw_folder
from metacortex.errors import DataError, LearnerError, RunError
from metacortex.evaluation.run import load_run
from metacortex.skills.build import build_empty
from metacortex.skills.learn import learn_skill, training_background
from metacortex.skills.skill import Skill


@pytest.mark.parametrize("name", LEARNERS)
def test_a_loaded_skill_answers_as_the_one_that_was_saved(
    name: str, runs: dict[str, Path], teach: Path, tmp_path: Path
) -> None:
    skill = learn_skill(runs[name], teach)
    images = sorted(teach.glob("*/*.png"))
    before = skill.predict(images)
    loaded = Skill.load(skill.save(tmp_path / "skill"))
    after = loaded.predict(images)
    assert [a.to_json() for a in after] == [a.to_json() for a in before]
    assert loaded.classes == ("shape00", "shape01", "shape03")
    assert not any(p.requires_grad and p.grad is not None for p in loaded.predictor.learner.parameters())


@pytest.mark.parametrize("name", LEARNERS)
def test_answers_do_not_depend_on_each_other(name: str, runs: dict[str, Path], teach: Path) -> None:
    skill = learn_skill(runs[name], teach)
    images = sorted(teach.glob("*/*.png"))
    together = skill.predict(images)
    for image, answer in zip(images, together, strict=True):
        alone = skill.predict(image)[0]
        assert alone.probabilities == pytest.approx(dict(answer.probabilities), abs=1e-5)
        assert alone.score == pytest.approx(answer.score, abs=1e-4)


def test_transductive_runs_make_inductive_skills(runs: dict[str, Path], teach: Path) -> None:
    free = learn_skill(runs["maml"], teach, norm="query-batch")
    images = sorted(teach.glob("*/*.png"))
    assert learn_skill(runs["maml"], teach).norm == "support"
    assert free.norm == "query-batch"
    # negative control of the test above
    assert free.predict(images)[0].probabilities != pytest.approx(
        dict(free.predict(images[0])[0].probabilities), abs=1e-5
    )


def test_an_answer_is_whole(runs: dict[str, Path], teach: Path) -> None:
    skill = learn_skill(runs["protonet"], teach)
    image = teach / "shape01" / "2.png"
    (answer,) = skill.predict(image, nearest=2)
    assert answer.name == str(image)
    assert sum(answer.probabilities.values()) == pytest.approx(1)
    assert list(answer.probabilities.values()) == sorted(answer.probabilities.values(), reverse=True)
    assert set(answer.probabilities) == set(skill.classes)
    assert answer.most_likely == next(iter(answer.probabilities))
    assert answer.nearest[0].example == "shape01/2.png"
    assert answer.nearest[0].distance == pytest.approx(0, abs=1e-5)
    assert answer.nearest[0].label == "shape01"
    assert len(answer.nearest) == 2
    json.dumps(answer.to_json(), allow_nan=False)


def test_far_images_are_none_of_these(runs: dict[str, Path], teach: Path) -> None:
    skill = learn_skill(runs["nearest_neighbour"], teach)
    known, strange = skill.predict([teach / "shape00" / "0.png", torch.full((1, 16, 16), 25.0)])
    assert known.known
    assert known.label == "shape00"
    assert not strange.known
    assert strange.label is None
    assert strange.to_json()["label"] is None
    assert strange.most_likely in skill.classes
    assert strange.threshold is not None
    assert known.score <= strange.threshold < strange.score


def test_without_calibration_everything_is_known(runs: dict[str, Path], teach: Path, tmp_path: Path) -> None:
    import shutil

    run = tmp_path / "run"
    shutil.copytree(runs["protonet"], run)
    (run / "calibration.json").unlink()
    skill = Skill.load(learn_skill(run, teach).save(tmp_path / "skill"))
    (answer,) = skill.predict(torch.full((1, 16, 16), 1e3))
    assert answer.known
    assert answer.threshold is None


def test_many_classes_for_a_metric_learner_too_many_for_a_fixed_head(runs: dict[str, Path], tmp_path: Path) -> None:
    seven = draw_folder(tmp_path / "seven", range(7), 2)
    assert len(learn_skill(runs["protonet"], seven).classes) == 7
    assert len(learn_skill(runs["fine_tuning"], seven).classes) == 7
    with pytest.raises(LearnerError, match=r"cannot learn the classes of .*seven: .*5 outputs.*7 classes"):
        learn_skill(runs["maml"], seven)


def test_a_run_trained_many_way_teaches_three_classes(runs: dict[str, Path], teach: Path) -> None:
    skill = learn_skill(runs["maml"], teach)
    (answer,) = skill.predict(teach / "shape00" / "0.png")
    assert len(answer.probabilities) == 3


def test_ink_on_paper_is_seen_as_the_strokes_of_training(runs: dict[str, Path], teach: Path) -> None:
    skill = learn_skill(runs["nearest_neighbour"], teach)
    assert skill.reader.background == "dark"
    for kind in (0, 1, 3):
        photo = np.asarray(draw(kind, 0, size=80, paper=225, ink=40))[None]
        assert skill.predict(photo)[0].label == f"shape{kind:02}"
    plain = learn_skill(runs["nearest_neighbour"], teach, invert=False)
    assert not plain.predict(np.asarray(draw(1, 0, size=80, paper=255, ink=0))[None])[0].known


def test_background_is_that_of_the_training_images(runs: dict[str, Path]) -> None:
    assert training_background(load_run(runs["protonet"])) == "dark"


def test_a_skill_is_small_and_quick_to_load(runs: dict[str, Path], teach: Path, tmp_path: Path) -> None:
    skill = learn_skill(runs["maml"], teach)
    path = skill.save(tmp_path / "skill")
    weights = sum(p.numel() for p in skill.predictor.learner.parameters())
    # float32 weights once (not φ as well as the adapted ones), statistics, embeddings and a header
    assert path.stat().st_size < 4 * weights * 1.25 + 8000
    Skill.load(path)
    times = []
    for _ in range(5):
        start = time.process_time()
        Skill.load(path)
        times.append(time.process_time() - start)
    assert min(times) < 0.1


def test_loading_draws_no_random_numbers(runs: dict[str, Path], teach: Path, tmp_path: Path) -> None:
    path = learn_skill(runs["fine_tuning"], teach).save(tmp_path / "skill")
    before = torch.random.get_rng_state()
    skill = Skill.load(path)
    assert torch.equal(torch.random.get_rng_state(), before)
    empty = build_empty(skill.description)
    # what a skill does not keep is never random: here the head that was pre-trained
    assert not empty.state_dict()["pretraining_head.weight"].any()


def test_learning_changes_nothing_in_the_run(runs: dict[str, Path], teach: Path) -> None:
    files = {p: p.read_bytes() for p in runs["maml"].rglob("*") if p.is_file()}
    one, two = (learn_skill(runs["maml"], teach) for _ in range(2))
    assert {p: p.read_bytes() for p in runs["maml"].rglob("*") if p.is_file()} == files
    assert torch.equal(one.support.embeddings, two.support.embeddings)


def test_the_same_skill_is_the_same_file(runs: dict[str, Path], teach: Path, tmp_path: Path) -> None:
    one, two = (learn_skill(runs["protonet"], teach).save(tmp_path / name) for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(1, 8, 8), r"image 0: expected a float tensor \[1, 16, 16\]"),
        (torch.zeros(1, 16, 16, dtype=torch.uint8), "expected a float tensor"),
        (torch.full((1, 16, 16), float("nan")), "image 0 holds NaN"),
        (np.zeros((3, 20, 20), np.uint8), r"image 0: expected an image \[1, height, width\]"),
        (np.zeros((1, 20, 20), np.float32), "expected an image"),
        ("nowhere.png", "nowhere.png: there is no such file"),
    ],
)
def test_bad_images_are_refused(image: object, message: str, runs: dict[str, Path], teach: Path) -> None:
    with pytest.raises(DataError, match=message):
        learn_skill(runs["protonet"], teach).predict([image])  # type: ignore[list-item]


def test_no_images_no_answers(runs: dict[str, Path], teach: Path) -> None:
    assert learn_skill(runs["protonet"], teach).predict([]) == []


def test_a_run_of_vectors_cannot_learn_images(runs: dict[str, Path], teach: Path, tmp_path: Path) -> None:
    import shutil

    run = tmp_path / "run"
    shutil.copytree(runs["nearest_neighbour"], run)
    info = json.loads((run / "run.json").read_text())
    info["learner"]["input_shape"] = [6]
    (run / "run.json").write_text(json.dumps(info))
    with pytest.raises(RunError, match=r"shape \(6,\)"):
        learn_skill(run, teach)
