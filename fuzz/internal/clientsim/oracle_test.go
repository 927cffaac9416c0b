package clientsim

import (
	"strings"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// A delivery that needs no excuse uses none up: at QoS 1, a copy received after PUBACK left may wait
// in the inbox while the server comes back from a snapshot, and the server then sends the message once
// more.
func TestDeliveries(t *testing.T) {
	const left, again, other = "its answer leaves", "a side is rolled back", "another process"
	for name, c := range map[string]struct {
		qos    packets.QoS
		before []string // what happens before each further delivery
		broken bool
	}{
		"QoS 1, twice":                                {1, []string{""}, true},
		"QoS 1, after PUBACK":                         {1, []string{left}, false},
		"QoS 1, twice after one PUBACK":               {1, []string{left, ""}, true},
		"QoS 1, in the next process":                  {1, []string{other}, false},
		"QoS 1, a rollback":                           {1, []string{again}, false},
		"QoS 1, twice after one rollback":             {1, []string{again, ""}, true},
		"QoS 1, a copy in the inbox and a rollback":   {1, []string{left + again, ""}, false},
		"QoS 1, the same with one copy more":          {1, []string{left + again, "", ""}, true},
		"QoS 2, twice":                                {2, []string{""}, true},
		"QoS 2, after PUBREC":                         {2, []string{left}, true},
		"QoS 2, in the next process":                  {2, []string{other}, false},
		"QoS 2, in the next process, after PUBREC":    {2, []string{left + other}, true},
		"QoS 2, after PUBREC and a rollback":          {2, []string{left + again}, false},
		"QoS 2, twice after PUBREC and one rollback":  {2, []string{left + again, ""}, true},
		"QoS 2, a rollback, then in the next process": {2, []string{left + other + again}, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := &inMessage{qos: c.qos, payload: payload('i', 0, 0), forwarded: true}
			w := &world{incoming: []*inMessage{m}}
			p := &process{w: w, number: 1}
			d := &client.Delivery{Payload: m.payload}
			require.NotNil(t, p.delivered(d))
			for _, before := range c.before {
				require.Empty(t, w.broken)
				m.answerLeft = m.answerLeft || strings.Contains(before, left)
				if strings.Contains(before, other) {
					p.number++
				}
				if strings.Contains(before, again) {
					m.comesAgain()
				}
				p.delivered(d)
			}
			require.Equal(t, c.broken, w.broken != "", w.broken)
		})
	}
}

// In a session that ends with its connection, the client takes in one packet after each pause of reading, and no
// other: in the run of seed 342829424973 a program stood still for five such pauses. In that of 342829516372 the
// connection ended during a pause.
func TestBehindPauses(t *testing.T) {
	cfg := client.Config{KeepAlive: 2 * time.Second, CleanSession: true}
	require.Equal(t, 16+1, behindPauses(&cfg, 0, 16))
	require.Equal(t, 16+1+3, behindPauses(&cfg, 7*time.Second, 16))
	require.Equal(t, 16+1, behindPauses(&cfg, -time.Second, 16), "another goroutine has looked meanwhile")
	cfg.KeepAlive = time.Minute
	require.Equal(t, 16+1+2, behindPauses(&cfg, 17*time.Second, 16))
	cfg.CleanSession = false
	require.Zero(t, behindPauses(&cfg, time.Hour, 16))
}
