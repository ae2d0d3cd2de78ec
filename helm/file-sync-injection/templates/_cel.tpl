{{- define "file-sync-injection.version" -}}
{{ .root.Chart.AppVersion }}
{{- end -}}

{{/* Marks a text that is an expression. */}}
{{- define "file-sync-injection.expression" -}}
cel::{{ . }}
{{- end -}}

{{/*
A value as an expression. Takes a dict: value, and the path of its type, such as `Object.spec.initContainers.env`.
CEL reads the texts of JSON. Quantities are the only maps with keys of one's own.
*/}}
{{- define "file-sync-injection.cel" -}}
{{- $path := .path -}}
{{- if kindIs "map" .value -}}
{{- $free := or (hasSuffix ".limits" $path) (hasSuffix ".requests" $path) -}}
{{- $fields := list -}}
{{- range $key, $value := .value -}}
{{- $one := include "file-sync-injection.cel" (dict "value" $value "path" (printf "%s.%s" $path $key)) -}}
{{- $fields = append $fields (printf "%s: %s" (ternary (toJson $key) $key $free) $one) -}}
{{- end -}}
{{ $free | ternary "" $path }}{
{{ join ",\n" $fields | indent 2 }}
}
{{- else if kindIs "slice" .value -}}
{{- $items := list -}}
{{- range .value -}}
{{- $items = append $items (include "file-sync-injection.cel" (dict "value" . "path" $path)) -}}
{{- end -}}
[
{{ join ",\n" $items | indent 2 }}
]
{{- else if kindIs "string" .value -}}
{{ hasPrefix "cel::" .value | ternary (trimPrefix "cel::" .value) (toJson .value) }}
{{- else if kindIs "float64" .value -}}
{{ int64 .value }}
{{- else -}}
{{ .value }}
{{- end -}}
{{- end -}}

{{/* The container of charts and manifests, with what the pod decides as expressions. */}}
{{- define "file-sync-injection.sidecar" -}}
{{- $values := deepCopy .Values -}}
{{- $_ := set $values "config" dict -}}
{{- $_ := set $values "existingConfigMap" "file-sync-injection" -}}
{{- $_ := set $values "source" (dict "mountPath" "/data" "subPath" "" "volumeName" "cel::variables.volume") -}}
{{- $_ := set $values "state" (dict "volumeName" "" "subPath" "" "survives" "no") -}}
{{- $_ := set $values.aws "roleArn" "" -}}
{{- $_ := set $values.aws "existingSecret" "" -}}
{{- $_ := set $values.otel "headersSecret" "" -}}
{{- $_ := set $values "lifecycle" dict -}}
{{- $_ := set $values "extraVolumeMounts" list -}}
{{- $one := include "file-sync-injection.container" (dict "root" . "values" $values "sidecar" true) | fromYaml -}}
{{- $_ := set $one "image" (printf "cel::variables.ofNamespace[?\"file-sync-service/image\"].orValue(%s)" (toJson $one.image)) -}}
{{- $own := dict "FILE_SYNC__SHUTDOWN_TIMEOUT_SECONDS" "cel::string(variables.grace - 5)" -}}
{{- $_ := set $own "FILE_SYNC__STATE_SURVIVES" "cel::variables.survives" -}}
{{- range $one.env -}}
{{- if hasKey $own .name }}{{ $_ := set . "value" (get $own .name) }}{{ end -}}
{{- end -}}
{{- $env := append $one.env (dict "name" "FILE_SYNC__S3_PREFIX" "value" "cel::variables.prefix") -}}
{{- $bucket := list (dict "name" "FILE_SYNC__S3_BUCKET" "value" "cel::variables.bucket") -}}
{{- $path := "Object.spec.initContainers.env" -}}
{{- $always := include "file-sync-injection.cel" (dict "value" $env "path" $path) -}}
{{- $named := include "file-sync-injection.cel" (dict "value" $bucket "path" $path) -}}
{{- $_ := set $one "env" (printf "cel::%s + (variables.bucket == \"\" ? [] : %s)" $always $named) -}}
{{ include "file-sync-injection.cel" (dict "value" $one "path" "Object.spec.initContainers") }}
{{- end -}}

{{/* A volume that the container mounts, unless the pod has one of this name. Takes a list: name, source. */}}
{{- define "file-sync-injection.volume" -}}
{{- $name := index . 0 -}}
{{- $one := merge (dict "name" $name) (index . 1) -}}
({{ toJson $name }} in variables.volumes ? [] : [JSONPatch{
  op: "add", path: "/spec/volumes/-",
  value: {{ include "file-sync-injection.cel" (dict "value" $one "path" "Object.spec.volumes") | indent 2 | trim }}
}])
{{- end -}}

{{- define "file-sync-injection.metadata" -}}
name: {{ . }}
labels:
  app.kubernetes.io/name: file-sync-injection
  app.kubernetes.io/part-of: file-sync-service
{{- end -}}

{{/* To which namespaces a binding applies. */}}
{{- define "file-sync-injection.where" -}}
{{- with .Values.namespaceSelector }}
matchResources:
  namespaceSelector:
    {{- toYaml . | nindent 4 }}
{{- end }}
{{- end -}}
