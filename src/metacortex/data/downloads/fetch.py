"""``metacortex data fetch``: published data from the network into the cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from metacortex.cache import cache_dir
from metacortex.data.downloads.addresses import Download, downloadable, downloads_of
from metacortex.data.downloads.transfer import Progress, has_sum, transfer
from metacortex.data.locations import data_roots
from metacortex.errors import DataError, unknown_name

__all__ = ["Fetched", "fetch"]


@dataclass(frozen=True)
class Fetched:
    """A file that is at hand now.

    Attributes:
        path: where it lies.
        address: where it came from; empty if it was there before.
    """

    path: Path
    address: str


def fetch(
    name: str,
    *,
    mirrors: Sequence[str] = (),
    replace: bool = False,
    progress: Progress | None = None,
    files: Sequence[Download] | None = None,
) -> list[Fetched]:
    """Get the files of a data source that are not on this machine yet.

    A file that lies in one of the data roots with the right sum is used, whoever put it there.

    Args:
        name: of the data source.
        mirrors: addresses of folders that hold the files under their own names, tried before the known ones.
        replace: whether a file in the cache with a wrong sum may go.
        progress: called with (name of the file, bytes received, bytes in all or 0).
        files: what to get; what is known of the source when not given.

    Returns:
        Every file of the source.

    Raises:
        SettingsError: for an unknown name.
        DataError: if no address is known for it or none gives the file, a file with a wrong sum is in the way, or the
            disk is full. Nothing half-written is left; what came before the failure stays.
    """
    wanted = downloads_of(name) if files is None else tuple(files)
    if not wanted:
        raise _nothing_to_fetch(name)
    return [_get(name, item, mirrors, replace, progress) for item in wanted]


def _get(name: str, item: Download, mirrors: Sequence[str], replace: bool, progress: Progress | None) -> Fetched:
    for root in data_roots():
        if has_sum(root / item.path, item.sum):
            return Fetched(root / item.path, "")
    target = cache_dir() / "data" / item.path
    if target.exists() and not replace:
        raise DataError(
            f"{target} is there, but is not the published file (its {item.sum.partition(':')[0]} is another): "
            "delete it, or replace it with replace=True (--replace)"
        )
    addresses = [f"{mirror.rstrip('/')}/{target.name}" for mirror in mirrors] + list(item.addresses)
    try:
        return Fetched(target, transfer(addresses, target, item.sum, progress))
    except DataError as error:
        if str(error).startswith("cannot write"):
            raise
        raise DataError(
            f"could not download {target.name} ({error}): try again later, name a mirror (--mirror), or put the file "
            f"at {target} and run metacortex data fetch {name} again; nothing half-written was left"
        ) from None


def _nothing_to_fetch(name: str) -> Exception:
    from metacortex.data.sources import dataset_names

    if name not in dataset_names():
        return unknown_name("data to download", name, downloadable())
    return DataError(
        f"no address with a sum is known for '{name}', only for {', '.join(downloadable())}: "
        f"bring the data yourself: metacortex data add {name} --from FOLDER"
    )
