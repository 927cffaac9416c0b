package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	atwatmqtt "github.com/at-wat/mqtt-go"
	pahomqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/mqtt311/mqtt311/client"
	facademqtt "github.com/mqtt311/mqtt311/client/paho"
	"github.com/mqtt311/mqtt311/packets"
)

// What happened to messages while connections were cut.
const (
	lost       = "lost"         // never arrived
	duplicated = "duplicated"   // arrived again: at QoS 1, after it was acknowledged
	disordered = "out of order" // arrived after a later one on the same connection
	refused    = "refused"      // failed, according to the client
	early      = "early"        // done, according to the client, before the server had acknowledged it
	unsettled  = "no outcome"   // the client never reports an outcome
	took       = "ms"
)

// backoff is the longest pause of a client before it reconnects.
const backoff = 20 * time.Millisecond

// silence is how long nothing may happen before a run counts as finished.
const silence = 2 * time.Second

// A keeper is a server that keeps its half of a session and cuts connections. Messages that it has
// read before a cut have arrived, but are not answered.
type keeper struct {
	mu       sync.Mutex
	cuts     []int // the connection is cut when so many messages have arrived
	mute     bool  // messages are not answered on the first connection
	connects int
	held     map[uint16]uint32 // messages of QoS 2 between PUBLISH and PUBREL, by identifier
	number   map[uint16]uint32 // the newest message with an identifier
	came     []int             // how often each message arrived, by number
	acked    []bool            // by number
	done     int               // acknowledged messages
	first    int               // different messages that have arrived
	newest   uint32            // the newest message on this connection
	dups     int
	disorder int
	back     time.Time // when the second connection began
	last     time.Time // when the last message was acknowledged
	over     chan struct{}
}

func newKeeper(n int, cuts []int, mute bool) *keeper {
	return &keeper{
		cuts: cuts, mute: mute, over: make(chan struct{}), last: time.Now(),
		held: make(map[uint16]uint32), number: make(map[uint16]uint32), came: make([]int, n), acked: make([]bool, n),
	}
}

func (k *keeper) listen() (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go k.serve(c)
		}
	}()
	return l, nil
}

func (k *keeper) serve(c net.Conn) {
	defer c.Close()
	buf, w := make([]byte, 64<<10), 0
	for {
		n, err := c.Read(buf[w:])
		if err != nil {
			return
		}
		w += n
		used, out := k.read(buf[:w])
		if used < 0 {
			return
		}
		w = copy(buf, buf[used:w])
		if len(out) > 0 {
			if _, err := c.Write(out); err != nil {
				return
			}
		}
	}
}

// read processes the packets in b. It returns how many bytes they have and the answer; used is -1
// if the connection is to be cut.
func (k *keeper) read(b []byte) (used int, out []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var finished []uint32
	for {
		body, n := cut(b[used:])
		if n == 0 {
			break
		}
		header := b[used]
		used += n
		switch packets.Type(header >> 4) {
		case packets.CONNECT:
			out = k.connected(out)
			continue
		case packets.PUBLISH:
			number := k.publish(header, body)
			if len(k.cuts) > 0 && k.first >= k.cuts[0] {
				k.cuts = k.cuts[1:]
				return -1, nil
			}
			if k.mute && k.connects == 1 {
				continue
			}
			if header>>1&3 == 1 {
				finished = append(finished, number)
			}
		case packets.PUBREL:
			id := binary.BigEndian.Uint16(body)
			delete(k.held, id)
			finished = append(finished, k.number[id])
		}
		out = answer(out, header, body)
	}
	for _, number := range finished {
		k.finish(number)
	}
	return used, out
}

func (k *keeper) connected(out []byte) []byte {
	k.connects++
	if k.newest = 0; k.connects == 2 {
		k.back = time.Now()
	}
	return append(out, byte(packets.CONNACK)<<4, 2, byte(min(k.connects-1, 1)), 0)
}

// publish records the arrival of a message, and returns its number.
func (k *keeper) publish(header byte, body []byte) uint32 {
	at := 2 + int(binary.BigEndian.Uint16(body))
	id, number := binary.BigEndian.Uint16(body[at:]), binary.BigEndian.Uint32(body[at+2:])
	exactly := header>>1&3 == 2
	if number < k.newest {
		k.disorder++
	}
	k.newest = number
	if exactly {
		if _, again := k.held[id]; again {
			return number
		}
		k.held[id] = number
	}
	k.number[id] = number
	if k.came[number]++; k.came[number] == 1 {
		k.first++
	} else if exactly || k.acked[number] {
		k.dups++
	}
	return number
}

func (k *keeper) finish(number uint32) {
	k.last = time.Now()
	if k.acked[number] {
		return
	}
	k.acked[number] = true
	if k.done++; k.done == len(k.acked) {
		close(k.over)
	}
}

func (k *keeper) isAcked(number int) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.acked[number]
}

// wait waits until every message is acknowledged, or nothing happens any more.
func (k *keeper) wait() {
	tick := time.NewTicker(silence / 10)
	defer tick.Stop()
	for {
		select {
		case <-k.over:
			return
		case now := <-tick.C:
			k.mu.Lock()
			quiet := now.Sub(k.last) > silence
			k.mu.Unlock()
			if quiet {
				return
			}
		}
	}
}

// A survivor publishes across connections. The returned function waits for the outcome; it is nil
// if the library does not report one.
type survivor func(qos byte, payload []byte) (outcome func() error, err error)

var survivors = map[string]func(addr string, window int) (survivor, error){
	ours: surviveOurs, facade: surviveFacade, paho: survivePaho, atwat: surviveAtwat,
}

func surviveOurs(addr string, window int) (survivor, error) {
	c, err := client.New(client.Config{
		Dial:                 func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", addr) },
		ClientID:             "survivor",
		MaxInflight:          window,
		MaxInflightQoS2:      window,
		MaxReconnectInterval: backoff,
	})
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	return func(qos byte, payload []byte) (func() error, error) {
		r, err := c.PublishAsync(ctx, client.Message{Topic: topic, Payload: payload, QoS: packets.QoS(qos)})
		if err != nil {
			return nil, err
		}
		return func() error { return r.Wait(ctx) }, nil
	}, c.Connect(ctx)
}

func survivePaho(addr string, _ int) (survivor, error) {
	opts := pahomqtt.NewClientOptions().AddBroker("tcp://" + addr).SetClientID("survivor").SetProtocolVersion(4)
	c := pahomqtt.NewClient(opts.SetCleanSession(false).SetMaxReconnectInterval(backoff))
	return func(qos byte, payload []byte) (func() error, error) {
		t := c.Publish(topic, qos, false, payload)
		return func() error { return wait(t) }, nil
	}, wait(c.Connect())
}

// surviveFacade is survivePaho with the other import.
func surviveFacade(addr string, window int) (survivor, error) {
	opts := facademqtt.NewClientOptions().AddBroker("tcp://" + addr).SetClientID("survivor").SetProtocolVersion(4)
	opts.SetMaxResumePubInFlight(window)
	c := facademqtt.NewClient(opts.SetCleanSession(false).SetMaxReconnectInterval(backoff))
	return func(qos byte, payload []byte) (func() error, error) {
		t := c.Publish(topic, qos, false, payload)
		return func() error { return wait(t) }, nil
	}, wait(c.Connect())
}

func surviveAtwat(addr string, _ int) (survivor, error) {
	ctx := context.Background()
	dial := atwatmqtt.DialerFunc(func(ctx context.Context) (*atwatmqtt.BaseClient, error) {
		return atwatmqtt.DialContext(ctx, "mqtt://"+addr)
	})
	c, err := atwatmqtt.NewReconnectClient(dial, atwatmqtt.WithReconnectWait(time.Millisecond, backoff))
	if err != nil {
		return nil, err
	}
	_, err = c.Connect(ctx, "survivor", atwatmqtt.WithKeepAlive(30), atwatmqtt.WithCleanSession(false))
	return func(qos byte, payload []byte) (func() error, error) {
		return nil, c.Publish(ctx, &atwatmqtt.Message{Topic: topic, QoS: atwatmqtt.QoS(qos), Payload: payload})
	}, err
}

// survive publishes Count messages, with a window of them in flight, and returns what happened to
// them. Cuts is how often the connection is cut meanwhile; 0: once, when all are in flight.
func survive(j job) (values, error) {
	k := newKeeper(j.Count, []int{j.Count}, true)
	if j.Cuts > 0 {
		var cuts []int
		for i := range j.Cuts {
			cuts = append(cuts, (i+1)*j.Count/(j.Cuts+1))
		}
		k = newKeeper(j.Count, cuts, false)
	} else if j.Who == atwat {
		k.cuts = []int{1} // it never has more under way
	}
	l, err := k.listen()
	if err != nil {
		return nil, err
	}
	defer l.Close()
	connect, ok := survivors[j.Who]
	if !ok {
		return nil, fmt.Errorf("nobody is called %q", j.Who)
	}
	start := time.Now()
	publish, err := connect(l.Addr().String(), j.Window)
	if err != nil {
		return nil, err
	}
	t := tally{outcomes: make([]func() error, j.Window)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		t.publish(j, publish, k)
	}()
	k.wait()
	select {
	case <-ended:
	case <-time.After(silence): // a goroutine that waits forever is leaked until the process ends
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if j.Cuts == 0 {
		start = k.back
	}
	return values{
		took: float64(k.last.Sub(start)) / 1e6, lost: float64(len(k.came) - k.first), duplicated: float64(k.dups), disordered: float64(k.disorder),
		refused: float64(t.refused.Load()), early: float64(t.early.Load()), unsettled: float64(int64(j.Count) - t.settled.Load()),
	}, nil
}

// A tally counts the outcomes that the client reports.
type tally struct {
	outcomes                []func() error // for a window of messages
	settled, refused, early atomic.Int64
}

func (t *tally) publish(j job, publish survivor, k *keeper) {
	for i := range j.Count + j.Window {
		if i >= j.Window {
			t.settle(i-j.Window, k)
		}
		if i < j.Count {
			outcome, err := publish(j.QoS, binary.BigEndian.AppendUint32(payload256[:0:0], uint32(i)))
			if err != nil {
				t.refused.Add(1)
			}
			t.outcomes[i%j.Window] = outcome
		}
	}
}

func (t *tally) settle(number int, k *keeper) {
	at := &t.outcomes[number%len(t.outcomes)]
	switch outcome := *at; {
	case outcome == nil: // it was refused, or the library does not say
	case outcome() != nil:
		t.refused.Add(1)
	case !k.isAcked(number):
		t.early.Add(1)
	}
	*at = nil
	t.settled.Add(1)
}

// survivalTables measure what happens to messages when connections end.
func (m method) survivalTables() []table { return m.survivals("cuts: ", ours, paho, atwat) }

func (m method) survivals(prefix string, who ...string) []table {
	var all []table
	for _, qos := range []byte{1, 2} {
		cut := job{Work: "survive", QoS: qos, Window: 1000, Count: m.Messages, Cuts: 11}
		once := job{Work: "survive", QoS: qos, Window: 1000, Count: 1000}
		all = append(all,
			once.survivors(fmt.Sprintf(prefix+"1,000 in flight, QoS %d", qos), who),
			cut.survivors(fmt.Sprintf(prefix+"20,000 messages, 11 cuts, QoS %d", qos), who))
	}
	return all
}

func (j job) survivors(name string, all []string) table {
	t := table{Name: name}
	for _, who := range all {
		j := j
		j.Who = who
		t.Rows = append(t.Rows, row{who, func() (values, error) { return j.run(anywhere) }})
	}
	return t
}
