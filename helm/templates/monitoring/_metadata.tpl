{{/* metadata: of an object, with further labels ("labels"); the chart's own go before. Takes also what hone.metadata does. */}}
{{- define "hone.monitoring.metadata" -}}
name: "{{ include "hone.partName" . }}{{ with .suffix }}-{{ . }}{{ end }}"
namespace: {{ .root.Release.Namespace | quote }}
labels:
  {{- merge (include "hone.labels" . | fromYaml) .labels | toYaml | nindent 2 }}
{{- end -}}
