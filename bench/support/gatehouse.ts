// Gatehouse as it is served, for measuring.

import { assemble } from '../../src/app/assemble.ts'
import { readConfig } from '../../src/app/config.ts'
import { dataKeys, secretKey, serviceProviderKeys } from '../../src/app/keys.ts'
import { listen } from '../../src/app/server.ts'
import { openDatabase } from '../../src/store/db.ts'
import { reportTo } from './measured.ts'

const config = readConfig(process.env)
const db = openDatabase(config.database, dataKeys(config))
const house = assemble({ config, db, keys: await serviceProviderKeys(config), secretKey: secretKey(config) })
await listen(house, { port: config.port, address: '127.0.0.1', baseUrl: config.baseUrl })
reportTo(config.port)
