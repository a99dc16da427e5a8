import pytest

from pathcast.recognition.sign_classes import CLASS_NAMES, MIRRORED

# Signs without digits, cars, people or animals, which look somewhere; nor a bend or a bar that leans to one side.
SYMMETRIC = {
    "priority at the next crossing",
    "priority road",
    "give way",
    "no vehicles",
    "no entry",
    "danger",
    "uneven road",
    "traffic lights",
    "snow or ice",
    "ahead only",
}


def mirrored(name: str) -> str:
    return name.replace("left", "?").replace("right", "left").replace("?", "right")


def test_there_are_43_names_and_all_differ() -> None:
    assert len(CLASS_NAMES) == len(set(CLASS_NAMES)) == 43
    assert all(name and "," not in name for name in CLASS_NAMES)


@pytest.mark.parametrize("label", range(43))
def test_a_mirror_shows_the_sign_of_the_other_side_or_the_same_or_none(label: int) -> None:
    name = CLASS_NAMES[label]
    if name in SYMMETRIC:
        assert MIRRORED[label] == label
    elif mirrored(name) != name and mirrored(name) in CLASS_NAMES:
        assert CLASS_NAMES[MIRRORED[label]] == mirrored(name)
        assert MIRRORED[MIRRORED[label]] == label
    else:
        assert label not in MIRRORED
