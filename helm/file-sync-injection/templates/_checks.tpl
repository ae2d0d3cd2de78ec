{{/* A template, or a pod, with the label. */}}
{{- define "file-sync-injection.labelled" -}}
- name: labelled
  expression: >-
    {{ include "file-sync-injection.inner" . | trim }}
    .exists(t, has(t.metadata.labels) && "file-sync-service/inject" in t.metadata.labels)
{{- end -}}

{{- define "file-sync-injection.inner" -}}
[request.resource.resource == "cronjobs" ? dyn(object).spec.jobTemplate.spec.template : dyn(object).spec.template]
{{- end -}}

{{/* What `variables.template` asks for, and what holds for its namespace. */}}
{{- define "file-sync-injection.asked" -}}
- name: label
  expression: variables.template.metadata.labels["file-sync-service/inject"]
- name: wanted
  expression: variables.label == "true"
{{ include "file-sync-injection.annotations" . | replace "has(object.metadata.annotations) ? object." "has(variables.template.metadata.annotations) ? variables.template." }}
- name: known
  expression: "[\"volume\", \"bucket\", \"prefix\", \"after\"]"
{{- end -}}

{{/* The annotations of a pod; those of its namespace are the defaults. */}}
{{- define "file-sync-injection.annotations" -}}
- name: ofNamespace
  expression: "has(namespaceObject.metadata.annotations) ? namespaceObject.metadata.annotations : {}"
- name: ofPod
  expression: "has(object.metadata.annotations) ? object.metadata.annotations : {}"
- name: volume
  expression: >-
    variables.ofPod[?"file-sync-service/volume"].orValue(variables.ofNamespace[?"file-sync-service/volume"].orValue("data"))
- name: bucket
  expression: >-
    variables.ofPod[?"file-sync-service/bucket"].orValue(variables.ofNamespace[?"file-sync-service/bucket"].orValue(""))
- name: prefix
  expression: >-
    variables.ofPod[?"file-sync-service/prefix"].orValue(
    variables.ofNamespace[?"file-sync-service/prefix"].orValue({{ toJson .Values.prefix }}))
{{- end -}}

{{/* Of bucket and prefix, of a pod or a namespace. Takes what has to hold for a check to apply. */}}
{{- define "file-sync-injection.values" -}}
- expression: >-
    {{ . }} || variables.bucket == ""
    || variables.bucket.matches("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$|^arn:aws[a-z-]*:s3")
  messageExpression: >-
    "annotation file-sync-service/bucket: " + variables.bucket
    + " is not a valid bucket name: 3 to 63 of a-z, 0-9, dot and hyphen, or the ARN of an access point"
- expression: >-
    {{ . }} || !variables.prefix.matches("^/|//|(^|/)\\.\\.?(/|$)|\\s")
  messageExpression: >-
    "annotation file-sync-service/prefix: " + variables.prefix
    + " must not start with a slash, or contain //, ., .. or white space"
{{- end -}}

{{/* What pods and templates have in common; needs `variables.volumes` too. */}}
{{- define "file-sync-injection.checks" -}}
- expression: variables.label in ["true", "false"]
  messageExpression: >-
    "label file-sync-service/inject: " + variables.label + " is neither \"true\" nor \"false\""
- expression: >-
    !variables.wanted || variables.ofPod.all(k, !k.startsWith("file-sync-service/")
    || k.substring(18) in variables.known)
  messageExpression: >-
    "annotation " + variables.ofPod.map(k, k).filter(k, k.startsWith("file-sync-service/")
    && !(k.substring(18) in variables.known)).join(", ")
    + ": unknown; the annotations are file-sync-service/volume, bucket, prefix and after"
- expression: "!variables.wanted || variables.volume in variables.volumes"
  messageExpression: >-
    "annotation file-sync-service/volume: the pod has no volume " + variables.volume
    + "; it has " + (variables.volumes.size() == 0 ? "none" : variables.volumes.join(", "))
{{ include "file-sync-injection.values" "!variables.wanted" }}
{{- end -}}
