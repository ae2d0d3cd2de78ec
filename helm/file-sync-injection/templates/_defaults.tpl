{{/*
The defaults of values.yaml, written by `make charts`, for values that were made with an older chart
(`helm upgrade --reuse-values`) or have a null in place of a section.
*/}}
{{- define "file-sync-injection.defaultValues" -}}
after:
- istio-validation
- istio-proxy
- linkerd-proxy
aws:
  disableImds: true
  region: ''
extraArgs: []
extraEnv: []
extraEnvFrom:
- secretRef:
    name: file-sync-keys
    optional: true
fsGroup: 65532
image:
  digest: ''
  pullPolicy: IfNotPresent
  registry: ''
  repository: file-sync-service
  tag: ''
namespaceSelector: {}
openshift: auto
otel:
  endpoint: ''
  protocol: grpc
  sampler: ''
  samplerArg: ''
  useHostIP: false
prefix: $(POD_NAMESPACE)/$(POD_NAME)
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
state:
  size: 256Mi
terminationGracePeriodSeconds: 120
{{- end -}}

{{/* Puts into `into` what only `from` has. Below `path` a null may take away a default where Kubernetes has one. */}}
{{- define "file-sync-injection.fill" -}}
{{- range $key, $default := .from -}}
{{- $path := list $.path $key | compact | join "." -}}
{{- if or (not (hasKey $.into $key)) (kindIs "invalid" (index $.into $key)) -}}
{{- $_ := set $.into $key $default -}}
{{- else if and (kindIs "map" $default) (kindIs "map" (index $.into $key)) (not (has $path (list "dashboards.labels" "namespaceSelector" "podSecurityContext" "probes.liveness" "probes.readiness" "probes.startup" "resources" "securityContext" "updateStrategy"))) -}}
{{- include "file-sync-injection.fill" (dict "into" (index $.into $key) "from" $default "path" $path) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "file-sync-injection.defaults" -}}
{{- include "file-sync-injection.fill" (dict "into" .Values "from" (include "file-sync-injection.defaultValues" . | fromYaml) "path" "") -}}
{{- end -}}
