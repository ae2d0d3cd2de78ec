{{/*
The container, its configuration and its volumes: one source for every way of packaging. The charts
file-sync-sidecar and file-sync-injection have copies of this file, which `make charts` writes.

Every template here takes a dict:
  root     the chart's root context
  values   the settings
  sidecar  whether it runs in the pod of another application
*/}}

{{- define "file-sync-service.image" -}}
{{- $v := .values -}}
{{- $global := default (dict) .root.Values.global -}}
{{- $registry := default $v.image.registry $global.imageRegistry -}}
{{- $name := $v.image.repository -}}
{{- if $registry }}{{ $name = printf "%s/%s" (trimSuffix "/" $registry) $name }}{{ end -}}
{{- if $v.image.digest -}}
{{- if $v.image.tag -}}
{{ printf "%s:%s@%s" $name $v.image.tag $v.image.digest }}
{{- else -}}
{{ printf "%s@%s" $name $v.image.digest }}
{{- end -}}
{{- else -}}
{{ printf "%s:%s" $name (default (include "file-sync-service.version" .) $v.image.tag) }}
{{- end -}}
{{- end -}}

{{/* A security context without the ids that OpenShift assigns by itself. */}}
{{- define "file-sync-service.securityContext" -}}
{{- $mode := .values.openshift -}}
{{- $found := .root.Capabilities.APIVersions.Has "security.openshift.io/v1" -}}
{{- if or (eq $mode "force") (and (eq $mode "auto") $found) -}}
{{ toYaml (omit .context "runAsUser" "runAsGroup" "fsGroup") }}
{{- else -}}
{{ toYaml .context }}
{{- end -}}
{{- end -}}

{{/* The port of `listen_address`; nothing where that is off. */}}
{{- define "file-sync-service.port" -}}
{{- $address := dig "listen_address" "[::]:9187" .values.config | toString -}}
{{- if eq $address "off" -}}
{{- range $name, $probe := .values.probes -}}
{{- if $probe.enabled -}}
{{ fail (printf "config.listen_address: off answers no probe, and the probes need one that does; set probes.%s.enabled to false" $name) }}
{{- end -}}
{{- end -}}
{{- else if not (regexMatch ":[0-9]+$" $address) -}}
{{ fail (printf "config.listen_address: %q has no port, and the probes need one; write it as 0.0.0.0:9187 or [::]:9187" $address) }}
{{- end -}}
{{- if and (eq (dig "admin_socket" "" .values.config | toString) "off") (not (dig "admin_token_file" "" .values.config)) -}}
{{ fail "config.admin_socket: off leaves preStop no way to the service; leave it out, or set config.admin_token_file" }}
{{- end -}}
{{- regexFind "[0-9]+$" $address -}}
{{- end -}}

{{/* The service's configuration file. */}}
{{- define "file-sync-service.config" -}}
{{- $v := .values -}}
{{- $_ := required "config.s3_bucket is required: the bucket to mirror to" $v.config.s3_bucket -}}
{{- $own := dict "watch_path" $v.source.mountPath "state_dir" "/var/lib/file-sync-service" -}}
{{- $_ := set $own "shutdown_timeout_seconds" (include "file-sync-service.drain" . | int) -}}
{{- $_ := set $own "state_survives" (include "file-sync-service.survives" .) -}}
{{- $_ := set $own "log_format" "json" -}}
{{- /* Half of the service's default: a sidecar shares the pod's memory. */ -}}
{{- if .sidecar }}{{ $_ := set $own "transfer_memory_mib" 64 }}{{ end -}}
{{- range $key, $value := $v.config -}}
{{- /* Helm reads every number as a fraction, and would write a large one as 1e+09. */ -}}
{{- $_ := set $own $key (kindIs "float64" $value | ternary (int64 (kindIs "float64" $value | ternary $value 0)) $value) -}}
{{- end -}}
{{- toYaml $own -}}
{{- end -}}

{{/* Whether the state is there when the next pod starts. A sidecar's volume of your own is asked for in `state.survives`. */}}
{{- define "file-sync-service.survives" -}}
{{- $v := .values -}}
{{- if .sidecar -}}
{{ ternary "no" $v.state.survives (empty $v.state.volumeName) }}
{{- else -}}
{{ ternary "no" "yes" (eq $v.state.type "emptyDir") }}
{{- end -}}
{{- end -}}

{{/* Seconds for the drain: the grace period less five, and never more than that. */}}
{{- define "file-sync-service.drain" -}}
{{- $v := .values -}}
{{- $most := sub (int $v.terminationGracePeriodSeconds) 5 -}}
{{- $asked := dig "shutdown_timeout_seconds" nil $v.config -}}
{{- if kindIs "invalid" $asked -}}
{{ $most }}
{{- else if gt (int $asked) (int $most) -}}
{{ fail (printf "config.shutdown_timeout_seconds: %d and 5 seconds to spare do not fit into terminationGracePeriodSeconds: %d" (int $asked) (int $v.terminationGracePeriodSeconds)) }}
{{- else -}}
{{ int $asked }}
{{- end -}}
{{- end -}}

{{/* What cannot be right, whatever the packaging. */}}
{{- define "file-sync-service.check" -}}
{{- $v := .values -}}
{{- $path := $v.source.mountPath -}}
{{- range list "/var/lib/file-sync-service" "/etc/file-sync-service" "/usr/local/bin" "/etc/ssl" -}}
{{- if or (eq $path "/") (hasPrefix (printf "%s/" .) (printf "%s/" $path)) (hasPrefix (printf "%s/" $path) (printf "%s/" .)) -}}
{{ fail (printf "source.mountPath: %s is or holds a directory of the image; choose another one, such as /data" $path) }}
{{- end -}}
{{- end -}}
{{- if and $v.aws.roleArn $v.aws.existingSecret -}}
{{ fail "aws.roleArn and aws.existingSecret: static keys would win over the role; set one of them" }}
{{- end -}}
{{- if and $v.existingConfigMap $v.config -}}
{{ fail "existingConfigMap and config: set one of them" }}
{{- end -}}
{{- if and $v.config.cloudfront_enabled (not $v.config.cloudfront_distribution_id) -}}
{{ fail "config.cloudfront_enabled: config.cloudfront_distribution_id is required with it" }}
{{- end -}}
{{- $memory := dig "limits" "memory" "" (default (dict) $v.resources) | toString -}}
{{- if regexMatch "^[0-9]+[MG]i$" $memory -}}
{{- $limit := regexFind "[0-9]+" $memory | int -}}
{{- if hasSuffix "Gi" $memory }}{{ $limit = mul $limit 1024 }}{{ end -}}
{{- $content := dig "transfer_memory_mib" (ternary 64 128 .sidecar) $v.config | int -}}
{{- if gt (add $content 64) (int64 $limit) -}}
{{ fail (printf "resources.limits.memory: %s does not hold config.transfer_memory_mib (%d) and the 64 MiB beside it" $memory $content) }}
{{- end -}}
{{- end -}}
{{- $names := list -}}
{{- range (include "file-sync-service.env" . | fromYamlArray) }}{{ $names = append $names .name }}{{ end -}}
{{- range $v.extraEnv -}}
{{- if has .name $names -}}
{{ fail (printf "extraEnv: %s stands twice, or is set by the chart; use the chart's value for it" .name) }}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- end -}}

{{/* What the chart itself puts into the environment. */}}
{{- define "file-sync-service.env" -}}
{{- $v := .values -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      apiVersion: v1
      fieldPath: metadata.name
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      apiVersion: v1
      fieldPath: metadata.namespace
- name: NODE_NAME
  valueFrom:
    fieldRef:
      apiVersion: v1
      fieldPath: spec.nodeName
{{- if $v.otel.useHostIP }}
- name: HOST_IP
  valueFrom:
    fieldRef:
      apiVersion: v1
      fieldPath: status.hostIP
{{- end }}
# CloudTrail shows which pod it was.
- name: AWS_ROLE_SESSION_NAME
  value: $(POD_NAME)
{{- if $v.aws.disableImds }}
- name: AWS_EC2_METADATA_DISABLED
  value: "true"
{{- end }}
{{- with $v.aws.region }}
- name: AWS_REGION
  value: {{ . | quote }}
{{- end }}
{{- if $v.aws.existingSecret }}
- name: AWS_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef:
      name: {{ $v.aws.existingSecret | quote }}
      key: {{ $v.aws.accessKeyIdKey | quote }}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef:
      name: {{ $v.aws.existingSecret | quote }}
      key: {{ $v.aws.secretAccessKeyKey | quote }}
{{- end }}
{{- if $v.existingConfigMap }}
# The file is not the chart's, the mounts are.
- name: FILE_SYNC__WATCH_PATH
  value: {{ $v.source.mountPath | quote }}
- name: FILE_SYNC__STATE_DIR
  value: /var/lib/file-sync-service
- name: FILE_SYNC__SHUTDOWN_TIMEOUT_SECONDS
  value: {{ include "file-sync-service.drain" . | quote }}
- name: FILE_SYNC__STATE_SURVIVES
  value: {{ include "file-sync-service.survives" . | quote }}
{{- end }}
{{- if .shards }}
- name: FILE_SYNC__SHARD_COUNT
  value: {{ .shards.count | quote }}
- name: FILE_SYNC__SHARD_INDEX
  valueFrom:
    fieldRef:
      apiVersion: v1
      fieldPath: metadata.labels['apps.kubernetes.io/pod-index']
- name: FILE_SYNC__SHARD_DEPTH
  value: {{ .shards.depth | quote }}
{{- end }}
{{- if .prefixPerNode }}
- name: FILE_SYNC__S3_PREFIX
  value: {{ list $v.config.s3_prefix "$(NODE_NAME)" | compact | join "/" | quote }}
{{- end }}
{{- if or $v.otel.endpoint $v.otel.useHostIP }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ ternary (printf "http://$(HOST_IP):%s" (ternary "4317" "4318" (eq $v.otel.protocol "grpc"))) $v.otel.endpoint $v.otel.useHostIP | quote }}
- name: OTEL_EXPORTER_OTLP_PROTOCOL
  value: {{ $v.otel.protocol | quote }}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: k8s.pod.name=$(POD_NAME),k8s.namespace.name=$(POD_NAMESPACE),k8s.node.name=$(NODE_NAME)
{{- with $v.otel.sampler }}
- name: OTEL_TRACES_SAMPLER
  value: {{ . | quote }}
{{- end }}
{{- with $v.otel.samplerArg }}
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ . | quote }}
{{- end }}
{{- with $v.otel.headersSecret }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom:
    secretKeyRef:
      name: {{ . | quote }}
      key: {{ $v.otel.headersKey | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "file-sync-service.probe" -}}
httpGet:
  path: {{ .path }}
  port: file-sync
{{ toYaml (omit .probe "enabled") }}
{{- end -}}

{{- define "file-sync-service.container" -}}
{{- include "file-sync-service.check" . -}}
{{- $v := .values -}}
name: file-sync
image: {{ include "file-sync-service.image" . | quote }}
imagePullPolicy: {{ $v.image.pullPolicy | quote }}
{{- if .sidecar }}
# A native sidecar: starts before the application, ends after it, and keeps no Job alive.
restartPolicy: Always
{{- end }}
args:
  - run
  - --config=/etc/file-sync-service/config.yml
  {{- with $v.extraArgs }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
env:
  {{- include "file-sync-service.env" . | nindent 2 }}
  {{- with $v.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $v.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "file-sync-service.port" . }}
ports:
  - name: file-sync
    containerPort: {{ . }}
    protocol: TCP
{{- end }}
{{- if $v.probes.startup.enabled }}
startupProbe:
  {{- include "file-sync-service.probe" (dict "path" "/startupz" "probe" $v.probes.startup) | nindent 2 }}
{{- end }}
{{- if $v.probes.liveness.enabled }}
livenessProbe:
  {{- include "file-sync-service.probe" (dict "path" "/livez" "probe" $v.probes.liveness) | nindent 2 }}
{{- end }}
{{- if $v.probes.readiness.enabled }}
readinessProbe:
  {{- include "file-sync-service.probe" (dict "path" "/readyz" "probe" $v.probes.readiness) | nindent 2 }}
{{- end }}
lifecycle:
  {{- if $v.lifecycle }}
  {{- toYaml $v.lifecycle | nindent 2 }}
  {{- else }}
  # Answers at once; the service knows from then on that the pod ends.
  preStop:
    exec:
      command: [/usr/local/bin/file-sync-service, prestop, --config=/etc/file-sync-service/config.yml]
  {{- end }}
{{- with $v.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "file-sync-service.securityContext" (dict "root" .root "values" $v "context" $v.securityContext) | nindent 2 }}
terminationMessagePolicy: FallbackToLogsOnError
volumeMounts:
  # The directory, never by subPath: a single file would keep its first content for ever.
  - name: file-sync-config
    mountPath: /etc/file-sync-service
    readOnly: true
  - name: {{ (.sidecar | ternary $v.state.volumeName "") | default "file-sync-state" | quote }}
    mountPath: /var/lib/file-sync-service
    {{- if and .sidecar $v.state.subPath }}
    subPath: {{ $v.state.subPath | quote }}
    {{- end }}
  - name: {{ if .sidecar }}{{ required "source.volumeName is required: the pod's volume with the files to mirror" $v.source.volumeName | quote }}{{ else }}source{{ end }}
    mountPath: {{ $v.source.mountPath | quote }}
    {{- with $v.source.subPath }}
    subPath: {{ . | quote }}
    {{- end }}
    # Nothing is ever written to the files.
    readOnly: true
  {{- with $v.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
