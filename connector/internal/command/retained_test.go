package command

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/internal/mosquitto"
	"github.com/mqtt311/mqtt311/packets"
)

// brokers runs a test with mochi, and with mosquitto if it is installed.
func brokers(t *testing.T, test func(t *testing.T, addr string)) {
	t.Run("mochi", func(t *testing.T) {
		t.Parallel()
		test(t, startBroker(t))
	})
	t.Run("mosquitto", func(t *testing.T) {
		t.Parallel()
		test(t, mosquitto.Start(t, mosquitto.Options{Config: "autosave_on_changes false"}).Addr())
	})
}

// retain publishes n retained messages below kept/.
func retain(t *testing.T, addr string, n int) {
	t.Helper()
	var lines strings.Builder
	for i := range n {
		fmt.Fprintf(&lines, "{\"topic\":\"kept/%d\",\"payload\":\"%d\",\"qos\":1,\"retain\":true}\n", i, i)
	}
	r := runWith(t, t.Context(), lines.String(), "pub", "-b", addr, "--stdin-json")
	require.Zero(t, r.code, r.err)
}

// kept returns the topics with retained messages, in order.
func kept(t *testing.T, addr string) []string {
	t.Helper()
	return strings.Fields(retained(t, addr, "-t", "kept/#", "-F", "%t"))
}

// All of many retained messages are deleted, each is printed once, and the command ends by itself.
func TestRemoveRetainedAll(t *testing.T) {
	t.Parallel()
	brokers(t, func(t *testing.T, addr string) {
		for _, qos := range []string{"0", "1", "2"} {
			retain(t, addr, 3000)
			start := time.Now()
			out := ok(t, "sub", "-b", addr, "-t", "kept/#", "-q", qos, "--retained-only", "--remove-retained", "-F", "%t")
			t.Logf("QoS %s: %v", qos, time.Since(start))
			lines := strings.Fields(out)
			require.Len(t, lines, 3000)
			require.Empty(t, kept(t, addr))
		}
	})
}

// Messages excluded by a filter stay, and so do those beyond -C.
func TestRemoveRetainedLeavesOut(t *testing.T) {
	t.Parallel()
	brokers(t, func(t *testing.T, addr string) {
		retain(t, addr, 4)
		require.Equal(t, "1\n", ok(t, "sub", "-b", addr, "-t", "kept/#", "-T", "kept/0", "-T", "kept/2", "-T", "kept/3", "--retained-only", "--remove-retained"))
		require.ElementsMatch(t, []string{"kept/0", "kept/2", "kept/3"}, kept(t, addr))
		out := ok(t, "sub", "-b", addr, "-t", "kept/#", "--remove-retained", "-C", "1", "-F", "%t")
		require.Len(t, kept(t, addr), 2)
		require.NotContains(t, kept(t, addr), strings.TrimSpace(out))

		retain(t, addr, 300)
		shown := strings.Fields(ok(t, "sub", "-b", addr, "-t", "kept/#", "--random-filter", "50", "--retained-only", "--remove-retained", "-F", "%t"))
		left := kept(t, addr)
		require.Len(t, append(left, shown...), 300, "printed or kept")
		require.Greater(t, len(left), 50)
		require.NotSubset(t, left, shown)
	})
}

// If standard output fails, messages that were not printed are not deleted.
func TestRemoveRetainedNotPrinted(t *testing.T) {
	t.Parallel()
	addr := startBroker(t)
	retain(t, addr, 3)
	p := &Program{Stdin: strings.NewReader(""), Stdout: brokenWriter{}, Stderr: io.Discard}
	require.Equal(t, ExitRuntime, p.run(t.Context(), []string{"sub", "-b", addr, "-t", "kept/#", "--retained-only", "--remove-retained"}))
	require.Len(t, kept(t, addr), 3)
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

// A server that acknowledges deletions but does not delete, for example because of an access list,
// causes an error.
func TestRemoveRetainedRefused(t *testing.T) {
	t.Parallel()
	addr := scripted(t, func(p packets.Packet) []packets.Packet {
		switch p := p.(type) {
		case *packets.Connect:
			return []packets.Packet{&packets.Connack{}}
		case *packets.Subscribe:
			return []packets.Packet{&packets.Suback{PacketID: p.PacketID, Codes: []packets.SubscribeCode{0}},
				&packets.Publish{Topic: "kept/a", Payload: []byte("x"), Retain: true}}
		case *packets.Unsubscribe:
			return []packets.Packet{&packets.Unsuback{PacketID: p.PacketID}}
		case *packets.Publish:
			return []packets.Packet{&packets.Puback{PacketID: p.PacketID}}
		}
		return nil
	})
	r := mqtt311(t, "sub", "-b", addr, "-t", "kept/#", "--retained-only", "--remove-retained")
	require.Equal(t, ExitPublish, r.code, r.err)
	require.Contains(t, r.err, `1 retained messages are still there, "kept/a" among them`)
	require.Equal(t, "x\n", r.out)
}

// A live message among the retained ones does not end the command before all are deleted, and is not
// printed.
func TestRemoveRetainedBesideLiveMessages(t *testing.T) {
	t.Parallel()
	var deleted []string
	rounds := 0
	done := make(chan struct{})
	addr := scripted(t, func(p packets.Packet) []packets.Packet {
		switch p := p.(type) {
		case *packets.Connect:
			return []packets.Packet{&packets.Connack{}}
		case *packets.Subscribe:
			answer := []packets.Packet{&packets.Suback{PacketID: p.PacketID, Codes: []packets.SubscribeCode{0}}}
			if rounds++; rounds == 1 {
				answer = append(answer, &packets.Publish{Topic: "kept/a", Payload: []byte("a"), Retain: true},
					&packets.Publish{Topic: "kept/b", Payload: []byte("live")}, &packets.Publish{Topic: "kept/c", Payload: []byte("c"), Retain: true})
			}
			return answer
		case *packets.Unsubscribe:
			return []packets.Packet{&packets.Unsuback{PacketID: p.PacketID}}
		case *packets.Publish:
			deleted = append(deleted, p.Topic)
			return []packets.Packet{&packets.Puback{PacketID: p.PacketID}}
		case *packets.Disconnect:
			close(done)
		}
		return nil
	})
	require.Equal(t, "a\nc\n", ok(t, "sub", "-b", addr, "-t", "kept/#", "--retained-only", "--remove-retained"))
	<-done
	require.Equal(t, []string{"kept/a", "kept/c"}, deleted)
}
