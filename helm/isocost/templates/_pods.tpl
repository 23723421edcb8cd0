{{/* What pods share. All of them keep to the restricted Pod Security Standard. */}}

{{- define "isocost.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .Values.podSecurity.user }}
runAsGroup: {{ .Values.podSecurity.user }}
fsGroup: {{ .Values.podSecurity.user }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "isocost.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* The head of a pod's spec; takes {root, hook?}. Hooks run before the service account is there. */}}
{{- define "isocost.pod" -}}
serviceAccountName: {{ ternary "default" (include "isocost.serviceAccount" .root) (default false .hook) }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  {{- include "isocost.podSecurity" .root | nindent 2 }}
{{- end -}}

{{/* Where pods may run; takes {root, spec, component, group?}. */}}
{{- define "isocost.placement" -}}
{{- with .spec.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .spec.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .spec.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .spec.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $places := dict "kubernetes.io/hostname" .spec.spreadHosts "topology.kubernetes.io/zone" .spec.spreadZones -}}
{{- $when := dict "soft" "ScheduleAnyway" "hard" "DoNotSchedule" -}}
{{- $all := . -}}
{{- if not (and (eq .spec.spreadHosts "none") (eq .spec.spreadZones "none")) }}
topologySpreadConstraints:
  {{- range $key, $how := $places }}
  {{- if ne $how "none" }}
  - topologyKey: {{ $key }}
    maxSkew: 1
    whenUnsatisfiable: {{ get $when $how }}
    labelSelector:
      matchLabels:
        {{- include "isocost.selector" $all | nindent 8 }}
  {{- end }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Requests and limits, all as text: a server-side apply to an old Kubernetes takes no numbers. */}}
{{- define "isocost.resources" -}}
{{- range $kind, $amounts := . }}
{{ $kind }}:
  {{- range $what, $amount := $amounts }}
  {{ $what }}: {{ $amount | toString | quote }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* An HTTP probe; takes {path, port, every, times, timeout}. */}}
{{- define "isocost.probe" -}}
httpGet:
  path: {{ .path }}
  port: {{ .port }}
periodSeconds: {{ .every }}
failureThreshold: {{ .times }}
timeoutSeconds: {{ .timeout }}
{{- end -}}

{{/* Environment of whatever reads the configuration; takes {root, check?}. */}}
{{- define "isocost.env" -}}
{{- $values := .root.Values -}}
- name: HOME
  value: /tmp
{{- if $values.devKey.enabled }}
- name: ISOCOST_DEV_KEY
  {{- if .check }}
  value: only looked for by the check
  {{- else }}
  valueFrom:
    secretKeyRef:
      name: {{ include "isocost.fullname" .root }}-dev-key
      key: key
  {{- end }}
{{- end }}
{{- if $values.router.admin.enabled }}
{{- include "isocost.env.secret" (list "ISOCOST_ADMIN_KEY" $values.router.admin.existingSecret $values.router.admin.key) }}
{{- end }}
{{- if $values.database.existingSecret }}
{{- include "isocost.env.secret" (list "ISOCOST_LEDGER_URL" $values.database.existingSecret $values.database.key) }}
{{- else if $values.database.dev.enabled }}
- name: ISOCOST_LEDGER_URL
  value: postgresql://isocost@{{ include "isocost.fullname" .root }}-dev-postgres:5432/isocost
{{- end }}
{{- if $values.redis.existingSecret }}
{{- include "isocost.env.secret" (list "ISOCOST_REDIS_URL" $values.redis.existingSecret $values.redis.key) }}
{{- else if $values.redis.dev.enabled }}
- name: ISOCOST_REDIS_URL
  value: redis://{{ include "isocost.fullname" .root }}-dev-redis:6379/0
{{- end }}
{{- range $name, $from := $values.secrets.env }}
{{- include "isocost.env.secret" (list $name $from.secret $from.key) }}
{{- end }}
{{- with $values.router.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* One variable from one entry of a Secret: (name, secret, key). */}}
{{- define "isocost.env.secret" }}
- name: {{ index . 0 }}
  valueFrom:
    secretKeyRef:
      name: {{ index . 1 }}
      key: {{ index . 2 }}
{{- end -}}

{{/* Whole Secrets as variables; takes {root, check?}. */}}
{{- define "isocost.envFrom" -}}
{{- if or .root.Values.secrets.envFrom .root.Values.externalSecrets.enabled -}}
envFrom:
  {{- range .root.Values.secrets.envFrom }}
  - secretRef:
      name: {{ . }}
  {{- end }}
  {{- if .root.Values.externalSecrets.enabled }}
  - secretRef:
      name: {{ include "isocost.fullname" .root }}-external{{ ternary "-check" "" (default false .check) }}
  {{- end }}
{{- end -}}
{{- end -}}

{{/* Where the configuration and secret files are mounted; takes {root, check?}. */}}
{{- define "isocost.mounts" -}}
- name: config
  mountPath: /etc/isocost
  readOnly: true
{{- if .root.Values.secrets.files }}
- name: secrets
  mountPath: /etc/isocost-secrets
  readOnly: true
{{- end }}
- name: tmp
  mountPath: /tmp
- name: state
  mountPath: /var/lib/isocost
{{- end -}}

{{/* The volumes of these mounts but `state`; takes {root, check?}. */}}
{{- define "isocost.volumes" -}}
- name: config
  configMap:
    name: {{ include "isocost.fullname" .root }}-{{ ternary "check" "config" (default false .check) }}
- name: tmp
  emptyDir:
    sizeLimit: 1Gi
{{- with .root.Values.secrets.files }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- range $file, $from := . }}
      - secret:
          name: {{ $from.secret }}
          items:
            - key: {{ $from.key }}
              path: {{ $file }}
      {{- end }}
{{- end }}
{{- end -}}

{{/* A Secret's entry that is made once and kept at upgrades: (root, secret, key). */}}
{{- define "isocost.kept" -}}
{{- $root := index . 0 -}}
{{- $found := lookup "v1" "Secret" $root.Release.Namespace (index . 1) | default dict -}}
{{- $old := get (default dict $found.data) (index . 2) -}}
{{- if $old -}}{{ $old }}{{- else -}}{{ randAlphaNum 43 | b64enc }}{{- end -}}
{{- end -}}
