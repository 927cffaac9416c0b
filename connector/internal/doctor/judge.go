package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/packets"
)

// A Misfit is a setting that does not work as documented with a server.
type Misfit struct {
	Path string // for example consumers.readings.qos
	Text
}

// Judge returns the settings of a configuration that do not fit the server of a connection: the connector's own if
// name is empty, otherwise one of Connections. It ignores failed probes.
func (r *Report) Judge(cfg *connector.Config, name string) []Misfit {
	j := judge{f: &r.Facts, tried: make(map[string]bool)}
	for _, row := range r.Rows {
		j.tried[row.Probe] = !row.Failed
	}
	if name != "" {
		settings := cfg.Connections[name]
		j.sending("connections."+name, &settings.Advanced, settings.Extension.MaxInflightQoS2)
		j.producers(cfg, name)
		return j.found
	}
	j.receiving(&cfg.Advanced)
	j.sending("connector", &cfg.Advanced, cfg.Extension.MaxInflightQoS2)
	for _, name := range slices.Sorted(maps.Keys(cfg.Consumers)) {
		c := cfg.Consumers[name]
		j.consumer("consumers."+name, &c, cfg)
	}
	j.producers(cfg, "")
	return j.found
}

// producers judges the producers that publish over a connection.
func (j *judge) producers(cfg *connector.Config, connection string) {
	for _, name := range slices.Sorted(maps.Keys(cfg.Producers)) {
		p := cfg.Producers[name]
		if p.Connection == connection {
			j.producer("producers."+name, &p)
		}
	}
}

type judge struct {
	f     *Facts
	tried map[string]bool
	found []Misfit
}

func (j *judge) add(path, en, zh string, args ...any) {
	j.found = append(j.found, Misfit{path, bothf(en, zh, args...)})
}

// receiving judges the settings of a connection that has consumers.
func (j *judge) receiving(a *connector.Advanced) {
	f := j.f
	if j.tried["session"] && !a.Clean() && !f.Sessions {
		j.add("connector.advanced.clean_session", "is false, and the server does not keep what comes while the connector is away", "为 false，但服务端不会保留连接器离线期间的消息")
	}
	if j.tried["session"] && f.Sessions && !a.Clean() && a.Order && !f.QueueInOrder {
		j.add("connector.advanced.order", "is true, and the server delivers what waited in another order", "为 true，但服务端送达积压消息时不保持顺序")
	}
	if j.tried["order"] && a.Order && !f.Ordered {
		j.add("connector.advanced.order", "is true, and the server does not keep the order", "为 true，但服务端不保持消息顺序")
	}
}

// sending judges the settings of a connection, whose path is at, that matter to producers.
func (j *judge) sending(at string, a *connector.Advanced, inflight int) {
	f := j.f
	if a.WillEnabled {
		if j.tried["will"] && !f.Will {
			j.add(at+".advanced.will_enabled", "is true, and the server publishes no will", "为 true，但服务端不发布遗嘱")
		}
		j.topic(at+".advanced.will_topic", a.WillTopic)
		j.publishes(at+".advanced.will", a.WillQoS, a.WillRetained)
	}
	if n := inflight; j.tried["window-qos2"] && f.LostQoS2 > 0 && n > f.safeQoS2() {
		j.add(at+".extension.max_inflight_qos2", "is %d: above %d the server loses messages when the connection ends", "为 %d：大于 %d 时，连接断开会使服务端丢失消息", n, f.safeQoS2())
	}
}

func (j *judge) consumer(path string, c *connector.ConsumerParams, cfg *connector.Config) {
	f := j.f
	for i, t := range c.Topics {
		at := fmt.Sprintf("%s.topics[%d]", path, i)
		qos := c.QoS
		if t.HasQoS {
			qos = t.QoS
		}
		if j.tried["qos"] && int(qos) > f.Granted {
			j.add(at, "asks for QoS %d, and the server grants %d", "请求 QoS %d，但服务端只授予 %d", qos, f.Granted)
		}
		_, _, shared := packets.ParseShared(t.Topic)
		if (shared || c.ShareGroup != "") && j.tried["share"] && f.Share != ShareDelivered {
			j.add(at, "is shared, and the server does not deliver shared subscriptions: use partition", "为共享订阅，但服务端不会送达，请改用 partition")
		}
		plain, ok := packets.Undecorated(t.Topic)
		if !ok {
			plain = t.Topic
		}
		j.topic(at, plain)
		if j.tried["retained"] && f.Retained && !f.RetainedByWildcard && strings.ContainsAny(plain, "+#") && c.Retained != connector.RetainedSkip {
			j.add(at, "has a wildcard, and the server sends retained messages to exact topics alone", "含有通配符，但服务端只向不含通配符的订阅发送保留消息")
		}
	}
	if j.tried["redelivery"] && !cfg.Advanced.Clean() && c.AckMode == connector.AfterFlowSuccess && !f.Redelivers {
		j.add(path+".ack_mode", "is after_flow_success, and the server does not send again what was not acknowledged", "为 after_flow_success，但服务端不会重新投递未确认的消息")
	}
	if j.tried["window"] && !f.WindowOpen && c.Concurrency > f.Window {
		j.add(path+".concurrency", "is %d, and the server sends no more than %d messages before they are acknowledged", "为 %d，但服务端最多发出 %d 条未确认的消息", c.Concurrency, f.Window)
	}
	if t := c.OnFailure.DeadLetterTopic; t != "" && !strings.Contains(t, "${") {
		j.topic(path+".on_failure.dead_letter_topic", t)
	}
}

func (j *judge) producer(path string, p *connector.ProducerParams) {
	j.publishes(path, p.QoS, p.Retained)
	if !strings.Contains(p.Topic, "${") {
		j.topic(path+".topic", p.Topic)
	}
	if p.Payload != nil && j.tried["largest"] && !j.f.LargestOpen && len(*p.Payload) > j.f.Largest {
		j.add(path+".payload", "has %d bytes, and the server takes packets of %d", "有 %d 字节，但服务端只接受 %d 字节的报文", len(*p.Payload), j.f.Largest)
	}
}

// publishes judges how messages are published.
func (j *judge) publishes(path string, qos packets.QoS, retained bool) {
	if j.tried["qos"] && qos == packets.ExactlyOnce && !j.f.ExactlyOnce {
		j.add(path+".qos", "is Exactly Once, and the server has no QoS 2: a message may come twice", "为 Exactly Once，但服务端不支持 QoS 2：消息可能重复")
	}
	if j.tried["retained"] && retained && !j.f.Retained {
		j.add(path+".retained", "is true, and the server does not keep retained messages", "为 true，但服务端不保存保留消息")
	}
}

// topic judges a topic, or a filter, by the kinds of topics that were tested.
func (j *judge) topic(path, topic string) {
	if !j.tried["topics"] {
		return
	}
	for _, k := range kindsOfTopics {
		if outcome := j.f.Topics[k.kind]; outcome != "delivered" && outcome != "unknown" && k.is(topic) {
			j.add(path, "has %[1]s: %[3]s", "含有“%[2]s”：%[4]s", k.text.EN, k.text.ZH, outcomes[outcome].EN, outcomes[outcome].ZH)
		}
	}
}

// outcomes are the values of Facts.Topics, as sentences about a topic.
var outcomes = map[string]Text{
	"closes":  {"the server closes the connection over it", "服务端会因此断开连接"},
	"silent":  {"the server does not answer", "服务端不应答"},
	"refused": {"the server refuses it", "服务端拒绝"},
	"lost":    {"the server delivers nothing to it", "服务端不会送达"},
	"altered": {"the server delivers it under another topic", "服务端会改变主题"},
}
