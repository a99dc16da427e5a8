import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathcast.core.errors import InvalidInputError
from pathcast.messaging.topics import Instance


@given(st.integers(1, 8), st.integers(0, 20))
def test_every_partition_has_one_instance(replicas: int, partition_count: int) -> None:
    taken = [p for index in range(replicas) for p in Instance(index, replicas).partitions(partition_count)]
    assert sorted(taken) == list(range(partition_count))


@pytest.mark.parametrize(("index", "replicas"), [(0, 0), (1, 1), (-1, 2)])
def test_index_must_be_among_the_replicas(index: int, replicas: int) -> None:
    with pytest.raises(InvalidInputError, match=r"instance: (.|\n)*PATHCAST_INSTANCE_INDEX"):
        Instance(index, replicas)
