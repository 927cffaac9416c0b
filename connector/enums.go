package connector

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/wal"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/connector/lint"
	"github.com/mqtt311/mqtt311/packets"
)

// Protocol is the protocol below MQTT (连接协议).
type Protocol byte

// The protocols.
const (
	TCP Protocol = iota
	TLS
	WebSocket
	WebSocketSecure
)

var protocolNames = []string{"TCP", "TLS", "WebSocket", "WebSocket Secure"}

// String returns the platform's name for the protocol.
func (p Protocol) String() string { return nameOf(protocolNames, int(p)) }

// Secure reports whether the protocol uses TLS.
func (p Protocol) Secure() bool { return p == TLS || p == WebSocketSecure }

// ParseProtocol parses a protocol, given by the platform's name or as a URL scheme.
func ParseProtocol(s string) (Protocol, error) {
	switch normal(s) {
	case "tcp", "mqtt":
		return TCP, nil
	case "tls", "ssl", "mqtts":
		return TLS, nil
	case "websocket", "ws":
		return WebSocket, nil
	case "websocketsecure", "wss":
		return WebSocketSecure, nil
	}
	return 0, fmt.Errorf("%q is none of TCP, TLS, WebSocket, WebSocket Secure", s)
}

// AckMode says when a message is acknowledged (确认模式).
type AckMode byte

// The acknowledgement modes.
const (
	// AfterFlowSuccess acknowledges when the flow has succeeded (流运行成功后确认).
	AfterFlowSuccess AckMode = iota

	// Immediately acknowledges before the flow starts and ignores its result (流开始前立即确认).
	Immediately
)

var ackModeNames = []string{"after_flow_success", "immediately"}

// String returns the mode as written in configurations.
func (m AckMode) String() string { return nameOf(ackModeNames, int(m)) }

// ParseAckMode parses a mode as written in configurations, or the platform's name for it.
func ParseAckMode(s string) (AckMode, error) {
	switch normal(s) {
	case "afterflowsuccess", "流运行成功后确认", "消费后直到触发的流成功结束后才确认", "消费后直到触发的流成功结束后才确认offset":
		return AfterFlowSuccess, nil
	case "immediately", "流开始前立即确认", "立即确认", "消费后立即确认", "消费后立即确认offset", "消费后立即确认offset,不等待流的触发及运行结果":
		return Immediately, nil
	}
	return 0, fmt.Errorf("%q is neither after_flow_success (流运行成功后确认) nor immediately (流开始前立即确认)", s)
}

// OrderBy says which flows of a consumer run one at a time.
type OrderBy byte

// The values of OrderBy.
const (
	OrderDefault    OrderBy = iota // OrderConnection with Advanced.Order, OrderNone without
	OrderConnection                // all, in the order of arrival
	OrderTopic                     // those of the same topic
	OrderNone
)

var orderNames = []string{"", "connection", "topic", "none"}

// String returns the order as written in configurations.
func (o OrderBy) String() string { return nameOf(orderNames, int(o)) }

// ParseOrderBy parses an order as written in configurations.
func ParseOrderBy(s string) (OrderBy, error) {
	for i, name := range orderNames {
		if i > 0 && normal(s) == name {
			return OrderBy(i), nil
		}
	}
	return 0, fmt.Errorf("%q is none of connection, topic, none", s)
}

// Disposition is what to do with a message when its retries are used up.
type Disposition byte

// The dispositions.
const (
	Hold       Disposition = iota // retry it forever and never acknowledge it
	DeadLetter                    // put it where dead letters go, and acknowledge it
	Drop                          // acknowledge and count it
	Halt                          // stop the connector without acknowledging it
)

var dispositionNames = []string{"hold", "dead_letter", "drop", "stop"}

// String returns the disposition as written in configurations.
func (d Disposition) String() string { return nameOf(dispositionNames, int(d)) }

// ParseDisposition parses a disposition as written in configurations.
func ParseDisposition(s string) (Disposition, error) {
	for i, name := range dispositionNames {
		if normal(s) == normal(name) {
			return Disposition(i), nil
		}
	}
	return 0, fmt.Errorf("%q is none of dead_letter, drop, hold, stop", s)
}

// RetainedPolicy says what to do with retained messages, which the Server sends because of a new
// subscription.
type RetainedPolicy byte

// The policies.
const (
	RetainedDeliver RetainedPolicy = iota
	RetainedSkip                   // acknowledge them without running a flow
	RetainedOnly                   // run flows for them, and acknowledge all others without a flow
)

var retainedNames = []string{"deliver", "skip", "only"}

// String returns the policy as written in configurations.
func (p RetainedPolicy) String() string { return nameOf(retainedNames, int(p)) }

// ParseRetained parses a policy as written in configurations.
func ParseRetained(s string) (RetainedPolicy, error) {
	for i, name := range retainedNames {
		if normal(s) == name {
			return RetainedPolicy(i), nil
		}
	}
	return 0, fmt.Errorf("%q is none of deliver, skip, only", s)
}

// ProducerConnection says which Network Connection producers use.
type ProducerConnection byte

// The values of ProducerConnection.
const (
	SharedConnection ProducerConnection = iota
	SeparateConnection
)

var connectionNames = []string{"shared", "separate"}

// String returns the value as written in configurations.
func (p ProducerConnection) String() string { return nameOf(connectionNames, int(p)) }

// ParseProducerConnection parses a ProducerConnection as written in configurations.
func ParseProducerConnection(s string) (ProducerConnection, error) {
	for i, name := range connectionNames {
		if normal(s) == name {
			return ProducerConnection(i), nil
		}
	}
	return 0, fmt.Errorf("%q is neither shared nor separate", s)
}

// DoneWhen says when Run of a producer returns.
type DoneWhen byte

// The values of DoneWhen.
const (
	DoneWhenConfirmed DoneWhen = iota // the guarantee of the QoS is met: see client.Client.Publish
	DoneWhenStored                    // the message is in the session store and will be sent, if necessary by the next process
)

var doneNames = []string{"confirmed", "stored"}

// String returns the value as written in configurations.
func (d DoneWhen) String() string { return nameOf(doneNames, int(d)) }

// ParseDoneWhen parses a DoneWhen as written in configurations.
func ParseDoneWhen(s string) (DoneWhen, error) {
	for i, name := range doneNames {
		if normal(s) == name {
			return DoneWhen(i), nil
		}
	}
	return 0, fmt.Errorf("%q is neither confirmed nor stored", s)
}

// TopicCharacters says which characters a topic that a producer makes from a template may contain.
type TopicCharacters byte

// The values of TopicCharacters.
const (
	TopicCharactersDefault TopicCharacters = iota // for a producer: the setting of Extension; in Extension: StrictTopics

	// StrictTopics refuses the characters that section 1.5.3 discourages: control characters and
	// noncharacters. A Server may close the connection when it receives one.
	StrictTopics

	// AnyTopics allows all characters that section 4.7 allows.
	AnyTopics
)

var topicCharacters = []string{"", "strict", "any"}

// String returns the value as written in configurations.
func (t TopicCharacters) String() string { return nameOf(topicCharacters, int(t)) }

// ParseTopicCharacters parses a TopicCharacters as written in configurations.
func ParseTopicCharacters(s string) (TopicCharacters, error) {
	for i, name := range topicCharacters {
		if i > 0 && normal(s) == name {
			return TopicCharacters(i), nil
		}
	}
	return 0, fmt.Errorf("%q is neither strict nor any", s)
}

// topicCharacters returns the setting that applies to the producer.
func (p *ProducerParams) topicCharacters(x *Extension) TopicCharacters {
	switch {
	case p.TopicCharacters != TopicCharactersDefault:
		return p.TopicCharacters
	case x.TopicCharacters != TopicCharactersDefault:
		return x.TopicCharacters
	}
	return StrictTopics
}

// Unmatched says what to do with a message that matches the topics of no consumer. It is the name
// of the consumer that takes such messages, or one of the constants. If empty, the message is put
// where dead letters go if there is exactly one such place; otherwise it is only acknowledged. In
// both cases that is an error of the connector, which is not ready until a minute after the last
// such message.
type Unmatched string

// The values of Unmatched other than names of consumers.
const (
	UnmatchedDeadLetter Unmatched = "dead_letter" // put it in the only place for dead letters, and acknowledge it
	UnmatchedHold       Unmatched = "hold"        // never acknowledge it
	UnmatchedDrop       Unmatched = "drop"        // acknowledge it
)

var unmatchedWords = []string{string(UnmatchedDeadLetter), string(UnmatchedHold), string(UnmatchedDrop)}

// canonical returns the constant that u is another spelling of, or u.
func (u Unmatched) canonical() Unmatched {
	for _, word := range unmatchedWords {
		if normal(string(u)) == normal(word) {
			return Unmatched(word)
		}
	}
	return u
}

func (u Unmatched) isWord() bool { return slices.Contains(unmatchedWords, string(u)) }

// ParseUnmatched parses one of the constants or the name of a consumer.
func ParseUnmatched(s string) (Unmatched, error) {
	if s == "" {
		return "", fmt.Errorf("%q is neither the name of a consumer nor dead_letter, hold or drop", s)
	}
	return Unmatched(s).canonical(), nil
}

// FaultPolicy says what to do with an incoming message that cannot be accepted.
type FaultPolicy byte

// The policies.
const (
	FaultDefault FaultPolicy = iota // FaultSkip

	// FaultSkip acknowledges, counts and logs the message. No flow runs for it.
	FaultSkip

	// FaultStop stops the connector. At QoS 1 and 2 the Server keeps the message, so it also stops
	// the next connector with the same session.
	FaultStop
)

var faultPolicies = []string{"", "skip", "stop"}

// String returns the policy as written in configurations.
func (p FaultPolicy) String() string { return nameOf(faultPolicies, int(p)) }

// ParseFaultPolicy parses a policy as written in configurations.
func ParseFaultPolicy(s string) (FaultPolicy, error) {
	for i, name := range faultPolicies {
		if i > 0 && normal(s) == name {
			return FaultPolicy(i), nil
		}
	}
	return 0, fmt.Errorf("%q is neither skip nor stop", s)
}

// ErrorFormat is the format of the errors that messages carry.
type ErrorFormat byte

// The formats.
const (
	ErrorsPlatform ErrorFormat = iota // {"Code": "CORE:RUNTIME", "Description": "[TYPE] ..."}
	ErrorsExtended                    // see flow.Error.Extended
)

var errorFormats = []string{"platform", "extended"}

// String returns the format as written in configurations.
func (f ErrorFormat) String() string { return nameOf(errorFormats, int(f)) }

// ParseErrorFormat parses a format as written in configurations. It accepts "seed", the former name of "platform".
func ParseErrorFormat(s string) (ErrorFormat, error) {
	if normal(s) == "seed" {
		return ErrorsPlatform, nil
	}
	for i, name := range errorFormats {
		if normal(s) == name {
			return ErrorFormat(i), nil
		}
	}
	return 0, fmt.Errorf("%q is neither platform nor extended", s)
}

var overflowNames = []string{"drop_oldest", "drop_newest"}

// ParseOverflow parses drop_oldest or drop_newest.
func ParseOverflow(s string) (client.OverflowPolicy, error) {
	for i, name := range overflowNames {
		if normal(s) == normal(name) {
			return client.OverflowPolicy(i), nil
		}
	}
	return 0, fmt.Errorf("%q is neither drop_oldest nor drop_newest", s)
}

// ParseErrorType parses an error type: any, NAMESPACE:IDENTIFIER or NAMESPACE:*.
func ParseErrorType(s string) (flow.ErrorType, error) {
	namespace, identifier, ok := strings.Cut(s, ":")
	if s == string(flow.TypeAny) || ok && namespace != "" && identifier != "" && !strings.ContainsAny(s, " ,") {
		return flow.ErrorType(s), nil
	}
	return "", fmt.Errorf("%q is neither any nor like MQTT:PUBLISH or MQTT:*", s)
}

var syncNames = []string{"always", "interval", "never"}

// ParseSync parses the sync policy of a session store: always, interval or never.
func ParseSync(s string) (wal.Sync, error) {
	for i, name := range syncNames {
		if normal(s) == name {
			return wal.Sync(i), nil
		}
	}
	return 0, fmt.Errorf("%q is none of always, interval, never", s)
}

var qosNames = []string{"At Most Once", "At Least Once", "Exactly Once"}

// qosSpellings are further names of each QoS.
var qosSpellings = [][]string{
	{"最多一次", "至多一次", "0"},
	{"至少一次", "最少一次", "1"},
	{"恰好一次", "正好一次", "仅一次", "只有一次", "精确一次", "2"},
}

// ParseQoS parses a QoS: a number, optionally after "QoS", or the name of the level in English or
// Chinese.
func ParseQoS(s string) (packets.QoS, error) {
	word := normal(s)
	if rest, ok := strings.CutPrefix(word, "qos"); ok {
		word = rest
	}
	for i, name := range qosNames {
		if word == normal(name) || slices.Contains(qosSpellings[i], word) {
			return packets.QoS(i), nil
		}
	}
	return 0, fmt.Errorf("%q is none of At Most Once (0), At Least Once (1), Exactly Once (2)", s)
}

// ParseBool parses true or false, or another word for them that configurations may use.
func ParseBool(s string) (bool, error) {
	switch normal(s) {
	case "true", "yes", "on", "是", "启用", "开启", "真":
		return true, nil
	case "false", "no", "off", "否", "禁用", "关闭", "假":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither true nor false", s)
}

func nameOf(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return fmt.Sprint(i)
}

// normal normalises spelling: see lint.Fold.
func normal(s string) string { return lint.Fold(s) }
