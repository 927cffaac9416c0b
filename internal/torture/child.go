package torture

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/internal/disk"
)

const childEnv = "MQTT311_TORTURE_CHILD"

// A Task is the configuration of a tortured process.
type Task struct {
	Role     string // Publisher or Consumer
	Kind     string // which client is tortured; the test decides
	Addr     string // host:port of the proxy
	Dir      string // outlives the process
	Journal  string
	ClientID string
	QoS2     bool   // the broker supports it
	Sick     string // the state of the disk, a word as on standard input
	Next     [3]int // the next numbers to publish, by QoS
	Trace    bool   // write packets and events to stdout, which is kept
}

// A Child is a process to be tortured: its task and its journal. Its methods are safe for
// concurrent use.
type Child struct {
	Task
	Disk *disk.Ill // wraps the folder of the client's store

	log  *journal
	mu   sync.Mutex
	calm chan struct{} // closed when nothing new should be published
}

// The words on the standard input of a child. If it ends without wordEnd, the parent has died.
const (
	wordDrain = "drain"
	wordEnd   = "end"
	wordStall = "stall"
	wordFull  = "full" // with a number of bytes, and "greedy" or not
	wordHeal  = "heal"
)

// Main is the TestMain of a package that tortures. In a child it calls child instead of
// the tests; a child that returns before its context has ended has failed.
func Main(m *testing.M, child func(context.Context, *Child) error) {
	told := os.Getenv(childEnv)
	if told == "" {
		os.Exit(m.Run())
	}
	if err := serve(told, child); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serve(told string, child func(context.Context, *Child) error) error {
	c := &Child{Disk: disk.NewIll(), calm: make(chan struct{})}
	if err := json.Unmarshal([]byte(told), &c.Task); err != nil {
		return err
	}
	file, err := os.OpenFile(c.Journal, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	c.log = &journal{who: c.Role, file: file}
	if c.Sick != "" {
		c.obey(c.Sick)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		words := bufio.NewScanner(os.Stdin)
		for words.Scan() {
			if words.Text() == wordEnd {
				cancel()
				return
			}
			c.obey(words.Text())
		}
		os.Exit(1) // the parent has died
	}()
	c.log.write(Event{What: began})
	go c.watch(ctx)
	err = child(ctx, c)
	if err == nil && ctx.Err() == nil {
		err = errors.New("the child returned too early")
	}
	return err
}

func (c *Child) obey(words string) {
	switch word, rest, _ := strings.Cut(words, " "); word {
	case wordDrain:
		close(c.calm)
	case wordStall:
		c.Disk.Stall()
	case wordFull:
		var room int64
		var greedy bool
		fmt.Sscan(rest, &room, &greedy)
		c.Disk.Fill(room, greedy)
	case wordHeal:
		c.Disk.Heal()
	}
}

const (
	watchEvery = 50 * time.Millisecond
	hiccupMin  = 300 * time.Millisecond
)

// watch records when this process did not run, because it was stopped or other processes had the
// machine.
func (c *Child) watch(ctx context.Context) {
	before := time.Now()
	for ctx.Err() == nil {
		time.Sleep(watchEvery)
		now := time.Now()
		if now.Sub(before) > hiccupMin {
			c.log.write(Event{What: hiccup, Since: before.UnixNano(), At: now.UnixNano()})
		}
		before = now
	}
}

// Calm is closed when nothing new should be published, and accepted messages should be completed.
func (c *Child) Calm() <-chan struct{} { return c.calm }

// Intend returns the next number to publish.
func (c *Child) Intend(qos byte) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.Next[qos]
	c.Next[qos]++
	c.log.write(Event{What: intend, QoS: qos, N: n})
	return n
}

// Accepted records that the client has accepted the number.
func (c *Child) Accepted(qos byte, n int) { c.log.write(Event{What: accepted, QoS: qos, N: n}) }

// Unsent records that, according to the client, the number did not leave and never will.
func (c *Child) Unsent(qos byte, n int) { c.log.write(Event{What: unsent, QoS: qos, N: n}) }

// GivenUp records that the client no longer tries to send the number.
func (c *Child) GivenUp(qos byte, n int, why error) {
	c.log.write(Event{What: givenUp, QoS: qos, N: n, Text: why.Error()})
}

// Noted records an incoming message, before it is acknowledged, and returns its number.
func (c *Child) Noted(topic string, payload []byte) (qos byte, n int, ok bool) {
	qos, n, err := message(topic, payload)
	if err != nil {
		c.log.write(Event{What: altered, Text: err.Error()})
		return 0, 0, false
	}
	c.log.write(Event{What: noted, QoS: qos, N: n})
	return qos, n, true
}

// Finished records that the acknowledgement of the number is on record: the message must not be
// delivered again.
func (c *Child) Finished(qos byte, n int) { c.log.write(Event{What: finished, QoS: qos, N: n}) }

// Subscribed records that the Server has granted Filter.
func (c *Child) Subscribed() { c.log.write(Event{What: subscribed}) }

// Drained records that no accepted message is unfinished.
func (c *Child) Drained() { c.log.write(Event{What: drained}) }

// lateBy is by how much a call may exceed its time limit before that is reported: machines are
// shared.
const lateBy = time.Second

// Timed calls f and records if it takes longer than may.
func (c *Child) Timed(call string, may time.Duration, f func()) {
	begin := time.Now()
	f()
	if end := time.Now(); end.Sub(begin) > may+lateBy {
		c.log.write(Event{What: late, Text: fmt.Sprintf("%s, %v instead of %v", call, end.Sub(begin).Round(time.Millisecond), may),
			Since: begin.Add(may).UnixNano(), At: end.UnixNano()})
	}
}
