package proofs

import (
	"fmt"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/internal/mosquitto"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// unlimited removes the limits of mosquitto's queues, beyond which it drops messages that it has
// acknowledged, and keeps it from writing a file for every message.
const unlimited = `max_queued_messages 0
max_queued_bytes 0
persistence false
log_type none
log_type error
`

// A process is killed at random, again and again, while QoS 1 messages stream in. When messages are
// acknowledged after their flow, none is lost. When they are acknowledged before it, those in work
// are lost, which shows that the kills hit.
func TestProofKill(t *testing.T) {
	apart(t)
	t.Run("after_flow_success", func(t *testing.T) {
		require.Zero(t, killed(t, "after_flow_success"), "messages are lost")
	})
	t.Run("immediately", func(t *testing.T) {
		require.NotZero(t, killed(t, "immediately"), "the kills hit nothing")
	})
}

// killed returns how many messages were lost.
func killed(t *testing.T, mode string) int {
	messages, kills := pick(3000, 100_000), pick(15, 200)
	b := mosquitto.Start(t, mosquitto.Options{Config: unlimited})
	ctx := within(t)
	rnd := random(t)
	subscribed(t, ctx, b.Addr(), "killed", "n/#", packets.AtLeastOnce)
	job := settings{
		addr: b.Addr(), id: "killed",
		consumer: fmt.Sprintf(`topics: ["n/#"], qos: At Least Once, ack_mode: %s`, mode),
	}.task(t)
	job.Most = 5 * time.Millisecond
	published := make(chan error, 1)
	c := publisher(t, ctx, b.Addr())
	go func() { published <- publish(ctx, c, 0, messages, numbered("n/x", packets.AtLeastOnce)) }()

	j, hit := job.journal(t), 0
	for range kills {
		w := job.start(t)
		if rnd.IntN(4) == 0 { // perhaps before it has connected
			time.Sleep(time.Duration(rnd.IntN(30)) * time.Millisecond)
		} else {
			j.await(ctx, min(len(j.ended)+1+rnd.IntN(messages/kills), messages/2))
		}
		w.kill()
		j.read()
		hit += j.runs - j.endedRuns
		j.endedRuns = j.runs // runs that were cut short never end
	}
	require.NoError(t, <-published)
	require.NoError(t, c.Publish(ctx, numbered("n/end", packets.AtLeastOnce)(messages))) // mosquitto keeps the order, so this one is last
	w := job.start(t)
	eventually(t, ctx, func() (int, bool) {
		j.read()
		return j.runs, j.ended[fmt.Sprint("n/end ", messages)] > 0
	})
	w.idle(ctx)
	w.stop()
	j.read()
	lost := messages + 1 - len(j.ended)
	t.Logf("%d messages, %d kills amid %d flows, %d lost, %d runs", messages, kills, hit, lost, j.runs)
	require.Greater(t, hit, kills)
	return lost
}
