"""For all tests: what a busy machine or the shell that starts them would otherwise change."""

import signal

from hypothesis import HealthCheck, settings

# A property holds or not; how fast depends on what else the machine does.
settings.register_profile("pathcast", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pathcast")

# A shell's background job hands down an ignored SIGINT, and processes that tests interrupt would inherit it.
signal.signal(signal.SIGINT, signal.default_int_handler)
