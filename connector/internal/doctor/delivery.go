package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mqtt311/mqtt311/packets"
)

// delivery tests whether a message reaches a subscriber at all. Servers differ in how they forbid it: mosquitto
// grants the subscription, acknowledges the message, and delivers nothing.
func (d *doctor) delivery(ctx context.Context) (answer, means Text, err error) {
	if d.facts.Delivery, answer, err = d.tryTopic(ctx, d.topic("delivery")); err != nil {
		return
	}
	if d.facts.Delivery == "delivered" {
		answer = Text{"arrives", "能收到"}
	}
	if !d.facts.Delivers() {
		means = Text{
			"perhaps this user may not use topics that begin with " + d.o.Prefix + "doctor-: if it may use others, name their beginning by --prefix",
			"当前用户可能无权使用以 " + d.o.Prefix + "doctor- 开头的主题；若可使用其他主题，请用 --prefix 给出其开头",
		}
	}
	return answer, means, nil
}

// qos performs the handshakes of QoS 1 and 2, in both directions.
func (d *doctor) qos(ctx context.Context) (answer, means Text, err error) {
	topic := d.topic("qos")
	s, err := d.connect(ctx, "", true, nil)
	if err != nil {
		return
	}
	defer s.leave()
	codes, err := s.subscribe(ctx, packets.ExactlyOnce, topic)
	if err != nil {
		return
	}
	if codes[0] >= packets.SubscribeFailure {
		return answer, means, errRefused
	}
	d.facts.Granted = int(codes[0])
	p, err := d.connect(ctx, "", true, nil)
	if err != nil {
		return
	}
	defer p.leave()
	if err = p.publish(ctx, &packets.Publish{Topic: topic, QoS: 1, Payload: []byte("1")}); err != nil {
		return
	}
	if _, err = s.message(ctx, true, answering*d.o.Patience); err != nil {
		return answer, means, fmt.Errorf("a message of QoS 1 does not arrive: %w", err)
	}
	sent := d.sendTwo(ctx, p, topic)
	m, err := s.message(ctx, true, answering*d.o.Patience)
	received := packets.QoS(0)
	if err == nil {
		received = m.QoS
	}
	d.facts.ExactlyOnce = sent == packets.PUBCOMP && received == packets.ExactlyOnce
	switch {
	case d.facts.ExactlyOnce:
		return Text{"both", "均支持"}, Text{}, nil
	case sent == packets.PUBACK:
		answer = bothf("QoS 1; grants %d where 2 is asked for, and answers a PUBLISH of QoS 2 with PUBACK", "QoS 1；请求 2 时授予 %d，以 PUBACK 应答 QoS 2 的 PUBLISH", codes[0])
	case sent == 0:
		answer = bothf("QoS 1; grants %d where 2 is asked for, and a PUBLISH of QoS 2 gets no answer", "QoS 1；请求 2 时授予 %d，QoS 2 的 PUBLISH 得不到应答", codes[0])
	default:
		answer = bothf("QoS 1; grants %d where 2 is asked for, and delivers QoS 2 as QoS %d", "QoS 1；请求 2 时授予 %d，QoS 2 的消息以 QoS %d 送达", codes[0], received)
	}
	return answer, Text{"qos: Exactly Once works like At Least Once here: a message may arrive twice", "qos: Exactly Once 在此等同于 At Least Once：消息可能重复"}, nil
}

// sendTwo publishes a QoS 2 message and returns the type of the last answer.
func (d *doctor) sendTwo(ctx context.Context, p *peer, topic string) packets.Type {
	const id = 1000
	if p.send(&packets.Publish{Topic: topic, QoS: 2, PacketID: id, Payload: []byte("2")}) != nil {
		return 0
	}
	for end := time.Now().Add(answering * d.o.Patience); ; {
		v, err := p.next(ctx, time.Until(end))
		switch {
		case err != nil:
			return 0
		case v.Type() == packets.PUBACK && identifier(v) == id, v.Type() == packets.PUBCOMP && identifier(v) == id:
			return v.Type()
		case v.Type() == packets.PUBREC && identifier(v) == id:
			if p.send(&packets.Pubrel{PacketID: id}) != nil {
				return 0
			}
		}
	}
}

// absent creates a session, disconnects, publishes n QoS 1 messages meanwhile, and resumes the
// session.
func (d *doctor) absent(ctx context.Context, id, topic string, n int) (*peer, error) {
	p, err := d.connect(ctx, id, false, nil)
	if err != nil {
		return nil, err
	}
	codes, err := p.subscribe(ctx, packets.AtLeastOnce, topic)
	p.leave()
	if err == nil && codes[0] >= packets.SubscribeFailure {
		err = errRefused
	}
	if err == nil {
		err = d.publishMany(ctx, topic, n)
	}
	if err != nil {
		return nil, err
	}
	return d.connect(ctx, id, false, nil)
}

// session tests what a server keeps for an absent client.
func (d *doctor) session(ctx context.Context) (answer, means Text, err error) {
	const n = 20
	p, err := d.absent(ctx, d.newID(), d.topic("session"), n)
	if err != nil {
		return
	}
	defer p.leave()
	all, err := p.messages(ctx, n, true, max(d.o.Resend, d.o.Patience))
	if err != nil {
		return
	}
	d.facts.Sessions = len(all) == n
	d.facts.QueueInOrder = d.facts.Sessions && inOrder(all)
	present := 0
	if p.resume {
		present = 1
	}
	switch {
	case !d.facts.Sessions:
		answer = bothf("lost: %[1]d of %[2]d messages arrive, Session Present %[3]d", "丢失：%[2]d 条消息到达 %[1]d 条，Session Present 为 %[3]d", len(all), n, present)
		means = Text{"clean_session: false does not keep messages while the connector is away", "clean_session: false 无法在连接器离线时保留消息"}
	case !d.facts.QueueInOrder:
		answer = bothf("kept, in another order; Session Present %d", "保留，但顺序改变；Session Present 为 %d", present)
		means = Text{"order: true does not hold for messages queued while the connector was away", "order: true 无法保证离线期间积压消息的顺序"}
	default:
		answer = bothf("kept, in order; Session Present %d", "保留且有序；Session Present 为 %d", present)
	}
	return answer, means, nil
}

// inOrder reports whether numbered messages arrived in the order of their numbers.
func inOrder(all []*packets.Publish) bool {
	for i, m := range all {
		if string(m.Payload) != fmt.Sprint(i) {
			return false
		}
	}
	return true
}

// redelivery tests what happens to messages that a client received and did not acknowledge.
func (d *doctor) redelivery(ctx context.Context) (answer, means Text, err error) {
	const n = 3
	id := d.newID()
	p, err := d.absent(ctx, id, d.topic("redelivery"), n)
	if err != nil {
		return
	}
	first, err := p.messages(ctx, n, false, max(d.o.Resend, d.o.Patience))
	p.cut()
	if err != nil {
		return
	}
	if len(first) == 0 {
		return answer, means, errors.New("nothing waits for a client that was away")
	}
	if p, err = d.connect(ctx, id, false, nil); err != nil {
		return
	}
	defer p.leave()
	again, err := p.messages(ctx, len(first), true, max(d.o.Resend, d.o.Patience))
	if err != nil {
		return
	}
	if len(again) < len(first) {
		return bothf("%d of %d redelivered", "%[2]d 条中 %[1]d 条重新投递", len(again), len(first)),
			Text{"a message whose flow was cut off by a lost connection may be lost", "连接中断时未处理完的消息可能丢失"}, nil
	}
	ids := func(all []*packets.Publish) (ids []uint16) {
		for _, m := range all {
			ids = append(ids, m.PacketID)
		}
		slices.Sort(ids)
		return ids
	}
	f := &d.facts
	f.Redelivers, f.Dup, f.SameID = true, true, slices.Equal(ids(first), ids(again))
	for _, m := range again {
		f.Dup = f.Dup && m.Dup
	}
	answer = Text{"redelivered, with DUP", "重新投递，带 DUP"}
	if !f.Dup {
		answer = Text{"redelivered, without DUP", "重新投递，不带 DUP"}
	}
	if !f.SameID {
		answer.EN, answer.ZH = answer.EN+" and under new Packet Identifiers", answer.ZH+"，但报文标识符改变"
		means = Text{"a redelivered message is not recognised: its flow runs twice", "重新投递的消息无法识别，流程会再次运行"}
	}
	return answer, means, nil
}

// resend tests whether an unacknowledged message is sent again on the same connection.
func (d *doctor) resend(ctx context.Context) (answer, means Text, err error) {
	topic := d.topic("resend")
	s, err := d.listen(ctx, packets.AtLeastOnce, topic)
	if err != nil {
		return
	}
	defer s.leave()
	if err = d.publishMany(ctx, topic, 1); err != nil {
		return
	}
	if _, err = s.message(ctx, false, answering*d.o.Patience); err != nil {
		return
	}
	start := time.Now()
	switch _, err = s.message(ctx, true, d.o.Resend); {
	case errors.Is(err, errSilent):
		return bothf("no, not within %v", "否，%v 内没有重发", d.o.Resend), Text{}, nil
	case err != nil:
		return
	}
	d.facts.Resends = time.Since(start).Round(time.Second)
	return bothf("yes, after %v", "是，%v 后", d.facts.Resends),
		bothf("a flow that takes longer than %v gets its message again while it runs; the connector recognises the copy", "流程运行超过 %v 时，其消息会再次投递；连接器能够识别", d.facts.Resends), nil
}

// mostWindow is how many messages are sent to a client that acknowledges none.
const mostWindow = 1100

// window counts the messages sent to a client that acknowledges nothing.
func (d *doctor) window(ctx context.Context) (answer, means Text, err error) {
	topic := d.topic("window")
	s, err := d.listen(ctx, packets.AtLeastOnce, topic)
	if err != nil {
		return
	}
	defer s.leave()
	published := make(chan error, 1)
	go func() { published <- d.publishMany(ctx, topic, mostWindow) }()
	// A server that resends is never silent, so the silence is measured from the last new message.
	seen := make(map[uint16]bool)
	for last := time.Now(); len(seen) < mostWindow; {
		m, err := s.message(ctx, false, 2*d.o.Patience-time.Since(last))
		switch {
		case errors.Is(err, errSilent) && len(seen) == 0 && len(published) == 0:
			last = time.Now() // none yet, but publishing goes on: keep waiting
			continue
		case err != nil:
		case !seen[m.PacketID]:
			seen[m.PacketID], last = true, time.Now()
			continue
		case time.Since(last) < 2*d.o.Patience:
			continue
		}
		break
	}
	switch err = <-published; {
	case err != nil:
		return
	case len(seen) == 0:
		return answer, means, errNothing
	}
	d.facts.Window, d.facts.WindowOpen = len(seen), len(seen) >= mostWindow
	if d.facts.WindowOpen {
		return bothf("at least %d", "%d 条以上", mostWindow), Text{}, nil
	}
	return bothf("%d", "%d 条", d.facts.Window), bothf("no more than %d flows of a consumer run at once, whatever concurrency and max_in_flight say", "一个 Consumer 同时运行的流程不超过 %d 个，与 concurrency、max_in_flight 无关", d.facts.Window), nil
}

// triedQoS2 is how many QoS 2 messages are in flight at once; the client has 16, and mosquitto 2.0.11 accepts 20.
const triedQoS2 = 60

// windowQoS2 publishes more QoS 2 messages than servers accept at once, loses the connection, and continues: no
// message may be missing afterwards.
func (d *doctor) windowQoS2(ctx context.Context) (answer, means Text, err error) {
	topic := d.topic("qos2")
	s, err := d.listen(ctx, packets.ExactlyOnce, topic)
	if err != nil {
		return
	}
	defer s.leave()
	id := d.newID()
	p, err := d.connect(ctx, id, false, nil)
	if err != nil {
		return
	}
	publish := func(n uint16, dup bool) error {
		return p.send(&packets.Publish{Topic: topic, QoS: 2, Dup: dup, PacketID: n, Payload: fmt.Append(nil, n)})
	}
	for n := uint16(1); n <= triedQoS2; n++ {
		if publish(n, false) != nil {
			break
		}
	}
	received := make(map[uint16]bool)
	for len(received) < triedQoS2 {
		v, err := p.next(ctx, 2*d.o.Patience)
		if err != nil {
			break
		}
		if v.Type() == packets.PUBACK {
			p.cut()
			return Text{"none: it has no QoS 2", "无：不支持 QoS 2"}, Text{}, nil
		}
		if v.Type() == packets.PUBREC {
			received[identifier(v)] = true
		}
	}
	p.cut()
	if p, err = d.connect(ctx, id, false, nil); err != nil {
		return
	}
	defer p.leave()
	for n := uint16(1); n <= triedQoS2; n++ {
		if err = d.finish(ctx, p, n, received[n], publish); err != nil {
			return
		}
	}
	all, err := s.messages(ctx, triedQoS2, true, 2*d.o.Patience)
	if err != nil {
		return
	}
	arrived := make(map[string]bool)
	for _, m := range all {
		arrived[string(m.Payload)] = true
	}
	f := &d.facts
	f.TakenQoS2, f.TriedQoS2, f.LostQoS2 = len(received), triedQoS2, triedQoS2-len(arrived)
	answer = bothf("%d of %d", "%[2]d 条中 %[1]d 条", f.TakenQoS2, triedQoS2)
	if f.LostQoS2 > 0 {
		answer.EN += fmt.Sprintf("; %d are lost when the connection ends meanwhile", f.LostQoS2)
		answer.ZH += fmt.Sprintf("；期间连接断开会丢失 %d 条", f.LostQoS2)
		means = bothf("max_inflight_qos2 above %d loses messages", "max_inflight_qos2 大于 %d 会丢失消息", f.safeQoS2())
		if f.safeQoS2() == 0 {
			means = Text{"Exactly Once loses messages", "Exactly Once 会丢失消息"}
		}
	}
	return answer, means, nil
}

// finish continues a QoS 2 message after a reconnect: with PUBREL if PUBREC was received, otherwise with PUBLISH
// [MQTT-4.4.0-1].
func (d *doctor) finish(ctx context.Context, p *peer, n uint16, received bool, publish func(uint16, bool) error) error {
	if !received {
		if err := publish(n, true); err != nil {
			return err
		}
		if _, err := p.until(ctx, packets.PUBREC, n, answering*d.o.Patience); err != nil {
			return fmt.Errorf("PUBLISH after a reconnect: %w", err)
		}
	}
	if err := p.send(&packets.Pubrel{PacketID: n}); err != nil {
		return err
	}
	if _, err := p.until(ctx, packets.PUBCOMP, n, answering*d.o.Patience); err != nil {
		return fmt.Errorf("PUBREL: %w", err)
	}
	return nil
}

// order tests whether messages overtake each other.
func (d *doctor) order(ctx context.Context) (answer, means Text, err error) {
	const n = 200
	topic := d.topic("order")
	s, err := d.listen(ctx, packets.AtLeastOnce, topic)
	if err != nil {
		return
	}
	defer s.leave()
	if err = d.publishMany(ctx, topic, n); err != nil {
		return
	}
	all, err := s.messages(ctx, n, true, 2*d.o.Patience)
	if err != nil {
		return
	}
	switch d.facts.Ordered = inOrder(all) && len(all) == n; {
	case len(all) == 0:
		return answer, means, errNothing
	case len(all) < n:
		return bothf("%d of %d arrive", "%[2]d 条中到达 %[1]d 条", len(all), n), Text{"messages are lost", "消息会丢失"}, nil
	case !d.facts.Ordered:
		return Text{"not kept", "不保持"}, Text{"order: true does not hold", "order: true 无法保证顺序"}, nil
	}
	return Text{"kept", "保持"}, Text{}, nil
}
