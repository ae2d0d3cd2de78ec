{{- define "file-sync-service.version" -}}
{{ .root.Chart.AppVersion }}
{{- end -}}

{{/* At most 52 characters: a StatefulSet adds a hash of 11 to make a label of 63. */}}
{{- define "file-sync-service.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The selector cannot be changed later: nothing in it may ever change. */}}
{{- define "file-sync-service.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "file-sync-service.labels" -}}
{{- $own := include "file-sync-service.selector" . | fromYaml -}}
{{- $_ := set $own "app.kubernetes.io/version" (default .Chart.AppVersion .Values.image.tag | toString | trunc 63 | trimAll "-_.") -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service -}}
{{- $_ := set $own "app.kubernetes.io/part-of" "file-sync-service" -}}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- toYaml (merge (dict) $own .Values.commonLabels) -}}
{{- end -}}

{{- define "file-sync-service.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "file-sync-service.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{- define "file-sync-service.pullSecrets" -}}
{{- $names := list -}}
{{- range concat (default (list) (default (dict) .Values.global).imagePullSecrets) .Values.imagePullSecrets -}}
{{- $names = append $names (kindIs "string" . | ternary . (get (kindIs "string" . | ternary (dict) .) "name")) -}}
{{- end -}}
{{- range $names | uniq }}
- name: {{ . | quote }}
{{- end -}}
{{- end -}}

{{/* What cannot be right together in this chart. */}}
{{- define "file-sync-service.validate" -}}
{{- $v := .Values -}}
{{- if and (gt (int $v.replicaCount) 1) (not $v.sharding.enabled) -}}
{{ fail (printf "replicaCount: %d: pods share one directory only with sharding.enabled" (int $v.replicaCount)) }}
{{- end -}}
{{- if $v.sharding.enabled -}}
{{- if ne $v.mode "statefulset" -}}
{{ fail (printf "sharding.enabled: pods of mode %s have no index; set mode to statefulset" $v.mode) }}
{{- end -}}
{{- if or (ne $v.state.type "pvc") $v.state.existingClaim -}}
{{ fail "sharding.enabled: each pod needs a claim of its own that survives it; set state.type to pvc and no state.existingClaim" }}
{{- end -}}
{{- if lt (int $v.replicaCount) 1 -}}
{{ fail "sharding.enabled: replicaCount is the number of shards, at least 1; to stop them, uninstall or scale by kubectl" }}
{{- end -}}
{{- range list "shard_count" "shard_index" "shard_depth" -}}
{{- if hasKey $v.config . -}}
{{ fail (printf "config.%s: follows from sharding.enabled, replicaCount and sharding.depth" .) }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $v.source.existingClaim $v.source.volume -}}
{{ fail "source.existingClaim and source.volume: set one of them" }}
{{- else if not (or $v.source.existingClaim $v.source.volume) -}}
{{ fail "source.existingClaim is required: the claim with the files to mirror (or source.volume)" }}
{{- end -}}
{{- if and (eq $v.mode "daemonset") (eq $v.state.type "pvc") -}}
{{ fail "state.type: pvc is one claim, and a DaemonSet has many pods; set hostPath or emptyDir" }}
{{- end -}}
{{- if and (eq $v.state.type "hostPath") (ne $v.mode "daemonset") -}}
{{ fail "state.type: hostPath belongs to a node; it is for mode daemonset" }}
{{- end -}}
{{- if and (eq $v.state.type "hostPath") (not $v.state.hostPath) -}}
{{ fail "state.hostPath is required with state.type hostPath: a directory that uid 65532 may write" }}
{{- end -}}
{{- if and $v.state.existingClaim (ne $v.state.type "pvc") -}}
{{ fail (printf "state.existingClaim: not used with state.type %s" $v.state.type) }}
{{- end -}}
{{- if and $v.state.existingClaim (eq $v.state.existingClaim $v.source.existingClaim) -}}
{{ fail "state.existingClaim: the state must not lie on the volume that is mirrored" }}
{{- end -}}
{{- if and (or $v.podMonitor.enabled $v.serviceMonitor.enabled) (not (include "file-sync-service.port" (dict "root" . "values" $v))) -}}
{{ fail "config.listen_address: off has no metrics for podMonitor or serviceMonitor" }}
{{- end -}}
{{- if and $v.podMonitor.enabled $v.serviceMonitor.enabled -}}
{{ fail "podMonitor and serviceMonitor: both would scrape the same pods twice; enable one of them" }}
{{- end -}}
{{- if and $v.aws.roleArn (not $v.serviceAccount.create) -}}
{{ fail "aws.roleArn: annotate your own service account, or let the chart create one (serviceAccount.create)" }}
{{- end -}}
{{- if and $v.aws.roleArn (hasKey $v.serviceAccount.annotations "eks.amazonaws.com/role-arn") -}}
{{ fail "aws.roleArn: stands in serviceAccount.annotations too; set one of them" }}
{{- end -}}
{{- if and (eq $v.mode "daemonset") $v.prefixPerNode $v.existingConfigMap -}}
{{ fail "existingConfigMap: the chart cannot add the node's name to a prefix it does not know; set prefixPerNode to false" }}
{{- end -}}
{{- if and $v.otel.endpoint $v.otel.useHostIP -}}
{{ fail "otel.endpoint and otel.useHostIP: set one of them" }}
{{- end -}}
{{- $alerts := list -}}
{{- range $path, $_ := .Files.Glob "rules/*.yaml" -}}
{{- range ($.Files.Get $path | fromYaml).groups }}{{ range .rules }}{{ $alerts = append $alerts .alert }}{{ end }}{{ end -}}
{{- end -}}
{{- range $v.prometheusRule.disabled -}}
{{- if not (has . $alerts) -}}
{{ fail (printf "prometheusRule.disabled: there is no alert %s; there are %s" . (join ", " $alerts)) }}
{{- end -}}
{{- end -}}
{{- end -}}
