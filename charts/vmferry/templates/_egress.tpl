{{/* Which pods may connect to what: for each NetworkPolicy of egress.yaml the pods, and parts of "vmferry.egressRules".
Every pod of a Workflow may reach the API server, where Argo's executor reports; a new stage gets nothing more. Pods that
check a source (stage verify) are not part of a Workflow and have no token. build and start check it in an init container.
The controller connects only to the API server, by the address that Kubernetes gives each pod. */}}
{{- define "vmferry.egress" -}}
{{- $stage := "migration.harvesterhci.io/stage" -}}
{{- $release := dict "app.kubernetes.io/name" "vmferry" "app.kubernetes.io/instance" .Release.Name -}}
steps:
  pods:
    matchExpressions:
      - {key: {{ $stage }}, operator: Exists}
      - {key: {{ $stage }}, operator: NotIn, values: [verify]}
  to: [apiServer, moreForSteps]
sources:
  pods:
    matchExpressions:
      - {key: {{ $stage }}, operator: In, values: [preflight, poweroff, export, build, start, release-source, verify]}
  to: [nameServers, sources, moreForSources]
image:
  pods:
    matchLabels: {{ dict $stage "image" | toJson }}
  to: [nameServers, serve]
{{- if .Values.bootCheck.allowed }}
check:
  pods:
    matchLabels: {{ dict $stage "check" | toJson }}
  to: [nameServers, kubevirtMetrics, guests]
{{- end }}
{{- if .Values.hooks.allowed }}
hooks:
  pods:
    matchExpressions:
      - {key: migration.harvesterhci.io/hook-of, operator: Exists}
  to: [nameServers, hooks]
{{- end }}
controller:
  pods:
    matchLabels: {{ merge (dict "app.kubernetes.io/component" "controller") $release | toJson }}
  to: [apiServer]
uninstall:
  pods:
    matchLabels: {{ merge (dict "app.kubernetes.io/component" "uninstall") $release | toJson }}
  to: [apiServer]
{{- end }}

{{/* Rules of a NetworkPolicy by the name of their part. */}}
{{- define "vmferry.egressRules" -}}
apiServer:
  - ports:
      {{- range include "vmferry.apiServerPorts" . | fromYamlArray }}
      - {protocol: TCP, port: {{ . }}}
      {{- end }}
    {{- with .Values.egress.apiServer.addresses }}
    to:
      {{- range . }}
      - ipBlock: {cidr: {{ include "vmferry.cidr" . | quote }}}
      {{- end }}
    {{- end }}
nameServers:
  - ports:
      - {protocol: UDP, port: 53}
      - {protocol: TCP, port: 53}
    {{- with .Values.egress.nameServers }}
    to: {{ toJson . }}
    {{- end }}
serve:
  - ports:
      - {protocol: TCP, port: 8080}
    to:
      - podSelector: {matchLabels: {migration.harvesterhci.io/stage: serve}}
sources:
  - ports:
      - protocol: TCP
    to:
      {{- range .Values.egress.sources | default (include "vmferry.allNetworks" . | fromYamlArray) }}
      - ipBlock: {{ toJson . }}
      {{- end }}
      {{- range .Values.sourceNetwork.allowed }}
      - ipBlock: {cidr: {{ include "vmferry.cidr" . | quote }}}
      {{- end }}
kubevirtMetrics:
  - ports:
      - {protocol: TCP, port: 8443}
    to:
      - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: {{ include "vmferry.kubevirtNamespace" . }}}}
        podSelector: {matchExpressions: [{key: prometheus.kubevirt.io, operator: Exists}]}
guests:
  - ports:
      - protocol: TCP
    to:
      - namespaceSelector: {}
        podSelector: {matchLabels: {kubevirt.io: virt-launcher}}
      {{- range .Values.bootCheck.networks }}
      - ipBlock: {cidr: {{ include "vmferry.cidr" . | quote }}}
      {{- end }}
hooks:
  - ports:
      - protocol: TCP
    to:
      {{- range .Values.hooks.networks | default (include "vmferry.allNetworks" . | fromYamlArray) }}
      - ipBlock: {{ toJson . }}
      {{- end }}
moreForSources: {{ toJson .Values.egress.extra.sources }}
moreForSteps: {{ toJson .Values.egress.extra.steps }}
{{- end }}

{{/* All networks except those that steps/runtime/guard.py refuses, as ipBlocks. */}}
{{- define "vmferry.allNetworks" -}}
{{- $ipv4 := list "0.0.0.0/8" "127.0.0.0/8" "169.254.0.0/16" "224.0.0.0/4" "255.255.255.255/32" -}}
{{- $ipv4 = concat $ipv4 (list "100.100.100.200/32" "168.63.129.16/32" "192.0.0.192/32") -}}
{{- $ipv6 := list "::/128" "::1/128" "fe80::/10" "ff00::/8" "fd00:ec2::254/128" "fd20:ce::254/128" -}}
{{- range .Values.sourceNetwork.blocked -}}
{{- $network := include "vmferry.cidr" . -}}
{{- if contains ":" . }}{{ $ipv6 = append $ipv6 $network }}{{ else }}{{ $ipv4 = append $ipv4 $network }}{{ end -}}
{{- end -}}
- {cidr: 0.0.0.0/0, except: {{ uniq $ipv4 | toJson }}}
- {cidr: "::/0", except: {{ uniq $ipv6 | toJson }}}
{{- end }}

{{/* TCP ports of the API server's own addresses: a policy compares these, not the address of the Service. */}}
{{- define "vmferry.apiServerPorts" -}}
{{- $ports := .Values.egress.apiServer.ports | default list -}}
{{- if not $ports -}}
{{- range (lookup "discovery.k8s.io/v1" "EndpointSlice" "default" "kubernetes").ports }}{{ $ports = append $ports .port }}{{ end -}}
{{- end -}}
{{- $ports | default (list 6443) | uniq | toJson -}}
{{- end }}
