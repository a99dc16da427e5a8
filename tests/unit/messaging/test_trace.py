import pytest

from pathcast.core.errors import InvalidInputError
from pathcast.messaging.trace import check_traceparent, new_traceparent


def test_new_traces_are_valid_and_differ() -> None:
    traces = {new_traceparent() for _ in range(100)}
    assert len(traces) == 100
    assert all(check_traceparent(trace) == trace for trace in traces)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\n",
    ],
)
def test_malformed(text: str) -> None:
    with pytest.raises(InvalidInputError, match="traceparent"):
        check_traceparent(text)
