{{/* Names, labels and the parts that every pod shares. */}}

{{- define "pathcast.name" -}}
{{- if eq .Release.Name .Chart.Name }}{{ .Chart.Name }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 30 | trimSuffix "-" }}{{ end -}}
{{- end }}

{{/* Labels that select: they never change. Argument: root, component. */}}
{{- define "pathcast.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "pathcast.labels" -}}
{{ include "pathcast.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: pathcast
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* Labels of a pod. `uses` are the servers it talks to, which their network policies go by. */}}
{{- define "pathcast.podLabels" -}}
{{ include "pathcast.selector" . }}
app.kubernetes.io/part-of: pathcast
{{- range $server := .uses }}
pathcast.io/{{ $server }}-client: "true"
{{- end }}
{{- with .root.Values.podLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "pathcast.image" -}}
{{- $tag := .image.tag | default .root.Chart.AppVersion -}}
{{ .image.repository }}{{ if .image.digest }}@{{ .image.digest }}{{ else }}:{{ $tag }}{{ end }}
{{- end }}

{{/* A camera's producer: readable, and different for different ids. */}}
{{- define "pathcast.producerName" -}}
{{- $id := .camera.id -}}
{{ include "pathcast.name" .root }}-producer-{{ regexReplaceAll "[^a-z0-9]+" (lower $id) "-" | trunc 12 | trimAll "-" }}-{{ sha256sum $id | trunc 6 }}
{{- end }}

{{/* What every pod of the chart has. Arguments: root, account (the chart's own where it is not given). */}}
{{- define "pathcast.pod" -}}
serviceAccountName: {{ .account | default (include "pathcast.name" .root) }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "pathcast.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Arguments: root, service. */}}
{{- define "pathcast.databaseUrl" -}}
{{- $database := .root.Values.database -}}
{{ printf "postgresql://%s%s@%s:%d/%s?sslmode=%s" $database.userPrefix .service $database.host (int $database.port) $database.name $database.sslMode }}
{{- end }}

{{/*
The PATHCAST_* settings of one service. Addresses are plain, passwords come from Secrets, and a server that the service
does not talk to is `not-used`: the service holds no way into it. Arguments: root, service, uses.
*/}}
{{- define "pathcast.env" -}}
{{- $values := .root.Values -}}
- {name: PATHCAST_LOG_LEVEL, value: {{ $values.logLevel | quote }}}
- {name: PYTHONUNBUFFERED, value: "1"}
- {name: HOME, value: /tmp}
- {name: PATHCAST_FRAMES_TOPIC, value: {{ $values.kafka.framesTopic | quote }}}
- {name: PATHCAST_OBSERVATIONS_TOPIC, value: {{ $values.kafka.observationsTopic | quote }}}
{{- if has "kafka" .uses }}
- {name: PATHCAST_KAFKA_BOOTSTRAP, value: {{ $values.kafka.bootstrap | quote }}}
{{- if $values.kafka.authentication }}
- {name: PATHCAST_KAFKA_USERNAME, value: {{ printf "%s%s" $values.kafka.userPrefix .service | quote }}}
- name: PATHCAST_KAFKA_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ printf "%s%s" $values.kafka.userPrefix .service | quote }}, key: {{ $values.kafka.passwordKey | quote }}}
{{- end }}
{{- if $values.kafka.tls }}
- {name: PATHCAST_KAFKA_CA_FILE, value: /etc/kafka-ca/ca.crt}
{{- end }}
{{- else }}
- {name: PATHCAST_KAFKA_BOOTSTRAP, value: not-used}
{{- end }}
{{- if has "database" .uses }}
- name: PGPASSWORD
  valueFrom:
    secretKeyRef: {name: timescaledb-passwords, key: {{ .service | quote }}}
- name: PATHCAST_DATABASE_URL
  value: {{ include "pathcast.databaseUrl" . | quote }}
{{- else }}
- {name: PATHCAST_DATABASE_URL, value: not-used}
{{- end }}
{{- if has "object-store" .uses }}
- {name: PATHCAST_S3_ENDPOINT, value: {{ $values.objectStore.endpoint | quote }}}
- {name: PATHCAST_S3_SECURE, value: {{ $values.objectStore.secure | quote }}}
- {name: PATHCAST_S3_ACCESS_KEY, value: {{ .service | quote }}}
- name: PATHCAST_S3_SECRET_KEY
  valueFrom:
    secretKeyRef: {name: minio-users, key: {{ .service | quote }}}
{{- else }}
- {name: PATHCAST_S3_ENDPOINT, value: not-used}
- {name: PATHCAST_S3_ACCESS_KEY, value: not-used}
- {name: PATHCAST_S3_SECRET_KEY, value: not-used}
{{- end }}
{{- /* The monitor asks every replica which version it serves. */}}
{{- $triton := ternary $values.triton.replicas $values.triton.grpc (eq .service "monitor") }}
- {name: PATHCAST_TRITON_GRPC, value: {{ ternary $triton "not-used" (has "triton" .uses) | quote }}}
- {name: PATHCAST_MLFLOW_TRACKING_URI, value: {{ ternary $values.tracking.uri "not-used" (has "tracking" .uses) | quote }}}
{{- end }}

{{/* The metrics page, which is the health page too: it answers from the moment on that the service works. */}}
{{- define "pathcast.metrics" -}}
ports:
  - {name: metrics, containerPort: 9090}
startupProbe:
  httpGet: {path: /metrics, port: metrics}
  periodSeconds: 2
  failureThreshold: 60
readinessProbe:
  httpGet: {path: /metrics, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
livenessProbe:
  httpGet: {path: /metrics, port: metrics}
  periodSeconds: 20
  timeoutSeconds: 10
  failureThreshold: 6
{{- end }}

{{- define "pathcast.mounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if and (has "kafka" .uses) .root.Values.kafka.tls }}
- {name: kafka-ca, mountPath: /etc/kafka-ca, readOnly: true}
{{- end }}
{{- end }}

{{- define "pathcast.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: 1Gi}
{{- if and (has "kafka" .uses) .root.Values.kafka.tls }}
- name: kafka-ca
  secret:
    secretName: {{ .root.Values.kafka.caSecret.name }}
    items:
      - {key: {{ .root.Values.kafka.caSecret.key | quote }}, path: ca.crt}
{{- end }}
{{- end }}

{{/*
A service that reads its share of the partitions: a StatefulSet, whose ordinals say which, and its headless Service.
A pod that is asked to stop writes what it has in hand and its offsets; the next one goes on from there, and the topics
keep what came meanwhile. Arguments: root, service, uses, settings (value by variable), config.
*/}}
{{- define "pathcast.reader" -}}
{{- $labels := dict "root" .root "component" .service "uses" .uses -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "pathcast.name" .root }}-{{ .service }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "pathcast.labels" $labels | nindent 4 }}
spec:
  clusterIP: None
  selector:
    {{- include "pathcast.selector" $labels | nindent 4 }}
  ports:
    - {name: metrics, port: 9090, targetPort: metrics}
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ include "pathcast.name" .root }}-{{ .service }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "pathcast.labels" $labels | nindent 4 }}
spec:
  serviceName: {{ include "pathcast.name" .root }}-{{ .service }}
  replicas: {{ .config.replicas }}
  podManagementPolicy: Parallel
  updateStrategy:
    type: RollingUpdate
  selector:
    matchLabels:
      {{- include "pathcast.selector" $labels | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "pathcast.podLabels" $labels | nindent 8 }}
    spec:
      {{- include "pathcast.pod" . | nindent 6 }}
      terminationGracePeriodSeconds: {{ .root.Values.terminationGracePeriodSeconds }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          nodeTaintsPolicy: Honor
          labelSelector:
            matchLabels:
              {{- include "pathcast.selector" $labels | nindent 14 }}
      containers:
        - name: {{ .service }}
          image: {{ include "pathcast.image" (dict "root" .root "image" .root.Values.image) }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          command: [python, -m, streaming.{{ .service }}]
          env:
            {{- include "pathcast.env" . | nindent 12 }}
            - name: PATHCAST_INSTANCE_INDEX
              valueFrom:
                fieldRef: {fieldPath: "metadata.labels['apps.kubernetes.io/pod-index']"}
            - {name: PATHCAST_INSTANCE_REPLICAS, value: {{ .config.replicas | quote }}}
            - {name: PATHCAST_METRICS_HOST, value: 0.0.0.0}
            - {name: PATHCAST_METRICS_PORT, value: "9090"}
            {{- range $name, $value := .settings }}
            {{- if not (kindIs "invalid" $value) }}
            - {name: {{ $name }}, value: {{ $value | quote }}}
            {{- end }}
            {{- end }}
          {{- include "pathcast.metrics" . | nindent 10 }}
          resources:
            {{- toYaml .config.resources | nindent 12 }}
          securityContext:
            {{- include "pathcast.containerSecurity" . | nindent 12 }}
          volumeMounts:
            {{- include "pathcast.mounts" . | nindent 12 }}
      volumes:
        {{- include "pathcast.volumes" . | nindent 8 }}
{{- if .root.Values.podDisruptionBudgets.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "pathcast.name" .root }}-{{ .service }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "pathcast.labels" $labels | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      {{- include "pathcast.selector" $labels | nindent 6 }}
{{- end }}
{{- end }}

{{/* A network policy's rule that lets names be looked up. */}}
{{- define "pathcast.nameService" -}}
- to:
    {{- toYaml .Values.networkPolicies.dns.peers | nindent 4 }}
  ports:
    {{- range .Values.networkPolicies.dns.ports }}
    - {port: {{ . }}, protocol: UDP}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end }}
