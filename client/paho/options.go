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

// ClientOptions configure a Client. NewClientOptions has the defaults; use the Set methods, or set
// fields before NewClient, which copies them.
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
	KeepAlive                int64 // seconds
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

	wrong error // of an AddBroker that could not read its URL
}

// The functions of a program that a Client calls.
type (
	// A CredentialsProvider returns user name and password before every attempt to connect. One that
	// takes longer than ConnectTimeout is not called again meanwhile: a later attempt has its answer.
	CredentialsProvider func() (username string, password string)

	// A MessageHandler is called with a message. It may block, publish and wait, subscribe, and
	// disconnect.
	MessageHandler func(Client, Message)

	// An OnConnectHandler is called each time the Server has accepted a connection.
	OnConnectHandler func(Client)

	// A ConnectionLostHandler is called when a connection ends that nobody ended with Disconnect.
	ConnectionLostHandler func(Client, error)

	// A ReconnectHandler is called before every round of attempts to reconnect. What it changes in
	// the options counts from then on, except ClientID, CleanSession, the Will and times. While it
	// runs, for however long, it is not called again.
	ReconnectHandler func(Client, *ClientOptions)

	// A ConnectionAttemptHandler is called before every attempt with the server and a copy of
	// TLSConfig, which may be nil, and returns the configuration for this attempt.
	ConnectionAttemptHandler func(broker *url.URL, tlsCfg *tls.Config) *tls.Config

	// An OpenConnectionFunc opens a connection instead of the client.
	OpenConnectionFunc func(uri *url.URL, options ClientOptions) (net.Conn, error)

	// A ProxyFunction names the proxy for a request; nil means none.
	ProxyFunction func(req *http.Request) (*url.URL, error)
)

// WebsocketOptions are those of ws and wss. The sizes of buffers have no effect.
type WebsocketOptions struct {
	ReadBufferSize  int
	WriteBufferSize int
	Proxy           ProxyFunction // nil means http.ProxyFromEnvironment
}

const defaultTimeout = 30 * time.Second

// NewClientOptions returns the defaults: a clean session, reconnecting at intervals of 30 seconds at
// most, a keep alive of 30 seconds, handlers in order.
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

// AddBroker adds a server: scheme://host:port, with the schemes tcp and mqtt; ssl, tls, mqtts and
// tcps; ws and wss; unix. Without a scheme it is tcp, without a host 127.0.0.1, without a port the
// usual one. User name and password may stand before the host. The servers are tried in their order.
// One that is no URL is logged, and is an error of Connect if there is no other.
func (o *ClientOptions) AddBroker(server string) *ClientOptions {
	if strings.HasPrefix(server, ":") {
		server = "127.0.0.1" + server
	}
	if !strings.Contains(server, "://") {
		server = "tcp://" + server
	}
	u, err := url.Parse(server)
	if err != nil { // which quotes parts of the URL, perhaps of its password
		o.wrong = errNoURL
		logf(ERROR, CLI, "%v", errNoURL)
		return o
	}
	o.Servers = append(o.Servers, u)
	return o
}

// SetResumeSubs allows Subscribe and Unsubscribe while there is no connection: they are sent with the
// next one. Subscriptions that were made come back whatever it says.
func (o *ClientOptions) SetResumeSubs(resume bool) *ClientOptions {
	o.ResumeSubs = resume
	return o
}

// SetClientID names the session at the Server. It may be empty only with a clean session.
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

// SetCredentialsProvider sets a function that is asked before every attempt, instead of Username,
// Password and what stands in the URL.
func (o *ClientOptions) SetCredentialsProvider(p CredentialsProvider) *ClientOptions {
	o.CredentialsProvider = p
	return o
}

// SetCleanSession says whether the session ends with the connection. The default is true.
func (o *ClientOptions) SetCleanSession(clean bool) *ClientOptions {
	o.CleanSession = clean
	return o
}

// SetOrderMatters says whether handlers run one after the other, which is the default. With false
// each call of a handler has a goroutine, at most 1,000 at a time. Acknowledgements leave in the
// order of arrival either way.
func (o *ClientOptions) SetOrderMatters(order bool) *ClientOptions {
	o.Order = order
	return o
}

// SetTLSConfig sets the configuration of TLS. It is cloned for every attempt; TLS 1.2 is the least.
func (o *ClientOptions) SetTLSConfig(t *tls.Config) *ClientOptions {
	o.TLSConfig = t
	return o
}

// SetStore sets what keeps the session through the end of the process. It is not used with a clean
// session: what it holds is dropped when such a client connects.
func (o *ClientOptions) SetStore(s Store) *ClientOptions {
	o.Store = s
	return o
}

// SetKeepAlive sets how long the client stays silent at the most, in whole seconds, rounded up; zero
// turns keep alive off.
func (o *ClientOptions) SetKeepAlive(k time.Duration) *ClientOptions {
	o.KeepAlive = int64(k / time.Second)
	if k%time.Second > 0 {
		o.KeepAlive++
	}
	return o
}

// SetPingTimeout sets how long the Server may stay silent after a PINGREQ; zero means 10 seconds.
func (o *ClientOptions) SetPingTimeout(k time.Duration) *ClientOptions {
	o.PingTimeout = k
	return o
}

// SetProtocolVersion takes 4, MQTT 3.1.1. With 3, or the versions of bridges, Connect fails.
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

// SetBinaryWill is SetWill with a payload of bytes.
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

// SetConnectionAttemptHandler sets the function that chooses the configuration of TLS for an attempt.
func (o *ClientOptions) SetConnectionAttemptHandler(onConnectAttempt ConnectionAttemptHandler) *ClientOptions {
	o.OnConnectAttempt = onConnectAttempt
	return o
}

// SetConnectionNotificationHandler sets the function that is told what happens to the connection, in
// order, on a goroutine of its own.
func (o *ClientOptions) SetConnectionNotificationHandler(onConnectionNotification ConnectionNotificationHandler) *ClientOptions {
	o.OnConnectionNotification = onConnectionNotification
	return o
}

// SetWriteTimeout sets how long Publish waits for room in the queue, and how long a write may make no
// progress; zero means 30 seconds.
func (o *ClientOptions) SetWriteTimeout(t time.Duration) *ClientOptions {
	o.WriteTimeout = t
	return o
}

// SetConnectTimeout bounds an attempt from name resolution to CONNACK, whatever the scheme; zero, or
// less, means that nothing does.
func (o *ClientOptions) SetConnectTimeout(t time.Duration) *ClientOptions {
	o.ConnectTimeout = t
	if o.Dialer != nil {
		dialer := *o.Dialer // a client may have the old one
		dialer.Timeout = max(t, 0)
		o.Dialer = &dialer
	}
	return o
}

// SetMaxReconnectInterval caps the pause between attempts to reconnect; zero means 30 seconds, which
// is the default.
func (o *ClientOptions) SetMaxReconnectInterval(t time.Duration) *ClientOptions {
	o.MaxReconnectInterval = t
	return o
}

// SetAutoReconnect says whether to reconnect, which is the default.
func (o *ClientOptions) SetAutoReconnect(a bool) *ClientOptions {
	o.AutoReconnect = a
	return o
}

// SetConnectRetryInterval sets the pause between the attempts of SetConnectRetry.
func (o *ClientOptions) SetConnectRetryInterval(t time.Duration) *ClientOptions {
	o.ConnectRetryInterval = t
	return o
}

// SetConnectRetry makes Connect try until it succeeds or Disconnect is called. Messages of QoS 1 and 2
// may be published meanwhile.
func (o *ClientOptions) SetConnectRetry(a bool) *ClientOptions {
	o.ConnectRetry = a
	return o
}

// SetMessageChannelDepth has no effect.
func (o *ClientOptions) SetMessageChannelDepth(s uint) *ClientOptions {
	o.MessageChannelDepth = s
	return o
}

// SetHTTPHeaders sets what to add to the request that opens a WebSocket.
func (o *ClientOptions) SetHTTPHeaders(h http.Header) *ClientOptions {
	o.HTTPHeaders = h
	return o
}

// SetWebsocketOptions sets the options of ws and wss.
func (o *ClientOptions) SetWebsocketOptions(w *WebsocketOptions) *ClientOptions {
	o.WebsocketOptions = w
	return o
}

// SetMaxResumePubInFlight sets how many messages of QoS 1 and 2 may be unanswered, resumed and new ones
// together; zero means 100.
func (o *ClientOptions) SetMaxResumePubInFlight(MaxResumePubInFlight int) *ClientOptions {
	o.MaxResumePubInFlight = MaxResumePubInFlight
	return o
}

// SetDialer sets what opens TCP connections and unix sockets, also below TLS and WebSocket.
func (o *ClientOptions) SetDialer(dialer *net.Dialer) *ClientOptions {
	o.Dialer = dialer
	return o
}

// SetCustomOpenConnectionFn sets the function that opens connections instead of the client. What it
// returns after the attempt was given up is closed.
func (o *ClientOptions) SetCustomOpenConnectionFn(customOpenConnectionFn OpenConnectionFunc) *ClientOptions {
	if customOpenConnectionFn != nil {
		o.CustomOpenConnectionFn = customOpenConnectionFn
	}
	return o
}

// SetAutoAckDisabled leaves acknowledging to Message.Ack.
func (o *ClientOptions) SetAutoAckDisabled(autoAckDisabled bool) *ClientOptions {
	o.AutoAckDisabled = autoAckDisabled
	return o
}
