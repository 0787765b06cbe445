"""Saving and loading fitted estimators in the hub's convention: config.json, model.safetensors, README.md.

config.json, format 1:

    {"format": 1, "kind": "metacortex few-shot classifier", "created_by": "metacortex 0.1.0",
     "params": {...},              those of the estimator that JSON can hold
     "custom_encode": false,       whether `encode` must be given again
     "input": {...},               kind, columns, how images are read
     "target": {...},              classes and their dtype, or the shape and scale of values
     "model": {...} or null,       the network: description, name, how it was trained
     "adapted": {...},             head or state, temperature, novelty threshold
     "results": {...} or null}     an estimate

There is no pickle and no code in it, so files of strangers can be opened. The examples themselves are not kept,
only what adaptation made of them (the kernel head and the learners that compare keep features or whole examples).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from metacortex import __version__
from metacortex.errors import LearnerError, MissingExtraError, RunError
from metacortex.estimators.adapted import HeadAdapted, LearnerAdapted
from metacortex.estimators.card import model_card
from metacortex.estimators.features import Features, NetFeatures, TableFeatures
from metacortex.estimators.heads import Head, HeadSpec
from metacortex.estimators.novelty import Novelty
from metacortex.estimators.pictures import PictureReader
from metacortex.estimators.source import ModelSource
from metacortex.learners.base import Learner, Predictor
from metacortex.runs.files import write_file
from metacortex.skills.build import build_empty, fill
from metacortex.skills.state import flatten_state, portable, unflatten_state

if TYPE_CHECKING:
    from metacortex.estimators.base import FewShotEstimator

__all__ = ["CONFIG", "FORMAT", "WEIGHTS", "fetch", "load_estimator", "push", "save_estimator"]

FORMAT = 1
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
_PARAMS = ("model", "head", "reject", "accept", "invert", "random_state")
_LEARNER = "learner/"


def save_estimator(estimator: FewShotEstimator, folder: Path | str, results: Any = None) -> Path:
    """Write a fitted estimator; see the module for the format.

    Args:
        estimator: fitted.
        folder: made where needed; the three files in it are replaced.
        results: an `Estimate`, for the model card.

    Raises:
        LearnerError: for a learner of one's own, which only its own code could build again.
        RunError: if the folder cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    config = {
        "format": FORMAT,
        "kind": _kind(type(estimator)),
        "created_by": f"metacortex {__version__}",
        "params": _params(estimator),
        "custom_encode": estimator.encode is not None,
        "input": {
            "kind": estimator.input_kind_,
            "columns": getattr(estimator, "n_features_in_", None),
            "names": getattr(estimator, "feature_names_in_", np.array([])).tolist() or None,
            "reader": None if estimator.reader_ is None else estimator.reader_.to_json(),
        },
        "target": _target(estimator, tensors),
        "model": _model(estimator, tensors),
        "adapted": _adapted(estimator, tensors),
        "results": None if results is None else results.to_json(),
    }
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        copies = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
        write_file(folder / WEIGHTS, safetensors.torch.save(copies, {"format": "pt"}))
        write_file(folder / CONFIG, json.dumps(config, indent=1, allow_nan=False) + "\n")
        write_file(folder / CARD, model_card(config))
    except OSError as error:
        raise RunError(f"cannot write {folder}: {error.strerror or error}") from error
    return folder


def load_estimator(cls: type[FewShotEstimator], folder: Path, encode: Any = None) -> Any:
    """Read what `save_estimator` wrote.

    Args:
        cls: classifier or regressor.
        folder: the folder.
        encode: the callable that the estimator was fitted with.

    Raises:
        RunError: if the folder holds something else, is damaged, or a newer metacortex wrote it.
    """
    try:
        config = json.loads((folder / CONFIG).read_bytes())
        tensors = safetensors.torch.load_file(folder / WEIGHTS)
    except FileNotFoundError as error:
        raise RunError(f"no saved estimator in {folder}: there is no {Path(error.filename or CONFIG).name}") from None
    except (OSError, ValueError, SafetensorError) as error:
        raise RunError(f"the estimator in {folder} cannot be read: {error}") from error
    _check(cls, config, folder, encode)
    try:
        return _rebuilt(cls, config, tensors, encode, str(folder))
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise RunError(f"the estimator in {folder} is damaged: config.json lacks or garbles {error}") from error


def fetch(name: str | Path, **options: Any) -> Path:
    """The folder of a saved estimator: a local one, or one downloaded from the hub.

    Args:
        name: a folder, or ``owner/name`` on the hub.
        options: of `huggingface_hub.snapshot_download`.

    Raises:
        RunError: if there is no such folder and it is no name on the hub.
        MissingExtraError: if it is, and huggingface_hub is not installed.
    """
    folder = Path(name)
    if folder.is_dir():
        return folder
    if isinstance(name, Path) or len(str(name).split("/")) != 2 or str(name).startswith((".", "/", "~")):
        raise RunError(f"there is no folder {name}, and it is not a name on the hub (owner/name)")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise MissingExtraError("loading from the hub", "hub") from None
    return Path(snapshot_download(str(name), allow_patterns=[CONFIG, WEIGHTS, CARD], **options))


def push(folder: Path, name: str, *, private: bool | None = None, token: str | None = None) -> str:
    """Upload a folder of `save_estimator` and return its address.

    Raises:
        MissingExtraError: if huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise MissingExtraError("pushing to the hub", "hub") from None
    api = HfApi(token=token)
    api.create_repo(name, private=private, exist_ok=True)
    return str(api.upload_folder(repo_id=name, folder_path=folder, allow_patterns=[CONFIG, WEIGHTS, CARD]))


def _kind(cls: type) -> str:
    return "metacortex few-shot " + ("classifier" if hasattr(cls, "predict_proba") else "regressor")


def _check(cls: type, config: Any, folder: Path, encode: Any) -> None:
    kind = config.get("kind") if isinstance(config, dict) else None
    if kind != _kind(cls):
        raise RunError(f"{folder} holds a {kind or 'model of another program'}, expected a {_kind(cls)}")
    if not isinstance(config.get("format"), int) or config["format"] > FORMAT:
        raise RunError(
            f"{folder} has format {config.get('format')}, this metacortex knows up to {FORMAT}: update metacortex"
        )
    if config["custom_encode"] and encode is None:
        raise RunError(f"the estimator in {folder} was fitted with a callable: give it again as encode=…")


def _params(estimator: FewShotEstimator) -> dict[str, Any]:
    params = {name: value for name, value in estimator.get_params(deep=False).items() if name in _PARAMS}
    if isinstance(estimator.model, Learner):
        raise LearnerError(
            "an estimator with a Learner of your own cannot be saved, as only its code can build it again: train it "
            "into a run folder and give that as model"
        )
    params["model"] = None if estimator.model is None else str(estimator.model)
    params["random_state"] = int(params["random_state"])
    return params


def _target(estimator: Any, tensors: dict[str, Tensor]) -> dict[str, Any]:
    if hasattr(estimator, "classes_"):
        tensors["support/features"] = torch.from_numpy(estimator.support_features_)
        return {"classes": estimator.classes_.tolist(), "dtype": estimator.classes_.dtype.str}
    own = estimator._own_way()
    return {
        "flat": estimator.flat_,
        "offset": None if own else estimator.offset_.tolist(),
        "unit": None if own else estimator.unit_.tolist(),
        "error": None if own else estimator.error_.tolist(),
    }


def _model(estimator: FewShotEstimator, tensors: dict[str, Tensor]) -> dict[str, Any] | None:
    source = estimator.source_
    if source is None:
        return None
    own = source.learner.state_dict()
    names = source.learner.keeps() if estimator._own_way() else set(own)
    tensors.update({_LEARNER + name: portable(own[name]) for name in sorted(names)})
    facts = {"name": source.name, "facts": dict(source.facts), "framed": source.framed, "background": source.background}
    return {
        "learner": dict(source.description or {}),
        "temperature": source.temperature,
        "far": source.far,
        "for_heads": source.for_heads,
        "shape": list(source.shape),
        **facts,
    }


def _adapted(estimator: Any, tensors: dict[str, Tensor]) -> dict[str, Any]:
    if not hasattr(estimator, "classes_"):
        if estimator._own_way():
            return {"state": _state(estimator.predictor_, tensors)}
        return {"head": _head(estimator.head_, estimator.features_, tensors)}
    adapted = estimator.adapted_
    tensors["novelty/means"] = torch.from_numpy(adapted.novelty.means)
    tensors["novelty/usual"] = torch.from_numpy(adapted.novelty.usual)
    common = {
        "temperature": adapted.temperature,
        "novelty": {"unit": adapted.novelty.unit, "far": adapted.novelty.far, "threshold": estimator.threshold_},
    }
    if isinstance(adapted, LearnerAdapted):
        return {**common, "state": _state(adapted.predictor, tensors)}
    return {**common, "head": _head(adapted.head, adapted.features, tensors)}


def _state(predictor: Predictor, tensors: dict[str, Tensor]) -> Any:
    structure, found = flatten_state(predictor.state)
    tensors.update(found)
    return structure


def _head(head: Head, features: Features, tensors: dict[str, Tensor]) -> dict[str, Any]:
    for name in ("center", "anchors", "weights", "bias"):
        tensors[f"head/{name}"] = torch.from_numpy(np.ascontiguousarray(getattr(head, name)))
    content = {"kind": head.spec.kind, "penalty": head.spec.penalty, "gamma": head.spec.gamma, "rate": head.rate}
    if isinstance(features, NetFeatures):
        units = {"unit": features.unit, "pixel_unit": features.pixel_unit, "colour_unit": features.colour_unit}
        return {**content, **units}
    assert isinstance(features, TableFeatures)
    tensors["table/mean"], tensors["table/scale"] = torch.from_numpy(features.mean), torch.from_numpy(features.scale)
    return content


def _rebuilt(cls: type, config: Mapping[str, Any], tensors: Mapping[str, Tensor], encode: Any, where: str) -> Any:
    regression = "classes" not in config["target"]
    params = {k: v for k, v in config["params"].items() if not (regression and k in ("reject", "accept"))}
    estimator = cls(**params, encode=encode)
    given = config["input"]
    estimator.input_kind_ = given["kind"]
    if given["columns"] is not None:
        estimator.n_features_in_ = given["columns"]
    if given["names"]:
        estimator.feature_names_in_ = np.array(given["names"], dtype=object)
    estimator.reader_ = None if given["reader"] is None else PictureReader.from_json(given["reader"])
    estimator.source_ = _source(config["model"], tensors, "state" in config["adapted"], where)
    _restore_target(estimator, config, tensors)
    return estimator


def _source(
    model: Mapping[str, Any] | None, tensors: Mapping[str, Tensor], own_way: bool, where: str
) -> ModelSource | None:
    if model is None:
        return None
    learner = build_empty(model["learner"])
    weights = {k.removeprefix(_LEARNER): t for k, t in tensors.items() if k.startswith(_LEARNER)}
    if own_way:
        fill(learner, weights, where)
    else:
        learner.load_state_dict(weights)
    return ModelSource(
        learner.eval(),
        model["learner"],
        model["framed"],
        model["background"],
        tuple(model["shape"]),
        model["temperature"],
        model["far"],
        model["for_heads"],
        model["name"],
        model["facts"],
    )


def _restore_target(estimator: Any, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    target, adapted = config["target"], config["adapted"]
    features, head = _restore_head(estimator.source_, adapted, tensors)
    predictor = None
    if "state" in adapted:
        predictor = Predictor(estimator.source_.learner, unflatten_state(adapted["state"], tensors))
    if "classes" not in target:
        estimator.flat_ = target["flat"]
        if predictor is not None:
            estimator.predictor_, estimator.error_ = predictor, None
            return
        estimator.head_, estimator.features_ = head, features
        estimator.offset_, estimator.unit_, estimator.error_ = (
            np.array(target[k]) for k in ("offset", "unit", "error")
        )
        return
    estimator.classes_ = np.array(target["classes"], dtype=np.dtype(target["dtype"]))
    estimator.support_features_ = tensors["support/features"].numpy()
    n = adapted["novelty"]
    novelty = Novelty(tensors["novelty/means"].numpy(), n["unit"], tensors["novelty/usual"].numpy(), n["far"])
    if predictor is not None:
        estimator.adapted_ = LearnerAdapted(predictor, adapted["temperature"], novelty)
    else:
        assert features is not None
        assert head is not None
        estimator.adapted_ = HeadAdapted(features, head, adapted["temperature"], novelty)


def _restore_head(
    source: ModelSource | None, adapted: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[Features | None, Head | None]:
    if "head" not in adapted:
        return None, None
    h = adapted["head"]
    center, anchors, weights, bias = (
        tensors[f"head/{name}"].numpy() for name in ("center", "anchors", "weights", "bias")
    )
    head = Head(HeadSpec(h["kind"], h["penalty"], h["gamma"]), center, anchors, weights, bias, h["rate"])
    if source is not None:
        return NetFeatures(source.learner, h["unit"], h["pixel_unit"], h["colour_unit"]), head
    return TableFeatures(tensors["table/mean"].numpy(), tensors["table/scale"].numpy()), head
