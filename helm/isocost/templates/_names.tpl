{{/* Names and labels. A name is cut to 39 characters, so that suffixes fit into 63. */}}

{{- define "isocost.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 39 | trimSuffix "-" -}}
{{- end -}}

{{- define "isocost.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 39 | trimSuffix "-" -}}
{{- else if contains (include "isocost.name" .) .Release.Name -}}
{{- .Release.Name | trunc 39 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "isocost.name" .) | trunc 39 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Name of a TorchServe group's objects; takes {root, group}. */}}
{{- define "isocost.group.name" -}}
{{- printf "%s-torchserve-%s" (include "isocost.fullname" .root) .group -}}
{{- end -}}

{{/* What selects the pods of a component; takes {root, component, group?}. */}}
{{- define "isocost.selector" -}}
app.kubernetes.io/name: {{ include "isocost.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- with .group }}
isocost.io/group: {{ . }}
{{- end }}
{{- end -}}

{{/* Labels of an object; takes {root, component, group?}. */}}
{{- define "isocost.labels" -}}
{{ include "isocost.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: isocost
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels of a pod: without the chart's version, so that a new chart alone restarts nothing. */}}
{{- define "isocost.podLabels" -}}
{{ include "isocost.selector" . }}
app.kubernetes.io/part-of: isocost
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* name, namespace and labels of an object; takes {root, name, component, group?}. */}}
{{- define "isocost.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "isocost.labels" . | nindent 2 }}
{{- end -}}

{{- define "isocost.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "isocost.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* An image's full name; takes {root, image, suffix?}. A digest wins over a tag. */}}
{{- define "isocost.image" -}}
{{- $name := .image.repository -}}
{{- with .image.registry }}{{ $name = printf "%s/%s" . $name }}{{ end -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $name .image.digest -}}
{{- else -}}
{{- printf "%s:%s%s" $name (default .root.Chart.AppVersion .image.tag) (default "" .suffix) -}}
{{- end -}}
{{- end -}}

{{/* API versions: of what the cluster serves, the newest that we know. */}}
{{- define "isocost.api.pdb" -}}
{{- ternary "policy/v1" "policy/v1beta1" (and (.Capabilities.APIVersions.Has "policy/v1") (semverCompare ">=1.21-0" .Capabilities.KubeVersion.Version)) -}}
{{- end -}}

{{- define "isocost.api.hpa" -}}
{{- ternary "autoscaling/v2" "autoscaling/v2beta2" (and (.Capabilities.APIVersions.Has "autoscaling/v2") (semverCompare ">=1.23-0" .Capabilities.KubeVersion.Version)) -}}
{{- end -}}

{{- define "isocost.api.httpRoute" -}}
{{- $old := and (.Capabilities.APIVersions.Has "gateway.networking.k8s.io/v1beta1") (not (.Capabilities.APIVersions.Has "gateway.networking.k8s.io/v1")) -}}
{{- ternary "gateway.networking.k8s.io/v1beta1" "gateway.networking.k8s.io/v1" $old -}}
{{- end -}}

{{- define "isocost.api.externalSecret" -}}
{{- $old := and (.Capabilities.APIVersions.Has "external-secrets.io/v1beta1") (not (.Capabilities.APIVersions.Has "external-secrets.io/v1")) -}}
{{- ternary "external-secrets.io/v1beta1" "external-secrets.io/v1" $old -}}
{{- end -}}
