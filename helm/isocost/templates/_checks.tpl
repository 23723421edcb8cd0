{{/*
What values.schema.json cannot say: every fault is told, with what to write instead.
*/}}
{{- define "isocost.faults" -}}
{{- $root := . -}}
{{- $faults := list -}}
{{- $config := include "isocost.given" . | fromYaml -}}
{{- $groups := include "isocost.groups" . | fromYaml -}}

{{- if not (and $config.backends $config.routes) -}}
{{- $faults = append $faults "config: names no backends and routes; start from a profile (-f values-dev.yaml), or write the configuration there" -}}
{{- end -}}
{{- range $field := list "host" "port" "workers" "admin" "drain_delay" "grace" -}}
{{- if hasKey (default dict $config.server) $field -}}
{{- $instead := dict "host" "it is always 0.0.0.0" "port" "set router.service.port" "workers" "set router.replicas, one process a pod" "admin" "set router.admin" "drain_delay" "set router.drain.delay" "grace" "set router.drain.grace" -}}
{{- $faults = append $faults (printf "config.server.%s: is the chart's; %s" $field (get $instead $field)) -}}
{{- end -}}
{{- end -}}
{{- if not (or $config.keys $config.ledger .Values.devKey.enabled (include "isocost.database" .)) -}}
{{- $faults = append $faults "config.keys: nobody could call; add keys, or a database for keys that `isocost keys` makes, or devKey.enabled to try things out" -}}
{{- end -}}

{{- $several := or .Values.router.autoscaling.hpa.enabled .Values.router.autoscaling.keda.enabled (gt (int .Values.router.replicas) 1) -}}
{{- $kept := or $config.ledger $config.budgets -}}
{{- $shared := or (include "isocost.database" .) (get (default dict $config.ledger) "url_env") (hasPrefix "postgresql" (default "" (get (default dict $config.ledger) "url"))) -}}
{{- if and $several $kept (not $shared) -}}
{{- $faults = append $faults "database.existingSecret: several routers must keep their money in one PostgreSQL; name the Secret with its URL, or set router.replicas to 1" -}}
{{- end -}}
{{- if and $several .Values.router.state.persistence.enabled -}}
{{- $faults = append $faults "router.state.persistence: is for one router; set router.replicas to 1, or keep money in PostgreSQL and the state in each pod" -}}
{{- end -}}
{{- if and .Values.database.existingSecret .Values.database.dev.enabled -}}
{{- $faults = append $faults "database: both existingSecret and dev are set; choose one" -}}
{{- end -}}
{{- if and .Values.redis.existingSecret .Values.redis.dev.enabled -}}
{{- $faults = append $faults "redis: both existingSecret and dev are set; choose one" -}}
{{- end -}}
{{- if and .Values.router.admin.enabled (not .Values.router.admin.existingSecret) -}}
{{- $faults = append $faults "router.admin.existingSecret: the admin API needs a key of its own; name the Secret that holds it" -}}
{{- end -}}
{{- if and .Values.externalSecrets.enabled (not .Values.externalSecrets.storeRef.name) -}}
{{- $faults = append $faults "externalSecrets.storeRef.name: name the SecretStore" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- $faults = append $faults "ingress.hosts: name at least one host" -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- $faults = append $faults "httpRoute.parentRefs: name the gateway" -}}
{{- end -}}
{{- if and .Values.loadTest.enabled (not (or .Values.loadTest.existingSecret .Values.devKey.enabled)) -}}
{{- $faults = append $faults "loadTest.existingSecret: the load test needs a caller's key; name the Secret that holds it" -}}
{{- end -}}
{{- if and (hasKey .Values.loadTest.files (printf "%s.yaml" .Values.loadTest.profile)) (not (hasKey .Values.loadTest.files "objectives.yaml")) -}}
{{- $faults = append $faults (printf "loadTest.files: add objectives.yaml with an entry %s; a run without objectives has no verdict" .Values.loadTest.profile) -}}
{{- end -}}

{{- range $place, $spec := merge (dict "router" .Values.router) (include "isocost.scaled" $groups | fromYaml) -}}
{{- $scaling := $spec.autoscaling -}}
{{- if and $scaling.hpa.enabled $scaling.keda.enabled -}}
{{- $faults = append $faults (printf "%s.autoscaling: hpa and keda would fight over the pods; enable one of them" $place) -}}
{{- end -}}
{{- if or $scaling.hpa.enabled $scaling.keda.enabled -}}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) -}}
{{- $faults = append $faults (printf "%s.autoscaling: minReplicas %d is more than maxReplicas %d" $place (int $scaling.minReplicas) (int $scaling.maxReplicas)) -}}
{{- end -}}
{{- if and $scaling.hpa.enabled (lt (int $scaling.minReplicas) 1) -}}
{{- $faults = append $faults (printf "%s.autoscaling.minReplicas: only KEDA can go down to 0" $place) -}}
{{- end -}}
{{- end -}}
{{- if $scaling.keda.enabled -}}
{{- $looked := or $scaling.keda.inFlight $scaling.keda.callsPerSecond $scaling.keda.queue $scaling.keda.spillUsdPerHour -}}
{{- if not (or $looked $scaling.keda.extraTriggers) -}}
{{- $faults = append $faults (printf "%s.autoscaling.keda: looks at nothing; give one of its figures" $place) -}}
{{- end -}}
{{- if and $looked (not $scaling.keda.serverAddress) -}}
{{- $faults = append $faults (printf "%s.autoscaling.keda.serverAddress: say where Prometheus is, such as http://prometheus.monitoring:9090" $place) -}}
{{- end -}}
{{- end -}}
{{- if and $scaling.hpa.enabled (not (or $scaling.hpa.cpuPercent $scaling.hpa.callsPerSecond)) -}}
{{- $faults = append $faults (printf "%s.autoscaling.hpa: looks at nothing; give cpuPercent" $place) -}}
{{- end -}}
{{- end -}}

{{- range $name, $spec := $groups -}}
{{- $place := printf "torchserve.groups.%s" $name -}}
{{- if not $spec.models -}}
{{- $faults = append $faults (printf "%s.models: name at least one model" $place) -}}
{{- end -}}
{{- if and (eq $spec.modelStore.kind "claim") (not $spec.modelStore.existingClaim) -}}
{{- $faults = append $faults (printf "%s.modelStore.existingClaim: name the claim that holds the archives" $place) -}}
{{- end -}}
{{- if and (eq $spec.device "cuda") (not $spec.gpu.count) -}}
{{- $faults = append $faults (printf "%s.gpu.count: device cuda needs a GPU" $place) -}}
{{- end -}}
{{- if and $spec.autoscaling.keda.spillUsdPerHour $config.routes (not (include "isocost.group.spill" (dict "config" $config "spec" $spec))) -}}
{{- $faults = append $faults (printf "%s.autoscaling.keda.spillUsdPerHour: no route of its models has a paid backend" $place) -}}
{{- end -}}
{{- end -}}

{{- range $name, $backend := $config.backends -}}
{{- if and (eq (default "" $backend.api) "torchserve") (not $backend.base) -}}
{{- $served := list -}}
{{- range $group, $spec := $groups -}}{{- if has $backend.model $spec.models -}}{{- $served = append $served $group -}}{{- end -}}{{- end -}}
{{- if ne (len $served) 1 -}}
{{- $how := ternary "no group of torchserve.groups serves" (printf "groups %s all serve" (join ", " $served)) (not $served) -}}
{{- $faults = append $faults (printf "config.backends.%s: %s the model %q; add it to one group's models, or write its base" $name $how (default "" $backend.model)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- if $faults -}}
{{- fail (printf "\n\nThese values cannot be installed:\n  * %s\n" (join "\n  * " $faults)) -}}
{{- end -}}
{{- end -}}

{{/* Groups by the place of their values. */}}
{{- define "isocost.scaled" -}}
{{- $found := dict -}}
{{- range $name, $spec := . -}}
{{- $_ := set $found (printf "torchserve.groups.%s" $name) $spec -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}
