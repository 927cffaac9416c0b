// Package torture kills a peer in the same way as internal/torture kills our client: it shows that
// the harness detects the losses of a file store without syncs and without QoS 2 state.
package torture_test

import (
	"context"
	"flag"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/mqtt311/mqtt311/internal/torture"
)

var (
	number = flag.Int("torture.n", 10, "how often a client is killed or its link is cut; 0: no control")
	seed   = flag.Uint64("torture.seed", 0, "of the times of kills and cuts; 0: another one each time")
)

func TestMain(m *testing.M) { torture.Main(m, child) }

// TestControl kills paho.mqtt.golang with its file store and cuts its links, nothing else. Its promises are
// counted with care: a number is accepted only when its token is done without an error, which means PUBACK
// or PUBCOMP. A message is acknowledged after it was noted, as in the other tests.
func TestControl(t *testing.T) {
	if *number == 0 {
		t.Skip("no control was asked for: -torture.n=0")
	}
	// The client sends all that its store has at once, and mosquitto would close over more
	// than twenty, for ever.
	o := torture.Options{
		Broker: "mosquitto", Acts: *number, Kinds: []torture.Kind{torture.Kill, torture.Cut}, Seed: *seed, Kind: "paho",
		Config: "max_inflight_messages 0",
	}
	for try := 1; ; try++ {
		if *seed == 0 {
			o.Seed = rand.Uint64() >> 16
		}
		h := torture.Run(t, o)
		t.Logf("paho.mqtt.golang with its file store: %v", h)
		switch {
		case *number < 10 || h.Verdict.Failed():
			return
		case *seed != 0 || try == mostTries:
			t.Fatal("the harness sees nothing")
		}
	}
}

// mostTries is how often a run with few kills may show nothing.
const mostTries = 5

func child(ctx context.Context, told *torture.Child) error {
	opts := mqtt.NewClientOptions().
		AddBroker("tcp://" + told.Addr).SetClientID(told.ClientID).SetCleanSession(false).
		SetStore(mqtt.NewFileStore(filepath.Join(told.Dir, "paho"))).
		SetConnectRetry(true).SetConnectRetryInterval(5 * time.Millisecond).
		SetMaxReconnectInterval(50 * time.Millisecond).SetConnectTimeout(time.Second).
		SetKeepAlive(torture.KeepAlive).SetPingTimeout(500 * time.Millisecond).
		SetOrderMatters(true).SetAutoAckDisabled(true).SetResumeSubs(true)
	opts.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) {
		qos, n, ok := told.Noted(m.Topic(), m.Payload())
		m.Ack()
		if ok {
			told.Finished(qos, n)
		}
	})
	if told.Role == torture.Consumer {
		opts.SetOnConnectHandler(func(c mqtt.Client) {
			go func() {
				if t := c.Subscribe(torture.Filter, 2, nil); t.Wait() && t.Error() == nil {
					told.Subscribed()
				}
			}()
		})
	}
	c := mqtt.NewClient(opts)
	c.Connect()
	if told.Role == torture.Publisher {
		window := make(chan struct{}, 100)
		for q := byte(1); q <= 2; q++ {
			go publish(told, c, q, window)
		}
		go drain(told)
	}
	<-ctx.Done()
	c.Disconnect(250)
	return nil
}

// publish publishes numbers, with at most a window of them unfinished.
func publish(told *torture.Child, c mqtt.Client, qos byte, window chan struct{}) {
	for {
		select {
		case window <- struct{}{}:
		case <-told.Calm():
			return
		}
		time.Sleep(time.Millisecond)
		n := told.Intend(qos)
		token := c.Publish(torture.OutTopic(qos), qos, false, torture.Payload(n))
		go func() {
			token.Wait()
			if token.Error() == nil {
				told.Accepted(qos, n)
			}
			<-window
		}()
	}
}

// drain gives the client time to send the messages in its store again. It cannot ask how many there
// are.
func drain(told *torture.Child) {
	<-told.Calm()
	time.Sleep(8 * time.Second)
	told.Drained()
}
