package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Every message has a payload of 256 bytes and a topic of 31; at most window messages are
// unanswered.
const window = 100

// open connects the client of a job.
func (j job) open() (conn, *meter, error) {
	m := &meter{calls: new(atomic.Int64)}
	c, err := connect(j.Who, options{addr: j.Addr, id: "bench", window: j.Window, calls: m.calls, owned: j.Owned})
	return c, m, err
}

// timed calls do with growing counts until a call takes a quarter of a round, and then measures one
// that takes a round.
func (j job) timed(m *meter, do func(n int) error) (values, error) {
	for n := j.Window; ; n *= 2 {
		start := time.Now()
		if err := do(n); err != nil {
			return nil, err
		}
		took := time.Since(start)
		if took < j.Round/4 {
			continue
		}
		n = max(1, int(float64(n)*float64(j.Round)/float64(took)))
		stop, err := j.profile()
		if err != nil {
			return nil, err
		}
		m.start()
		err = do(n)
		v := m.stop(n)
		return v, errors.Join(err, stop())
	}
}

// publish publishes at a QoS without waiting for each message.
func publish(j job) (values, error) {
	c, m, err := j.open()
	if err != nil {
		return nil, err
	}
	defer c.close()
	return j.timed(m, func(n int) error { return c.publish(load{n: n, qos: j.QoS}) })
}

// receive receives the messages of the server for a round, after a quarter of a round for warming
// up.
func receive(j job) (values, error) {
	c, m, err := j.open()
	if err != nil {
		return nil, err
	}
	var (
		v     values
		begun = time.Now()
		n     int
		stop  func() error
		done  = make(chan error, 2)
	)
	each := func() {
		if n++; n%64 != 0 || v != nil {
			return
		}
		switch took := time.Since(begun); {
		case stop == nil && took > j.Round/4:
			var err error
			if stop, err = j.profile(); err != nil {
				v = values{}
				done <- err
			}
			begun, n = time.Now(), 0
			m.start()
		case stop != nil && took > j.Round:
			v = m.stop(n)
			done <- stop()
		}
	}
	go func() {
		err := c.receive(j.QoS, each)
		done <- errors.Join(errors.New("the connection ended"), err)
	}()
	err = <-done
	c.close()
	return v, err
}

// latency publishes one message at a time.
func latency(j job) (values, error) {
	c, m, err := j.open()
	if err != nil {
		return nil, err
	}
	defer c.close()
	var trips []float64
	v, err := j.timed(m, func(n int) error {
		trips = slices.Grow(trips[:0], n)
		for range n {
			start := time.Now()
			if err := c.block(j.QoS); err != nil {
				return err
			}
			trips = append(trips, float64(time.Since(start)))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(trips)
	v[half], v[late] = trips[len(trips)/2], trips[len(trips)*99/100]
	return v, nil
}

// blocked runs goroutines that publish and wait: j.Count of them or, if that is zero, as many as
// the window has places.
func blocked(j job) (values, error) {
	c, m, err := j.open()
	if err != nil {
		return nil, err
	}
	defer c.close()
	j.Window = cmp.Or(j.Count, j.Window) // a round has at least a message for each
	return j.timed(m, func(n int) error {
		var all sync.WaitGroup
		var left atomic.Int64
		left.Store(int64(n))
		errs := make(chan error, j.Window)
		for range j.Window {
			all.Go(func() {
				for left.Add(-1) >= 0 {
					if err := c.block(j.QoS); err != nil {
						errs <- err
						return
					}
				}
			})
		}
		all.Wait()
		close(errs)
		return <-errs
	})
}

// trafficTables measure clients with a server that does nothing.
func (m method) trafficTables() []table {
	var all []table
	for qos := range byte(3) {
		all = append(all, m.traffic(job{Work: "publish", QoS: qos}, "clients: publish QoS %d", ours, paho, atwat, limit1, limit100))
	}
	for qos := range byte(3) {
		all = append(all, m.traffic(job{Work: "receive", QoS: qos}, "clients: receive QoS %d", ours, paho, atwat, limit1, limit100))
	}
	all = append(all, m.traffic(job{Work: "receive", Owned: true}, "clients: receive QoS %d, payload owned", ours, paho, atwat, limit100))
	all = append(all, m.traffic(job{Work: "latency", QoS: 1, Window: 1}, "clients: one at a time, QoS %d", ours, paho, atwat, limit1))
	for qos := range byte(2) {
		t := m.traffic(job{Work: "blocked", QoS: qos}, "clients: 100 callers, QoS %d", ours, paho, atwat)
		all = append(all, t)
	}
	return all
}

// facadeTables measure the same for paho's API: over package client, and in paho itself.
func (m method) facadeTables() []table {
	var all []table
	for _, work := range []string{"publish", "receive"} {
		for qos := range byte(3) {
			all = append(all, m.traffic(job{Work: work, QoS: qos, Owned: true}, "paho's API: "+work+" QoS %d", facade, paho))
		}
	}
	return append(all, m.survivals("paho's API: ", facade)...)
}

// traffic returns a table whose rows do a job with a null server. Client and server have a core
// each, unless the client has waiting goroutines of its own.
func (m method) traffic(j job, name string, who ...string) table {
	t := table{Name: fmt.Sprintf(name, j.QoS)}
	j.Round, j.Profile = m.Traffic, m.Profile
	if j.Window == 0 {
		j.Window = window
	}
	client, server := first, second
	if j.Work == "blocked" {
		client, server = anywhere, anywhere
	}
	for _, w := range who {
		j := j
		j.Who = w
		t.Rows = append(t.Rows, j.against(job{Work: "serve", Window: window}.starter(server), client))
	}
	return t
}
