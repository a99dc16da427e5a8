from dataclasses import replace

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from keras import layers, ops

from pathcast.core.errors import InvalidInputError
from pathcast.recognition.action_network import ActionNetwork, Changes, best_frames, build_actions
from pathcast.recognition.action_settings import FRAMES, PROBABILITIES, SCORES, ActionSettings
from pathcast.recognition.compute import multiply_adds
from pathcast.recognition.frame_selector import Glance, Moved
from tests.support.clips import moving_square

SETTINGS = ActionSettings(("stay", "wander"), frames=8, size=32, selected=3, glance=16, units=8, input_size=32)


def tiny_backbone() -> keras.Model:
    images = keras.Input((32, 32, 3), name="images", dtype="uint8")
    maps = layers.Conv2D(4, 3, 8, name="stem")(ops.cast(images, "float32") / 255.0)
    return keras.Model(images, [maps, layers.Conv2D(6, 1, name="deep")(maps)], name="backbone")


@pytest.fixture(scope="module")
def network() -> ActionNetwork:
    keras.utils.set_random_seed(3)
    return build_actions(SETTINGS, tiny_backbone())


@pytest.fixture(scope="module")
def clips() -> np.ndarray:
    return np.stack([moving_square(seed, moves=seed % 2 == 0) for seed in range(3)])


def test_the_whole_answers_like_its_parts(network: ActionNetwork, clips: np.ndarray) -> None:
    answers = network.whole(clips, training=False)
    scores = np.asarray(network.selector(clips, training=False)[SCORES])
    assert np.allclose(answers[SCORES], scores)
    features = np.asarray(network.features(clips, training=False))
    best = np.sort(np.argsort(-scores, axis=1)[:, :3], axis=1)
    few, weights = np.take_along_axis(features, best[..., None], 1), np.take_along_axis(scores, best, 1)
    expected = ops.softmax(network.head([few, weights], training=False), axis=-1)
    assert np.allclose(answers[PROBABILITIES], expected, atol=1e-5)


def test_frames_that_are_not_selected_say_nothing(network: ActionNetwork, clips: np.ndarray) -> None:
    features = np.asarray(network.features(clips, training=False))
    weights = np.zeros((3, 8), np.float32)
    weights[:, 2:5] = 1
    among_all = network.head([features, weights], training=False)
    assert np.allclose(among_all, network.head([features[:, 2:5], weights[:, 2:5]], training=False), atol=1e-4)


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_what_is_learned_decides_on_its_share_of_the_score(share: float, clips: np.ndarray) -> None:
    settings = replace(SETTINGS, learned=share)
    found = build_actions(settings, tiny_backbone()).selector(clips, training=False)
    single, among, moved = (np.asarray(found[name]) for name in ("single", "among", "moved"))
    assert np.allclose(found[SCORES], moved * (1 - share + share * single * among))
    assert found["frame_logits"].shape == (3, 8, 2)


@given(
    arrays.arrays(np.float32, (2, 8), elements=st.floats(0, 1, width=32, allow_subnormal=False), unique=True),
    st.integers(1, 8),
)
def test_the_best_frames_come_in_order_of_time(scores: np.ndarray, count: int) -> None:
    assert np.array_equal(best_frames(scores, count), np.sort(np.argsort(-scores, axis=1)[:, :count], axis=1))


def test_changes_are_grey_where_nothing_moves() -> None:
    still = np.repeat(moving_square(1, moves=False)[None, :1], 4, axis=1)
    assert (np.asarray(Changes()(still)) == 127).all()
    brighter = still.copy()
    brighter[0, 2] += 10
    pictures = np.asarray(Changes()(brighter))
    assert [int(picture.mean()) for picture in pictures[0]] == [127, 127, 147, 107]


def test_frames_count_by_how_much_of_them_has_changed() -> None:
    clip = np.full((1, 4, 32, 32, 3), 90, np.uint8)
    clip[0, 2, :16] += 40  # the upper half gets brighter and stays so
    clip[0, 3] = clip[0, 2]
    clip[0, 3, :4, :4] += 5  # too little to count
    moved = np.asarray(Moved()(Glance(16)(clip)))
    assert moved[0].tolist() == pytest.approx([0.01, 0.1325, 0.255, 0.1325])


def test_word_vectors_join_the_features(clips: np.ndarray) -> None:
    words = ActionSettings(**{**SETTINGS.as_mapping(), "word_vectors": [[1.0, 0.0, 0.5], [0.0, 1.0, 0.5]]})
    with_words, plain = (build_actions(each, tiny_backbone()).selector for each in (words, SETTINGS))
    assert with_words.get_layer("with_words").output.shape[-1] == SETTINGS.units + 3
    assert plain.get_layer("with_words").output.shape[-1] == SETTINGS.units + 2
    assert np.isfinite(with_words(clips)[SCORES]).all()


def test_a_network_comes_back_from_its_config(network: ActionNetwork, clips: np.ndarray) -> None:
    again = keras.Model.from_config(network.whole.get_config())
    again.set_weights(network.whole.get_weights())
    assert np.allclose(again(clips)[PROBABILITIES], network.whole(clips)[PROBABILITIES], atol=1e-6)
    assert network.whole.input.name == FRAMES


def test_multiply_adds_are_counted_by_hand() -> None:
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3, 2, "same"),
            layers.DepthwiseConv2D(3, padding="same"),
            layers.Reshape((16, 4)),
            layers.LSTM(5, return_sequences=True),
            layers.Dense(2),
        ]
    )
    assert multiply_adds(model) == 16 * 4 * 27 + 16 * 4 * 9 + 16 * 4 * 5 * (4 + 5) + 16 * 2 * 5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"classes": ["one"]}, "two different classes"),
        ({"selected": 9}, "selected of 2 to 8"),
        ({"learned": 1.2}, "learned of 0 to 1"),
        ({"glance": 12}, "multiple of glance"),
        ({"input_size": 40}, "one of"),
        ({"word_vectors": [[1.0]]}, "word vector"),
        ({"colour": 1}, "colour"),
    ],
)
def test_settings_that_cannot_be_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        ActionSettings.from_mapping({**SETTINGS.as_mapping(), **change})
