"""All checks of manifests at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tests.manifests.landscape import Fault, Landscape
from tests.manifests.object_checks import object_faults, set_faults
from tests.manifests.objects import Json, name_of, pods
from tests.manifests.pod_checks import pod_faults, pod_reference_faults
from tests.manifests.schemas import schema_faults


def check(checked: Iterable[Json], around: Iterable[Json] = ()) -> list[Fault]:
    """Every fault of `checked`, which live in a cluster together with `around`."""
    landscape = Landscape(checked, around)
    malformed = [fault for resource in landscape.checked for fault in form_faults(resource)]
    if malformed:
        return malformed
    runtimes = list(landscape.of_kind("ServingRuntime"))
    made = [pod for resource in landscape.checked for pod in pods(resource, runtimes)]
    return [*reference_faults(landscape), *(fault for pod in made for fault in pod_faults(pod, landscape))]


def form_faults(resource: Json) -> Iterator[Fault]:
    """The ways in which an object is not what its kind declares."""
    for path, message in schema_faults(resource):
        yield Fault(name_of(resource), path, message)


def reference_faults(landscape: Landscape) -> Iterator[Fault]:
    """What the objects, each of its kind's form, are to each other."""
    for resource in landscape.checked:
        yield from object_faults(resource, landscape)
    yield from set_faults(landscape)


def faults_of_change(changed: Json, others: Iterable[Json]) -> Iterator[Fault]:
    """The faults that one changed object brings to others that were without fault: `check` in less time."""
    malformed = list(form_faults(changed))
    yield from malformed
    if malformed:
        return
    landscape = Landscape([changed, *others])
    runtimes = list(landscape.of_kind("ServingRuntime"))
    for pod in pods(changed, runtimes):
        yield from pod_faults(pod, landscape)
    yield from reference_faults(landscape)
    for pod in landscape.pods:
        if pod.has_own_labels:
            yield from pod_reference_faults(pod, landscape)
