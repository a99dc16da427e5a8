"""What a pod must have beyond its schema: names that resolve, sane quantities, no rights that it can do without."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from tests.manifests.landscape import ANY_KEY, Fault, Finding, Landscape, takes
from tests.manifests.objects import Json, PodView, at, name_of
from tests.manifests.schemas import CONTAINER, POD_SPEC, POD_TEMPLATE, definition_faults

_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)([numkMGTPE]|[KMGTPE]i|e\d+)?")
_SCALE = {"": 1.0, "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_SCALE |= {f"{letter}i": 1024.0 ** (power + 1) for power, letter in enumerate("KMGTPE")}
_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9](-?[a-z0-9])*")
_IMAGE = re.compile(
    r"[a-z0-9][a-z0-9.-]*(:\d+)?(/[a-z0-9._-]+)*(:(?!latest$)[\w][\w.-]{0,127})?(@sha256:[0-9a-f]{64})?"
)
_SECRET_NAME = re.compile(r"PASSWORD|SECRET_KEY|SECRET_ACCESS|TOKEN|PRIVATE_KEY|CREDENTIAL")
_VALUE_IN_ADDRESS = re.compile(r"://[^/\s:@$]+:[^/\s@$]+@")
_REFERENCE = re.compile(r"(?<!\$)\$\(([A-Za-z_][A-Za-z0-9_]*)\)")
NOT_USED = "not-used"
_POLICIES = {"Always", "IfNotPresent", "Never"}


def quantity(value: object) -> float | None:
    """A quantity in its base unit, or None where it is none."""
    match = _QUANTITY.fullmatch(str(value)) if isinstance(value, str | int | float) else None
    if match is None or isinstance(value, bool):
        return None
    suffix = match[2] or ""
    return float(match[1]) * (10 ** int(suffix[1:]) if suffix.startswith("e") else _SCALE[suffix])


def pod_faults(pod: PodView, landscape: Landscape) -> Iterator[Fault]:
    """Every fault of a pod that an object of ours makes, in its own form and towards other objects."""
    malformed = list(_located(pod, _form(pod)))
    yield from malformed
    if not malformed:
        yield from pod_reference_faults(pod, landscape)


def pod_reference_faults(pod: PodView, landscape: Landscape) -> Iterator[Fault]:
    """What a pod's form does not show: references, amounts, rights."""
    for check in (_containers, _volumes, _identity, _restricted):
        yield from _located(pod, check(pod, landscape))


def _located(pod: PodView, findings: Iterator[Finding]) -> Iterator[Fault]:
    for path, message in findings:
        yield Fault(name_of(pod.owner), f"{pod.path}.{path}".strip("."), message)


def _form(pod: PodView) -> Iterator[Finding]:
    """The CRDs of other projects declare pods loosely; a pod of theirs must be one of Kubernetes as well."""
    if pod.owner["kind"] in ("ServingRuntime", "InferenceService"):
        for index, container in enumerate(pod.containers):
            for path, message in definition_faults(CONTAINER, container):
                yield f"containers.{index}.{path}", message
        for path, message in definition_faults(POD_SPEC, {**pod.spec, "containers": pod.containers}):
            yield path, message
    else:
        template = {"metadata": {"labels": pod.labels}, "spec": pod.spec}
        yield from definition_faults(POD_TEMPLATE, template)


def _containers(pod: PodView, landscape: Landscape) -> Iterator[Finding]:
    if not pod.containers:
        yield "containers", "no container"
    for name, count in Counter(at(item, "name") for item in pod.containers).items():
        if count > 1:
            yield "containers", f"name {name} stands {count} times"
    port_names = Counter(at(port, "name") for item in pod.containers for port in item.get("ports") or ())
    for name, count in port_names.items():
        if name is not None and count > 1:
            yield "containers", f"port name {name} stands {count} times"
    for container in pod.containers:
        path = f"containers[{container.get('name')}]"
        for check in (_image, _ports, _probes, _resources, _environment, _mounts):
            for inner, message in check(container, pod, landscape):
                yield f"{path}.{inner}", message


def _image(container: Json, pod: PodView, landscape: Landscape) -> Iterator[Finding]:
    image = container.get("image")
    if not isinstance(image, str) or not _IMAGE.fullmatch(image) or ":" not in image.rpartition("/")[2]:
        yield "image", f"expected a name with a tag that stays or a digest, got {image}"
    if container.get("imagePullPolicy", "IfNotPresent") not in _POLICIES:
        yield "imagePullPolicy", f"expected one of {sorted(_POLICIES)}, got {container['imagePullPolicy']}"


def _ports(container: Json, pod: PodView, landscape: Landscape) -> Iterator[Finding]:
    numbers = [at(port, "containerPort") for port in container.get("ports") or ()]
    for port in container.get("ports") or ():
        number, name = at(port, "containerPort"), at(port, "name")
        if not isinstance(number, int) or not 0 < number < 65_536:
            yield "ports", f"expected a port from 1 to 65535, got {number}"
        if numbers.count(number) > 1:
            yield "ports", f"port {number} stands twice"
        if name is not None and not (_PORT_NAME.fullmatch(str(name)) and len(str(name)) <= 15):
            yield "ports", f"expected a name of at most 15 of a-z, 0-9 and '-', got {name}"
        if at(port, "protocol") not in (None, "TCP", "UDP", "SCTP"):
            yield "ports", f"unknown protocol {at(port, 'protocol')}"
        if at(port, "hostPort") is not None:
            yield "ports", "takes a port of the node"


def _probes(container: Json, pod: PodView, landscape: Landscape) -> Iterator[Finding]:
    named = {at(port, "name"): at(port, "containerPort") for port in container.get("ports") or ()}
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        probe = container.get(kind)
        if not isinstance(probe, dict):
            continue
        handlers = [key for key in ("httpGet", "tcpSocket", "grpc", "exec") if key in probe]
        if len(handlers) != 1:
            yield kind, f"expected one handler, got {handlers}"
        for handler in handlers:
            port = at(probe, handler, "port")
            if handler != "exec" and port not in (*named, *named.values()):
                yield kind, f"port {port} is not one of the container"
            if at(probe, handler, "scheme") not in (None, "HTTP", "HTTPS"):
                yield kind, f"unknown scheme {at(probe, handler, 'scheme')}"
        numbers = [key for key in probe if key.endswith(("Seconds", "Threshold"))]
        for key in numbers:
            if not isinstance(probe[key], int) or probe[key] < (0 if key == "initialDelaySeconds" else 1):
                yield f"{kind}.{key}", f"expected a count from 1 on, got {probe[key]}"


def _resources(container: Json, pod: PodView, landscape: Landscape) -> Iterator[Finding]:
    requests, limits = (at(container, "resources", key) or {} for key in ("requests", "limits"))
    for side, amounts in (("requests", requests), ("limits", limits)):
        for name, amount in amounts.items():
            if quantity(amount) is None:
                yield f"resources.{side}", f"{name}: not a quantity: {amount}"
            if not re.fullmatch(r"cpu|memory|ephemeral-storage|[a-z.]+/[a-z]+", str(name)):
                yield f"resources.{side}", f"unknown resource {name}"
    for name in requests.keys() & limits.keys():
        asked, most = quantity(requests[name]), quantity(limits[name])
        if asked is not None and most is not None and asked > most:
            yield "resources", f"{name}: request {requests[name]} is above limit {limits[name]}"
    for side, amounts, name in (("requests", requests, "cpu"), ("requests", requests, "memory"),
                                ("limits", limits, "memory")):  # fmt: skip
        if name not in amounts:
            yield f"resources.{side}", f"{name} is not set"


def _environment(container: Json, pod: PodView, landscape: Landscape) -> Iterator[Finding]:
    seen: set[str] = set()
    for entry in container.get("env") or ():
        name, value, source = at(entry, "name"), at(entry, "value"), at(entry, "valueFrom")
        if name in seen:
            yield "env", f"{name} stands twice"
        if (value is None) == (source is None):
            yield "env", f"{name}: expected a value or where it is from"
        if isinstance(value, str):
            for reference in _REFERENCE.findall(value):
                if reference not in seen:
                    yield "env", f"{name}: $({reference}) is not set before it"
            if (
                _SECRET_NAME.search(str(name))
                and not str(name).endswith("_FILE")
                and value not in ("", NOT_USED)
                and not _REFERENCE.search(value)
            ):
                yield "env", f"{name}: a secret's value stands in the file"
            if _VALUE_IN_ADDRESS.search(value):
                yield "env", f"{name}: an address with a password stands in the file"
        if isinstance(source, dict):
            yield from _source(str(name), source, landscape)
        seen.add(str(name))
    for entry in container.get("envFrom") or ():
        for kind, key in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
            if key in entry and (kind, at(entry, key, "name")) not in landscape.keys:
                yield "envFrom", f"{kind} {at(entry, key, 'name')} does not exist"
    for argument in [*(container.get("command") or ()), *(container.get("args") or ())]:
        for reference in _REFERENCE.findall(str(argument)):
            if reference not in seen:
                yield "args", f"$({reference}) is not set"
        if _VALUE_IN_ADDRESS.search(str(argument)):
            yield "args", "an address with a password stands in the file"


def _source(name: str, source: Json, landscape: Landscape) -> Iterator[Finding]:
    for kind, key in (("Secret", "secretKeyRef"), ("ConfigMap", "configMapKeyRef")):
        if key in source:
            yield from _key_reference(f"env.{name}", kind, at(source, key), landscape)
    field = at(source, "fieldRef", "fieldPath")
    if "fieldRef" in source and not re.fullmatch(
        r"metadata\.(name|namespace|uid|(labels|annotations)\['[^']+'\])|spec\.(nodeName|serviceAccountName)"
        r"|status\.(hostIP|podIPs?)",
        str(field),
    ):
        yield f"env.{name}", f"no such field: {field}"
    if not {"secretKeyRef", "configMapKeyRef", "fieldRef", "resourceFieldRef"} & source.keys():
        yield f"env.{name}", "no known source"


def _key_reference(path: str, kind: str, reference: object, landscape: Landscape) -> Iterator[Finding]:
    name, key = at(reference, "name"), at(reference, "key")
    keys = landscape.keys.get((kind, str(name)))
    if keys is None:
        yield path, f"{kind} {name} does not exist"
    elif key not in keys and ANY_KEY not in keys:
        yield path, f"{kind} {name} has no key {key}"


def _mounts(container: Json, pod: PodView, landscape: Landscape) -> Iterator[Finding]:
    volumes = {at(volume, "name") for volume in pod.spec.get("volumes") or ()}
    volumes |= {at(claim, "metadata", "name") for claim in at(pod.owner, "spec", "volumeClaimTemplates") or ()}
    paths = Counter(at(mount, "mountPath") for mount in container.get("volumeMounts") or ())
    for path, count in paths.items():
        if count > 1:
            yield "volumeMounts", f"{path} is mounted {count} times"
        if not str(path).startswith("/"):
            yield "volumeMounts", f"expected an absolute path, got {path}"
    for mount in container.get("volumeMounts") or ():
        if at(mount, "name") not in volumes:
            yield "volumeMounts", f"volume {at(mount, 'name')} does not exist"


def _volumes(pod: PodView, landscape: Landscape) -> Iterator[Finding]:
    mounted = {at(mount, "name") for item in pod.containers for mount in item.get("volumeMounts") or ()}
    claims = {at(claim, "metadata", "name") for claim in at(pod.owner, "spec", "volumeClaimTemplates") or ()}
    volumes = pod.spec.get("volumes") or ()
    for name in [at(volume, "name") for volume in volumes] + sorted(map(str, claims)):
        if name not in mounted:
            yield "volumes", f"{name} is mounted nowhere"
    for name, count in Counter(at(volume, "name") for volume in volumes).items():
        if count > 1:
            yield "volumes", f"{name} stands {count} times"
    for volume in volumes:
        kinds = [key for key in volume if key != "name"]
        if len(kinds) != 1 or kinds[0] == "hostPath":
            yield "volumes", f"{at(volume, 'name')}: expected one kind, and none of the node, got {kinds}"
        claim = at(volume, "persistentVolumeClaim", "claimName")
        if "persistentVolumeClaim" in volume and ("PersistentVolumeClaim", claim) not in landscape.names:
            yield "volumes", f"PersistentVolumeClaim {claim} does not exist"
        if at(volume, "emptyDir", "medium") not in (None, "", "Memory"):
            yield "volumes", f"unknown medium {at(volume, 'emptyDir', 'medium')}"
        size = at(volume, "emptyDir", "sizeLimit")
        if size is not None and quantity(size) is None:
            yield "volumes", f"{at(volume, 'name')}: not a quantity: {size}"
        for source in [volume, *(at(volume, "projected", "sources") or ())]:
            for kind, key, name in (("Secret", "secret", "secretName"), ("ConfigMap", "configMap", "name")):
                if key in source:
                    inner = at(source, key)
                    used = at(inner, name) or at(inner, "name")
                    if (kind, str(used)) not in landscape.keys:
                        yield "volumes", f"{kind} {used} does not exist"
                    for item in at(inner, "items") or ():
                        yield from _key_reference("volumes", kind, {"name": used, "key": at(item, "key")}, landscape)


def _identity(pod: PodView, landscape: Landscape) -> Iterator[Finding]:
    account = pod.spec.get("serviceAccountName")
    if account is not None and ("ServiceAccount", account) not in landscape.names:
        yield "serviceAccountName", f"ServiceAccount {account} does not exist"
    for toleration in pod.spec.get("tolerations") or ():
        if at(toleration, "effect") not in (None, "NoSchedule", "PreferNoSchedule", "NoExecute"):
            yield "tolerations", f"unknown effect {at(toleration, 'effect')}"
        if at(toleration, "operator") not in (None, "Exists", "Equal"):
            yield "tolerations", f"unknown operator {at(toleration, 'operator')}"
    if pod.owner["kind"] == "ServingRuntime":
        return
    mounted = pod.spec.get("automountServiceAccountToken")
    bound = account is not None and landscape.bound(account)
    if bound and mounted is not True:
        yield "automountServiceAccountToken", f"{account} holds rights that the pod cannot use"
    if not bound and mounted is not False:
        yield "automountServiceAccountToken", "expected false: the pod calls no API"
    for spread in pod.spec.get("topologySpreadConstraints") or ():
        if at(spread, "whenUnsatisfiable") not in ("DoNotSchedule", "ScheduleAnyway"):
            yield "topologySpreadConstraints", f"unknown whenUnsatisfiable {at(spread, 'whenUnsatisfiable')}"
        if pod.labels is not None and not takes(at(spread, "labelSelector"), pod.labels):
            yield "topologySpreadConstraints", "its selector does not take the pod itself"
    allowed = {
        "Job": {"Never", "OnFailure"},
        "CronJob": {"Never", "OnFailure"},
        "ClusterTrainingRuntime": {"Never", "OnFailure"},
    }
    policy = pod.spec.get("restartPolicy", "Always")
    if policy not in allowed.get(pod.owner["kind"], {"Always", "Never", "OnFailure"}):
        yield "restartPolicy", f"{policy} is not for a {pod.owner['kind']}"


def _restricted(pod: PodView, landscape: Landscape) -> Iterator[Finding]:
    """The Pod Security Standard "restricted", and a root file system that cannot be written to."""
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.spec.get(key):
            yield key, "shares the node's namespace"
    outer = pod.spec.get("securityContext") or {}
    if at(outer, "seccompProfile", "type") not in (None, "RuntimeDefault"):
        yield "securityContext.seccompProfile", f"expected RuntimeDefault, got {at(outer, 'seccompProfile', 'type')}"
    if outer.get("fsGroupChangePolicy") not in (None, "Always", "OnRootMismatch"):
        yield "securityContext.fsGroupChangePolicy", f"unknown policy {outer['fsGroupChangePolicy']}"
    if outer.get("runAsNonRoot") not in (None, True):
        yield "securityContext.runAsNonRoot", "expected true"
    for key in ("runAsGroup", "fsGroup"):
        if outer.get(key) is not None and not _is_user(outer[key]):
            yield f"securityContext.{key}", f"expected a group other than root's, got {outer[key]}"
    for container in pod.containers:
        path, inner = f"containers[{container.get('name')}].securityContext", container.get("securityContext") or {}

        def own(key: str, inner: Json = inner) -> object:
            return inner.get(key, outer.get(key))

        if own("runAsNonRoot") is not True:
            yield path, "expected runAsNonRoot"
        if own("runAsUser") is not None and not _is_user(own("runAsUser")):
            yield path, f"expected a user other than root, got {own('runAsUser')}"
        if at(own("seccompProfile"), "type") != "RuntimeDefault":
            yield path, "expected seccompProfile RuntimeDefault"
        if inner.get("allowPrivilegeEscalation") is not False:
            yield path, "expected allowPrivilegeEscalation false"
        if inner.get("privileged"):
            yield path, "is privileged"
        if at(inner, "capabilities", "drop") != ["ALL"] or at(inner, "capabilities", "add"):
            yield path, "expected all capabilities dropped"
        if inner.get("readOnlyRootFilesystem") is not True:
            yield path, "expected readOnlyRootFilesystem"


def _is_user(number: object) -> bool:
    return isinstance(number, int) and 0 < number < 2**31
