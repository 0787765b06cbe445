"""What programs derive from torchmeta, and how they go about it, in small."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torchmeta.datasets.helpers import helper_with_default
from torchmeta.modules import MetaLinear, MetaModule, MetaSequential
from torchmeta.modules.utils import get_subdict
from torchmeta.transforms import Categorical, ClassSplitter, NumpyToTorch
from torchmeta.utils import gradient_update_parameters
from torchmeta.utils.data import (
    BatchMetaDataLoader,
    ClassDataset,
    CombinationMetaDataset,
    CombinationRandomSampler,
    Dataset,
    MetaDataLoader,
    MetaDataset,
    Task,
)


class Shapes(Dataset):
    """One class, as users write it."""

    def __init__(self, index: int, data: np.ndarray, name: str, transform: Any = None, target_transform: Any = None):
        super().__init__(index, transform=transform, target_transform=target_transform)
        self.data, self.name = data, name

    def __len__(self) -> int:
        return self.data.shape[0]

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image, target = self.data[index], self.name
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return image, target


class ShapesClassDataset(ClassDataset):
    """Twelve of them."""

    def __init__(self, root: str, transform: Any = None, class_augmentations: Any = None, **splits: Any) -> None:
        super().__init__(class_augmentations=class_augmentations, **splits)
        self.root, self.transform = root, transform

    def __getitem__(self, index: int) -> Shapes:
        number = index % self.num_classes
        data = np.random.RandomState(number).rand(20, 6) + number
        return Shapes(
            index, data, f"c{number}", self.get_transform(index, self.transform), self.get_target_transform(index)
        )

    @property
    def num_classes(self) -> int:
        return 12


class ShapesTasks(CombinationMetaDataset):
    """Their tasks; a user's own ``__getitem__`` adds a third part."""

    def __init__(
        self,
        root: str,
        num_classes_per_task: int,
        target_transform: Any = None,
        dataset_transform: Any = None,
        **options: Any,
    ) -> None:
        dataset = ShapesClassDataset(root, **options)
        super().__init__(dataset, num_classes_per_task, target_transform, dataset_transform)

    def __getitem__(self, index: Any) -> Any:
        task = super().__getitem__(index)
        if isinstance(task, dict):
            task["again"] = task["train"]
        return task


class Limited(CombinationRandomSampler):
    """As many tasks as wanted."""

    def __init__(self, data_source: Any, limit: int) -> None:
        super().__init__(data_source)
        self.limit = limit

    def __len__(self) -> int:
        return self.limit

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        ways, classes = self.data_source.num_classes_per_task, range(len(self.data_source.dataset))
        for _ in range(self.limit):
            yield tuple(random.sample(classes, ways))


def shapes(**options: Any) -> Any:
    return helper_with_default(
        ShapesTasks, "x", 1, 5, test_shots=3, seed=0, meta_train=True, defaults={"transform": NumpyToTorch()}, **options
    )


def test_data_sets_and_samplers_of_users() -> None:
    data = shapes()
    batch = next(iter(BatchMetaDataLoader(data, batch_size=4)))
    assert list(batch) == ["train", "test", "again"]
    assert [batch[name][0].shape for name in batch] == [(4, 5, 6), (4, 15, 6), (4, 5, 6)]
    assert torch.equal(batch["train"][0], batch["again"][0])
    # each example is one of its class, whose numbers lie from the class's own to one more
    classes = batch["test"][0].mean(-1).floor().reshape(4, 5, 3)
    assert (classes == classes[..., :1]).all()
    random.seed(3)
    expected = [tuple(random.sample(range(12), 5)) for _ in range(7)]
    random.seed(3)
    loader = MetaDataLoader(data, batch_size=4, sampler=Limited(data, 7))
    assert [task["train"].index for tasks in loader for task in tasks] == expected
    assert len(loader) == 2


@pytest.mark.parametrize("workers", [0, 1])
def test_spawned_workers_read_the_same(workers: int) -> None:
    """After a task was drawn: a data set that was used travels as well."""
    data = shapes(target_transform=Categorical(5))
    assert len(data[(4, 3, 2, 1, 0)]["train"]) == 5
    options: Any = {"multiprocessing_context": "spawn"} if workers else {}

    def first(**how: Any) -> Any:
        random.seed(0)
        data.seed(0)  # the order within the splits
        return next(iter(BatchMetaDataLoader(data, batch_size=2, **how)))

    batch, known = first(num_workers=workers, **options), first()
    assert all(torch.equal(batch[k][0], known[k][0]) for k in ("train", "test"))


class Coins(Task):
    """A user's own task, not made of classes."""

    def __init__(self, index: int) -> None:
        super().__init__(index, num_classes=2)
        self.values = torch.arange(10.0).reshape(10, 1) + 100 * index

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        target = index % 2
        return self.values[index], target if self.target_transform is None else self.target_transform(target)


class CoinTasks(MetaDataset):
    """And a data set of them."""

    def __init__(self) -> None:
        splitter = ClassSplitter(shuffle=True, num_support_per_class=2, num_query_per_class=3)
        super().__init__(meta_train=True, dataset_transform=splitter)

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> Any:
        assert self.dataset_transform is not None
        return self.dataset_transform(Coins(index))


def test_tasks_of_users() -> None:
    (inputs, targets), (queries, truths) = next(iter(BatchMetaDataLoader(CoinTasks(), batch_size=40))).values()
    assert [inputs.shape, targets.shape, queries.shape, truths.shape] == [(40, 4, 1), (40, 4), (40, 6, 1), (40, 6)]
    assert torch.equal(inputs[..., 0] % 2, targets.float())
    assert sorted((queries // 100).flatten().unique().tolist()) == [float(i) for i in range(40)]


class BatchLinear(nn.Linear, MetaModule):
    """A layer with other weights for each example, as hypernetworks of fields have it."""

    def forward(self, x: Tensor, params: Any = None) -> Tensor:
        params = OrderedDict(self.named_parameters()) if params is None else params
        return x @ params["weight"].transpose(-1, -2) + params["bias"].unsqueeze(-2)


class Field(MetaModule):
    """Its parts go down with the function of torchmeta 1.4."""

    def __init__(self) -> None:
        super().__init__()
        self.net = MetaSequential(MetaSequential(BatchLinear(2, 8), nn.Tanh()), MetaSequential(BatchLinear(8, 1)))

    def forward(self, x: Tensor, params: Any = None) -> Tensor:
        params = OrderedDict(self.named_parameters()) if params is None else params
        return self.net(x, params=get_subdict(params, "net"))


@pytest.mark.filterwarnings("ignore:.*get_subdict is deprecated:DeprecationWarning")
def test_fields_with_weights_from_a_hypernetwork() -> None:
    torch.manual_seed(0)
    field, code = Field(), torch.randn(3, 4)
    writers = {name: nn.Linear(4, value.numel()) for name, value in field.meta_named_parameters()}
    shapes_of = {name: value.shape for name, value in field.meta_named_parameters()}
    assert list(writers) == ["net.0.0.weight", "net.0.0.bias", "net.1.0.weight", "net.1.0.bias"]
    params = OrderedDict((n, w(code).reshape(3, *shapes_of[n])) for n, w in writers.items())
    x = torch.randn(3, 5, 2)
    found = field(x, params=params)
    alone = field(x[1], params=OrderedDict((n, p[1]) for n, p in params.items()))
    assert torch.allclose(found[1], alone, atol=1e-6)
    found.sum().backward()
    assert all(writer.weight.grad is not None for writer in writers.values())
    assert torch.equal(field(x), field(x, params=OrderedDict(field.named_parameters())))


def test_learned_step_sizes_join_an_optimizer_with_a_schedule() -> None:
    torch.manual_seed(0)
    model = MetaSequential(
        OrderedDict([("linear", MetaLinear(6, 16)), ("relu", nn.ReLU()), ("out", MetaLinear(16, 5))])
    )
    rates = OrderedDict((n, torch.tensor(0.05, requires_grad=True)) for n, _ in model.meta_named_parameters())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    optimizer.add_param_group({"params": rates.values()})
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.99)
    loader, steps, losses = BatchMetaDataLoader(shapes(), batch_size=4, shuffle=True, pin_memory=False), 0, []
    while steps < 8:  # an endless loader, broken off
        for batch in loader:
            if steps >= 8:
                break
            assert "test" in batch
            outer = torch.zeros(())
            for x, y, query, truth in zip(*batch["train"], *batch["test"], strict=True):
                params = gradient_update_parameters(model, F.cross_entropy(model(x), y), step_size=rates)
                outer = outer + F.cross_entropy(model(query, params=params), truth) / 4
            optimizer.zero_grad()
            outer.backward()
            optimizer.step()
            schedule.step()
            losses.append(float(outer.detach()))
            steps += 1
    assert len(losses) == 8
    assert all(float(rate.detach()) != pytest.approx(0.05, abs=1e-6) for rate in rates.values())
    assert optimizer.param_groups[1]["lr"] == pytest.approx(1e-2 * 0.99**8)


@pytest.mark.parametrize("broken", [False, True])
def test_torchvision_is_used_where_it_works(tmp_path: Path, broken: bool) -> None:
    """Its transforms are the ones of this package, and the usual ones are still read at once."""
    place = tmp_path / "torchvision" / "transforms"
    place.mkdir(parents=True)
    begin = 'raise RuntimeError("operator torchvision::nms does not exist")\n' if broken else ""
    (place.parent / "__init__.py").write_text(begin, encoding="utf-8")
    (place / "__init__.py").write_text(
        "class ToTensor: pass\n"
        "class Resize:\n    def __init__(self, size): self.size = size\n"
        "class CenterCrop(Resize): pass\n"
        "class Compose:\n    def __init__(self, transforms): self.transforms = transforms\n",
        encoding="utf-8",
    )
    text = """
from torchmeta.transforms import Compose, Resize, ToTensor
from torchmeta.datasets.stored import Plan, plan_of
assert plan_of(Compose([Resize(8), ToTensor()]), 10) == Plan(8)
print(Resize.__module__)
"""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{text}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == ("torchmeta.transforms.vision" if broken else "torchvision.transforms"), done.stderr
