{{/* What the container's templates take beside `root` and `values`. */}}
{{- define "file-sync-service.context" -}}
sidecar: false
prefixPerNode: {{ and (eq .Values.mode "daemonset") .Values.prefixPerNode }}
{{- if .Values.sharding.enabled }}
shards:
  count: {{ int .Values.replicaCount }}
  depth: {{ int .Values.sharding.depth }}
{{- end }}
{{- end -}}

{{/* The pod, for all three kinds of workload. */}}
{{- define "file-sync-service.pod" -}}
{{- $v := .Values -}}
{{- $context := include "file-sync-service.context" . | fromYaml -}}
{{- $_ := set $context "root" . -}}
{{- $_ := set $context "values" $v -}}
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
  serviceAccountName: {{ include "file-sync-service.serviceAccountName" . | quote }}
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
        name: {{ default (include "file-sync-service.fullname" .) $v.existingConfigMap | quote }}
    - name: source
      {{- if $v.source.existingClaim }}
      persistentVolumeClaim:
        # Read-only is the mount: on a volume that is, the kubelet applies no fsGroup.
        claimName: {{ $v.source.existingClaim | quote }}
      {{- else }}
      {{- with $v.source.volume }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
      {{- end }}
    {{- if eq $v.state.type "emptyDir" }}
    - name: file-sync-state
      emptyDir:
        sizeLimit: {{ $v.state.size | quote }}
    {{- else if eq $v.state.type "hostPath" }}
    - name: file-sync-state
      hostPath:
        path: {{ $v.state.hostPath | quote }}
        type: Directory
    {{- else if or $v.state.existingClaim (eq $v.mode "deployment") }}
    - name: file-sync-state
      persistentVolumeClaim:
        claimName: {{ default (include "file-sync-service.fullname" .) $v.state.existingClaim | quote }}
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
    {{- range . }}
    {{- /* Without a selector a constraint counts no pod. */}}
    {{- $one := deepCopy . }}
    {{- if not (hasKey . "labelSelector") }}
    {{- $_ := set $one "labelSelector" (dict "matchLabels" (include "file-sync-service.selector" $ | fromYaml)) }}
    {{- end }}
    - {{- toYaml $one | nindent 6 }}
    {{- end }}
  {{- end }}
  {{- range $key := list "priorityClassName" "runtimeClassName" "schedulerName" }}
  {{- with get $v $key }}
  {{ $key }}: {{ . | quote }}
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
    storage: {{ $v.state.size | quote }}
{{- if eq $v.state.storageClass "-" }}
storageClassName: ""
{{- else if $v.state.storageClass }}
storageClassName: {{ $v.state.storageClass | quote }}
{{- end }}
{{- end -}}
