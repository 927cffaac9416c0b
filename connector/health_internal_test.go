package connector

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/client/clienttest"
)

// A standingStore blocks in Commit until it is released, like a disk that hangs.
type standingStore struct{ goOn chan struct{} }

func (s *standingStore) Load(func(key, value []byte) error) error { return nil }
func (s *standingStore) Room(int) error                           { return nil }
func (s *standingStore) Commit([]client.Change) error             { <-s.goOn; return nil }

// Health and Ready of a connector whose disk hangs return at once and name the store.
func TestReadyNamesTheStore(t *testing.T) {
	for name, of := range map[string]func(*Connector) *connection{
		"of the consumers": func(c *Connector) *connection { return c.conn },
		"of the producers": func(c *Connector) *connection { c.out = new(connection); return c.out },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, err := New(Config{General: General{BrokerURL: "127.0.0.1:1883", ClientID: "c"}}, Options{})
				require.NoError(t, err)
				store := &standingStore{make(chan struct{})}
				cl, err := client.New(client.Config{Dial: clienttest.NewServer().Dial, ClientID: "c", Store: store, ConnectRetry: true})
				require.NoError(t, err)
				of(c).current.Store(cl)
				connect, cancel := context.WithCancel(t.Context())
				go cl.Connect(connect)
				_, err = cl.PublishAsync(t.Context(), client.Message{Topic: "t", QoS: 1})
				require.NoError(t, err)
				ready := func() (Health, string) {
					h := c.Health()
					h.Connected, h.Subscribed = true, true
					if err := h.Ready(); err != nil {
						return h, err.Error()
					}
					return h, ""
				}
				time.Sleep(4 * time.Second)
				_, why := ready()
				require.Empty(t, why)
				time.Sleep(11 * time.Second)
				h, why := ready()
				require.Equal(t, "connector: the session store has not answered for 15s", why)
				require.True(t, h.StoreStands())
				close(store.goOn)
				synctest.Wait()
				h, why = ready()
				require.Empty(t, why)
				require.False(t, h.StoreStands())
				cancel()
				cl.Abort()
			})
		})
	}
}
