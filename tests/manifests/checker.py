"""All checks of manifests at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tests.manifests.landscape import Fault, Landscape
from tests.manifests.object_checks import object_faults, set_faults
from tests.manifests.objects import Json, name_of, pods
from tests.manifests.pod_checks import pod_faults
from tests.manifests.schemas import schema_faults


def check(checked: Iterable[Json], around: Iterable[Json] = ()) -> list[Fault]:
    """Every fault of `checked`, which live in a cluster together with `around`."""
    landscape = Landscape(checked, around)
    faults = [fault for resource in landscape.checked for fault in check_one(resource, landscape)]
    return [*faults, *set_faults(landscape)]


def check_one(resource: Json, landscape: Landscape) -> Iterator[Fault]:
    """The faults of one object of the landscape. Where it is not of its kind's form, that is all that is said."""
    malformed = [Fault(name_of(resource), path, message) for path, message in schema_faults(resource)]
    yield from malformed
    if malformed:
        return
    yield from object_faults(resource, landscape)
    runtimes = list(landscape.of_kind("ServingRuntime"))
    for pod in pods(resource, runtimes):
        yield from pod_faults(pod, landscape)
