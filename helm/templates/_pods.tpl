{{/* What all pods have in common. A part's values ("part") are laid out alike: see values.yaml. */}}

{{/* The secrets a part reads, as environment variables. Takes (dict "root" $ "name" "gateway"). */}}
{{- define "hone.secretEnv" -}}
{{- $values := .root.Values -}}
{{- $own := include "hone.fullname" .root -}}
{{- if ne .name "beat" }}
{{- if ne .name "moderation" }}
- name: HONE_SERVING_ENGINE_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ $values.engineToken.existingSecret | default $own | quote }}
      key: {{ ternary $values.engineToken.existingSecretKey "engine-token" (not (empty $values.engineToken.existingSecret)) | quote }}
{{- end }}
{{- end }}
{{- if not (has .name (list "engine" "rollout" "model")) }}
{{ include "hone.redisEnv" . }}
{{- end }}
{{- if and (eq .name "moderation") $values.moderation.backend.existingSecret }}
- name: HONE_MODERATION_BACKEND_KEY
  valueFrom:
    secretKeyRef:
      name: {{ $values.moderation.backend.existingSecret | quote }}
      key: {{ $values.moderation.backend.existingSecretKey | quote }}
{{- end }}
{{- if and (has .name (list "gateway" "control" "train" "distributed")) $values.archive.existingSecret }}
{{- range $variable := list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ $variable | quote }}
  valueFrom:
    secretKeyRef:
      name: {{ $values.archive.existingSecret | quote }}
      key: {{ $variable | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Redis' address. A CA or a client certificate is put behind the secret URL, which has no query of its own. */}}
{{- define "hone.redisEnv" -}}
{{- $redis := .root.Values.redis -}}
{{- $target := ternary "HONE_MODERATION_REDIS_URL" "HONE_FEEDBACK_REDIS_URL" (eq .name "moderation") -}}
{{- $query := list -}}
{{- if $redis.tls.caSecret -}}{{- $query = append $query "ssl_ca_certs=/etc/hone/redis-ca/ca.crt" -}}{{- end -}}
{{- if $redis.tls.clientSecret -}}
{{- $query = append $query "ssl_certfile=/etc/hone/redis-client/tls.crt" -}}
{{- $query = append $query "ssl_keyfile=/etc/hone/redis-client/tls.key" -}}
{{- end -}}
- name: {{ ternary $target "REDIS_ADDRESS" (empty $query) | quote }}
  valueFrom:
    secretKeyRef:
      name: {{ $redis.existingSecret | default (include "hone.fullname" .root) | quote }}
      key: {{ ternary "redis-url" $redis.existingSecretKey (empty $redis.existingSecret) | quote }}
{{- if $query }}
- name: {{ $target | quote }}
  value: "$(REDIS_ADDRESS)?{{ join "&" $query }}"
{{- end }}
{{- end -}}

{{/* env: and envFrom: of a part's container. Takes (dict "root" $ "name" … "part" …), and "home", a folder it may write. */}}
{{- define "hone.env" -}}
envFrom:
  - configMapRef:
      name: {{ include "hone.partName" . | quote }}
  {{- with .part.extraEnvFrom }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
env:
  # The user of the image need not be known by name; several libraries ask for one.
  - name: USER
    value: hone
  - name: HOME
    value: {{ .home | default "/tmp" }}
  {{- if and (eq .name "gateway") (or .root.Values.ingress.enabled .root.Values.httpRoute.enabled) }}
  # What ends TLS says so (X-Forwarded-Proto), and cookies are Secure.
  - name: FORWARDED_ALLOW_IPS
    value: "*"
  {{- end }}
  {{- include "hone.secretEnv" . | trim | nindent 2 }}
  {{- with .part.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* securityContext: of a container: nothing but its own files. */}}
{{- define "hone.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  capabilities:
    drop: [ALL]
  privileged: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{/* The image and its policy, as two lines of a container. Takes (dict "root" $ "image" …). */}}
{{- define "hone.containerImage" -}}
image: {{ include "hone.image" . | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
{{- end -}}

{{/* metadata: of a pod template. What it restarts for is in the annotations. Takes (dict "root" $ "name" … "part" …). */}}
{{- define "hone.podMetadata" -}}
labels:
  {{- include "hone.labels" . | nindent 2 }}
  {{- with .part.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  checksum/settings: {{ include "hone.settings" . | sha256sum | quote }}
  checksum/secrets: {{ include "hone.givenSecrets" .root | sha256sum | quote }}
  {{- with .part.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* The fields of a pod's spec that come before its containers. Takes (dict "root" $ "name" … "part" …). */}}
{{- define "hone.podSpec" -}}
serviceAccountName: {{ include "hone.serviceAccountName" . | quote }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  {{- with .root.Values.security.user }}
  runAsUser: {{ . }}
  {{- end }}
  {{- with .root.Values.security.group }}
  runAsGroup: {{ . }}
  fsGroup: {{ . }}
  fsGroupChangePolicy: OnRootMismatch
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- range $field := list "nodeSelector" "tolerations" "affinity" }}
{{- with (index $.part $field) }}
{{ $field }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- with .part.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .part.runtimeClassName }}
runtimeClassName: {{ . | quote }}
{{- end }}
{{- if .part.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range .part.topologySpreadConstraints }}
  - {{- merge (dict "labelSelector" (dict "matchLabels" (include "hone.selector" $ | fromYaml))) . | toYaml | nindent 4 }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "hone.serviceAccountName" -}}
{{- if .root.Values.serviceAccounts.create -}}
{{- include "hone.partName" . -}}
{{- else -}}
{{- .root.Values.serviceAccounts.existingName | default "default" -}}
{{- end -}}
{{- end -}}

{{/* volumeMounts: of a part. Takes (dict "root" $ "name" … "part" …), "data": "", "read" or "write", "more": a list. */}}
{{- define "hone.mounts" -}}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  {{- if .data }}
  - name: data
    mountPath: /data
    {{- if eq .data "read" }}
    readOnly: true
    {{- end }}
  {{- end }}
  {{- if not (has .name (list "engine" "rollout" "model")) }}
  {{- with .root.Values.redis.tls.caSecret }}
  - name: redis-ca
    mountPath: /etc/hone/redis-ca
    readOnly: true
  {{- end }}
  {{- with .root.Values.redis.tls.clientSecret }}
  - name: redis-client
    mountPath: /etc/hone/redis-client
    readOnly: true
  {{- end }}
  {{- end }}
  {{- with .more }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with .part.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* volumes: of a part. Takes the same, "more": volumes of its own. */}}
{{- define "hone.volumes" -}}
volumes:
  - name: tmp
    emptyDir:
      sizeLimit: {{ .part.tmpSize | default "1Gi" | quote }}
  {{- if .data }}
  - name: data
    persistentVolumeClaim:
      claimName: {{ .root.Values.artifacts.existingClaim | default (include "hone.partName" (dict "root" .root "name" "artifacts")) | quote }}
  {{- end }}
  {{- if not (has .name (list "engine" "rollout" "model")) }}
  {{- with .root.Values.redis.tls.caSecret }}
  - name: redis-ca
    secret:
      secretName: {{ . | quote }}
      items:
        - key: {{ $.root.Values.redis.tls.caSecretKey | quote }}
          path: ca.crt
  {{- end }}
  {{- with .root.Values.redis.tls.clientSecret }}
  - name: redis-client
    secret:
      secretName: {{ . | quote }}
      defaultMode: 0440
  {{- end }}
  {{- end }}
  {{- with .more }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with .part.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Secrets that stand in the values; those that the chart makes never change by themselves. */}}
{{- define "hone.givenSecrets" -}}
{{- toJson (list .Values.engineToken .Values.redis.url .Values.redis.existingSecret .Values.redis.bundled.password) -}}
{{- end -}}

{{/* resources: of a part; "gpus" become limits of NVIDIA's. Takes (dict "part" …). */}}
{{- define "hone.resources" -}}
{{- $resources := deepCopy .part.resources -}}
{{- if gt (int .part.gpus) 0 -}}
{{- $limits := $resources.limits | default dict -}}
{{- $_ := set $limits .part.gpuResource (toString .part.gpus) -}}
{{- $_ := set $resources "limits" $limits -}}
{{- end -}}
resources:
  {{- toYaml $resources | nindent 2 }}
{{- end -}}

{{/* Containers of the operator's, beside ours, with the same bounds. Takes a list. */}}
{{- define "hone.extraContainers" -}}
{{- range . }}
- {{ toYaml . | nindent 2 | trim }}
  {{- include "hone.containerSecurity" $ | nindent 2 }}
{{- end }}
{{- end -}}
