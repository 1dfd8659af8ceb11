{{/* A StatefulSet of engines with its headless Service. Engines for people, and those for training's rollouts.
     Takes (dict "root" $ "name" "engine" "part" .Values.engine "fixed" true), fixed: this many, and nothing scales it. */}}
{{- define "hone.engines" -}}
{{- $about := merge (dict "data" "read" "home" "/cache") . }}
{{- $answer := .root.Values.timeouts.answerSeconds }}
apiVersion: v1
kind: Service
metadata:
  {{- include "hone.metadata" $about | nindent 2 }}
spec:
  clusterIP: None
  # Gateways speak to each engine by its own name, and to one that is not ready as well: it is they who load
  # the version that makes it ready.
  publishNotReadyAddresses: true
  selector:
    {{- include "hone.selector" $about | nindent 4 }}
  ports:
    - name: http
      port: 8100
      targetPort: http
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  {{- include "hone.metadata" $about | nindent 2 }}
spec:
  serviceName: {{ include "hone.partName" $about | quote }}
  {{- if .fixed }}
  replicas: {{ .part.replicas }}
  {{- end }}
  # All start at once; an update still goes one by one, and waits until each has the wanted version.
  podManagementPolicy: Parallel
  updateStrategy:
    type: RollingUpdate
  selector:
    matchLabels:
      {{- include "hone.selector" $about | nindent 6 }}
  template:
    metadata:
      {{- include "hone.podMetadata" $about | nindent 6 }}
    spec:
      {{- include "hone.podSpec" $about | nindent 6 }}
      # The longest answer, the wait before full weights, and a little for vLLM to end.
      terminationGracePeriodSeconds: {{ add $answer .root.Values.timeouts.fullWeightsDrainSeconds 30 }}
      {{- if not .root.Values.model.path }}
      initContainers:
        - name: model
          {{- include "hone.containerImage" (dict "root" .root "image" .part.image) | nindent 10 }}
          # The Job `…-model` puts it there.
          command: [sh, -c, 'until [ -f "$HONE_SERVING_BASE_MODEL/config.json" ]; do echo "waiting for $HONE_SERVING_BASE_MODEL"; sleep 5; done']
          {{- include "hone.env" $about | nindent 10 }}
          resources:
            requests: {cpu: 10m, memory: 32Mi}
            limits: {memory: 64Mi}
          {{- include "hone.containerSecurity" . | nindent 10 }}
          {{- include "hone.mounts" $about | nindent 10 }}
      {{- end }}
      containers:
        - name: engine
          {{- include "hone.containerImage" (dict "root" .root "image" .part.image) | nindent 10 }}
          command: [hone]
          args:
            - engine
            {{- if gt (int .part.gpus) 1 }}
            - --tensor-parallel-size={{ .part.gpus }}
            {{- end }}
            {{- with .part.args }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          {{- include "hone.env" $about | nindent 10 }}
          ports:
            - name: http
              containerPort: 8100
          startupProbe:
            httpGet: {path: /health, port: http}
            periodSeconds: 5
            timeoutSeconds: 5
            failureThreshold: {{ div .part.startupSeconds 5 }}
          # It has what the gateways want to answer with, and is not going.
          readinessProbe:
            httpGet: {path: {{ .readyPath }}, port: http}
            periodSeconds: 5
            timeoutSeconds: 5
          livenessProbe:
            httpGet: {path: /health, port: http}
            periodSeconds: 10
            timeoutSeconds: 10
            failureThreshold: 6
          lifecycle:
            preStop:
              exec:
                # Takes no more requests, has gateways told so, and waits for the answers under way.
                command: [hone, drain, --wait-s, {{ $answer | quote }}]
          {{- include "hone.resources" $about | nindent 10 }}
          {{- include "hone.containerSecurity" . | nindent 10 }}
          {{- $more := list (dict "name" "shm" "mountPath" "/dev/shm") (dict "name" "cache" "mountPath" "/cache") }}
          {{- include "hone.mounts" (merge (dict "more" $more) $about) | nindent 10 }}
        {{- with .part.extraContainers }}
        {{- include "hone.extraContainers" . | trim | nindent 8 }}
        {{- end }}
      {{- $shm := dict "name" "shm" "emptyDir" (dict "medium" "Memory" "sizeLimit" .part.shmSize) }}
      {{- $volumes := list $shm }}
      {{- if not .part.cache.persistent }}
      {{- $volumes = append $volumes (dict "name" "cache" "emptyDir" (dict "sizeLimit" .part.cache.size)) }}
      {{- end }}
      {{- include "hone.volumes" (merge (dict "more" $volumes) $about) | nindent 6 }}
  {{- if .part.cache.persistent }}
  volumeClaimTemplates:
    - metadata:
        name: cache
        labels:
          {{- include "hone.selector" $about | nindent 10 }}
      spec:
        accessModes: [ReadWriteOnce]
        {{- with .part.cache.storageClass }}
        storageClassName: {{ . | quote }}
        {{- end }}
        resources:
          requests:
            storage: {{ .part.cache.size | quote }}
  {{- end }}
{{- end -}}
