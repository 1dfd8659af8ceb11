{{/* The bundled Redis writes every command to the disk before it answers: what hone acknowledges is there.
     Commands, no RDB preamble, so that Redis and Valkey can take over each other's file. */}}
{{- define "hone.redisConf" -}}
bind * -::*
port 6379
dir /data
save ""
appendonly yes
appendfsync always
aof-use-rdb-preamble no
maxmemory {{ .Values.redis.bundled.maxMemory }}
maxmemory-policy noeviction
{{- end -}}
