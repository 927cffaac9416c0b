package config

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// The index of a pod of a StatefulSet is the number at the end of its host name.
func TestIndexOrdinal(t *testing.T) {
	before := hostname
	t.Cleanup(func() { hostname = before })
	parse := func(host, id string) (int, string) {
		hostname = func() (string, error) { return host, nil }
		cfg, findings, err := Parse(fmt.Appendf(nil, `connector: {general: {broker_url: h:1883, client_id: %q}, advanced: {clean_session: false, auto_reconnect: true}}
consumers: {in: {topics: [a], qos: 1, on_failure: {retries: 1, then: drop}, partition: {index: ordinal, count: 20}}}
`, id), "")
		if len(findings) > 0 {
			return 0, findings[0].Rule()
		}
		require.NoError(t, err)
		return cfg.Consumers["in"].Partition.Index, ""
	}
	for host, want := range map[string]int{"gateway-0": 0, "plant-gateway-19": 19} {
		got, rule := parse(host, "c-${hostname}")
		require.Empty(t, rule)
		require.Equal(t, want, got)
	}
	for _, host := range []string{"", "gateway", "7", "-7", "gateway-", "gateway-07", "gateway-7f8c9", "gateway-+7", "gateway-99999"} {
		_, rule := parse(host, "c-${hostname}")
		require.Equal(t, "E126/ordinal", rule, host)
	}
	_, rule := parse("gateway-20", "c-${hostname}")
	require.Equal(t, "E126", rule)
	_, rule = parse("gateway-3", "c")
	require.Equal(t, "W248", rule)
	hostname = func() (string, error) { return "", errors.New("none") }
	_, _, err := Parse([]byte(`connector: {general: {broker_url: h:1883, client_id: c}}
consumers: {in: {topics: [a], partition: {index: ordinal, count: 20}}}
`), "")
	require.Error(t, err)
}
