// Package flow has what flows of package connector are made of: messages and their errors, flows
// that are made of flows, and templates. It imports nothing of MQTT but package packets, so that
// steps can be written and tested without a connector.
package flow
