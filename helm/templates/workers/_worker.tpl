{{/* A Deployment of Celery's: control worker, train worker, beat. They listen on no port, and a worker that is in
     the middle of a task answers no `celery inspect ping`: one lives as long as its process does, so no probes.
     Takes (dict "root" $ "name" "control" "part" … "args" (list …) "data" "write" "strategy" "Recreate"), "scaled". */}}
{{- define "hone.worker" -}}
{{- $part := .part }}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "hone.metadata" . | nindent 2 }}
spec:
  {{- if not .scaled }}
  replicas: {{ $part.replicas }}
  {{- end }}
  strategy:
    type: {{ .strategy }}
  selector:
    matchLabels:
      {{- include "hone.selector" . | nindent 6 }}
  template:
    metadata:
      {{- include "hone.podMetadata" . | nindent 6 }}
    spec:
      {{- include "hone.podSpec" . | nindent 6 }}
      terminationGracePeriodSeconds: {{ $part.graceSeconds }}
      containers:
        - name: {{ .name | quote }}
          {{- include "hone.containerImage" (dict "root" .root "image" .root.Values.worker.image) | nindent 10 }}
          command: [hone]
          args:
            {{- toYaml .args | nindent 12 }}
          {{- include "hone.env" . | nindent 10 }}
          {{- include "hone.resources" . | nindent 10 }}
          {{- include "hone.containerSecurity" . | nindent 10 }}
          {{- include "hone.mounts" . | nindent 10 }}
        {{- with $part.extraContainers }}
        {{- include "hone.extraContainers" . | trim | nindent 8 }}
        {{- end }}
      {{- include "hone.volumes" (merge (dict "more" .volumes) .) | nindent 6 }}
{{- end -}}
