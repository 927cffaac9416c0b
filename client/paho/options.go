package paho

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// ClientOptions configure a Client. Make them with NewClientOptions, which sets the defaults, and
// change them by the Set methods or fields before calling NewClient, which copies them.
type ClientOptions struct {
	Servers             []*url.URL
	ClientID            string
	Username            string
	Password            string
	CredentialsProvider CredentialsProvider
	CleanSession        bool
	Order               bool
	WillEnabled         bool
	WillTopic           string
	WillPayload         []byte
	WillQos             byte
	WillRetained        bool
	ProtocolVersion     uint

	TLSConfig                *tls.Config
	KeepAlive                int64 // in seconds
	PingTimeout              time.Duration
	ConnectTimeout           time.Duration
	MaxReconnectInterval     time.Duration
	AutoReconnect            bool
	ConnectRetryInterval     time.Duration
	ConnectRetry             bool
	Store                    Store
	DefaultPublishHandler    MessageHandler
	OnConnect                OnConnectHandler
	OnConnectionLost         ConnectionLostHandler
	OnReconnecting           ReconnectHandler
	OnConnectAttempt         ConnectionAttemptHandler
	OnConnectionNotification ConnectionNotificationHandler
	WriteTimeout             time.Duration
	MessageChannelDepth      uint
	ResumeSubs               bool
	HTTPHeaders              http.Header
	WebsocketOptions         *WebsocketOptions
	MaxResumePubInFlight     int // 0 means the default of package client
	Dialer                   *net.Dialer
	CustomOpenConnectionFn   OpenConnectionFunc
	AutoAckDisabled          bool

	wrong error // error of an AddBroker that could not read its URL
}

// The functions that a Client calls.
type (
	// A CredentialsProvider returns the user name and password for an attempt to connect. If it
	// takes longer than ConnectTimeout, it is not called again while it runs; a later attempt uses
	// its result.
	CredentialsProvider func() (username string, password string)

	// A MessageHandler is called with a message. It may block, publish and wait, subscribe, and
	// disconnect.
	MessageHandler func(Client, Message)

	// An OnConnectHandler is called each time the Server has accepted a connection.
	OnConnectHandler func(Client)

	// A ConnectionLostHandler is called when a connection ends without a call of Disconnect.
	ConnectionLostHandler func(Client, error)

	// A ReconnectHandler is called before every round of attempts to reconnect. Its changes of the
	// options take effect from then on, except those of ClientID, CleanSession, the Will and
	// durations. It is not called again while it runs.
	ReconnectHandler func(Client, *ClientOptions)

	// A ConnectionAttemptHandler is called before every attempt to connect, with the server and a
	// copy of TLSConfig, which may be nil. It returns the TLS configuration for this attempt.
	ConnectionAttemptHandler func(broker *url.URL, tlsCfg *tls.Config) *tls.Config

	// An OpenConnectionFunc opens a connection instead of the client.
	OpenConnectionFunc func(uri *url.URL, options ClientOptions) (net.Conn, error)

	// A ProxyFunction returns the URL of the proxy for a request, or nil for none.
	ProxyFunction func(req *http.Request) (*url.URL, error)
)

// WebsocketOptions are the options for ws and wss. The buffer sizes have no effect.
type WebsocketOptions struct {
	ReadBufferSize  int
	WriteBufferSize int
	Proxy           ProxyFunction // nil means http.ProxyFromEnvironment
}

const defaultTimeout = 30 * time.Second

// NewClientOptions returns the default options: a clean session, a keep alive of 30 seconds,
// reconnecting after pauses of at most 30 seconds, and handlers that run one at a time.
func NewClientOptions() *ClientOptions {
	return &ClientOptions{
		CleanSession:         true,
		Order:                true,
		KeepAlive:            30,
		PingTimeout:          10 * time.Second,
		ConnectTimeout:       defaultTimeout,
		MaxReconnectInterval: 30 * time.Second,
		AutoReconnect:        true,
		ConnectRetryInterval: 30 * time.Second,
		OnConnectionLost:     DefaultConnectionLostHandler,
		HTTPHeaders:          make(http.Header),
		WebsocketOptions:     new(WebsocketOptions),
		Dialer:               &net.Dialer{Timeout: defaultTimeout},
	}
}

var errNoURL = errors.New("paho: AddBroker: not a URL like tcp://host:1883; in a user name and a password /, ?, # and % " +
	"are written as %2F, %3F, %23 and %25")

// AddBroker adds a server, given as scheme://host:port. The schemes are tcp and mqtt; ssl, tls,
// mqtts and tcps; ws and wss; unix. The defaults are scheme tcp, host 127.0.0.1 and the usual port
// of the scheme. User name and password may precede the host. The servers are tried in the order of
// the calls. An invalid URL is logged; if there is no valid one, Connect fails.
func (o *ClientOptions) AddBroker(server string) *ClientOptions {
	if strings.HasPrefix(server, ":") {
		server = "127.0.0.1" + server
	}
	if !strings.Contains(server, "://") {
		server = "tcp://" + server
	}
	u, err := url.Parse(server)
	if err != nil { // err quotes parts of the URL, perhaps of its password
		o.wrong = errNoURL
		logf(ERROR, CLI, "%v", errNoURL)
		return o
	}
	o.Servers = append(o.Servers, u)
	return o
}

// SetResumeSubs allows Subscribe and Unsubscribe while there is no connection; they are sent on the
// next one. Existing subscriptions are always restored.
func (o *ClientOptions) SetResumeSubs(resume bool) *ClientOptions {
	o.ResumeSubs = resume
	return o
}

// SetClientID sets the ClientID, which identifies the session to the Server. It may be empty only
// with a clean session.
func (o *ClientOptions) SetClientID(id string) *ClientOptions {
	o.ClientID = id
	return o
}

// SetUsername sets the user name.
func (o *ClientOptions) SetUsername(u string) *ClientOptions {
	o.Username = u
	return o
}

// SetPassword sets the password. It is not sent without a user name.
func (o *ClientOptions) SetPassword(p string) *ClientOptions {
	o.Password = p
	return o
}

// SetCredentialsProvider sets a function that is called before every attempt and replaces Username,
// Password and those in the URL.
func (o *ClientOptions) SetCredentialsProvider(p CredentialsProvider) *ClientOptions {
	o.CredentialsProvider = p
	return o
}

// SetCleanSession says whether the session ends with the connection. The default is true.
func (o *ClientOptions) SetCleanSession(clean bool) *ClientOptions {
	o.CleanSession = clean
	return o
}

// SetOrderMatters says whether message handlers run one after the other, which is the default.
// Otherwise each call of a handler runs on its own goroutine, at most 1,000 at a time.
// Acknowledgements are always sent in the order in which the messages arrived.
func (o *ClientOptions) SetOrderMatters(order bool) *ClientOptions {
	o.Order = order
	return o
}

// SetTLSConfig sets the TLS configuration, which is cloned for every attempt. The minimum version
// is TLS 1.2.
func (o *ClientOptions) SetTLSConfig(t *tls.Config) *ClientOptions {
	o.TLSConfig = t
	return o
}

// SetStore sets the Store of the session. With a clean session it is not used, and its contents are
// discarded when the client connects.
func (o *ClientOptions) SetStore(s Store) *ClientOptions {
	o.Store = s
	return o
}

// SetKeepAlive sets the longest time that the client sends nothing, rounded up to seconds. Zero
// turns keep alive off.
func (o *ClientOptions) SetKeepAlive(k time.Duration) *ClientOptions {
	o.KeepAlive = int64(k / time.Second)
	if k%time.Second > 0 {
		o.KeepAlive++
	}
	return o
}

// SetPingTimeout sets how long to wait for the Server to send anything after a PINGREQ. Zero means
// 10 seconds.
func (o *ClientOptions) SetPingTimeout(k time.Duration) *ClientOptions {
	o.PingTimeout = k
	return o
}

// SetProtocolVersion sets the protocol version. Only 4, for MQTT 3.1.1, is supported; with any
// other Connect fails.
func (o *ClientOptions) SetProtocolVersion(pv uint) *ClientOptions {
	if pv == 3 || pv == 4 || pv > 0x80 {
		o.ProtocolVersion = pv
	}
	return o
}

// UnsetWill removes the Will.
func (o *ClientOptions) UnsetWill() *ClientOptions {
	o.WillEnabled = false
	return o
}

// SetWill sets the message that the Server publishes when the connection ends without DISCONNECT.
func (o *ClientOptions) SetWill(topic string, payload string, qos byte, retained bool) *ClientOptions {
	return o.SetBinaryWill(topic, []byte(payload), qos, retained)
}

// SetBinaryWill is like SetWill, with a []byte as payload.
func (o *ClientOptions) SetBinaryWill(topic string, payload []byte, qos byte, retained bool) *ClientOptions {
	o.WillEnabled = true
	o.WillTopic, o.WillPayload, o.WillQos, o.WillRetained = topic, payload, qos, retained
	return o
}

// SetDefaultPublishHandler sets the handler for messages that match no route.
func (o *ClientOptions) SetDefaultPublishHandler(defaultHandler MessageHandler) *ClientOptions {
	o.DefaultPublishHandler = defaultHandler
	return o
}

// SetOnConnectHandler sets the function that is called after every connect and reconnect.
func (o *ClientOptions) SetOnConnectHandler(onConn OnConnectHandler) *ClientOptions {
	o.OnConnect = onConn
	return o
}

// SetConnectionLostHandler sets the function that is called when a connection is lost.
func (o *ClientOptions) SetConnectionLostHandler(onLost ConnectionLostHandler) *ClientOptions {
	o.OnConnectionLost = onLost
	return o
}

// SetReconnectingHandler sets the function that is called before every round of attempts to reconnect.
func (o *ClientOptions) SetReconnectingHandler(cb ReconnectHandler) *ClientOptions {
	o.OnReconnecting = cb
	return o
}

// SetConnectionAttemptHandler sets the function that returns the TLS configuration for an attempt
// to connect.
func (o *ClientOptions) SetConnectionAttemptHandler(onConnectAttempt ConnectionAttemptHandler) *ClientOptions {
	o.OnConnectAttempt = onConnectAttempt
	return o
}

// SetConnectionNotificationHandler sets the function that is called with each event of the
// connection.
func (o *ClientOptions) SetConnectionNotificationHandler(onConnectionNotification ConnectionNotificationHandler) *ClientOptions {
	o.OnConnectionNotification = onConnectionNotification
	return o
}

// SetWriteTimeout sets how long Publish waits for room in the queue, and how long a write of up to
// 64 KiB to the connection may take. Zero means 30 seconds.
func (o *ClientOptions) SetWriteTimeout(t time.Duration) *ClientOptions {
	o.WriteTimeout = t
	return o
}

// SetConnectTimeout limits an attempt to connect, from name resolution to CONNACK, whatever the
// scheme. If zero or negative, there is no limit.
func (o *ClientOptions) SetConnectTimeout(t time.Duration) *ClientOptions {
	o.ConnectTimeout = t
	if o.Dialer != nil {
		dialer := *o.Dialer // a client may use the old one
		dialer.Timeout = max(t, 0)
		o.Dialer = &dialer
	}
	return o
}

// SetMaxReconnectInterval sets the maximum pause between attempts to reconnect. Zero means the
// default of 30 seconds.
func (o *ClientOptions) SetMaxReconnectInterval(t time.Duration) *ClientOptions {
	o.MaxReconnectInterval = t
	return o
}

// SetAutoReconnect says whether to reconnect when the connection is lost. The default is true.
func (o *ClientOptions) SetAutoReconnect(a bool) *ClientOptions {
	o.AutoReconnect = a
	return o
}

// SetConnectRetryInterval sets the pause between the attempts of SetConnectRetry.
func (o *ClientOptions) SetConnectRetryInterval(t time.Duration) *ClientOptions {
	o.ConnectRetryInterval = t
	return o
}

// SetConnectRetry makes Connect try until it succeeds or Disconnect is called. Messages of QoS 1
// and 2 can be published meanwhile.
func (o *ClientOptions) SetConnectRetry(a bool) *ClientOptions {
	o.ConnectRetry = a
	return o
}

// SetMessageChannelDepth has no effect.
func (o *ClientOptions) SetMessageChannelDepth(s uint) *ClientOptions {
	o.MessageChannelDepth = s
	return o
}

// SetHTTPHeaders sets headers to add to the HTTP request that opens a WebSocket.
func (o *ClientOptions) SetHTTPHeaders(h http.Header) *ClientOptions {
	o.HTTPHeaders = h
	return o
}

// SetWebsocketOptions sets the options for ws and wss.
func (o *ClientOptions) SetWebsocketOptions(w *WebsocketOptions) *ClientOptions {
	o.WebsocketOptions = w
	return o
}

// SetMaxResumePubInFlight sets how many messages of QoS 1 and 2, resumed and new, may be
// unacknowledged at a time. Zero means 100.
func (o *ClientOptions) SetMaxResumePubInFlight(MaxResumePubInFlight int) *ClientOptions {
	o.MaxResumePubInFlight = MaxResumePubInFlight
	return o
}

// SetDialer sets the net.Dialer that opens TCP connections and unix sockets, including those for
// TLS and WebSocket.
func (o *ClientOptions) SetDialer(dialer *net.Dialer) *ClientOptions {
	o.Dialer = dialer
	return o
}

// SetCustomOpenConnectionFn sets a function that opens connections instead of the client. A
// connection that it returns too late, after the attempt was given up, is closed.
func (o *ClientOptions) SetCustomOpenConnectionFn(customOpenConnectionFn OpenConnectionFunc) *ClientOptions {
	if customOpenConnectionFn != nil {
		o.CustomOpenConnectionFn = customOpenConnectionFn
	}
	return o
}

// SetAutoAckDisabled disables automatic acknowledgement: the program must call Message.Ack.
func (o *ClientOptions) SetAutoAckDisabled(autoAckDisabled bool) *ClientOptions {
	o.AutoAckDisabled = autoAckDisabled
	return o
}
