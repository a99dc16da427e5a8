"""The model `mot` in a model repository: it comes with Pathcast, and is not trained."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from pathcast.registry.repository import ModelRepository, PublishedModel
from pathcast.serving.mot import FOLDER, MODEL

_CODE = FOLDER / "model.py"
_CONFIG = FOLDER / "config.pbtxt"
_CARD = FOLDER / "README.md"


def publish_mot(repository: ModelRepository) -> PublishedModel:
    """Put `mot` into the repository, as a new version where its code is not that of the newest there."""
    versions = repository.versions(MODEL)
    version = versions[-1].version if versions else 1
    if versions and versions[-1].sha256 != hashlib.sha256(_CODE.read_bytes()).hexdigest():
        version += 1
    return repository.publish(MODEL, _CODE, _CONFIG.read_text(), version=version, card=_CARD.read_text())


def write_mot(folder: Path) -> None:
    """Write `mot` into `folder` in Triton's layout, as version 1."""
    (folder / "1").mkdir(parents=True, exist_ok=True)
    for source in (_CONFIG, _CARD):
        shutil.copyfile(source, folder / source.name)
    shutil.copyfile(_CODE, folder / "1" / _CODE.name)
