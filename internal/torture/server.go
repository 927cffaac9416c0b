package torture

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/internal/mosquitto"
	"github.com/mqtt311/mqtt311/internal/nats"
	"github.com/mqtt311/mqtt311/internal/program"
	"github.com/mqtt311/mqtt311/internal/rabbitmq"
)

// A Promise is what a broker can keep. It must keep everything that no field excuses.
type Promise struct {
	// QoS2 means that it supports QoS 2.
	QoS2 bool

	// Ordered means that the messages of a topic arrive in order the first time. mosquitto 2.0.11 sends
	// new messages before those that waited for an absent consumer, and nats-server sends those that were
	// in flight after later ones.
	Ordered bool

	// Drops means that it may fail to pass a message on, for example when the link of the consumer has just ended, and
	// loses it. It then closes the link of the publisher, right after PUBACK or PUBREC.
	Drops bool
	// Repeats means that it may publish a QoS 2 message again although it has sent PUBREL, or under another
	// identifier, which [MQTT-4.3.3-1] forbids: no receiver can recognise it then. mosquitto 2.0.11 does so
	// when a connection ends twice before it has sent the PUBREL again; nats-server when its AckWait ends
	// before it has read the PUBREC.
	Repeats bool

	// Forgets is the period whose acknowledgements by consumers it may lose when it is killed or its
	// machine stops; it then delivers those messages again.
	Forgets time.Duration
}

// A server is a broker in a process of its own. Its methods must be called from one goroutine.
type server struct {
	addr          string
	folder        string // its persistent data
	kill          func()
	start         func() error
	pause, resume func()
	log           func() string
	promise       Promise

	// saved returns the time up to which a folder has everything that the broker has said. If nil,
	// that is the time at which the folder was copied or the broker was killed.
	saved func(folder string) (time.Time, error)

	pace pace
}

// Brokers are the names of the brokers that can be tortured.
var Brokers = []string{"mosquitto", "nats", "rabbitmq"}

// serverOf starts a broker. more is appended to the configuration of mosquitto.
func serverOf(t testing.TB, name, more string) *server {
	t.Helper()
	switch name {
	case "mosquitto":
		// By default mosquitto drops messages beyond 1,000 in a queue, after acknowledging them. It saves its state
		// every second, and a kill loses what was not saved.
		b := mosquitto.Start(t, mosquitto.Options{
			Config: "max_queued_messages 0\nmax_queued_bytes 0\nautosave_on_changes false\nautosave_interval 1\n" +
				"log_type none\nlog_type error\n" + more,
		})
		return &server{
			addr: b.Addr(), folder: b.Folder(), kill: b.Kill, start: b.Program.Start, pause: b.Pause, resume: b.Resume,
			log: b.Log, promise: Promise{QoS2: true, Repeats: true, Drops: true},
			saved: func(folder string) (time.Time, error) {
				info, err := os.Stat(filepath.Join(folder, "mosquitto.db"))
				if err != nil {
					return time.Time{}, err
				}
				return info.ModTime(), nil
			},
			pace: pace{wait: 250 * time.Millisecond, hold: 3 * time.Second, down: time.Second, live: time.Second},
		}
	case "nats":
		b := nats.Start(t, nats.Options{AckWait: time.Second, Sync: true})
		return &server{
			addr: b.Addr(), folder: b.Folder(), kill: b.Kill, start: b.Program.Start, pause: b.Pause, resume: b.Resume,
			log: b.Log, promise: Promise{QoS2: true, Repeats: true},
			pace: pace{wait: 250 * time.Millisecond, hold: 3 * time.Second, down: time.Second, live: time.Second},
		}
	case "rabbitmq":
		b := rabbitmq.Start(t)
		return &server{
			addr: b.Addr(), folder: b.Folder(), kill: b.Kill, start: b.Begin, pause: b.Pause, resume: b.Resume,
			log: b.Log, promise: Promise{Ordered: true},
			pace: pace{wait: 400 * time.Millisecond, hold: 3 * time.Second, down: time.Second, live: 3 * time.Second},
		}
	}
	t.Fatalf("torture: there is no broker %q", name)
	return nil
}

// copy copies the folder, like a snapshot of a disk, and returns the time up to which the copy has what
// the broker has said.
func (s *server) copy(to string) (time.Time, error) {
	s.pause()
	at := time.Now()
	err := program.CopyFolder(to, s.folder)
	s.resume()
	if err != nil {
		return at, fmt.Errorf("torture: copying the folder of the broker: %w", err)
	}
	if s.saved != nil {
		return s.saved(to)
	}
	return at, nil
}

// again restarts the broker, in the same folder and on the same ports. Another process may use one of
// the ports for a moment, since outgoing connections get ports of this range, too.
func (s *server) again() error {
	var err error
	for range 10 {
		if err = s.start(); err == nil {
			return nil
		}
		time.Sleep(200 * time.Millisecond)
	}
	return err
}
