package main

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/internal/mosquitto"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// The engine is killed again and again while messages arrive and a processor works slowly: none is lost.
// With an input that acknowledges on hand-over, as a control, some are.
func TestKill(t *testing.T) {
	t.Parallel()
	t.Run("mqtt311", func(t *testing.T) {
		t.Parallel()
		require.Zero(t, killed(t, `mqtt311: {urls: ["tcp://%s"], client_id: engine, clean_session: false, topics: [in/#]}`))
	})
	t.Run("control", func(t *testing.T) {
		t.Parallel()
		require.NotZero(t, killed(t, `hand_over: {addr: "%s"}`), "the kills hit nothing")
	})
}

// killed returns how many messages were lost.
func killed(t *testing.T, input string) int {
	const rate = 1500
	messages, kills := pick(6000, 20_000), pick(4, 8)
	b := mosquitto.Start(t, mosquitto.Options{Config: unlimited})
	config := fmt.Sprintf(`
input: {`+input+`}
pipeline:
  threads: 64
  processors: [{sleep: {duration: 30ms}}]
output: {mqtt311: {urls: ["tcp://%[1]s"], topic: 'out/${! metadata("mqtt_topic") }'}}
http: {enabled: false}
`, b.Addr())
	came := observe(t, b.Addr(), "out/#")
	e := start(t, config)
	eventually(t, came.count, func() bool { // until the engine has subscribed
		require.NoError(t, publish(t.Context(), connect(t, b.Addr()), 1, 0, numbered))
		return came.count() > 0
	})
	published := make(chan error, 1)
	c := connect(t, b.Addr())
	go func() {
		published <- publish(t.Context(), c, messages, rate, numbered)
	}()
	for k := range kills { // amid work, so that they hit
		came.awaits(t, (k+1)*messages/(kills+1))
		time.Sleep(rand.N(50 * time.Millisecond))
		e.kill()
		e = start(t, config)
	}
	require.NoError(t, <-published)
	eventually(t, came.count, func() bool { return came.count() >= messages*9/10 })
	quiet(came.count, 5*time.Second)
	lost := messages - came.count()
	t.Logf("%d messages at %d a second, %d kills: %d lost, %d came twice", messages, rate, kills, lost, len(came.all())-came.count())
	return lost
}

func numbered(i int) client.Message {
	return client.Message{Topic: "in/x", Payload: fmt.Append(nil, i), QoS: packets.AtLeastOnce}
}
