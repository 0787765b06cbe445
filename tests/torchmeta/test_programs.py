"""Old idioms as small programs, trained to a stated accuracy, and the example of the documentation."""

from __future__ import annotations

import dataclasses
import itertools
import runpy
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.func import functional_call

from metacortex.data.collections import mini_imagenet
from torchmeta.datasets.defaults import TaskDefaults
from torchmeta.modules import MetaLinear, MetaModule, MetaSequential
from torchmeta.toy.helpers import sinusoid
from torchmeta.transforms import Categorical, ClassSplitter
from torchmeta.utils.data import BatchMetaDataLoader, ClassDataset, CombinationMetaDataset, Dataset
from torchmeta.utils.gradient_based import gradient_update_parameters
from torchmeta.utils.matching import matching_log_probas, matching_loss
from torchmeta.utils.prototype import get_prototypes, prototypical_loss

EXAMPLE = Path(__file__).parents[2] / "examples" / "torchmeta" / "maml.py"
WAYS, SHOTS, DIM = 3, 2, 4
Batch = dict[str, list[Tensor]]


class Cloud(Dataset):
    """Points about a centre, and as many loud dimensions that mean nothing."""

    def __init__(self, index: int, **options: Any) -> None:
        super().__init__(index, **options)
        rng = np.random.default_rng(index)
        noise = rng.normal(size=(20, 2 * DIM)) * np.repeat([0.3, 3.0], DIM)
        self.points = (noise + np.concatenate([rng.normal(size=DIM), np.zeros(DIM)])).astype(np.float32)

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.points[index], self.index if self.target_transform is None else self.target_transform(self.index)


class Clouds(ClassDataset):
    """A user's own classes; those of the test split are others."""

    num_classes = 200  # type: ignore[assignment]

    def __getitem__(self, index: int) -> Cloud:
        return Cloud(index + 1000 * self.meta_test, target_transform=self.get_target_transform(index))


def batches(split: str, size: int, count: int) -> Iterator[Batch]:
    """An endless loader, broken off after some batches."""
    data = CombinationMetaDataset(Clouds(meta_split=split), WAYS, target_transform=Categorical(WAYS))
    data = ClassSplitter(data, shuffle=True, num_train_per_class=SHOTS, num_test_per_class=10)
    return itertools.islice(BatchMetaDataLoader(data, batch_size=size, shuffle=True, seed=0), count)


def learn(model: nn.Module, evaluate: Callable[[Batch], tuple[Tensor, float]], *others: Tensor) -> tuple[float, float]:
    """Accuracy on new classes before and after 40 steps of Adam."""
    optimizer = torch.optim.Adam([*model.parameters(), *others], lr=0.03)
    (test,) = batches("test", 40, 1)
    before = evaluate(test)[1]
    for batch in batches("train", 4, 40):
        optimizer.zero_grad()
        evaluate(batch)[0].backward()
        optimizer.step()
    return before, evaluate(test)[1]


def accuracy(logits: Tensor, targets: Tensor, axis: int = 1) -> float:
    return float((logits.argmax(axis) == targets).float().mean())


def head_model(plain: bool) -> MetaModule:
    """A linear map and a head; plain: the first is not adapted."""
    torch.manual_seed(0)
    first = (nn.Linear if plain else MetaLinear)(2 * DIM, 16)
    return MetaSequential(first, MetaLinear(16, WAYS))


def inner_loop(model: MetaModule, batch: Batch, step_size: Any, first_order: bool = False) -> tuple[Tensor, float]:
    loss, right = torch.zeros(()), []
    for x, y, query, truth in zip(*batch["train"], *batch["test"], strict=True):
        params = None
        for _ in range(2):
            support_loss = F.cross_entropy(model(x, params=params), y)
            params = gradient_update_parameters(model, support_loss, params, step_size, first_order)
        logits = model(query, params=params)
        loss = loss + F.cross_entropy(logits, truth)
        right.append(accuracy(logits, truth))
    return loss / len(right), sum(right) / len(right)


@pytest.mark.parametrize(("plain", "first_order"), [(False, False), (True, False), (False, True)])
def test_maml_and_anil(plain: bool, first_order: bool) -> None:
    model = head_model(plain)
    assert len(list(model.meta_parameters())) == (2 if plain else 4)
    before, after = learn(model, lambda batch: inner_loop(model, batch, 0.3, first_order))
    assert after > max(0.7, before + 0.2)


def test_meta_sgd_with_a_dictionary_of_step_sizes() -> None:
    model = head_model(False)
    rates = OrderedDict((n, torch.full_like(p, 0.3, requires_grad=True)) for n, p in model.meta_named_parameters())
    before, after = learn(model, lambda batch: inner_loop(model, batch, rates), *rates.values())
    assert after > max(0.7, before + 0.2)
    assert any(rate.std() > 0.01 for rate in rates.values())


def test_prototypical_networks() -> None:
    torch.manual_seed(0)
    model = nn.Linear(2 * DIM, 16)

    def evaluate(batch: Batch) -> tuple[Tensor, float]:
        (x, y), (query, truth) = batch["train"], batch["test"]
        prototypes, embedded = get_prototypes(model(x), y, WAYS), model(query)
        logits = -(prototypes.unsqueeze(2) - embedded.unsqueeze(1)).square().sum(-1)
        return prototypical_loss(prototypes, embedded, truth), accuracy(logits, truth)

    before, after = learn(model, evaluate)
    assert after > max(0.85, before + 0.2)


def test_matching_networks() -> None:
    torch.manual_seed(0)
    model = nn.Linear(2 * DIM, 16)

    def evaluate(batch: Batch) -> tuple[Tensor, float]:
        (x, y), (query, truth) = batch["train"], batch["test"]
        found = matching_log_probas(model(x), y, model(query), WAYS)
        return matching_loss(model(x), y, model(query), truth, WAYS), accuracy(found, truth)

    before, after = learn(model, evaluate)
    assert after > max(0.8, before + 0.2)


def test_functional_loop_on_any_module() -> None:
    """As programs with ``higher`` do it: batches from the loader, any module, its parameters swapped."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2 * DIM, 16), nn.Linear(16, WAYS))

    def evaluate(batch: Batch) -> tuple[Tensor, float]:
        loss, right = torch.zeros(()), []
        for x, y, query, truth in zip(*batch["train"], *batch["test"], strict=True):
            params = dict(model.named_parameters())
            for _ in range(2):
                support_loss = F.cross_entropy(functional_call(model, params, (x,)), y)
                gradients = torch.autograd.grad(support_loss, list(params.values()), create_graph=True)
                params = {n: p - 0.3 * g for (n, p), g in zip(params.items(), gradients, strict=True)}
            logits = functional_call(model, params, (query,))
            loss = loss + F.cross_entropy(logits, truth)
            right.append(accuracy(logits, truth))
        return loss / len(right), sum(right) / len(right)

    before, after = learn(model, evaluate)
    assert after > max(0.7, before + 0.2)


def test_sinusoid() -> None:
    torch.manual_seed(0)
    model = MetaSequential(MetaLinear(1, 40), nn.ReLU(), MetaLinear(40, 40), nn.ReLU(), MetaLinear(40, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)

    def loss_of(batch: Any) -> Tensor:
        total = torch.zeros(())
        for x, y, query, truth in zip(*batch["train"], *batch["test"], strict=True):
            params = gradient_update_parameters(model, F.mse_loss(model(x.float()), y.float()), step_size=0.02)
            total = total + F.mse_loss(model(query.float(), params=params), truth.float())
        return total / len(batch["train"][0])

    tasks = sinusoid(shots=10)
    test = next(iter(BatchMetaDataLoader(tasks, batch_size=30, seed=1)))
    before = float(loss_of(test).detach())
    for batch in BatchMetaDataLoader(tasks, batch_size=8, seed=0, num_tasks=480):
        optimizer.zero_grad()
        loss_of(batch).backward()
        optimizer.step()
    assert float(loss_of(test).detach()) < 0.85 * before


@pytest.fixture
def tiny_mini_imagenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six classes of sixteen pictures in each split, as zips' class folders, below ``data``."""
    free = dict.fromkeys(("train", "val", "test"))
    monkeypatch.setattr(
        mini_imagenet, "MINI_IMAGENET", dataclasses.replace(mini_imagenet.MINI_IMAGENET, expects=free, each=0)
    )
    monkeypatch.delenv("METACORTEX_DATA", raising=False)
    monkeypatch.setenv("METACORTEX_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for number, split in enumerate(("train", "val", "test")):
        for label in range(6):
            place = tmp_path / "data" / "mini_imagenet" / split / f"n{number}{label}"
            place.mkdir(parents=True)
            for member in range(16):
                pixels = rng.integers(0, 60, (84, 84, 3), np.uint8)
                pixels[:, 14 * label : 14 * label + 14, label % 3] += 150
                Image.fromarray(pixels).save(place / f"{member}.jpg")
    return tmp_path


def test_program_of_the_documentation(
    tiny_mini_imagenet: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it stands, with a small model, epochs of one task and four tasks to test on."""
    text = EXAMPLE.read_text(encoding="utf-8")
    for line in (
        "from torchmeta.datasets import MiniImagenet\n",
        "from torchmeta.utils.data import BatchMetaDataLoader\n",
        "from torchmeta.algos import MAML\n",
        "class MyModel(MetaModule):\n",
        'dataset = MiniImagenet("data", num_classes_per_task=5, meta_train=True)\n',
        "dataloader = BatchMetaDataLoader(dataset, batch_size=4, num_workers=4)\n",
        "maml = MAML(MyModel(), lr=0.01)\n",
        "for epoch in range(10):",
        "    for batch in dataloader:\n        maml.train(batch)\n",
    ):
        assert line in text
    monkeypatch.chdir(tiny_mini_imagenet)
    monkeypatch.setattr(TaskDefaults, "__init__", short(TaskDefaults.__init__))
    quick = tiny_mini_imagenet / "program.py"
    # the body that is left open is smaller here
    text = text.replace("num_tasks=600", "num_tasks=4").replace("channels=32", "channels=4")
    quick.write_text(text, encoding="utf-8")
    with torch.random.fork_rng(devices=[]):
        left = runpy.run_path(str(quick))
    assert "5-way 1-shot, 4 tasks: " in capsys.readouterr().out
    assert left["result"]["tasks"] == 4
    assert (len(left["dataloader"]), left["dataloader"].num_workers) == (1, 0)


def short(original: Callable[..., None]) -> Callable[..., None]:
    """Defaults with an epoch of one task."""

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        object.__setattr__(self, "tasks_per_epoch", 1)

    return init
