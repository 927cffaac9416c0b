// The pages of the navigation, in its order.
import * as connector from './connector.js'
import * as deadletters from './deadletters.js'
import * as health from './health.js'
import * as live from './live.js'

export default [connector, live, health, deadletters]
