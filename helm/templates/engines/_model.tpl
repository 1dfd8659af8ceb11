{{/* The pod of the job that fetches the base model, or unpacks it. */}}
{{- define "hone.model.pod" -}}
{{- $part := .Values.model }}
{{- $about := dict "root" . "name" "model" "part" $part "data" "write" }}
metadata:
  labels:
    {{- include "hone.labels" $about | nindent 4 }}
    {{- with $part.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $part.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- include "hone.podSpec" $about | nindent 2 }}
  restartPolicy: OnFailure
  containers:
    - name: model
      {{- include "hone.containerImage" (dict "root" . "image" .Values.engine.image) | nindent 6 }}
      command: [hone]
      args:
        - model
        - prepare
        {{- with $part.hub }}
        - {{ . }}
        {{- end }}
      env:
        - {name: USER, value: hone}
        - {name: HOME, value: /tmp}
        - {name: HONE_SERVING_DATA_DIR, value: /data}
        # Each byte is fetched once; the hub's client may keep up to 10 GB of them, in /tmp.
        - {name: HF_XET_CHUNK_CACHE_SIZE_BYTES, value: "0"}
        {{- with $part.existingSecret }}
        - name: HF_TOKEN
          valueFrom:
            secretKeyRef:
              name: {{ . | quote }}
              key: {{ $part.existingSecretKey | quote }}
        {{- end }}
        {{- with $part.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- include "hone.resources" $about | nindent 6 }}
      {{- include "hone.containerSecurity" . | nindent 6 }}
      {{- include "hone.mounts" $about | nindent 6 }}
  {{- include "hone.volumes" $about | nindent 2 }}
{{- end -}}
