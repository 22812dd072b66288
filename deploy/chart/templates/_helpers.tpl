{{- define "codehealer.name" -}}
{{- if contains "codehealer" .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{ else }}{{ printf "%s-codehealer" .Release.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "codehealer.selector" -}}
app.kubernetes.io/name: codehealer
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "codehealer.labels" -}}
{{ include "codehealer.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "codehealer.account" -}}
{{- .Values.serviceAccount.name | default (ternary (include "codehealer.name" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{- define "codehealer.policyMap" -}}
{{- if .Values.policy.text }}{{ include "codehealer.name" . }}-policy{{ else }}{{ .Values.policy.configMap }}{{ end }}
{{- end }}
