package jetstream_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/jetstream"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// sessions waits until each session of the division has its subscriptions.
func (p *plant) sessions() {
	p.Helper()
	p.waits("SUBACK for each share", func() bool {
		log := p.log()
		for i := range streamPartitions {
			if !strings.Contains(log, fmt.Sprintf("Sending SUBACK to division-%d", i)) {
				return false
			}
		}
		return true
	})
}

// owners waits until the processes with these names own all shares, and each of them at least one.
func (p *plant) owners(leases *jetstream.Leases, names ...string) {
	p.Helper()
	p.waits(fmt.Sprintf("the shares are those of %v", names), func() bool {
		owners, err := leases.Owners(p.Context())
		if err != nil { // the server takes its time
			return false
		}
		have := make(map[string]bool)
		for _, name := range owners {
			have[name] = name != ""
		}
		return len(owners) == streamPartitions && slices.Equal(slices.Sorted(maps.Keys(have)), names)
	})
}

// Processes join and leave under load; one is killed, and one is stopped for longer than its leases. Together they
// run the flow for each message, and each device keeps its order. When the stopped process continues, it
// acknowledges nothing: the Server has given its sessions to others. At most those messages run again for which the
// Server had no acknowledgement when a session changed hands. The Server's window does not limit their number: see
// docs/brokers.md.
func TestDivision(t *testing.T) {
	t.Parallel()
	const n = 2500
	p := newPlant(t)
	leases, err := jetstream.NewLeases(t.Context(), p.dial(), jetstream.LeaseConfig{Group: "division", Count: streamPartitions, TTL: p.task("", "").TTL})
	require.NoError(t, err)
	member := func(name string) *child {
		job := p.task("member", name)
		job.FlowTime = 20 * time.Millisecond
		return start(t, job)
	}
	one := member("one")
	p.sessions()
	published := make(chan struct{})
	go func() {
		defer close(published)
		p.publish(0, n, 40, 250)
	}()
	two, three := member("two"), member("three")
	p.owners(leases, "one", "three", "two")
	time.Sleep(time.Second) // for some load
	two.kill()
	p.owners(leases, "one", "three")
	time.Sleep(time.Second)
	takeover := regexp.MustCompile(`Client division-\d already connected, closing old connection`)
	for range 5 { // it may be stopped just when it has no connection
		one.signal(syscall.SIGSTOP)
		p.owners(leases, "three")
		for deadline := time.Now().Add(10 * time.Second); !takeover.MatchString(p.log()) && time.Now().Before(deadline); {
			time.Sleep(20 * time.Millisecond)
		}
		one.signal(syscall.SIGCONT)
		p.owners(leases, "one", "three")
		if takeover.MatchString(p.log()) {
			break
		}
	}
	three.signal(syscall.SIGTERM)
	<-published
	c := p.arrives(n, time.Minute)
	require.Empty(t, c.disorder)
	log := p.log()
	require.Regexp(t, takeover, log)
	again := len(regexp.MustCompile(`Sending PUBLISH to division-\d \(d1,`).FindAllString(log, -1))
	t.Logf("%d ran again, of %d that were sent again", c.copies, again)
	require.LessOrEqual(t, c.copies, again)
}

// A division that would lose messages is refused, with all the reasons.
func TestNewDivisionRefuses(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	nc, err := nats.Connect(h.nats.Client)
	require.NoError(t, err)
	defer nc.Close()
	leases, err := jetstream.NewLeases(t.Context(), nc, jetstream.LeaseConfig{Group: "a", Count: 2})
	require.NoError(t, err)
	good := func() connector.Config {
		return connector.Config{
			General:   connector.General{BrokerURL: "127.0.0.1:1883", ClientID: "c"},
			Advanced:  connector.Advanced{CleanSession: new(false), AutoReconnect: true},
			Consumers: map[string]connector.ConsumerParams{"in": {Topics: []connector.TopicQoS{{Topic: "a"}}, QoS: packets.AtLeastOnce}},
		}
	}
	_, err = jetstream.NewDivision(good(), leases, nil, jetstream.DivisionOptions{})
	require.NoError(t, err)
	for want, break_ := range map[string]func(*connector.Config, *connector.ConsumerParams){
		"client id":           func(c *connector.Config, _ *connector.ConsumerParams) { c.General.ClientID = "" },
		"clean_session":       func(c *connector.Config, _ *connector.ConsumerParams) { c.Advanced.CleanSession = nil },
		"QoS 1 or 2":          func(_ *connector.Config, p *connector.ConsumerParams) { p.QoS = packets.AtMostOnce },
		"for topic \"a\"":     func(_ *connector.Config, p *connector.ConsumerParams) { p.Topics[0].HasQoS = true },
		"without share_group": func(_ *connector.Config, p *connector.ConsumerParams) { p.ShareGroup = "g" },
		"broker_url":          func(c *connector.Config, _ *connector.ConsumerParams) { c.General.BrokerURL = "" },
	} {
		cfg := good()
		in := cfg.Consumers["in"]
		break_(&cfg, &in)
		cfg.Consumers["in"] = in
		_, err := jetstream.NewDivision(cfg, leases, nil, jetstream.DivisionOptions{})
		require.ErrorContains(t, err, want)
	}
	cfg := good()
	cfg.Consumers = nil
	_, err = jetstream.NewDivision(cfg, leases, nil, jetstream.DivisionOptions{})
	require.ErrorContains(t, err, "a consumer")
}
