{{/* What `helm test` calls, as route:task by commas: those named, else the first route of each task that it knows. */}}
{{- define "isocost.calls" -}}
{{- $routes := (include "isocost.given" . | fromYaml).routes | default dict -}}
{{- $found := list -}}
{{- if .Values.tests.routes -}}
{{- range .Values.tests.routes -}}
{{- $found = append $found (printf "%s:%s" . (get (get $routes . | default dict) "task")) -}}
{{- end -}}
{{- else -}}
{{- range $task := list "chat" "embed" "complete" "classify" -}}
{{- $first := "" -}}
{{- range $name, $route := $routes -}}
{{- if and (not $first) (eq $route.task $task) -}}{{- $first = $name -}}{{- end -}}
{{- end -}}
{{- if $first -}}{{- $found = append $found (printf "%s:%s" $first $task) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- join "," $found -}}
{{- end -}}

{{/* Address of the routers' Service, from within. */}}
{{- define "isocost.url" -}}
http://{{ include "isocost.fullname" . }}-router:{{ .Values.router.service.port }}
{{- end -}}

{{/* A caller's key as ISOCOST_KEY; takes {root, from}, where `from` has existingSecret and key. */}}
{{- define "isocost.caller" -}}
{{- $made := printf "%s-dev-key" (include "isocost.fullname" .root) -}}
{{- include "isocost.env.secret" (list "ISOCOST_KEY" (default $made .from.existingSecret) (ternary .from.key "key" (ne .from.existingSecret ""))) | trim }}
{{- end -}}
