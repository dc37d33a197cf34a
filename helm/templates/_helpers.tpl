{{- define "snorri.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* 50 characters, so that every suffix still fits into a name of 63. */}}
{{- define "snorri.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- $name := include "snorri.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "snorri.selectorLabels" -}}
app.kubernetes.io/name: {{ include "snorri.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "snorri.serverLabels" -}}
{{ include "snorri.selectorLabels" . }}
app.kubernetes.io/component: server
{{- end }}

{{- define "snorri.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "snorri.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: snorri
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "snorri.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "snorri.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "snorri.image" -}}
{{- with .Values.image }}
{{- if .digest }}
{{- printf "%s@%s" .repository .digest }}
{{- else }}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Stops the render with a sentence when something that is needed is missing. */}}
{{- define "snorri.check" -}}
{{- if and (not .Values.database.url) (not .Values.database.existingSecret.name) }}
{{- fail "Set database.existingSecret.name (a Secret that holds the URL of the Postgres database) or database.url." }}
{{- end }}
{{- if and .Values.database.url .Values.database.existingSecret.name }}
{{- fail "Set only one of database.url and database.existingSecret.name." }}
{{- end }}
{{- if not .Values.nats.urls }}
{{- fail "Set nats.urls to the addresses of your NATS servers, such as [\"nats://nats.nats.svc:4222\"]." }}
{{- end }}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) }}
{{- fail "autoscaling.minReplicas is greater than autoscaling.maxReplicas." }}
{{- end }}
{{- if le (int .Values.terminationGracePeriodSeconds) (add 30 (int .Values.preStopSleepSeconds)) }}
{{- fail "terminationGracePeriodSeconds must be greater than preStopSleepSeconds plus the 30 s that a replica needs to drain." }}
{{- end }}
{{- end }}

{{/* The Secret that the replicas read. */}}
{{- define "snorri.databaseSecretName" -}}
{{- default (printf "%s-database" (include "snorri.fullname" .)) .Values.database.existingSecret.name }}
{{- end }}

{{/* The Secret that the migration Job reads: a hook runs before the chart's own Secret exists, so it has one of its own. */}}
{{- define "snorri.migrateSecretName" -}}
{{- default (printf "%s-migrate" (include "snorri.fullname" .)) .Values.database.existingSecret.name }}
{{- end }}

{{- define "snorri.databaseSecretKey" -}}
{{- if .Values.database.existingSecret.name }}{{ .Values.database.existingSecret.key }}{{ else }}url{{ end }}
{{- end }}

{{/* The pod settings that replicas, migration Job and test pod share. */}}
{{- define "snorri.podBasics" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Name look-ups, wherever the cluster answers them. */}}
{{- define "snorri.dnsEgress" -}}
- ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
{{- end }}
