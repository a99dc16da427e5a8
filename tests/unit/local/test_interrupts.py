import signal

import pytest

from pathcast.local.interrupts import interrupts_held, termination_as_interrupt


def test_a_termination_is_an_interrupt_inside_only():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), termination_as_interrupt():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_held_interrupts_do_nothing(number):
    with termination_as_interrupt():
        before = signal.getsignal(number)
        with interrupts_held():
            signal.raise_signal(number)
        assert signal.getsignal(number) is before
