{{- define "sluice.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "sluice.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/*
NAMESPACE of the program: the prefix of Redis keys, client ids and internal topics. 64 characters at most; a longer name keeps a hash of
the whole of it, so that two releases never have the same one.
*/}}
{{- define "sluice.namespace" -}}
{{- $whole := printf "%s.%s" .Release.Namespace (include "sluice.fullname" .) -}}
{{- if .Values.settings.NAMESPACE -}}
{{ .Values.settings.NAMESPACE }}
{{- else if gt (len $whole) 64 -}}
{{ printf "%s-%s" (trunc 53 $whole) (sha256sum $whole | trunc 10) }}
{{- else -}}
{{ $whole }}
{{- end -}}
{{- end -}}

{{/* Labels that select; call with (dict "root" . "component" "server"). They must never change. */}}
{{- define "sluice.selector" -}}
app.kubernetes.io/name: {{ include "sluice.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "sluice.labels" -}}
{{ include "sluice.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels of pods: those of the chart's version are left out, since a pod rolls when they change. */}}
{{- define "sluice.podLabels" -}}
{{ include "sluice.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "sluice.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "sluice.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "sluice.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{/* "true" when the chart makes a Secret of its own: only when asked, and the demo asks. */}}
{{- define "sluice.makesSecret" -}}
{{- if or .Values.secret.create .Values.demo.enabled }}true{{ end -}}
{{- end -}}

{{- define "sluice.secretName" -}}
{{ include "sluice.fullname" . }}-secret
{{- end -}}

{{/* Secret that holds the key for tokens, or nothing when a JWKS is used. */}}
{{- define "sluice.jwtSecretName" -}}
{{- if .Values.jwt.existingSecret -}}
{{ .Values.jwt.existingSecret }}
{{- else if and (include "sluice.makesSecret" .) (not .Values.jwt.jwksUrl) -}}
{{ include "sluice.secretName" . }}
{{- end -}}
{{- end -}}

{{- define "sluice.mqttSecretName" -}}
{{- if .Values.mqtt.existingSecret -}}
{{ .Values.mqtt.existingSecret }}
{{- else if and .Values.secret.create .Values.secret.mqttPassword -}}
{{ include "sluice.secretName" . }}
{{- end -}}
{{- end -}}

{{- define "sluice.redisSecretName" -}}
{{- if .Values.redis.existingSecret -}}
{{ .Values.redis.existingSecret }}
{{- else if and .Values.secret.create .Values.secret.redisUrl -}}
{{ include "sluice.secretName" . }}
{{- end -}}
{{- end -}}

{{- define "sluice.mqttUrl" -}}
{{- if .Values.mqtt.url -}}
{{ .Values.mqtt.url }}
{{- else if .Values.demo.enabled -}}
mqtt://{{ include "sluice.fullname" . }}-mosquitto:1883
{{- end -}}
{{- end -}}

{{/* "true" when the Secret has parts of the address (password, user, host) and not the whole URL. */}}
{{- define "sluice.redisParts" -}}
{{- with .Values.redis }}{{ if or .passwordKey .usernameKey .hostKey }}true{{ end }}{{ end -}}
{{- end -}}

{{/* "true" when the whole URL comes from a Secret. */}}
{{- define "sluice.redisUrlIsSecret" -}}
{{- if and (include "sluice.redisSecretName" .) (not (include "sluice.redisParts" .)) }}true{{ end -}}
{{- end -}}

{{/* The Redis URL that is no secret; nothing when it comes from a Secret or there is no Redis. */}}
{{- define "sluice.redisUrl" -}}
{{- if not (include "sluice.redisUrlIsSecret" .) -}}
{{- if .Values.redis.url -}}
{{ .Values.redis.url }}
{{- else if .Values.redis.hostKey -}}
redis://$(REDIS_HOST):6379
{{- else if .Values.demo.enabled -}}
redis://{{ include "sluice.fullname" . }}-redis:6379
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
Ports of Redis for the network policy, as a JSON list: those said, else those in the URL, else, where the URL is in a Secret that the
chart cannot read, the usual ones: 6379, 6380 (TLS at most providers) and 26379 (Sentinel).
*/}}
{{- define "sluice.redisPorts" -}}
{{- $made := eq (include "sluice.redisSecretName" .) (include "sluice.secretName" .) -}}
{{- $url := ternary .Values.secret.redisUrl (include "sluice.redisUrl" .) $made -}}
{{- if .Values.networkPolicy.redis.ports -}}
{{ .Values.networkPolicy.redis.ports | toJson }}
{{- else if $url -}}
{{ include "sluice.ports" (dict "url" $url) }}
{{- else -}}
{{ list 6379 6380 26379 | toJson }}
{{- end -}}
{{- end -}}

{{- define "sluice.hasRedis" -}}
{{- if or (include "sluice.redisUrlIsSecret" .) (include "sluice.redisUrl" .) }}true{{ end -}}
{{- end -}}

{{/* Comma list of origins: what was said, else those of the hosts, else any for the demo. */}}
{{- define "sluice.allowedOrigins" -}}
{{- $origins := .Values.websocket.allowedOrigins | default list -}}
{{- if not $origins -}}
{{- $hosts := list -}}
{{- if .Values.ingress.enabled }}{{ $hosts = concat $hosts .Values.ingress.hosts }}{{ end -}}
{{- if .Values.httpRoute.enabled }}{{ $hosts = concat $hosts .Values.httpRoute.hostnames }}{{ end -}}
{{- range uniq $hosts }}{{ $origins = append $origins (printf "https://%s" .) }}{{ end -}}
{{- if and (not $origins) .Values.demo.enabled }}{{ $origins = list "*" }}{{ end -}}
{{- end -}}
{{- join "," $origins -}}
{{- end -}}

{{/* Seconds until the kubelet kills: derived from the drain unless said. */}}
{{- define "sluice.gracePeriodSeconds" -}}
{{- if kindIs "invalid" .Values.drain.terminationGracePeriodSeconds -}}
{{ add (int .Values.drain.preStopSeconds) (int .Values.drain.timeoutSeconds) 5 }}
{{- else -}}
{{ int .Values.drain.terminationGracePeriodSeconds }}
{{- end -}}
{{- end -}}

{{/* Address families of a Service. */}}
{{- define "sluice.ipFamilies" -}}
{{- with .Values.service.ipFamilyPolicy }}
  ipFamilyPolicy: {{ . }}
{{- end }}
{{- with .Values.service.ipFamilies }}
  ipFamilies:
    {{- toYaml . | nindent 4 }}
{{- end }}
{{- end -}}

{{/*
Bounds that have to fit into the memory limit together, as JSON, unless `settings` says them: history a fifth of the limit (512 MiB at
most), connections what is left of four fifths beside 120 MiB for the process, at 20 KiB each: 6.4 KiB for the connection itself, the rest for its
rooms and the slow ones among them (docs/scaling.md), 50 000 at most.
*/}}
{{- define "sluice.derivedBounds" -}}
{{- $limit := include "sluice.bytes" (default "" (default dict .Values.resources.limits).memory) | int64 -}}
{{- if gt $limit 0 -}}
{{- $history := min (div $limit 5) 536870912 -}}
{{- $said := ternary .Values.settings.HISTORY_TOTAL_MAX_BYTES $history (hasKey .Values.settings "HISTORY_TOTAL_MAX_BYTES") | int64 -}}
{{- $connections := div (sub (div (mul $limit 4) 5) (add 125829120 $said)) 20480 -}}
{{- dict "HISTORY_TOTAL_MAX_BYTES" (toString $history) "WS_MAX_CONNECTIONS" (max 1000 (min $connections 50000) | toString) | toJson -}}
{{- else -}}
{}
{{- end -}}
{{- end -}}

{{/* Bytes of a Kubernetes memory quantity (Ki, Mi, Gi, k, M, G or none), 0 when it is written otherwise. */}}
{{- define "sluice.bytes" -}}
{{- $text := toString . -}}
{{- $factors := dict "" 1 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "k" 1000 "M" 1000000 "G" 1000000000 -}}
{{- if regexMatch "^[0-9]+(\\.[0-9]+)?([KMG]i|k|M|G)?$" $text -}}
{{- $number := regexFind "^[0-9.]+" $text | float64 -}}
{{- mulf $number (get $factors (regexFind "[A-Za-z]+$" $text)) | int64 -}}
{{- else -}}
0
{{- end -}}
{{- end -}}

{{/* Ports named in a comma list of URLs, as a JSON list; call with (dict "url" … "default" 1883). */}}
{{- define "sluice.ports" -}}
{{- $ports := list -}}
{{- $defaults := dict "mqtt" 1883 "mqtts" 8883 "ws" 80 "wss" 443 "http" 80 "https" 443 "redis" 6379 "rediss" 6379 "redis+sentinel" 26379 -}}
{{- $scheme := "" -}}
{{- range splitList "," .url -}}
{{- $part := trim . -}}
{{- if contains "://" $part }}{{ $scheme = first (splitList "://" $part) }}{{ end -}}
{{- $host := first (splitList "/" (last (splitList "://" $part))) -}}
{{- $port := regexFind ":[0-9]+$" $host | trimPrefix ":" -}}
{{- $ports = append $ports (int (default (get $defaults $scheme) $port)) -}}
{{- if eq $scheme "redis+sentinel" }}{{ $ports = append $ports 6379 }}{{ end -}}
{{- end -}}
{{- $ports | uniq | toJson -}}
{{- end -}}
