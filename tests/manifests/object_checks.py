"""What objects must be to each other: selectors that take something, references that resolve, rights that are used."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterator

from tests.manifests.custom_resource_checks import CUSTOM_RESOURCES
from tests.manifests.landscape import Check, Fault, Finding, Landscape, external, takes
from tests.manifests.objects import Json, at, name_of
from tests.manifests.pod_checks import quantity
from tests.manifests.schemas import resources

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_LABEL = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_CRON_FIELD = r"(\*|\d+(-\d+)?)(/\d+)?(,(\*|\d+(-\d+)?)(/\d+)?)*"
_CRON = re.compile(rf"@(hourly|daily|weekly|monthly|yearly)|{_CRON_FIELD}( {_CRON_FIELD}){{4}}")
_VERBS = {"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "use", "bind"}
_CLUSTER_WIDE = {"Namespace", "ClusterTrainingRuntime", "ClusterServingRuntime", "ClusterRole", "ClusterRoleBinding"}
_PERCENT = re.compile(r"\d{1,3}%")


def object_faults(resource: Json, landscape: Landscape) -> Iterator[Fault]:
    """Every fault of an object towards the others."""
    for check in (_named, *_BY_KIND.get(str(resource.get("kind")), ())):
        for path, message in check(resource, landscape):
            yield Fault(name_of(resource), path, message)


def set_faults(landscape: Landscape) -> Iterator[Fault]:
    """Faults that no object has alone."""
    counts = Counter(
        (item.get("apiVersion"), name_of(item), at(item, "metadata", "namespace")) for item in landscape.checked
    )
    for (_, name, _), count in counts.items():
        if count > 1:
            yield Fault(name, "metadata.name", f"stands {count} times")
    used = {pod.spec.get("serviceAccountName") for pod in landscape.pods} | external()["UsedAccount"].keys()
    for item in landscape.checked:
        name = at(item, "metadata", "name")
        if item.get("kind") == "ServiceAccount" and name not in used:
            yield Fault(name_of(item), "", "no pod uses it")


def _named(resource: Json, landscape: Landscape) -> Iterator[Finding]:
    metadata = resource.get("metadata") or {}
    name, namespace = metadata.get("name"), metadata.get("namespace")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > 63:
        yield "metadata.name", f"expected at most 63 of a-z, 0-9, '-' and '.', got {name}"
    if namespace is not None and ("Namespace", namespace) not in landscape.names:
        yield "metadata.namespace", f"namespace {namespace} does not exist"
    if (namespace is not None) == (resource.get("kind") in _CLUSTER_WIDE):
        yield "metadata.namespace", "expected one for a namespaced object, none for a cluster-wide one"
    for path, labels in _label_maps(resource):
        for key, value in labels.items():
            if not _LABEL_KEY.fullmatch(str(key)):
                yield path, f"not a label's key: {key}"
            if not isinstance(value, str) or not _LABEL.fullmatch(value) or len(value) > 63:
                yield path, f"not a label's value: {key}: {value}"


def _label_maps(value: object, path: str = "") -> Iterator[tuple[str, Json]]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key in ("labels", "matchLabels") and isinstance(item, dict) and not path.endswith("rules"):
                yield f"{path}.{key}".strip("."), item
            elif key not in ("data", "groups"):
                yield from _label_maps(item, f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _label_maps(item, f"{path}.{index}")


def _workload(resource: Json, landscape: Landscape) -> Iterator[Finding]:
    selector, labels = at(resource, "spec", "selector"), at(resource, "spec", "template", "metadata", "labels")
    if not at(selector, "matchLabels") and not at(selector, "matchExpressions"):
        yield "spec.selector", "takes everything"
    elif not takes(selector, labels or {}):
        yield "spec.selector", f"does not take the object's own pods, labelled {labels}"
    others = [
        item
        for item in landscape.of_kind("Deployment", "StatefulSet")
        if item is not resource and takes(selector, at(item, "spec", "template", "metadata", "labels") or {})
    ]
    for other in others:
        if at(other, "metadata", "namespace") == at(resource, "metadata", "namespace"):
            yield "spec.selector", f"takes the pods of {name_of(other)} too"
    replicas = at(resource, "spec", "replicas")
    if isinstance(replicas, int) and replicas < 0:
        yield "spec.replicas", f"expected 0 or more, got {replicas}"
    kind = "strategy" if resource["kind"] == "Deployment" else "updateStrategy"
    allowed = {"Deployment": {"RollingUpdate", "Recreate"}}.get(resource["kind"], {"RollingUpdate", "OnDelete"})
    strategy = at(resource, "spec", kind)
    if strategy is not None:
        if at(strategy, "type") not in {*allowed, None}:
            yield f"spec.{kind}", f"unknown type {at(strategy, 'type')}"
        if at(strategy, "type") == "Recreate" and "rollingUpdate" in strategy:
            yield f"spec.{kind}", "Recreate has no rollingUpdate"
        for key in ("maxSurge", "maxUnavailable"):
            value = at(strategy, "rollingUpdate", key)
            if value is not None and not isinstance(value, int) and not _PERCENT.fullmatch(str(value)):
                yield f"spec.{kind}.{key}", f"expected a number or a percentage, got {value}"


def _stateful_set(resource: Json, landscape: Landscape) -> Iterator[Finding]:
    service = at(resource, "spec", "serviceName")
    found = [item for item in landscape.of_kind("Service") if at(item, "metadata", "name") == service]
    if not found:
        yield "spec.serviceName", f"Service {service} does not exist"
    elif at(found[0], "spec", "clusterIP") != "None":
        yield "spec.serviceName", f"Service {service} is not headless"
    if at(resource, "spec", "podManagementPolicy") not in (None, "Parallel", "OrderedReady"):
        yield "spec.podManagementPolicy", f"unknown policy {at(resource, 'spec', 'podManagementPolicy')}"
    for claim in at(resource, "spec", "volumeClaimTemplates") or ():
        yield from _claim(claim, landscape)


def _claim(resource: Json, landscape: Landscape) -> Iterator[Finding]:
    modes = at(resource, "spec", "accessModes") or []
    if not modes or not set(modes) <= {"ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany", "ReadWriteOncePod"}:
        yield "spec.accessModes", f"unknown modes {modes}"
    size = at(resource, "spec", "resources", "requests", "storage")
    if quantity(size) is None:
        yield "spec.resources.requests.storage", f"not a quantity: {size}"
    if at(resource, "spec", "volumeMode") not in (None, "Filesystem", "Block"):
        yield "spec.volumeMode", f"unknown mode {at(resource, 'spec', 'volumeMode')}"


def _service(resource: Json, landscape: Landscape) -> Iterator[Finding]:
    spec = resource.get("spec") or {}
    if spec.get("type") not in (None, "ClusterIP", "NodePort", "LoadBalancer", "ExternalName"):
        yield "spec.type", f"unknown type {spec.get('type')}"
    pods = landscape.selected(spec.get("selector"))
    if not pods:
        yield "spec.selector", f"takes no pod: {spec.get('selector')}"
    for port in spec.get("ports") or ():
        number, target = at(port, "port"), at(port, "targetPort")
        if not isinstance(number, int) or not 0 < number < 65_536:
            yield "spec.ports", f"expected a port from 1 to 65535, got {number}"
        if at(port, "protocol") not in (None, "TCP", "UDP", "SCTP"):
            yield "spec.ports", f"unknown protocol {at(port, 'protocol')}"
        for pod in pods:
            if not _has_port(pod.containers, number if target is None else target):
                yield "spec.ports", f"{name_of(pod.owner)} has no port {number if target is None else target}"
    names = [at(port, "name") for port in spec.get("ports") or ()]
    if len(names) > 1 and (None in names or len(set(names)) < len(names)):
        yield "spec.ports", f"expected a name for each, got {names}"


def _has_port(containers: list[Json], port: object) -> bool:
    key = "containerPort" if isinstance(port, int) else "name"
    return any(at(item, key) == port for container in containers for item in container.get("ports") or ())


def _disruption_budget(resource: Json, landscape: Landscape) -> Iterator[Finding]:
    if not landscape.selected(at(resource, "spec", "selector")):
        yield "spec.selector", f"takes no pod: {at(resource, 'spec', 'selector')}"
    given = [key for key in ("minAvailable", "maxUnavailable") if key in (resource.get("spec") or {})]
    if len(given) != 1:
        yield "spec", f"expected one of minAvailable and maxUnavailable, got {given}"
    for key in given:
        value = at(resource, "spec", key)
        if not (isinstance(value, int) and value >= 0) and not _PERCENT.fullmatch(str(value)):
            yield f"spec.{key}", f"expected a number or a percentage, got {value}"
    if at(resource, "spec", "unhealthyPodEvictionPolicy") not in (None, "AlwaysAllow", "IfHealthyBudget"):
        yield "spec.unhealthyPodEvictionPolicy", "unknown policy"


def _network_policy(resource: Json, landscape: Landscape) -> Iterator[Finding]:
    spec = resource.get("spec") or {}
    if spec.get("podSelector") and not landscape.selected(spec.get("podSelector")):
        yield "spec.podSelector", f"takes no pod: {spec.get('podSelector')}"
    types = spec.get("policyTypes") or []
    if not types or not set(types) <= {"Ingress", "Egress"}:
        yield "spec.policyTypes", f"expected Ingress, Egress or both, got {types}"
    for direction, side, kind in (("ingress", "from", "Ingress"), ("egress", "to", "Egress")):
        if direction in spec and kind not in types:
            yield f"spec.{direction}", f"has no effect without policyTypes {kind}"
        for rule in spec.get(direction) or ():
            for peer in at(rule, side) or ():
                namespace = at(peer, "namespaceSelector", "matchLabels", "kubernetes.io/metadata.name")
                if at(peer, "namespaceSelector") is not None and ("Namespace", namespace) not in landscape.names:
                    yield f"spec.{direction}", f"namespace {namespace} does not exist"
                cidr = at(peer, "ipBlock", "cidr")
                if cidr is not None and not _is_network(cidr):
                    yield f"spec.{direction}", f"not a range of addresses: {cidr}"
                if at(peer, "podSelector") is not None and not landscape.selected(at(peer, "podSelector")):
                    yield f"spec.{direction}", f"takes no pod: {at(peer, 'podSelector')}"
            for port in at(rule, "ports") or ():
                number = at(port, "port")
                if isinstance(number, int) and not 0 < number < 65_536:
                    yield f"spec.{direction}.ports", f"expected a port from 1 to 65535, got {number}"
                if at(port, "protocol") not in (None, "TCP", "UDP", "SCTP"):
                    yield f"spec.{direction}.ports", f"unknown protocol {at(port, 'protocol')}"
                if isinstance(number, str):
                    pods = landscape.selected(spec.get("podSelector")) if direction == "ingress" else landscape.pods
                    if not any(_has_port(pod.containers, number) for pod in pods):
                        yield f"spec.{direction}.ports", f"no pod has a port {number}"


def _is_network(text: object) -> bool:
    try:
        ipaddress.ip_network(str(text))
    except ValueError:
        return False
    return True


def _role(resource: Json, landscape: Landscape) -> Iterator[Finding]:
    if not resource.get("rules"):
        yield "rules", "gives no right"
    for rule in resource.get("rules") or ():
        for key in ("apiGroups", "resources", "verbs"):
            values = rule.get(key)
            if not isinstance(values, list) or not values or "*" in values:
                yield f"rules.{key}", f"expected names, and no '*', got {values}"
        for verb in rule.get("verbs") or ():
            if verb not in _VERBS:
                yield "rules.verbs", f"unknown verb {verb}"
        for group in rule.get("apiGroups") or ():
            for name in rule.get("resources") or ():
                if (group, name) not in resources():
                    yield "rules", f"there is no resource {name} in group {group!r}"
    bound = [at(item, "roleRef", "name") for item in landscape.of_kind("RoleBinding", "ClusterRoleBinding")]
    if at(resource, "metadata", "name") not in bound:
        yield "", "no binding refers to it"


def _binding(resource: Json, landscape: Landscape) -> Iterator[Finding]:
    reference = resource.get("roleRef") or {}
    if reference.get("apiGroup") != "rbac.authorization.k8s.io":
        yield "roleRef.apiGroup", f"unknown group {reference.get('apiGroup')}"
    if (reference.get("kind"), reference.get("name")) not in landscape.names:
        yield "roleRef", f"{reference.get('kind')} {reference.get('name')} does not exist"
    if not resource.get("subjects"):
        yield "subjects", "binds nobody"
    for subject in resource.get("subjects") or ():
        if (at(subject, "kind"), at(subject, "name")) not in landscape.names:
            yield "subjects", f"{at(subject, 'kind')} {at(subject, 'name')} does not exist"
        if at(subject, "namespace") != at(resource, "metadata", "namespace"):
            yield "subjects", f"expected the binding's own namespace, got {at(subject, 'namespace')}"


def _cron_job(resource: Json, landscape: Landscape) -> Iterator[Finding]:
    if not _CRON.fullmatch(str(at(resource, "spec", "schedule"))):
        yield "spec.schedule", f"not a schedule: {at(resource, 'spec', 'schedule')}"
    if at(resource, "spec", "concurrencyPolicy") not in (None, "Allow", "Forbid", "Replace"):
        yield "spec.concurrencyPolicy", f"unknown policy {at(resource, 'spec', 'concurrencyPolicy')}"


def _secret(resource: Json, landscape: Landscape) -> Iterator[Finding]:
    if resource.get("data") or resource.get("stringData"):
        yield "data", "a secret's value stands in the file"


def _namespace(resource: Json, landscape: Landscape) -> Iterator[Finding]:
    labels = at(resource, "metadata", "labels") or {}
    for mode in ("enforce", "warn", "audit"):
        level = labels.get(f"pod-security.kubernetes.io/{mode}")
        if level not in ("restricted", "baseline"):
            yield "metadata.labels", f"pod-security.kubernetes.io/{mode}: expected restricted or baseline, got {level}"


def _job(resource: Json, landscape: Landscape) -> Iterator[Finding]:
    hook = at(resource, "metadata", "annotations", "helm.sh/hook")
    phases = {"pre-install", "pre-upgrade", "post-install", "post-upgrade", "test", "pre-delete"}
    if hook is not None and not set(str(hook).split(",")) <= phases:
        yield "metadata.annotations", f"unknown hook {hook}"
    policy = at(resource, "metadata", "annotations", "helm.sh/hook-delete-policy")
    if policy is not None and not set(str(policy).split(",")) <= {
        "before-hook-creation",
        "hook-succeeded",
        "hook-failed",
    }:
        yield "metadata.annotations", f"unknown hook-delete-policy {policy}"


_BY_KIND: dict[str, tuple[Check, ...]] = {
    **CUSTOM_RESOURCES,
    "CronJob": (_cron_job,),
    "Deployment": (_workload,),
    "Job": (_job,),
    "Namespace": (_namespace,),
    "NetworkPolicy": (_network_policy,),
    "PersistentVolumeClaim": (_claim,),
    "Pod": (_job,),
    "PodDisruptionBudget": (_disruption_budget,),
    "Role": (_role,),
    "RoleBinding": (_binding,),
    "Secret": (_secret,),
    "Service": (_service,),
    "StatefulSet": (_workload, _stateful_set),
}
