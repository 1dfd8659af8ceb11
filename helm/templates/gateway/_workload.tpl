{{/* The gateway's pod, the same in a Deployment and in a StatefulSet. */}}
{{- define "hone.gateway.pod" -}}
{{- $part := .Values.gateway }}
{{- $about := dict "root" . "name" "gateway" "part" $part "data" "read" }}
metadata:
  {{- include "hone.podMetadata" $about | nindent 2 }}
spec:
  {{- include "hone.podSpec" $about | nindent 2 }}
  # Out of the Service, then every answer to its end, then a little for the log.
  terminationGracePeriodSeconds: {{ add $part.preStopSeconds .Values.timeouts.answerSeconds 15 }}
  containers:
    - name: gateway
      {{- include "hone.containerImage" (dict "root" . "image" $part.image) | nindent 6 }}
      command: [hone]
      args: [gateway]
      {{- include "hone.env" $about | nindent 6 }}
      ports:
        - name: http
          containerPort: 8000
      # A new one is not there before it could answer once; it may wait for engines that load for long.
      # Afterwards an engine or a moderation server that is away takes no gateway out of the Service:
      # feedback, the log and the console go on, and who asks for an answer is told why.
      startupProbe:
        httpGet: {path: /readyz, port: http}
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: {{ div $part.startupSeconds 5 }}
      readinessProbe:
        httpGet: {path: /healthz, port: http}
        periodSeconds: 5
        timeoutSeconds: 5
      livenessProbe:
        httpGet: {path: /healthz, port: http}
        periodSeconds: 10
        timeoutSeconds: 10
        failureThreshold: 6
      lifecycle:
        preStop:
          exec:
            # Load balancers learn that it goes; meanwhile it answers, and closes connections behind its answers.
            command: [sh, -c, 'kill -USR1 1 && sleep {{ $part.preStopSeconds }}']
      {{- include "hone.resources" $about | nindent 6 }}
      {{- include "hone.containerSecurity" . | nindent 6 }}
      {{- include "hone.mounts" (merge (dict "more" (list (dict "name" "outbox" "mountPath" "/outbox"))) $about) | nindent 6 }}
    {{- with $part.extraContainers }}
    {{- include "hone.extraContainers" . | trim | nindent 4 }}
    {{- end }}
  {{- $outbox := list (dict "name" "outbox" "emptyDir" (dict "sizeLimit" $part.outbox.size)) }}
  {{- if $part.outbox.persistent }}{{ $outbox = list }}{{ end }}
  {{- include "hone.volumes" (merge (dict "more" $outbox) $about) | nindent 2 }}
{{- end -}}
