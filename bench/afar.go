package main

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
)

// Producers of a connector, by the window of their connection.
const (
	usual = "by default"
	wide  = "max_inflight: 1024"
)

// roundTrip is the round-trip time to a distant server.
const roundTrip = 50 * time.Millisecond

// A remote connection delays data in both directions without limiting the throughput.
type remote struct {
	net.Conn
	after     time.Duration // each way
	came      chan piece
	rest      []byte
	left      chan piece
	abandoned chan struct{} // closed by Close
	closed    atomic.Bool
}

// A piece is data that arrives later.
type piece struct {
	b   []byte
	err error
	due time.Time
}

// far returns a connection whose round trip is longer by trip.
func far(conn net.Conn, trip time.Duration) net.Conn {
	c := &remote{Conn: conn, after: trip / 2, came: make(chan piece, 1<<12), left: make(chan piece, 1<<12), abandoned: make(chan struct{})}
	go c.read()
	go c.write()
	return c
}

func (c *remote) read() {
	for {
		b := make([]byte, 32<<10)
		n, err := c.Conn.Read(b)
		c.came <- piece{b[:n], err, time.Now().Add(c.after)}
		if err != nil {
			return
		}
	}
}

func (c *remote) write() {
	for {
		select {
		case p := <-c.left:
			time.Sleep(time.Until(p.due))
			if _, err := c.Conn.Write(p.b); err != nil {
				return
			}
		case <-c.abandoned:
			return
		}
	}
}

func (c *remote) Read(b []byte) (int, error) {
	if len(c.rest) == 0 {
		p := <-c.came
		time.Sleep(time.Until(p.due))
		if c.rest = p.b; len(p.b) == 0 {
			return 0, p.err
		}
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *remote) Write(b []byte) (int, error) {
	if c.closed.Load() {
		return 0, net.ErrClosed
	}
	select {
	case c.left <- piece{append([]byte(nil), b...), nil, time.Now().Add(c.after)}:
		return len(b), nil
	case <-c.abandoned:
		return 0, net.ErrClosed
	}
}

func (c *remote) Close() error {
	if !c.closed.Swap(true) {
		close(c.abandoned)
	}
	return c.Conn.Close()
}

// The deadlines do nothing: they would apply to the wrong end of the delay, and bench needs none.
func (*remote) SetDeadline(time.Time) error      { return nil }
func (*remote) SetReadDeadline(time.Time) error  { return nil }
func (*remote) SetWriteDeadline(time.Time) error { return nil }

// A producing publishes with a producer of a connector.
type producing struct {
	conn
	c *connector.Connector
}

func connectProducer(inflight int) func(options) (conn, error) {
	return func(o options) (conn, error) {
		c, err := connector.New(connector.Config{
			General:   connector.General{BrokerURL: o.addr, ClientID: o.id},
			Extension: connector.Extension{MaxInflight: inflight},
			Producers: map[string]connector.ProducerParams{"bench": {Topic: topic, QoS: packets.AtLeastOnce}},
		}, connector.Options{Dial: func(context.Context) (net.Conn, error) {
			conn, err := o.dial()
			if err != nil {
				return nil, err
			}
			return far(conn, roundTrip), nil
		}})
		if err != nil {
			return nil, err
		}
		return &producing{c: c}, c.Start(context.Background())
	}
}

// block publishes a message like a flow.
func (p *producing) block(byte) error {
	_, err := p.c.Producer("bench").Run(context.Background(), flow.NewMessage("in", payload256, packets.AtLeastOnce, 1))
	return err
}

// close does nothing: the process ends soon.
func (p *producing) close() {}

// steady runs Count goroutines that publish and wait. It counts what is done within a round, after a
// quarter of a round for warming up, so that the beginning and the end, each of which takes a round
// trip, do not count.
func steady(j job) (values, error) {
	c, m, err := j.open()
	if err != nil {
		return nil, err
	}
	defer c.close()
	var done atomic.Int64
	errs := make(chan error, j.Count)
	for range j.Count {
		go func() {
			for {
				if err := c.block(j.QoS); err != nil {
					errs <- err
					return
				}
				done.Add(1)
			}
		}()
	}
	time.Sleep(max(j.Round/4, 4*roundTrip))
	stop, err := j.profile()
	if err != nil {
		return nil, err
	}
	m.start()
	before := done.Load()
	time.Sleep(j.Round)
	v := m.stop(int(done.Load() - before))
	select {
	case err = <-errs:
	default:
	}
	return v, errors.Join(err, stop())
}

// afarTables measure producers whose server is distant.
func (m method) afarTables() []table {
	t := table{Name: "afar: producer, QoS 1"}
	for _, r := range []struct {
		who     string
		callers int // twice the window
	}{{usual, 200}, {wide, 2048}} {
		j := job{Work: "steady", Who: r.who, QoS: 1, Count: r.callers, Round: max(m.Traffic, time.Second), Profile: m.Profile}
		t.Rows = append(t.Rows, j.against(job{Work: "serve", Window: window}.starter(anywhere), anywhere))
	}
	return []table{t}
}
