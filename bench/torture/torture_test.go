// Package torture kills a peer the same way as internal/torture kills our client: it shows that
// the harness sees what a file store without syncs and without the state of QoS 2 loses.
package torture_test

import (
	"context"
	"flag"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/internal/torture"
)

var (
	kills = flag.Int("torture.n", 10, "how often the client is killed")
	seed  = flag.Uint64("torture.seed", 0, "of the times of kills and cuts; 0: another one each time")
)

func TestMain(m *testing.M) { torture.Main(m, child) }

// TestControl kills paho.mqtt.golang with its file store. What it promises is counted with
// care: a number is accepted only when its token is done without an error, which is PUBACK or
// PUBCOMP. A message is acknowledged after it was noted, as everywhere.
func TestControl(t *testing.T) {
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	// The client sends all that its store has at once, and mosquitto would close over more
	// than twenty, for ever.
	r := torture.Run(t, torture.Options{Kills: *kills, Seed: s, Kind: "paho", Broker: "max_inflight_messages 0"})
	t.Logf("paho.mqtt.golang with its file store: %v", r)
	if *kills >= 10 {
		require.NotZero(t, r.Lost()+r.Duplicated(), "the harness sees nothing")
	}
}

func child(ctx context.Context, told *torture.Child) error {
	opts := mqtt.NewClientOptions().
		AddBroker("tcp://" + told.Addr).SetClientID(told.ClientID).SetCleanSession(false).
		SetStore(mqtt.NewFileStore(filepath.Join(told.Dir, "paho"))).
		SetConnectRetry(true).SetConnectRetryInterval(5 * time.Millisecond).
		SetMaxReconnectInterval(20 * time.Millisecond).SetConnectTimeout(time.Second).
		SetKeepAlive(time.Second).SetPingTimeout(500 * time.Millisecond).
		SetOrderMatters(true).SetAutoAckDisabled(true).SetResumeSubs(true)
	opts.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) {
		n, err := torture.Number(m.Payload())
		if err != nil {
			return
		}
		told.Noted(m.Qos(), n)
		m.Ack()
	})
	opts.SetOnConnectHandler(func(c mqtt.Client) {
		go func() {
			if t := c.Subscribe(torture.InFilter, 2, nil); t.Wait() && t.Error() == nil {
				told.Subscribed()
			}
		}()
	})
	c := mqtt.NewClient(opts)
	c.Connect()
	window := make(chan struct{}, 100)
	if told.Drain {
		go drain(told)
	} else {
		for q := byte(1); q <= 2; q++ {
			for range 2 {
				go publish(told, c, q, window)
			}
		}
	}
	<-ctx.Done()
	c.Disconnect(250)
	return nil
}

// publish publishes numbers, with no more unfinished than have room in the window.
func publish(told *torture.Child, c mqtt.Client, qos byte, window chan struct{}) {
	for {
		window <- struct{}{}
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

// drain gives the client, which sends again what its store has, the time to do it. It cannot ask
// how much there is.
func drain(told *torture.Child) {
	time.Sleep(8 * time.Second)
	told.Drained()
}
