{{/* Annotations of what runs before an install or upgrade, and goes when all of it went well; takes its weight. */}}
{{- define "isocost.hook" -}}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
helm.sh/hook-output-log-policy: hook-failed
{{- end -}}

{{/* Whether the schema is migrated by a hook: a database of the release is not there before it. */}}
{{- define "isocost.migrates" -}}
{{- if and .Values.database.migrate (has (include "isocost.database" .) (list "secret" "external")) -}}yes{{- end -}}
{{- end -}}

{{- define "isocost.torchserve.key" -}}
{{- default (printf "%s-torchserve-key" (include "isocost.fullname" .)) .Values.torchserve.existingKeySecret -}}
{{- end -}}

{{/* A Job that runs one command of the router before an install or upgrade; takes {root, name, command, retries, weight}. */}}
{{- define "isocost.job" -}}
apiVersion: batch/v1
kind: Job
metadata:
  {{- include "isocost.metadata" (merge (dict "component" .what) .) | nindent 2 }}
  annotations:
    {{- include "isocost.hook" .weight | nindent 4 }}
spec:
  backoffLimit: {{ .retries }}
  activeDeadlineSeconds: {{ .root.Values.hooks.seconds }}
  ttlSecondsAfterFinished: 86400
  template:
    metadata:
      labels:
        {{- include "isocost.podLabels" (merge (dict "component" .what) .) | nindent 8 }}
    spec:
      {{- include "isocost.pod" (dict "root" .root "hook" true) | nindent 6 }}
      restartPolicy: Never
      containers:
        - name: {{ .what }}
          image: {{ include "isocost.image" (dict "root" .root "image" .root.Values.router.image) }}
          imagePullPolicy: {{ .root.Values.router.image.pullPolicy }}
          securityContext:
            {{- include "isocost.containerSecurity" .root | nindent 12 }}
          command: {{ toJson .command }}
          env:
            {{- include "isocost.env" (dict "root" .root "check" true) | nindent 12 }}
          {{- with include "isocost.envFrom" (dict "root" .root "check" true) }}
          {{- . | nindent 10 }}
          {{- end }}
          terminationMessagePolicy: FallbackToLogsOnError
          resources:
            {{- include "isocost.resources" .root.Values.hooks.resources | nindent 12 }}
          volumeMounts:
            {{- include "isocost.mounts" (dict "root" .root "check" true) | nindent 12 }}
            {{- with .root.Values.router.extraVolumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
      volumes:
        {{- include "isocost.volumes" (dict "root" .root "check" true) | nindent 8 }}
        - name: state
          emptyDir:
            sizeLimit: 64Mi
        {{- with .root.Values.router.extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
{{- end -}}
