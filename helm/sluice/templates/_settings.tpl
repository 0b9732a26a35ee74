{{/* The settings that are no secret, as data of the ConfigMap. `settings` adds what has no value of its own. */}}
{{- define "sluice.settings" -}}
{{- $v := .Values -}}
{{- $data := dict
  "NODE_ENV" "production"
  "PORT" "8080"
  "MANAGEMENT_PORT" (toString $v.managementService.port)
  "WS_PATH" $v.websocket.path
  "WS_ALLOWED_ORIGINS" (include "sluice.allowedOrigins" .)
  "MQTT_URL" (include "sluice.mqttUrl" .)
  "MQTT_PROTOCOL_VERSION" (toString $v.mqtt.protocolVersion)
  "MQTT_INGEST" $v.mqtt.ingest
  "DRAIN_TIMEOUT_MS" (mul (int $v.drain.timeoutSeconds) 1000 | toString)
  "DRAIN_SPREAD_MS" (mul (int $v.drain.spreadSeconds) 1000 | toString)
  "NAMESPACE" (include "sluice.namespace" .)
-}}
{{- range $name, $value := dict
  "TRUSTED_PROXIES" (join "," $v.websocket.trustedProxies)
  "JWT_JWKS_URL" $v.jwt.jwksUrl
  "JWT_ISSUER" $v.jwt.issuer
  "JWT_AUDIENCE" $v.jwt.audience
  "MQTT_USERNAME" $v.mqtt.username
  "REDIS_URL" (ternary "" (include "sluice.redisUrl" .) (ne $v.redis.hostKey ""))
  "REDIS_USERNAME" $v.redis.username
-}}
{{- if $value }}{{ $_ := set $data $name $value }}{{ end -}}
{{- end -}}
{{- range $name, $value := include "sluice.derivedBounds" . | fromJson -}}
{{- $_ := set $data $name $value -}}
{{- end -}}
{{- if $v.layouts }}{{ $_ := set $data "LAYOUT_FILE" "/etc/sluice/files/layouts.yaml" }}{{ end -}}
{{- range $name, $value := $v.settings -}}
{{- $text := toString $value -}}
{{- if kindIs "float64" $value }}{{ $text = printf "%.0f" $value }}{{ end -}}
{{- $_ := set $data $name $text -}}
{{- end -}}
{{- range $name := keys $data | sortAlpha }}
{{ $name }}: {{ get $data $name | quote }}
{{- end -}}
{{- end -}}

{{/* Files that settings name, by file name: those of `files`, and LAYOUT_FILE of `layouts`. As JSON. */}}
{{- define "sluice.files" -}}
{{- $files := deepCopy .Values.files -}}
{{- if .Values.layouts }}{{ $_ := set $files "layouts.yaml" (toYaml (dict "version" 1 "layouts" .Values.layouts)) }}{{ end -}}
{{- toJson $files -}}
{{- end -}}

{{/*
Secrets and certificates, which reach the process as files: a list of
{volume, secret, dir, items: [{key, path, setting}]}, as JSON.
*/}}
{{- define "sluice.secretFiles" -}}
{{- $v := .Values -}}
{{- $files := list -}}
{{- with include "sluice.jwtSecretName" . -}}
{{- $setting := get (dict "secret" "JWT_SECRET" "publicKey" "JWT_PUBLIC_KEY" "jwks" "JWT_JWKS") $v.jwt.kind -}}
{{- $key := ternary $v.jwt.secretKey "jwt-secret" (ne $v.jwt.existingSecret "") -}}
{{- $files = append $files (dict "volume" "jwt" "secret" . "items" (list (dict "key" $key "path" "key" "setting" $setting))) -}}
{{- end -}}
{{- if $v.api.existingSecret -}}
{{- $files = append $files (dict "volume" "api" "secret" $v.api.existingSecret "items" (list (dict "key" $v.api.tokenKey "path" "token" "setting" "API_TOKEN"))) -}}
{{- end -}}
{{- with include "sluice.mqttSecretName" . -}}
{{- $key := ternary $v.mqtt.passwordKey "mqtt-password" (ne $v.mqtt.existingSecret "") -}}
{{- $files = append $files (dict "volume" "mqtt" "secret" . "items" (list (dict "key" $key "path" "password" "setting" "MQTT_PASSWORD"))) -}}
{{- end -}}
{{- if include "sluice.redisUrlIsSecret" . -}}
{{- $key := ternary $v.redis.urlKey "redis-url" (ne $v.redis.existingSecret "") -}}
{{- $files = append $files (dict "volume" "redis" "secret" (include "sluice.redisSecretName" .) "items" (list (dict "key" $key "path" "url" "setting" "REDIS_URL"))) -}}
{{- else if and $v.redis.existingSecret $v.redis.passwordKey -}}
{{- $files = append $files (dict "volume" "redis" "secret" $v.redis.existingSecret "items" (list (dict "key" $v.redis.passwordKey "path" "password" "setting" "REDIS_PASSWORD"))) -}}
{{- end -}}
{{- range $name := list "mqtt" "redis" -}}
{{- $tls := (get $v $name).tls -}}
{{- if $tls.existingSecret -}}
{{- $prefix := upper $name -}}
{{- $items := list -}}
{{- if $tls.caKey }}{{ $items = append $items (dict "key" $tls.caKey "path" "ca.crt" "setting" (printf "%s_CA" $prefix)) }}{{ end -}}
{{- if $tls.clientCertificate -}}
{{- $items = append $items (dict "key" $tls.certKey "path" "tls.crt" "setting" (printf "%s_CERT" $prefix)) -}}
{{- $items = append $items (dict "key" $tls.keyKey "path" "tls.key" "setting" (printf "%s_KEY" $prefix)) -}}
{{- end -}}
{{- $files = append $files (dict "volume" (printf "%s-tls" $name) "secret" $tls.existingSecret "items" $items) -}}
{{- end -}}
{{- end -}}
{{- $files | toJson -}}
{{- end -}}

{{/* MiB of JavaScript heap, from the memory limit; 0 when the limit cannot be read. */}}
{{- define "sluice.heapMiB" -}}
{{- $limits := default dict .Values.resources.limits -}}
{{- $bytes := include "sluice.bytes" (default "" $limits.memory) | int64 -}}
{{- div (mul $bytes (int .Values.heapPercent)) (mul 100 1048576) -}}
{{- end -}}
