{{/*
The defaults of values.yaml, written by `make charts`, for values that were made with an older chart
(`helm upgrade --reuse-values`) or have a null in place of a section.
*/}}
{{- define "file-sync-sidecar.defaultValues" -}}
aws:
  accessKeyIdKey: AWS_ACCESS_KEY_ID
  disableImds: true
  existingSecret: ''
  region: ''
  secretAccessKeyKey: AWS_SECRET_ACCESS_KEY
config: {}
existingConfigMap: ''
extraArgs: []
extraEnv: []
extraEnvFrom: []
extraVolumeMounts: []
image:
  digest: ''
  pullPolicy: IfNotPresent
  registry: ''
  repository: file-sync-service
  tag: ''
lifecycle: {}
openshift: auto
otel:
  endpoint: ''
  headersKey: OTEL_EXPORTER_OTLP_HEADERS
  headersSecret: ''
  protocol: grpc
  sampler: ''
  samplerArg: ''
  useHostIP: false
probes:
  liveness:
    enabled: true
    failureThreshold: 5
    periodSeconds: 30
    timeoutSeconds: 5
  readiness:
    enabled: false
    failureThreshold: 3
    periodSeconds: 10
    timeoutSeconds: 5
  startup:
    enabled: true
    failureThreshold: 60
    periodSeconds: 2
    timeoutSeconds: 2
resources:
  limits:
    memory: 256Mi
  requests:
    cpu: 25m
    memory: 48Mi
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
source:
  mountPath: /data
  subPath: ''
  volumeName: ''
state:
  size: 256Mi
  subPath: ''
  survives: 'yes'
  volumeName: ''
terminationGracePeriodSeconds: 120
{{- end -}}

{{/* Puts into `into` what only `from` has. Below `path` a null may take away a default where Kubernetes has one. */}}
{{- define "file-sync-sidecar.fill" -}}
{{- range $key, $default := .from -}}
{{- $path := list $.path $key | compact | join "." -}}
{{- if or (not (hasKey $.into $key)) (kindIs "invalid" (index $.into $key)) -}}
{{- $_ := set $.into $key $default -}}
{{- else if and (kindIs "map" $default) (kindIs "map" (index $.into $key)) (not (has $path (list "dashboards.labels" "namespaceSelector" "podSecurityContext" "probes.liveness" "probes.readiness" "probes.startup" "resources" "securityContext" "updateStrategy"))) -}}
{{- include "file-sync-sidecar.fill" (dict "into" (index $.into $key) "from" $default "path" $path) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "file-sync-sidecar.defaults" -}}
{{- include "file-sync-sidecar.fill" (dict "into" .Values "from" (include "file-sync-sidecar.defaultValues" . | fromYaml) "path" "") -}}
{{- end -}}
