{{/*
What the types in values.schema.json cannot say: combinations that could not work. All of them are collected,
so that one run names every mistake, each with what to change.
*/}}
{{- define "sluice.checks" -}}
{{- $missing := list -}}
{{- $problems := list -}}
{{- $v := .Values -}}
{{- $pods := int $v.replicaCount -}}
{{- if $v.autoscaling.enabled }}{{ $pods = int $v.autoscaling.maxReplicas }}{{ end -}}

{{- if not (include "sluice.mqttUrl" .) }}{{ $missing = append $missing "mqtt.url is not set: give the broker of the devices (mqtt:// or mqtts://), or demo.enabled=true for a first look" }}{{ end -}}
{{- if not (or (include "sluice.jwtSecretName" .) $v.jwt.jwksUrl) }}{{ $missing = append $missing "nothing checks tokens: set jwt.existingSecret (a Secret with the key) or jwt.jwksUrl, or secret.create=true to have a key generated" }}{{ end -}}
{{- if and $v.jwt.existingSecret $v.jwt.jwksUrl }}{{ $problems = append $problems "jwt.existingSecret and jwt.jwksUrl are both set: tokens are checked by one of them, remove the other" }}{{ end -}}
{{- if and (eq $v.jwt.kind "publicKey") (not $v.jwt.existingSecret) }}{{ $problems = append $problems "jwt.kind is publicKey but there is no key: name the Secret with the PEM in jwt.existingSecret" }}{{ end -}}
{{- if and (eq $v.jwt.kind "jwks") (not $v.jwt.existingSecret) }}{{ $problems = append $problems "jwt.kind is jwks but there are no keys: name the Secret with the JWKS in jwt.existingSecret" }}{{ end -}}
{{- if and $v.secret.create $v.secret.jwtSecret (lt (len $v.secret.jwtSecret) 32) }}{{ $problems = append $problems "secret.jwtSecret is shorter than 32 bytes: make it longer, or leave it empty to have one generated" }}{{ end -}}
{{- if not (include "sluice.allowedOrigins" .) }}{{ $missing = append $missing "no page may connect: set websocket.allowedOrigins to a list of origins (or ['*']), or give ingress.hosts or httpRoute.hostnames" }}{{ end -}}
{{- if and (include "sluice.mqttSecretName" .) (not $v.mqtt.username) }}{{ $problems = append $problems "there is a password for the broker but no user: set mqtt.username" }}{{ end -}}
{{- if regexMatch "//[^/,]*@" (printf "%s %s" $v.mqtt.url $v.redis.url) }}{{ $problems = append $problems "a URL holds a user or password, which would stand readable in a ConfigMap: use mqtt.username with mqtt.existingSecret, and redis.existingSecret" }}{{ end -}}
{{- if regexMatch "//[^/]*@" $v.jwt.jwksUrl }}{{ $problems = append $problems "jwt.jwksUrl holds a user or password, which would stand readable in a ConfigMap: give the address alone" }}{{ end -}}
{{- if and (hasPrefix "http://" $v.jwt.jwksUrl) (not (regexMatch "(?i)^http://(localhost|127[0-9.]*|\\[::1\\])([:/?#]|$)" $v.jwt.jwksUrl)) }}{{ $problems = append $problems "jwt.jwksUrl is not encrypted, and who is on the way could put in a key: use https://" }}{{ end -}}
{{- if and $v.mqtt.tls.existingSecret (not (regexMatch "^(mqtts|wss)://" (include "sluice.mqttUrl" .))) }}{{ $problems = append $problems "mqtt.tls.existingSecret is set but mqtt.url is not encrypted: use mqtts:// or wss://, or remove the Secret" }}{{ end -}}
{{- if and $v.redis.tls.existingSecret (not (include "sluice.hasRedis" .)) }}{{ $problems = append $problems "redis.tls.existingSecret is set but there is no Redis: set redis.url or redis.existingSecret" }}{{ end -}}
{{- if and $v.redis.tls.existingSecret (hasPrefix "redis://" (include "sluice.redisUrl" .)) }}{{ $problems = append $problems "redis.tls.existingSecret is set but redis.url is not encrypted: use rediss://, or remove the Secret" }}{{ end -}}
{{- if include "sluice.redisParts" . -}}
{{- if not $v.redis.existingSecret }}{{ $problems = append $problems "redis.passwordKey, usernameKey or hostKey is set but no Secret is named: set redis.existingSecret" }}{{ end -}}
{{- if not (or $v.redis.url $v.redis.hostKey) }}{{ $problems = append $problems "redis.passwordKey or usernameKey is set but there is no address: set redis.url (without a password in it), or redis.hostKey" }}{{ end -}}
{{- if and $v.redis.hostKey $v.redis.url (not (contains "$(REDIS_HOST)" $v.redis.url)) }}{{ $problems = append $problems "redis.hostKey and a whole redis.url are both set: write $(REDIS_HOST) into redis.url where the host belongs, or remove one" }}{{ end -}}
{{- end -}}
{{- if and (contains "$(" $v.redis.url) (not $v.redis.hostKey) }}{{ $problems = append $problems "redis.url has a variable, but there is no redis.hostKey: name the key of the Secret that has the host" }}{{ end -}}
{{- if and $v.redis.username $v.redis.usernameKey }}{{ $problems = append $problems "redis.username and redis.usernameKey are both set: remove one" }}{{ end -}}
{{- if and $v.redis.username (not (include "sluice.hasRedis" .)) }}{{ $problems = append $problems "redis.username is set but there is no Redis: set redis.url or redis.existingSecret" }}{{ end -}}
{{- range $name := list "mqtt" "redis" -}}
{{- $tls := (get $v $name).tls -}}
{{- if and $tls.existingSecret (not $tls.caKey) (not $tls.clientCertificate) }}{{ $problems = append $problems (printf "%s.tls.existingSecret is set but nothing is taken from it: set %s.tls.caKey or %s.tls.clientCertificate=true, or remove the Secret" $name $name $name) }}{{ end -}}
{{- end -}}
{{- if and (ne $v.service.type "LoadBalancer") (or $v.service.loadBalancerClass $v.service.loadBalancerSourceRanges) }}{{ $problems = append $problems "service.loadBalancerClass and service.loadBalancerSourceRanges need service.type=LoadBalancer: set it, or remove them" }}{{ end -}}
{{- if and (eq $v.service.type "ClusterIP") $v.service.externalTrafficPolicy }}{{ $problems = append $problems "service.externalTrafficPolicy needs service.type LoadBalancer or NodePort: set it, or leave it empty" }}{{ end -}}
{{- if regexMatch "^(127\\.|::1$|localhost$)" (toString $v.settings.HOST) }}{{ $problems = append $problems (printf "settings.HOST is %s, where neither probes nor clients reach the pod: use 0.0.0.0, or '::' for IPv6" $v.settings.HOST) }}{{ end -}}
{{- $paths := dict -}}
{{- if and $v.ingress.enabled (eq $v.ingress.pathType "Prefix") }}{{ $_ := set $paths "ingress.path" $v.ingress.path }}{{ end -}}
{{- if $v.httpRoute.enabled }}{{ $_ := set $paths "httpRoute.path" $v.httpRoute.path }}{{ end -}}
{{- range $name, $path := $paths -}}
{{- if not (hasPrefix (printf "%s/" (trimSuffix "/" $path)) (printf "%s/" $v.websocket.path)) }}{{ $problems = append $problems (printf "%s is %s, which does not lead to websocket.path %s: make it a beginning of that, such as /" $name $path $v.websocket.path) }}{{ end -}}
{{- end -}}
{{- if and $v.ingress.enabled (eq $v.ingress.pathType "Exact") (ne $v.ingress.path $v.websocket.path) }}{{ $problems = append $problems (printf "ingress.path is %s, exactly, which does not lead to websocket.path %s: make them the same, or ingress.pathType=Prefix" $v.ingress.path $v.websocket.path) }}{{ end -}}

{{- if and (gt $pods 1) (not (include "sluice.hasRedis" .)) }}{{ $problems = append $problems (printf "%d pods without Redis would each have rooms of their own: set redis.existingSecret or redis.url, or run one pod (replicaCount=1, autoscaling.enabled=false)" $pods) }}{{ end -}}
{{- if and $v.ingest.enabled (not (include "sluice.hasRedis" .)) }}{{ $problems = append $problems "ingest.enabled is true but there is no Redis, in which pods that read and pods that serve dashboards meet: set redis.existingSecret or redis.url, or ingest.enabled=false" }}{{ end -}}
{{- /* `trim`: the number may be written as text. */ -}}
{{- $shards := int (trim (toString $v.settings.INGEST_SHARDS)) -}}
{{- if gt $shards 1 -}}
{{- if not (include "sluice.hasRedis" .) }}{{ $problems = append $problems (printf "settings.INGEST_SHARDS is %d but there is no Redis, in which each reader has a lease: set redis.existingSecret or redis.url, or remove the setting" $shards) }}{{ end -}}
{{- if ne $v.mqtt.ingest "leased" }}{{ $problems = append $problems (printf "settings.INGEST_SHARDS is %d but mqtt.ingest is %s: set mqtt.ingest=leased, under which each reader has its part of the topics, or remove the setting" $shards $v.mqtt.ingest) }}{{ end -}}
{{- /* What a file of the operator's own divides, the program alone can say. */ -}}
{{- $own := or $v.settings.LAYOUT_FILE (and $v.envFrom (not $v.layouts)) -}}
{{- range $v.extraEnv }}{{ if eq .name "LAYOUT_FILE" }}{{ $own = true }}{{ end }}{{ end -}}
{{- if not $own -}}
{{- $parts := int (include "sluice.layoutParts" .) -}}
{{- if not $v.layouts }}{{ $problems = append $problems (printf "settings.INGEST_SHARDS is %d but there are no layouts, whose only says how topics are divided: set layouts (or settings.LAYOUT_FILE), or remove the setting" $shards) -}}
{{- else if lt $parts $shards }}{{ $problems = append $problems (printf "settings.INGEST_SHARDS is %d but the topics of layouts come in %d: name more values in only, of a level that is in device and in each topic, or lower the setting" $shards $parts) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- if $v.autoscaling.enabled -}}
{{- $limits := default dict $v.resources.limits -}}
{{- $requests := default dict $v.resources.requests -}}
{{- if not (and $limits.cpu $limits.memory $requests.cpu) }}{{ $problems = append $problems "autoscaling needs something to measure against: set resources.limits.cpu, resources.limits.memory and resources.requests.cpu, or autoscaling.enabled=false" }}{{ end -}}
{{- if gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas) }}{{ $problems = append $problems "autoscaling.minReplicas is greater than autoscaling.maxReplicas: lower the one or raise the other" }}{{ end -}}
{{- if not (or $v.autoscaling.targetCPUUtilizationPercentage $v.autoscaling.connections.targetPerPod) }}{{ $problems = append $problems "autoscaling has no target: set autoscaling.targetCPUUtilizationPercentage or autoscaling.connections.targetPerPod" }}{{ end -}}
{{- end -}}
{{- $limits := default dict $v.resources.limits -}}
{{- if not (and $limits.cpu $limits.memory) }}{{ $problems = append $problems "a container without limits can take its node down: set resources.limits.cpu and resources.limits.memory" }}{{ end -}}

{{- $least := add (int $v.drain.preStopSeconds) (int $v.drain.timeoutSeconds) -}}
{{- if lt (int (include "sluice.gracePeriodSeconds" .)) (int $least) }}{{ $problems = append $problems (printf "the drain is longer than the grace period: set drain.terminationGracePeriodSeconds to at least %d (preStopSeconds + timeoutSeconds), leave it null, or lower drain.timeoutSeconds" $least) }}{{ end -}}
{{- if and $v.layouts $v.settings.LAYOUT_FILE }}{{ $problems = append $problems "layouts and settings.LAYOUT_FILE are both set: the chart makes the file of layouts, remove the setting" }}{{ end -}}
{{- if and $v.layouts (hasKey $v.files "layouts.yaml") }}{{ $problems = append $problems "layouts and a file layouts.yaml are both set: the chart makes that file of layouts, remove one" }}{{ end -}}
{{- range $name, $value := $v.settings -}}
{{- $file := trimPrefix "/etc/sluice/files/" (toString $value) -}}
{{- if and (hasPrefix "/etc/sluice/files/" (toString $value)) (not (hasKey $v.files $file)) }}{{ $problems = append $problems (printf "settings.%s names %s, which nobody mounts: put its content under files, as %q, or correct the name" $name $value $file) }}{{ end -}}
{{- end -}}
{{- if and $v.ingress.enabled (not $v.ingress.hosts) }}{{ $problems = append $problems "ingress.enabled is true but there is no host: set ingress.hosts" }}{{ end -}}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.parentRefs) }}{{ $problems = append $problems "httpRoute.enabled is true but no Gateway is named: set httpRoute.parentRefs" }}{{ end -}}
{{- if and (eq (toString $v.podDisruptionBudget.maxUnavailable) "0") $v.podDisruptionBudget.enabled }}{{ $problems = append $problems "podDisruptionBudget.maxUnavailable is 0, which blocks every node drain for ever: use at least 1" }}{{ end -}}

{{- with concat $missing $problems -}}
{{- fail (printf "\n\nThese values cannot work, %d to correct:\n  - %s\n" (len .) (join "\n  - " .)) -}}
{{- end -}}
{{- /* `helm lint` overlooks fail; a template that is not there it does not. What is only missing is no mistake of a chart's. */ -}}
{{- with $problems -}}
{{- include (printf "values that cannot work: %s" (join "; " .)) $ -}}
{{- end -}}
{{- end -}}

{{/*
Parts that the topics of `layouts` come in, at most: INGEST_SHARDS divides a layout by the levels that its `only` lists and that are in
`device` and in each of its topics (src/layouts/division.ts). What a preset says is not known here, so that nothing is refused that works.
*/}}
{{- define "sluice.layoutParts" -}}
{{- $parts := 0 -}}
{{- range $layout := .Values.layouts -}}
{{- $routes := list -}}
{{- range $kind := list "telemetry" "status" "meta" }}{{ $routes = concat $routes (get $layout $kind | default list) }}{{ end -}}
{{- $product := 1 -}}
{{- range $level, $values := $layout.only -}}
{{- $written := printf "{%s}" $level -}}
{{- $divides := contains $written ($layout.device | default $written) -}}
{{- range $route := $routes -}}
{{- if not (contains $written ($route.topic | default $written)) }}{{ $divides = false }}{{ end -}}
{{- $values = concat $values (get ($route.only | default dict) $level | default list) -}}
{{- end -}}
{{- if $divides }}{{ $product = mul $product (len (uniq $values)) }}{{ end -}}
{{- end -}}
{{- $parts = add $parts $product -}}
{{- end -}}
{{- $parts -}}
{{- end -}}
