{{/* Pods of one part of this release. Takes (dict "root" $ "name" "engine"). */}}
{{- define "hone.network.pods" -}}
- podSelector:
    matchLabels:
      {{- include "hone.selector" . | nindent 6 }}
{{- end -}}

{{/* ingress: whoever has this part among those it talks to; the world, to gateways; Prometheus. */}}
{{- define "hone.network.ingress" -}}
{{- $rules := list -}}
{{- $port := index .ports .name -}}
{{- $peers := list -}}
{{- range $other, $to := .talks -}}
{{- if has $.name $to -}}
{{- $peers = concat $peers (include "hone.network.pods" (dict "root" $.root "name" $other) | fromYamlArray) -}}
{{- end -}}
{{- end -}}
{{- $open := and $port (list (dict "protocol" "TCP" "port" $port)) -}}
{{- if eq .name "gateway" -}}
  {{- if .root.Values.networkPolicy.gatewayFrom -}}
  {{- $rules = append $rules (dict "from" (concat .root.Values.networkPolicy.gatewayFrom $peers) "ports" $open) -}}
  {{- else -}}
  {{- $rules = append $rules (dict "ports" $open) -}}
  {{- end -}}
{{- else if and $peers $open -}}
  {{- $rules = append $rules (dict "from" $peers "ports" $open) -}}
{{- else if $peers -}}
  {{- /* NCCL and gloo choose their ports themselves. */ -}}
  {{- $rules = append $rules (dict "from" $peers) -}}
{{- end -}}
{{- if and .root.Values.networkPolicy.metricsFrom $open (ne .name "redis") -}}
{{- $rules = append $rules (dict "from" .root.Values.networkPolicy.metricsFrom "ports" $open) -}}
{{- end -}}
ingress:
  {{- toYaml $rules | nindent 2 }}
{{- end -}}

{{/* egress: DNS, the parts it talks to, Redis elsewhere, and the world without the networks inside. */}}
{{- define "hone.network.egress" -}}
{{- $rules := include "hone.network.egressRules" . | trim -}}
egress: {{ if not $rules }}[]{{ end }}
  {{- with $rules }}
  {{- . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "hone.network.egressRules" -}}
{{- $policy := .root.Values.networkPolicy -}}
{{- if .to }}
- to:
    {{- toYaml $policy.dnsTo | nindent 4 }}
  ports:
    {{- range $policy.dnsPorts }}
    - {protocol: UDP, port: {{ . }}}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
{{- end }}
{{- range $other := .to }}
{{- if eq $other "world" }}
{{- $inside := dict "0.0.0.0/0" list "::/0" list }}
{{- range $policy.privateNetworks }}
{{- $world := ternary "::/0" "0.0.0.0/0" (contains ":" .) }}
{{- $_ := set $inside $world (append (index $inside $world) .) }}
{{- end }}
- to:
    {{- range $world, $except := $inside }}
    - ipBlock:
        cidr: {{ $world | quote }}
        except:
          {{- toYaml $except | nindent 10 }}
    {{- end }}
  ports:
    - {protocol: TCP, port: 443}
{{- else if and (eq $other "redis") (not $.root.Values.redis.bundled.enabled) }}
- ports:
    - {protocol: TCP, port: {{ $policy.redisPort }}}
  {{- with $policy.redisTo }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- else }}
- to:
    {{- include "hone.network.pods" (dict "root" $.root "name" $other) | nindent 4 }}
  {{- with (index $.ports $other) }}
  ports:
    - {protocol: TCP, port: {{ . }}}
  {{- end }}
{{- end }}
{{- end }}
{{- with (index $policy.extraEgress .name) }}
{{ toYaml . }}
{{- end }}
{{- end -}}
