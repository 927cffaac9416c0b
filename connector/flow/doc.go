// Package flow defines the flows of package connector: messages and errors, steps that combine
// flows, and templates. Of the MQTT packages it imports only packets, so that steps can be written
// and tested without a connector.
package flow
