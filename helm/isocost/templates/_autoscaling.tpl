{{/*
HPA or KEDA, for routers and for groups; `isocost.faults` has refused both at once.

What KEDA asks Prometheus, for a group:
  in flight   calls at its backends, over all routers: shared out among its pods
  queue       calls that wait inside a pod (each router sees the same ones): kept at the figure
  spill       USD an hour that its routes cost at paid backends: kept at the figure, so pods are added
              while an hour of spill costs more than what an hour of a pod should
*/}}

{{- define "isocost.scaler" -}}
{{- $scaling := .spec.autoscaling -}}
{{- if $scaling.hpa.enabled }}
---
apiVersion: {{ include "isocost.api.hpa" .root }}
kind: HorizontalPodAutoscaler
metadata:
  {{- include "isocost.metadata" . | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ .name }}
  minReplicas: {{ $scaling.minReplicas }}
  maxReplicas: {{ $scaling.maxReplicas }}
  behavior:
    scaleDown:
      stabilizationWindowSeconds: {{ $scaling.scaleDownSeconds }}
  metrics:
    {{- with $scaling.hpa.cpuPercent }}
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ . }}
    {{- end }}
    {{- with $scaling.hpa.callsPerSecond }}
    - type: Pods
      pods:
        metric:
          name: isocost_calls_per_second
        target:
          type: AverageValue
          averageValue: {{ . | quote }}
    {{- end }}
{{- end }}
{{- if $scaling.keda.enabled }}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  {{- include "isocost.metadata" . | nindent 2 }}
spec:
  scaleTargetRef:
    name: {{ .name }}
  minReplicaCount: {{ $scaling.minReplicas }}
  maxReplicaCount: {{ $scaling.maxReplicas }}
  pollingInterval: {{ $scaling.keda.pollingInterval }}
  cooldownPeriod: {{ $scaling.scaleDownSeconds }}
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleDown:
          stabilizationWindowSeconds: {{ $scaling.scaleDownSeconds }}
  triggers:
    {{- .triggers | trim | nindent 4 }}
    {{- with $scaling.keda.extraTriggers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
{{- end -}}

{{/* One question to Prometheus; takes {keda, kind, query, figure}. */}}
{{- define "isocost.trigger" }}
- type: prometheus
  metricType: {{ .kind }}
  metadata:
    serverAddress: {{ .keda.serverAddress }}
    query: {{ .query | squote }}
    threshold: {{ .figure | quote }}
  {{- with .keda.authenticationRef }}
  authenticationRef:
    name: {{ . }}
  {{- end }}
{{- end -}}

{{- define "isocost.triggers.router" -}}
{{- $keda := .Values.router.autoscaling.keda -}}
{{- $job := printf "namespace=%q,job=\"%s-router\"" .Release.Namespace (include "isocost.fullname" .) -}}
{{- with $keda.inFlight }}
{{- include "isocost.trigger" (dict "keda" $keda "kind" "AverageValue" "figure" . "query" (printf "sum(isocost_in_flight{%s})" $job)) }}
{{- end }}
{{- with $keda.callsPerSecond }}
{{- include "isocost.trigger" (dict "keda" $keda "kind" "AverageValue" "figure" . "query" (printf "sum(rate(isocost_calls_total{%s}[2m]))" $job)) }}
{{- end }}
{{- end -}}

{{- define "isocost.triggers.group" -}}
{{- $keda := .spec.autoscaling.keda -}}
{{- $job := printf "namespace=%q,job=\"%s-router\"" .root.Release.Namespace (include "isocost.fullname" .root) -}}
{{- $mine := printf "%s,backend=~%q" $job (include "isocost.group.backends" .) -}}
{{- with $keda.inFlight }}
{{- include "isocost.trigger" (dict "keda" $keda "kind" "AverageValue" "figure" . "query" (printf "sum(isocost_in_flight{%s})" $mine)) }}
{{- end }}
{{- with $keda.queue }}
{{- include "isocost.trigger" (dict "keda" $keda "kind" "Value" "figure" . "query" (printf "sum(avg by (backend) (isocost_backend_queue{%s}))" $mine)) }}
{{- end }}
{{- with $keda.spillUsdPerHour }}
{{- $spill := printf "%s,route=~%q,backend=~\"(%s)(-sandbox)?\"" $job (include "isocost.group.routes" $) (include "isocost.group.spill" $) }}
{{- include "isocost.trigger" (dict "keda" $keda "kind" "Value" "figure" . "query" (printf "sum(rate(isocost_cost_usd_total{%s}[10m])) * 3600" $spill)) }}
{{- end }}
{{- end -}}
