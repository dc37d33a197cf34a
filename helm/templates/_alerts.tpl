{{/*
The alerts, as a list. Each has a name, a severity, an expression, a time, a summary and what to do. `critical` wakes somebody up,
`warning` can wait for the morning. SEL selects this release's replicas; a name of a metric is a name in the program.
*/}}
{{- define "snorri.alerts" -}}
{{- $sel := printf "namespace=%q,job=%q" .Release.Namespace (printf "%s-admin" (include "snorri.fullname" .)) -}}
{{- $budget := round (divf (subf 100.0 .Values.metrics.prometheusRule.sloPercent) 100.0) 6 -}}
- alert: SnorriDown
  severity: critical
  for: 2m
  expr: absent(up{ {{- $sel -}} } == 1)
  summary: No replica of Snorri answers.
  description: No saga moves. Starts are refused or time out; what was accepted is safe in Postgres and goes on as soon as one replica is back.
- alert: SnorriReplicaDown
  severity: warning
  for: 5m
  expr: up{ {{- $sel -}} } == 0
  summary: A replica of Snorri does not answer.
  description: {{ `"{{ $labels.instance }} has not been scraped for 5 minutes. Its live sagas were taken over by the others."` }}
- alert: SnorriPostgresDown
  severity: critical
  for: 1m
  expr: min by (instance) (snorri_postgres_up{ {{- $sel -}} }) == 0
  summary: A replica of Snorri does not reach Postgres.
  description: {{ `"{{ $labels.instance }} cannot read or commit. Sagas stand still until Postgres is back; windows go on running."` }}
- alert: SnorriNatsDown
  severity: critical
  for: 1m
  expr: min by (instance) (snorri_nats_up{ {{- $sel -}} }) == 0
  summary: A replica of Snorri does not reach NATS.
  description: {{ `"{{ $labels.instance }} can neither send commands nor take replies. Nothing is lost; what is in flight is sent again when NATS is back."` }}
- alert: SnorriSagasBlocked
  severity: critical
  for: 1m
  expr: max(snorri_sagas_blocked{ {{- $sel -}} }) > 0
  summary: Sagas are blocked and wait for a person.
  description: {{ `"{{ $value }} sagas are blocked. List them with their reasons (GET /v1/sagas?status=blocked), mend the cause, then retry, skip or resolve them."` }}
- alert: SnorriLateSuccessStays
  severity: critical
  for: 0m
  expr: sum(increase(snorri_late_replies_total{ {{- $sel -}},neutralised="false"}[15m])) > 0
  summary: A step succeeded too late and is not undone.
  description: {{ `"About {{ $value | humanize }} successes in 15 minutes came after their saga was undone, and nothing undoes them. The log has each with saga_id and step (level ERROR): undo it by hand at the participant."` }}
- alert: SnorriWindowsMissed
  severity: warning
  for: 0m
  expr: sum(increase(snorri_saga_windows_missed_total{ {{- $sel -}} }[10m])) > 0
  summary: Sagas missed their window.
  description: {{ `"About {{ $value | humanize }} sagas were still live at the end of their window in the last 10 minutes."` }}
- alert: SnorriWindowSloFastBurn
  severity: critical
  for: 2m
  expr: >-
    (snorri:windows_missed:ratio1h{ {{- $sel -}} } > {{ round (mulf 14.4 $budget) 6 }} and snorri:windows_missed:ratio5m{ {{- $sel -}} } > {{ round (mulf 14.4 $budget) 6 }})
    or
    (snorri:windows_missed:ratio6h{ {{- $sel -}} } > {{ round (mulf 6.0 $budget) 6 }} and snorri:windows_missed:ratio30m{ {{- $sel -}} } > {{ round (mulf 6.0 $budget) 6 }})
  summary: Sagas miss their windows so fast that the month's budget is gone within days.
  description: {{ `"{{ $value | humanizePercentage }} of the started sagas missed their window. Look at blocked sagas, participants that time out, Postgres and NATS, in this order."` }}
- alert: SnorriWindowSloSlowBurn
  severity: warning
  for: 15m
  expr: >-
    (snorri:windows_missed:ratio1d{ {{- $sel -}} } > {{ round (mulf 3.0 $budget) 6 }} and snorri:windows_missed:ratio2h{ {{- $sel -}} } > {{ round (mulf 3.0 $budget) 6 }})
    or
    (snorri:windows_missed:ratio3d{ {{- $sel -}} } > {{ $budget }} and snorri:windows_missed:ratio6h{ {{- $sel -}} } > {{ $budget }})
  summary: Sagas miss their windows faster than the objective allows.
  description: {{ `"{{ $value | humanizePercentage }} of the started sagas missed their window over the last days."` }}
- alert: SnorriStartsRefused
  severity: warning
  for: 5m
  expr: sum by (reason) (rate(snorri_starts_refused_total{ {{- $sel -}} }[5m])) > {{ .Values.metrics.prometheusRule.startsRefusedPerSecond }}
  summary: Snorri refuses starts.
  description: {{ `"{{ $value | humanize }} starts a second are refused: {{ $labels.reason }}."` }}
- alert: SnorriLiveSagasNearLimit
  severity: warning
  for: 5m
  expr: sum by (instance) (snorri_sagas_live{ {{- $sel -}} }) > {{ mulf 0.9 .Values.config.liveSagasMax | int64 }}
  summary: The live sagas of a replica come near their limit.
  description: {{ printf `"{{ $labels.instance }} has {{ $value }} live sagas; at %d further starts are refused (config.liveSagasMax)."` (int64 .Values.config.liveSagasMax) }}
- alert: SnorriAnnouncementsOwed
  severity: warning
  for: 2m
  expr: max by (instance) (snorri_announcements_owed_seconds{ {{- $sel -}} }) > 60
  summary: Ends of sagas are not announced.
  description: {{ `"{{ $labels.instance }} has had ends to announce for {{ $value }} s that NATS does not take. Postgres has them: GET /v1/sagas/{id}/wait answers."` }}
- alert: SnorriDeadLetters
  severity: warning
  for: 0m
  expr: sum by (reason) (increase(snorri_dead_letters_total{ {{- $sel -}} }[15m])) > 0
  summary: Messages were put aside as dead letters.
  description: {{ `"About {{ $value | humanize }} messages in 15 minutes could not be used: {{ $labels.reason }}."` }}
- alert: SnorriStepsFailing
  severity: warning
  for: 10m
  expr: >-
    sum by (participant, direction) (rate(snorri_step_attempts_total{ {{- $sel -}},outcome=~"failed|unknown"}[10m]))
    / sum by (participant, direction) (rate(snorri_step_attempts_total{ {{- $sel -}} }[10m])) > 0.5
  summary: Most attempts at a participant fail.
  description: {{ `"{{ $value | humanizePercentage }} of the attempts ({{ $labels.direction }}) at {{ $labels.participant }} fail or stay without an answer."` }}
- alert: SnorriTakeovers
  severity: warning
  for: 0m
  expr: sum(increase(snorri_takeovers_total{ {{- $sel -}} }[30m])) > 3
  summary: Replicas take over from each other again and again.
  description: {{ `"About {{ $value | humanize }} takeovers in 30 minutes: replicas restart or lose their heartbeat. Look at memory limits and at Postgres's latency."` }}
- alert: SnorriCommitsSlow
  severity: warning
  for: 10m
  expr: histogram_quantile(0.99, sum by (le) (rate(snorri_commit_seconds_bucket{ {{- $sel -}} }[5m]))) > 0.5
  summary: Commits to Postgres are slow.
  description: {{ `"The slowest hundredth of the commits takes more than {{ $value | humanizeDuration }}."` }}
- alert: SnorriHttpErrors
  severity: warning
  for: 5m
  expr: >-
    sum(rate(snorri_http_requests_seconds_count{ {{- $sel -}},status=~"5.."}[5m]))
    / sum(rate(snorri_http_requests_seconds_count{ {{- $sel -}} }[5m])) > 0.05
  summary: Snorri answers requests with server errors.
  description: {{ `"{{ $value | humanizePercentage }} of the requests end with a status of 500 or more."` }}
- alert: SnorriVersionsMixed
  severity: warning
  for: 30m
  expr: count(count by (version) (snorri_build_info{ {{- $sel -}} })) > 1
  summary: Replicas of different versions run side by side.
  description: An upgrade stands still half way. Look at the rollout.
{{- end }}
