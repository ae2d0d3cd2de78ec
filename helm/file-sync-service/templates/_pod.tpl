{{/* The pod, for all three kinds of workload. */}}
{{- define "file-sync-service.pod" -}}
{{- $v := .Values -}}
{{- $perNode := and (eq $v.mode "daemonset") $v.prefixPerNode -}}
{{- $context := dict "root" . "values" $v "sidecar" false "prefixPerNode" $perNode -}}
{{- if $v.sharding.enabled -}}
{{- $_ := set $context "shards" (dict "count" (int $v.replicaCount) "depth" (int $v.sharding.depth)) -}}
{{- end -}}
metadata:
  labels:
    {{- toYaml (merge (dict) (include "file-sync-service.labels" . | fromYaml) $v.podLabels) | nindent 4 }}
  annotations:
    kubectl.kubernetes.io/default-container: file-sync
    {{- if and $v.rollOnConfigChange (not $v.existingConfigMap) }}
    checksum/config: {{ include "file-sync-service.config" $context | sha256sum }}
    {{- end }}
    {{- with $v.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "file-sync-service.serviceAccountName" . }}
  # IRSA and Pod Identity bring their own token; this one is for the Kubernetes API.
  automountServiceAccountToken: {{ $v.automountServiceAccountToken }}
  enableServiceLinks: {{ $v.enableServiceLinks }}
  terminationGracePeriodSeconds: {{ $v.terminationGracePeriodSeconds }}
  {{- if not (kindIs "invalid" $v.hostUsers) }}
  hostUsers: {{ $v.hostUsers }}
  {{- end }}
  {{- with include "file-sync-service.pullSecrets" . }}
  imagePullSecrets:
    {{- . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- include "file-sync-service.securityContext" (dict "root" . "values" $v "context" $v.podSecurityContext) | nindent 4 }}
  {{- with $v.extraInitContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - {{- include "file-sync-service.container" $context | nindent 6 }}
    {{- with $v.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - name: file-sync-config
      configMap:
        name: {{ default (include "file-sync-service.fullname" .) $v.existingConfigMap }}
    - name: source
      {{- if $v.source.existingClaim }}
      persistentVolumeClaim:
        claimName: {{ $v.source.existingClaim }}
        readOnly: true
      {{- else }}
      {{- with $v.source.volume }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
      {{- end }}
    {{- if eq $v.state.type "emptyDir" }}
    - name: file-sync-state
      emptyDir:
        sizeLimit: {{ $v.state.size }}
    {{- else if eq $v.state.type "hostPath" }}
    - name: file-sync-state
      hostPath:
        path: {{ $v.state.hostPath }}
        type: Directory
    {{- else if or $v.state.existingClaim (eq $v.mode "deployment") }}
    - name: file-sync-state
      persistentVolumeClaim:
        claimName: {{ default (include "file-sync-service.fullname" .) $v.state.existingClaim }}
    {{- end }}
    {{- with $v.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $v.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $v.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- $affinity := deepCopy $v.affinity }}
  {{- with $v.source.coLocateWith }}
  {{- $pod := default (dict) $affinity.podAffinity -}}
  {{- $term := dict "labelSelector" (dict "matchLabels" .) "topologyKey" "kubernetes.io/hostname" -}}
  {{- $all := append (default (list) $pod.requiredDuringSchedulingIgnoredDuringExecution) $term -}}
  {{- $_ := set $pod "requiredDuringSchedulingIgnoredDuringExecution" $all -}}
  {{- $_ := set $affinity "podAffinity" $pod }}
  {{- end }}
  {{- with $affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $v.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- range $key := list "priorityClassName" "runtimeClassName" "schedulerName" }}
  {{- with get $v $key }}
  {{ $key }}: {{ . }}
  {{- end }}
  {{- end }}
  {{- with $v.dnsConfig }}
  dnsConfig:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $v.hostAliases }}
  hostAliases:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "file-sync-service.claim" -}}
{{- $v := .Values -}}
accessModes:
  {{- toYaml $v.state.accessModes | nindent 2 }}
resources:
  requests:
    storage: {{ $v.state.size }}
{{- if eq $v.state.storageClass "-" }}
storageClassName: ""
{{- else if $v.state.storageClass }}
storageClassName: {{ $v.state.storageClass }}
{{- end }}
{{- end -}}
