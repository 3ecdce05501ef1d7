// The console: its door, and its pages behind it.

import type { Router } from 'express'
import { consoleDoor, type DoorDeps } from './door.ts'
import { type ImportPageDeps, importPages } from './imports.ts'
import { type RunPageDeps, runPages } from './runs.ts'
import { type WorkPageDeps, workPages } from './work.ts'

export function consoleRoutes(deps: DoorDeps & ImportPageDeps & RunPageDeps & WorkPageDeps): Router {
  const door = consoleDoor(deps)
  importPages(door, deps)
  runPages(door, deps)
  workPages(door, deps)
  return door.router
}
