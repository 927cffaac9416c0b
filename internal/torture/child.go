package torture

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const childEnv = "MQTT311_TORTURE_CHILD"

// A Child is what the process that is to be killed was told, and its journal. Its methods are
// safe for concurrent use.
type Child struct {
	Kind     string // which client is tortured; the test decides
	Addr     string // host:port of the proxy
	Dir      string // outlives the process
	Journal  string
	ClientID string
	Drain    bool   // publish nothing new, call Drained when all is finished, and end with the context
	Next     [3]int // the next number to publish, by QoS
	Trace    bool   // write packets and events to stdout, which is kept

	mu   sync.Mutex
	file *os.File
}

// Main is the TestMain of a package that tortures. In a child it calls child instead of
// the tests; a child that returns before its context has ended has failed.
func Main(m *testing.M, child func(context.Context, *Child) error) {
	told := os.Getenv(childEnv)
	if told == "" {
		os.Exit(m.Run())
	}
	c := new(Child)
	err := json.Unmarshal([]byte(told), c)
	if err == nil {
		// A kill takes nothing of what a write has given to the system, so there is no sync.
		c.file, err = os.OpenFile(c.Journal, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	}
	if err == nil {
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			io.Copy(io.Discard, os.Stdin)
			if !c.Drain {
				os.Exit(1) // the parent has died
			}
			cancel()
		}()
		c.write("run")
		err = child(ctx, c)
		if err == nil && ctx.Err() == nil {
			err = fmt.Errorf("the child returned too early")
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// OutTopic is where the child publishes its numbers of a QoS, InFilter what it subscribes to at
// QoS 2.
func OutTopic(qos byte) string { return "out/" + strconv.Itoa(int(qos)) }

// InFilter is what the child subscribes to.
const InFilter = "in/#"

func inTopic(qos byte) string { return "in/" + strconv.Itoa(int(qos)) }

// Payload is the message of a number, with a tail of some length.
func Payload(n int) []byte {
	return fmt.Appendf(nil, "%d %s", n, strings.Repeat("x", n*n%700))
}

// Number reads the number of a message.
func Number(payload []byte) (int, error) {
	digits, _, _ := strings.Cut(string(payload), " ")
	return strconv.Atoi(digits)
}

// write adds a line to the journal. The full stop says that the line is whole.
func (c *Child) write(event string, numbers ...int) {
	line := "\n" + event
	for _, n := range numbers {
		line += " " + strconv.Itoa(n)
	}
	if _, err := c.file.WriteString(line + " ."); err != nil {
		fmt.Fprintln(os.Stderr, "journal:", err)
		os.Exit(1)
	}
}

// Intend returns the next number to publish.
func (c *Child) Intend(qos byte) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.Next[qos]
	c.Next[qos]++
	c.write("intend", int(qos), n)
	return n
}

// Accepted notes that the client has taken the number over.
func (c *Child) Accepted(qos byte, n int) { c.write("accepted", int(qos), n) }

// Noted notes an incoming number, before it is acknowledged.
func (c *Child) Noted(qos byte, n int) { c.write("noted", int(qos), n) }

// Subscribed notes that the Server has granted InFilter.
func (c *Child) Subscribed() { c.write("subscribed") }

// Drained notes that nothing that was accepted is unfinished.
func (c *Child) Drained() { c.write("drained") }
