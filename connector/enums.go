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

// Protocol is 连接协议.
type Protocol byte

// The protocols.
const (
	TCP Protocol = iota
	TLS
	WebSocket
	WebSocketSecure
)

var protocolNames = []string{"TCP", "TLS", "WebSocket", "WebSocket Secure"}

// String returns the platform's name for it.
func (p Protocol) String() string { return nameOf(protocolNames, int(p)) }

// Secure reports whether the protocol has TLS.
func (p Protocol) Secure() bool { return p == TLS || p == WebSocketSecure }

// ParseProtocol reads a protocol in the platform's words or as a scheme.
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

// AckMode is 确认模式.
type AckMode byte

// The acknowledgement modes.
const (
	// AfterFlowSuccess acknowledges when the flow succeeded: 流运行成功后确认.
	AfterFlowSuccess AckMode = iota

	// Immediately acknowledges before the flow starts and ignores its result:
	// 流开始前立即确认.
	Immediately
)

var ackModeNames = []string{"after_flow_success", "immediately"}

// String returns the mode's key.
func (m AckMode) String() string { return nameOf(ackModeNames, int(m)) }

// ParseAckMode reads a mode by its key or the platform's words.
func ParseAckMode(s string) (AckMode, error) {
	switch normal(s) {
	case "afterflowsuccess", "流运行成功后确认", "消费后直到触发的流成功结束后才确认", "消费后直到触发的流成功结束后才确认offset":
		return AfterFlowSuccess, nil
	case "immediately", "流开始前立即确认", "立即确认", "消费后立即确认", "消费后立即确认offset", "消费后立即确认offset,不等待流的触发及运行结果":
		return Immediately, nil
	}
	return 0, fmt.Errorf("%q is neither after_flow_success (流运行成功后确认) nor immediately (流开始前立即确认)", s)
}

// OrderBy says which flows run one after the other.
type OrderBy byte

// The orders.
const (
	OrderDefault    OrderBy = iota // by connection with Advanced.Order, none without
	OrderConnection                // all of a consumer, in the order of arrival
	OrderTopic                     // those of one topic
	OrderNone
)

var orderNames = []string{"", "connection", "topic", "none"}

// String returns the order's key.
func (o OrderBy) String() string { return nameOf(orderNames, int(o)) }

// ParseOrderBy reads an order by its key.
func ParseOrderBy(s string) (OrderBy, error) {
	for i, name := range orderNames {
		if i > 0 && normal(s) == name {
			return OrderBy(i), nil
		}
	}
	return 0, fmt.Errorf("%q is none of connection, topic, none", s)
}

// Disposition is what becomes of a message when retrying did not help.
type Disposition byte

// The dispositions.
const (
	Hold       Disposition = iota // it is retried for ever and never acknowledged
	DeadLetter                    // it is put elsewhere and acknowledged
	Drop                          // it is acknowledged and counted
	Halt                          // the connector stops; it is not acknowledged
)

var dispositionNames = []string{"hold", "dead_letter", "drop", "stop"}

// String returns the disposition's key.
func (d Disposition) String() string { return nameOf(dispositionNames, int(d)) }

// ParseDisposition reads a disposition by its key.
func ParseDisposition(s string) (Disposition, error) {
	for i, name := range dispositionNames {
		if normal(s) == normal(name) {
			return Disposition(i), nil
		}
	}
	return 0, fmt.Errorf("%q is none of dead_letter, drop, hold, stop", s)
}

// RetainedPolicy says what happens to messages that the Server had kept and sent because
// of a new subscription.
type RetainedPolicy byte

// The policies.
const (
	RetainedDeliver RetainedPolicy = iota
	RetainedSkip                   // they are acknowledged without a flow
	RetainedOnly                   // and these are the only ones with a flow
)

var retainedNames = []string{"deliver", "skip", "only"}

// String returns the policy's key.
func (p RetainedPolicy) String() string { return nameOf(retainedNames, int(p)) }

// ParseRetained reads a policy by its key.
func ParseRetained(s string) (RetainedPolicy, error) {
	for i, name := range retainedNames {
		if normal(s) == name {
			return RetainedPolicy(i), nil
		}
	}
	return 0, fmt.Errorf("%q is none of deliver, skip, only", s)
}

// ProducerConnection says which Network Connection producers have.
type ProducerConnection byte

// The connections.
const (
	SharedConnection ProducerConnection = iota
	SeparateConnection
)

var connectionNames = []string{"shared", "separate"}

// String returns the connection's key.
func (p ProducerConnection) String() string { return nameOf(connectionNames, int(p)) }

// ParseProducerConnection reads it by its key.
func ParseProducerConnection(s string) (ProducerConnection, error) {
	for i, name := range connectionNames {
		if normal(s) == name {
			return ProducerConnection(i), nil
		}
	}
	return 0, fmt.Errorf("%q is neither shared nor separate", s)
}

// DoneWhen says when a producer is done with a message.
type DoneWhen byte

// The ends.
const (
	DoneWhenConfirmed DoneWhen = iota // the Server has answered, as the QoS promises
	DoneWhenStored                    // the session store has it: it goes out, if need be with the next process
)

var doneNames = []string{"confirmed", "stored"}

// String returns the key.
func (d DoneWhen) String() string { return nameOf(doneNames, int(d)) }

// ParseDoneWhen reads it by its key.
func ParseDoneWhen(s string) (DoneWhen, error) {
	for i, name := range doneNames {
		if normal(s) == name {
			return DoneWhen(i), nil
		}
	}
	return 0, fmt.Errorf("%q is neither confirmed nor stored", s)
}

// TopicCharacters says which characters a topic may hold that a producer makes of a template.
type TopicCharacters byte

// The choices.
const (
	TopicCharactersDefault TopicCharacters = iota // of a producer: that of the extension; there: StrictTopics

	// StrictTopics refuses what section 1.5.3 discourages: control characters and
	// noncharacters. A server may close the connection over one.
	StrictTopics

	// AnyTopics allows what section 4.7 does.
	AnyTopics
)

var topicCharacters = []string{"", "strict", "any"}

// String returns the key.
func (t TopicCharacters) String() string { return nameOf(topicCharacters, int(t)) }

// ParseTopicCharacters reads it by its key.
func ParseTopicCharacters(s string) (TopicCharacters, error) {
	for i, name := range topicCharacters {
		if i > 0 && normal(s) == name {
			return TopicCharacters(i), nil
		}
	}
	return 0, fmt.Errorf("%q is neither strict nor any", s)
}

// topicCharacters returns what holds for the producer.
func (p *ProducerParams) topicCharacters(x *Extension) TopicCharacters {
	switch {
	case p.TopicCharacters != TopicCharactersDefault:
		return p.TopicCharacters
	case x.TopicCharacters != TopicCharactersDefault:
		return x.TopicCharacters
	}
	return StrictTopics
}

// Unmatched says what becomes of a message that matches the topics of no consumer: the name of the
// consumer that takes it, or one of the words below. If empty it is put where dead letters go, if
// there is exactly one such place, and is acknowledged otherwise; either is an error of the
// connector, which is not ready until a minute after the last.
type Unmatched string

// The words of Unmatched. A consumer that is to take such messages has another name.
const (
	UnmatchedDeadLetter Unmatched = "dead_letter" // it goes to the one place for dead letters, and is acknowledged then
	UnmatchedHold       Unmatched = "hold"        // it is never acknowledged
	UnmatchedDrop       Unmatched = "drop"        // it is acknowledged
)

var unmatchedWords = []string{string(UnmatchedDeadLetter), string(UnmatchedHold), string(UnmatchedDrop)}

// canonical returns the word that u is another spelling of, and otherwise u.
func (u Unmatched) canonical() Unmatched {
	for _, word := range unmatchedWords {
		if normal(string(u)) == normal(word) {
			return Unmatched(word)
		}
	}
	return u
}

func (u Unmatched) isWord() bool { return slices.Contains(unmatchedWords, string(u)) }

// ParseUnmatched reads one of the words, or takes the text for the name of a consumer.
func ParseUnmatched(s string) (Unmatched, error) {
	if s == "" {
		return "", fmt.Errorf("%q is neither the name of a consumer nor dead_letter, hold or drop", s)
	}
	return Unmatched(s).canonical(), nil
}

// FaultPolicy says what becomes of an incoming message that cannot be accepted.
type FaultPolicy byte

// The policies.
const (
	FaultDefault FaultPolicy = iota // FaultSkip

	// FaultSkip acknowledges the message, counts it, and tells what it was. No flow runs for it.
	FaultSkip

	// FaultStop ends the connector. At QoS 1 and 2 the Server keeps the message, so that it ends
	// the next one, too.
	FaultStop
)

var faultPolicies = []string{"", "skip", "stop"}

// String returns the policy's key.
func (p FaultPolicy) String() string { return nameOf(faultPolicies, int(p)) }

// ParseFaultPolicy reads a policy by its key.
func ParseFaultPolicy(s string) (FaultPolicy, error) {
	for i, name := range faultPolicies {
		if i > 0 && normal(s) == name {
			return FaultPolicy(i), nil
		}
	}
	return 0, fmt.Errorf("%q is neither skip nor stop", s)
}

// ErrorFormat is the form of the errors that messages carry.
type ErrorFormat byte

// The forms.
const (
	ErrorsPlatform ErrorFormat = iota // {"Code": "CORE:RUNTIME", "Description": "[TYPE] ..."}
	ErrorsExtended                    // see Error.Extended
)

var errorFormats = []string{"platform", "extended"}

// String returns the format's key.
func (f ErrorFormat) String() string { return nameOf(errorFormats, int(f)) }

// ParseErrorFormat reads a format by its key, or by seed, the former name of platform.
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

// ParseOverflow reads which message of QoS 0 gives way: drop_oldest or drop_newest.
func ParseOverflow(s string) (client.OverflowPolicy, error) {
	for i, name := range overflowNames {
		if normal(s) == normal(name) {
			return client.OverflowPolicy(i), nil
		}
	}
	return 0, fmt.Errorf("%q is neither drop_oldest nor drop_newest", s)
}

// ParseErrorType reads an error type: any, NAMESPACE:IDENTIFIER or NAMESPACE:*.
func ParseErrorType(s string) (flow.ErrorType, error) {
	namespace, identifier, ok := strings.Cut(s, ":")
	if s == string(flow.TypeAny) || ok && namespace != "" && identifier != "" && !strings.ContainsAny(s, " ,") {
		return flow.ErrorType(s), nil
	}
	return "", fmt.Errorf("%q is neither any nor like MQTT:PUBLISH or MQTT:*", s)
}

var syncNames = []string{"always", "interval", "never"}

// ParseSync reads when the session store syncs: always, interval or never.
func ParseSync(s string) (wal.Sync, error) {
	for i, name := range syncNames {
		if normal(s) == name {
			return wal.Sync(i), nil
		}
	}
	return 0, fmt.Errorf("%q is none of always, interval, never", s)
}

var qosNames = []string{"At Most Once", "At Least Once", "Exactly Once"}

// qosSpellings are further words for each.
var qosSpellings = [][]string{
	{"最多一次", "至多一次", "0"},
	{"至少一次", "最少一次", "1"},
	{"恰好一次", "正好一次", "仅一次", "只有一次", "精确一次", "2"},
}

// ParseQoS reads a QoS in the words of the specification, in Chinese, or as a number, with QoS
// before it or not.
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

// ParseBool reads true or false, in the words that configurations may use as well.
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

// normal drops what people write differently.
func normal(s string) string { return lint.Fold(s) }
