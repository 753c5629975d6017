{{- define "podroute.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* One object of a kind for each spec: (list KIND SPECS). */}}
{{- define "podroute.objects" -}}
{{- $kind := index . 0 -}}
{{- range $name, $spec := index . 1 }}
---
apiVersion: podroute.io/v1alpha1
kind: {{ $kind }}
metadata:
  name: {{ $name }}
spec:
  {{- toYaml $spec | nindent 2 }}
{{- end }}
{{- end -}}
