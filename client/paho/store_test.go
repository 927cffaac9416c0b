package paho_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqtt311/mqtt311/client"
	mqtt "github.com/mqtt311/mqtt311/client/paho"
	"github.com/mqtt311/mqtt311/client/storetest"
	"github.com/stretchr/testify/require"
)

func TestMemoryStore(t *testing.T) {
	var mu sync.Mutex
	stores := make(map[string]mqtt.Store)
	storetest.Run(t, func(_ *testing.T, name string) client.Store {
		mu.Lock()
		defer mu.Unlock()
		if stores[name] == nil {
			stores[name] = mqtt.NewOrderedMemoryStore()
		}
		return stores[name]
	})
}

// A clean session removes a persistent session from any store, and does not use the store.
func TestCleanSessionDropsTheStore(t *testing.T) {
	for name, store := range map[string]mqtt.Store{"memory": mqtt.NewMemoryStore(), "file": mqtt.NewFileStore(filepath.Join(t.TempDir(), "new"))} {
		t.Run(name, func(t *testing.T) {
			kept := func(o *mqtt.ClientOptions) { o.SetCleanSession(false).SetStore(store) }
			clean := func(o *mqtt.ClientOptions) { o.SetStore(store) }
			life := func(set func(o *mqtt.ClientOptions), talk func(d *dialogue)) {
				inBubble(t, set, func(d *dialogue) {
					token := d.client.Connect()
					d.accept(false)
					require.NoError(t, done(t, token))
					talk(d)
				})
			}
			life(kept, func(d *dialogue) {
				d.client.Publish("a", 1, false, "1")
				d.expect(publish("a", 1, 1, "1").String())
			})
			life(kept, func(d *dialogue) {
				p, err := d.conn.Receive()
				require.NoError(t, err)
				require.Contains(t, p.String(), "PUBLISH", "it stays")
			})
			life(clean, func(d *dialogue) { d.expectNothing(1) })
			life(kept, func(d *dialogue) { d.expectNothing(1) })
		})
	}
}

// Connect returns an error if the FileStore is in use. After Disconnect the FileStore can be used
// again.
func TestFileStoreIsLocked(t *testing.T) {
	dir := t.TempDir()
	set := func(o *mqtt.ClientOptions) { o.SetCleanSession(false).SetStore(mqtt.NewFileStore(dir)) }
	connected(t, set, func(d *dialogue) {
		other := mqtt.NewClient(d.options(set))
		require.ErrorContains(t, done(t, other.Connect()), "in use")
		go func() {
			d.conn.Receive()
			d.conn.Close()
		}()
		d.client.Disconnect(100)
		synctest.Wait()
		token := other.Connect()
		d.accept(true)
		require.NoError(t, done(t, token))
		d.client, other = other, d.client
		require.Error(t, done(t, other.Connect()))
	})
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

// A client without a client id has a clean session, and does not use its FileStore.
func TestFileStoreWithoutAClientID(t *testing.T) {
	dir := t.TempDir()
	connected(t, func(o *mqtt.ClientOptions) { o.SetClientID("").SetStore(mqtt.NewFileStore(dir)) }, func(*dialogue) {})
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

// A damaged file, or one that paho.mqtt.golang never writes, does not prevent connecting.
func TestStrangeFilesInAFileStore(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"o.1.msg": "\x30\x03\x00\x01t", "o.2.msg": "", "o.3.msg": "\x40\x02\x00\x03", "i.4.msg": "noise", "o.5.msg": "\xc0\x00",
		"o.70000.msg": "another's", "x.1.msg": "another's", "o.6.tmp": "another's",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	connected(t, func(o *mqtt.ClientOptions) { o.SetCleanSession(false).SetStore(mqtt.NewFileStore(dir)) }, func(d *dialogue) {
		d.expectNothing(time.Second)
	})
	left, err := filepath.Glob(filepath.Join(dir, "*.*"))
	require.NoError(t, err)
	for i := range left {
		left[i] = filepath.Base(left[i])
	}
	require.Equal(t, []string{"i.4.CORRUPT", "o.2.CORRUPT", "o.6.tmp", "o.70000.msg", "x.1.msg"}, left)
}
