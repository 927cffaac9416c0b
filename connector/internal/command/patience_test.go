package command

import (
	"context"
	"io"
	"slices"
	"testing"

	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// When the time of -W is over, the error says what was reached and what became of the message.
func TestOutOfTimeSaysWhatWasReached(t *testing.T) {
	t.Parallel()
	answering := func(answers ...packets.Type) string {
		return scripted(t, func(p packets.Packet) []packets.Packet {
			for _, a := range answers {
				if a == p.Type() && a == packets.CONNECT {
					return []packets.Packet{&packets.Connack{}}
				}
			}
			return []packets.Packet{}
		})
	}
	silent, deaf, open := answering(), answering(packets.CONNECT), startBroker(t)
	for _, c := range []struct {
		server, en, zh string
		args           []string
	}{
		{silent, "timed out after 1 s: not connected, nothing was published", "1 秒后超时：未能连接，未发布任何消息", []string{"pub", "-t", "a", "-m", "x"}},
		{silent, "timed out after 1 s: not connected", "1 秒后超时：未能连接", []string{"sub", "-t", "a"}},
		{deaf, "timed out after 1 s: the server did not answer, and the message may have arrived", "1 秒后超时：服务端没有应答，消息可能已送达", []string{"pub", "-t", "a", "-m", "x", "-q", "1"}},
		{deaf, "timed out after 1 s: 0 of 2 messages were published, and one more may have arrived", "1 秒后超时：2 条消息中已发布 0 条，另有 1 条可能已送达", []string{"pub", "-t", "a", "-m", "x", "-q", "1", "--repeat", "2"}},
		{deaf, "timed out after 1 s: the server has not granted the subscription", "1 秒后超时：服务端未授予订阅", []string{"sub", "-t", "a"}},
		{open, "timed out after 1 s", "1 秒后超时", []string{"sub", "-t", "a"}},
		{open, "timed out after 1 s: 1 of 3 messages were published", "1 秒后超时：3 条消息中已发布 1 条", []string{"pub", "-t", "a", "-m", "x", "--repeat", "3", "--repeat-delay", "60"}},
	} {
		for lang, want := range map[string]string{"en": c.en, "zh": c.zh} {
			t.Run(lang, func(t *testing.T) {
				t.Parallel()
				r := mqtt311(t, append(slices.Clone(c.args), "-b", c.server, "-W", "1", "--lang", lang)...)
				require.Equal(t, ExitTimeout, r.code, r.err)
				require.Equal(t, "mqtt311: "+want+"\n", r.err)
			})
		}
	}
}

// Neither -W nor an interrupt waits for the end of a payload that never comes.
func TestPatienceWithAPayload(t *testing.T) {
	t.Parallel()
	in, stdin := io.Pipe()
	defer stdin.Close()
	run := func(ctx context.Context, args ...string) (int, string) {
		errs := newOutput()
		code := (&Program{Stdin: in, Stdout: io.Discard, Stderr: errs}).run(ctx, append([]string{"pub", "-b", "127.0.0.1:1", "-t", "a", "-s"}, args...))
		return code, errs.String()
	}
	code, says := run(t.Context(), "-W", "1")
	require.Equal(t, ExitTimeout, code)
	require.Equal(t, "mqtt311: timed out after 1 s: nothing was published\n", says)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	code, says = run(ctx)
	require.Equal(t, ExitInterrupt, code)
	require.Equal(t, "mqtt311: interrupted: nothing was published\n", says)
}

// After an interrupt while a message waits for its answer, the error says that the message may have
// arrived.
func TestInterruptOfAMessage(t *testing.T) {
	t.Parallel()
	published := make(chan struct{}, 1)
	addr := scripted(t, func(p packets.Packet) []packets.Packet {
		switch p.Type() {
		case packets.CONNECT:
			return []packets.Packet{&packets.Connack{}}
		case packets.PUBLISH:
			published <- struct{}{}
		}
		return []packets.Packet{}
	})
	r := startRun(t, "pub", "-b", addr, "-t", "a", "-m", "x", "-q", "1", "--lang", "zh")
	<-published
	r.stop()
	r.ends(t, ExitInterrupt)
	require.Equal(t, "mqtt311: 已中断：服务端没有应答，消息可能已送达\n", r.err.String())
}
