{{/* One group of models; all take {root, group, spec, component, name}. */}}

{{- define "isocost.torchserve.deployment" -}}
{{- $image := .root.Values.torchserve.image -}}
{{- $store := .spec.modelStore -}}
{{- $path := ternary $store.path "/archives" (eq $store.kind "image") -}}
{{- $full := include "isocost.image" (dict "root" .root "image" $image "suffix" (ternary $image.gpuSuffix "" (gt (int .spec.gpu.count) 0))) -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "isocost.metadata" . | nindent 2 }}
spec:
  {{- if not (or .spec.autoscaling.hpa.enabled .spec.autoscaling.keda.enabled) }}
  replicas: {{ .spec.replicas }}
  {{- end }}
  revisionHistoryLimit: 5
  progressDeadlineSeconds: {{ add .spec.startSeconds 300 }}
  strategy:
    type: RollingUpdate
    rollingUpdate:
      {{- toYaml .spec.rollingUpdate | nindent 6 }}
  selector:
    matchLabels:
      {{- include "isocost.selector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "isocost.podLabels" . | nindent 8 }}
        {{- with .spec.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with .spec.podAnnotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      {{- include "isocost.pod" (dict "root" .root) | nindent 6 }}
      {{- with .spec.runtimeClassName }}
      runtimeClassName: {{ . }}
      {{- end }}
      {{- with include "isocost.placement" . | trim }}
      {{- . | nindent 6 }}
      {{- end }}
      # Delay, grace, and what TorchServe itself then takes to end.
      terminationGracePeriodSeconds: {{ add .spec.drainDelay .spec.drainGrace 15 }}
      {{- with include "isocost.torchserve.store" (dict "root" .root "spec" .spec "image" $full) }}
      {{- . | nindent 6 }}
      {{- end }}
      containers:
        - name: torchserve
          image: {{ $full }}
          imagePullPolicy: {{ $image.pullPolicy }}
          securityContext:
            {{- include "isocost.containerSecurity" .root | nindent 12 }}
          command: [python, -m, serving]
          args:
            - --archives={{ $path }}
            - --models={{ join "," .spec.models }}
            - --state=/var/lib/isocost/serving
            - --host=0.0.0.0
            - --key-file=/etc/isocost-torchserve/key
            - --device={{ .spec.device }}
            - --drain-seconds={{ .spec.drainGrace }}
            {{- range .spec.extraArgs }}
            - {{ . | quote }}
            {{- end }}
          env:
            - name: HOME
              value: /tmp
            {{- with .spec.extraEnv }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          ports:
            - name: inference
              containerPort: 8085
              protocol: TCP
            - name: status
              containerPort: 8084
              protocol: TCP
            - name: metrics
              containerPort: 8087
              protocol: TCP
          startupProbe:
            {{- include "isocost.probe" (dict "path" "/readyz" "port" "status" "every" 5 "times" (ceil (divf .spec.startSeconds 5) | int) "timeout" 3) | nindent 12 }}
          readinessProbe:
            {{- include "isocost.probe" (dict "path" "/readyz" "port" "status" "every" 3 "times" 2 "timeout" 3) | nindent 12 }}
          # TorchServe itself is restarted by its supervisor, which this probe watches.
          livenessProbe:
            {{- include "isocost.probe" (dict "path" "/livez" "port" "status" "every" 10 "times" 6 "timeout" 5) | nindent 12 }}
          lifecycle:
            preStop:
              exec:
                # Once it is told to end it takes no new connections; until all have heard, they still come.
                command: [sleep, {{ .spec.drainDelay | quote }}]
          terminationMessagePolicy: FallbackToLogsOnError
          resources:
            {{- include "isocost.torchserve.resources" .spec | nindent 12 }}
          volumeMounts:
            - name: key
              mountPath: /etc/isocost-torchserve
              readOnly: true
            - name: tmp
              mountPath: /tmp
            - name: state
              mountPath: /var/lib/isocost
            {{- if ne $store.kind "image" }}
            - name: archives
              mountPath: {{ $path }}
              readOnly: true
            {{- end }}
            {{- with .spec.extraVolumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
      volumes:
        - name: key
          secret:
            secretName: {{ include "isocost.torchserve.key" .root }}
            defaultMode: 0440
        - name: tmp
          emptyDir:
            sizeLimit: {{ .spec.tmpSize }}
        - name: state
          emptyDir:
            sizeLimit: {{ .spec.tmpSize }}
        {{- if ne $store.kind "image" }}
        - name: archives
          {{- if $store.existingClaim }}
          persistentVolumeClaim:
            claimName: {{ $store.existingClaim }}
            {{- if eq $store.kind "claim" }}
            readOnly: true
            {{- end }}
          {{- else }}
          emptyDir:
            sizeLimit: {{ $store.size }}
          {{- end }}
        {{- end }}
        {{- with .spec.extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
{{- end -}}

{{/* What fetches or checks the archives before TorchServe starts; takes {root, spec, image}. */}}
{{- define "isocost.torchserve.store" -}}
{{- $store := .spec.modelStore -}}
{{- $command := list -}}
{{- if eq $store.kind "download" -}}
{{- $command = concat (list "python" "-m" "model_store" "pack") .spec.models (list "--archives" "/archives") -}}
{{- else if and (eq $store.kind "claim") $store.verify -}}
{{- $command = concat (list "python" "-m" "model_store" "verify") .spec.models (list "--archives" "/archives") -}}
{{- end -}}
{{- if $command -}}
initContainers:
  - name: models
    image: {{ .image }}
    imagePullPolicy: {{ .root.Values.torchserve.image.pullPolicy }}
    securityContext:
      {{- include "isocost.containerSecurity" .root | nindent 6 }}
    command: {{ toJson $command }}
    env:
      - name: HOME
        value: /tmp
      {{- if eq $store.kind "download" }}
      - name: ISOCOST_CACHE
        value: /archives/.cache
      # Where the clients of the two hubs keep what they fetch, which may be more than /tmp holds.
      - name: HF_HOME
        value: /archives/.cache/hub
      - name: TORCH_HOME
        value: /archives/.cache/torch
      {{- end }}
      {{- with .spec.extraEnv }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    terminationMessagePolicy: FallbackToLogsOnError
    resources:
      {{- include "isocost.resources" .spec.resources | nindent 6 }}
    volumeMounts:
      - name: tmp
        mountPath: /tmp
      - name: archives
        mountPath: /archives
        {{- if eq $store.kind "claim" }}
        readOnly: true
        {{- end }}
      {{- with .spec.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
{{- end -}}
{{- end -}}

{{/* The group's resources with its GPUs; takes its spec. */}}
{{- define "isocost.torchserve.resources" -}}
{{- $resources := deepCopy .resources -}}
{{- if .gpu.count -}}
{{- $_ := set $resources "limits" (merge (dict .gpu.resource (int .gpu.count)) (default dict $resources.limits)) -}}
{{- end -}}
{{- include "isocost.resources" $resources -}}
{{- end -}}

{{- define "isocost.torchserve.service" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "isocost.metadata" . | nindent 2 }}
spec:
  selector:
    {{- include "isocost.selector" . | nindent 4 }}
  ports:
    - name: inference
      port: 8085
      targetPort: inference
      protocol: TCP
    - name: status
      port: 8084
      targetPort: status
      protocol: TCP
    - name: metrics
      port: 8087
      targetPort: metrics
      protocol: TCP
{{- end -}}
