package paho

import (
	"crypto/tls"
	"net/http"
	"net/url"
	"time"
)

// A ClientOptionsReader gives read access to ClientOptions.
type ClientOptionsReader struct {
	options *ClientOptions
}

// NewOptionsReader returns a reader of o. It is meant for replacements of Client in tests.
func NewOptionsReader(o *ClientOptions) ClientOptionsReader { return ClientOptionsReader{o} }

// Servers returns a copy of the list of servers.
func (r *ClientOptionsReader) Servers() []*url.URL {
	servers := make([]*url.URL, len(r.options.Servers))
	for i, u := range r.options.Servers {
		c := *u
		servers[i] = &c
	}
	return servers
}

// ResumeSubs returns what SetResumeSubs set.
func (r *ClientOptionsReader) ResumeSubs() bool { return r.options.ResumeSubs }

// ClientID returns what SetClientID set.
func (r *ClientOptionsReader) ClientID() string { return r.options.ClientID }

// Username returns what SetUsername set.
func (r *ClientOptionsReader) Username() string { return r.options.Username }

// Password returns what SetPassword set.
func (r *ClientOptionsReader) Password() string { return r.options.Password }

// CleanSession returns what SetCleanSession set.
func (r *ClientOptionsReader) CleanSession() bool { return r.options.CleanSession }

// Order returns what SetOrderMatters set.
func (r *ClientOptionsReader) Order() bool { return r.options.Order }

// WillEnabled reports whether there is a Will.
func (r *ClientOptionsReader) WillEnabled() bool { return r.options.WillEnabled }

// WillTopic returns the Topic Name of the Will.
func (r *ClientOptionsReader) WillTopic() string { return r.options.WillTopic }

// WillPayload returns the payload of the Will.
func (r *ClientOptionsReader) WillPayload() []byte { return r.options.WillPayload }

// WillQos returns the QoS of the Will.
func (r *ClientOptionsReader) WillQos() byte { return r.options.WillQos }

// WillRetained reports whether the Will is retained.
func (r *ClientOptionsReader) WillRetained() bool { return r.options.WillRetained }

// ProtocolVersion returns 4, or what SetProtocolVersion set.
func (r *ClientOptionsReader) ProtocolVersion() uint { return r.options.ProtocolVersion }

// TLSConfig returns what SetTLSConfig set.
func (r *ClientOptionsReader) TLSConfig() *tls.Config { return r.options.TLSConfig }

// KeepAlive returns what SetKeepAlive set, in whole seconds.
func (r *ClientOptionsReader) KeepAlive() time.Duration {
	return time.Duration(r.options.KeepAlive) * time.Second
}

// PingTimeout returns what SetPingTimeout set.
func (r *ClientOptionsReader) PingTimeout() time.Duration { return r.options.PingTimeout }

// ConnectTimeout returns what SetConnectTimeout set.
func (r *ClientOptionsReader) ConnectTimeout() time.Duration { return r.options.ConnectTimeout }

// MaxReconnectInterval returns what SetMaxReconnectInterval set.
func (r *ClientOptionsReader) MaxReconnectInterval() time.Duration {
	return r.options.MaxReconnectInterval
}

// AutoReconnect returns what SetAutoReconnect set.
func (r *ClientOptionsReader) AutoReconnect() bool { return r.options.AutoReconnect }

// ConnectRetryInterval returns what SetConnectRetryInterval set.
func (r *ClientOptionsReader) ConnectRetryInterval() time.Duration {
	return r.options.ConnectRetryInterval
}

// ConnectRetry returns what SetConnectRetry set.
func (r *ClientOptionsReader) ConnectRetry() bool { return r.options.ConnectRetry }

// WriteTimeout returns what SetWriteTimeout set.
func (r *ClientOptionsReader) WriteTimeout() time.Duration { return r.options.WriteTimeout }

// MessageChannelDepth returns what SetMessageChannelDepth set.
func (r *ClientOptionsReader) MessageChannelDepth() uint { return r.options.MessageChannelDepth }

// HTTPHeaders returns what SetHTTPHeaders set.
func (r *ClientOptionsReader) HTTPHeaders() http.Header { return r.options.HTTPHeaders }

// WebsocketOptions returns what SetWebsocketOptions set.
func (r *ClientOptionsReader) WebsocketOptions() *WebsocketOptions {
	return r.options.WebsocketOptions
}
