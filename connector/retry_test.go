package connector_test

import (
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// A message that waits for its next attempt does not keep others from running.
func TestRetryTakesNoWorker(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		g := newGate()
		d.run(kept(connector.ConsumerParams{
			Concurrency: 1,
			OnFailure:   connector.OnFailure{InitialDelay: ptr(time.Hour), MaxDelay: ptr(time.Hour)},
		}), g)
		d.deliver(packets.AtLeastOnce, "a", "b")
		require.Equal(t, []string{"a"}, g.running())
		g.fail("a")
		require.Equal(t, []string{"a", "b"}, g.running())
		g.finish("b")
	})
}
