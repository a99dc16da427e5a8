from datetime import UTC, datetime
from unittest.mock import sentinel

import pytest

from pathcast.core.errors import InvalidInputError
from pathcast.monitoring.retraining import Trigger, claim_run
from pathcast.monitoring.settings import MonitorSettings

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("run", ["", "{{$.pipeline_job_uuid}}"])
def test_a_run_without_an_id_of_its_own_claims_nothing(run: str) -> None:
    trigger = Trigger("forecaster", NOW, "ade", run, "continuous_training", "here")
    with pytest.raises(InvalidInputError, match="expected the id of the pipeline's run"):
        claim_run(sentinel.no_connection_is_asked, trigger, NOW, MonitorSettings())
