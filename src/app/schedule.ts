// Reads cron lines: when the next time is.

import { Cron } from 'croner'

/** After `from`, in the zone's own time, summer and winter; undefined: never again. */
export function nextTime(line: string, zone: string, from: Date): Date | undefined {
  return new Cron(line, { timezone: zone, paused: true }).nextRun(from) ?? undefined
}
