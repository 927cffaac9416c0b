package connector_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/stretchr/testify/require"
)

// The memory of a message is reused once it is settled, without visible effects: not for a flow that keeps
// its payload, or writes into it and fails, nor for a program that pulls the same message, is late, and
// reads it while further messages arrive.
func TestPayloadsStay(t *testing.T) {
	inBubble(t, func(d *dialogue) {
		cfg := kept(connector.ConsumerParams{OnFailure: connector.OnFailure{Retries: ptr(3)}})
		late := connector.ConsumerParams{
			Topics: []connector.TopicQoS{{Topic: "t/shared"}}, QoS: 2, MaxInFlight: 100,
			FlowTimeout: ptr(time.Second), OnFailure: connector.OnFailure{Retries: ptr(0), Then: connector.Drop},
		}
		cfg.Consumers["late"] = late
		c, err := connector.New(cfg, d.options)
		require.NoError(t, err)
		d.connector = c
		kept := make(map[string][]byte)
		runs := 0
		require.NoError(t, c.Consume("in", flow.Func(func(ctx context.Context, m *flow.Message) (*flow.Message, error) {
			text := string(m.Payload.Blob)
			if runs++; runs%5 == 0 {
				clear(m.Payload.Blob)
				return nil, errors.New("again")
			}
			kept[text] = m.Payload.Blob
			return nil, nil
		})))
		pulls := c.Pull(d.ctx, "late")
		d.accepted(true)
		pulled := make(map[string][]byte)
		go func() {
			for m, err := range pulls {
				if err != nil {
					return
				}
				pulled[string(m.Payload)] = m.Payload // and never settles it
			}
		}()
		go func() {
			for {
				if _, err := d.conn.Receive(); err != nil {
					return
				}
			}
		}()
		for i := range 200 {
			topic := "t/own"
			if i%10 == 0 {
				topic = "t/shared"
			}
			d.send(publish(topic, 1, uint16(i+1), fmt.Sprintf("message %3d", i)))
			if i%20 == 0 {
				time.Sleep(2 * time.Second)
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Len(t, kept, 200)
		require.Len(t, pulled, 20)
		for _, payloads := range []map[string][]byte{kept, pulled} {
			for text, payload := range payloads {
				require.Equal(t, text, string(payload))
			}
		}
		require.EqualValues(t, 20, c.Health().Dropped)
		require.Zero(t, c.Health().Unacked)
		d.cut()
	})
}
