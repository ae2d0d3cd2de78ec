{{/*
The defaults of values.yaml, written by `make charts`, for values that were made with an older chart
(`helm upgrade --reuse-values`) or have a null in place of a section.
*/}}
{{- define "file-sync-service.defaultValues" -}}
affinity: {}
annotations: {}
automountServiceAccountToken: false
aws:
  accessKeyIdKey: AWS_ACCESS_KEY_ID
  disableImds: true
  existingSecret: ''
  podIdentity: false
  region: ''
  roleArn: ''
  secretAccessKeyKey: AWS_SECRET_ACCESS_KEY
commonLabels: {}
config: {}
dashboards:
  annotations: {}
  enabled: false
  labels:
    grafana_dashboard: '1'
  namespace: ''
dnsConfig: {}
enableServiceLinks: false
existingConfigMap: ''
extraArgs: []
extraContainers: []
extraEnv: []
extraEnvFrom: []
extraInitContainers: []
extraManifests: []
extraVolumeMounts: []
extraVolumes: []
fullnameOverride: ''
global:
  imagePullSecrets: []
  imageRegistry: ''
hostAliases: []
hostUsers: null
image:
  digest: ''
  pullPolicy: IfNotPresent
  registry: ''
  repository: file-sync-service
  tag: ''
imagePullSecrets: []
lifecycle: {}
mode: statefulset
nameOverride: ''
networkPolicy:
  enabled: false
  extraEgress: []
  metricsFrom: []
nodeSelector: {}
openshift: auto
otel:
  endpoint: ''
  headersKey: OTEL_EXPORTER_OTLP_HEADERS
  headersSecret: ''
  protocol: grpc
  sampler: ''
  samplerArg: ''
  useHostIP: false
podAnnotations: {}
podDisruptionBudget:
  enabled: false
  maxUnavailable: 1
podLabels: {}
podMonitor:
  enabled: false
  interval: 30s
  labels: {}
podSecurityContext:
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  runAsGroup: 65532
  runAsNonRoot: true
  runAsUser: 65532
  seccompProfile:
    type: RuntimeDefault
prefixPerNode: true
priorityClassName: ''
probes:
  liveness:
    enabled: true
    failureThreshold: 5
    periodSeconds: 30
    timeoutSeconds: 5
  readiness:
    enabled: true
    failureThreshold: 3
    periodSeconds: 10
    timeoutSeconds: 5
  startup:
    enabled: true
    failureThreshold: 60
    periodSeconds: 2
    timeoutSeconds: 2
prometheusRule:
  disabled: []
  enabled: false
  labels: {}
replicaCount: 1
resources:
  limits:
    memory: 512Mi
  requests:
    cpu: 50m
    memory: 64Mi
rollOnConfigChange: true
runtimeClassName: ''
schedulerName: ''
securityContext:
  allowPrivilegeEscalation: false
  capabilities:
    drop:
    - ALL
  readOnlyRootFilesystem: true
  runAsGroup: 65532
  runAsNonRoot: true
  runAsUser: 65532
  seccompProfile:
    type: RuntimeDefault
serviceAccount:
  annotations: {}
  create: true
  name: ''
serviceMonitor:
  enabled: false
  interval: 30s
  labels: {}
sharding:
  depth: 1
  enabled: false
source:
  coLocateWith: {}
  existingClaim: ''
  mountPath: /data
  subPath: ''
  volume: {}
state:
  accessModes:
  - ReadWriteOncePod
  annotations: {}
  existingClaim: ''
  hostPath: ''
  retention:
    whenDeleted: Retain
    whenScaled: Retain
  size: 1Gi
  storageClass: ''
  type: pvc
terminationGracePeriodSeconds: 120
tests:
  enabled: true
tolerations: []
topologySpreadConstraints: []
updateStrategy:
  type: RollingUpdate
{{- end -}}

{{/* Puts into `into` what only `from` has. Below `path` a null may take away a default where Kubernetes has one. */}}
{{- define "file-sync-service.fill" -}}
{{- range $key, $default := .from -}}
{{- $path := list $.path $key | compact | join "." -}}
{{- if or (not (hasKey $.into $key)) (kindIs "invalid" (index $.into $key)) -}}
{{- $_ := set $.into $key $default -}}
{{- else if and (kindIs "map" $default) (kindIs "map" (index $.into $key)) (not (has $path (list "dashboards.labels" "namespaceSelector" "podSecurityContext" "probes.liveness" "probes.readiness" "probes.startup" "resources" "securityContext" "updateStrategy"))) -}}
{{- include "file-sync-service.fill" (dict "into" (index $.into $key) "from" $default "path" $path) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "file-sync-service.defaults" -}}
{{- include "file-sync-service.fill" (dict "into" .Values "from" (include "file-sync-service.defaultValues" . | fromYaml) "path" "") -}}
{{- end -}}
