package paho_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client"
	mqtt "github.com/mqtt311/mqtt311/client/paho"
	"github.com/stretchr/testify/require"
)

// A journal is a Logger that records its lines.
type journal struct{ list }

func (j *journal) Println(v ...any)               { j.add(fmt.Sprintln(v...)) }
func (j *journal) Printf(format string, v ...any) { j.add(fmt.Sprintf(format, v...)) }

func (j *journal) text() string { return strings.Join(j.all(), "") }

// journals replaces the loggers by journals while f runs.
func journals(f func()) (debug, warn, errors *journal) {
	debug, warn, errors = new(journal), new(journal), new(journal)
	mqtt.DEBUG, mqtt.WARN, mqtt.ERROR = debug, warn, errors
	defer func() { mqtt.DEBUG, mqtt.WARN, mqtt.ERROR = mqtt.NOOPLogger{}, mqtt.NOOPLogger{}, mqtt.NOOPLogger{} }()
	f()
	return debug, warn, errors
}

// The loggers receive the events of a client, but never a password or a payload.
func TestLoggers(t *testing.T) {
	const secret = "hush"
	debug, warn, errs := journals(func() {
		connected(t, func(o *mqtt.ClientOptions) {
			o.SetUsername("user"+secret).SetPassword(secret).SetWill("w", secret, 0, false)
			o.AddBroker("tcp://u:" + secret + "@[")
		}, func(d *dialogue) {
			d.client.Publish("a", 1, false, secret)
			d.expect(publish("a", 1, 1, secret).String())
			d.send(publish("b", 1, 1, secret))
			d.expect("PUBACK id=1")
			d.server.Refuse(errTest)
			d.cut()
			time.Sleep(time.Minute)
		})
	})
	for _, want := range []string{`sent PUBLISH "a"`, `received PUBLISH "b"`, "sent CONNECT", "connection lost: EOF"} {
		require.Contains(t, debug.text(), want)
	}
	require.Contains(t, warn.text(), `no handler for a message on "b"`)
	require.Contains(t, warn.text(), "connect failed reason=test")
	require.Contains(t, errs.text(), "AddBroker: not a URL")
	require.NotContains(t, debug.text()+warn.text()+errs.text(), secret)
}

// A password without a user name is not sent, and WARN gets a line about it.
func TestPasswordAlone(t *testing.T) {
	_, warn, _ := journals(func() {
		inBubble(t, func(o *mqtt.ClientOptions) { o.SetPassword("hush") }, func(d *dialogue) {
			d.client.Connect()
			require.False(t, d.accept(false).HasPassword)
		})
	})
	require.Contains(t, warn.text(), "no user name")
	require.NotContains(t, warn.text(), "hush")
}

// When a client ends for good, the ConnectionLostHandler is called and ERROR gets a line.
func TestClientThatEnds(t *testing.T) {
	var lost list
	_, _, errs := journals(func() {
		connected(t, func(o *mqtt.ClientOptions) {
			o.SetCleanSession(false).SetStore(failing{mqtt.NewMemoryStore()})
			o.SetConnectionLostHandler(func(_ mqtt.Client, err error) { lost.add(err.Error()) })
		}, func(d *dialogue) {
			token := d.client.Publish("a", 1, false, "x")
			require.Error(t, done(t, token))
			synctest.Wait()
			require.False(t, d.client.IsConnected())
			require.Len(t, lost.all(), 1)
		})
	})
	require.Contains(t, errs.text(), "the client has ended")
}

// A failing store takes everything but messages.
type failing struct{ *mqtt.MemoryStore }

func (f failing) Commit(changes []client.Change) error {
	for _, c := range changes {
		if len(c.Value) > 0 && strings.Contains(string(c.Value), "x") {
			return errTest
		}
	}
	return f.MemoryStore.Commit(changes)
}
