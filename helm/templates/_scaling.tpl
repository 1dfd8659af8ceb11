{{/* A PodDisruptionBudget: one pod at a time, and one that is broken is no reason to keep a node.
     Takes (dict "root" $ "name" … "part" …). */}}
{{- define "hone.pdb" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "hone.metadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ .part.pdb.maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "hone.selector" . | nindent 6 }}
{{- end -}}

{{/* A HorizontalPodAutoscaler by CPU: both the gateway and moderation are bound by it. Takes the same, "kind". */}}
{{- define "hone.hpa" -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "hone.metadata" . | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: {{ .kind }}
    name: {{ include "hone.partName" . | quote }}
  minReplicas: {{ .part.autoscaling.minReplicas }}
  maxReplicas: {{ .part.autoscaling.maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ .part.autoscaling.cpuPercent }}
  behavior:
    scaleDown:
      # Answers take minutes: whoever goes is drained, and is not needed again in the next moment.
      stabilizationWindowSeconds: 300
{{- end -}}
