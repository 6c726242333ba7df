{{/* Names of a release: at most 63 characters with the name of the part. */}}
{{- define "bridge.name" -}}
{{- if contains "attempt-bridge" .Release.Name -}}{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}{{ printf "%s-attempt-bridge" .Release.Name | trunc 50 | trimSuffix "-" }}{{- end -}}
{{- end }}

{{- define "bridge.selector" -}}
app.kubernetes.io/name: attempt-bridge
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "bridge.labels" -}}
{{ include "bridge.selector" . }}
app.kubernetes.io/version: {{ .root.Values.image.tag | quote }}
{{- end }}

{{- define "bridge.confined" -}}
{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
{{- end }}

{{/* A deployment of one part. Arguments: root, part, args, replicas, values, probes (the YAML of all probes). */}}
{{- define "bridge.deployment" -}}
{{- $root := .root -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "bridge.name" $root }}-{{ .part }}
  labels:
    {{- include "bridge.labels" . | nindent 4 }}
spec:
  replicas: {{ .replicas }}
  {{- if eq .part "beat" }}
  # Two at a time would plan everything twice.
  strategy: {type: Recreate}
  {{- else }}
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  {{- end }}
  selector:
    matchLabels:
      {{- include "bridge.selector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "bridge.labels" . | nindent 8 }}
      annotations:
        checksum/config: {{ $root.Values.config | sha256sum }}
        {{- with $root.Values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      # What Kubernetes would set for the service has our prefix: ATTEMPT_BRIDGE_WEB_PORT.
      enableServiceLinks: false
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 30
      securityContext:
        runAsNonRoot: true
        runAsUser: 10001
        runAsGroup: 10001
        seccompProfile: {type: RuntimeDefault}
      {{- with $root.Values.imagePullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $root.Values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $root.Values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "bridge.selector" . | nindent 14 }}
      initContainers:
        # An emptyDir has mode 0777; the bridge stores nothing where others may write.
        - name: data
          image: {{ printf "%s:%s" $root.Values.image.repository $root.Values.image.tag | quote }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          command: [install, -d, -m, "700", /volume/bridge]
          securityContext: {{ include "bridge.confined" $root }}
          resources:
            {{- toYaml .values.resources | nindent 12 }}
          volumeMounts:
            - {name: data, mountPath: /volume}
      containers:
        - name: {{ .part }}
          image: {{ printf "%s:%s" $root.Values.image.repository $root.Values.image.tag | quote }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          args: {{ toJson .args }}
          env:
            - {name: ATTEMPT_BRIDGE_CONFIG, value: /data/bridge.yaml}
            - {name: ATTEMPT_BRIDGE_LOG_FORMAT, value: json}
            - {name: ATTEMPT_BRIDGE_LOG_LEVEL, value: {{ $root.Values.logLevel }}}
            # Without these keys the pods do not start: they would look for an embedded server.
            {{- range list "ATTEMPT_BRIDGE_STATE" "ATTEMPT_BRIDGE_BROKER" }}
            - name: {{ . }}
              valueFrom: {secretKeyRef: {name: {{ $root.Values.existingSecret }}, key: {{ . }}}}
            {{- end }}
          envFrom:
            - secretRef: {name: {{ $root.Values.existingSecret }}}
          {{- if eq .part "web" }}
          ports:
            - {name: http, containerPort: 8080}
          {{- end }}
          {{- .probes | nindent 10 }}
          securityContext: {{ include "bridge.confined" $root }}
          resources:
            {{- toYaml .values.resources | nindent 12 }}
          volumeMounts:
            - {name: data, mountPath: /data, subPath: bridge}
            - {name: config, mountPath: /data/bridge.yaml, subPath: bridge.yaml, readOnly: true}
            - {name: tmp, mountPath: /tmp}
      volumes:
        - {name: data, emptyDir: {}}
        - {name: tmp, emptyDir: {}}
        - name: config
          configMap: {name: {{ include "bridge.name" $root }}}
{{- end }}

{{- define "bridge.budget" -}}
{{- if .values.disruptionBudget.enabled -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "bridge.name" .root }}-{{ .part }}
  labels:
    {{- include "bridge.labels" . | nindent 4 }}
spec:
  maxUnavailable: {{ .values.disruptionBudget.maxUnavailable | default 1 }}
  selector:
    matchLabels:
      {{- include "bridge.selector" . | nindent 6 }}
{{- end }}
{{- end }}

{{/* The heartbeat of worker, beat or dispatch, which any process of that part renews. Not for liveness: while the state
     server is away, Kubernetes would restart every pod again and again, at growing intervals, and cure nothing. */}}
{{- define "bridge.heartbeat" -}}
readinessProbe:
  exec: {command: [python, -m, bridge.runtime.healthcheck, {{ . }}]}
  periodSeconds: 30
  timeoutSeconds: 10
  failureThreshold: 2
{{- end }}
