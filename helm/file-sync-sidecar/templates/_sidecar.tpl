{{/*
What a chart includes, each with its root context:

  file-sync-sidecar.initContainer   one entry of the pod's `initContainers`
  file-sync-sidecar.volumes         entries of the pod's `volumes`
  file-sync-sidecar.configMap       the whole ConfigMap, a file of its own
  file-sync-sidecar.podAnnotations  restart the pods when the configuration changes
  file-sync-sidecar.gracePeriod     the number for `terminationGracePeriodSeconds`
*/}}

{{/* The version of this chart; `.Chart` is the one that includes it. */}}
{{- define "file-sync-sidecar.version" -}}
0.1.0
{{- end -}}

{{- define "file-sync-sidecar.depended" -}}
{{- $own := index .Values "file-sync-sidecar" -}}
{{- if not $own }}{{ fail "file-sync-sidecar: the chart has to be a dependency under this name" }}{{ end -}}
{{- /* Helm puts the alias in place of the name. */ -}}
{{- $names := list -}}
{{- range .Chart.Dependencies }}{{ $names = append $names .Name }}{{ end -}}
{{- if not (has "file-sync-sidecar" $names) -}}
{{ fail (printf "file-sync-sidecar: the chart has to be a dependency under this name, without an alias; there are: %s" (join ", " $names)) }}
{{- end -}}
{{- include "file-sync-sidecar.fill" (dict "into" $own "from" (include "file-sync-sidecar.defaultValues" . | fromYaml) "path" "") -}}
{{- end -}}

{{- define "file-sync-sidecar.configMapName" -}}
{{- $own := index .Values "file-sync-sidecar" -}}
{{ default (printf "%s-file-sync" (.Release.Name | trunc 52 | trimSuffix "-")) $own.existingConfigMap }}
{{- end -}}

{{- define "file-sync-sidecar.initContainer" -}}
{{- include "file-sync-sidecar.depended" . -}}
- {{- include "file-sync-sidecar.container" (dict "root" . "values" (index .Values "file-sync-sidecar") "sidecar" true) | nindent 2 }}
{{- end -}}

{{- define "file-sync-sidecar.volumes" -}}
{{- include "file-sync-sidecar.depended" . -}}
{{- $own := index .Values "file-sync-sidecar" -}}
- name: file-sync-config
  configMap:
    name: {{ include "file-sync-sidecar.configMapName" . | quote }}
{{- if not $own.state.volumeName }}
- name: file-sync-state
  emptyDir:
    sizeLimit: {{ $own.state.size | quote }}
{{- end }}
{{- end -}}

{{- define "file-sync-sidecar.configMap" -}}
{{- include "file-sync-sidecar.depended" . -}}
{{- $own := index .Values "file-sync-sidecar" -}}
{{- if not $own.existingConfigMap -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "file-sync-sidecar.configMapName" . | quote }}
  namespace: {{ .Release.Namespace | quote }}
  labels:
    app.kubernetes.io/name: file-sync-sidecar
    app.kubernetes.io/instance: {{ .Release.Name | quote }}
    app.kubernetes.io/managed-by: {{ .Release.Service }}
data:
  config.yml: |
    {{- include "file-sync-sidecar.config" (dict "root" . "values" $own "sidecar" true) | nindent 4 }}
{{- end -}}
{{- end -}}

{{- define "file-sync-sidecar.podAnnotations" -}}
{{- include "file-sync-sidecar.depended" . -}}
{{- $own := index .Values "file-sync-sidecar" -}}
{{- if not $own.existingConfigMap -}}
checksum/file-sync: {{ include "file-sync-sidecar.config" (dict "root" . "values" $own "sidecar" true) | sha256sum }}
{{- end -}}
{{- end -}}

{{- define "file-sync-sidecar.gracePeriod" -}}
{{- include "file-sync-sidecar.depended" . -}}
{{ (index .Values "file-sync-sidecar").terminationGracePeriodSeconds }}
{{- end -}}
