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

{{- /* The ports that may be reached anywhere, as JSON: of the database, of Redis, of egressPorts, and of each address. */}}
{{- define "codehealer.portsOut" -}}
{{- $ports := list (int .Values.database.port) }}
{{- if .Values.redis.secret }}{{ $ports = append $ports (int .Values.redis.port) }}{{ end }}
{{- range .Values.networkPolicy.egressPorts }}{{ $ports = append $ports (int .) }}{{ end }}
{{- range concat (list .Values.proxy.https .Values.sqs.queueUrl) (values .Values.settings | sortAlpha) }}
{{- range regexFindAll "https?://[^/?#, ]+" (toString .) -1 }}
{{- $ports = append $ports (regexFind ":[0-9]+$" . | trimPrefix ":" | default (ternary "80" "443" (hasPrefix "http:" .)) | int) }}
{{- end }}
{{- end }}
{{- $ports | uniq | toJson }}
{{- end }}
