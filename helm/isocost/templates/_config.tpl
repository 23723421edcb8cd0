{{/*
The configuration file, from .Values.config and what only the chart knows:
  ledger      where the connection secret says; cache: the same of Redis
  keys        the one of devKey
  server      how it drains, the admin API's address
  backends    of api torchserve without a base: the Service of the group that serves their model;
              paid ones without a sandbox of their own: the sandbox's, where it runs
*/}}
{{- define "isocost.config" -}}
{{- $root := . -}}
{{- $config := include "isocost.given" . | fromYaml -}}
{{- if include "isocost.database" . -}}
{{- $ledger := default dict $config.ledger -}}
{{- if not (or $ledger.url $ledger.url_env) -}}
{{- $_ := set $config "ledger" (merge (dict "url_env" "ISOCOST_LEDGER_URL") $ledger) -}}
{{- end -}}
{{- end -}}
{{- if or .Values.redis.existingSecret .Values.redis.dev.enabled -}}
{{- $cache := default dict $config.cache -}}
{{- if not (or $cache.url $cache.url_env) -}}
{{- $_ := set $config "cache" (merge (dict "url_env" "ISOCOST_REDIS_URL") $cache) -}}
{{- end -}}
{{- end -}}
{{- if .Values.devKey.enabled -}}
{{- $key := dict "name" .Values.devKey.name "team" .Values.devKey.name "key_env" "ISOCOST_DEV_KEY" -}}
{{- $_ := set $config "keys" (append (default list $config.keys) $key) -}}
{{- end -}}
{{- $drain := dict "drain_delay" (int .Values.router.drain.delay) "grace" (int .Values.router.drain.grace) -}}
{{- $_ := set $config "server" (merge $drain (default dict $config.server)) -}}
{{- if .Values.router.admin.enabled -}}
{{- $admin := dict "host" "0.0.0.0" "port" (int .Values.router.admin.port) "key_env" "ISOCOST_ADMIN_KEY" -}}
{{- $_ := set $config "server" (merge (dict "admin" $admin) (default dict $config.server)) -}}
{{- end -}}
{{- $groups := include "isocost.groups" . | fromYaml -}}
{{- range $name, $backend := $config.backends -}}
{{- if and (eq $backend.api "torchserve") (not $backend.base) -}}
{{- range $group, $spec := $groups -}}
{{- if has $backend.model $spec.models -}}
{{- $base := printf "http://%s:8085" (include "isocost.group.name" (dict "root" $root "group" $group)) -}}
{{- $status := printf "http://%s:8084/status" (include "isocost.group.name" (dict "root" $root "group" $group)) -}}
{{- $given := dict "base" $base "status" $status "key_file" "/etc/isocost-torchserve/key" -}}
{{- $_ := set $config.backends $name (merge $backend $given) -}}
{{- end -}}
{{- end -}}
{{- else if and $root.Values.sandbox.enabled $backend.key_env (not $backend.sandbox) -}}
{{- $path := ternary "" "/v1" (has $backend.api (list "elevenlabs" "deepl")) -}}
{{- $base := printf "http://%s-sandbox:8090%s" (include "isocost.fullname" $root) $path -}}
{{- $_ := set $backend "sandbox" (dict "base" $base) -}}
{{- end -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/* .Values.config without what a later file of values has set to null. */}}
{{- define "isocost.given" -}}
{{- $config := dict -}}
{{- range $part, $said := .Values.config -}}
{{- if has $part (list "backends" "routes") -}}
{{- $kept := dict -}}
{{- range $name, $spec := $said -}}{{- if $spec -}}{{- $_ := set $kept $name $spec -}}{{- end -}}{{- end -}}
{{- $_ := set $config $part $kept -}}
{{- else if not (kindIs "invalid" $said) -}}
{{- $_ := set $config $part $said -}}
{{- end -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/* Where the ledger's URL comes from: `secret`, `dev`, `external`, or empty. */}}
{{- define "isocost.database" -}}
{{- if .Values.database.existingSecret -}}secret
{{- else if .Values.database.dev.enabled -}}dev
{{- else if or (hasKey .Values.secrets.env "ISOCOST_LEDGER_URL") (and .Values.externalSecrets.enabled (hasKey .Values.externalSecrets.data "ISOCOST_LEDGER_URL")) -}}external
{{- end -}}
{{- end -}}

{{/* The groups of TorchServe, each with what it leaves out taken from `defaults`. */}}
{{- define "isocost.groups" -}}
{{- $defaults := .Values.torchserve.defaults -}}
{{- $groups := dict -}}
{{- range $name, $given := .Values.torchserve.groups -}}
{{- if not (kindIs "invalid" $given) -}}
{{- $_ := set $groups $name (mergeOverwrite (deepCopy $defaults) $given) -}}
{{- end -}}
{{- end -}}
{{- toYaml $groups -}}
{{- end -}}

{{/* Whether there is any group. */}}
{{- define "isocost.served" -}}
{{- if include "isocost.groups" . | fromYaml -}}yes{{- end -}}
{{- end -}}

{{/* Names of backends that a group serves, joined by |; takes {config, group spec}. */}}
{{- define "isocost.group.backends" -}}
{{- $found := list -}}
{{- range $name, $backend := .config.backends -}}
{{- if and (eq $backend.api "torchserve") (has $backend.model $.spec.models) -}}
{{- $found = append $found $name -}}
{{- end -}}
{{- end -}}
{{- join "|" (sortAlpha $found) -}}
{{- end -}}

{{/* Names of the paid backends beside a group's on its routes, joined by |; takes {config, spec}. */}}
{{- define "isocost.group.spill" -}}
{{- $mine := splitList "|" (include "isocost.group.backends" .) -}}
{{- $found := list -}}
{{- range $name, $route := .config.routes -}}
{{- $ours := false -}}
{{- range $route.backends -}}{{- if has . $mine -}}{{- $ours = true -}}{{- end -}}{{- end -}}
{{- if $ours -}}
{{- range $route.backends -}}
{{- $backend := get $.config.backends . | default dict -}}
{{- if not (or (eq (default "" $backend.api) "torchserve") $backend.local) -}}{{- $found = append $found . -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- join "|" ($found | uniq | sortAlpha) -}}
{{- end -}}

{{/* The same for the names of its routes. */}}
{{- define "isocost.group.routes" -}}
{{- $mine := splitList "|" (include "isocost.group.backends" .) -}}
{{- $found := list -}}
{{- range $name, $route := .config.routes -}}
{{- range $route.backends -}}
{{- if has . $mine -}}{{- $found = append $found $name -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- join "|" ($found | uniq | sortAlpha) -}}
{{- end -}}

{{/* Whether any backend is a paid API that routers reach from the cluster. */}}
{{- define "isocost.vendors" -}}
{{- range $name, $backend := (include "isocost.given" . | fromYaml).backends -}}
{{- if not (or (eq $backend.api "torchserve") (contains "http://" (default "" $backend.base))) -}}yes{{- end -}}
{{- end -}}
{{- end -}}
