package proofs

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/internal/mosquitto"
	"github.com/mqtt311/mqtt311/internal/nats"
	"github.com/mqtt311/mqtt311/internal/rabbitmq"
	"github.com/mqtt311/mqtt311/internal/thorough"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

const processes = 4

// Four processes share the messages of a broker: together they run every published message, each of
// them once.
func TestProofFourProcesses(t *testing.T) {
	thorough.Only(t)
	apart(t)
	t.Parallel()
	t.Run("share group, mosquitto", func(t *testing.T) {
		t.Parallel()
		b := mosquitto.Start(t, mosquitto.Options{Config: unlimited})
		four(t, b.Addr(), pick(4000, 100_000), false, func(int) string { return "share_group: line" })
	})
	partition := func(i int) string {
		return fmt.Sprintf("order_by: topic, partition: {index: %d, count: %d}", i, processes)
	}
	t.Run("partition, RabbitMQ", func(t *testing.T) {
		t.Parallel()
		b := rabbitmq.Start(t)
		four(t, b.Addr(), pick(2000, 40_000), true, partition)
	})
	t.Run("partition, NATS", func(t *testing.T) {
		t.Parallel()
		b := nats.Start(t, nats.Options{AckWait: 30 * time.Second, MaxAckPending: 1024})
		four(t, b.Addr(), pick(2000, 40_000), true, partition)
	})
}

// four starts the processes, each with its own line in the configuration, and publishes. If
// ordered, the runs of a topic must follow each other in the order in which its messages were
// published.
func four(t *testing.T, addr string, messages int, ordered bool, line func(int) string) {
	const topics = 40
	ctx := within(t)
	path := filepath.Join(t.TempDir(), "journal")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	var workers []*worker
	for i := range processes {
		job := settings{
			addr: addr, id: fmt.Sprint("process", i),
			consumer: `topics: ["n/+"], qos: At Least Once, ` + line(i),
		}.task(t)
		job.Journal = path
		job.Most = 3 * time.Millisecond
		workers = append(workers, job.start(t))
	}
	for _, w := range workers {
		w.started(ctx)
	}
	p := publisher(t, ctx, addr)
	published := make(chan error, 1)
	go func() {
		published <- publish(ctx, p, 0, messages, func(i int) client.Message {
			return numbered(fmt.Sprint("n/", i%topics), packets.AtLeastOnce)(i)
		})
	}()
	j := task{Journal: path}.journal(t)
	last := make(map[string]string) // the last number noted for each topic
	wrong := 0
	j.line = func(what, topic, number string) {
		n, err := strconv.Atoi(number)
		require.NoError(t, err)
		before := "ended " + strconv.Itoa(n-topics)
		if what == "ended" {
			before = "began " + number
		}
		if was, any := last[topic]; any && was != before || !any && n >= topics {
			wrong++
		}
		last[topic] = what + " " + number
	}
	j.await(ctx, messages)
	require.NoError(t, <-published)
	var each []uint64
	for _, w := range workers {
		w.idle(ctx)
		each = append(each, w.now().Health.Succeeded)
		w.stop()
	}
	j.read()
	t.Logf("%d messages of %d topics, %d runs: %v", messages, topics, j.runs, each)
	require.Len(t, j.ended, messages)
	require.Equal(t, messages, j.runs, "each once")
	for _, n := range each {
		require.NotZero(t, n, "a process ran nothing")
	}
	if ordered {
		require.Zero(t, wrong, "runs out of the order of their topic")
	}
}
