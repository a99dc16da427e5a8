"""Actions as a model family. TensorFlow is imported by the parts that need it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pathcast.core.errors import InvalidInputError
from pathcast.recognition.action_settings import FRAMES, PROBABILITIES, ActionSettings
from pathcast.recognition.clip_store import read_clips
from pathcast.recognition.word_vectors import class_vectors
from pathcast.training.actions_data import prepare_clips
from pathcast.training.classifiers import by_rule, choices, judge
from pathcast.training.family import Arrays, Evaluation, Family, Gate
from pathcast.training.search_space import TRAINING, Choice, Real
from pathcast.training.settings import TrainingSettings

if TYPE_CHECKING:
    import keras

    from pathcast.training.actions_task import Learning
    from pathcast.training.loop import Task

NETWORK: Mapping[str, Any] = ActionSettings(("a", "b")).as_mapping()

LEARNING: Mapping[str, Any] = {
    "loss": None,
    "balance": None,
    "smoothing": 0.1,
    "variants": 1,
    "epoch_steps": 20,
    "shrink": 150.0,
    "glove": None,
}
"""`loss` and `balance` by the rules of `pathcast.recognition.choices` where None. `glove`: a file of word vectors."""

_EXAMPLES = 4
_CLASS_NAMES = "class_names"


def fitted_settings(folder: Path, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings with what follows from the prepared clips: classes, sizes, what is chosen by rule, word vectors."""
    train = read_clips(folder, "train")
    _, frames, size, _, _ = train.frames.shape
    glove = settings["glove"]
    vectors = [] if glove is None else class_vectors(Path(str(glove)), train.classes).tolist()
    return {
        **by_rule(settings, choices(folder, FAMILY)),
        "classes": list(train.classes),
        "frames": frames,
        "size": size,
        "glove": None if glove is None else Path(str(glove)).name,
        "word_vectors": vectors,
    }


def build(settings: Mapping[str, Any]) -> keras.Model:
    """A fresh network with its served signature, around the pretrained backbone."""
    from pathcast.training.actions_task import build_network

    return build_network(network_settings(settings)).whole


def network_settings(settings: Mapping[str, Any]) -> ActionSettings:
    """Those of the settings that are the network's; models of before the setting `learned` had learned with a half."""
    own = {name: value for name, value in settings.items() if name not in LEARNING}
    return ActionSettings.from_mapping({"learned": 0.5, **own})


def learning_settings(settings: Mapping[str, Any]) -> Learning:
    """Those of the settings that say how it learns."""
    from pathcast.training.actions_task import Learning

    return Learning(**{name: settings[name] for name in LEARNING if name != "glove"})


def _task(folder: Path, settings: Mapping[str, Any]) -> Task:
    from pathcast.training.actions_task import ActionsTask

    train, val = read_clips(folder, "train"), read_clips(folder, "val")
    return ActionsTask(train, val, network_settings(settings), learning_settings(settings))


def _export(model: keras.Model, folder: Path, target: Path) -> Mapping[str, float]:
    from pathcast.export.actions import write_actions

    clips = read_clips(folder, "val")
    parameters = {_CLASS_NAMES: ",".join(clips.classes), "window_s": f"{clips.window_s:g}"}
    return write_actions(model, np.array(clips.frames[:_EXAMPLES]), target, parameters)


def _evaluate(onnx_file: Path, folder: Path) -> Evaluation:
    from pathcast.export.parity import open_session

    held_out, session = read_clips(folder, "test"), open_session(onnx_file)
    wanted = session.get_inputs()[0].shape[1:]
    if list(held_out.frames.shape[1:]) != wanted:
        raise InvalidInputError(
            f"{onnx_file}: expected clips of {wanted}, got {list(held_out.frames.shape[1:])}",
            hint="prepare the clips with the model's number of frames and size",
        )
    # A file of before it stated its classes is taken for one of these.
    stated = session.get_modelmeta().custom_metadata_map.get(_CLASS_NAMES, ",".join(held_out.classes)).split(",")
    if stated != list(held_out.classes):
        raise InvalidInputError(
            f"{onnx_file}: expected a model for the actions {', '.join(held_out.classes)}, got one for "
            f"{', '.join(stated)}",
            hint="a champion for other actions cannot be held against new ones: take its alias away first, in MLflow",
        )
    probabilities = np.concatenate(
        [session.run([PROBABILITIES], {FRAMES: held_out.clip(index)[None]})[0] for index in range(len(held_out))]
    )
    return judge(probabilities, held_out.labels, held_out.classes, choices(folder, FAMILY), held_out.groups)


def _examples(_: Path, folder: Path) -> Arrays:
    return {FRAMES: np.array(read_clips(folder, "val").frames[:_EXAMPLES])}


FAMILY = Family(
    name="actions",
    summary="what people do in a clip: SMART frame selection, and a recogniser on the frames that it chose",
    prepare=prepare_clips,
    build=build,
    task=_task,
    export=_export,
    evaluate=_evaluate,
    examples=_examples,
    fitted_settings=fitted_settings,
    gate=Gate(metric="balanced_accuracy", higher_is_better=True, tolerance=0.03, latency_ms=400.0),
    settings={**NETWORK, "classes": [], **LEARNING},
    search={
        **TRAINING,
        "dropout": Real(0.2, 0.7),
        "smoothing": Real(0.0, 0.2),
        "selected": Choice((4, 6, 8)),
        "learned": Real(0.0, 1.0),
    },
    training=TrainingSettings(
        epochs=12, batch_size=16, learning_rate=2e-3, weight_decay=5e-2, clip_norm=5.0, ema=0.98, patience=1000
    ),
)
