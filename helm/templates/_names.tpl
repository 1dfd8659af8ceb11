{{/* Names, labels and selectors. A part is one workload: gateway, engine, moderation, control, train, … */}}

{{/* What everything's name begins with: short, since pods and services put more behind it. */}}
{{- define "hone.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains "hone" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-hone" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The name of a part's objects. Takes (dict "root" $ "name" "gateway"). */}}
{{- define "hone.partName" -}}
{{- printf "%s-%s" (include "hone.fullname" .root) .name -}}
{{- end -}}

{{/* What a selector asks for: it can never change, so no versions here. Takes the same. */}}
{{- define "hone.selector" -}}
app.kubernetes.io/name: hone
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .name | quote }}
{{- end -}}

{{/* Labels of every object. Takes the same. */}}
{{- define "hone.labels" -}}
{{ include "hone.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | quote }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* metadata: of an object. Takes the same, and "suffix" for a second object of a part. */}}
{{- define "hone.metadata" -}}
name: "{{ include "hone.partName" . }}{{ with .suffix }}-{{ . }}{{ end }}"
namespace: {{ .root.Release.Namespace | quote }}
labels:
  {{- include "hone.labels" . | nindent 2 }}
{{- end -}}

{{/* What people may reach from outside, as JSON: the page at / alone, and all below these. Figures (/metrics) and probes
     are for the cluster. tests/helm holds this list against the gateway's routes. */}}
{{- define "hone.publicPaths" -}}
{{- $paths := list (dict "type" "Exact" "path" "/") -}}
{{- range list "/admin" "/console" "/docs" "/feedback" "/label" "/openapi.json" "/playground" "/policy" "/redoc" "/v1" -}}
{{- $paths = append $paths (dict "type" "Prefix" "path" .) -}}
{{- end -}}
{{- $paths | toJson -}}
{{- end -}}

{{/* An image: a digest goes before a tag. Takes (dict "root" $ "image" .Values.gateway.image). */}}
{{- define "hone.image" -}}
{{- $registry := .image.registry | default .root.Values.image.registry -}}
{{- $repository := ternary .image.repository (printf "%s/%s" $registry .image.repository) (empty $registry) -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (.image.tag | default .root.Values.image.tag | default .root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}
