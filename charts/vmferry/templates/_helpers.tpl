{{- define "vmferry.labels" -}}
app.kubernetes.io/name: vmferry
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* The image of a target of images/Containerfile: (dict "root" $ "target" "vmware"). */}}
{{- define "vmferry.image" -}}
{{- $images := .root.Values.images -}}
{{- with $images.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{ $images.repository }}/{{ .target }}
{{- with index $images.digests .target }}@{{ . }}{{ else }}:{{ $images.tag | default $.root.Chart.AppVersion }}{{ end -}}
{{- end }}

{{/* The proxy for sources as environment variables, for containers that connect to a source; empty without a proxy.
In lower case, which takes precedence: other tools may set the upper-case ones in every pod. */}}
{{- define "vmferry.sourceProxy" -}}
{{- $proxy := .Values.sourceProxy -}}
{{- if and $proxy.secret (or $proxy.http $proxy.https) -}}
{{- fail "sourceProxy.secret names a Secret with the keys http and https: leave sourceProxy.http and sourceProxy.https empty" -}}
{{- end -}}
{{- range $key := list "http" "https" }}
{{- if $proxy.secret }}
- name: {{ $key }}_proxy
  valueFrom:
    secretKeyRef:
      name: {{ $proxy.secret }}
      key: {{ $key }}
{{- else if index $proxy $key }}
- name: {{ $key }}_proxy
  value: {{ index $proxy $key | quote }}
{{- end }}
{{- end }}
{{- with $proxy.noProxy }}
- name: no_proxy
  value: {{ . | quote }}
{{- end }}
{{- end }}

{{/* The guard on connections to sources, as environment variables for the same containers; empty without a guard. */}}
{{- define "vmferry.sourceGuard" -}}
{{- with .Values.sourceNetwork }}
{{- if .guard }}
- name: VMFERRY_BLOCKED_NETWORKS
  value: {{ join "," .blocked | quote }}
- name: VMFERRY_ALLOWED_NETWORKS
  value: {{ join "," .allowed | quote }}
- name: VMFERRY_REDIRECT_HOSTS
  value: {{ join "," .redirectHosts | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* Settings of the pods that check sources: `checks` of the controller's options. */}}
{{- define "vmferry.checks" -}}
{{- $images := dict -}}
{{- range $target := list "vmware" "openstack" "ova" "ovirt" "kubevirt" "target" }}
{{- $_ := set $images $target (include "vmferry.image" (dict "root" $ "target" $target)) }}
{{- end }}
{{- $environment := concat (include "vmferry.sourceProxy" . | fromYamlArray) (include "vmferry.sourceGuard" . | fromYamlArray) | default list -}}
{{- with .Values.checks -}}
{{- toYaml (dict "images" $images "pullPolicy" $.Values.images.pullPolicy "pullSecrets" $.Values.images.pullSecrets "environment" $environment "resources" .resources "atOnce" .atOnce "atOncePerNamespace" .atOncePerNamespace "startSeconds" .startSeconds) -}}
{{- end }}
{{- end }}

{{/*
How disks get to their volumes on the target kubevirt. `auto` gives no rights that nobody needs: where the target is
Harvester, and where the API server has no admission policies to limit them, it is `pull`.
*/}}
{{- define "vmferry.disks" -}}
{{- $api := .Capabilities.APIVersions -}}
{{- $target := .Values.import.target | default (ternary "harvester" "kubevirt" ($api.Has "harvesterhci.io/v1beta1")) -}}
{{- $limited := $api.Has "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy" -}}
{{- $auto := ternary "auto" "pull" (and $limited (eq $target "kubevirt")) -}}
{{- ternary $auto .Values.kubevirt.disks (eq .Values.kubevirt.disks "auto") -}}
{{- end }}

{{/* Whether disks may land on their volumes: "true" or empty. */}}
{{- define "vmferry.lands" -}}
{{- if or (ne (include "vmferry.disks" .) "pull") .Values.harvester.allowVolumes }}true{{ end -}}
{{- end }}

{{/* The namespace of KubeVirt, whose metrics the boot check reads. */}}
{{- define "vmferry.kubevirtNamespace" -}}
{{- $harvester := .Capabilities.APIVersions.Has "harvesterhci.io/v1beta1" -}}
{{- .Values.bootCheck.kubevirtNamespace | default (ternary "harvester-system" "kubevirt" $harvester) -}}
{{- end }}

{{/* Binds a ClusterRole to an identity in the namespaces for imports: (dict "root" $ "role" NAME "identity" NAME). */}}
{{- define "vmferry.bind" -}}
{{- $root := .root -}}
{{- $role := .role -}}
{{- $identity := .identity -}}
{{- range $root.Values.namespaces | default (list "") }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ ternary "RoleBinding" "ClusterRoleBinding" (ne . "") }}
metadata:
  name: {{ $role }}
  {{- with . }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "vmferry.labels" $root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ $role }}
subjects:
  - kind: ServiceAccount
    name: vmferry-{{ $identity }}
    namespace: {{ $root.Release.Namespace }}
{{- end }}
{{- end }}

{{/* A Role of an identity in the release namespace and its binding: (dict "root" $ "identity" NAME "rules" LIST). */}}
{{- define "vmferry.role" -}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: vmferry-{{ .identity }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "vmferry.labels" .root | nindent 4 }}
rules:
  {{- toYaml .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: vmferry-{{ .identity }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "vmferry.labels" .root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: vmferry-{{ .identity }}
subjects:
  - kind: ServiceAccount
    name: vmferry-{{ .identity }}
    namespace: {{ .root.Release.Namespace }}
{{- end }}

{{/* A network or an address as a network. */}}
{{- define "vmferry.cidr" -}}
{{- . }}{{ if not (contains "/" .) }}{{ ternary "/128" "/32" (contains ":" .) }}{{ end -}}
{{- end }}

{{/* The profiles of imports as the controller reads them. The factor is a number: helm --set turns a fraction into a string. */}}
{{- define "vmferry.profiles" -}}
{{- $default := .Values.import.defaultProfile -}}
{{- if and $default (not (hasKey .Values.import.profiles $default)) -}}
{{- fail (printf "import.defaultProfile names %s, which is not in import.profiles" $default) -}}
{{- end -}}
{{- $made := dict -}}
{{- range $name, $given := .Values.import.profiles -}}
{{- $profile := deepCopy $given -}}
{{- with $given.scratch -}}
{{- $scratch := merge (dict) . $.Values.scratch -}}
{{- $_ := set $scratch "filesystemFactor" (float64 $scratch.filesystemFactor) -}}
{{- $_ := set $profile "scratch" $scratch -}}
{{- end -}}
{{- $_ := set $made $name $profile -}}
{{- end -}}
{{ toYaml $made }}
{{- end }}
