package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
)

// retained tests whether retained messages are delivered and can be deleted.
func (d *doctor) retained(ctx context.Context) (answer, means Text, err error) {
	topic := d.topic("retained/a")
	p, err := d.connect(ctx, "", true, nil)
	if err != nil {
		return
	}
	defer p.leave()
	d.retain(topic)
	// Wait for PUBACK even after an interrupt, so that the removal comes after the message.
	if err = p.publish(context.WithoutCancel(ctx), &packets.Publish{Topic: topic, QoS: 1, Retain: true, Payload: []byte("kept")}); err != nil {
		return
	}
	comes := func(filter string) (bool, error) {
		s, err := d.listen(ctx, packets.AtLeastOnce, filter)
		if err != nil {
			return false, err
		}
		defer s.leave()
		m, err := s.message(ctx, true, 2*d.o.Patience)
		if errors.Is(err, errSilent) {
			return false, nil
		}
		return err == nil && m.Retain, err
	}
	if d.facts.Retained, err = comes(topic); err != nil {
		return
	}
	if d.facts.RetainedByWildcard, err = comes(d.topic("retained/#")); err != nil {
		return
	}
	if err = d.forget(ctx, topic); err != nil {
		return
	}
	stays, err := comes(topic)
	switch {
	case err != nil:
	case !d.facts.Retained:
		answer, means = Text{"not delivered", "不会送达"}, Text{"retained: true of producers and dead letters has no effect", "Producer 与死信的 retained: true 无效"}
	case stays:
		answer, means = Text{"delivered, and cannot be deleted", "会送达，但无法删除"}, Text{}
	case !d.facts.RetainedByWildcard:
		answer = Text{"delivered to an exact topic, not to a filter with a wildcard", "只送达不含通配符的订阅"}
		means = Text{"a consumer with a wildcard does not get retained messages", "使用通配符的 Consumer 收不到保留消息"}
	default:
		answer = Text{"delivered, and deleted by an empty message", "会送达，可用空消息删除"}
	}
	return answer, means, err
}

// will tests when wills are published.
func (d *doctor) will(ctx context.Context) (answer, means Text, err error) {
	comes := func(topic string, end func(*peer)) (bool, error) {
		s, err := d.listen(ctx, packets.AtLeastOnce, topic)
		if err != nil {
			return false, err
		}
		defer s.leave()
		w, err := d.connect(ctx, "", true, &packets.Will{Topic: topic, Payload: []byte("gone"), QoS: 1})
		if err != nil {
			return false, err
		}
		end(w)
		_, err = s.message(ctx, true, 2*d.o.Patience)
		if errors.Is(err, errSilent) {
			return false, nil
		}
		return err == nil, err
	}
	if d.facts.Will, err = comes(d.topic("will/cut"), (*peer).cut); err != nil {
		return
	}
	if d.facts.WillAfterDisconnect, err = comes(d.topic("will/left"), (*peer).leave); err != nil {
		return
	}
	switch {
	case !d.facts.Will:
		return Text{"not published when a connection breaks", "连接中断时不会发布"}, Text{"will_enabled has no effect", "will_enabled 无效"}, nil
	case d.facts.WillAfterDisconnect:
		return Text{"published when a connection breaks, and after DISCONNECT as well", "连接中断时发布，DISCONNECT 后也发布"},
			Text{"the will comes whenever the connector stops", "连接器每次停止都会触发遗嘱"}, nil
	}
	return Text{"published when a connection breaks, not after DISCONNECT", "连接中断时发布，DISCONNECT 后不发布"}, Text{}, nil
}

// share tests whether shared subscriptions are delivered or only granted.
func (d *doctor) share(ctx context.Context) (answer, means Text, err error) {
	const n = 10
	topic := d.topic("share")
	filter := "$share/" + d.name + "/" + topic
	useless := Text{"share_group and $share/ receive nothing here: use partition", "share_group 与 $share/ 在此收不到消息，请改用 partition"}
	var members [2]*peer
	for i := range members {
		p, err := d.connect(ctx, "", true, nil)
		if err != nil {
			return answer, means, err
		}
		defer p.leave()
		codes, err := p.subscribe(ctx, packets.AtLeastOnce, filter)
		switch {
		case errors.Is(err, errClosed):
			d.facts.Share = ShareCloses
			return Text{"closes the connection", "断开连接"}, useless, nil
		case err != nil:
			return answer, means, err
		case codes[0] >= packets.SubscribeFailure:
			d.facts.Share = ShareRefused
			return Text{"refused by SUBACK", "SUBACK 拒绝"}, useless, nil
		}
		members[i] = p
	}
	if err = d.publishMany(ctx, topic, n); err != nil {
		return
	}
	var counts [2]int
	var errs [2]error
	var reading sync.WaitGroup
	for i, p := range members {
		reading.Go(func() {
			all, err := p.messages(ctx, n+1, true, 2*d.o.Patience)
			counts[i], errs[i] = len(all), err
		})
	}
	reading.Wait()
	if err = errors.Join(errs[:]...); err != nil {
		return answer, means, fmt.Errorf("a member of a group: %w", err)
	}
	switch counts[0] + counts[1] {
	case n:
		d.facts.Share = ShareDelivered
		return Text{"delivered, each message to one member", "可用，每条消息只送达一个成员"}, Text{}, nil
	case 0:
		d.facts.Share = ShareGranted
		return Text{"granted, and nothing is delivered", "授予但不送达任何消息"}, useless, nil
	case 2 * n:
		d.facts.Share = ShareToAll
		return Text{"each message to every member", "每条消息送达所有成员"}, Text{"share_group does not divide messages", "share_group 不会分配消息"}, nil
	}
	return answer, means, fmt.Errorf("%d of %d messages came to the members of a group", counts[0]+counts[1], n)
}

// overlap counts the copies of a message that several filters of a client match.
func (d *doctor) overlap(ctx context.Context) (answer, means Text, err error) {
	topic := d.topic("overlap/a")
	s, err := d.listen(ctx, packets.AtLeastOnce, topic, d.topic("overlap/+"), d.topic("overlap/#"))
	if err != nil {
		return
	}
	defer s.leave()
	if err = d.publishMany(ctx, topic, 1); err != nil {
		return
	}
	all, err := s.messages(ctx, 10, true, 2*d.o.Patience)
	if err != nil {
		return
	}
	switch d.facts.Copies = len(all); d.facts.Copies {
	case 0:
		return answer, means, errNothing
	case 1:
		return Text{"one copy of each message", "每条消息一份"}, Text{}, nil
	}
	return bothf("%d copies of a message for 3 filters", "3 个订阅主题收到 %d 份", len(all)),
		Text{"overlapping topics run a flow more than once (W210)", "重叠的订阅主题会使流程多次运行（W210）"}, nil
}

// takeover connects the same client id twice [MQTT-3.1.4-2].
func (d *doctor) takeover(ctx context.Context) (answer, means Text, err error) {
	id := d.newID()
	first, err := d.connect(ctx, id, true, nil)
	if err != nil {
		return
	}
	defer first.cut()
	second, err := d.connect(ctx, id, true, nil)
	var refused *client.RefusedError
	switch {
	case errors.As(err, &refused), errors.Is(err, errClosed), errors.Is(err, errSilent):
		return bothf("the second one is refused: %v", "第二个连接被拒绝：%v", err), Text{"a connector whose connection hangs has to wait until the server notices", "连接挂起时，须等待服务端察觉后才能重连"}, nil
	case err != nil:
		return
	}
	defer second.leave()
	v, err := first.next(ctx, answering*d.o.Patience)
	switch {
	case errors.Is(err, errClosed):
		return Text{"the first one is closed", "第一个连接被断开"}, Text{}, nil
	case errors.Is(err, errSilent):
		return Text{"both stay connected", "两个连接都保留"}, Text{"two connectors with the same client id disturb each other unnoticed", "相同客户端 ID 的两个连接器会互相干扰而不被察觉"}, nil
	case err != nil:
		return answer, means, err
	}
	return bothf("the first one gets %v", "第一个连接收到 %v", v.Type()), Text{}, nil
}

// largest searches for the largest packet that is accepted.
func (d *doctor) largest(ctx context.Context) (answer, means Text, err error) {
	topic := d.topic("largest")
	var how error // of what did not fit
	fits := func(size int) (bool, error) {
		m := &packets.Publish{Topic: topic, QoS: 1, PacketID: 1}
		m.Payload = make([]byte, size-m.Size()-3) // 3 more bytes for a longer Remaining Length
		m.Payload = m.Payload[:len(m.Payload)-max(m.Size()-size, 0)]
		p, err := d.connect(ctx, "", true, nil)
		if err != nil {
			return false, err // it says nothing of packets
		}
		defer p.leave()
		if err = p.publish(ctx, m); ctx.Err() != nil {
			return false, ctx.Err()
		}
		if err != nil {
			how = err
		}
		return err == nil, nil
	}
	const least = 1 << 10
	fit, err := fits(least)
	if err == nil && !fit {
		err = how
	}
	if err != nil {
		return
	}
	good, bad := least, d.o.MaxPacket
	if fit, err = fits(bad); err != nil {
		return
	}
	if fit {
		d.facts.Largest, d.facts.LargestOpen = bad, true
		return bothf("at least %d bytes", "%d 字节以上", bad), Text{}, nil
	}
	reason := ways(how)
	for bad-good > least {
		middle := good + (bad-good)/2
		if fit, err = fits(middle); err != nil {
			return
		}
		if fit {
			good = middle
		} else {
			bad = middle
		}
	}
	d.facts.Largest = good
	return bothf("about %[1]d KiB; above that: %[2]s", "约 %[1]d KiB；超过时：%[3]s", good>>10, reason.EN, reason.ZH),
		bothf("messages of producers have to stay below %d bytes", "Producer 的消息须小于 %d 字节", good), nil
}

// kindsOfTopics are kinds of names that some servers treat specially; the topic follows the prefix of the
// run.
var kindsOfTopics = []struct {
	kind  string
	text  Text
	topic string                  // %s is the prefix
	is    func(topic string) bool // reports whether a topic, or a filter, is of the kind
}{
	{"dots", Text{"dots", "点号"}, "%s/a.b/c", func(t string) bool { return strings.Contains(t, ".") }},
	{"blanks", Text{"blanks", "空格"}, "%s/a b/c", func(t string) bool { return strings.Contains(t, " ") }},
	{"leading-slash", Text{"a leading slash", "以 / 开头"}, "/%s/a", func(t string) bool { return strings.HasPrefix(t, "/") }},
	{"trailing-slash", Text{"a trailing slash", "以 / 结尾"}, "%s/a/", func(t string) bool { return strings.HasSuffix(t, "/") }},
	{"empty-level", Text{"an empty level", "空的一级"}, "%s/a//b", func(t string) bool { return strings.Contains(t, "//") }},
	{"non-ascii", Text{"other alphabets", "非 ASCII 字符"}, "%s/温度/é", func(t string) bool {
		return strings.ContainsFunc(t, func(r rune) bool { return r > unicode.MaxASCII })
	}},
	{"signs", Text{"* and >", "* 与 >"}, "%s/a*b/>", func(t string) bool { return strings.ContainsAny(t, "*>") }},
	{"control", Text{"a control character", "控制字符"}, "%s/a\u0001b", func(t string) bool { return strings.ContainsFunc(t, unicode.IsControl) }},
	{"deep", Text{"120 levels", "120 级"}, "%s" + strings.Repeat("/x", 119), func(t string) bool { return strings.Count(t, "/") >= 119 }},
}

// topics tests topics that are unusual but legal.
func (d *doctor) topics(ctx context.Context) (answer, means Text, err error) {
	outcomes := make([]Text, len(kindsOfTopics))
	words := make([]string, len(kindsOfTopics))
	errs := make([]error, len(kindsOfTopics))
	var trying sync.WaitGroup
	for i, k := range kindsOfTopics {
		topic := fmt.Sprintf(k.topic, d.topic(k.kind))
		switch {
		case k.kind != "leading-slash" || d.o.Prefix == "":
		case strings.HasPrefix(d.o.Prefix, "/"):
			topic = topic[1:]
		default:
			errs[i] = errPrefix
			continue
		}
		trying.Go(func() { words[i], outcomes[i], errs[i] = d.tryTopic(ctx, topic) })
	}
	trying.Wait()
	d.facts.Topics = make(map[string]string)
	var en, zh []string
	known, changed := 0, false
	for i, k := range kindsOfTopics {
		if d.facts.Topics[k.kind] = words[i]; errs[i] != nil {
			d.facts.Topics[k.kind] = "unknown"
			outcomes[i] = notKnown(errs[i])
		} else if known++; words[i] == "delivered" {
			continue
		} else {
			changed = true
		}
		en, zh = append(en, k.text.EN+": "+outcomes[i].EN), append(zh, k.text.ZH+"："+outcomes[i].ZH)
	}
	switch {
	case known == 0:
		return answer, means, errs[0]
	case len(en) == 0:
		return Text{"all delivered unchanged", "全部原样送达"}, Text{}, ctx.Err()
	case changed:
		means = Text{"avoid these kinds of topics", "主题请避开上述写法"}
	}
	return Text{strings.Join(en, "; "), strings.Join(zh, "；")}, means, ctx.Err()
}

// tryTopic publishes to a topic with an exact subscription. It returns the outcome as a word for Facts and as a
// text.
func (d *doctor) tryTopic(ctx context.Context, topic string) (word string, what Text, err error) {
	s, err := d.connect(ctx, "", true, nil)
	if err != nil {
		return
	}
	defer s.leave()
	p, err := d.connect(ctx, "", true, nil)
	if err != nil {
		return
	}
	defer p.leave()
	codes, err := s.subscribe(ctx, packets.AtLeastOnce, topic)
	switch {
	case errors.Is(err, errClosed):
		return "closes", Text{"SUBSCRIBE closes the connection", "订阅时断开连接"}, nil
	case errors.Is(err, errSilent):
		return "silent", Text{"SUBSCRIBE is not answered", "订阅没有应答"}, nil
	case err != nil:
		return
	case codes[0] >= packets.SubscribeFailure:
		return "refused", Text{"SUBACK refuses it", "SUBACK 拒绝"}, nil
	}
	switch err = p.publish(ctx, &packets.Publish{Topic: topic, QoS: 1, Payload: []byte("x")}); {
	case errors.Is(err, errClosed):
		return "closes", Text{"PUBLISH closes the connection", "发布时断开连接"}, nil
	case errors.Is(err, errSilent):
		return "silent", Text{"PUBLISH is not answered", "发布没有应答"}, nil
	case err != nil:
		return
	}
	m, err := s.message(ctx, true, 2*d.o.Patience)
	switch {
	case errors.Is(err, errSilent):
		return "lost", Text{"granted and acknowledged, and nothing arrives", "订阅获准、发布已确认，但收不到消息"}, nil
	case errors.Is(err, errClosed):
		return "closes", Text{"closes the connection of the subscriber", "断开订阅方的连接"}, nil
	case err != nil:
		return
	case m.Topic != topic:
		return "altered", bothf("arrives as %q", "送达时变为 %q", strings.ReplaceAll(m.Topic, d.name, "…")), nil
	}
	return "delivered", Text{}, nil
}

// refusal tests how a refused publish shows. A message below $SYS is not stored anywhere.
func (d *doctor) refusal(ctx context.Context) (answer, means Text, err error) {
	topic := d.o.Forbidden
	if topic == "" {
		topic = "$SYS/" + d.name
	}
	p, err := d.connect(ctx, "", true, nil)
	if err != nil {
		return
	}
	defer p.leave()
	s, err := d.connect(ctx, "", true, nil)
	if err != nil {
		return
	}
	defer s.leave()
	var subscribed Text
	granted := false
	if d.o.Forbidden != "" {
		codes, err := s.subscribe(ctx, packets.AtLeastOnce, topic)
		switch granted = err == nil && codes[0] < packets.SubscribeFailure; {
		case err != nil:
			subscribed = ways(err)
		default:
			subscribed = bothf("SUBACK 0x%02x", "SUBACK 0x%02x", byte(codes[0]))
		}
	}
	published := Text{"PUBACK, as if it were accepted", "以 PUBACK 应答，如同已接受"}
	if err := p.publish(ctx, &packets.Publish{Topic: topic, QoS: 1, Payload: []byte("x")}); err != nil {
		published = ways(err)
	}
	if d.o.Forbidden == "" {
		return bothf("PUBLISH to $SYS: %[1]s", "向 $SYS 发布：%[2]s", published.EN, published.ZH), Text{}, ctx.Err()
	}
	if granted {
		switch _, err := s.message(ctx, true, 2*d.o.Patience); {
		case err == nil:
			subscribed.EN, subscribed.ZH = subscribed.EN+", and a message arrives", subscribed.ZH+"，并收到消息"
		case errors.Is(err, errSilent):
			subscribed.EN, subscribed.ZH = subscribed.EN+", and nothing arrives", subscribed.ZH+"，但收不到消息"
		}
	}
	return bothf("PUBLISH: %[1]s; SUBSCRIBE: %[3]s", "PUBLISH：%[2]s；SUBSCRIBE：%[4]s", published.EN, published.ZH, subscribed.EN, subscribed.ZH), Text{}, ctx.Err()
}
