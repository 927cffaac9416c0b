package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/mqtt311/mqtt311/session"
)

// Rows that compare this project with itself: costs that must not grow with the number of
// subscriptions, or of waiting publishers.
const (
	unsubscribed = "no subscriptions"
	few          = "10 publishers"
	throughCh    = "through Done"
)

// sessionTables measure round trips through the session, without I/O.
func (m method) sessionTables() []table {
	return []table{{"session: round trip QoS 1, 10,000 subscriptions", []row{
		m.inProcess(ours, roundTrips(10_000)), m.inProcess(unsubscribed, roundTrips(0)),
	}}}
}

// roundTrips returns a function that publishes through a session with many subscriptions and
// acknowledges.
func roundTrips(subscriptions int) func(n int) {
	s, err := session.New(session.Config{ClientID: "bench", KeepAlive: -1})
	must(err)
	now := time.Unix(0, 0)
	each := func(do func(*session.Output)) {
		for o, ok := s.Next(); ok; o, ok = s.Next() {
			if do != nil {
				do(o)
			}
		}
	}
	must(s.Opened(now, session.Login{}))
	each(nil)
	s.Received(now, &packets.Connack{})
	each(nil)
	for i := range subscriptions {
		_, err := s.Subscribe(now, packets.Subscription{Filter: fmt.Sprint("plant/", i)})
		must(err)
		var id uint16
		each(func(o *session.Output) {
			if p, ok := o.Packet.(*packets.Subscribe); ok {
				id = p.PacketID
			}
		})
		s.Received(now, &packets.Suback{PacketID: id, Codes: []packets.SubscribeCode{0}})
		each(nil)
	}
	m, ack := session.Message{Topic: topic, Payload: payload256, QoS: packets.AtLeastOnce}, new(packets.Puback)
	take := func(o *session.Output) {
		if p, ok := o.Packet.(*packets.Publish); ok {
			ack.PacketID = p.PacketID
		}
	}
	return func(n int) {
		for range n {
			_, err := s.Publish(now, m)
			must(err)
			each(take)
			s.Received(now, ack)
			each(nil)
		}
	}
}

// receipts publishes with a receipt for each message, and waits for the receipt from a window
// earlier. With j.Owned it waits on the channel of Done.
func receipts(j job) (values, error) {
	c, m, err := j.open()
	if err != nil {
		return nil, err
	}
	defer c.close()
	o, ok := c.(oursConn)
	if !ok {
		return nil, errors.New("receipts are this project's")
	}
	ctx := context.Background()
	message := client.Message{Topic: topic, Payload: payload256, QoS: packets.QoS(j.QoS)}
	out := make([]*client.Receipt, j.Window)
	await := func(r *client.Receipt) error {
		switch {
		case r == nil:
			return nil
		case j.Owned:
			<-r.Done()
			return r.Err()
		}
		return r.Wait(ctx)
	}
	return j.timed(m, func(n int) error {
		for i := range n {
			place := &out[i%len(out)]
			if err := await(*place); err != nil {
				return err
			}
			if *place, err = o.c.PublishAsync(ctx, message); err != nil {
				return err
			}
		}
		for i, r := range out {
			if err := await(r); err != nil {
				return err
			}
			out[i] = nil
		}
		return nil
	})
}

// coreTables measure the rows that are jobs.
func (m method) coreTables() []table {
	serve := job{Work: "serve", Window: window}
	base := job{Who: ours, QoS: 1, Window: 16, Round: m.Traffic, Profile: m.Profile}
	line := table{Name: "clients: 5,000 publishers in line, QoS 1"}
	for _, r := range []struct {
		who   string
		count int
	}{{ours, 5000}, {few, 10}} {
		j := base
		j.Work, j.Count = "blocked", r.count
		line.Rows = append(line.Rows, row{r.who, j.against(serve.starter(anywhere), anywhere).Round})
	}
	kept := table{Name: "clients: publish QoS 1, receipts waited for"}
	for _, r := range []struct {
		who  string
		work string
		done bool
	}{{ours, "receipts", false}, {throughCh, "receipts", true}, {limit100, "publish", false}} {
		j := base
		j.Work, j.Owned, j.Window = r.work, r.done, window
		if r.who == limit100 {
			j.Who = limit100
		}
		kept.Rows = append(kept.Rows, row{r.who, j.against(serve.starter(second), first).Round})
	}
	return []table{line, kept}
}
