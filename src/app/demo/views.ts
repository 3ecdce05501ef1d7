// Where the demo's pages are.

import { fileURLToPath } from 'node:url'

export const viewsFolder = fileURLToPath(new URL('../../../views/', import.meta.url))
