package connector_test

import (
	"context"
	"testing"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/stretchr/testify/require"
)

// A permanent failure is not retried, whatever the number of retries.
func TestPermanentFailureIsNotRetried(t *testing.T) {
	require.NoError(t, flow.Permanent(nil))
	require.ErrorIs(t, flow.Permanent(errGate), errGate)
	for _, retries := range []int{5, -1} {
		inBubble(t, func(d *dialogue) {
			runs := 0
			p := onFailure(retries, connector.OnFailure{Then: connector.Drop})
			d.run(kept(p), step(func(context.Context) error { runs++; return flow.Permanent(errGate) }))
			d.deliver(1, "a")
			d.expect("PUBACK id=1")
			require.Equal(t, 1, runs)
			require.EqualValues(t, 1, d.connector.Health().Dropped)
		})
	}
}

// With the platform's policy, hold, even such a message stays and is retried.
func TestPermanentFailureIsHeld(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		runs := 0
		d.run(kept(connector.ConsumerParams{}), step(func(context.Context) error {
			if runs++; runs < 3 {
				return flow.Permanent(errGate)
			}
			return nil
		}))
		d.deliver(1, "a")
		d.expect("PUBACK id=1")
		require.Equal(t, 3, runs)
	})
}
