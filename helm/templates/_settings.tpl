{{/* Settings: which environment variables each part gets. A part restarts when its own change, and only then. */}}

{{/* The folder of the base model, on the artifacts volume. */}}
{{- define "hone.baseModel" -}}
{{- if .Values.model.path -}}
{{- printf "/data/%s" (.Values.model.path | trimPrefix "/data/" | trimPrefix "/") -}}
{{- else -}}
{{- printf "/data/models/%s" (.Values.model.hub | default "smollm2-135m-instruct" | replace "/" "--") -}}
{{- end -}}
{{- end -}}

{{/* How many engines there can be: gateways are told of all of them, those that are not there are skipped. */}}
{{- define "hone.maxEngines" -}}
{{- ternary .Values.engine.keda.maxReplicas .Values.engine.replicas .Values.engine.keda.enabled -}}
{{- end -}}

{{/* Addresses of a StatefulSet's pods, one by one, as JSON. Takes (dict "root" $ "name" "engine" "count" 2). */}}
{{- define "hone.podURLs" -}}
{{- $urls := list -}}
{{- $service := include "hone.partName" . -}}
{{- range $i := until (int .count) -}}
{{- $urls = append $urls (printf "http://%s-%d.%s:8100" $service $i $service) -}}
{{- end -}}
{{- $urls | toJson -}}
{{- end -}}

{{- define "hone.engineURLs" -}}
{{- include "hone.podURLs" (dict "root" . "name" "engine" "count" (include "hone.maxEngines" .)) -}}
{{- end -}}

{{/* What the chart itself decides: HONE_SERVING_…, for gateways and workers. */}}
{{- define "hone.settings.serving" -}}
HONE_SERVING_DATA_DIR: /data
HONE_SERVING_BASE_MODEL: {{ include "hone.baseModel" . | quote }}
HONE_SERVING_HOST: {{ .Values.listenAddress | quote }}
HONE_SERVING_PORT: "8000"
HONE_SERVING_ENGINE_URLS: {{ include "hone.engineURLs" . | quote }}
HONE_SERVING_MODERATION_URL: {{ include "hone.moderationURL" . | quote }}
HONE_SERVING_REQUEST_TIMEOUT_S: {{ .Values.timeouts.answerSeconds | quote }}
HONE_SERVING_DRAIN_S: {{ .Values.timeouts.fullWeightsDrainSeconds | quote }}
HONE_SERVING_SHUTDOWN_S: {{ .Values.timeouts.answerSeconds | quote }}
{{- end -}}

{{- define "hone.moderationURL" -}}
{{- if .Values.moderation.enabled -}}
http://{{ include "hone.partName" (dict "root" . "name" "moderation") }}:8200
{{- else -}}
{{ .Values.moderation.externalURL }}
{{- end -}}
{{- end -}}

{{- define "hone.settings.archive" -}}
HONE_FEEDBACK_ARCHIVE_URL: {{ .Values.archive.url | quote }}
{{- end -}}

{{/* The settings of a part: the chart's, then the operator's that this part reads.
     Takes (dict "root" $ "name" "gateway"). */}}
{{- define "hone.settings" -}}
{{- $root := .root -}}
{{- $own := dict -}}
{{- $reads := list -}}
{{- if eq .name "gateway" -}}
  {{- $own = merge (include "hone.settings.serving" $root | fromYaml) (include "hone.settings.archive" $root | fromYaml) -}}
  {{- $_ := set $own "HONE_FEEDBACK_OUTBOX_PATH" "/outbox/outbox.sqlite" -}}
  {{- $reads = list "HONE_SERVING_" "HONE_FEEDBACK_" "HONE_MODERATION_" -}}
{{- else if eq .name "moderation" -}}
  {{- $own = dict "HONE_MODERATION_HOST" $root.Values.listenAddress "HONE_MODERATION_PORT" "8200" "HONE_MODERATION_BACKEND" $root.Values.moderation.backend.kind -}}
  {{- with $root.Values.moderation.backend.url }}{{ $_ := set $own "HONE_MODERATION_BACKEND_URL" . }}{{ end -}}
  {{- with $root.Values.moderation.backend.model }}{{ $_ := set $own "HONE_MODERATION_MODEL" . }}{{ end -}}
  {{- $reads = list "HONE_MODERATION_" -}}
{{- else if has .name (list "engine" "rollout") -}}
  {{- $own = include "hone.settings.engine" $root | fromYaml -}}
  {{- if eq .name "rollout" -}}{{- $_ := set $own "HONE_SERVING_WEIGHT_TRANSFER" $root.Values.rolloutEngine.weightTransfer -}}{{- end -}}
  {{- $reads = include "hone.engineReads" $root | fromYamlArray -}}
{{- else if eq .name "beat" -}}
  {{- $reads = list -}}
{{- else -}}
  {{- $own = merge (include "hone.settings.serving" $root | fromYaml) (include "hone.settings.archive" $root | fromYaml) (include "hone.settings.training" $root | fromYaml) -}}
  {{- $reads = list "HONE_SERVING_" "HONE_FEEDBACK_" "HONE_MODERATION_" "HONE_TRAINING_" -}}
{{- end -}}
{{- range $name, $value := $root.Values.settings -}}
  {{- range $prefix := $reads -}}
    {{- if hasPrefix $prefix $name -}}{{- $_ := set $own $name (include "hone.settingText" $value) -}}{{- end -}}
  {{- end -}}
{{- end -}}
{{- toYaml $own -}}
{{- end -}}

{{- define "hone.settings.training" -}}
HONE_TRAINING_RECIPE: {{ .Values.training.recipe | quote }}
HONE_TRAINING_NUM_PROCESSES: {{ max 1 (int .Values.worker.train.gpus) | quote }}
HONE_MODERATION_BACKEND: {{ .Values.moderation.backend.kind | quote }}
{{- if .Values.rolloutEngine.enabled }}
HONE_TRAINING_ROLLOUT_ENGINE_URLS: {{ include "hone.podURLs" (dict "root" . "name" "rollout" "count" .Values.rolloutEngine.replicas) | quote }}
HONE_SERVING_WEIGHT_TRANSFER: {{ .Values.rolloutEngine.weightTransfer | quote }}
{{- end }}
{{- end -}}

{{- define "hone.settings.engine" -}}
HONE_SERVING_DATA_DIR: /data
HONE_SERVING_BASE_MODEL: {{ include "hone.baseModel" . | quote }}
HONE_SERVING_ENGINE_HOST: {{ .Values.listenAddress | quote }}
HONE_SERVING_ENGINE_PORT: "8100"
HONE_SERVING_DRAIN_S: {{ .Values.timeouts.fullWeightsDrainSeconds | quote }}
HONE_SERVING_REQUEST_TIMEOUT_S: {{ .Values.timeouts.answerSeconds | quote }}
{{- end -}}

{{/* The settings that an engine reads (tests/helm holds this list against serving/in_vllm). */}}
{{- define "hone.engineReads" -}}
- HONE_SERVING_GPU_MEMORY_FRACTION
- HONE_SERVING_KV_CACHE_GIB
- HONE_SERVING_LORA_TARGET_MODULES
- HONE_SERVING_MAX_LORAS
- HONE_SERVING_MAX_LORA_RANK
- HONE_SERVING_MAX_MODEL_LEN
- HONE_SERVING_MAX_NUM_SEQS
{{- end -}}

{{/* Settings that follow from values of the chart, and which value to set instead. */}}
{{- define "hone.ownedSettings" -}}
HONE_SERVING_DATA_DIR: it is where the artifacts volume is mounted
HONE_SERVING_BASE_MODEL: set model.hub or model.path
HONE_SERVING_HOST: set listenAddress
HONE_SERVING_PORT: set gateway.service.port
HONE_SERVING_ENGINE_HOST: set listenAddress
HONE_SERVING_ENGINE_PORT: it is 8100 in every engine's pod
HONE_SERVING_ENGINE_URLS: set engine.replicas or engine.keda
HONE_SERVING_ENGINE_TOKEN: set engineToken.existingSecret
HONE_SERVING_MODERATION_URL: set moderation.externalURL
HONE_SERVING_REQUEST_TIMEOUT_S: set timeouts.answerSeconds
HONE_SERVING_DRAIN_S: set timeouts.fullWeightsDrainSeconds
HONE_SERVING_SHUTDOWN_S: set timeouts.answerSeconds
HONE_SERVING_WEIGHT_TRANSFER: set rolloutEngine.weightTransfer
HONE_FEEDBACK_REDIS_URL: set redis.existingSecret
HONE_FEEDBACK_OUTBOX_PATH: set gateway.outbox
HONE_FEEDBACK_ARCHIVE_URL: set archive.url
HONE_MODERATION_HOST: set listenAddress
HONE_MODERATION_PORT: it is 8200 in every pod of moderation
HONE_MODERATION_REDIS_URL: set redis.existingSecret
HONE_MODERATION_BACKEND: set moderation.backend.kind
HONE_MODERATION_BACKEND_URL: set moderation.backend.url
HONE_MODERATION_BACKEND_KEY: set moderation.backend.existingSecret
HONE_MODERATION_MODEL: set moderation.backend.model
HONE_TRAINING_RECIPE: set training.recipe
HONE_TRAINING_NUM_PROCESSES: set worker.train.gpus
HONE_TRAINING_ROLLOUT_ENGINE_URLS: set rolloutEngine.replicas
{{- end -}}

{{/* A setting as the environment has it: lists and dictionaries as JSON, numbers never as 1e+06. */}}
{{- define "hone.settingText" -}}
{{- if or (kindIs "slice" .) (kindIs "map" .) -}}
{{- toJson . -}}
{{- else if and (kindIs "float64" .) (eq . (floor .)) -}}
{{- printf "%.0f" . -}}
{{- else -}}
{{- toString . -}}
{{- end -}}
{{- end -}}
