{{/*
What Kubernetes refuses to change in an object that is there, in words. `lookup` finds nothing in `helm template`, and before the
first installation.
*/}}

{{/* A quantity as a number, so that 1024Mi is 1Gi. */}}
{{- define "file-sync-service.bytes" -}}
{{- $units := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "P" 1000000000000000 "E" 1000000000000000000 -}}
{{- $units = merge $units (dict "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624) -}}
{{- $unit := regexFind "[A-Za-z]*$" . -}}
{{- mulf (regexFind "^[0-9.]+" . | float64) (get $units $unit | default 1 | float64) | int64 -}}
{{- end -}}

{{- define "file-sync-service.kind" -}}
{{ get (dict "statefulset" "StatefulSet" "deployment" "Deployment" "daemonset" "DaemonSet") .Values.mode }}
{{- end -}}

{{- define "file-sync-service.again" -}}
Run kubectl --namespace {{ .Release.Namespace }} delete {{ .Values.mode }} {{ include "file-sync-service.fullname" . }} --cascade=orphan, which leaves the pods and claims, {{ "" -}}
{{- end -}}

{{- define "file-sync-service.immutable" -}}
{{- $v := .Values -}}
{{- $name := include "file-sync-service.fullname" . -}}
{{- $kind := include "file-sync-service.kind" . -}}
{{- $old := lookup "apps/v1" $kind .Release.Namespace $name -}}
{{- if $old -}}
{{- $selector := include "file-sync-service.selector" . | fromYaml -}}
{{- if ne (toJson $old.spec.selector.matchLabels) (toJson $selector) -}}
{{ fail (printf "nameOverride: the selector of %s %s cannot change; set the previous name. Or delete it with its pods, which send what is pending before they end: kubectl --namespace %s delete %s %s. Then upgrade again" $kind $name .Release.Namespace $v.mode $name) }}
{{- end -}}
{{- end -}}
{{- $own := and (eq $v.state.type "pvc") (not $v.state.existingClaim) -}}
{{- if and $old (eq $v.mode "statefulset") -}}
{{- $found := dig "spec" "volumeClaimTemplates" (list) $old | first | default dict -}}
{{- include "file-sync-service.sameClaim" (dict "root" . "found" $found "own" $own) -}}
{{- else if and $own (eq $v.mode "deployment") -}}
{{- include "file-sync-service.growingClaim" . -}}
{{- end -}}
{{- end -}}

{{/* The template of a StatefulSet's claims cannot change at all. Takes a dict: root, found, own. */}}
{{- define "file-sync-service.sameClaim" -}}
{{- $v := .root.Values -}}
{{- $name := include "file-sync-service.fullname" .root -}}
{{- $again := include "file-sync-service.again" .root -}}
{{- if ne (empty .found) (not .own) -}}
{{ fail (printf "state: StatefulSet %s was installed %s a claim of its own for each pod, and cannot change that. %sand upgrade again; the new state is empty, and the old one stays in its claim" $name (ternary "without" "with" (empty .found)) $again) }}
{{- end -}}
{{- if .own -}}
{{- $claim := include "file-sync-service.claim" .root | fromYaml -}}
{{- $before := .found.spec.resources.requests.storage | toString -}}
{{- if ne (include "file-sync-service.bytes" $before) (include "file-sync-service.bytes" $v.state.size) -}}
{{ fail (printf "state.size: StatefulSet %s has %s and cannot change it. %sset the size of its claims (kubectl --namespace %s patch pvc file-sync-state-%s-0 --patch '{\"spec\": {\"resources\": {\"requests\": {\"storage\": \"%s\"}}}}'), and upgrade again" $name $before $again .root.Release.Namespace $name $v.state.size) }}
{{- end -}}
{{- $differ := list -}}
{{- if ne (toJson .found.spec.accessModes) (toJson $claim.accessModes) }}{{ $differ = append $differ "state.accessModes" }}{{ end -}}
{{- if ne (dig "spec" "storageClassName" "-" .found) (dig "storageClassName" "-" $claim) }}{{ $differ = append $differ "state.storageClass" }}{{ end -}}
{{- if ne (dig "metadata" "annotations" dict .found | toJson) (toJson $v.state.annotations) }}{{ $differ = append $differ "state.annotations" }}{{ end -}}
{{- with $differ -}}
{{ fail (printf "%s: StatefulSet %s cannot change this for its claims. %sand upgrade again; claims that exist stay as they are" (join ", " .) $name $again) }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The claim of a Deployment can only grow. */}}
{{- define "file-sync-service.growingClaim" -}}
{{- $v := .Values -}}
{{- $name := include "file-sync-service.fullname" . -}}
{{- with lookup "v1" "PersistentVolumeClaim" .Release.Namespace $name -}}
{{- $claim := include "file-sync-service.claim" $ | fromYaml -}}
{{- $before := .spec.resources.requests.storage | toString -}}
{{- $differ := list -}}
{{- if ne (toJson .spec.accessModes) (toJson $claim.accessModes) }}{{ $differ = append $differ "state.accessModes" }}{{ end -}}
{{- if and (hasKey $claim "storageClassName") (ne (dig "spec" "storageClassName" "" .) $claim.storageClassName) }}{{ $differ = append $differ "state.storageClass" }}{{ end -}}
{{- if lt (include "file-sync-service.bytes" $v.state.size | int64) (include "file-sync-service.bytes" $before | int64) }}{{ $differ = append $differ (printf "state.size (%s)" $before) }}{{ end -}}
{{- if $differ -}}
{{ fail (printf "%s: claim %s cannot change this. Set the previous value, or name a new claim in state.existingClaim: its state is empty, and what had not been sent stays in the old one" (join ", " $differ) $name) }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
Claims of this release that its workload does not use any more, separated by spaces. Looked for where an upgrade makes a new
workload: to list claims is a permission that nothing else here needs.
*/}}
{{- define "file-sync-service.leftClaims" -}}
{{- $v := .Values -}}
{{- $name := include "file-sync-service.fullname" . -}}
{{- $own := and (eq $v.state.type "pvc") (not $v.state.existingClaim) -}}
{{- $used := ternary (ternary (printf "file-sync-state-%s" $name) $name (eq $v.mode "statefulset")) "" $own -}}
{{- $left := list -}}
{{- if and .Release.IsUpgrade (not (lookup "apps/v1" (include "file-sync-service.kind" .) .Release.Namespace $name)) -}}
{{- range (lookup "v1" "PersistentVolumeClaim" .Release.Namespace "").items -}}
{{- $labels := default dict .metadata.labels -}}
{{- $ofTemplate := hasPrefix "file-sync-state-" .metadata.name -}}
{{- $ours := or $ofTemplate (eq (get $labels "app.kubernetes.io/part-of") "file-sync-service") -}}
{{- $base := $ofTemplate | ternary (regexReplaceAll "-[0-9]+$" .metadata.name "") .metadata.name -}}
{{- $kept := or (eq $base $used) (eq .metadata.name $v.state.existingClaim) -}}
{{- if and $ours (eq (get $labels "app.kubernetes.io/instance") $.Release.Name) (not $kept) -}}
{{- $left = append $left .metadata.name -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- join " " $left -}}
{{- end -}}
