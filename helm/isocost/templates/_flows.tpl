{{/* Pieces of network policies. */}}

{{- define "isocost.flow.dns" -}}
- to:
    {{- toYaml .dns | nindent 4 }}
  ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
{{- end -}}

{{/* The way to the ledger's PostgreSQL, where there is one. */}}
{{- define "isocost.flow.database" -}}
{{- if include "isocost.database" . -}}
- ports:
    - port: {{ .Values.database.port }}
  {{- with .Values.networkPolicy.database }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
{{- end -}}

{{/* Who may come in at one port of a component; takes {root, name, component, port, from}. */}}
{{- define "isocost.policy.in" -}}
{{- $root := .root -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "isocost.metadata" (dict "root" .root "name" (printf "%s-%s" (include "isocost.fullname" .root) .name) "component" "network") | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "isocost.selector" . | nindent 6 }}
  policyTypes: [Ingress]
  ingress:
    - from:
        {{- range .from }}
        - podSelector:
            matchLabels:
              {{- include "isocost.selector" (dict "root" $root "component" .) | nindent 14 }}
        {{- end }}
      ports:
        - port: {{ .port }}
{{- end -}}
