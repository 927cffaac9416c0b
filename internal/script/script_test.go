package script

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDifference(t *testing.T) {
	want := []string{"open", "----", "send    1 CONNECT", "event   connected", "done    p1 ok"}
	got := []string{"open", "----", "send    1 CONNECT", "close", "event   more", "done    p1 ok"}
	require.Equal(t, `a.txt:13: the outcome differs (- the file, + the code)
  10   open
  11   ----
  12   send    1 CONNECT
  13 - event   connected
     + close
     + event   more
  14   done    p1 ok
`, difference("a.txt", 10, want, got))
	require.Contains(t, difference("a.txt", 1, want[:2], want[:3]), "     + send    1 CONNECT\n")
	require.Contains(t, difference("a.txt", 1, want[:3], want[:2]), "   3 - send    1 CONNECT\n")
}

func TestParse(t *testing.T) {
	a := Parse(`publish "a b" qos=1 payload="x y" z=`)
	require.Equal(t, []string{"publish", "a b"}, a.Words)
	require.Equal(t, map[string]string{"qos": "1", "payload": "x y", "z": ""}, a.Named)
}

// The diagram shows every kind of line, and nothing that a peer can send becomes markup.
func TestDiagram(t *testing.T) {
	svg := Diagram([]Step{
		{Command: "session inflight=2"},
		{Command: "open", Outcome: []string{`send    1 CONNECT client="<c>" clean=false`}},
		{Command: "recv CONNACK", Outcome: []string{"event   connected session_present=false"}},
		{Command: "publish t qos=1 payload=x", Outcome: []string{"save    1 publish id=1", `send    2 PUBLISH "t" qos=1 id=1`}},
		{Command: "wait 61s", Outcome: []string{"after 1m0s:", "close   session: oldest message unanswered for a minute"}},
		{Command: "lost left=3"},
	})
	for _, text := range []string{">CONNECT client=&#34;&lt;c&gt;&#34; clean=false<", ">publish t qos=1 payload=x<", ">61s pass<", ">the connection ends: lost left=3<", "save 1 publish id=1"} {
		require.Contains(t, svg, text)
	}
	require.NotContains(t, svg, "<c>")
}
