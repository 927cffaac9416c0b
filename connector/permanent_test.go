package connector_test

import (
	"context"
	"testing"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/stretchr/testify/require"
)

// A failure that is permanent is not retried, with whatever number of retries.
func TestPermanentFailureIsNotRetried(t *testing.T) {
	require.NoError(t, connector.Permanent(nil))
	require.ErrorIs(t, connector.Permanent(errGate), errGate)
	for _, retries := range []int{5, -1} {
		inBubble(t, func(d *dialogue) {
			runs := 0
			p := onFailure(retries, connector.OnFailure{Then: connector.Drop})
			d.run(kept(p), flow(func(context.Context) error { runs++; return connector.Permanent(errGate) }))
			d.deliver(1, "a")
			d.expect("PUBACK id=1")
			require.Equal(t, 1, runs)
			require.EqualValues(t, 1, d.connector.Health().Dropped)
		})
	}
}

// With the platform's policy, to hold, even such a message stays, and is tried again.
func TestPermanentFailureIsHeld(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		runs := 0
		d.run(kept(connector.ConsumerParams{}), flow(func(context.Context) error {
			if runs++; runs < 3 {
				return connector.Permanent(errGate)
			}
			return nil
		}))
		d.deliver(1, "a")
		d.expect("PUBACK id=1")
		require.Equal(t, 3, runs)
	})
}
